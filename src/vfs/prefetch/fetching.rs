//! The state of fetching small files ahead (see `fetch.rs`).
//!
//! Lock order: `sequences` before `tree` before `orders`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use lru::LruCache;
use parking_lot::{Condvar, Mutex};

use crate::vfs::metadata::single_flight::Places;
use crate::vfs::prefetch::file_sequence::Sequences;

/// Everything about fetching ahead.
#[derive(Debug)]
pub struct Fetching {
    /// Which files come next, and how far their fetching is.
    pub sequences: Mutex<Sequences>,
    /// A file is at its next stage.
    pub moved: Condvar,
    /// Places for threads.
    pub places: Places,
    /// The orders of directories that were looked at.
    pub orders: Mutex<LruCache<(u64, bool), Sorted>>,
}

/// The numbers in a directory, in some order, and the time of the listing that they are from.
pub type Sorted = (Instant, Arc<Vec<u64>>);

/// Directories of which an order is kept.
const ORDERS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
impl Default for Fetching {
    fn default() -> Self {
        Self {
            sequences: Mutex::default(),
            moved: Condvar::new(),
            places: Places::default(),
            orders: Mutex::new(LruCache::new(ORDERS)),
        }
    }
}
