//! What `ftpfs status` reports, and the end of the mount.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::vfs::Vfs;
use crate::vfs::journal::takeover::Outside;
use crate::vfs::stats::{Figures, Unsent};
use crate::vfs::writeback::queue::{Pending, Refusals};

impl Vfs {
    /// Takes over what an earlier mount has left, and lets closes return early, where that is wanted. To be called before
    /// something is written. Returns what was left outside of this mount.
    pub fn begin_write_back(&self) -> std::io::Result<Option<Outside>> {
        self.writeback.begin_write_back()
    }

    /// Begins to change files on a server of which the mount was read-only, after [`Self::begin_write_back`] has succeeded.
    /// Returns what was left outside of this mount, and nothing where the mount was writable already.
    pub fn make_writable(&self) -> std::io::Result<Option<Outside>> {
        if !self.is_read_only() {
            return Ok(None);
        }
        let outside = self.begin_write_back()?;
        self.read_only.store(false, Ordering::Release);
        Ok(outside)
    }

    /// What waits to be uploaded.
    pub fn pending(&self) -> Pending {
        self.writeback.pending()
    }

    /// Waits until something is pending; false if the mount has ended.
    pub fn wait_for_pending(&self) -> bool {
        self.writeback.wait_for_pending()
    }

    /// Waits, for no longer than `limit`, until nothing is pending or the mount has ended. Returns whether that is so.
    pub fn wait_for_uploads(&self, limit: Duration) -> bool {
        self.writeback.wait_for_uploads(limit)
    }

    /// How many files were closed and are not on the server for good, and where they are kept.
    pub fn refusals(&self) -> Refusals {
        self.writeback.refusals()
    }

    /// Brings everything that was written to the server, or keeps it in `lost+found`, or leaves it in the journal where it
    /// is after `limit`; for the end of the mount.
    pub fn finish(&self, limit: Option<Duration>) {
        self.writeback.finish(limit);
    }

    /// From now on nothing more is brought to the server. Returns how many open files have content that it lacks. Does not
    /// wait.
    pub fn abandon(&self) -> usize {
        // What the kernel lets in as soon as other callers have failed would not be counted.
        self.is_abandoned.store(true, Ordering::Release);
        self.writeback.stop();
        let is_open = |unsent: &Unsent| !unsent.closed;
        self.unsent()
            .iter()
            .filter(|unsent| is_open(unsent))
            .count()
    }

    /// The end of the mount: no operation comes any more.
    pub fn end(&self) {
        self.writeback.end();
        self.attributes.end();
    }

    /// Logs what was gained and lost by speculative work.
    pub fn log_ahead(&self) {
        self.prefetch.log_ahead();
    }

    /// How it is. Waits for nothing but locks that are held for moments.
    pub fn figures(&self) -> Figures {
        let (open, known) = {
            let opened = self.files.opened.lock();
            let open = opened.files.len() + opened.directories.len();
            (open, self.table.lock().counts())
        };
        let listed_ahead = self.prefetch.listed_ahead();
        Figures {
            names: self.tallies.names.counts(),
            reads: self.tallies.reads.counts(),
            blocks: (self.readers.blocks.bytes(), self.readers.blocks.budget()),
            disk: self.readers.disk.as_ref().map(|disk| disk.size()),
            known,
            open,
            stale: self.settings.lifetimes.stale,
            listed_ahead,
            fetched_ahead: self.prefetch.fetched_ahead(),
            unsent: self.unsent(),
        }
    }

    fn unsent(&self) -> Vec<Unsent> {
        let mut unsent = Vec::new();
        for file in self.files.opened_files() {
            let (bytes, is_behind) = match file.body.try_lock() {
                Some(body) if body.is_settled() => continue,
                Some(body) => {
                    let lengths = body.unsent();
                    let lengths = lengths.iter().map(|part| part.end - part.start);
                    (Some(lengths.sum()), body.journal.is_behind)
                }
                None => (None, false),
            };
            // What a handle wrote since the last close is in no journal.
            let is_behind = is_behind && self.files.is_written(&file);
            let failures = {
                let state = self.writeback.queue.state.lock();
                state.jobs.get(&file.ino).map(|job| job.failures)
            };
            if bytes.is_none() && failures.is_none() && !self.table.lock().is_local(file.ino) {
                continue;
            }
            if let Ok(path) = self.table.path(file.ino) {
                unsent.push(Unsent {
                    path,
                    bytes,
                    closed: failures.is_some() && !is_behind,
                    failures: failures.unwrap_or(0),
                });
            }
        }
        unsent.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        unsent
    }
}
