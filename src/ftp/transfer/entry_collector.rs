//! Collects the entries of a listing from its lines, and decides whether they are all.

use std::collections::HashSet;

use crate::ftp::listing::{Line, Parser};
use crate::ftp::transfer::listing_stream::LINE_LIMIT;
use crate::remote::{Completeness, Entry, OwnerName};

/// The most entries of one directory that are kept, so that a server cannot exhaust memory.
const ENTRY_LIMIT: usize = 2_000_000;
/// Bytes of the names and the targets of links in one directory that are kept: 255 for each of the most entries.
const BYTES_LIMIT: usize = 512 << 20;
/// Bytes of a name of an owner or a group that is kept: Linux has 32.
const OWNER_LENGTH_LIMIT: usize = 256;
/// Bytes of the target of a link: with more the kernel takes none (`PATH_MAX`).
const TARGET_LENGTH_LIMIT: usize = 4095;
/// Owners and groups of a listing that are compared with those that follow.
const SHARED_OWNERS: usize = 1000;
/// The most lines that cannot be parsed, so that a server cannot hold a caller by sending them without end.
const UNREADABLE_LIMIT: usize = 200_000;
/// Bytes of an unreadable line that the log shows.
const SHOWN_LINE_LIMIT: usize = 200;

/// Entries in the server's bytes, and whether they are all.
pub type Listed = (Vec<Entry>, Completeness);

/// Collects the entries of a listing, and counts the lines that cannot be parsed.
pub struct EntryCollector {
    parser: Parser,
    /// What came so far.
    pub entries: Vec<Entry>,
    /// Owners and groups, so that each takes memory once.
    owners: HashSet<OwnerName>,
    unreadable: usize,
    first_unreadable: Vec<u8>,
    /// Bytes of names and targets that came so far.
    bytes: usize,
    /// More entries came than [`ENTRY_LIMIT`], or more bytes than [`BYTES_LIMIT`].
    is_full: bool,
}

impl EntryCollector {
    /// A collector of lines that `parser` parses, of the listing of `directory` (absolute).
    pub fn new(parser: Parser, directory: &[u8]) -> Self {
        Self {
            parser: parser.within(directory),
            entries: Vec::new(),
            owners: HashSet::new(),
            unreadable: 0,
            first_unreadable: Vec::new(),
            bytes: 0,
            is_full: false,
        }
    }

    /// Adds a line; false where no more are taken.
    pub fn line(&mut self, line: &[u8]) -> bool {
        let parsed = match line.len() > LINE_LIMIT {
            true => Line::Unreadable,
            false => self.parser.line(line),
        };
        match parsed {
            Line::Entry(mut entry) if self.has_room() => {
                let attributes = &mut entry.attributes;
                let length = attributes.target.as_deref().map_or(0, <[u8]>::len);
                match length > TARGET_LENGTH_LIMIT {
                    true => attributes.target = None,
                    false => self.bytes += length,
                }
                self.bytes += entry.name.len();
                self.share(&mut attributes.owner);
                self.share(&mut attributes.group);
                self.entries.push(entry);
            }
            Line::Entry(_) => self.is_full = true,
            Line::Nothing => {}
            Line::Unreadable => {
                if self.unreadable == 0 {
                    self.first_unreadable = line[..line.len().min(SHOWN_LINE_LIMIT)].to_vec();
                }
                self.unreadable += 1;
            }
        }
        !self.is_full && self.unreadable < UNREADABLE_LIMIT
    }

    fn has_room(&self) -> bool {
        self.entries.len() < ENTRY_LIMIT && self.bytes < BYTES_LIMIT
    }

    /// Replaces an owner or group by one that came before. What is too long for one is dropped.
    fn share(&mut self, owner: &mut Option<OwnerName>) {
        *owner = owner
            .take()
            .filter(|owner| owner.len() <= OWNER_LENGTH_LIMIT);
        let Some(owner) = owner else { return };
        match self.owners.get(owner) {
            Some(known) => *owner = known.clone(),
            None if self.owners.len() < SHARED_OWNERS => {
                self.owners.insert(owner.clone());
            }
            None => {}
        }
    }

    /// Whether the listing is in the format of a Windows server.
    pub fn is_of_windows(&self) -> bool {
        self.parser.format() == Some("DOS")
    }

    /// The entries; `received` is how much of the listing came.
    pub fn finish(mut self, directory: &[u8], received: Completeness) -> Listed {
        self.entries.extend(self.parser.finish());
        let is_empty = self.entries.is_empty() && !self.parser.says_empty(self.unreadable);
        let completeness = match received {
            _ if self.is_full => Completeness::Cut,
            Completeness::Whole if self.unreadable > 0 && is_empty => Completeness::Cut,
            Completeness::Whole if self.unreadable > 0 => Completeness::Partial,
            received => received,
        };
        let directory = directory.escape_ascii();
        if self.unreadable > 0 {
            log::warn!(
                "list: {} lines in the listing of {directory} cannot be parsed, the first: {}",
                self.unreadable,
                self.first_unreadable.escape_ascii()
            );
        }
        if completeness == Completeness::Cut {
            log::warn!(
                "list: the listing of {directory} ends in an error: entries are missing ({} known)",
                self.entries.len()
            );
        }
        (self.entries, completeness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlong_owners_and_targets_are_dropped_and_bytes_are_bounded() {
        let mut collector = EntryCollector::new(Parser::facts(), b"/");
        let line = |owner: usize, target: usize| {
            let (owner, target) = ("o".repeat(owner), "t".repeat(target));
            format!("type=OS.unix=slink:{target};UNIX.ownername={owner}; name").into_bytes()
        };
        assert!(collector.line(&line(OWNER_LENGTH_LIMIT, TARGET_LENGTH_LIMIT)));
        assert!(collector.line(&line(OWNER_LENGTH_LIMIT + 1, TARGET_LENGTH_LIMIT + 1)));
        let lengths = collector.entries.iter().map(|entry| {
            let known = &entry.attributes;
            let owner = known.owner.as_deref().map(<[u8]>::len);
            (owner, known.target.as_deref().map(<[u8]>::len))
        });
        let whole = (Some(OWNER_LENGTH_LIMIT), Some(TARGET_LENGTH_LIMIT));
        assert_eq!(lengths.collect::<Vec<_>>(), [whole, (None, None)]);
        collector.bytes = BYTES_LIMIT;
        assert!(!collector.line(&line(1, 1)));
        let (_, completeness) = collector.finish(b"/", Completeness::Whole);
        assert_eq!(completeness, Completeness::Cut);
    }
}
