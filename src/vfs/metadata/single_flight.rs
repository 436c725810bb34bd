//! Single-flight listings: the right to list a directory, given back when its holder drops it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::process::lock_order::{ALONE, OrderedCondvar, OrderedMutex};
use crate::remote;
use crate::remote::Deadline;
use crate::vfs::error::Result;

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
