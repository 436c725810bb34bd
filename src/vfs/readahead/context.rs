//! Holds what the readers of all files share: the server, the caches, and what one of them has learned.
//!
//! What one reader learns of the server and of the line holds for all: how far a stream may run ahead, and whether a
//! transfer may begin in the middle of a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::remote::Remote;
use crate::vfs::cache::disk::Disk;
use crate::vfs::cache::memory::Blocks;
use crate::vfs::stats::{DUPLEX_WINDOW, Traffic};

/// Bytes that a stream runs ahead at most: what is on its way over 1 Gbit/s and 130 ms.
const LARGEST_WINDOW: u64 = 16 << 20;
/// The share of the block cache that one stream's window may take. Seven streams (all that eight
/// connections allow) leave half of it for what was read.
const WINDOW_SHARE: u64 = 16;

/// What the readers of all files share.
#[derive(Clone)]
pub struct ReadContext {
    /// The server.
    pub remote: Arc<dyn Remote>,
    /// The block cache.
    pub blocks: Arc<Blocks>,
    /// The time without progress after which a stream gives up.
    pub patience: Duration,
    /// Whether the server honours REST, as far as reads have shown.
    pub rest_check: Arc<RestCheck>,
    /// The block cache on disk.
    pub disk: Option<Arc<Disk>>,
    /// What is under way in either direction.
    pub traffic: Arc<Traffic>,
}

impl ReadContext {
    /// Whether a transfer may begin in the middle of a file.
    pub(crate) fn can_seek(&self) -> bool {
        !self.rest_check.has_failed() && self.remote.traits().seeks
    }

    /// Bytes that a stream runs ahead at most.
    pub(crate) fn largest_window(&self) -> u64 {
        let largest = if self.traffic.is_sending() {
            DUPLEX_WINDOW
        } else {
            LARGEST_WINDOW
        };
        largest.min(self.blocks.budget() / WINDOW_SHARE)
    }
}

/// Whether the server honours REST. The FTP client checks that itself; here it is noticed where the server ignores REST
/// only sometimes.
#[derive(Debug, Default)]
pub struct RestCheck {
    broken: AtomicBool,
}

impl RestCheck {
    /// Whether a transfer began at another offset than REST asked for.
    pub(crate) fn has_failed(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// A transfer began at another offset than REST asked for.
    pub(crate) fn record_failure(&self) {
        log::warn!(
            "readahead: server ignores REST; seeking disabled, files are read from offset 0"
        );
        self.broken.store(true, Ordering::Relaxed);
    }
}
