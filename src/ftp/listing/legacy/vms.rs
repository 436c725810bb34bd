//! Parses LIST of OpenVMS: `NAME.TYPE;VERSION`, then size, date, owner and protection.
//!
//! A name that is too long for its column stands in a line of its own, and its attributes in the next line. So an entry may have
//! to wait for the next line, and is returned with the line after that when no attributes came.
//!
//! # Invariants
//! * The version is removed, since a name without one means the newest; older versions, which follow the newest, are skipped.
//! * `X.DIR` is the directory `X`.
//! * Sizes are counted in blocks and therefore unknown.

use crate::ftp::listing::date;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::listing::{Clock, Found, Line};
use crate::remote::{Attributes, Entry, Kind};

/// The state between lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parser {
    /// Whether a header or a whole entry was seen, so that the format is certain.
    sure: bool,
    /// Whether the next line may hold the attributes of the previous name.
    awaits: bool,
    /// The entry that is not returned yet.
    pending: Option<Entry>,
    /// The last name, to skip its older versions.
    last: Vec<u8>,
}

impl Parser {
    /// Whether the next line is offered to this parser first.
    pub(crate) fn waits(&self) -> bool {
        self.awaits || self.pending.is_some()
    }

    /// Parses one line; `None`, with the state unchanged, if it is not in this format.
    pub(crate) fn line(&mut self, line: &[u8], clock: &Clock) -> Option<Line> {
        let awaited = std::mem::take(&mut self.awaits);
        let read = self.read(line, awaited, clock);
        if read.is_none() {
            self.awaits = awaited;
        }
        read
    }

    fn read(&mut self, line: &[u8], awaited: bool, clock: &Clock) -> Option<Line> {
        if is_around(line, self.sure || self.waits()) {
            self.sure = true;
            return Some(self.give(None));
        }
        if awaited {
            let mut known = Attributes::of(Kind::File);
            let text = line.trim_ascii_start();
            let tells = is_refusal(text)
                || (text.first().is_some_and(u8::is_ascii_digit)
                    && learn(&mut known, Tokens::of(line), clock));
            if tells {
                self.sure = true;
                if let Some(entry) = &mut self.pending {
                    known.kind = entry.attributes.kind;
                    entry.attributes = known;
                }
                return Some(self.give(None));
            }
        }
        let mut tokens = Tokens::of(line);
        let (name, mut attributes) = self.name(tokens.next()?)?;
        let rest = tokens.rest().trim_ascii();
        if rest.is_empty() {
            self.awaits = true;
        } else if !is_refusal(rest) && !learn(&mut attributes, tokens, clock) {
            return None;
        }
        self.sure |= !rest.is_empty();
        if name == self.last {
            return Some(self.give(None));
        }
        self.last = name.to_vec();
        let Line::Entry(entry) = (Found { name, attributes }).check_name() else {
            // The next line may hold the attributes of this name, not of the waiting entry.
            self.awaits = false;
            return Some(Line::Unreadable);
        };
        Some(self.give(Some(entry)))
    }

    /// The entry that still waits at the end of the listing.
    pub(crate) fn finish(&mut self) -> Option<Entry> {
        self.pending.take()
    }

    /// Returns the waiting entry, and lets the new one wait if necessary.
    fn give(&mut self, new: Option<Entry>) -> Line {
        let given = match self.pending.take() {
            Some(earlier) => {
                self.pending = new;
                Some(earlier)
            }
            None if self.awaits => {
                self.pending = new;
                None
            }
            None => new,
        };
        given.map_or(Line::Nothing, Line::Entry)
    }

    /// Removes the directory before a name and the version after it. Without a version it is a name only where the format is
    /// certain.
    fn name<'a>(&self, token: &'a [u8]) -> Option<(&'a [u8], Attributes)> {
        let name = match token.iter().rposition(|&byte| byte == b';') {
            Some(at) if at + 1 < token.len() && token[at + 1..].iter().all(u8::is_ascii_digit) => {
                &token[..at]
            }
            None if self.sure && token.contains(&b'.') => token,
            _ => return None,
        };
        let name = match name.first() {
            Some(b'[') => &name[name.iter().position(|&byte| byte == b']')? + 1..],
            _ => name,
        };
        let stem = name.len().checked_sub(4).filter(|&stem| stem > 0);
        match stem {
            Some(stem) if name[stem..].eq_ignore_ascii_case(b".DIR") => {
                Some((&name[..stem], Attributes::of(Kind::Directory)))
            }
            _ => Some((name, Attributes::of(Kind::File))),
        }
    }
}

/// Blank lines, headers and sums: `Directory DISK:[A.B]`, `DISK:`, `ANONYMOUS:[000000]`, `Total of
/// 11 files, 17 blocks.`
fn is_around(line: &[u8], sure: bool) -> bool {
    let mut tokens = Tokens::of(line);
    let Some(first) = tokens.next() else {
        return sure;
    };
    match tokens.next() {
        None => {
            let bracket = first.windows(2).any(|pair| pair == b":[");
            (bracket && first.ends_with(b"]")) || (sure && first.ends_with(b":"))
        }
        Some(second) if first == b"Directory" => second.contains(&b'['),
        Some(second) => sure && second == b"of" && matches!(first, b"Total" | b"Grand"),
    }
}

/// The reason why attributes are hidden, in their place: `%RMS-E-PRV, insufficient
/// privilege`, `<%SYSTEM-F-NOPRIV, …>`.
fn is_refusal(text: &[u8]) -> bool {
    text.starts_with(b"%") || text.starts_with(b"<%")
}

/// Parses the time, and the owner in brackets, from the text after a name; `false` when there is no date.
fn learn<'a>(attributes: &mut Attributes, tokens: Tokens<'a>, clock: &Clock) -> bool {
    let mut ahead = tokens.clone();
    let mut from = tokens.clone();
    let mut date = None;
    while let Some(token) = ahead.next() {
        if is_day(token) {
            date = date::read(from, clock);
            break;
        }
        from = ahead.clone();
    }
    let Some(date) = date else {
        return false;
    };
    attributes.modified = date.modified;
    for token in tokens {
        if let Some(owner) = token.strip_prefix(b"[") {
            let owner = owner.strip_suffix(b"]").unwrap_or(owner);
            let mut parts = owner.splitn(2, |&byte| byte == b',');
            let keep = |part: &'a [u8]| (!part.is_empty()).then(|| part.into());
            let first = parts.next().and_then(keep);
            match parts.next().and_then(keep) {
                Some(second) => (attributes.group, attributes.owner) = (first, Some(second)),
                None => attributes.owner = first,
            }
        }
    }
    true
}

/// `2-JUL-2003`
fn is_day(token: &[u8]) -> bool {
    let mut parts = token.split(|&byte| byte == b'-');
    let (day, month) = (parts.next(), parts.next());
    parts.next().is_some_and(|year| year.len() == 4)
        && day.is_some_and(|day| matches!(day.len(), 1 | 2))
        && month.is_some_and(|month| month.first().is_some_and(|&first| !first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::protocol::time_val::format_time_val;

    const CLOCK: Clock = Clock {
        now: 1_719_792_000,
        zone: 0,
    };

    fn shown(entry: &Entry) -> String {
        let known = &entry.attributes;
        let time = known.modified.and_then(|m| format_time_val(m.seconds));
        format!(
            "{} {:?} {}",
            String::from_utf8_lossy(&entry.name),
            known.kind,
            time.unwrap_or("-".to_string())
        )
    }

    fn read(lines: &[&str]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut entries = Vec::new();
        for line in lines {
            match parser.line(line.as_bytes(), &CLOCK) {
                Some(Line::Entry(entry)) => entries.push(shown(&entry)),
                Some(Line::Nothing) => {}
                Some(Line::Unreadable) | None => entries.push(format!("unreadable: {line}")),
            }
        }
        entries.extend(parser.finish().as_ref().map(shown));
        entries
    }

    #[test]
    fn a_whole_listing_gives_its_names_and_nothing_else() {
        let entries = read(&[
            "",
            "Directory ANONYMOUS_ROOT:[000000]",
            "",
            ".WELCOME;1                 2  13-FEB-2002 23:32:40.47",
            "DECUS.DIR;1                1   9-MAY-2001 22:18:51.69",
            "MAIL_ARCHIVES.DIR;1",
            "                           1  13-DEC-2005 08:45:27.56",
            "README.TXT;4               2  18-APR-2000 10:40:39.90",
            "README.TXT;3               2  17-APR-2000 10:40:39.90",
            "A.;2          18/18        7-JAN-2000    [G,O] (RWED,RWED,RE,)",
            "",
            "Total of 11 files, 17 blocks.",
        ]);
        assert_eq!(
            entries,
            [
                // The first line is blank before anything says that this is VMS.
                "unreadable: ",
                ".WELCOME File 20020213233240",
                "DECUS Directory 20010509221851",
                "MAIL_ARCHIVES Directory 20051213084527",
                "README.TXT File 20000418104039",
                "A. File 20000107000000",
            ]
        );
    }

    #[test]
    fn a_name_without_its_line_is_not_lost_and_loses_no_other() {
        let entries = read(&[
            "ANON_FTP_LOG.LOG;23",
            "                   <%SYSTEM-F-NOPRIV, insufficient privilege>",
            "AUTOEXEC.BAT;1      %RMS-E-PRV, insufficient privilege",
            "A.A;1",
            "B.B;1",
            "C.C;1                1   9-MAY-2001 22:18:51.69",
            "LONG.NAME-WITHOUT-VERSION",
            "                     1   9-MAY-2001 22:18:51.69",
            "D.D;1",
        ]);
        assert_eq!(
            entries,
            [
                "ANON_FTP_LOG.LOG File -",
                "AUTOEXEC.BAT File -",
                "A.A File -",
                "B.B File -",
                "C.C File 20010509221851",
                "LONG.NAME-WITHOUT-VERSION File 20010509221851",
                "D.D File -",
            ]
        );
    }

    #[test]
    fn a_name_and_its_line_find_each_other_past_what_is_neither() {
        let entries = read(&[
            "A.A;1",
            "*** neither ***",
            "                     1   9-MAY-2001 22:18:51.69",
            "B.B;1",
            "B/C;1",
            "                     1   9-MAY-2001 22:18:51.69",
        ]);
        assert_eq!(
            entries,
            [
                "unreadable: *** neither ***",
                "A.A File 20010509221851",
                "unreadable: B/C;1",
                "unreadable:                      1   9-MAY-2001 22:18:51.69",
                "B.B File -",
            ]
        );
    }

    #[test]
    fn owners_stand_in_brackets_in_any_place() {
        let mut parser = Parser::default();
        for (line, owner, group) in [
            (
                "A;1  1/3  2-AUG-2006 13:05 [GRP,OWN] (RWE,,,)",
                Some("OWN"),
                Some("GRP"),
            ),
            (
                "B;1  [SUMMARY]    1/3     2-AUG-2006 13:05  (RWE,,,)",
                Some("SUMMARY"),
                None,
            ),
            ("[A.DIR]C;1 1/3 5-MAR-1993 18:09", None, None),
        ] {
            let Some(Line::Entry(entry)) = parser.line(line.as_bytes(), &CLOCK) else {
                panic!("not read: {line}");
            };
            assert_eq!(entry.name.len(), 1);
            let known = entry.attributes;
            assert_eq!(known.owner.as_deref(), owner.map(str::as_bytes));
            assert_eq!(known.group.as_deref(), group.map(str::as_bytes));
            assert_eq!(known.size, None);
        }
    }

    #[test]
    fn prose_and_other_formats_are_refused() {
        for line in [
            "total 12",
            "-rw-r--r-- 1 u g 7 Jan 1 2020 x;1",
            "Permission denied",
            "x;y",
            "a;1 and some words",
        ] {
            let mut parser = Parser::default();
            assert_eq!(parser.line(line.as_bytes(), &CLOCK), None, "{line}");
        }
    }
}
