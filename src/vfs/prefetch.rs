//! Speculative work: the next directories of a walk are listed, and the next small files fetched, before they are asked for.
//!
//! Two detectors watch what is looked at. Their guesses are carried out on connections that no caller waits for, with a
//! limited number of threads ([`Permits`]).
//!
//! * `walk_detector`: detects walks through a tree
//! * `directories`: lists the next directories of a walk
//! * `file_sequence`: detects sequences of files
//! * `files`: fetches the next small files, and a small file with its open
//!
//! Lock order: the lock of the file sequences before the inode table's; that of the walks is taken alone.

pub(crate) mod directories;
pub(crate) mod file_sequence;
pub(crate) mod files;
pub(crate) mod walk_detector;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::process::lock_order::{ALONE, OrderedMutex};
use crate::remote::Remote;
use crate::vfs::inode::table::Table;
use crate::vfs::metadata::Metadata;
use crate::vfs::prefetch::files::Fetching;
use crate::vfs::prefetch::walk_detector::Walks;
use crate::vfs::readahead::ReadContext;

/// Lists directories and fetches small files before they are asked for.
pub struct Prefetcher {
    remote: Arc<dyn Remote>,
    table: Arc<Table>,
    metadata: Arc<Metadata>,
    readers: ReadContext,
    /// The walks through the tree that are under way.
    walks: OrderedMutex<Walks, ALONE>,
    listing_permits: Permits,
    fetching: Fetching,
    /// How long attributes and listings live.
    lifetime: Duration,
    /// How long a request may make no progress.
    timeout: Duration,
    /// For the threads that it starts.
    me: Weak<Prefetcher>,
}

impl Prefetcher {
    /// Nothing was looked at yet.
    pub(crate) fn new(
        metadata: Arc<Metadata>,
        table: Arc<Table>,
        readers: ReadContext,
        lifetime: Duration,
        timeout: Duration,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            remote: Arc::clone(&readers.remote),
            table,
            metadata,
            readers,
            walks: OrderedMutex::default(),
            listing_permits: Permits::default(),
            fetching: Fetching::default(),
            lifetime,
            timeout,
            me: me.clone(),
        })
    }

    /// Drops what the detectors have seen.
    pub(crate) fn forget(&self) {
        self.walks.lock().forget();
        self.fetching.sequences.lock().forget();
    }
}

/// Permits for speculative work.
#[derive(Debug, Default)]
pub struct Permits(Arc<AtomicUsize>);

/// A permit, taken until it is dropped.
pub struct Permit(Arc<AtomicUsize>);

impl Permits {
    /// A permit, unless `limit` are taken.
    pub fn take(&self, limit: usize) -> Option<Permit> {
        // One that was too much is given back at once, by its end.
        let permit = Permit(Arc::clone(&self.0));
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        (taken < limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
