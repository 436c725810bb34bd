//! Publishes what a stream has received: puts it where readers find it, in memory and on disk.
//!
//! A piece is published once it agrees with what other streams have received for its place (`segment_check`). Readers are
//! woken only for bytes that one of them waits for.
//!
//! # Lock order
//!
//! The reader's `state` before the block cache; the disk cache is written under neither.

use std::sync::Arc;

use crate::remote::Result;
use crate::vfs::cache::disk::Content;
use crate::vfs::cache::memory::Key;
use crate::vfs::cache::{BLOCK, Block};
use crate::vfs::readahead::fetcher::Fetcher;
use crate::vfs::readahead::segment_check::agree;

impl Fetcher {
    /// Writes a whole block to the disk cache, unless the server was seen to ignore REST.
    pub(crate) fn write_to_disk(&self, key: Key) {
        let context = &self.reader.context;
        if context.rest_check.has_failed() {
            return;
        }
        let file = (self.reader.ino, self.generation);
        if let (Some(disk), Some(content)) = (&context.disk, self.content())
            && let Ok(bytes) = context.blocks.collect(file, key.index * BLOCK, self.next)
        {
            bytes.with(|bytes| disk.put(&content, key.index, bytes));
            // It may have turned out to be wrong just before, and what was there was forgotten.
            if context.rest_check.has_failed() {
                content.forget();
            }
        }
    }

    /// What the disk has of the content.
    pub(crate) fn content(&self) -> Option<Arc<Content>> {
        let file = (&self.path, &self.version);
        self.reader.content(file, self.generation)
    }

    /// Puts a block, or a part of it, into the cache, and wakes the readers that wait for it.
    pub(crate) fn publish(&mut self, key: Key, block: Block, is_last: bool) -> Result<()> {
        let start = key.index * BLOCK;
        let (from, end) = (start + block.from as u64, start + block.to() as u64);
        let mut state = self.reader.state.lock();
        if self.is_ahead && state.find(self.id).is_none() {
            // Bytes of a dropped parallel stream are never compared, so they must not be shown.
            return Ok(());
        }
        let mut is_last = is_last;
        if let Some(proof) = state.boundaries.lookahead.remove(&from) {
            if !agree(&proof, &block.bytes) {
                drop(state);
                return Err(self.report_mismatch());
            }
            state.boundaries.unverified.remove(&from);
            is_last = true;
        }
        let is_own = !self.is_ahead;
        if let Some(boundary) = state
            .boundaries
            .unverified
            .range(from..end)
            .next()
            .copied()
            .filter(|_| is_own)
        {
            // The leading stream has reached the start of a trial stream's segment.
            let file = (self.reader.ino, self.generation);
            let theirs = self.reader.context.blocks.collect(file, boundary, end);
            let ours = &block.bytes[usize::try_from(boundary - from).unwrap_or(0)..];
            if theirs.is_ok_and(|theirs| theirs.with(|theirs| !agree(theirs, ours))) {
                drop(state);
                return Err(self.report_mismatch());
            }
            state.boundaries.unverified.remove(&boundary);
            is_last = true;
        }
        self.reader.context.blocks.put(key, block);
        // Readers that wait for more would only wake up and wait again.
        let is_awaited = state.bring(start, end);
        drop(state);
        if is_awaited || is_last {
            self.reader.changed.notify_all();
        }
        Ok(())
    }

    /// The block that is being brought.
    pub(crate) fn key(&self) -> Key {
        Key {
            ino: self.reader.ino,
            generation: self.generation,
            index: self.next / BLOCK,
        }
    }
}
