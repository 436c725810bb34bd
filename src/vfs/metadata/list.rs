//! Lists directories into the tree.
//!
//! A directory is listed by one caller at a time; callers that come meanwhile share that listing (single-flight). A
//! listing that was asked for before a local change does not undo it (`inode.rs`).

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::process::lock_order::{ALONE, OrderedCondvar, OrderedMutex};
use crate::remote;
use crate::remote::{
    Ask, Completeness, Deadline, Entry, RemotePath, Why, is_own_temp_name, is_temp_name,
};
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::{NAME_LENGTH, ROOT};
use crate::vfs::metadata::Metadata;

/// Temporary files that are named at most.
const NAMED_LEFTOVERS_LIMIT: usize = 100;
/// Age in seconds from which on a temporary file is named.
const LEFTOVER_AGE: i64 = 3600;

/// Whether an entry is shown: a program can name it, and it is no temporary file of this program.
pub(crate) fn is_nameable(entry: &Entry) -> bool {
    entry.name.len() <= NAME_LENGTH && !is_own_temp_name(&entry.name)
}

impl Metadata {
    /// Lists a directory into the tree. A caller that comes during a listing shares it.
    pub(crate) fn list(&self, directory: u64, deadline: &Deadline) -> Result<Completeness> {
        let _claim = match self.listings.claim(directory, deadline) {
            Some(claim) => claim,
            None => {
                let claim = self.listings.await_claim(directory, deadline)?;
                let age = self.served_age();
                if let Some(completeness) = self.table.lock().listing(directory, age) {
                    return Ok(completeness);
                }
                claim
            }
        };
        self.list_now(directory, deadline)
    }

    fn list_now(&self, directory: u64, deadline: &Deadline) -> Result<Completeness> {
        let asked = self.table.lock().now();
        let path = self.table.path(directory)?;
        let mut entries = Vec::new();
        let mut overlong = 0;
        let ask = Ask::caller(deadline);
        let result = self.remote.list(&path, &ask, &mut |entry| {
            overlong += usize::from(entry.name.len() > NAME_LENGTH);
            if is_nameable(&entry) {
                entries.push(entry);
            }
        });
        if overlong > 0 {
            log::warn!(
                "list: {path}: {overlong} names of more than {NAME_LENGTH} bytes are not shown"
            );
        }
        if !self.table.lock().stands(directory, asked) && deadline.remaining().is_some() {
            // It is of what has the directory's former name now.
            return self.list_now(directory, deadline);
        }
        let completeness = match result {
            Err(error) if error.why() == Some(Why::NotFound) && directory != ROOT => {
                let mut tree = self.table.lock();
                if let Some(parent) = tree.get(directory).map(|node| node.parent) {
                    tree.merge_absence(parent, path.name(), asked);
                }
                return Err(Error::NotFound);
            }
            Err(error) if error.why() == Some(Why::Unsaid) && directory != ROOT => {
                // vsftpd's "Failed to change directory." says no more: is it still there?
                let parent = self
                    .table
                    .lock()
                    .get(directory)
                    .map_or(ROOT, |node| node.parent);
                self.list(parent, deadline)?;
                let gone = self
                    .table
                    .lock()
                    .get(directory)
                    .is_none_or(|node| node.removed);
                return Err(if gone { Error::NotFound } else { error.into() });
            }
            result => result?,
        };
        self.name_leftovers(&path, &entries);
        self.show_links(directory, &path, &mut entries, &ask);
        self.table
            .lock()
            .merge_listing(directory, entries, completeness, asked);
        Ok(completeness)
    }

    /// Names temporary files of other mounts, once each: one that ended in the middle of a rename or an upload may have left
    /// them, perhaps as the only copy of a file. A young one is likely in use, and an old one can be: a removed file that is
    /// still open.
    fn name_leftovers(&self, directory: &RemotePath, entries: &[Entry]) {
        let temporary = entries.iter().filter(|entry| is_temp_name(&entry.name));
        for entry in temporary.filter(|entry| is_old(entry)) {
            let Some(path) = directory.join(&entry.name) else {
                continue;
            };
            let mut named = self.leftovers.lock();
            if named.len() < NAMED_LEFTOVERS_LIMIT && named.insert(path.clone()) {
                log::warn!(
                    "list: {path}: may be left by a mount that ended in the middle of a change, and may be the only copy of a file"
                );
            }
        }
    }
}

/// Whether an entry was last changed longer ago than an upload may take.
fn is_old(entry: &Entry) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs().cast_signed());
    let modified = entry.attributes.modified;
    modified.is_some_and(|modified| now - modified.seconds > LEFTOVER_AGE)
}

/// Directories that are being listed, with the deadlines of the listings.
#[derive(Debug, Default)]
pub struct Listings {
    under_way: OrderedMutex<HashMap<u64, Deadline>, ALONE>,
    ended: OrderedCondvar,
}

/// Divisor of a caller's patience: how long it waits for another caller's listing that makes no progress, before it
/// lists the directory itself.
const PATIENCE_SHARE: u32 = 3;
/// Interval at which a waiting caller checks whether the listing makes progress.
const PROGRESS_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The right to list a directory, as long as it lives.
pub struct Claim<'a> {
    listings: &'a Listings,
    directory: u64,
    /// A second holder: the first one makes no progress.
    is_second: bool,
}

impl Listings {
    /// The right to list a directory until `deadline`, unless another caller has it.
    pub fn claim(&self, directory: u64, deadline: &Deadline) -> Option<Claim<'_>> {
        let mut under_way = self.under_way.lock();
        if under_way.contains_key(&directory) {
            return None;
        }
        under_way.insert(directory, deadline.twin());
        Some(Claim {
            listings: self,
            directory,
            is_second: false,
        })
    }

    /// The right to list a directory, once no other caller has it, or the other makes no progress.
    pub fn await_claim(&self, directory: u64, deadline: &Deadline) -> Result<Claim<'_>> {
        let mut under_way = self.under_way.lock();
        let mut seen = None;
        let mut since = Instant::now();
        let is_second = loop {
            let Some(theirs) = under_way.get(&directory) else {
                under_way.insert(directory, deadline.twin());
                break false;
            };
            let mark = theirs.mark();
            if seen.replace(mark).is_some_and(|before| before != mark) {
                deadline.progress();
                since = Instant::now();
            }
            if since.elapsed() > deadline.patience() / PATIENCE_SHARE {
                break true;
            }
            let left = deadline
                .remaining()
                .ok_or_else(|| remote::Error::timed_out("waiting for a listing"))?;
            self.ended
                .wait_for(&mut under_way, left.min(PROGRESS_POLL_INTERVAL));
        };
        Ok(Claim {
            listings: self,
            directory,
            is_second,
        })
    }
}

impl Claim<'_> {
    /// The directory.
    pub fn directory(&self) -> u64 {
        self.directory
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.is_second {
            self.listings.under_way.lock().remove(&self.directory);
            self.listings.ended.notify_all();
        }
    }
}
