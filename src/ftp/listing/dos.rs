//! Parses LIST lines in the format of MS-DOS `dir`: IIS and its imitators.
//!
//! A line is a date, a time, a size or a tag in angle brackets, and the name.
//!
//! # Invariants
//! * After a size exactly one blank separates the name. A tag stands in a column of fifteen bytes; where the column is kept,
//!   further blanks belong to the name.
//! * A link tag (`<JUNCTION>`, `<SYMLINKD>`) is taken for the directory that it leads to, since its target is a path of that
//!   machine, which a client cannot follow.

use crate::ftp::listing::date;
use crate::ftp::listing::date::TimeOfDay;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found};
use crate::remote::{Attributes, Kind};

/// Bytes from the start of a tag to the name: `<DIR>` and ten blanks.
const TAG_COLUMN: usize = 15;

/// Parses one line; `None` if it is not in this format.
pub(crate) fn line<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let mut tokens = Tokens::of(line);
    let (year, month, day) = day(tokens.next()?)?;
    let time = time(&mut tokens)?;
    let token = tokens.next()?;
    let (kind, size, name) = match token {
        [b'<', ..] => {
            let (kind, name) = tagged(token, tokens.rest())?;
            (kind, None, name)
        }
        _ => (Kind::File, Some(grouped(token)?), tokens.name()?),
    };
    let mut attributes = Attributes::of(kind);
    attributes.size = size;
    attributes.modified = date::moment(Some(year), month, day, Some(time), clock);
    Some(Found { name, attributes })
}

/// `MM-DD-YY`, `MM-DD-YYYY`, `YYYY-MM-DD`, also with slashes, and `DD.MM.YYYY`.
fn day(token: &[u8]) -> Option<(i64, u32, u32)> {
    if !(8..=10).contains(&token.len()) {
        return None;
    }
    let separator = *token.iter().find(|byte| !byte.is_ascii_digit())?;
    if !b"-/.".contains(&separator) {
        return None;
    }
    let mut parts = token.split(|&byte| byte == separator);
    let (one, two, three) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let [first, second, third] = [
        tokens::small(one)?,
        tokens::small(two)?,
        tokens::small(three)?,
    ];
    if one.len() == 4 {
        return Some((i64::from(first), second, third));
    }
    let year = match three.len() {
        2 => date::century(third),
        4 => i64::from(third),
        _ => return None,
    };
    // Month first, as IIS prints in every locale, unless that is no month.
    let swap = separator == b'.' || (first > 12 && second <= 12);
    match swap {
        true => Some((year, second, first)),
        false => Some((year, first, second)),
    }
}

/// `03:47PM`, `03:04 PM`, `18:48`.
fn time(tokens: &mut Tokens<'_>) -> Option<TimeOfDay> {
    let token = tokens.next()?;
    let digits = token
        .iter()
        .position(u8::is_ascii_alphabetic)
        .unwrap_or(token.len());
    let (clock, mut half) = token.split_at(digits);
    let mut time = date::time_of_day(clock)?;
    if half.is_empty() {
        let mut ahead = tokens.clone();
        if let Some(next) = ahead.next()
            && (next.eq_ignore_ascii_case(b"AM") || next.eq_ignore_ascii_case(b"PM"))
        {
            half = next;
            *tokens = ahead;
        }
    }
    match half.to_ascii_uppercase().as_slice() {
        b"" => {}
        b"A" | b"AM" if time.hour <= 12 => time.hour %= 12,
        b"P" | b"PM" if time.hour <= 12 => time.hour = time.hour % 12 + 12,
        _ => return None,
    }
    Some(time)
}

/// The kind that a tag means, and the name after it. `after` is the line after the tag.
fn tagged<'a>(tag: &[u8], after: &'a [u8]) -> Option<(Kind, &'a [u8])> {
    let padding = TAG_COLUMN.saturating_sub(tag.len()).max(1);
    let blanks = after.iter().take_while(|&&byte| byte == b' ').count();
    if blanks == 0 {
        return None;
    }
    let name = &after[blanks.min(padding)..];
    match tag {
        b"<DIR>" => Some((Kind::Directory, name)),
        b"<JUNCTION>" | b"<SYMLINKD>" => Some((Kind::Directory, without_target(name))),
        b"<SYMLINK>" => Some((Kind::File, without_target(name))),
        _ => None,
    }
}

/// Removes the target of a link, which `dir` prints in brackets after the name.
fn without_target(name: &[u8]) -> &[u8] {
    if !name.ends_with(b"]") {
        return name;
    }
    match name.windows(2).rposition(|pair| pair == b" [") {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// A number that may have commas between its digits.
fn grouped(token: &[u8]) -> Option<u64> {
    if !token.contains(&b',') {
        return tokens::size(token);
    }
    let well_formed = token[0].is_ascii_digit() && token.len() <= 32;
    let digits: Vec<u8> = token.iter().copied().filter(|&byte| byte != b',').collect();
    tokens::size(&digits).filter(|_| well_formed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::protocol::time_val::unix_seconds;
    use crate::remote::Precision;

    const CLOCK: Clock = Clock {
        now: 1_719_792_000,
        zone: 0,
    };

    fn read(text: &str) -> Found<'_> {
        line(text.as_bytes(), &CLOCK).unwrap_or_else(|| panic!("not read: {text}"))
    }

    #[test]
    fn files_have_a_size_and_one_blank_before_the_name() {
        for (text, size, name) in [
            ("04-06-00  03:47PM                  589 a b", 589, "a b"),
            ("04-06-00  03:47PM                  589  lead", 589, " lead"),
            ("2002-09-02  19:06                9,730 x ", 9_730, "x "),
            (
                "03-17-10  12:00PM          12345678901 x",
                12_345_678_901,
                "x",
            ),
        ] {
            let found = read(text);
            assert_eq!(found.attributes.kind, Kind::File);
            assert_eq!(found.attributes.size, Some(size));
            assert_eq!(found.name, name.as_bytes());
        }
    }

    #[test]
    fn tags_stand_in_a_column() {
        for (text, kind, name) in [
            (
                "04-27-00  12:09PM       <DIR>          a b",
                Kind::Directory,
                "a b",
            ),
            (
                "04-27-00  12:09PM       <DIR>           lead",
                Kind::Directory,
                " lead",
            ),
            (
                "03-10-21 11:12       <DIR> System",
                Kind::Directory,
                "System",
            ),
            (
                "03-17-10  12:39AM       <JUNCTION>     docs [C:\\x y]",
                Kind::Directory,
                "docs",
            ),
            (
                "03-17-10  12:39AM       <SYMLINKD>     docs",
                Kind::Directory,
                "docs",
            ),
            (
                "03-17-10  12:39AM       <SYMLINK>      f [\\\\h\\f]",
                Kind::File,
                "f",
            ),
        ] {
            let found = read(text);
            assert_eq!(found.attributes.kind, kind, "{text}");
            assert_eq!(found.name, name.as_bytes(), "{text}");
        }
    }

    #[test]
    fn dates_and_times_are_read_in_all_their_forms() {
        for (text, year, month, day, hour, minute) in [
            ("04-27-00  12:09AM", 2000, 4, 27, 0, 9),
            ("04-27-00  12:09PM", 2000, 4, 27, 12, 9),
            ("04-27-70  01:09PM", 1970, 4, 27, 13, 9),
            ("04-27-2015  01:09 pm", 2015, 4, 27, 13, 9),
            ("04/27/2015  01:09 AM", 2015, 4, 27, 1, 9),
            ("27-04-2015  18:48", 2015, 4, 27, 18, 48),
            ("27.04.2015  18:48", 2015, 4, 27, 18, 48),
            ("2002-09-02  18:48", 2002, 9, 2, 18, 48),
        ] {
            let line = format!("{text}       <DIR>          x");
            let modified = read(&line).attributes.modified.expect(text);
            let expected = unix_seconds(year, month, day, hour, minute, 0);
            assert_eq!(Some(modified.seconds), expected, "{text}");
            assert_eq!(modified.precision, Precision::Minute);
        }
    }

    #[test]
    fn what_only_resembles_a_line_is_not_this_format() {
        for text in [
            "",
            "04-27-00  12:09PM",
            "04-27-00  12:09PM       <DIR>",
            "04-27-00  12:09XM       <DIR>          x",
            "04-27-00  13:09PM       <NOT>          x",
            "04-27-00  19:09PM       <DIR>          x",
            "04-27-00  12:09PM       ,12            x",
            "04-27-000 12:09PM       12             x",
            "-rw-r--r-- 1 u g 7 Jan 1 2020 x",
        ] {
            assert!(line(text.as_bytes(), &CLOCK).is_none(), "{text}");
        }
    }
}
