//! Keeping: what can't be brought to the server stays on this machine, under `lost+found`.
//!
//! The one idea: whatever was written here is kept where it was written, whether all of the file is here or not. What was
//! never here is a hole, and the reason beside it says which parts count.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::remote::{Deadline, RemotePath};
use crate::vfs::error::Error;
use crate::vfs::file::open_file::File;
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::upload_state::UploadState;
use crate::vfs::spool::SpoolFile;
use crate::vfs::upload::Uploader;

/// So many parts are named; who wrote more finds them by what is no hole.
const NAMED: usize = 100;

impl Uploader {
    /// Keeps what can't be brought to the server, if it is whole, and forgets it here.
    pub(crate) fn give_up(&self, file: &File, error: Option<&Error>) {
        let path = self.table.path(file.ino).unwrap_or_default();
        let mut body = file.body.lock();
        if !body.is_dirty() {
            return;
        }
        let reason = (error.or(body.upload.state.why()))
            .map_or_else(|| "its close failed".to_string(), ToString::to_string);
        let mut useless = None;
        if let Some(beside) = body.name.beside.take() {
            body.content.base = beside.replaces;
            if body.missing().is_empty() {
                useless = Some(beside.path);
            } else {
                log::error!("{path}: what was sent of it is left as {}", beside.path);
            }
        }
        let is_whole = body.missing().is_empty();
        let parts = match is_whole {
            true => std::iter::once(0..body.content.size).collect(),
            false => body.unsent(),
        };
        let what = if is_whole {
            "it"
        } else {
            "what was written of it"
        };
        let kept = match &body.content.spool {
            Some(spool) => self.keep(&path, spool, (body.content.size, &parts), &reason),
            None => Ok(None),
        };
        match kept {
            Ok(Some(kept)) => {
                log::error!(
                    "{path} could not be stored ({reason}); {what} is kept as {}",
                    kept.display()
                );
                if body.content.base.is_some() {
                    // It is no spool any more.
                    body.content.spool = None;
                    body.content.present = RangeSet::default();
                }
                self.files.journal_done(&mut body);
            }
            Ok(None) if body.content.size == 0 => {
                log::error!("{path}, an empty file, could not be stored ({reason})");
                self.files.journal_done(&mut body);
            }
            Ok(None) => {
                log::error!(
                    "{path} could not be cut to {} bytes ({reason})",
                    body.content.size
                );
                self.files.journal_done(&mut body);
            }
            Err(error) if body.journal.id.is_some() => {
                log::error!(
                    "{path} could not be stored ({reason}), nor kept: {error}; it stays in the journal for the next mount"
                );
                self.files.journal_leave(&mut body);
            }
            Err(error) => log::error!("{path} could not be stored ({reason}), nor kept: {error}"),
        }
        body.content.dirty = RangeSet::default();
        (body.content.resized, body.content.emptied) = (false, false);
        body.upload.unconfirmed = false;
        body.upload.state = UploadState::Fine;
        // What was to be set on it was for what it was to be.
        (body.attributes.mode, body.attributes.modified) = (None, None);
        let is_new = body.content.base.is_none();
        body.name.removed |= is_new;
        let mut tree = self.table.lock();
        if let Some(node) = tree.get_mut(file.ino) {
            node.local = false;
            node.fetched = None;
            node.pages = None;
            node.generation += 1;
        }
        if is_new {
            let parent = tree.get(file.ino).map(|node| node.parent);
            tree.remove_own(file.ino);
            // What came of it may be there all the same.
            if let Some(parent) = parent {
                tree.doubt_listing(parent);
            }
        }
        drop(tree);
        drop(body);
        if let Some(beside) = useless {
            self.remove_beside(&beside, &Deadline::after(self.settings.timeout));
        }
    }

    /// Keeps the `parts` of a file of `size` bytes; `None` where nothing of it was written here.
    pub(crate) fn keep(
        &self,
        path: &RemotePath,
        spool: &SpoolFile,
        (size, parts): (u64, &[Range<u64>]),
        reason: &str,
    ) -> io::Result<Option<PathBuf>> {
        if parts.is_empty() && size > 0 {
            return Ok(None);
        }
        let reason = match parts {
            [] => reason.to_string(),
            [all] if *all == (0..size) => reason.to_string(),
            parts => format!(
                "{reason}\nof its {size} bytes these were written here, and the others are holes: {}",
                named(parts)
            ),
        };
        let kept = self
            .files
            .spool
            .keep(spool, size, path.as_bytes(), &reason)?;
        Ok(Some(kept))
    }
}

fn named(parts: &[Range<u64>]) -> String {
    let name = |part: &Range<u64>| format!("{}-{}", part.start, part.end.saturating_sub(1));
    let mut names: Vec<String> = parts.iter().take(NAMED).map(name).collect();
    if parts.len() > NAMED {
        names.push(format!("and {} more", parts.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_their_first_and_last_byte() {
        assert_eq!(named(&[0..1, 5..9]), "0-0, 5-8");
        let many: Vec<_> = (0..102).map(|at| at * 10..at * 10 + 1).collect();
        assert!(named(&many).ends_with("990-990, and 2 more"));
    }
}
