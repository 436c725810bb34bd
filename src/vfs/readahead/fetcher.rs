//! The thread of a stream: it moves one transfer into the block cache.
//!
//! The one idea: it does as its `Stream` says (`readahead.rs`) and looks at that whenever a piece has
//! come. A block is shown when it is whole, and before that as soon as it has what somebody waits for.
//!
//! Lock order: the reader's `state` before the block cache; the server is asked under neither.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::process::thread::spawn_thread;
use crate::remote::{
    Ask, Deadline, Error, Reading, RemotePath, Result, Source, Urgency, Version, Why,
};
use crate::vfs::cache::memory::{BLOCK, BLOCK_LENGTH, Block};
use crate::vfs::readahead::stream_set::{Role, Signal, Stream};
use crate::vfs::readahead::{Reader, Shared};

/// A stream whose window is full waits so long for its reader to come back.
const PARK: Duration = Duration::from_secs(5);
/// A stream that is being followed keeps its connection so long when somebody else waits for one.
const SLICE: Duration = Duration::from_millis(500);
/// How often a stream whose window is full looks whether its connection is wanted.
const LOOK: Duration = Duration::from_millis(50);
/// Times in a row that a broken transfer is taken up again without having brought a byte.
const RETRIES: u32 = 1;
/// A part of a block below this is kept in memory of its own size.
const SMALL: usize = BLOCK_LENGTH / 2;

/// What nobody waits for must begin so soon, lest it keeps a place in the line.
const AHEAD_PATIENCE: Duration = Duration::from_secs(2);

/// The thread of a stream.
pub(crate) struct Pump {
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
    spoilt: bool,
    /// It works for a team: nobody waits for it.
    pub(crate) is_ahead: bool,
    /// The transfer is known to be of the version, and the disk keeps what it brings.
    keeps: bool,
    /// What comes behind its segment was compared.
    pub(crate) is_joined: bool,
    /// What it brought is not what others did.
    pub(crate) contradicts: bool,
    signal: Arc<Signal>,
}

/// What a pump does next.
enum Turn {
    Fetch,
    Yield,
    /// Somebody else's segment begins here.
    Joint,
    End,
}

impl Pump {
    /// The pump of a stream.
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
            spoilt: false,
            is_ahead: stream.role != Role::Reader,
            keeps: false,
            is_joined: false,
            contradicts: false,
            signal: Arc::clone(&stream.signal),
        }
    }

    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<()> {
        spawn_thread("stream", move || self.run())
    }

    fn run(mut self) {
        let mut source = None;
        let mut ended = self.pump(&mut source);
        if self.contradicts {
            self.spoilt = true;
            ended = Err(self.contradiction());
        }
        let mut state = self.reader.state.lock();
        match ended {
            // Nobody follows it any more, or it is not wanted: as if it had never been.
            Ok(false) => state.forget(self.id),
            Ok(true) if self.is_ahead => state.forget(self.id),
            Ok(true) => state.end(self.id, Ok(())),
            Err(error) => {
                if self.spoilt && state.generation == self.generation {
                    state.spoilt = Some(error.clone());
                }
                if self.is_ahead {
                    log::debug!("{}: one stream less: {error}", self.path);
                    state.forget(self.id);
                } else {
                    state.end(self.id, Err(error));
                }
            }
        }
        self.reader.changed.notify_all();
        drop(state);
        // Nobody who reads waits until the server has been told.
        drop(source);
        let mut state = self.reader.state.lock();
        state.running.remove(&self.id);
        self.reader.changed.notify_all();
    }

    /// True at the end of the file, false when nobody wants more. `source` is the transfer that is under way.
    fn pump(&mut self, source: &mut Option<Box<dyn Source>>) -> Result<bool> {
        let _receiving = self.reader.shared.traffic.receive();
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
                Turn::Joint => {
                    // The limit has come when the last block was there already.
                    if let Some(source) = source.as_mut().filter(|_| !self.is_joined) {
                        let deadline = Deadline::after(self.reader.shared.patience);
                        self.check_joint(source.as_mut(), self.next, &deadline)?;
                    }
                    return Ok(false);
                }
                Turn::Fetch => {}
            }
            let deadline = Deadline::after(self.reader.shared.patience);
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
                Err(Error::Lost { .. }) if failures < RETRIES => {
                    failures += 1;
                    *source = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where all has come that there should be, the server's last word is awaited though nobody cares:
    /// to break the transfer off would cost more.
    fn see_the_end(&self, source: Option<Box<dyn Source>>) {
        if let Some(mut source) = source.filter(|_| self.version.size == Some(self.next)) {
            let deadline = Deadline::after(self.reader.shared.patience);
            if let Err(error) = source.read(&mut [0; 1], &deadline) {
                log::debug!("{error}");
            }
        }
    }

    fn open(&mut self, deadline: &Deadline) -> Result<Box<dyn Source>> {
        // What is put beside the bytes of others must be of the same content.
        let goes_on = self.is_ahead || self.next > self.first;
        let has_disk = self.reader.shared.disk.is_some();
        let source = self.open_at(self.next, goes_on || has_disk, deadline)?;
        self.keeps = has_disk && source.version() == Some(self.version);
        // Half of one content and half of another is none.
        let changed = |now: Version| goes_on && !self.version.may_be(&now);
        if source.version().is_some_and(changed) {
            self.spoilt = true;
            return Err(Error::misbehaved(
                format!("reading {}", self.path),
                "it was changed by others while it was read",
            ));
        }
        Ok(source)
    }

    fn open_at(&self, from: u64, verify: bool, deadline: &Deadline) -> Result<Box<dyn Source>> {
        let Shared {
            remote, honesty, ..
        } = &self.reader.shared;
        if from > 0 && honesty.is_broken() {
            let tried = format!("reading {} in its middle", self.path);
            let why = "transfers begin elsewhere than they are told to";
            return Err(Error::refused(Why::Unsupported, tried, why));
        }
        let urgency = if self.is_ahead {
            Urgency::Ahead
        } else {
            Urgency::Caller
        };
        let short = Deadline::after(AHEAD_PATIENCE.min(deadline.patience()));
        let deadline = if self.is_ahead { &short } else { deadline };
        let ask = Ask { urgency, deadline };
        let reading = Reading {
            from,
            size: self.version.size,
            verify,
        };
        remote.read(&self.path, &reading, &ask)
    }

    /// Waits until there is something to do.
    fn turn(&self, source: Option<&dyn Source>, since: Instant) -> Turn {
        let mut state = self.reader.state.lock();
        loop {
            if state.generation != self.generation {
                return Turn::End;
            }
            let Some(stream) = state.find(self.id) else {
                return Turn::End;
            };
            let full = self.next >= stream.goal;
            let idle = stream.followed.elapsed();
            let wanted = source.is_some_and(Source::wanted);
            let is_joint = stream.limit.is_some_and(|limit| self.next >= limit);
            if is_joint {
                return Turn::Joint;
            }
            if wanted && self.is_ahead {
                state.team.lose_one(Instant::now());
                return Turn::End;
            }
            if full && (wanted || idle > PARK) {
                return Turn::End;
            }
            if full && !self.is_ahead {
                state.team.rest();
            }
            if !full {
                return if wanted && self.may_yield(since) {
                    Turn::Yield
                } else {
                    Turn::Fetch
                };
            }
            self.reader.changed.wait_for(&mut state, LOOK);
            if self.is_ahead {
                // A trial ends by its time, too.
                self.reader.arrange(&mut state);
            }
        }
    }

    /// Whether a transfer that began at `since` makes way for who waits for its connection: it has to be able to go on
    /// where it was.
    fn may_yield(&self, since: Instant) -> bool {
        since.elapsed() > SLICE && self.reader.shared.can_seek()
    }

    /// Brings the rest of a block, or what comes of it before somebody waits for the connection; false at the end of
    /// the file.
    fn fetch(
        &mut self,
        source: &mut dyn Source,
        since: Instant,
        deadline: &Deadline,
    ) -> Result<bool> {
        let blocks = Arc::clone(&self.reader.shared.blocks);
        let key = self.key();
        let start = key.index * BLOCK;
        let from = usize::try_from(self.next - start).unwrap_or(0);
        let mut buffer = blocks.buffer();
        let (mut filled, mut shown, mut ends) = (from, from, false);
        while filled < BLOCK_LENGTH && !self.signal.is_gone() {
            match source.read(&mut buffer[filled..], deadline) {
                Ok(0) => {
                    ends = true;
                    break;
                }
                Ok(length) => {
                    filled += length;
                    self.signal.begun.store(true, Ordering::Relaxed);
                    let received = &self.reader.received;
                    received.fetch_add(length as u64, Ordering::Relaxed);
                }
                Err(error) => {
                    if shown > from {
                        blocks.remove(key);
                    }
                    blocks.give_back(buffer);
                    return Err(error);
                }
            }
            let (seen, have) = (start + shown as u64, start + filled as u64);
            let is_awaited = self.signal.may_reach(have)
                && (self.reader.state.lock()).reaches(&self.signal, seen, have);
            if let Some(size) = self.version.size.filter(|size| have > *size) {
                // What is longer than what was known before is no news of what is known now.
                let mut state = self.reader.state.lock();
                if state.find(self.id).is_some() {
                    state.longer = state.longer.max(Some(size));
                }
            }
            // All that there should be: nobody waits for the server's word that it is all.
            let is_all = self.version.size == Some(have);
            if filled < BLOCK_LENGTH && (is_all || is_awaited) {
                let bytes = buffer[from..filled].to_vec();
                shown = filled;
                self.show(key, Block { from, bytes, ends }, is_all)?;
            }
            // A slow one would keep who waits for all of a block.
            if filled < BLOCK_LENGTH && source.wanted() && (self.is_ahead || self.may_yield(since))
            {
                break;
            }
        }
        let end = start + BLOCK;
        let is_full = filled == BLOCK_LENGTH && self.version.size != Some(end);
        if is_full && self.is_limit(end) {
            self.check_joint(source, end, deadline)?;
        }
        if filled > shown || ends {
            let bytes = if filled - from < SMALL {
                let bytes = buffer[from..filled].to_vec();
                blocks.give_back(buffer);
                bytes
            } else {
                buffer.truncate(filled);
                buffer.drain(..from);
                buffer
            };
            let is_last = ends || filled < BLOCK_LENGTH;
            self.show(key, Block { from, bytes, ends }, is_last)?;
        } else {
            blocks.give_back(buffer);
        }
        self.next = start + filled as u64;
        if self.keeps && from == 0 && filled > 0 {
            self.keep(key);
        }
        let mut state = self.reader.state.lock();
        if let Some(stream) = state.find(self.id) {
            stream.next = self.next;
            self.reader.arrange(&mut state);
        }
        Ok(!ends)
    }
}
