//! Keeps the streams of one reader: which serves which offset, how far each runs ahead, and which gives way.
//!
//! Plain data and its rules, under the lock of the reader that owns it; nothing here waits or asks the server.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::remote::{Error, RemotePath, Result, Version};
use crate::vfs::cache::BLOCK;
use crate::vfs::readahead::parallelism::Parallelism;

/// Bytes that a new stream runs ahead.
pub(crate) const FIRST_WINDOW: u64 = 256 * 1024;
/// A read at most this many bytes ahead of a stream waits for it: cheaper than the round trips of a new transfer.
const MAX_SKIP: u64 = 1 << 20;
/// Bytes of blocks that stay cached behind a sequential reader. The kernel has them in its page cache, but asks for them out
/// of order, and several times where readers are close together; on a busy machine it was seen to ask again for what it had
/// got 16 MiB before.
const KEEP_BEHIND: u64 = 24 << 20;
/// Streams of one file for readers at different places: players and unzip read at the start and at the end.
const MAX_READER_STREAMS: usize = 2;

/// The state of one reader, under its lock.
#[derive(Default)]
pub(crate) struct ReaderState {
    /// Generation of the content that is read.
    pub(crate) generation: u64,
    /// Running streams, and ended ones whose end no reader has seen yet.
    pub(crate) streams: Vec<Stream>,
    /// Number of the next stream.
    pub(crate) next_id: u64,
    /// Blocks and parts of blocks received so far.
    pub(crate) blocks_received: u64,
    /// Boundaries between the segments of parallel streams.
    pub(crate) boundaries: Boundaries,
    /// Ends of the ranges that readers wait for.
    pub(crate) awaited: Vec<u64>,
    /// Streams whose threads may still hold a transfer.
    pub(crate) running: BTreeSet<u64>,
    /// Number of [`Hold`](super::Hold)s: renames in progress.
    pub(crate) holds: usize,
    /// Number of holds that have ended, and of restarts. A read that was prepared before does not start a transfer: the
    /// file may have another name or content.
    pub(crate) turn: u64,
    /// Why received bytes, or the known size, cannot be trusted.
    pub(crate) faults: Faults,
    /// Streams that ended since a reader last followed one.
    pub(crate) jumps: u32,
    /// Path and version of the file that is read.
    pub(crate) target: Option<(RemotePath, Version)>,
    /// End of the last read.
    pub(crate) position: u64,
    /// Number of the first block that was kept behind the last read.
    pub(crate) kept_from: u64,
    /// Adaptive number of parallel streams.
    pub(crate) parallelism: Parallelism,
}

/// Offsets at which the segment of one parallel stream ends and that of the next begins.
#[derive(Default)]
pub(crate) struct Boundaries {
    /// Starts of segments that were not compared yet with the bytes of the stream before them.
    pub(crate) unverified: BTreeSet<u64>,
    /// The first bytes after a segment as its own stream received them, by the end of the segment, while the next segment
    /// has not received them.
    pub(crate) lookahead: HashMap<u64, Vec<u8>>,
}

/// Why received bytes, or the known size, cannot be trusted.
#[derive(Default)]
pub(crate) struct Faults {
    /// Another client replaced the content: no more of this generation is read.
    pub(crate) replaced: Option<Error>,
    /// Two transfers delivered different bytes of the same content.
    pub(crate) has_mismatch: bool,
    /// The size reported by the server, where a transfer delivered more.
    pub(crate) exceeded_size: Option<u64>,
}

/// A stream, as its readers see it. Its thread ends soon after this value.
pub(crate) struct Stream {
    pub(crate) id: u64,
    /// Everything of it below this offset has been in the cache.
    pub(crate) next: u64,
    /// It runs to here.
    pub(crate) goal: u64,
    pub(crate) window: u64,
    /// When a reader last read from it.
    pub(crate) followed: Instant,
    /// Offset at which the segment of the next stream begins.
    pub(crate) limit: Option<u64>,
    pub(crate) role: Role,
    /// The offset at which it began.
    pub(crate) begin: u64,
    /// It began where it was wanted, not at the start for want of that.
    pub(crate) can_begin: bool,
    /// The end of the read that it was made for.
    pub(crate) first: u64,
    /// A reader has read on from there.
    pub(crate) is_followed: bool,
    /// How it ended, until a reader has seen it.
    pub(crate) ended: Option<Result<()>>,
    pub(crate) signal: Arc<Signal>,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A reader.
    Reader,
    /// A parallel stream on trial.
    Trial,
    /// A parallel stream.
    Parallel,
}

/// What a thread asks between two pieces, without a lock.
#[derive(Debug)]
pub(crate) struct Signal {
    /// A reader waits, or has waited, for everything up to this offset.
    pub(crate) demand: AtomicU64,
    /// No reader waits for a range that ends before this offset; written under the lock of the state only.
    pub(crate) nearest: AtomicU64,
    pub(crate) gone: AtomicBool,
    /// Its first byte has come.
    pub(crate) begun: AtomicBool,
}

impl Default for Signal {
    fn default() -> Self {
        Self {
            demand: AtomicU64::new(0),
            nearest: AtomicU64::new(u64::MAX),
            gone: AtomicBool::new(false),
            begun: AtomicBool::new(false),
        }
    }
}

impl Signal {
    /// Whether a reader may wait for a range up to this offset: [`ReaderState::reaches`] knows.
    pub(crate) fn may_reach(&self, have: u64) -> bool {
        self.nearest.load(Ordering::Relaxed) <= have
    }

    /// A reader waits, or has waited, for everything up to this offset.
    pub(crate) fn demand(&self) -> u64 {
        self.demand.load(Ordering::Relaxed)
    }

    /// The stream is not wanted any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.signal.gone.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// Whether it brings what a reader asks for and nothing ahead of it, since reads before were not followed up.
    pub(crate) fn is_random(&self) -> bool {
        self.role == Role::Reader && self.window == 0
    }

    /// Whether its last transfer began, or would have begun, after the start of the file.
    pub(crate) fn was_resumed(&self) -> bool {
        self.begin > 0 || self.can_begin && self.next > 0
    }
}

impl ReaderState {
    /// A new stream of a reader.
    pub(crate) fn add(&mut self, next: u64, goal: u64, limit: Option<u64>) -> &mut Stream {
        let at = self.streams.len();
        self.streams.push(Stream {
            id: self.next_id,
            next,
            goal,
            window: 0,
            followed: Instant::now(),
            limit,
            role: Role::Reader,
            begin: next,
            can_begin: true,
            first: 0,
            is_followed: false,
            ended: None,
            signal: Arc::default(),
        });
        self.next_id += 1;
        &mut self.streams[at]
    }

    /// The stream that was last followed by a reader.
    pub(crate) fn front(&self) -> Option<usize> {
        (0..self.streams.len())
            .filter(|&at| {
                let stream = &self.streams[at];
                stream.role == Role::Reader && stream.is_followed && stream.ended.is_none()
            })
            .max_by_key(|&at| self.streams[at].followed)
    }

    /// Has the stream that the reader follows end at the offset `limit`, where the next segment begins.
    pub(crate) fn end_front_at(&mut self, limit: u64) {
        if let Some(at) = self.front() {
            self.streams[at].limit = Some(limit);
            self.streams[at].goal = limit;
        }
    }

    /// Keeps the streams of a trial that has raised the rate.
    pub(crate) fn keep_trial_streams(&mut self) {
        for stream in &mut self.streams {
            if stream.role == Role::Trial {
                stream.role = Role::Parallel;
                stream.goal = stream.limit.unwrap_or(stream.goal);
            }
        }
    }

    /// A reader misses the bytes at `offset`. Within the parallel segments its stream ends at the next one; elsewhere
    /// it is alone, and the parallel streams end.
    pub(crate) fn gap_between_segments(&mut self, offset: u64, budget: u64) -> Option<u64> {
        let near = self.position.saturating_sub(MAX_SKIP)..=self.position + budget;
        if near.contains(&offset) && self.parallelism.is_many() {
            let later = self.streams.iter().filter(|one| one.role != Role::Reader);
            return later
                .map(|stream| stream.begin)
                .filter(|&begin| begin > offset)
                .min();
        }
        self.streams.retain(|stream| stream.role == Role::Reader);
        self.parallelism = Parallelism::default();
        self.boundaries.lookahead.clear();
        self.boundaries.unverified.clear();
        None
    }

    /// The stream that brings the bytes at `offset`, or that has just ended there.
    pub(crate) fn stream_for(&self, offset: u64) -> Option<usize> {
        self.streams.iter().position(|stream| {
            let skip = if stream.window > 0 { MAX_SKIP } else { 0 };
            let end = stream.limit.unwrap_or(stream.goal + skip + 1);
            stream.next <= offset && offset < end
        })
    }

    /// The reader has got everything up to `end`: the stream that it follows may run on. Returns whether
    /// one does.
    pub(crate) fn follow(&mut self, end: u64, largest: u64) -> bool {
        let behind = |stream: &&mut Stream| {
            end <= stream.next + BLOCK && end + stream.window + 2 * BLOCK >= stream.next
        };
        let Some(stream) = self.streams.iter_mut().find(behind) else {
            return false;
        };
        stream.followed = Instant::now();
        if end > stream.first {
            stream.is_followed = true;
            self.jumps = 0;
        }
        if stream.limit.is_some() || !stream.is_followed || end + stream.window <= stream.goal {
            return false;
        }
        stream.window = (stream.window * 2).clamp(FIRST_WINDOW, largest.max(FIRST_WINDOW));
        stream.goal = end + stream.window;
        true
    }

    /// The reader has got everything up to `end`: returns the blocks that it has left behind, if it reads in sequence.
    /// Their bytes are in the kernel's page cache now.
    pub(crate) fn left_behind(&mut self, end: u64) -> Range<u64> {
        let keep_from = end.saturating_sub(KEEP_BEHIND) / BLOCK;
        let kept_from = std::mem::replace(&mut self.kept_from, keep_from);
        let is_sequential = keep_from <= kept_from + KEEP_BEHIND / BLOCK;
        if is_sequential {
            kept_from..keep_from
        } else {
            0..0
        }
    }

    /// Before a new stream: streams that have delivered what was asked for and that no reader follows end, except the
    /// last; then the least recently followed one, if there are still many.
    pub(crate) fn make_place(&mut self) {
        let has_brought = |stream: &Stream| stream.next >= stream.signal.demand();
        let own = |stream: &Stream| stream.role == Role::Reader;
        let idle = |stream: &Stream| own(stream) && !stream.is_followed && has_brought(stream);
        let last = self
            .streams
            .iter()
            .filter(|stream| idle(stream))
            .map(|stream| stream.id)
            .max();
        let before = self.streams.len();
        self.streams
            .retain(|stream| !idle(stream) || Some(stream.id) == last);
        self.jumps += u32::from(self.streams.len() < before);
        if self.streams.iter().filter(|stream| own(stream)).count() >= MAX_READER_STREAMS {
            // Not one that a reader waits for: then there are more streams for a while.
            let oldest = (0..self.streams.len())
                .filter(|&at| own(&self.streams[at]) && has_brought(&self.streams[at]))
                .min_by_key(|&at| self.streams[at].followed);
            if let Some(at) = oldest {
                let gone = self.streams.remove(at);
                self.jumps += u32::from(!gone.is_followed);
            }
        }
    }

    /// Bytes have arrived up to `end`, of a block that begins at `start`; returns whether a reader waits for just that.
    pub(crate) fn bring(&mut self, start: u64, end: u64) -> bool {
        self.blocks_received += 1;
        self.is_awaited(start, end)
    }

    /// Whether a reader waits for a range that ends after `seen` and is complete with the bytes up to `have`. Another
    /// that waits for more at the same time, as the kernel's readahead does, does not delay it.
    pub(crate) fn reaches(&self, signal: &Signal, seen: u64, have: u64) -> bool {
        let beyond = self.awaited.iter().copied().filter(|&aim| aim > have);
        let nearest = beyond.min().unwrap_or(u64::MAX);
        signal.nearest.store(nearest, Ordering::Relaxed);
        self.is_awaited(seen, have)
    }

    /// Whether a reader waits for a range that ends after `after`, and not after `end`.
    fn is_awaited(&self, after: u64, end: u64) -> bool {
        self.awaited.iter().any(|&aim| after < aim && aim <= end)
    }

    /// Whether a segment begins below `end` that is still to be compared with the bytes before it, or no longer can be:
    /// until then no reader sees it.
    pub(crate) fn is_unverified(&self, end: u64) -> bool {
        let about_to = |&boundary: &u64| {
            self.streams.iter().any(|stream| {
                let reaches = boundary <= stream.limit.unwrap_or(stream.goal);
                stream.ended.is_none() && stream.begin < boundary && reaches
            })
        };
        let mut below = self.boundaries.unverified.range(..end);
        match self.faults.replaced {
            Some(_) => below.next().is_some(),
            None => below.any(about_to),
        }
    }

    /// A reader no longer waits for the bytes before `aim`.
    pub(crate) fn stop_awaiting(&mut self, aim: u64) {
        if let Some(at) = self.awaited.iter().position(|&other| other == aim) {
            self.awaited.swap_remove(at);
        }
    }

    /// The stream of this number, if it is still wanted.
    pub(crate) fn find(&mut self, id: u64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// A stream has ended, and readers are to see how.
    pub(crate) fn end(&mut self, id: u64, how: Result<()>) {
        if let Some(stream) = self.find(id) {
            stream.ended = Some(how);
        }
    }

    /// A stream has ended as if it had never been.
    pub(crate) fn forget(&mut self, id: u64) {
        self.streams.retain(|stream| stream.id != id);
    }
}
