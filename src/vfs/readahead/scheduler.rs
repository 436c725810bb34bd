//! Starts and ends streams, for a missing read or for parallel segments.
//!
//! Whenever a reader has received or misses something, the figures of its streams go to `parallelism`, and its actions are
//! carried out here. The rules for the streams of one reader are in `stream_set`.
//!
//! # Lock order
//!
//! The caller holds the reader's `state`, which comes before the block cache.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::remote::{Error, RemotePath, Version};
use crate::vfs::cache::BLOCK;
use crate::vfs::cache::memory::Key;
use crate::vfs::readahead::Reader;
use crate::vfs::readahead::fetcher::Fetcher;
use crate::vfs::readahead::parallelism::{Action, Snapshot, TRIAL_LENGTH};
use crate::vfs::readahead::stream_set::{FIRST_WINDOW, ReaderState, Role, Stream};

/// Streams begin at multiples of this many bytes: kernels ask for whole pages.
const ALIGNMENT: u64 = 4096;

impl Reader {
    /// A reader has got everything up to `end`.
    pub(crate) fn advance(self: &Arc<Self>, state: &mut ReaderState, end: u64) {
        state.position = end;
        self.drop_behind(state, end);
        if state.follow(end, self.context.largest_window()) {
            self.changed.notify_all();
        }
        if state.parallelism.is_many() {
            self.arrange(state);
        }
    }

    /// Drops the blocks that a sequential reader has left behind, so that few buffers serve a file of any size.
    fn drop_behind(&self, state: &mut ReaderState, end: u64) {
        // Without a size the kernel keeps no pages.
        let has_pages = (state.target.as_ref()).is_some_and(|(_, version)| version.size.is_some());
        for index in state.left_behind(end) {
            if has_pages {
                self.context.blocks.remove(Key {
                    ino: self.ino,
                    generation: state.generation,
                    index,
                });
            }
        }
    }

    /// Carries out what `parallelism` decides now.
    pub(crate) fn arrange(self: &Arc<Self>, state: &mut ReaderState) {
        let Some(snapshot) = self.snapshot(state) else {
            return;
        };
        for action in state.parallelism.step(&snapshot) {
            log::debug!(
                "readahead: inode {}: {action:?} at offset {}",
                self.ino,
                snapshot.position
            );
            match action {
                Action::Try(segment) => self.start_parallel(state, segment, Role::Trial),
                Action::Bring(segment) => self.start_parallel(state, segment, Role::Parallel),
                Action::End(limit) => state.end_front_at(limit),
                Action::Keep => state.keep_trial_streams(),
                Action::Dismiss => self.dismiss(state),
            }
            self.changed.notify_all();
        }
    }

    /// Ends the trial streams, and drops their bytes, which will never be compared.
    fn dismiss(&self, state: &mut ReaderState) {
        let (ino, generation) = (self.ino, state.generation);
        for gone in state.streams.extract_if(.., |one| one.role == Role::Trial) {
            state.boundaries.unverified.remove(&gone.begin);
            for index in gone.begin / BLOCK..gone.next.div_ceil(BLOCK) {
                let key = Key {
                    ino,
                    generation,
                    index,
                };
                self.context.blocks.remove(key);
            }
        }
    }

    fn snapshot(&self, state: &ReaderState) -> Option<Snapshot> {
        let size = state.target.as_ref()?.1.size?;
        let front = match state.front() {
            Some(at) => state.streams[at].next,
            None if state.parallelism.is_many() => state.position,
            None => return None,
        };
        if !self.context.can_seek() {
            return None;
        }
        let trial_streams = || {
            let all = state.streams.iter();
            all.filter(|stream| stream.role == Role::Trial)
        };
        let at_work = |stream: &&Stream| stream.limit.is_some() && stream.role != Role::Trial;
        let members = state.streams.iter().filter(at_work);
        Some(Snapshot {
            now: Instant::now(),
            received: self.received.load(Ordering::Relaxed),
            front,
            position: state.position,
            size,
            working: members.count(),
            waiting: trial_streams()
                .filter(|stream| !stream.signal.begun.load(Ordering::Relaxed))
                .count(),
            done: trial_streams()
                .filter(|stream| stream.next >= stream.begin + TRIAL_LENGTH)
                .count(),
            budget: self.context.blocks.budget(),
        })
    }

    /// Starts a stream for a reader that misses these bytes. It begins there if it can.
    pub(crate) fn start(
        self: &Arc<Self>,
        state: &mut ReaderState,
        (path, version): (&RemotePath, Version),
        missing: Range<u64>,
        can_begin: bool,
    ) {
        let (from, end) = (missing.start, missing.end);
        let can_begin = can_begin && self.context.can_seek();
        state.make_place();
        state.target = Some((path.clone(), version));
        let limit = state.gap_between_segments(from, self.context.blocks.budget());
        // Without REST everything comes from the start.
        let next = if can_begin {
            from / ALIGNMENT * ALIGNMENT
        } else {
            0
        };
        let window = if state.jumps > 0 { 0 } else { FIRST_WINDOW };
        let stream = state.add(next, end + window, limit);
        (stream.window, stream.first) = (window, end);
        stream.can_begin = can_begin;
        stream.signal.demand.store(end, Ordering::Relaxed);
        let id = stream.id;
        if let Err(error) = self.start_fetcher(state, id) {
            state.end(id, Err(Error::local("starting a thread", &error)));
        }
        // Streams that had to give way end now.
        self.changed.notify_all();
    }

    /// Starts a parallel stream.
    fn start_parallel(self: &Arc<Self>, state: &mut ReaderState, segment: Range<u64>, role: Role) {
        let goal = match role {
            Role::Trial => segment.end.min(segment.start + TRIAL_LENGTH),
            _ => segment.end,
        };
        let stream = state.add(segment.start, goal, Some(segment.end));
        stream.role = role;
        let id = stream.id;
        state.boundaries.unverified.insert(segment.start);
        if let Err(error) = self.start_fetcher(state, id) {
            log::debug!("readahead: no thread for a parallel stream: {error}");
            state.forget(id);
            state.parallelism.pause(Instant::now());
        }
    }

    fn start_fetcher(self: &Arc<Self>, state: &mut ReaderState, id: u64) -> std::io::Result<()> {
        if let (Some(target), Some(stream)) = (
            state.target.clone(),
            state.streams.iter().find(|stream| stream.id == id),
        ) {
            Fetcher::new(self, target, state.generation, stream).start()?;
            state.running.insert(id);
        }
        Ok(())
    }
}
