//! lost+found: what cannot be brought to the server stays on this machine.
//!
//! Every range that was written here is kept at its offset, whether the whole file is here or not. The rest is a hole, and
//! the `.reason` file next to it lists the ranges that count.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::remote::{Deadline, RemotePath};
use crate::vfs::error::Error;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::upload_state::UploadState;
use crate::vfs::spool::SpoolFile;
use crate::vfs::upload::Uploader;

/// Ranges listed in the reason; the others can be found as what is no hole.
const MAX_LISTED_RANGES: usize = 100;

/// Why lost+found has a file whose last close the journal has.
const STILL_OPEN: &str = "it was still open when the mount ended";
/// Why a file is kept whose last close could not wait for an upload of it.
const UNSETTLED: &str = "an upload of it had not ended when its last close gave up";

/// What was taken out of a file that could not be stored.
struct Unstored {
    reason: String,
    /// All bytes of the file are here.
    is_whole: bool,
    /// The ranges to keep.
    parts: Vec<Range<u64>>,
    /// Bytes of the file.
    size: u64,
    spool: Option<Arc<SpoolFile>>,
    /// Numbers of the journal's entries for it.
    journaled: Vec<u64>,
    /// A temporary file on the server that no longer serves any purpose.
    useless: Option<RemotePath>,
    /// A close of it had succeeded.
    was_closed: bool,
    /// Whether the file is marked as busy until lost+found has it.
    is_claim: bool,
}

/// Which files are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Those that no handle may write to.
    FromClosed,
    /// Any, at the end of the mount.
    FromOpen,
}

/// How a file was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// There was nothing to store.
    Nothing,
    /// It was not: a handle may still write to it.
    IsWritten,
    /// It is what the server has.
    Done {
        /// A close of what is given up had succeeded.
        was_closed: bool,
        /// The file in lost+found that has it.
        kept_as: Option<PathBuf>,
    },
}

/// What became of what could not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Saved {
    /// lost+found has it, as this file.
    InLostAndFound(PathBuf),
    /// There was no content.
    WithoutContent,
    /// lost+found could not take it.
    Nowhere,
}

impl Uploader {
    /// Gives up storing a file: what was written here goes to lost+found, and the file is again what the server has.
    ///
    /// The file's lock is not held while lost+found is written and synced. The content is taken out first, so that what is
    /// written meanwhile is a new change.
    pub(crate) fn give_up(&self, file: &File, error: Option<&Error>, from: Taken) -> GivenUp {
        let path = self.table.path(file.ino).unwrap_or_default();
        let lost = match self.take_unstored(file, &path, error, from) {
            Ok(lost) => lost,
            Err(instead) => return instead,
        };
        let saved = self.save(&path, &lost);
        // The journal keeps what lost+found could not take.
        if saved != Saved::Nowhere {
            for id in lost.journaled {
                if let Some(journal) = self.journal.get() {
                    journal.done(id);
                }
            }
        }
        if lost.is_claim {
            file.body.lock().upload.busy_until = None;
            file.uploaded.notify_all();
        }
        if let Some(temp) = lost.useless {
            self.remove_temp_file(&temp, &Deadline::after(self.settings.timeout));
        }
        GivenUp::Done {
            was_closed: lost.was_closed,
            kept_as: match saved {
                Saved::InLostAndFound(kept_as) => Some(kept_as),
                Saved::WithoutContent | Saved::Nowhere => None,
            },
        }
    }

    /// Takes out of a file what could not be stored; not while its name is about to change.
    fn take_unstored(
        &self,
        file: &File,
        path: &RemotePath,
        error: Option<&Error>,
        from: Taken,
    ) -> Result<Unstored, GivenUp> {
        let mut body = loop {
            // A writer that comes later finds the file as it is on the server.
            let opened = self.files.opened.lock();
            let mut handles = opened.handles.values();
            let is_spared = from == Taken::FromClosed;
            if is_spared && handles.any(|handle| handle.writes && handle.file.ino == file.ino) {
                return Err(GivenUp::IsWritten);
            }
            let Some(mut body) = file.body.try_lock() else {
                // Other files are not kept waiting.
                drop(opened);
                drop(file.body.lock());
                continue;
            };
            let claim = body.upload.busy_until.as_ref();
            let wait = match body.journal.is_committing() {
                true => Some(self.settings.timeout),
                false => claim.and_then(Deadline::remaining),
            };
            drop(opened);
            match wait {
                Some(wait) => file.uploaded.wait_for(&mut body, wait),
                None => break body,
            };
        };
        if !body.is_dirty() {
            return Err(GivenUp::Nothing);
        }
        let reason = (error.or(body.upload.state.why()))
            .map_or_else(|| "its close failed".to_string(), ToString::to_string);
        let mut useless = None;
        if let Some(temp) = body.name.temp.take() {
            body.content.base = temp.replaces;
            if body.missing().is_empty() {
                useless = Some(temp.path);
            } else {
                log::error!(
                    "upload: {path}: what was sent of it is left as {}",
                    temp.path
                );
            }
        }
        let is_whole = body.missing().is_empty();
        let parts = body.parts_to_keep();
        let mut journaled = std::mem::take(&mut body.journal.superseded);
        journaled.extend(body.journal.id.take());
        let lost = Unstored {
            reason,
            is_whole,
            parts,
            size: body.content.size,
            spool: body.content.spool.clone(),
            journaled,
            useless,
            was_closed: std::mem::take(&mut body.owes),
            is_claim: body.upload.busy_until.is_none(),
        };
        if lost.is_claim {
            // The file is not at rest before lost+found has it.
            body.upload.busy_until = Some(Deadline::after(self.settings.timeout));
        }
        self.reset_to_server(file, &mut body);
        Ok(lost)
    }

    /// Keeps a copy of an open file that was written to since the close that the journal has; that stays there.
    pub(crate) fn keep_written_since_close(&self, file: &File) {
        self.keep_current(file, STILL_OPEN);
    }

    /// Keeps a copy of a file whose last close ends before an upload of it has.
    pub(crate) fn keep_unsettled(&self, file: &File) {
        self.keep_current(file, UNSETTLED);
    }

    fn keep_current(&self, file: &File, why: &str) {
        let (spool, size, parts) = {
            let body = file.body.lock();
            let Some(spool) = body.content.spool.clone().filter(|_| body.is_dirty()) else {
                return;
            };
            (spool, body.content.size, body.parts_to_keep())
        };
        let path = self.table.path(file.ino).unwrap_or_default();
        // The journal may name the same file, and recovery takes what it has sent out of it.
        let copied = self.files.copy_spool(&spool, &parts, size);
        let kept = copied.and_then(|copy| self.keep(&path, &copy, (size, &parts), why));
        match kept {
            Ok(kept) => log::error!(
                "upload: {path}: {why}; its content as of now is kept as {}",
                kept.unwrap_or_default().display()
            ),
            Err(error) => log::error!(
                "upload: {path}: {why}; what was written and not stored is lost: {error}"
            ),
        }
    }

    /// Resets a file to what the server has, or to nothing where that has none: nothing of it is stored any more.
    fn reset_to_server(&self, file: &File, body: &mut Body) {
        let is_new = body.content.base.is_none();
        if !is_new {
            // lost+found takes the spool file over.
            body.content.spool = None;
            body.content.present = RangeSet::default();
            // Also for an open or an append that comes before the inode table is asked again.
            let size = body.content.base.and_then(|base| base.size);
            body.content.sizeless = size.is_none();
            let size = size.unwrap_or(0);
            (body.content.kept, body.content.size, body.content.ordered) = (size, size, size);
            body.content.holes = RangeSet::default();
            body.content.appended = None;
            body.upload.broke_off = None;
            body.journal.upload_begun = false;
        }
        body.content.dirty = RangeSet::default();
        (body.content.resized, body.content.emptied) = (false, false);
        body.upload.unconfirmed = false;
        body.upload.state = UploadState::Fine;
        // Mode and time were to be set on the content that is given up.
        (body.attributes.mode, body.attributes.modified) = (None, None);
        body.name.removed |= is_new;
        body.name.given_up |= is_new;
        let mut tree = self.table.lock();
        if let Some(node) = tree.get_mut(file.ino) {
            node.local = false;
            node.fetched = None;
            node.kernel.pages = None;
            node.generation += 1;
        }
        if is_new {
            let parent = tree.get(file.ino).map(|node| node.parent);
            tree.remove_own(file.ino);
            // A part of it may have arrived all the same.
            if let Some(parent) = parent {
                tree.doubt_listing(parent);
            }
        }
    }

    /// Saves to lost+found what was taken out, and logs where it is.
    fn save(&self, path: &RemotePath, lost: &Unstored) -> Saved {
        let (reason, size) = (&lost.reason, lost.size);
        let what = if lost.is_whole {
            "it"
        } else {
            "what was written of it"
        };
        let kept = match &lost.spool {
            Some(spool) => self.keep(path, spool, (size, &lost.parts), reason),
            None if size == 0 && lost.was_closed => (self.files.spool.create())
                .and_then(|empty| self.keep(path, &empty, (size, &lost.parts), reason)),
            None => Ok(None),
        };
        match kept {
            Ok(Some(kept)) => {
                log::error!(
                    "upload: {path}: not stored: {reason}; {what} is kept as {}",
                    kept.display()
                );
                return Saved::InLostAndFound(kept);
            }
            Ok(None) if size == 0 => {
                log::error!("upload: {path}: an empty file was not stored: {reason}");
            }
            Ok(None) => log::error!("upload: {path}: not cut to {size} bytes: {reason}"),
            Err(error) if !lost.journaled.is_empty() => {
                log::error!(
                    "upload: {path}: not stored: {reason}; not kept in lost+found: {error}; it stays in the journal for the next mount"
                );
                return Saved::Nowhere;
            }
            Err(error) => {
                log::error!(
                    "upload: {path}: not stored: {reason}; not kept in lost+found: {error}; its data is lost"
                );
                return Saved::Nowhere;
            }
        }
        Saved::WithoutContent
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

impl Body {
    /// The ranges that lost+found keeps: the whole file where it is here.
    fn parts_to_keep(&self) -> Vec<Range<u64>> {
        match self.missing().is_empty() {
            true => std::iter::once(0..self.content.size).collect(),
            false => self.unsent(),
        }
    }
}

fn named(parts: &[Range<u64>]) -> String {
    let name = |part: &Range<u64>| format!("{}-{}", part.start, part.end.saturating_sub(1));
    let mut names: Vec<String> = parts.iter().take(MAX_LISTED_RANGES).map(name).collect();
    if parts.len() > MAX_LISTED_RANGES {
        names.push(format!("and {} more", parts.len() - MAX_LISTED_RANGES));
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
