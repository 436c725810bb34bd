//! Readahead: one reader for each open file, with streams that run ahead of it into the block cache.
//!
//! A *stream* is a thread (`fetcher`) that reads one transfer into the block cache, from some offset on, until its window
//! ahead of the reader is full; then it leaves the socket unread, which is the back-pressure. A reader that misses bytes
//! waits for a stream that will soon deliver them, or starts one there (`scheduler`).
//!
//! * The window doubles while a reader follows. After reads that no reader followed up there is none: a random read gets
//!   what it asks for, and the connection is free for the next one.
//! * A stream that no reader has followed for a while ends. One ends at once when another caller waits for its connection,
//!   and resumes where it was when its reader comes back.
//! * Where several streams are faster than one, they share the file (`parallelism`): each reads a segment, and at its end
//!   compares the next bytes with those of the next stream (`segment_check`). Nothing after such a boundary is shown
//!   before that.
//! * Blocks carry the generation of the content; a stream ends with its generation.
//!
//! The modules:
//!
//! * `stream_set`: the streams of one reader, and which gives way
//! * `scheduler`: starts and ends streams
//! * `parallelism`: decides how many streams a reader gets
//! * `fetcher`: the thread of a stream
//! * `publish`: puts what a stream has received where readers find it
//! * `segment_check`: compares two streams where their segments meet
//! * `context`: what the readers of all files share
//!
//! # Lock order
//!
//! A reader's `state` before the block cache; neither while the server or the disk cache is asked. `disk_content` is taken
//! alone.

pub(crate) mod context;
pub(crate) mod fetcher;
pub(crate) mod parallelism;
pub(crate) mod publish;
pub(crate) mod scheduler;
pub(crate) mod segment_check;
pub(crate) mod stream_set;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::process::lock_order::{ALONE, OrderedCondvar, OrderedGuard, OrderedMutex};
use crate::remote::{Deadline, Error, RemotePath, Result, Version, Why};
use crate::vfs::cache::disk::Content;
use crate::vfs::cache::memory::Key;
use crate::vfs::cache::{BLOCK, Block, Bytes};
use crate::vfs::lock_rank;
use crate::vfs::readahead::parallelism::Parallelism;
use crate::vfs::readahead::stream_set::ReaderState;

pub use crate::vfs::readahead::context::ReadContext;

/// Interval at which a reader past its own deadline checks whether its stream is still within its deadline.
const STREAM_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Reads one file.
pub struct Reader {
    pub(crate) context: ReadContext,
    pub(crate) ino: u64,
    state: OrderedMutex<ReaderState, { lock_rank::READER }>,
    changed: OrderedCondvar,
    /// Bytes that its streams have received so far.
    received: AtomicU64,
    disk_content: OrderedMutex<DiskContent, ALONE>,
}

/// Content in the disk cache of a generation; none where it cannot be cached.
#[derive(Default)]
struct DiskContent {
    /// Earlier generations neither read nor write the disk cache.
    generation: u64,
    /// `None` before it was looked for.
    content: Option<Option<Arc<Content>>>,
}

/// Keeps a file from being read until it is dropped: no stream begins, and reads wait.
#[must_use]
pub struct Hold(Arc<Reader>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.holds -= 1;
        state.turn += 1;
        self.0.changed.notify_all();
    }
}

impl Reader {
    /// A reader of the file `ino`.
    pub fn new(context: ReadContext, ino: u64, generation: u64) -> Arc<Self> {
        Arc::new(Self {
            context,
            ino,
            state: OrderedMutex::new(ReaderState {
                generation,
                ..ReaderState::default()
            }),
            changed: OrderedCondvar::new(),
            received: AtomicU64::new(0),
            disk_content: OrderedMutex::default(),
        })
    }

    /// What the cache holds of `size` bytes from `offset` on, if it holds all of it (up to the end of
    /// the file).
    pub fn cached(self: &Arc<Self>, offset: u64, size: usize) -> Option<Bytes> {
        let mut state = self.state.lock();
        let end = offset + size as u64;
        let bytes = self.collect(state.generation, offset, size).ok()?;
        if state.is_unverified(end) {
            return None;
        }
        self.advance(&mut state, end);
        Some(bytes)
    }

    /// Waits until no [`Hold`] is left; returns the turn that [`Self::read`] needs.
    pub fn await_turn(&self, deadline: &Deadline) -> Result<u64> {
        let mut state = self.state.lock();
        while state.holds > 0 {
            let left = deadline
                .remaining()
                .ok_or_else(|| Error::timed_out("reading a file that is being renamed"))?;
            self.changed.wait_for(&mut state, left);
        }
        Ok(state.turn)
    }

    /// Reads `size` bytes from `offset`, fewer only at the end of the file.
    ///
    /// `path` is the path of the file after `turn` was taken; a broken transfer is resumed only in a file that may be
    /// `version`. `None` means that the name or the content may have changed since: the caller has to look both up again.
    pub fn read(
        self: &Arc<Self>,
        turn: u64,
        (path, version): (&RemotePath, Version),
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Option<Bytes>> {
        self.load_from_disk(turn, (path, &version), offset, size);
        let end = offset + size as u64;
        loop {
            let mut state = self.state.lock();
            let missing = match self.collect(state.generation, offset, size) {
                Ok(bytes) if !state.is_unverified(end) => {
                    self.advance(&mut state, end);
                    return Ok(Some(bytes));
                }
                // Everything is in the cache, but a segment boundary has still to be compared.
                Ok(_) => None,
                Err(missing) => Some(missing),
            };
            if let Some(error) = &state.faults.replaced {
                return Err(error.clone());
            }
            if let Some(missing) = missing {
                if state.holds > 0 || state.turn != turn {
                    return Ok(None);
                }
                let target = (path, version);
                if let Some(bytes) = self.request(&mut state, target, offset, missing..end)? {
                    return Ok(Some(bytes));
                }
            }
            self.await_stream(&mut state, path, missing, end, deadline)?;
        }
    }

    /// Makes a stream deliver the `missing` bytes of a read from `offset`: one that will reach them soon, or a new one.
    /// Returns what there is where the file has turned out to end before them.
    fn request(
        self: &Arc<Self>,
        state: &mut ReaderState,
        target: (&RemotePath, Version),
        offset: u64,
        missing: Range<u64>,
    ) -> Result<Option<Bytes>> {
        let Some(at) = state.stream_for(missing.start) else {
            self.start(state, target, missing, true);
            return Ok(None);
        };
        let Some(ended) = state.streams[at].ended.clone() else {
            let stream = &mut state.streams[at];
            stream.followed = Instant::now();
            stream
                .signal
                .demand
                .fetch_max(missing.end, Ordering::Relaxed);
            // A stream with a limit goes up to it, even where a trial wants less.
            let goal = stream.limit.unwrap_or(missing.end + stream.window);
            // Only a raised goal wakes the streams and readers: readers that wake each other for nothing would spin.
            if goal > stream.goal {
                stream.goal = goal;
                self.changed.notify_all();
            }
            return Ok(None);
        };
        let gone = state.streams.remove(at);
        let is_restart_refused =
            |error: &Error| error.why() == Some(Why::Unsupported) && gone.was_resumed();
        let can_begin = match ended {
            // The server refuses to start, or to resume, in the middle of the file: read it from its start.
            Err(error) if is_restart_refused(&error) => false,
            Err(error) => return Err(error),
            // The transfer covered the file from start to end without reaching this offset.
            Ok(()) if !gone.can_begin && gone.next <= missing.start => {
                let before = (missing.start - offset) as usize;
                let bytes = self.collect(state.generation, offset, before);
                return Ok(Some(bytes.unwrap_or_default()));
            }
            // It ended well before this offset: the file is shorter, or the block was evicted. A new stream shows which.
            Ok(()) => true,
        };
        self.start(state, target, missing, can_begin);
        Ok(None)
    }

    /// Waits until a stream has received something, or for the deadline. `missing` is the first missing byte of a read up
    /// to `end`; `None` where only a comparison is waited for.
    fn await_stream(
        &self,
        state: &mut OrderedGuard<'_, ReaderState>,
        path: &RemotePath,
        missing: Option<u64>,
        end: u64,
        deadline: &Deadline,
    ) -> Result<()> {
        let before = state.blocks_received;
        let stream = missing.and_then(|missing| state.stream_for(missing));
        let stream = stream.map(|at| &state.streams[at]);
        // A stream whose segment ends before `end` cannot deliver more than its segment.
        let limit = stream.and_then(|stream| stream.limit);
        let aim = limit.map_or(end, |limit| limit.min(end));
        if let Some(stream) = stream {
            stream.signal.nearest.fetch_min(aim, Ordering::Relaxed);
        }
        // A stream has its own deadline, which is extended while the queue for a connection moves.
        let streaming = missing.is_none() || stream.is_some_and(|stream| stream.ended.is_none());
        let left = match deadline.remaining() {
            Some(left) => left,
            None if streaming => STREAM_POLL_INTERVAL,
            None => return Err(Error::timed_out(format!("reading {path}"))),
        };
        state.awaited.push(aim);
        self.changed.wait_for(state, left);
        state.stop_awaiting(aim);
        if state.blocks_received != before {
            deadline.progress();
        }
        Ok(())
    }

    /// What the disk has of the content that is read.
    fn content(
        &self,
        (path, version): (&RemotePath, &Version),
        generation: u64,
    ) -> Option<Arc<Content>> {
        let disk = self.context.disk.as_ref()?;
        {
            let mut kept = self.disk_content.lock();
            if generation < kept.generation {
                return None;
            }
            if generation > kept.generation {
                *kept = DiskContent {
                    generation,
                    content: None,
                };
            }
            if let Some(content) = &kept.content {
                return content.clone();
            }
        }
        // Without the lock: two threads may look the same content up, which finds the same files.
        let content = disk.content(path, version);
        let mut kept = self.disk_content.lock();
        if generation != kept.generation {
            return None;
        }
        kept.content.get_or_insert(content).clone()
    }

    /// This mount has made the content of the next generation at `path`. What the disk cache has of it is an earlier
    /// content, perhaps of the same size and second; readers of earlier generations write nothing more.
    pub fn invalidate_disk(&self, path: &RemotePath) {
        let Some(disk) = &self.context.disk else {
            return;
        };
        let generation = self.state.lock().generation + 1;
        {
            let mut kept = self.disk_content.lock();
            *kept = DiskContent {
                generation: generation.max(kept.generation),
                content: None,
            };
        }
        disk.forget(path);
    }

    /// Puts what the disk has of some bytes into the cache in memory.
    fn load_from_disk(&self, turn: u64, file: (&RemotePath, &Version), offset: u64, size: usize) {
        let generation = {
            let state = self.state.lock();
            if state.turn != turn {
                return;
            }
            state.generation
        };
        let Some(content) = self.content(file, generation) else {
            return;
        };
        while let Err(missing) = self.collect(generation, offset, size) {
            let index = missing / BLOCK;
            let Some(bytes) = content.get(index) else {
                return;
            };
            let key = Key {
                ino: self.ino,
                generation,
                index,
            };
            let block = Block {
                from: 0,
                bytes,
                ends: false,
            };
            if missing >= index * BLOCK + block.bytes.len() as u64 {
                return;
            }
            self.context.blocks.put(key, block);
        }
    }

    /// Whether a transfer is under way that will bring the bytes at `offset`.
    pub fn is_streaming(&self, offset: u64) -> bool {
        self.state.lock().stream_for(offset).is_some()
    }

    /// Ends all streams and waits until their transfers have ended: some servers lock a file that is being read. A read
    /// meanwhile begins new ones.
    pub fn stop(&self, deadline: &Deadline) {
        self.end_streams(self.state.lock(), deadline);
    }

    /// The same, and no stream begins while the hold lives.
    pub fn hold(self: &Arc<Self>, deadline: &Deadline) -> Hold {
        let mut state = self.state.lock();
        state.holds += 1;
        let hold = Hold(Arc::clone(self));
        self.end_streams(state, deadline);
        hold
    }

    fn end_streams(&self, mut state: OrderedGuard<'_, ReaderState>, deadline: &Deadline) {
        state.streams.clear();
        // Parallel streams would continue with the old name or version.
        (state.target, state.parallelism) = (None, Parallelism::default());
        let newest = state.next_id;
        self.changed.notify_all();
        while state.running.first().is_some_and(|&id| id < newest) {
            let Some(left) = deadline.remaining() else {
                return;
            };
            self.changed.wait_for(&mut state, left);
        }
    }

    /// The file does not end at `offset`, as cached: drops the block.
    pub fn forget(&self, offset: u64) {
        let generation = self.state.lock().generation;
        self.context.blocks.remove(Key {
            ino: self.ino,
            generation,
            index: offset / BLOCK,
        });
    }

    /// Whether received bytes turned out to be wrong, though the file is unchanged; reported once.
    pub fn is_to_forget(&self) -> bool {
        std::mem::take(&mut self.state.lock().faults.has_mismatch)
    }

    /// Whether a transfer delivered more than this size, as reported by the server. An excess over an earlier, smaller
    /// size means nothing.
    pub fn is_longer(&self, size: u64) -> bool {
        self.state.lock().faults.exceeded_size == Some(size)
    }

    /// Ends all streams, and what they brought no longer counts when `generation` is another one.
    pub fn restart(&self, generation: u64) {
        let mut state = self.state.lock();
        state.generation = generation;
        // Reads in preparation know the old version.
        state.turn += 1;
        (state.faults.replaced, state.faults.exceeded_size) = (None, None);
        state.boundaries.lookahead.clear();
        state.boundaries.unverified.clear();
        state.streams.clear();
        // Parallel streams would continue with the old name or version.
        (state.target, state.parallelism) = (None, Parallelism::default());
        self.changed.notify_all();
    }

    /// The bytes, or the first offset that is missing.
    fn collect(
        &self,
        generation: u64,
        offset: u64,
        size: usize,
    ) -> std::result::Result<Bytes, u64> {
        let file = (self.ino, generation);
        self.context
            .blocks
            .collect(file, offset, offset + size as u64)
    }
}
