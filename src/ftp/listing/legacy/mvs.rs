//! Parses LIST of z/OS (MVS): data sets, and the members of a partitioned data set.
//!
//! The header decides which columns follow; without one of its headers no line is taken for MVS. (Files of z/OS Unix are listed
//! as `ls -l` lists them.)
//!
//! # Invariants
//! A partitioned data set (`PO`, `PO-E`) is a directory, its members are files. Sizes are counted in tracks or records and
//! therefore unknown.

use crate::ftp::listing::date;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found, Line};
use crate::remote::{Attributes, Kind};

/// The columns that the last header announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Columns {
    /// No header came yet.
    #[default]
    Unknown,
    /// `Volume Unit Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname`
    DataSets,
    /// `Name VV.MM Created Changed Size Init Mod Id`
    Members,
    /// `Name Size TTR Alias-of AC --------- Attributes --------- Amode Rmode`
    LoadModules,
}

/// Parses one line; `None` if it is not in this format.
pub(crate) fn line(columns: &mut Columns, line: &[u8], clock: &Clock) -> Option<Line> {
    if let Some(header) = header(line) {
        *columns = header;
        return Some(Line::Nothing);
    }
    let found = match columns {
        Columns::Unknown => return None,
        Columns::DataSets => data_set(line, clock),
        Columns::Members => member(line, clock),
        Columns::LoadModules => load_module(line),
    };
    found.map(Found::check_name)
}

fn header(line: &[u8]) -> Option<Columns> {
    let mut tokens = Tokens::of(line);
    match (tokens.next()?, tokens.next()?, tokens.next()?) {
        (b"Volume", b"Unit", _) => Some(Columns::DataSets),
        (b"Name", b"VV.MM", _) => Some(Columns::Members),
        (b"Name", b"Size", b"TTR") => Some(Columns::LoadModules),
        _ => None,
    }
}

/// The name is the last token. Columns in the middle run into each other when numbers are large,
/// and are absent for tapes, VSAM and data sets that were migrated.
fn data_set<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    if !is_volume(tokens.next()?) {
        return None;
    }
    let unit = tokens.next();
    let referred = tokens.next();
    let mut last = [b"".as_slice(), unit?];
    for token in referred.into_iter().chain(tokens) {
        last = [last[1], token];
    }
    let [organization, name] = last;
    let kind = match organization {
        b"PO" | b"PO-E" | b"Directory" => Kind::Directory,
        _ => Kind::File,
    };
    let mut attributes = Attributes::of(kind);
    let day = referred.and_then(slashed);
    if let Some((year, month, day)) = day {
        attributes.modified = date::moment(Some(year), month, day, None, clock);
    }
    // Without its columns a line could be prose; names are in capitals.
    let has_columns = day.is_some() || matches!(referred, Some(b"**NONE**" | b"VSAM"));
    let is_likely = has_columns || !name.iter().any(u8::is_ascii_lowercase);
    (is_likely && is_data_set(name)).then_some(Found { name, attributes })
}

/// A member without statistics is its name alone.
fn member<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let name = tokens.next()?;
    let mut attributes = Attributes::of(Kind::File);
    if tokens.next().is_some() {
        slashed(tokens.next()?)?;
        let (year, month, day) = slashed(tokens.next()?)?;
        let time = date::time_of_day(tokens.next()?)?;
        attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    }
    is_data_set(name).then_some(Found { name, attributes })
}

fn load_module(line: &[u8]) -> Option<Found<'_>> {
    let mut tokens = Tokens::of(line);
    let name = tokens.next()?;
    if let Some(size) = tokens.next() {
        let track = tokens.next()?;
        if !is_hexadecimal(size) || !is_hexadecimal(track) {
            return None;
        }
    }
    let attributes = Attributes::of(Kind::File);
    is_data_set(name).then_some(Found { name, attributes })
}

/// `2004/06/23`
fn slashed(token: &[u8]) -> Option<(i64, u32, u32)> {
    let mut parts = token.split(|&byte| byte == b'/');
    let year = parts.next().filter(|year| year.len() == 4)?;
    let (month, day) = (tokens::small(parts.next()?)?, tokens::small(parts.next()?)?);
    Some((i64::from(tokens::small(year)?), month, day))
}

/// Six hexadecimal digits or more.
fn is_hexadecimal(token: &[u8]) -> bool {
    token.len() >= 6 && token.iter().all(u8::is_ascii_hexdigit)
}

/// The serial number of a volume, or a placeholder for it.
fn is_volume(token: &[u8]) -> bool {
    (token.len() <= 6 && is_data_set(token)) || matches!(token, b"Migrated" | b"Pseudo")
}

fn is_data_set(name: &[u8]) -> bool {
    name.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b".$#@-_{}".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::protocol::time_val::format_time_val;

    const CLOCK: Clock = Clock {
        now: 1_719_792_000,
        zone: 0,
    };
    const DATA_SETS: &[u8] = b"Volume Unit    Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname";
    const MEMBERS: &[u8] = b" Name     VV.MM   Created       Changed      Size  Init   Mod   Id";
    const MODULES: &[u8] =
        b" Name      Size     TTR   Alias-of AC --------- Attributes --------- Amode Rmode";

    fn read(columns: &mut Columns, text: &str) -> String {
        let Some(Line::Entry(entry)) = line(columns, text.as_bytes(), &CLOCK) else {
            return "none".to_string();
        };
        let known = entry.attributes;
        assert_eq!(known.size, None);
        let time = known.modified.and_then(|m| format_time_val(m.seconds));
        format!(
            "{:?} {} {}",
            known.kind,
            time.unwrap_or("-".to_string()),
            String::from_utf8_lossy(&entry.name)
        )
    }

    #[test]
    fn data_sets_are_files_or_directories() {
        let mut columns = Columns::default();
        assert_eq!(read(&mut columns, "Migrated    A.B"), "none");
        assert_eq!(line(&mut columns, DATA_SETS, &CLOCK), Some(Line::Nothing));
        for (line, expected) in [
            (
                "SAVE00 3390   2004/06/23  1    1  FB     128  6144  PS    A.B",
                "File 20040623000000 A.B",
            ),
            (
                "SAVE02 3390   2004/06/23  1    1  FB     128  6144  PO-E  A.B",
                "Directory 20040623000000 A.B",
            ),
            (
                "NRP004 3390   **NONE**    1   15  NONE  0  0  PO  A.B",
                "Directory - A.B",
            ),
            (
                "Migrated                                      A.B",
                "File - A.B",
            ),
            (
                "ARCIVE Not Direct Access Device               A.B",
                "File - A.B",
            ),
            (
                "V43525 Tape                                   A.B",
                "File - A.B",
            ),
            ("TSO004 3390   VSAM A.B", "File - A.B"),
            (
                "Pseudo Directory                              A",
                "Directory - A",
            ),
            ("alone", "none"),
            ("", "none"),
            ("no such/name", "none"),
        ] {
            assert_eq!(read(&mut columns, line), expected, "{line}");
        }
    }

    #[test]
    fn members_are_files() {
        let mut columns = Columns::default();
        assert_eq!(line(&mut columns, MEMBERS, &CLOCK), Some(Line::Nothing));
        for (line, expected) in [
            (
                "SAVE03    01.03 2002/09/12 2002/10/11 09:37    11    11     0 KIL001",
                "File 20021011093700 SAVE03",
            ),
            ("SAVE04                              ", "File - SAVE04"),
            ("SAVE05 or some words of prose", "none"),
        ] {
            assert_eq!(read(&mut columns, line), expected, "{line}");
        }
        assert_eq!(line(&mut columns, MODULES, &CLOCK), Some(Line::Nothing));
        let module = "MODULE1 00B308 000411  00 FO                31    ANY";
        assert_eq!(read(&mut columns, module), "File - MODULE1");
        for prose in ["words of prose", "MODULE1 1 other", "MODULE1 00B308"] {
            assert_eq!(read(&mut columns, prose), "none", "{prose}");
        }
    }
}
