//! The thread of a stream: it moves one transfer into the block cache.
//!
//! The one idea: it does as its `Stream` says (`readahead.rs`) and looks at that whenever a piece has
//! come. A block is shown when it is whole, and before that as soon as it has what somebody waits for.
//!
//! Lock order: the reader's `state` before the block cache; the server is asked under neither.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::remote::{Ask, Deadline, Error, RemotePath, Result, Source, Urgency, Version};
use crate::vfs::blocks::{BLOCK, BLOCK_LENGTH, Block, Key};
use crate::vfs::readahead::{Reader, Signal};

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

/// The thread of a stream.
pub(super) struct Pump {
    reader: Arc<Reader>,
    path: RemotePath,
    /// What the server had when the file was opened.
    version: Version,
    generation: u64,
    id: u64,
    /// The offset at which it began.
    first: u64,
    /// The offset that comes next.
    next: u64,
    /// The server has another version.
    spoilt: bool,
    signal: Arc<Signal>,
}

/// What a pump does next.
enum Turn {
    Fetch,
    Yield,
    End,
}

impl Pump {
    /// The pump of the stream `id`, which begins at `next`.
    pub(super) fn new(
        reader: &Arc<Reader>,
        (path, version): (&RemotePath, Version),
        generation: u64,
        (id, next): (u64, u64),
        signal: Arc<Signal>,
    ) -> Self {
        Self {
            reader: Arc::clone(reader),
            path: path.clone(),
            version,
            generation,
            id,
            first: next,
            next,
            spoilt: false,
            signal,
        }
    }

    /// Starts the thread.
    pub(super) fn start(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("stream".into());
        thread.spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        let ended = self.pump();
        let mut state = self.reader.state.lock();
        state.pumps -= 1;
        match ended {
            // Nobody follows it any more, or it is not wanted: as if it had never been.
            Ok(false) => state.forget(self.id),
            Ok(true) => state.end(self.id, Ok(())),
            Err(error) => {
                if self.spoilt && state.generation == self.generation {
                    state.spoilt = Some(error.clone());
                }
                state.end(self.id, Err(error));
            }
        }
        self.reader.changed.notify_all();
    }

    /// True at the end of the file, false when nobody wants more.
    fn pump(&mut self) -> Result<bool> {
        let mut source: Option<Box<dyn Source>> = None;
        let mut since = Instant::now();
        let mut failures = 0;
        loop {
            match self.turn(source.as_deref(), since) {
                Turn::End => {
                    self.see_the_end(source);
                    return Ok(false);
                }
                Turn::Yield => {
                    source = None;
                    since = Instant::now();
                    continue;
                }
                Turn::Fetch => {}
            }
            let deadline = Deadline::after(self.reader.shared.patience);
            let ask = Ask {
                urgency: Urgency::Caller,
                deadline: &deadline,
            };
            let fetched = match &mut source {
                Some(source) => self.fetch(source.as_mut(), &deadline),
                None => {
                    let opened = self.open(&ask);
                    since = Instant::now();
                    opened.and_then(|opened| self.fetch(source.insert(opened).as_mut(), &deadline))
                }
            };
            match fetched {
                Ok(true) => failures = 0,
                Ok(false) => return Ok(true),
                Err(Error::Lost { .. }) if failures < RETRIES => {
                    failures += 1;
                    source = None;
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

    fn open(&mut self, ask: &Ask<'_>) -> Result<Box<dyn Source>> {
        let remote = &self.reader.shared.remote;
        let goes_on = self.next > self.first;
        let source = remote.read(&self.path, self.next, goes_on, ask)?;
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
            if full && (wanted || idle > PARK) {
                return Turn::End;
            }
            if !full {
                return if wanted && since.elapsed() > SLICE {
                    Turn::Yield
                } else {
                    Turn::Fetch
                };
            }
            self.reader.changed.wait_for(&mut state, LOOK);
        }
    }

    /// Brings the rest of a block; false at the end of the file.
    fn fetch(&mut self, source: &mut dyn Source, deadline: &Deadline) -> Result<bool> {
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
                Ok(length) => filled += length,
                Err(error) => {
                    if shown > from {
                        blocks.remove(key);
                    }
                    blocks.give_back(buffer);
                    return Err(error);
                }
            }
            let (seen, have) = (start + shown as u64, start + filled as u64);
            let demand = self.signal.demand();
            // All that there should be: nobody waits for the server's word that it is all.
            let is_all = self.version.size == Some(have);
            if filled < BLOCK_LENGTH && (is_all || (seen < demand && demand <= have)) {
                let bytes = buffer[from..filled].to_vec();
                shown = filled;
                self.show(key, Block { from, bytes, ends });
            }
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
            self.show(key, Block { from, bytes, ends });
        } else {
            blocks.give_back(buffer);
        }
        self.next = start + filled as u64;
        if let Some(stream) = self.reader.state.lock().find(self.id) {
            stream.next = self.next;
        }
        Ok(!ends)
    }

    /// Puts a block, or what is there of it, into the cache, and tells those who wait.
    fn show(&self, key: Key, block: Block) {
        self.reader.shared.blocks.put(key, block);
        self.reader.state.lock().brought += 1;
        self.reader.changed.notify_all();
    }

    /// The block that is being brought.
    fn key(&self) -> Key {
        Key {
            ino: self.reader.ino,
            generation: self.generation,
            index: self.next / BLOCK,
        }
    }
}
