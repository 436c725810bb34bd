//! Statistics for `ftpfs status`, and flow control between the two directions of a line.
//!
//! Statistics are read without waiting: a busy file is reported without its figures. Reading and writing share a line, and
//! a copy within the mount waits for both. A reader that runs far ahead fills the queues of the line, so that the
//! acknowledgements of the other direction wait. While both run, a writer is held close to what was sent, and a reader
//! runs ahead less far ([`Traffic`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::remote::RemotePath;

/// How the file system is.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Questions for names and attributes: from memory, and those that waited.
    pub names: (u64, u64),
    /// Reads of files, alike.
    pub reads: (u64, u64),
    /// Bytes of files that are in memory, and at most.
    pub blocks: (u64, u64),
    /// Bytes that the cache on disk may take, if there is one.
    pub disk: Option<u64>,
    /// Names that are known, and listed directories among them.
    pub known: (usize, usize),
    /// Files and directories that are open.
    pub open: usize,
    /// How long caches are used beyond their TTL while the server is away.
    pub stale: Duration,
    /// Directories listed ahead: used, and wasted.
    pub listed_ahead: (u64, u64),
    /// Files fetched ahead: used, and wasted.
    pub fetched_ahead: (u64, u64),
    /// What the server lacks, by path.
    pub unsent: Vec<Unsent>,
}

/// A file that is not on the server as it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Its path.
    pub path: RemotePath,
    /// Bytes that are still to be sent; `None` when it is just being worked on.
    pub bytes: Option<u64>,
    /// It was closed, not written to since by an open handle, and waits for its turn (`writeback`).
    pub closed: bool,
    /// Tries that failed.
    pub failures: u32,
}

/// How often memory had the answer, by kind of question.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Questions for names and attributes.
    pub names: Tally,
    /// Reads of files.
    pub reads: Tally,
}

/// How often memory had the answer.
#[derive(Debug, Default)]
pub struct Tally {
    memory: AtomicU64,
    waited: AtomicU64,
}

impl Tally {
    /// One more answer, from memory or after a wait for the server.
    pub fn note(&self, from_memory: bool) {
        let which = if from_memory {
            &self.memory
        } else {
            &self.waited
        };
        which.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers from memory, and those that waited.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.memory.load(Ordering::Relaxed),
            self.waited.load(Ordering::Relaxed),
        )
    }
}

/// Bytes that a reader and a writer may be ahead of the network while both run: enough to keep a line of 1 Gbit/s and
/// 30 ms full.
pub const DUPLEX_WINDOW: u64 = 4 << 20;

/// How many files are under way.
#[derive(Debug, Default)]
pub struct Traffic {
    receiving: Arc<AtomicUsize>,
    sending: Arc<AtomicUsize>,
    /// Bytes moved for uploads: a caller that waits for their end sees by it that there is progress.
    pub moved: AtomicU64,
}

impl Traffic {
    /// One more file is received.
    pub fn receive(&self) -> UnderWay {
        UnderWay::new(&self.receiving)
    }

    /// One more file is sent.
    pub fn send(&self) -> UnderWay {
        UnderWay::new(&self.sending)
    }

    /// Whether any is received.
    pub fn is_receiving(&self) -> bool {
        self.receiving.load(Ordering::Relaxed) > 0
    }

    /// Whether any is sent.
    pub fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed) > 0
    }
}

/// A file that is under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
