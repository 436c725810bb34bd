//! The content of an open file: a base version on the server, and over it what was written here.
//!
//! Invariants: `dirty` is within `present`; everything from `kept` to `size` is present, unless a stream has released it;
//! then only the server has it.

use crate::remote::Version;
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::spool::SpoolFile;
use std::sync::Arc;

/// The content of an open file: the base on the server, and over it what was written here.
#[derive(Default)]
pub struct Content {
    /// What the server has; `None` when the name is not there yet.
    pub base: Option<Version>,
    /// The generation of the content that the base is.
    pub generation: u64,
    /// The generation that took the place of another content, if it did not just grow.
    pub replaced: u64,
    /// Bytes of the base that still stand, from its start.
    pub kept: u64,
    /// Bytes of the whole file.
    pub size: u64,
    /// The size is unknown: reads continue to the end of the transfer.
    pub sizeless: bool,
    /// The local copy, made with the first write.
    pub spool: Option<Arc<SpoolFile>>,
    /// What the spool holds.
    pub present: RangeSet,
    /// What the server lacks.
    pub dirty: RangeSet,
    /// Zeros that no program wrote, between an old end and what was written after it.
    pub holes: RangeSet,
    /// The size differs from the base, or the name is new.
    pub resized: bool,
    /// It was truncated to zero here: nothing of the base is kept, even if other clients change it meanwhile.
    pub emptied: bool,
    /// What was written in order from the start or the base's end on reaches so far.
    pub ordered: u64,
    /// Offset from which on everything was appended: it goes after what other clients have appended before it
    /// (`append.rs`).
    pub appended: Option<u64>,
}

/// Bytes of a hole from which on a stream stops before it: the close may have the server make it.
const STREAMED_HOLE_LIMIT: u64 = 1 << 20;

impl Content {
    /// The end of what is dirty from `at` on without a gap, up to the first large hole: what a stream may send. The zeros
    /// of a small one cost less than to wait for the close.
    pub fn ordered_from(&self, at: u64) -> u64 {
        let end = self.dirty.stretch(at);
        let holes = self.holes.within(at..end);
        let large = holes
            .iter()
            .find(|hole| hole.end - hole.start >= STREAMED_HOLE_LIMIT);
        large.map_or(end, |hole| hole.start)
    }
}

/// What is known of other clients' bytes in an open file.
#[derive(Default)]
pub struct Merged {
    /// Other clients' bytes have come into it: what the kernel has of it is wrong.
    pub has_remote_bytes: bool,
    /// Remote bytes were merged during the last upload, and the kernel has not been told the new size.
    pub size_unreported: bool,
    /// The base is a newer one than the reader knows of.
    pub reader_is_stale: bool,
}
