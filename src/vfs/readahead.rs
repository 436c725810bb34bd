//! Readahead: one transfer stays open for a sequential reader and runs ahead of it.
//!
//! The one idea: a *stream* is a thread (`readahead/pump.rs`) that reads one transfer into the block cache, from
//! some offset on, until its window ahead of the reader is full; then it leaves the socket unread. A
//! reader that misses bytes looks for a stream that will soon bring them, or starts one there
//! (`readahead/choice.rs`).
//!
//! * The window doubles while the reader follows. After reads that nobody followed there is none: who
//!   jumps about gets what was asked for, and the connections are free for the next jump.
//! * A stream that nobody has followed for a while ends; one makes way at once when somebody waits for
//!   its connection, and goes on where it was when its reader comes back.
//! * Where several streams bring more than one, they share the file (`readahead/team.rs`): each has a
//!   segment, at whose end it compares what comes next with what the next one brought (`readahead/joints.rs`).
//!   Nothing is shown from behind such a joint before that.
//! * Blocks carry the generation of the content; a stream ends with its generation.
//!
//! Lock order: `state` before the lock of the block cache; no call to the server under `state`.

pub(crate) mod context;
pub(crate) mod fetcher;
pub(crate) mod parallelism;
pub(crate) mod publish;
pub(crate) mod scheduler;
pub(crate) mod segment_check;
pub(crate) mod stream_set;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::vfs::readahead::parallelism::Team;
use crate::vfs::readahead::stream_set::State;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::remote::{Deadline, Error, RemotePath, Result, Version, Why};
use crate::vfs::cache::disk::Content;
use crate::vfs::cache::memory::{BLOCK, Block, Bytes, Key};

pub use crate::vfs::readahead::context::Shared;

/// How often a reader whose own patience is over looks whether its stream still has some.
const LOOK: Duration = Duration::from_secs(1);

/// Reads one file.
pub struct Reader {
    pub(crate) shared: Shared,
    pub(crate) ino: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that its streams have received so far.
    received: AtomicU64,
    kept: Mutex<Kept>,
}

/// What the disk has of the content of a generation; nothing, where that can't be kept.
#[derive(Default)]
struct Kept {
    /// The disk is not asked for, nor given, what an earlier one was.
    generation: u64,
    /// `None` before it was looked for.
    content: Option<Option<Arc<Content>>>,
}

/// Keeps a file from being read until it is dropped: no stream begins, and those that wait for one wait.
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
    pub fn new(shared: Shared, ino: u64, generation: u64) -> Arc<Self> {
        Arc::new(Self {
            shared,
            ino,
            state: Mutex::new(State {
                generation,
                ..State::default()
            }),
            changed: Condvar::new(),
            received: AtomicU64::new(0),
            kept: Mutex::default(),
        })
    }

    /// What the cache holds of `size` bytes from `offset` on, if it holds all of it (up to the end of
    /// the file).
    pub fn cached(self: &Arc<Self>, offset: u64, size: usize) -> Option<Bytes> {
        let mut state = self.state.lock();
        let end = offset + size as u64;
        let bytes = self.collect(state.generation, offset, size).ok()?;
        if state.doubts(end) {
            return None;
        }
        self.go_on(&mut state, end);
        Some(bytes)
    }

    /// Waits until nobody holds the file; returns what [`Self::read`] wants to know of this moment.
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

    /// Reads `size` bytes from `offset`, less only at the end of the file. `path` is where the file
    /// was after `turn` had been taken; a broken transfer goes on only in a file that may be `version`. `None` where the
    /// file may have another name or content since: then the caller is to look anew.
    pub fn read(
        self: &Arc<Self>,
        turn: u64,
        (path, version): (&RemotePath, Version),
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Option<Bytes>> {
        self.take_from_disk(turn, (path, &version), offset, size);
        loop {
            let mut state = self.state.lock();
            let end = offset + size as u64;
            let missing = match self.collect(state.generation, offset, size) {
                Ok(bytes) if !state.doubts(end) => {
                    self.go_on(&mut state, end);
                    return Ok(Some(bytes));
                }
                // All is there, and still to be compared.
                Ok(_) => None,
                Err(missing) => Some(missing),
            };
            if let Some(error) = &state.spoilt {
                return Err(error.clone());
            }
            if missing.is_some() && (state.holds > 0 || state.turn != turn) {
                return Ok(None);
            }
            let at = missing.and_then(|missing| state.stream_for(missing));
            match missing.map(|missing| (missing, at)) {
                Some((missing, Some(at))) => {
                    if let Some(ended) = state.streams[at].ended.clone() {
                        let gone = state.streams.remove(at);
                        let can_begin = match ended {
                            Err(error)
                                if error.why() == Some(Why::Unsupported)
                                    && (gone.begin > 0 || gone.can_begin && gone.next > 0) =>
                            {
                                // From the start, then: in the middle it can't be begun, nor taken up again.
                                false
                            }
                            // From its start to its end it has not come to this offset.
                            Ok(()) if !gone.can_begin && gone.next <= missing => {
                                let before = (missing - offset) as usize;
                                let bytes = self.collect(state.generation, offset, before);
                                return Ok(Some(bytes.unwrap_or_default()));
                            }
                            // It ended well before this offset: the file is shorter, or the block has
                            // left the cache already. A new stream tells.
                            ended => ended.map(|()| true)?,
                        };
                        self.start(&mut state, (path, version), missing..end, can_begin);
                    } else {
                        let stream = &mut state.streams[at];
                        stream.followed = Instant::now();
                        stream.signal.demand.fetch_max(end, Ordering::Relaxed);
                        // With a limit, also beyond what a trial wants of it.
                        let goal = stream.limit.unwrap_or(end + stream.window);
                        // Readers who woke each other would do nothing else.
                        if goal > stream.goal {
                            stream.goal = goal;
                            self.changed.notify_all();
                        }
                    }
                }
                Some((missing, None)) => {
                    self.start(&mut state, (path, version), missing..end, true)
                }
                None => {}
            }
            let before = state.brought;
            // Of what ends before its segment does, or before all that is wanted, nothing can be read yet.
            let stream = missing.and_then(|missing| state.stream_for(missing));
            let stream = stream.map(|at| &state.streams[at]);
            let limit = stream.and_then(|stream| stream.limit);
            let aim = limit.map_or(end, |limit| limit.min(end));
            if let Some(stream) = stream {
                stream.signal.nearest.fetch_min(aim, Ordering::Relaxed);
            }
            // A stream has a deadline of its own, which moves while the line for a connection does.
            let streaming =
                missing.is_none() || stream.is_some_and(|stream| stream.ended.is_none());
            let left = match deadline.remaining() {
                Some(left) => left,
                None if streaming => LOOK,
                None => return Err(Error::timed_out(format!("reading {path}"))),
            };
            state.awaited.push(aim);
            self.changed.wait_for(&mut state, left);
            state.stop_awaiting(aim);
            if state.brought != before {
                deadline.progress();
            }
        }
    }

    /// What the disk has of the content that is read.
    fn content(
        &self,
        (path, version): (&RemotePath, &Version),
        generation: u64,
    ) -> Option<Arc<Content>> {
        let disk = self.shared.disk.as_ref()?;
        let mut kept = self.kept.lock();
        if generation < kept.generation {
            return None;
        }
        if generation > kept.generation {
            *kept = Kept {
                generation,
                content: None,
            };
        }
        let content = &mut kept.content;
        content
            .get_or_insert_with(|| disk.content(path, version))
            .clone()
    }

    /// We have made what is at `path` from the next generation on, and the server says that it is `version`, or what is
    /// not known yet: what the disk has kept as that is another content, of the same size and second, and who still
    /// reads the one before keeps nothing more.
    pub fn made(&self, path: &RemotePath, version: &Version) {
        let Some(disk) = &self.shared.disk else {
            return;
        };
        let generation = self.state.lock().generation + 1;
        let mut kept = self.kept.lock();
        *kept = Kept {
            generation: generation.max(kept.generation),
            content: None,
        };
        disk.forget(path, version);
    }

    /// Puts what the disk has of some bytes into the cache in memory.
    fn take_from_disk(&self, turn: u64, file: (&RemotePath, &Version), offset: u64, size: usize) {
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
            self.shared.blocks.put(key, block);
        }
    }

    /// Whether a transfer is under way that will bring the bytes at `offset`.
    pub fn is_streaming(&self, offset: u64) -> bool {
        self.state.lock().stream_for(offset).is_some()
    }

    /// Ends all streams and waits until their transfers have ended too: some servers lock a file
    /// that is being read. Who reads on meanwhile begins new ones.
    pub fn stop(&self, deadline: &Deadline) {
        self.end_streams(self.state.lock(), deadline);
    }

    /// The same, and nobody begins a new one as long as the hold lives.
    pub fn hold(self: &Arc<Self>, deadline: &Deadline) -> Hold {
        let mut state = self.state.lock();
        state.holds += 1;
        let hold = Hold(Arc::clone(self));
        self.end_streams(state, deadline);
        hold
    }

    fn end_streams(&self, mut state: MutexGuard<'_, State>, deadline: &Deadline) {
        state.streams.clear();
        // A team would go on under the name that the file had.
        (state.target, state.team) = (None, Team::default());
        let newest = state.next_id;
        self.changed.notify_all();
        while state.running.first().is_some_and(|&id| id < newest) {
            let Some(left) = deadline.remaining() else {
                return;
            };
            self.changed.wait_for(&mut state, left);
        }
    }

    /// The file was said to end at `offset`, and does not: what the cache has there is wrong.
    pub fn forget(&self, offset: u64) {
        let generation = self.state.lock().generation;
        self.shared.blocks.remove(Key {
            ino: self.ino,
            generation,
            index: offset / BLOCK,
        });
    }

    /// Whether what was brought has turned out to be wrong, though the file is what it was; told once.
    pub fn is_to_forget(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_wrong)
    }

    /// Whether more has come than the server says that there is: this size. What came behind a smaller one, which the
    /// file had before we stored more, says nothing.
    pub fn is_longer(&self, size: u64) -> bool {
        self.state.lock().longer == Some(size)
    }

    /// Ends all streams, and what they brought no longer counts when `generation` is another one.
    pub fn restart(&self, generation: u64) {
        let mut state = self.state.lock();
        state.generation = generation;
        // Who was about to read knows the version that was.
        state.turn += 1;
        (state.spoilt, state.longer) = (None, None);
        state.proofs.clear();
        state.doubted.clear();
        state.streams.clear();
        // A team would go on by the version that was.
        (state.target, state.team) = (None, Team::default());
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
        self.shared
            .blocks
            .collect(file, offset, offset + size as u64)
    }
}
