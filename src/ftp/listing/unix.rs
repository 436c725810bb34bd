//! Parses LIST lines in the format of `ls -l` and of the many servers that imitate it.
//!
//! The date is found first. To its left stands the size, and left of the size the owners, in any number; to its right, after
//! exactly one blank, the name. The leftmost number with a date after it wins, so that a date inside a name stays in the name.
//!
//! # Invariants
//! A line is an entry only if it begins with a type letter and permissions. A name is never trimmed.

use crate::ftp::listing::date;
use crate::ftp::listing::date::Date;
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found};
use crate::remote::{Attributes, Kind};

/// Parses one line; `None` if it is not in this format.
pub(crate) fn line<'a>(line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
    let (head, tokens) = head(line)?;
    let mut found = tail(tokens, head.kind, clock)?;
    found.attributes.mode = head.mode;
    if head.pads {
        found.name = found.name.trim_ascii_start();
    }
    if head.kind == Kind::Symlink {
        cut_target(&mut found);
    }
    if head.kind == Kind::Directory {
        // As `ls -p` and `ls -F` mark them.
        found.name = found.name.strip_suffix(b"/").unwrap_or(found.name);
    }
    Some(found)
}

struct Head {
    kind: Kind,
    mode: Option<u32>,
    /// Whether names are padded into a column, so that leading blanks are not part of them.
    pads: bool,
}

/// The type and the permissions, and the tokens after them. Some servers put an inode number (`ls -i`) or blanks first.
fn head(line: &[u8]) -> Option<(Head, Tokens<'_>)> {
    let mut tokens = Tokens::of(line);
    let mut first = tokens.next()?;
    if tokens::is_number(first) {
        first = tokens.next()?;
    }
    let kind = match first[0] {
        b'-' => Kind::File,
        b'd' => Kind::Directory,
        b'l' => Kind::Symlink,
        b'b' | b'c' | b'p' | b's' | b'D' => Kind::Special,
        _ => return None,
    };
    if first.len() == 1 {
        let mut ahead = tokens.clone();
        let rights = ahead.next()?;
        if tokens::is_number(rights) {
            // No permissions at all: "d 4096 Jan 29 03:26 name".
            let head = Head {
                kind,
                mode: None,
                pads: false,
            };
            return Some((head, tokens));
        }
        // NetWare: a type letter and the trustee rights, "d [RWCEAFMS]".
        tokens = ahead;
        let rights = rights.strip_prefix(b"[")?.strip_suffix(b"]")?;
        let known = |byte: &u8| *byte == b'-' || byte.is_ascii_uppercase();
        let head = Head {
            kind,
            mode: None,
            pads: true,
        };
        return rights.iter().all(known).then_some((head, tokens));
    }
    let letters = first.get(1..10).unwrap_or(&first[1..]);
    let mode = permissions(letters);
    if mode.is_none() && !is_short(letters) {
        return None;
    }
    // "+", "." and "@" stand for access lists, SELinux labels and extended attributes; a large
    // link count may come without a blank ("drwxrwsr-x+144").
    let marks = first.get(10..).unwrap_or_default();
    let digits = match marks {
        [b'+' | b'.' | b'@', rest @ ..] => rest,
        rest => rest,
    };
    let head = Head {
        kind,
        mode,
        pads: false,
    };
    digits
        .iter()
        .all(u8::is_ascii_digit)
        .then_some((head, tokens))
}

/// Nine letters as permission bits.
fn permissions(letters: &[u8]) -> Option<u32> {
    let letters: &[u8; 9] = letters.try_into().ok()?;
    let mut mode = 0;
    for (index, &letter) in letters.iter().enumerate() {
        let bit = 0o400 >> index;
        let special = 0o4000 >> (index / 3);
        mode |= match (index % 3, letter) {
            (_, b'-') => 0,
            (0, b'r') | (1, b'w') | (2, b'x') => bit,
            (2, b's' | b't') => bit | special,
            // A group's "l" is mandatory locking: the set-group-ID bit without execution.
            (2, b'S' | b'T' | b'l' | b'L') => special,
            _ => return None,
        };
    }
    Some(mode)
}

/// One letter is missing: some embedded servers print eight.
fn is_short(letters: &[u8]) -> bool {
    letters.len() == 8 && letters.iter().all(|letter| b"rwxsStT-".contains(letter))
}

/// Owners, size, date and name.
pub(crate) fn tail<'a>(tokens: Tokens<'a>, kind: Kind, clock: &Clock) -> Option<Found<'a>> {
    let mut before = Before::default();
    let mut likely = None;
    let mut ahead = tokens.clone();
    while let Some(token) = ahead.next() {
        if is_size(token, kind)
            && let Some(date) = date::read(ahead.clone(), clock)
        {
            if date.modified.is_some() {
                return found(&before, Some(token), date, kind);
            }
            // A date in an unknown language, unless a date in a known one follows.
            likely = likely.or_else(|| found(&before, Some(token), date, kind));
        }
        if kind != Kind::Special || !is_major(token) {
            before.push(token);
        }
    }
    likely
        .or_else(|| sizeless(tokens.clone(), kind, clock))
        .or_else(|| dateless(tokens, kind))
}

/// The tokens before the size, of which three matter: link count, owner, group.
#[derive(Default)]
struct Before<'a> {
    tokens: [&'a [u8]; 3],
    count: usize,
}

impl<'a> Before<'a> {
    fn push(&mut self, token: &'a [u8]) {
        if let Some(place) = self.tokens.get_mut(self.count) {
            *place = token;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Owner and group. With more than three tokens one of the names contains a blank, and it is unknown which; with one or two
    /// tokens the link count or the group is missing.
    fn owners(&self) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
        let [one, two, three] = self.tokens;
        match self.count {
            1 if !tokens::is_number(one) && one != b"folder" => (Some(one), None),
            2 if tokens::is_number(one) => (Some(two), None),
            2 => (Some(one), Some(two)),
            3 => (Some(two), Some(three)),
            _ => (None, None),
        }
    }
}

/// Whether a token can stand where the size does: a number, a rounded one ("33.5k"), or the
/// numbers of a device ("109,767"; of "8, 1" it is the second).
fn is_size(token: &[u8], kind: Kind) -> bool {
    match token {
        _ if tokens::is_number(token) => true,
        [number @ .., _] if kind == Kind::Special => {
            number.iter().all(|&b| b.is_ascii_digit() || b == b',') && token[0].is_ascii_digit()
        }
        _ => rounded(token).is_some(),
    }
}

/// The first number of a device ("8, 1").
fn is_major(token: &[u8]) -> bool {
    token.strip_suffix(b",").is_some_and(tokens::is_number)
}

/// A size in units, as `ls -h` rounds it.
fn rounded(token: &[u8]) -> Option<u64> {
    let (&unit, number) = token.split_last()?;
    let shift = match unit.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        b't' => 40,
        _ => return None,
    };
    let mut parts = number.splitn(2, |&byte| byte == b'.');
    let whole = u64::from(tokens::small(parts.next()?)?);
    let mut bytes = whole << shift;
    if let Some(fraction) = parts.next() {
        let mut scale = 1;
        let digits = fraction.get(..3).unwrap_or(fraction);
        for _ in digits {
            scale *= 10;
        }
        bytes += (u64::from(tokens::small(digits)?) << shift) / scale;
    }
    Some(bytes)
}

fn found<'a>(
    before: &Before<'a>,
    size: Option<&[u8]>,
    date: Date<'a>,
    kind: Kind,
) -> Option<Found<'a>> {
    let mut attributes = Attributes::of(kind);
    attributes.modified = date.modified;
    if kind != Kind::Special {
        attributes.size = size.and_then(|token| tokens::size(token).or_else(|| rounded(token)));
    }
    let (owner, group) = before.owners();
    attributes.owner = owner.map(Into::into);
    attributes.group = group.map(Into::into);
    let name = match date.padded {
        true => date.after.padded_name(),
        false => date.after.name()?,
    };
    Some(Found { name, attributes })
}

/// No number stands before the date: the size grew into the group ("longgroup123456").
fn sizeless<'a>(mut tokens: Tokens<'a>, kind: Kind, clock: &Clock) -> Option<Found<'a>> {
    let before = Before::default();
    while let Some(token) = tokens.next() {
        let Some(date) = date::read(tokens.clone(), clock) else {
            continue;
        };
        if date.modified.is_none() {
            continue;
        }
        let letters = token.iter().rposition(|byte| !byte.is_ascii_digit())?;
        return found(&before, Some(&token[letters + 1..]), date, kind);
    }
    None
}

/// Link count, owner, group, size and the name, without a date. Only a name without a blank is accepted: with one, it may
/// contain a date that was not recognized.
fn dateless<'a>(mut tokens: Tokens<'a>, kind: Kind) -> Option<Found<'a>> {
    let links = tokens.next()?;
    let (owner, group) = (tokens.next()?, tokens.next()?);
    let size = tokens.next()?;
    if !tokens::is_number(links) || !tokens::is_number(size) {
        return None;
    }
    let name = tokens.name()?;
    let mut attributes = Attributes::of(kind);
    attributes.size = tokens::size(size);
    attributes.owner = Some(owner.into());
    attributes.group = Some(group.into());
    (!name.iter().any(|&byte| tokens::is_blank(byte))).then_some(Found { name, attributes })
}

/// Splits a link from its target at the first arrow: an arrow in a target is as rare as one in a name, and `ls` does not
/// distinguish them.
fn cut_target(found: &mut Found<'_>) {
    const ARROW: &[u8] = b" -> ";
    let arrow = found
        .name
        .windows(ARROW.len())
        .position(|part| part == ARROW);
    if let Some(at) = arrow.filter(|&at| at > 0) {
        let target = &found.name[at + ARROW.len()..];
        if !target.is_empty() {
            found.attributes.target = Some(target.into());
        }
        found.name = &found.name[..at];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::protocol::time_val::unix_seconds;
    use crate::remote::Precision;

    /// 2024-07-01 00:00:00 UTC.
    const CLOCK: Clock = Clock {
        now: 1_719_792_000,
        zone: 0,
    };

    fn read(text: &str) -> Found<'_> {
        line(text.as_bytes(), &CLOCK).unwrap_or_else(|| panic!("not read: {text}"))
    }

    #[test]
    fn an_ordinary_line_gives_all_that_it_says() {
        let found = read("-rw-r--r--    1 1000     users         531 Jan 29 03:26 READ ME");
        let known = found.attributes;
        assert_eq!(found.name, b"READ ME");
        assert_eq!(known.kind, Kind::File);
        assert_eq!(known.size, Some(531));
        assert_eq!(known.mode, Some(0o644));
        assert_eq!(known.owner.as_deref(), Some(&b"1000"[..]));
        assert_eq!(known.group.as_deref(), Some(&b"users"[..]));
        let modified = known.modified.expect("a time");
        assert_eq!(modified.precision, Precision::Minute);
        assert_eq!(Some(modified.seconds), unix_seconds(2024, 1, 29, 3, 26, 0));
    }

    #[test]
    fn line_without_permissions_is_read() {
        let found = read("d       4096 Jan 29 03:26 a dir");
        assert_eq!(
            (found.name, found.attributes.kind),
            (&b"a dir"[..], Kind::Directory)
        );
        let found = read("-        531 Jan 29  2020 f");
        let known = found.attributes;
        assert_eq!(
            (found.name, known.size, known.mode),
            (&b"f"[..], Some(531), None)
        );
    }

    #[test]
    fn a_name_is_never_trimmed_and_may_look_like_anything() {
        for name in [
            " lead",
            "trail ",
            "a  b",
            "-> x",
            "total 12",
            "Jan  1 12:00 x",
            "5 Jan  1  2020 y",
            "12:30",
            "2014 Invoices",
            "\"quoted\"",
            "a -> b",
            "\t",
        ] {
            let text = format!("-rw-r--r--   1 u g            7 Jan  1  2020 {name}");
            assert_eq!(read(&text).name, name.as_bytes());
            let text = format!("-rw-r--r--   1 u g            7 Jan  1 10:00 {name}");
            assert_eq!(read(&text).name, name.as_bytes());
        }
    }

    #[test]
    fn owners_and_counts_may_be_missing_or_many() {
        let cases = [
            ("-rw-r--r-- 1 ann 531 Jan 29 03:26 x", Some("ann"), None),
            ("-rw-r--r-- 1 1 531 Jan 29 03:26 x", Some("1"), None),
            (
                "-rw-r--r-- ann users 531 Jan 29 03:26 x",
                Some("ann"),
                Some("users"),
            ),
            (
                "-rw-r--r-- 1 ann domain users 531 Jan 29 03:26 x",
                None,
                None,
            ),
            ("-rw-r--r-- 0125039 531 Jan 29 2005 x", None, None),
            ("-rw-r--r-- 531 Jan 29 2005 x", None, None),
            (
                "drwxr-xr-x+144 ann users 531 Dec 31 2005 x",
                Some("ann"),
                Some("users"),
            ),
            (
                "  123 -rw-r--r-- 1 ann users 531 Dec 31 2005 x",
                Some("ann"),
                Some("users"),
            ),
            (
                "-rw-r--r-- 54149 27826 531 Jul 22 2010 x",
                Some("27826"),
                None,
            ),
            ("drwxr-xr-x folder 531 Jul 22 2010 x", None, None),
            (
                "- [R----F--] rhesus 531 Oct 20 15:27 x",
                Some("rhesus"),
                None,
            ),
        ];
        for (text, owner, group) in cases {
            let found = read(text);
            assert_eq!(found.name, b"x", "{text}");
            assert_eq!(found.attributes.size, Some(531), "{text}");
            assert_eq!(
                found.attributes.owner.as_deref(),
                owner.map(str::as_bytes),
                "{text}"
            );
            assert_eq!(
                found.attributes.group.as_deref(),
                group.map(str::as_bytes),
                "{text}"
            );
        }
    }

    #[test]
    fn a_link_is_cut_at_its_first_arrow() {
        for (text, name, target) in [
            ("a -> b", "a", Some("b")),
            ("a -> b -> c", "a", Some("b -> c")),
            ("a b -> ../c d ", "a b", Some("../c d ")),
            ("a", "a", None),
            ("a -> ", "a", None),
            (" -> b", " -> b", None),
        ] {
            let text = format!("lrwxrwxrwx   1 u g            7 Jan  1  2020 {text}");
            let found = read(&text);
            assert_eq!(found.name, name.as_bytes(), "{text}");
            assert_eq!(
                found.attributes.target.as_deref(),
                target.map(str::as_bytes)
            );
        }
    }

    #[test]
    fn what_is_neither_file_nor_directory_has_no_size() {
        for text in [
            "crw-r----- 1 root kmem 0, 27 Jan 30 11:42 x",
            "crw------- 1 root sys 109,767 Jul 2 2004 x",
            "brw-r--r-- 1 ftp nogroup 8,   1 Jan 22 2001 x",
            "prw-r--r-- 1 ftp nogroup 0 Jan 22 2001 x",
            "srwxr-xr-x 1 ftp nogroup 0 Jan 22 2001 x",
        ] {
            let found = read(text);
            assert_eq!(found.name, b"x");
            assert_eq!(found.attributes.kind, Kind::Special);
            assert_eq!(found.attributes.size, None);
        }
    }

    #[test]
    fn every_permission_letter_is_a_bit() {
        for (letters, mode) in [
            ("-rwxr-xr-x", Some(0o755)),
            ("-rwsr-sr--", Some(0o6754)),
            ("-rwSr-Sr-T", Some(0o7644)),
            ("drwxrwxrwt", Some(0o1777)),
            ("-rw-r-lr--", Some(0o2644)),
            ("----------", Some(0)),
            ("-rw-rw-rw-+", Some(0o666)),
            ("-rw-rw-rw-.", Some(0o666)),
            ("-rw-rw-rw-@", Some(0o666)),
            ("drw-r--rw", None),
        ] {
            let text = format!("{letters} 1 u g 7 Jan 1 2020 x");
            assert_eq!(read(&text).attributes.mode, mode, "{letters}");
        }
    }

    #[test]
    fn sizes_come_in_units_or_grown_into_the_group_or_impossible() {
        for (text, size) in [
            ("-rw-r--r-- 1 u g 33.5k Oct 5 21:22 x", Some(34_304)),
            ("-rw-r--r-- 1 u g 2M Oct 5 21:22 x", Some(2 << 20)),
            (
                "-r-xr-xr-x longowner longgroup123456 Feb 12 17:20 x",
                Some(123_456),
            ),
            ("-rw-r--r-- 1 u g 18446744073709551615 Nov 16 2006 x", None),
            (
                "-rw-r--r-- 1 u g 99999999999999999999999 Nov 16 2006 x",
                None,
            ),
        ] {
            let found = read(text);
            assert_eq!(found.name, b"x", "{text}");
            assert_eq!(found.attributes.size, size, "{text}");
        }
    }

    #[test]
    fn an_unknown_date_costs_the_time_not_the_name() {
        let found = read("-rw-r--r-- 1 u g 7 Xyz 12 10:30 a name");
        assert_eq!(found.name, b"a name");
        assert_eq!(found.attributes.modified, None);
        let found = read("drwxr-xr-x 3 slopri devlab 512 dateless");
        assert_eq!(found.name, b"dateless");
    }

    #[test]
    fn a_directory_loses_the_slash_of_ls_p() {
        assert_eq!(read("drwxr-xr-x 1 u g 7 Jan 1 2020 dir/").name, b"dir");
        assert_eq!(read("-rwxr-xr-x 1 u g 7 Jan 1 2020 dir/").name, b"dir/");
    }

    #[test]
    fn what_does_not_begin_with_permissions_is_not_this_format() {
        for text in [
            "",
            "total 12",
            "ls: .: Permission denied",
            "zrwxr-xr-x 2 root root 4096 Mar 2 15:13 x",
            "drwxr-xr-q 2 root root 4096 Mar 2 15:13 x",
            "-rw-r--r-- 1 root root 111325 Apr -7 18:79 x",
            "-rw-r--r-- 1 u g 7 Jan 1 2020",
            "d [bad] u 512 Jan 1 2020 x",
            "000000000x ",
        ] {
            assert!(line(text.as_bytes(), &CLOCK).is_none(), "{text}");
        }
    }
}
