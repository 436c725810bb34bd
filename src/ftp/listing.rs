//! Listings: what MLSD and LIST answer, line by line, to entries.
//!
//! The one idea: a line is bytes, and what can't be read is said to be unreadable, never guessed
//! into a name. MLSD has a standard (RFC 3659 section 7); LIST has none (RFC 959 section 4.1.3),
//! so each format is a function that says whether a line is its own, and the first that says so
//! is asked first from then on.
//!
//! Invariants: a name that comes out of here satisfies [`is_name`], so a server can't make us
//! climb out of the mount or smuggle a command; names are never trimmed; `.` and `..` are
//! nothing; any bytes are read without a panic and in time that grows with their length alone.

mod date;
mod dos;
mod facts;
mod unix;
mod words;

use crate::remote::{Attributes, Entry, is_name};

pub use facts::facts;

/// What is known of the server's clock: LIST prints local times, often without the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970, UTC.
    pub now: i64,
    /// Seconds east of UTC of the times that LIST prints; 0 when unknown.
    pub zone: i32,
}

/// What one line of a listing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A name and its attributes.
    Entry(Entry),
    /// Nothing that a directory holds: `.`, `..`, a sum, a header, a blank line.
    Nothing,
    /// Something that could not be read, or a name that no file can have.
    Unreadable,
}

/// Reads the lines of one listing in their order.
#[derive(Clone, Debug)]
pub struct Reader {
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Facts,
    List {
        clock: Clock,
        format: Option<Format>,
    },
}

impl Reader {
    /// A reader of what MLSD answers.
    ///
    /// Names with a `/` are unreadable: no server is known that gives every pathname in full, and
    /// those that give one so mean something outside the directory.
    pub fn facts() -> Self {
        Self { how: How::Facts }
    }

    /// A reader of what LIST answers, in any known format.
    ///
    /// The format of the first line that was read goes first for those that follow.
    pub fn list(clock: Clock) -> Self {
        let format = None;
        Self {
            how: How::List { clock, format },
        }
    }

    /// Reads one line, given without its CRLF; a CR that was left is tolerated.
    pub fn line(&mut self, line: &[u8]) -> Line {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match &mut self.how {
            How::Facts => facts_line(line),
            How::List { clock, format } => list_line(line, clock, format),
        }
    }

    /// The entry that the end of the listing completes, in formats where one spans lines.
    pub fn finish(&mut self) -> Option<Entry> {
        None
    }
}

/// An entry before its name was judged.
#[derive(Debug)]
struct Found<'a> {
    name: &'a [u8],
    attributes: Attributes,
}

impl Found<'_> {
    fn judge(self) -> Line {
        match self.name {
            b"." | b".." => Line::Nothing,
            name if is_name(name) => Line::Entry(Entry {
                name: name.to_vec(),
                attributes: self.attributes,
            }),
            _ => Line::Unreadable,
        }
    }
}

/// The formats of LIST, the likeliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Unix,
    Dos,
}

impl Format {
    const ALL: [Self; 2] = [Self::Unix, Self::Dos];

    fn read<'a>(self, line: &'a [u8], clock: &Clock) -> Option<Found<'a>> {
        match self {
            Self::Unix => unix::line(line, clock),
            Self::Dos => dos::line(line, clock),
        }
    }
}

fn facts_line(line: &[u8]) -> Line {
    if line.trim_ascii().is_empty() {
        return Line::Nothing;
    }
    match facts::read(line) {
        Some((facts::Type::Around, ..)) => Line::Nothing,
        Some((_, attributes, name)) => Found { name, attributes }.judge(),
        None => Line::Unreadable,
    }
}

fn list_line(line: &[u8], clock: &Clock, format: &mut Option<Format>) -> Line {
    let first = *format;
    let others = Format::ALL
        .into_iter()
        .filter(|&other| Some(other) != first);
    for candidate in first.into_iter().chain(others) {
        if let Some(found) = candidate.read(line, clock) {
            *format = Some(candidate);
            return found.judge();
        }
    }
    match is_nothing(line) {
        true => Line::Nothing,
        false => Line::Unreadable,
    }
}

/// A blank line, `.` or `..` alone, or a sum ("total 112", "insgesamt 112").
fn is_nothing(line: &[u8]) -> bool {
    let mut words = words::Words::of(line);
    let Some(first) = words.next() else {
        return true;
    };
    match (words.next(), words.next()) {
        (None, _) => matches!(first, b"." | b".." | b".:"),
        (Some(sum), None) => {
            let number = sum.strip_suffix(b"K").unwrap_or(sum);
            words::is_number(number) && !first.iter().any(u8::is_ascii_digit)
        }
        _ => false,
    }
}
