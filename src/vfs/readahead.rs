//! Reading: one transfer stays open for a sequential reader and runs ahead of it.
//!
//! The one idea: a *stream* is a thread that reads one transfer into the block cache, from some
//! offset on, until its window ahead of the reader is full; then it leaves the socket unread. A
//! reader that misses a block looks for a stream that will soon bring it, or starts one there.
//!
//! * The window doubles while the reader follows, and so stays small for random reads.
//! * A stream that nobody has followed for a while ends; one makes way at once when somebody waits for
//!   its connection, and goes on where it was when its reader comes back.
//! * Blocks carry the generation of the content; a stream ends with its generation.
//!
//! Lock order: `state` before the lock of the block cache; no call to the server under `state`.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::remote::{Ask, Deadline, Error, Remote, RemotePath, Result, Source, Urgency, Version};
use crate::vfs::blocks::{BLOCK, Blocks, Key};

/// Bytes that a new stream runs ahead.
const FIRST_WINDOW: u64 = 2 * BLOCK;
/// Bytes that a stream runs ahead at most. Seven streams (all that eight connections allow)
/// stay well below the budget of the block cache.
const LARGEST_WINDOW: u64 = 4 << 20;
/// A read so far ahead of a stream waits for it instead of starting another one: cheaper than the
/// round trips of a new transfer.
const SKIP: u64 = 1 << 20;
/// Streams of one file: a reader at its start and one at its end is what players and unzip do.
const STREAMS: usize = 2;
/// A stream whose window is full waits so long for its reader to come back.
const PARK: Duration = Duration::from_secs(5);
/// A stream that is being followed keeps its connection so long when somebody else waits for one.
const SLICE: Duration = Duration::from_millis(500);
/// How often a reader whose own patience is over looks whether its stream still has some.
const LOOK: Duration = Duration::from_secs(1);
/// Times in a row that a broken transfer is taken up again without having brought a byte.
const RETRIES: u32 = 1;

/// What the readers of all files share.
#[derive(Clone)]
pub struct Shared {
    /// The server.
    pub remote: Arc<dyn Remote>,
    /// The block cache.
    pub blocks: Arc<Blocks>,
    /// The time without progress after which a stream gives up.
    pub patience: Duration,
}

/// Reads one file.
pub struct Reader {
    shared: Shared,
    ino: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    generation: u64,
    streams: Vec<Stream>,
    next_id: u64,
    /// Blocks that came so far.
    brought: u64,
    /// Threads that may still hold a transfer.
    pumps: usize,
    /// Others were seen to have changed the content: no more of it is read in this generation.
    spoilt: Option<Error>,
}

struct Stream {
    id: u64,
    /// The offset of the block that it will bring next.
    next: u64,
    /// Somebody waits for everything up to here.
    demand: u64,
    /// It runs to here.
    goal: u64,
    window: u64,
    followed: Instant,
    /// How it ended, until a reader has seen it.
    ended: Option<Result<()>>,
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
        })
    }

    /// What the cache holds of `size` bytes from `offset` on, if it holds all of it (up to the end of
    /// the file).
    pub fn cached(&self, offset: u64, size: usize) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let bytes = self.collect(state.generation, offset, size).ok()?;
        state.follow(offset + size as u64);
        self.changed.notify_all();
        Some(bytes)
    }

    /// Reads `size` bytes from `offset`, less only at the end of the file. `path` is where the file
    /// is now; a broken transfer goes on only in a file that may be `version`.
    pub fn read(
        self: &Arc<Self>,
        (path, version): (&RemotePath, Version),
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Vec<u8>> {
        loop {
            let mut state = self.state.lock();
            let missing = match self.collect(state.generation, offset, size) {
                Ok(bytes) => {
                    state.follow(offset + size as u64);
                    self.changed.notify_all();
                    return Ok(bytes);
                }
                Err(missing) => missing,
            };
            if let Some(error) = &state.spoilt {
                return Err(error.clone());
            }
            let end = offset + size as u64;
            match state.stream_for(missing) {
                Some(at) => {
                    if let Some(ended) = state.streams[at].ended.clone() {
                        state.streams.remove(at);
                        ended?;
                        // It ended well before this offset: the file is shorter, or the block has
                        // left the cache already. A new stream tells.
                        self.start(&mut state, (path, version), missing, end);
                    } else {
                        let stream = &mut state.streams[at];
                        stream.followed = Instant::now();
                        stream.demand = stream.demand.max(end);
                        stream.goal = stream.goal.max(end + stream.window);
                    }
                }
                None => self.start(&mut state, (path, version), missing, end),
            }
            self.changed.notify_all();
            let before = state.brought;
            // A stream has a deadline of its own, which moves while the line for a connection does.
            let streaming = state
                .stream_for(missing)
                .is_some_and(|at| state.streams[at].ended.is_none());
            let left = match deadline.remaining() {
                Some(left) => left,
                None if streaming => LOOK,
                None => return Err(Error::timed_out(format!("reading {path}"))),
            };
            self.changed.wait_for(&mut state, left);
            if state.brought != before {
                deadline.progress();
            }
        }
    }

    /// Whether a transfer is under way that will bring the bytes at `offset`.
    pub fn is_streaming(&self, offset: u64) -> bool {
        self.state
            .lock()
            .stream_for(offset / BLOCK * BLOCK)
            .is_some()
    }

    /// Ends all streams and waits until their transfers have ended too: some servers lock a file
    /// that is being read.
    pub fn stop(&self, deadline: &Deadline) {
        let mut state = self.state.lock();
        state.streams.clear();
        self.changed.notify_all();
        while state.pumps > 0 {
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

    /// Ends all streams, and what they brought no longer counts when `generation` is another one.
    pub fn restart(&self, generation: u64) {
        let mut state = self.state.lock();
        state.generation = generation;
        state.spoilt = None;
        state.streams.clear();
        self.changed.notify_all();
    }

    /// The bytes, or the offset of the first block that is missing.
    fn collect(
        &self,
        generation: u64,
        offset: u64,
        size: usize,
    ) -> std::result::Result<Vec<u8>, u64> {
        let mut bytes = Vec::with_capacity(size);
        let end = offset + size as u64;
        let mut at = offset;
        while at < end {
            let index = at / BLOCK;
            let key = Key {
                ino: self.ino,
                generation,
                index,
            };
            let block = self.shared.blocks.get(key).ok_or(index * BLOCK)?;
            let from = usize::try_from(at - index * BLOCK).unwrap_or(usize::MAX);
            let to = usize::try_from((end - index * BLOCK).min(BLOCK)).unwrap_or(usize::MAX);
            let part = block.get(from..to.min(block.len())).unwrap_or_default();
            bytes.extend_from_slice(part);
            if (block.len() as u64) < BLOCK {
                break;
            }
            at = (index + 1) * BLOCK;
        }
        Ok(bytes)
    }

    fn start(
        self: &Arc<Self>,
        state: &mut State,
        (path, version): (&RemotePath, Version),
        from: u64,
        end: u64,
    ) {
        if state.streams.len() >= STREAMS {
            // Not one for whose bytes somebody waits: then there are more streams for a while.
            let oldest = (0..state.streams.len())
                .filter(|&at| state.streams[at].next >= state.streams[at].demand)
                .min_by_key(|&at| state.streams[at].followed);
            oldest.map(|at| state.streams.remove(at));
        }
        let id = state.next_id;
        state.next_id += 1;
        // Without REST everything comes from the start.
        let next = if self.shared.remote.traits().seeks {
            from
        } else {
            0
        };
        state.streams.push(Stream {
            id,
            next,
            demand: end,
            goal: end + FIRST_WINDOW,
            window: FIRST_WINDOW,
            followed: Instant::now(),
            ended: None,
        });
        let pump = Pump {
            reader: Arc::clone(self),
            path: path.clone(),
            version,
            first: next,
            spoilt: false,
            id,
            generation: state.generation,
            next,
        };
        let spawned = thread::Builder::new()
            .name("stream".into())
            .spawn(move || pump.run());
        match spawned {
            Ok(_) => state.pumps += 1,
            Err(error) => state.end(id, Err(Error::local("starting a thread", &error))),
        }
    }
}

impl State {
    /// The stream that brings the block at `offset`, or that has just ended there.
    fn stream_for(&self, offset: u64) -> Option<usize> {
        self.streams
            .iter()
            .position(|stream| stream.next <= offset && offset <= stream.goal + SKIP)
    }

    /// The reader has got everything up to `end`: the stream that it follows may run on.
    fn follow(&mut self, end: u64) {
        let behind = |stream: &&mut Stream| {
            end <= stream.next + BLOCK && end + stream.window + 2 * BLOCK >= stream.next
        };
        if let Some(stream) = self.streams.iter_mut().find(behind) {
            stream.followed = Instant::now();
            if end + stream.window > stream.goal {
                stream.window = (stream.window * 2).min(LARGEST_WINDOW);
                stream.goal = end + stream.window;
            }
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    fn end(&mut self, id: u64, how: Result<()>) {
        if let Some(stream) = self.find(id) {
            stream.ended = Some(how);
        }
    }
}

/// The thread of a stream.
struct Pump {
    reader: Arc<Reader>,
    path: RemotePath,
    /// What the server had when the file was opened.
    version: Version,
    /// The offset at which it began.
    first: u64,
    /// The server has another version.
    spoilt: bool,
    id: u64,
    generation: u64,
    /// The offset of the block that comes next.
    next: u64,
}

/// What a pump does next.
enum Turn {
    Fetch,
    Yield,
    End,
}

impl Pump {
    fn run(mut self) {
        let ended = self.pump();
        let mut state = self.reader.state.lock();
        state.pumps -= 1;
        match ended {
            // Nobody follows it any more, or it is not wanted: as if it had never been.
            Ok(false) => state.streams.retain(|stream| stream.id != self.id),
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
                Turn::End => return Ok(false),
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
        /// How often a stream whose window is full looks whether its connection is wanted.
        const LOOK: Duration = Duration::from_millis(50);
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

    /// Brings one block; false at the end of the file.
    fn fetch(&mut self, source: &mut dyn Source, deadline: &Deadline) -> Result<bool> {
        let mut block = vec![0; usize::try_from(BLOCK).unwrap_or(usize::MAX)];
        let mut filled = 0;
        let mut shown = None;
        while filled < block.len() {
            let end = self.next + filled as u64;
            if filled > 0 && self.version.size == Some(end) {
                // All that there should be: nobody waits for the server's word that it is all.
                self.bring(block[..filled].to_vec());
                shown = Some(filled);
            }
            match source.read(&mut block[filled..], deadline) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) => {
                    if shown.is_some() {
                        self.reader.shared.blocks.remove(self.key());
                    }
                    return Err(error);
                }
            }
        }
        let whole = filled as u64 == BLOCK;
        if shown != Some(filled) {
            block.truncate(filled);
            self.bring(block);
        }
        self.next += BLOCK;
        if let Some(stream) = self.reader.state.lock().find(self.id) {
            stream.next = self.next;
        }
        Ok(whole)
    }

    /// Puts the next block into the cache and tells those who wait.
    fn bring(&self, block: Vec<u8>) {
        self.reader.shared.blocks.put(self.key(), Arc::new(block));
        self.reader.state.lock().brought += 1;
        self.reader.changed.notify_all();
    }

    fn key(&self) -> Key {
        Key {
            ino: self.reader.ino,
            generation: self.generation,
            index: self.next / BLOCK,
        }
    }
}
