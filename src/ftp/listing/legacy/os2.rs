//! Parses LIST lines of OS/2.
//!
//! Size first, then attribute letters, then a day whose year has up to three digits.

use crate::ftp::listing::date;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found};
use crate::remote::{Attributes, Kind};

/// OS/2: `36611      A    04-23-103  10:57  name`; years count from 1900 and may have three digits.
pub(crate) fn os2<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let size = tokens::size(tokens.next()?)?;
    let mut kind = Kind::File;
    let mut token = tokens.next()?;
    while token.iter().all(u8::is_ascii_uppercase) {
        if token == b"DIR" {
            kind = Kind::Directory;
        }
        token = tokens.next()?;
    }
    let mut parts = token.split(|&byte| byte == b'-');
    let (month, day) = (tokens::small(parts.next()?)?, tokens::small(parts.next()?)?);
    let year = match tokens::small(parts.next()?)? {
        year if year < 100 => date::century(year),
        year if year < 1000 => 1900 + i64::from(year),
        year => i64::from(year),
    };
    let time = date::time_of_day(tokens.next()?)?;
    let rest = tokens.rest();
    let name = rest
        .strip_prefix(b"  ")
        .or_else(|| rest.strip_prefix(b" "))?;
    let mut attributes = Attributes::of(kind);
    attributes.size = (kind == Kind::File).then_some(size);
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    Some(Found { name, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::legacy::testing::{CLOCK, found};

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
}
