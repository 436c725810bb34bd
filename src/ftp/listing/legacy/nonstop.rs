//! Parses LIST lines of HP NonStop (Guardian).
//!
//! A quoted protection at the end of the line marks the format.

use crate::ftp::listing::date;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found};
use crate::remote::{Attributes, Kind};

/// HP NonStop (Guardian): `FILE1 101 528 12-Jan-14 14:21:18 255, 0 "oooo"`.
pub(crate) fn nonstop<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let name = tokens.next()?;
    let code = tokens.next()?;
    let size = tokens::size(tokens.next()?)?;
    let date = date::read(tokens, clock)?;
    let mut after = date.after;
    let owner = after.next()?;
    let protection = after.last()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::legacy::testing::{CLOCK, found};

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
}
