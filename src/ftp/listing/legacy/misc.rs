//! Parses small formats of LIST, one function each: one-line formats of servers that are no operating system of their own.
//!
//! Each format has a mark that no other format has, and a line without it is refused, so the order in which they are tried
//! does not matter.
//!
//! # Invariants
//! A size is given only where the server prints bytes.

use crate::ftp::listing::date;
use crate::ftp::listing::date::TimeOfDay;
use crate::ftp::listing::month_names::month;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found, unix};
use crate::remote::{Attributes, Kind, Modified, Precision};

/// The numbers of stat(2) as they are: `0100644   500  101   12345    123456789       name`.
pub(crate) fn numbers(line: &[u8]) -> Option<Found<'_>> {
    let mut tokens = Tokens::of(line);
    let mode = tokens.next().filter(|token| matches!(token.len(), 6 | 7))?;
    let mode = tokens::octal(mode)?;
    let kind = match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Symlink,
        0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => Kind::Special,
        _ => return None,
    };
    let (owner, group) = (tokens.next()?, tokens.next()?);
    let (size, seconds) = (tokens.next()?, tokens.next()?);
    if !tokens::is_number(owner) || !tokens::is_number(group) || !tokens::is_number(size) {
        return None;
    }
    let seconds = i64::try_from(tokens::size(seconds)?).ok()?;
    let mut attributes = Attributes::of(kind);
    attributes.mode = Some(mode & 0o7777);
    attributes.owner = Some(owner.into());
    attributes.group = Some(group.into());
    attributes.size = tokens::size(size).filter(|_| kind != Kind::Special);
    attributes.modified = Some(Modified {
        seconds,
        precision: Precision::Second,
    });
    let name = tokens.padded_name();
    Some(Found { name, attributes })
}

/// Connect:Enterprise: `-C--E-----FTP B QUA1I1      18128       5000000000 Aug 12 13:56 name`.
pub(crate) fn connect<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let flags = tokens.next()?.strip_suffix(b"FTP")?;
    let known = |&flag: &u8| flag == b'-' || flag.is_ascii_uppercase();
    if flags.len() != 10 || flags[0] != b'-' || !flags.iter().all(known) {
        return None;
    }
    let mut found = unix::tail(tokens, Kind::File, clock)?;
    (found.attributes.owner, found.attributes.group) = (None, None);
    Some(found)
}

/// Old VShell: `206876  Apr 04, 2000 21:06 name`, a directory with a trailing slash.
pub(crate) fn vshell<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let size = tokens::size(tokens.next()?)?;
    let mut ahead = tokens.clone();
    month(ahead.next()?)?;
    if !ahead.next()?.ends_with(b",") {
        return None;
    }
    let date = date::read(tokens, clock)?;
    let name = date.after.name()?;
    let (name, kind) = match name.strip_suffix(b"/") {
        Some(name) => (name, Kind::Directory),
        None => (name, Kind::File),
    };
    let mut attributes = Attributes::of(kind);
    attributes.size = (kind == Kind::File).then_some(size);
    attributes.modified = date.modified;
    Some(Found { name, attributes })
}

/// VxWorks: `2048    Feb-28-1998  05:23:30   name <DIR>`. The name is padded at both ends.
pub(crate) fn vxworks<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let size = tokens::size(tokens.next()?)?;
    let mut day = tokens.next()?.split(|&byte| byte == b'-');
    let month = month(day.next()?)?;
    let (day, year) = (tokens::small(day.next()?)?, tokens::small(day.next()?)?);
    let time = date::time_of_day(tokens.next()?)?;
    let name = tokens.padded_name().trim_ascii_end();
    let (name, kind) = match name.strip_suffix(b"<DIR>") {
        Some(name) => (name.trim_ascii_end(), Kind::Directory),
        None => (name, Kind::File),
    };
    let mut attributes = Attributes::of(kind);
    attributes.size = (kind == Kind::File).then_some(size);
    attributes.modified = date::moment(Some(i64::from(year)), month, day, Some(time), clock);
    Some(Found { name, attributes })
}

/// Nortel's wfFtp: `name       1014196  06/03/04  Thur.   10:20:03`.
pub(crate) fn nortel<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let name = tokens.next()?;
    let size = tokens::size(tokens.next()?)?;
    let mut day = tokens.next()?.split(|&byte| byte == b'/');
    let (month, date) = (tokens::small(day.next()?)?, tokens::small(day.next()?)?);
    let year = date::century(tokens::small(day.next()?).filter(|&year| year < 100)?);
    let weekday = tokens.next()?;
    let time = date::time_of_day(tokens.next()?)?;
    if !weekday[0].is_ascii_alphabetic() || tokens.next().is_some() {
        return None;
    }
    let mut attributes = Attributes::of(Kind::File);
    attributes.size = Some(size);
    attributes.modified = date::moment(Some(year), month, date, Some(time), clock);
    Some(Found { name, attributes })
}

/// OS-9: `20.20 07/03/29 1026 d-ewrewr 2650 85920 name`.
pub(crate) fn os9<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let owner = tokens.next()?;
    let mut day = tokens.next()?.split(|&byte| byte == b'/');
    let year = date::century(tokens::small(day.next()?).filter(|&year| year < 100)?);
    let (month, date) = (tokens::small(day.next()?)?, tokens::small(day.next()?)?);
    let time = tokens::small(tokens.next().filter(|token| token.len() == 4)?)?;
    let rights = tokens.next().filter(|token| token.len() == 8)?;
    if !rights.iter().all(|letter| b"ds-ewr".contains(letter)) {
        return None;
    }
    let _sector = tokens.next()?;
    let size = tokens::size(tokens.next()?)?;
    let name = tokens.name()?;
    let kind = match rights[0] {
        b'd' => Kind::Directory,
        _ => Kind::File,
    };
    let mut attributes = Attributes::of(kind);
    attributes.size = (kind == Kind::File).then_some(size);
    attributes.owner = Some(owner.into());
    let time = TimeOfDay {
        hour: time / 100,
        minute: time % 100,
        second: None,
    };
    if time.hour < 24 && time.minute < 60 {
        attributes.modified = date::moment(Some(year), month, date, Some(time), clock);
    }
    Some(Found { name, attributes })
}

/// DOS servers that put the name first: `INSTALL <DIR> 11-16-94 17:16` and
/// `DESIGN1.DOC 11264 May 11 1995 14:20 A`.
pub(crate) fn name_first<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let name = tokens.next()?;
    let (kind, size) = match tokens.next()? {
        b"<DIR>" => (Kind::Directory, None),
        size => (Kind::File, Some(tokens::size(size)?)),
    };
    let first = tokens.next()?;
    let (year, month, day) = match month(first) {
        Some(month) => {
            let day = tokens::small(tokens.next()?)?;
            let year = tokens::small(tokens.next().filter(|year| year.len() == 4)?)?;
            (i64::from(year), month, day)
        }
        None => {
            let mut parts = first.split(|&byte| byte == b'-');
            let (month, day) = (tokens::small(parts.next()?)?, tokens::small(parts.next()?)?);
            let year = tokens::small(parts.next()?).filter(|&year| year < 100)?;
            (date::century(year), month, day)
        }
    };
    let time = date::time_of_day(tokens.next()?)?;
    // After the time there is at most one token of attribute letters.
    if tokens.next().is_some_and(|token| token.len() > 4) || tokens.next().is_some() {
        return None;
    }
    let mut attributes = Attributes::of(kind);
    attributes.size = size;
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    Some(Found { name, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::legacy::testing::{CLOCK, found as shown};

    #[test]
    fn each_small_format_reads_its_own_lines() {
        let line = b"0100644   500  101   12345    123456789       a b";
        assert_eq!(shown(numbers(line)), "File 12345 19731129213309 a b");
        let line = b"-C--E-----FTP B QUA1I1  18128  5000000000 Jun 12 13:56 QUADTEST";
        assert_eq!(
            shown(connect(line, &CLOCK)),
            "File 5000000000 20240612135600 QUADTEST"
        );
        let line = b"206876  Apr 04, 2000 21:06 a file";
        assert_eq!(
            shown(vshell(line, &CLOCK)),
            "File 206876 20000404210600 a file"
        );
        let line = b"0  Dec 12, 2002 02:13 a dir/";
        assert_eq!(
            shown(vshell(line, &CLOCK)),
            "Directory - 20021212021300 a dir"
        );
        let line = b"2048    Feb-28-1998  05:23:30   a dir    <DIR>";
        assert_eq!(
            shown(vxworks(line, &CLOCK)),
            "Directory - 19980228052330 a dir"
        );
        let line = b"wf       1014196  06/03/04  Thur.   10:20:03";
        assert_eq!(
            shown(nortel(line, &CLOCK)),
            "File 1014196 20040603102003 wf"
        );
        let line = b"20.20 07/03/29 1026 d-ewrewr 2650 85920 a dir";
        assert_eq!(shown(os9(line, &CLOCK)), "Directory - 20070329102600 a dir");
        let line = b"INSTALL         <DIR>           11-16-94        17:17";
        assert_eq!(
            shown(name_first(line, &CLOCK)),
            "Directory - 19941116171700 INSTALL"
        );
        let line = b"DESIGN1.DOC     11264      May 11 1995 14:20   A";
        assert_eq!(
            shown(name_first(line, &CLOCK)),
            "File 11264 19950511142000 DESIGN1.DOC"
        );
    }

    #[test]
    fn no_small_format_takes_a_line_of_prose() {
        for line in [
            &b""[..],
            b"total 12",
            b"ls: cannot open directory '.': Permission denied",
            b"550 No such file or directory",
            b"000000000x ",
        ] {
            assert!(numbers(line).is_none());
            for format in [connect, vshell, vxworks, nortel, os9, name_first] {
                assert!(format(line, &CLOCK).is_none());
            }
        }
    }
}
