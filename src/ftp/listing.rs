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

pub(crate) mod date;
pub(crate) mod dos;
pub(crate) mod eplf;
pub(crate) mod legacy;
pub(crate) mod mlsx;
pub(crate) mod month_names;
pub(crate) mod parser;
pub(crate) mod timezone;
pub(crate) mod tokens;
pub(crate) mod unix;

use crate::remote::{Attributes, Entry, is_name};

pub use crate::ftp::listing::mlsx::facts;
pub use crate::ftp::listing::parser::Parser;

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

/// An entry before its name was judged.
#[derive(Debug)]
pub(crate) struct Found<'a> {
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
