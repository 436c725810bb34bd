//! LIST lines of OS/400, OS/2, NonStop and z/VM.
//!
//! The one idea: these hosts print columns, and a column in the middle (`*FILE`, a year of three
//! digits, a quoted protection, a record format) tells whose line it is.
//!
//! Invariants: a size is given only where the host counts bytes. A day that could be another,
//! `04/03/18` on OS/400, is taken for day, month, year, and only with [`Precision::Day`], so that
//! it is never trusted as the version of a file.

use crate::ftp::listing::date;
use crate::ftp::listing::date::TimeOfDay;
use crate::ftp::listing::tokens as words;
use crate::ftp::listing::tokens::Words;
use crate::ftp::listing::{Clock, Found, Line};
use crate::remote::{Attributes, Kind, Precision};

/// Bytes from the start of an OS/400 type to the name.
const TYPE_COLUMN: usize = 11;

/// OS/400: `QSYS            77824 02/23/00 15:09:55 *DIR       name/`. Lines of `*MEM`, which have
/// neither size nor date, tell of members one level below and are no entries here.
pub(crate) fn os400<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut words = Words::of(line);
    let owner = words.next()?;
    let size = words::size(words.next()?)?;
    let day = words.next()?;
    let time = date::time_of_day(words.next()?)?;
    let what = words.next()?;
    let kind = match what.strip_prefix(b"*")? {
        b"DIR" | b"DDIR" | b"FLR" | b"LIB" => Kind::Directory,
        _ => Kind::File,
    };
    let rest = words.rest();
    let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
    let padding = TYPE_COLUMN.saturating_sub(what.len()).max(1);
    let name = &rest[blanks.min(padding)..];
    let mut attributes = Attributes::of(kind);
    attributes.size = (kind == Kind::File).then_some(size);
    attributes.owner = Some(owner.into());
    let (year, month, day, certain) = job_day(day)?;
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    if let Some(modified) = attributes.modified.as_mut().filter(|_| !certain) {
        modified.precision = Precision::Day;
    }
    let name = match kind {
        Kind::Directory => name.strip_suffix(b"/").unwrap_or(name),
        _ => name,
    };
    (blanks > 0).then_some(Found { name, attributes })
}

/// A day in the format of the server's job (*YMD, *MDY or *DMY), and whether it is the only one
/// that it can be. With points it is *DMY.
fn job_day(word: &[u8]) -> Option<(i64, u32, u32, bool)> {
    let separator = *word.get(2).filter(|byte| b"/.-".contains(byte))?;
    let mut parts = word.split(|&byte| byte == separator);
    let mut part = || words::small(parts.next().filter(|part| part.len() == 2)?);
    let (one, two, three) = (part()?, part()?, part()?);
    let is_month = |month: u32| (1..=12).contains(&month);
    let is_day = |day: u32| (1..=31).contains(&day);
    let day_first = is_day(one) && is_month(two);
    let month_first = is_month(one) && is_day(two) && separator != b'.';
    let year_first = is_month(two) && is_day(three) && separator != b'.';
    let certain = [day_first, month_first && one != two, year_first]
        .iter()
        .filter(|&&possible| possible)
        .count()
        == 1;
    if day_first {
        Some((date::century(three), two, one, certain))
    } else if month_first {
        Some((date::century(three), one, two, certain))
    } else {
        year_first.then(|| (date::century(one), two, three, certain))
    }
}

/// OS/2: `36611      A    04-23-103  10:57  name`; years count from 1900 and may have three digits.
pub(crate) fn os2<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut words = Words::of(line);
    let size = words::size(words.next()?)?;
    let mut kind = Kind::File;
    let mut word = words.next()?;
    while word.iter().all(u8::is_ascii_uppercase) {
        if word == b"DIR" {
            kind = Kind::Directory;
        }
        word = words.next()?;
    }
    let mut parts = word.split(|&byte| byte == b'-');
    let (month, day) = (words::small(parts.next()?)?, words::small(parts.next()?)?);
    let year = match words::small(parts.next()?)? {
        year if year < 100 => date::century(year),
        year if year < 1000 => 1900 + i64::from(year),
        year => i64::from(year),
    };
    let time = date::time_of_day(words.next()?)?;
    let rest = words.rest();
    let name = rest
        .strip_prefix(b"  ")
        .or_else(|| rest.strip_prefix(b" "))?;
    let mut attributes = Attributes::of(kind);
    attributes.size = (kind == Kind::File).then_some(size);
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    Some(Found { name, attributes })
}

/// HP NonStop (Guardian): `FILE1 101 528 12-Jan-14 14:21:18 255, 0 "oooo"`.
pub(crate) fn nonstop<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut words = Words::of(line);
    let name = words.next()?;
    let code = words.next()?;
    let size = words::size(words.next()?)?;
    let date = date::read(words, clock)?;
    let mut behind = date.after;
    let owner = behind.next()?;
    let protection = behind.last()?;
    let quoted =
        protection.len() > 1 && protection.starts_with(b"\"") && protection.ends_with(b"\"");
    if !code[0].is_ascii_digit() || !owner.contains(&b',') || !quoted {
        return None;
    }
    let mut attributes = Attributes::of(Kind::File);
    attributes.size = Some(size);
    attributes.modified = date.modified;
    Some(Found { name, attributes })
}

/// z/VM (CMS): `LASTING  GLOBALV   A1 V      41     21     1       9/16/91   15:10:32`. The name
/// that the server understands is name and type with a point between. Sizes are in records.
pub(crate) fn zvm(line: &[u8], clock: &Clock) -> Option<Line> {
    let mut words = Words::of(line);
    let mut name = words.next()?.to_vec();
    let mut word = words.next()?;
    if !is_format(word) && !is_mode(word) {
        name.push(b'.');
        name.extend_from_slice(word);
        word = words.next()?;
    }
    if is_mode(word) {
        word = words.next()?;
    }
    if !is_format(word) {
        return None;
    }
    let kind = match word {
        b"DIR" => Kind::Directory,
        _ => Kind::File,
    };
    for _ in 0..3 {
        words
            .next()
            .filter(|&count| count == b"-" || words::is_number(count))?;
    }
    let (year, month, day) = cms_day(words.next()?)?;
    let time: TimeOfDay = date::time_of_day(words.next()?)?;
    let mut attributes = Attributes::of(kind);
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    let found = Found {
        name: &name,
        attributes,
    };
    Some(found.judge())
}

/// A record format, or what stands in its place.
fn is_format(word: &[u8]) -> bool {
    matches!(word, b"V" | b"F" | b"DIR")
}

/// A file mode: a disk's letter and a digit.
fn is_mode(word: &[u8]) -> bool {
    matches!(word, [b'A'..=b'Z', b'0'..=b'9'])
}

/// `2005-10-04` or `9/16/91`; years after 1999 may be counted from 1900.
fn cms_day(word: &[u8]) -> Option<(i64, u32, u32)> {
    let separator = *word.iter().find(|byte| b"-/".contains(byte))?;
    let mut parts = word.split(|&byte| byte == separator);
    let mut part = || words::small(parts.next()?);
    let (one, two, three) = (part()?, part()?, part()?);
    match separator {
        b'-' => Some((i64::from(one), two, three)),
        _ if three < 100 => Some((date::century(three), one, two)),
        _ => Some((1900 + i64::from(three), one, two)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::protocol::time_val::format_time_val;

    const CLOCK: Clock = Clock {
        now: 1_719_792_000,
        zone: 0,
    };

    fn shown(name: &[u8], known: &Attributes) -> String {
        let time = known.modified.and_then(|m| format_time_val(m.seconds));
        format!(
            "{:?} {} {} {}",
            known.kind,
            known.size.map_or("-".to_string(), |size| size.to_string()),
            time.unwrap_or("-".to_string()),
            String::from_utf8_lossy(name)
        )
    }

    fn found(found: Option<Found<'_>>) -> String {
        found.map_or("none".to_string(), |found| {
            shown(found.name, &found.attributes)
        })
    }

    #[test]
    fn os_400_pads_types_and_writes_days_in_three_ways() {
        for (line, expected) in [
            (
                "QSYS            77824 02/23/00 15:09:55 *DIR       a dir/",
                "Directory - 20000223150955 a dir",
            ),
            (
                "QSYS            77824 23/02/00 15:09:55 *FILE X.FILE",
                "File 77824 20000223150955 X.FILE",
            ),
            (
                "QPGMR           36864 18.09.06 14:21:26 *STMF       lead",
                "File 36864 20060918142126  lead",
            ),
            (
                "PEP   5000000000 99/03/24 14:06:29 *STMF      build.xml",
                "File 5000000000 19990324140629 build.xml",
            ),
            ("CFT         *MEM  ASKET7.FILE/ASKET7.MBR", "none"),
        ] {
            assert_eq!(found(os400(line.as_bytes(), &CLOCK)), expected);
        }
    }

    #[test]
    fn a_day_that_could_be_another_is_not_trusted() {
        for (day, precision) in [
            ("04/03/18", Precision::Day),
            ("18/09/06", Precision::Day),
            ("02/23/00", Precision::Second),
            ("18.09.06", Precision::Second),
        ] {
            let line = format!("PEP 4019 {day} 18:58:16 *STMF      x");
            let read = os400(line.as_bytes(), &CLOCK).expect("a line");
            let modified = read.attributes.modified.expect("a time");
            assert_eq!(modified.precision, precision, "{day}");
        }
    }

    #[test]
    fn os_2_puts_the_size_first_and_counts_years_from_1900() {
        for (line, expected) in [
            (
                "36611      A    04-23-103  10:57  a file",
                "File 36611 20030423105700 a file",
            ),
            (
                "    0 DIR       02-11-103  16:15   lead",
                "Directory - 20030211161500  lead",
            ),
            (
                "587823    RSA    DIR   01-08-97   13:58  KRNL",
                "Directory - 19970108135800 KRNL",
            ),
            (
                "            310992                 06-28-94   09:56  INSTALL.EXE",
                "File 310992 19940628095600 INSTALL.EXE",
            ),
            ("36611 A", "none"),
        ] {
            assert_eq!(found(os2(line.as_bytes(), &CLOCK)), expected);
        }
    }

    #[test]
    fn nonstop_ends_in_a_quoted_protection() {
        for (line, expected) in [
            (
                "FILE1 101 528 12-Jan-14 14:21:18 255, 0 \"oooo\"",
                "File 528 20140112142118 FILE1",
            ),
            (
                "FILE2 101 528 13-Feb-14 14:21:18 255,255 \"oooo\"",
                "File 528 20140213142118 FILE2",
            ),
            ("FILE2 101 528 13-Feb-14 14:21:18 255,255 oooo", "none"),
            ("File  Code  EOF  Last Modification  Owner  RWEP", "none"),
        ] {
            assert_eq!(found(nonstop(line.as_bytes(), &CLOCK)), expected);
        }
    }

    #[test]
    fn z_vm_joins_name_and_type() {
        for (line, expected) in [
            (
                "LASTING  GLOBALV   A1 V   41   21   1   9/16/91   15:10:32",
                "File - 19910916151032 LASTING.GLOBALV",
            ),
            (
                "AUTHORS            A1 DIR    -    -    -   9/20/99   10:31:11",
                "Directory - 19990920103111 AUTHORS",
            ),
            (
                "ABADY2K  DATE      A0 V      1      1      1       1/03/100  10:11:12",
                "File - 20000103101112 ABADY2K.DATE",
            ),
            (
                "README   ANONYMOU V  71   26   1 1997-04-02 12:33:20 TCP291",
                "File - 19970402123320 README.ANONYMOU",
            ),
        ] {
            let Some(Line::Entry(entry)) = zvm(line.as_bytes(), &CLOCK) else {
                panic!("not read: {line}");
            };
            assert_eq!(shown(&entry.name, &entry.attributes), expected);
        }
        assert!(zvm(b"Filename FileType  Fm Format Lrecl", &CLOCK).is_none());
    }
}
