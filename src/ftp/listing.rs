//! Types and formats of directory listings: what MLSD and LIST answer.
//!
//! Each format is a module that parses one line; `parser.rs` chooses between them. A line that cannot be parsed is reported as
//! unreadable, never guessed into a name.
//!
//! * `parser`: chooses the format, and parses a listing line by line
//! * `mlsx`: facts of `MLST` and `MLSD`
//! * `unix`: `ls -l` and its imitators
//! * `dos`: `dir` of MS-DOS, as IIS lists
//! * `eplf`: Easily Parsed LIST Format
//! * `legacy`: formats of other operating systems
//! * `date`: dates of `LIST`
//! * `month_names`: names of months in many languages
//! * `timezone`: converts local times of a listing to UTC
//! * `tokens`: splits a line at its blanks, and parses numbers
//!
//! # Invariants
//! * A name that a parser returns satisfies [`is_name`], so a server cannot make the mount leave its directory or inject a
//!   command. Names are never trimmed; `.` and `..` are no entries.
//! * Any bytes are parsed without a panic, in time linear in their length.

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

/// The server's clock, by which LIST's local times, often without a year, are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970, UTC.
    pub now: i64,
    /// Seconds east of UTC of the times that LIST prints; 0 when unknown.
    pub zone: i32,
}

/// The result of parsing one line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A name and its attributes.
    Entry(Entry),
    /// No entry: `.`, `..`, a sum, a header, a blank line.
    Nothing,
    /// A line that could not be parsed, or a name that no file can have.
    Unreadable,
}

/// An entry whose name has not been checked yet.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    name: &'a [u8],
    attributes: Attributes,
}

impl Found<'_> {
    /// The same with the name as `directory` has it, where the server reported its path: `./name`, or `directory/name`.
    fn within(mut self, directory: &[u8]) -> Self {
        let below = self.name.strip_prefix(b"./").or_else(|| {
            let path = self.name.strip_prefix(directory)?;
            match directory.ends_with(b"/") {
                true => Some(path),
                false => path.strip_prefix(b"/"),
            }
        });
        if let Some(name) = below.filter(|_| !directory.is_empty()) {
            self.name = name;
        }
        self
    }

    fn check_name(self) -> Line {
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
