//! Implements the thread of a stream: it reads one transfer into the block cache.
//!
//! After each piece it looks at its `Stream`, which readers change: goal, limit, or gone. A block is published when it is
//! whole, and before that as soon as it has the bytes that a reader waits for.
//!
//! # Lock order
//!
//! The reader's `state` before the block cache; neither while the server is asked.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::process::thread::{catch_panic, spawn_thread};
use crate::remote::{
    self, Ask, Deadline, Error, Reading, RemotePath, Result, Source, Urgency, Version, Why,
};
use crate::vfs::cache::memory::Key;
use crate::vfs::cache::{BLOCK, BLOCK_LENGTH, Block};
use crate::vfs::readahead::stream_set::{Role, Signal, Stream};
use crate::vfs::readahead::{ReadContext, Reader};

/// How long a stream whose window is full waits for its reader.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a followed stream keeps its connection while another caller waits for one.
const MIN_CONNECTION_TIME: Duration = Duration::from_millis(500);
/// Interval at which a stream whose window is full checks whether its connection is wanted.
const WANTED_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Consecutive retries of a broken transfer that delivered next to nothing.
const MAX_RETRIES: u32 = 1;
/// Bytes by which a transfer has got on that is worth another one when it breaks.
const WORTHWHILE_PROGRESS: u64 = 64 << 10;
/// Parts of a block shorter than this many bytes are copied, so that the cache does not hold a whole buffer for them.
const COPY_THRESHOLD: usize = BLOCK_LENGTH / 2;

/// How long a transfer for which no reader waits may take to start, so that it does not keep a place in the queue.
const AHEAD_START_TIMEOUT: Duration = Duration::from_secs(2);

/// The thread of a stream.
pub(crate) struct Fetcher {
    pub(crate) reader: Arc<Reader>,
    pub(crate) path: RemotePath,
    /// What the server had when the file was opened.
    pub(crate) version: Version,
    pub(crate) generation: u64,
    pub(crate) id: u64,
    /// The offset at which it began.
    first: u64,
    /// The offset that comes next.
    pub(crate) next: u64,
    /// The server has another version.
    is_replaced: bool,
    /// Where a reader that reads at random has what it asked for.
    enough: Option<u64>,
    /// A parallel stream: no reader waits for it.
    pub(crate) is_ahead: bool,
    /// The transfer is known to be of the version, and the disk keeps what it brings.
    writes_to_disk: bool,
    /// The bytes after its segment were compared.
    pub(crate) is_boundary_checked: bool,
    /// Its bytes differ from those of another stream.
    pub(crate) has_mismatch: bool,
    /// What a transfer has brought of a block before it broke: the next one begins behind it.
    broken: Option<Part>,
    signal: Arc<Signal>,
}

/// What the thread of a stream does next.
enum Turn {
    Fetch,
    Yield,
    /// The segment of another stream begins here.
    Boundary,
    End,
}

impl Fetcher {
    /// The thread of a stream, not started yet.
    pub(crate) fn new(
        reader: &Arc<Reader>,
        (path, version): (RemotePath, Version),
        generation: u64,
        stream: &Stream,
    ) -> Self {
        Self {
            reader: Arc::clone(reader),
            path,
            version,
            generation,
            id: stream.id,
            first: stream.begin,
            next: stream.begin,
            is_replaced: false,
            enough: None,
            is_ahead: stream.role != Role::Reader,
            writes_to_disk: false,
            is_boundary_checked: false,
            has_mismatch: false,
            broken: None,
            signal: Arc::clone(&stream.signal),
        }
    }

    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<()> {
        spawn_thread("stream", move || self.run())
    }

    fn run(mut self) {
        let mut source = None;
        let run = || self.run_transfers(&mut source);
        let ended = catch_panic("a read stream", run);
        let mut ended = ended.unwrap_or_else(|| Err(remote::Error::panicked("read")));
        if self.has_mismatch {
            self.is_replaced = true;
            ended = Err(self.explain_mismatch());
        }
        if let Some(part) = self.broken.take() {
            self.discard(part);
        }
        let mut state = self.reader.state.lock();
        match ended {
            // No reader follows it any more, or it is not wanted: it leaves no trace.
            Ok(false) => state.forget(self.id),
            Ok(true) if self.is_ahead => state.forget(self.id),
            Ok(true) => state.end(self.id, Ok(())),
            Err(error) => {
                if self.is_replaced && state.generation == self.generation {
                    state.faults.replaced = Some(error.clone());
                }
                if self.is_ahead {
                    log::debug!("readahead: {}: a parallel stream ended: {error}", self.path);
                    state.forget(self.id);
                } else {
                    state.end(self.id, Err(error));
                }
            }
        }
        self.reader.changed.notify_all();
        drop(state);
        // Dropping the source ends the transfer, which may take a moment: readers do not wait for it.
        drop(source);
        let mut state = self.reader.state.lock();
        state.running.remove(&self.id);
        self.reader.changed.notify_all();
    }

    /// Runs transfers until the stream ends; true at the end of the file, false when no reader wants more. `source` is
    /// the transfer in progress.
    fn run_transfers(&mut self, source: &mut Option<Box<dyn Source>>) -> Result<bool> {
        let _receiving = self.reader.context.traffic.receive();
        let mut since = Instant::now();
        let mut failures = 0;
        loop {
            match self.turn(source.as_deref(), since) {
                Turn::End => {
                    self.see_the_end(source.take());
                    return Ok(false);
                }
                Turn::Yield => {
                    *source = None;
                    since = Instant::now();
                    continue;
                }
                Turn::Boundary => {
                    // The limit has come when the last block was there already.
                    if let Some(source) = source.as_mut().filter(|_| !self.is_boundary_checked) {
                        let deadline = Deadline::after(self.reader.context.patience);
                        self.check_boundary(source.as_mut(), self.next, &deadline)?;
                    }
                    return Ok(false);
                }
                Turn::Fetch => {}
            }
            let deadline = Deadline::after(self.reader.context.patience);
            let begin = self.position();
            let fetched = match source {
                Some(source) => self.fetch(source.as_mut(), since, &deadline),
                None => {
                    let opened = self.open(&deadline);
                    since = Instant::now();
                    opened.and_then(|opened| {
                        self.fetch(source.insert(opened).as_mut(), since, &deadline)
                    })
                }
            };
            match fetched {
                Ok(true) => failures = 0,
                Ok(false) => return Ok(true),
                Err(Error::Lost { .. }) if self.position() >= begin + WORTHWHILE_PROGRESS => {
                    failures = 1;
                    *source = None;
                }
                Err(Error::Lost { .. }) if failures < MAX_RETRIES => {
                    failures += 1;
                    *source = None;
                }
                Err(error) if error.why() == Some(Why::Unsupported) && self.broken.is_some() => {
                    // The server can't begin there: the block is received from its start.
                    if let Some(part) = self.broken.take() {
                        self.discard(part);
                    }
                    *source = None;
                }
                Err(error) if !self.is_ahead && self.reader.context.remote.waits_out(&error) => {
                    *source = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the final reply if all bytes are there, though no reader needs it: breaking the transfer off would
    /// cost more.
    fn see_the_end(&self, source: Option<Box<dyn Source>>) {
        if let Some(mut source) = source.filter(|_| self.version.size == Some(self.next)) {
            let deadline = Deadline::after(self.reader.context.patience);
            if let Err(error) = source.read(&mut [0; 1], &deadline) {
                log::debug!("readahead: {}: no final reply: {error}", self.path);
            }
        }
    }

    fn open(&mut self, deadline: &Deadline) -> Result<Box<dyn Source>> {
        // Bytes that join those of another transfer must be of the same content.
        let goes_on = self.is_ahead || self.position() > self.first;
        let has_disk = self.reader.context.disk.is_some();
        let source = self.open_at(self.position(), goes_on || has_disk, deadline)?;
        self.writes_to_disk = has_disk && source.version() == Some(self.version);
        // Half of one content and half of another is neither.
        let changed = |now: Version| goes_on && !self.version.may_be(&now);
        if source.version().is_some_and(changed) {
            self.is_replaced = true;
            return Err(Error::conflict(
                format!("reading {}", self.path),
                "another client changed it while it was read",
            ));
        }
        Ok(source)
    }

    fn open_at(&self, from: u64, verify: bool, deadline: &Deadline) -> Result<Box<dyn Source>> {
        let ReadContext {
            remote, rest_check, ..
        } = &self.reader.context;
        if from > 0 && rest_check.has_failed() {
            let tried = format!("reading {} from offset {from}", self.path);
            let why = "the server ignores REST";
            return Err(Error::refused(Why::Unsupported, tried, why));
        }
        let urgency = if self.is_ahead {
            Urgency::Ahead
        } else {
            Urgency::Caller
        };
        let short = Deadline::after(AHEAD_START_TIMEOUT.min(deadline.patience()));
        let deadline = if self.is_ahead { &short } else { deadline };
        let ask = Ask { urgency, deadline };
        let reading = Reading {
            from,
            size: self.version.size,
            verify,
            enough: self.enough.map(|end| end.saturating_sub(from)),
        };
        remote.read(&self.path, &reading, &ask)
    }

    /// The offset of the next byte that is received.
    fn position(&self) -> u64 {
        let broken = self.broken.as_ref();
        broken.map_or(self.next, |part| {
            part.key.index * BLOCK + part.filled as u64
        })
    }

    /// Gives up a part of a block.
    fn discard(&self, part: Part) {
        let blocks = &self.reader.context.blocks;
        if part.published > part.from {
            blocks.remove(part.key);
        }
        blocks.give_back(part.buffer);
    }

    /// Waits until there is something to do.
    fn turn(&mut self, source: Option<&dyn Source>, since: Instant) -> Turn {
        let mut state = self.reader.state.lock();
        loop {
            if state.generation != self.generation {
                return Turn::End;
            }
            let Some(stream) = state.find(self.id) else {
                return Turn::End;
            };
            let full = self.next >= stream.goal;
            self.enough = stream.is_random().then_some(stream.goal);
            let idle = stream.followed.elapsed();
            let wanted = source.is_some_and(Source::wanted);
            let is_boundary = stream.limit.is_some_and(|limit| self.next >= limit);
            if is_boundary {
                return Turn::Boundary;
            }
            if wanted && self.is_ahead {
                state.parallelism.remove_one(Instant::now());
                return Turn::End;
            }
            if full && (wanted || idle > IDLE_TIMEOUT) {
                return Turn::End;
            }
            if full && !self.is_ahead {
                state.parallelism.stop_measuring();
            }
            if !full {
                return if wanted && self.may_yield(since) {
                    Turn::Yield
                } else {
                    Turn::Fetch
                };
            }
            self.reader
                .changed
                .wait_for(&mut state, WANTED_POLL_INTERVAL);
            if self.is_ahead {
                // A trial ends by its time, too.
                self.reader.arrange(&mut state);
            }
        }
    }

    /// Whether a transfer that began at `since` gives its connection to a waiting caller: it must be able to resume
    /// where it was.
    fn may_yield(&self, since: Instant) -> bool {
        since.elapsed() > MIN_CONNECTION_TIME && self.reader.context.can_seek()
    }

    /// Receives the rest of a block, or the part that arrives before another caller wants the connection; false at the
    /// end of the file.
    fn fetch(
        &mut self,
        source: &mut dyn Source,
        since: Instant,
        deadline: &Deadline,
    ) -> Result<bool> {
        let key = self.key();
        let start = key.index * BLOCK;
        let from = usize::try_from(self.next - start).unwrap_or(0);
        let mut part = self.broken.take().unwrap_or_else(|| Part {
            key,
            from,
            filled: from,
            published: from,
            ends: false,
            buffer: self.reader.context.blocks.buffer(),
        });
        if let Err(error) = self.receive(&mut part, source, since, deadline) {
            let is_broken = matches!(error, Error::Lost { .. });
            if is_broken && self.reader.context.can_seek() {
                self.broken = Some(part);
            } else {
                self.discard(part);
            }
            return Err(error);
        }
        let end = start + BLOCK;
        let is_full = part.filled == BLOCK_LENGTH && self.version.size != Some(end);
        if is_full && self.is_limit(end) {
            self.check_boundary(source, end, deadline)?;
        }
        let (filled, ends) = (part.filled, part.ends);
        self.publish_rest(part)?;
        self.next = start + filled as u64;
        if self.writes_to_disk && from == 0 && filled > 0 {
            self.write_to_disk(key);
        }
        let mut state = self.reader.state.lock();
        if let Some(stream) = state.find(self.id) {
            stream.next = self.next;
            self.reader.arrange(&mut state);
        }
        Ok(!ends)
    }

    /// Reads from the transfer until the block is full, the file ends, or the connection is wanted. Publishes what a
    /// reader waits for meanwhile.
    fn receive(
        &mut self,
        part: &mut Part,
        source: &mut dyn Source,
        since: Instant,
        deadline: &Deadline,
    ) -> Result<()> {
        let start = part.key.index * BLOCK;
        while part.filled < BLOCK_LENGTH && !self.signal.is_gone() {
            let length = source.read(&mut part.buffer[part.filled..], deadline)?;
            if length == 0 {
                part.ends = true;
                return Ok(());
            }
            part.filled += length;
            self.signal.begun.store(true, Ordering::Relaxed);
            let received = &self.reader.received;
            received.fetch_add(length as u64, Ordering::Relaxed);
            let (seen, have) = (start + part.published as u64, start + part.filled as u64);
            let is_awaited = self.signal.may_reach(have)
                && (self.reader.state.lock()).reaches(&self.signal, seen, have);
            self.note_excess(have);
            if part.filled == BLOCK_LENGTH {
                return Ok(());
            }
            // With all bytes that the size promised, readers need not wait for the server's final reply.
            let is_all = self.version.size == Some(have);
            if is_all || is_awaited {
                part.published = part.filled;
                self.publish(part.key, part.copy(), is_all)?;
            }
            if self.enough.is_some_and(|end| have >= end) {
                return Ok(());
            }
            // On a slow line a whole block would keep the waiting caller for too long.
            if source.wanted() && (self.is_ahead || self.may_yield(since)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Records that a transfer delivered more than the size reported by the server.
    fn note_excess(&self, have: u64) {
        if let Some(size) = self.version.size.filter(|size| have > *size) {
            let mut state = self.reader.state.lock();
            // A stream that was dropped may have an outdated size.
            if state.find(self.id).is_some() {
                state.faults.exceeded_size = state.faults.exceeded_size.max(Some(size));
            }
        }
    }

    /// Publishes what was received and not published yet.
    fn publish_rest(&mut self, mut part: Part) -> Result<()> {
        let blocks = Arc::clone(&self.reader.context.blocks);
        if part.filled <= part.published && !part.ends {
            blocks.give_back(part.buffer);
            return Ok(());
        }
        let is_last = part.ends || part.filled < BLOCK_LENGTH;
        let (key, block) = if part.filled - part.from < COPY_THRESHOLD {
            let block = part.copy();
            blocks.give_back(part.buffer);
            (part.key, block)
        } else {
            part.buffer.truncate(part.filled);
            part.buffer.drain(..part.from);
            let block = Block {
                from: part.from,
                bytes: part.buffer,
                ends: part.ends,
            };
            (part.key, block)
        };
        self.publish(key, block, is_last)
    }
}

/// A part of a block that is being received.
struct Part {
    key: Key,
    /// Offset in the block at which it begins.
    from: usize,
    /// Offset in the block after the last byte received.
    filled: usize,
    /// Offset in the block after the last byte published.
    published: usize,
    /// The file ends after it.
    ends: bool,
    buffer: Vec<u8>,
}

impl Part {
    /// The bytes received so far.
    fn copy(&self) -> Block {
        Block {
            from: self.from,
            bytes: self.buffer[self.from..self.filled].to_vec(),
            ends: self.ends,
        }
    }
}
