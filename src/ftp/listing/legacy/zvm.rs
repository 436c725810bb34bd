//! Parses LIST lines of z/VM (CMS).
//!
//! The record format (`V`, `F`, `DIR`) marks the format. Sizes are counted in records and therefore not shown.

use crate::ftp::listing::date;
use crate::ftp::listing::date::TimeOfDay;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found, Line};
use crate::remote::{Attributes, Kind};

/// z/VM (CMS): `LASTING  GLOBALV   A1 V      41     21     1       9/16/91   15:10:32`. The name
/// that the server understands is name and type with a point between. Sizes are in records.
pub(crate) fn zvm(line: &[u8], clock: &Clock) -> Option<Line> {
    let mut tokens = Tokens::of(line);
    let mut name = tokens.next()?.to_vec();
    let mut token = tokens.next()?;
    if !is_format(token) && !is_mode(token) {
        name.push(b'.');
        name.extend_from_slice(token);
        token = tokens.next()?;
    }
    if is_mode(token) {
        token = tokens.next()?;
    }
    if !is_format(token) {
        return None;
    }
    let kind = match token {
        b"DIR" => Kind::Directory,
        _ => Kind::File,
    };
    for _ in 0..3 {
        tokens
            .next()
            .filter(|&count| count == b"-" || tokens::is_number(count))?;
    }
    let (year, month, day) = cms_day(tokens.next()?)?;
    let time: TimeOfDay = date::time_of_day(tokens.next()?)?;
    let mut attributes = Attributes::of(kind);
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    let found = Found {
        name: &name,
        attributes,
    };
    Some(found.check_name())
}

/// A record format, or `DIR` in its column.
fn is_format(token: &[u8]) -> bool {
    matches!(token, b"V" | b"F" | b"DIR")
}

/// A file mode: the letter of a disk and a digit.
fn is_mode(token: &[u8]) -> bool {
    matches!(token, [b'A'..=b'Z', b'0'..=b'9'])
}

/// `2005-10-04` or `9/16/91`; years after 1999 may be counted from 1900.
fn cms_day(token: &[u8]) -> Option<(i64, u32, u32)> {
    let separator = *token.iter().find(|byte| b"-/".contains(byte))?;
    let mut parts = token.split(|&byte| byte == separator);
    let mut part = || tokens::small(parts.next()?);
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
    use crate::ftp::listing::legacy::testing::{CLOCK, shown};

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
