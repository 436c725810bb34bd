//! Takes over the outcome of an upload: the new base version, or what has to be sent again.
//!
//! What the server has confirmed is the new base, with what other clients have appended. What a failed upload may have
//! damaged no longer counts, and is dirty again.
//!
//! # Lock order
//!
//! A file's lock before the inode table's.

use std::sync::atomic::Ordering;

use crate::remote;
use crate::remote::{Change, Plan, Precision, Updated, Version, Why};
use crate::vfs::attributes::{SPECIAL_BITS, What};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::upload_state::Report;
use crate::vfs::inode::kept::{Kept, KeptMode, KeptTime, Timestamp};
use crate::vfs::upload::Uploader;

impl Uploader {
    /// Drops what the disk cache has of a file, before the version is known that an upload has made: an earlier content
    /// may have the same size and second.
    pub(crate) fn invalidate_disk(&self, file: &File) {
        if let Ok(path) = self.table.path(file.ino) {
            file.reader.invalidate_disk(&path);
        }
    }

    /// The version that an upload of `change` has made.
    pub(crate) fn version_made(change: &Change, updated: &Updated) -> Version {
        Version {
            size: updated.version.size.or(Some(change.size)),
            modified: updated.version.modified,
        }
    }

    /// Takes over a successful upload.
    pub(crate) fn updated(
        &self,
        file: &File,
        body: &mut Body,
        change: &Change,
        updated: Updated,
    ) -> Result<Version> {
        let version = Self::version_made(change, &updated);
        body.uploaded(version, change.size);
        if updated.version == Version::default() && !self.remote.traits().stats {
            self.table.lock().note_stored_unseen(file.ino);
        }
        if version.size != Some(change.size) {
            // Other clients appended, too: what was sent is read from the server by reads that come before this is
            // published.
            body.merged.has_remote_bytes = true;
            body.merged.reader_is_stale = true;
            if !body.content.dirty.is_empty() {
                // What was written meanwhile goes after that, or to its offset.
                self.files.leave_journaled(body);
                body.content.base = Some(Version {
                    size: Some(change.size),
                    ..version
                });
                body.rebase(&self.files.spool, version)?;
            }
        }
        if change.then.mode.is_some()
            && body.attributes.mode.map(|(mode, _)| mode) == change.then.mode
            && !self.is_to_lose_special_bits(change.then.mode, updated.mode.as_ref())
        {
            self.mode_outcome(file, body.attributes.mode.take(), updated.mode)?;
        }
        if body.attributes.modified == change.then.modified {
            body.attributes.modified = None;
        }
        if let (Some(Err(error)), Some(seconds)) = (updated.modified, change.then.modified) {
            let failed = Err(Error::NotPermitted(error));
            self.attributes
                .keep_unstored(file.ino, failed, What::Times, |kept| {
                    // With parts of a second it is kept already.
                    let kept_seconds = kept.modified.map(|kept| kept.moment().seconds);
                    if kept_seconds != Some(seconds) {
                        kept.modified = Some(KeptTime::Set(Timestamp::of_seconds(seconds)));
                    }
                })?;
        }
        Ok(version)
    }

    /// Whether a mode is to be set once more when the file is closed, without the bits for which the server may have
    /// refused it.
    fn is_to_lose_special_bits(
        &self,
        mode: Option<u32>,
        outcome: Option<&remote::Result<()>>,
    ) -> bool {
        let is_special = mode.is_some_and(|mode| mode & SPECIAL_BITS != 0);
        is_special && matches!(outcome, Some(Err(_))) && self.attributes.keeps()
    }

    /// What the server said to the permission bits of a file. Those that a program has set, rather than given when it
    /// made the file, fail its close where they can be neither stored nor kept.
    fn mode_outcome(
        &self,
        file: &File,
        mode: Option<(u32, bool)>,
        outcome: Option<remote::Result<()>>,
    ) -> Result<()> {
        let Some((mode, promised)) = mode else {
            return Ok(());
        };
        let is_stored = matches!(outcome, Some(Ok(())));
        let settled = match outcome {
            Some(Err(error)) => Err(Error::NotPermitted(error)),
            Some(Ok(())) => Ok(()),
            None => Err(Error::Impossible),
        };
        let keep = |kept: &mut Kept| kept.mode = Some(KeptMode::Refused(mode));
        let settled = self
            .attributes
            .keep_unstored(file.ino, settled, What::Modes, keep);
        let mut tree = self.table.lock();
        if let Some(node) = tree.get_mut(file.ino) {
            node.attributes.mode = is_stored.then_some(mode);
        }
        drop(tree);
        match settled {
            Err(error) if !promised => {
                log::info!(
                    "upload: mode {mode:o} of a new file not set: {error}; it keeps the server's default"
                );
                Ok(())
            }
            settled => settled,
        }
    }

    /// Publishes the result of an upload in the inode table and to the reader.
    pub(crate) fn publish_upload(&self, file: &File, body: &mut Body, result: &Result<Version>) {
        let mut tree = self.table.lock();
        tree.touch(file.ino);
        let Some(node) = tree.get_mut(file.ino) else {
            return;
        };
        node.local = body.is_dirty();
        if node.local {
            // What is read from the server from now on is of another version.
            body.merged.reader_is_stale |= result.is_ok();
            return;
        }
        // The kernel's pages hold what was written: they are those of the new version, unless bytes of other clients
        // are between.
        let mixed = std::mem::take(&mut body.merged.has_remote_bytes);
        let generation = node.generation + 1;
        match body.content.base {
            Some(version) => {
                node.refresh_own_version(version);
                if let (None, Some(modified)) = (version.modified, &mut node.attributes.modified) {
                    modified.precision = Precision::Local;
                }
                node.kernel.pages = (!mixed).then(|| Box::new(version));
            }
            None => node.fetched = None,
        }
        if result.is_err() {
            node.fetched = None;
        }
        node.generation = generation;
        let parent = node.parent;
        if let (Some(version), Ok(_)) = (body.content.base, result) {
            tree.saw_own_version(file.ino, version);
            tree.stored_inside(parent);
        }
        body.merged.size_unreported |= mixed;
        drop(tree);
        body.content.generation = generation;
        // The reader is up to date; later changes are those of other clients.
        body.merged.reader_is_stale = false;
        file.reader.restart(generation);
    }
}

impl Body {
    /// What the server has no longer counts where a try may have damaged it; the spool has it. Returns whether sending
    /// the whole file repairs that.
    pub(crate) fn upload_failed(
        &mut self,
        (change, plan): (&Change, Option<&Plan>),
        error: &remote::Error,
    ) -> bool {
        self.upload.state.fail(None, Report::Done);
        let taken = change.taken.load(Ordering::Relaxed);
        self.upload.was_taken |= taken;
        match plan {
            None => false,
            // How much of it arrived shows what is there then.
            Some(Plan::Append(_)) => {
                self.upload.may_have_arrived |= taken;
                self.upload.broke_off = Some(change.size);
                error.why() == Some(Why::Unsupported)
            }
            Some(Plan::Patch {
                ranges,
                tried,
                cuts,
            }) => {
                let first = ranges.first().map_or(0, |range| range.start);
                // Else all that is not ours is there as it was, whatever arrived.
                let spoils = *tried || *cuts;
                let base = change.base.and_then(|base| base.size);
                self.upload.may_have_arrived |= taken && (spoils || base < Some(change.size));
                if taken && spoils {
                    self.lost_base(if *tried { 0 } else { first });
                }
                error.why() == Some(Why::Unsupported)
            }
            Some(plan @ (Plan::Sparse(_) | Plan::Whole)) => {
                // A later unlink must not rely on this mount's belief that the name is not there.
                self.upload.may_have_arrived |= taken || self.content.base.is_none();
                if taken {
                    self.lost_base(0);
                }
                // The holes can still be sent.
                matches!(plan, Plan::Sparse(_)) && error.why() == Some(Why::Unsupported)
            }
        }
    }

    /// The server has the first `size` bytes of this as `version`.
    fn uploaded(&mut self, version: Version, size: u64) {
        self.content.base = Some(version);
        (self.journal.upload_begun, self.upload.exclusive) = (false, false);
        self.upload.was_taken = false;
        self.upload.unappendable = false;
        self.content.kept = size;
        self.content.holes.remove(0..size);
        self.content.resized = false;
        self.content.emptied = false;
        self.appended_from(size);
        self.upload.may_have_arrived = false;
        self.upload.unconfirmed = false;
        self.upload.broke_off = None;
        if version.size != Some(size) && self.content.dirty.is_empty() {
            // Other clients appended, too: only the server knows the order.
            self.content.kept = version.size.unwrap_or(size);
            self.content.size = self.content.kept;
            self.content.ordered = self.content.size;
            self.content.present = RangeSet::default();
        }
    }
}
