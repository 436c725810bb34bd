//! What is under way: which directories are being listed, and how much is done ahead.
//!
//! The one idea: rights to do something, each given back when its holder drops it.
//!
//! Lock order: the lock here is alone, and nothing is called under it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::remote::{self, Deadline};
use crate::vfs::error::Result;

/// Which directories are being listed.
#[derive(Debug, Default)]
pub struct Listings {
    under_way: Mutex<HashSet<u64>>,
    ended: Condvar,
}

/// The right to list a directory, as long as it lives.
pub struct Claim<'a> {
    listings: &'a Listings,
    directory: u64,
}

impl Listings {
    /// The right to list a directory, unless somebody does.
    pub fn claim(&self, directory: u64) -> Option<Claim<'_>> {
        let is_free = self.under_way.lock().insert(directory);
        is_free.then(|| Claim {
            listings: self,
            directory,
        })
    }

    /// The right to list a directory, once nobody else does.
    pub fn await_claim(&self, directory: u64, deadline: &Deadline) -> Result<Claim<'_>> {
        let mut under_way = self.under_way.lock();
        while !under_way.insert(directory) {
            let left = deadline
                .remaining()
                .ok_or_else(|| remote::Error::timed_out("waiting for a listing"))?;
            self.ended.wait_for(&mut under_way, left);
        }
        Ok(Claim {
            listings: self,
            directory,
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
        self.listings.under_way.lock().remove(&self.directory);
        self.listings.ended.notify_all();
    }
}

/// Places for work that nobody waits for.
#[derive(Debug, Default)]
pub struct Places(Arc<AtomicUsize>);

/// A place that is taken, until it is dropped.
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, unless so many are taken.
    pub fn take(&self, limit: usize) -> Option<Place> {
        let one_more = |taken: usize| (taken < limit).then_some(taken + 1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
