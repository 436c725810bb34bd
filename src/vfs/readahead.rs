//! Reading: one transfer stays open for a sequential reader and runs ahead of it.
//!
//! The one idea: a *stream* is a thread (`readahead/pump.rs`) that reads one transfer into the block cache, from
//! some offset on, until its window ahead of the reader is full; then it leaves the socket unread. A
//! reader that misses bytes looks for a stream that will soon bring them, or starts one there.
//!
//! * The window doubles while the reader follows. After reads that nobody followed there is none: who
//!   jumps about gets what was asked for, and the connections are free for the next jump.
//! * A stream that nobody has followed for a while ends; one makes way at once when somebody waits for
//!   its connection, and goes on where it was when its reader comes back.
//! * Where several streams bring more than one, they share the file (`readahead/team.rs`): each has a
//!   segment, at whose end it compares what comes next with what the next one brought. Nothing is shown from
//!   behind such a joint before that.
//! * Blocks carry the generation of the content; a stream ends with its generation.
//!
//! Lock order: `state` before the lock of the block cache; no call to the server under `state`.

mod pump;
mod team;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use pump::Pump;
use team::{Look, Order, TRIAL, Team};

use crate::remote::{Deadline, Error, Remote, RemotePath, Result, Version, Why};
use crate::vfs::blocks::{BLOCK, Block, Blocks, Bytes, Key};
use crate::vfs::disk::{Content, Disk};
use crate::vfs::traffic::{CLOSE, Traffic};

/// Bytes that a new stream runs ahead.
const FIRST_WINDOW: u64 = 2 * BLOCK;
/// Bytes that a stream runs ahead at most: what is on its way over 1 Gbit/s and 130 ms.
const LARGEST_WINDOW: u64 = 16 << 20;
/// The share of the block cache that one stream's window may take. Seven streams (all that eight
/// connections allow) leave half of it for what was read.
const WINDOW_SHARE: u64 = 16;
/// Streams begin at multiples of this many bytes: kernels ask for whole pages.
const PAGE: u64 = 4096;
/// A read so far ahead of a stream waits for it instead of starting another one: cheaper than the
/// round trips of a new transfer.
const SKIP: u64 = 1 << 20;
/// Streams of one file: a reader at its start and one at its end is what players and unzip do.
const STREAMS: usize = 2;
/// How often a reader whose own patience is over looks whether its stream still has some.
const LOOK: Duration = Duration::from_secs(1);

/// What the readers of all files share.
#[derive(Clone)]
pub struct Shared {
    /// The server.
    pub remote: Arc<dyn Remote>,
    /// The block cache.
    pub blocks: Arc<Blocks>,
    /// The time without progress after which a stream gives up.
    pub patience: Duration,
    /// Whether transfers begin where they are told to.
    pub honesty: Arc<Honesty>,
    /// The block cache on disk.
    pub disk: Option<Arc<Disk>>,
    /// What is under way in either direction.
    pub traffic: Arc<Traffic>,
}

/// Whether transfers begin where they are told to. The server itself sees to that; here it is found out where
/// it does so at some places only.
#[derive(Debug, Default)]
pub struct Honesty {
    broken: AtomicBool,
}

impl Honesty {
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// One was seen to begin elsewhere.
    fn doubt(&self) {
        log::warn!(
            "the server begins transfers elsewhere than it is told to: files are read from their start only"
        );
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// Reads one file.
pub struct Reader {
    pub(super) shared: Shared,
    pub(super) ino: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that its streams have received so far.
    received: AtomicU64,
    /// What the disk has of the content of a generation.
    content: Mutex<(u64, Option<Arc<Content>>)>,
}

/// The streams of a file.
#[derive(Default)]
pub(super) struct State {
    pub(super) generation: u64,
    streams: Vec<Stream>,
    next_id: u64,
    /// Pieces that came so far.
    pub(super) brought: u64,
    /// Where segments begin that were not compared yet with what comes before them.
    doubted: BTreeSet<u64>,
    /// What was seen to come behind a segment, by where it ends, while nobody else had brought it yet.
    proofs: HashMap<u64, Vec<u8>>,
    /// Where the pieces end that readers wait for.
    awaited: Vec<u64>,
    /// The streams whose threads may still hold a transfer.
    pub(super) running: BTreeSet<u64>,
    /// Who keeps the file from being read, since its name is about to change.
    holds: usize,
    /// Counts the holds that have ended: what was to be read under an older name is not begun any more.
    turn: u64,
    /// Others were seen to have changed the content: no more of it is read in this generation.
    pub(super) spoilt: Option<Error>,
    /// Two transfers have brought different bytes of the same content.
    is_wrong: bool,
    /// Streams that have gone since one was followed.
    jumps: u32,
    /// More has come than the server says that there is.
    pub(super) is_longer: bool,
    /// What is read.
    target: Option<(RemotePath, Version)>,
    /// The end of what was last read.
    position: u64,
    team: Team,
}

/// A stream, as its readers see it. Its thread ends soon after this value.
pub(super) struct Stream {
    pub(super) id: u64,
    /// Everything of it below this offset has been in the cache.
    pub(super) next: u64,
    /// It runs to here.
    pub(super) goal: u64,
    window: u64,
    /// When somebody last read what it brought.
    pub(super) followed: Instant,
    /// It is to end here, where somebody else's segment begins.
    limit: Option<u64>,
    role: Role,
    /// The offset at which it began.
    begin: u64,
    /// It began where it was wanted, not at the start for want of that.
    can_begin: bool,
    /// The end of the read that it was made for.
    first: u64,
    /// Somebody has read on from there.
    is_followed: bool,
    /// How it ended, until a reader has seen it.
    ended: Option<Result<()>>,
    signal: Arc<Signal>,
}

/// Whom a stream works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A reader.
    Reader,
    /// The team, on trial.
    Newcomer,
    /// The team.
    Member,
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

/// What a thread asks between two pieces, without a lock.
#[derive(Debug, Default)]
pub(super) struct Signal {
    /// Somebody waits for everything up to this offset.
    demand: AtomicU64,
    gone: AtomicBool,
    /// Its first byte has come.
    begun: AtomicBool,
}

impl Signal {
    /// Somebody waits for everything up to this offset.
    pub(super) fn demand(&self) -> u64 {
        self.demand.load(Ordering::Relaxed)
    }

    /// The stream is not wanted any more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.signal.gone.store(true, Ordering::Relaxed);
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
            content: Mutex::new((u64::MAX, None)),
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
    /// file may have another name since: then the caller is to look anew.
    pub fn read(
        self: &Arc<Self>,
        turn: u64,
        (path, version): (&RemotePath, Version),
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Option<Bytes>> {
        self.take_from_disk((path, &version), offset, size);
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
        let mut known = self.content.lock();
        if known.0 != generation {
            *known = (generation, disk.content(path, version));
        }
        known.1.clone()
    }

    /// Puts what the disk has of some bytes into the cache in memory.
    fn take_from_disk(&self, file: (&RemotePath, &Version), offset: u64, size: usize) {
        let generation = self.state.lock().generation;
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

    /// A reader has got everything up to `end`.
    fn go_on(self: &Arc<Self>, state: &mut State, end: u64) {
        state.position = end;
        if state.follow(end, self.shared.largest_window()) {
            self.changed.notify_all();
        }
        if state.team.is_many() {
            self.arrange(state);
        }
    }

    /// Does what the team needs now.
    fn arrange(self: &Arc<Self>, state: &mut State) {
        let Some(look) = self.look(state) else {
            return;
        };
        for order in state.team.step(&look) {
            log::debug!("inode {}: {order:?} at {}", self.ino, look.position);
            match order {
                Order::Try(segment) => self.start_member(state, segment, Role::Newcomer),
                Order::Bring(segment) => self.start_member(state, segment, Role::Member),
                Order::End(limit) => state.end_front_at(limit),
                Order::Keep => state.keep_newcomers(),
                Order::Dismiss => self.dismiss(state),
            }
            self.changed.notify_all();
        }
    }

    /// The newcomers go, and with them what nobody will compare with anything.
    fn dismiss(&self, state: &mut State) {
        let (ino, generation) = (self.ino, state.generation);
        for gone in state
            .streams
            .extract_if(.., |one| one.role == Role::Newcomer)
        {
            state.doubted.remove(&gone.begin);
            for index in gone.begin / BLOCK..gone.next.div_ceil(BLOCK) {
                let key = Key {
                    ino,
                    generation,
                    index,
                };
                self.shared.blocks.remove(key);
            }
        }
    }

    fn look(&self, state: &State) -> Option<Look> {
        let size = state.target.as_ref()?.1.size?;
        let front = match state.front() {
            Some(at) => state.streams[at].next,
            None if state.team.is_many() => state.position,
            None => return None,
        };
        if !self.shared.can_seek() {
            return None;
        }
        let newcomers = || {
            let all = state.streams.iter();
            all.filter(|stream| stream.role == Role::Newcomer)
        };
        let at_work = |stream: &&Stream| stream.limit.is_some() && stream.role != Role::Newcomer;
        let members = state.streams.iter().filter(at_work);
        Some(Look {
            now: Instant::now(),
            received: self.received.load(Ordering::Relaxed),
            front,
            position: state.position,
            size,
            working: members.count(),
            waiting: newcomers()
                .filter(|stream| !stream.signal.begun.load(Ordering::Relaxed))
                .count(),
            done: newcomers()
                .filter(|stream| stream.next >= stream.begin + TRIAL)
                .count(),
            budget: self.shared.blocks.budget(),
        })
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

    /// Whether more has come than the server says that there is.
    pub fn is_longer(&self) -> bool {
        self.state.lock().is_longer
    }

    /// Ends all streams, and what they brought no longer counts when `generation` is another one.
    pub fn restart(&self, generation: u64) {
        let mut state = self.state.lock();
        state.generation = generation;
        (state.spoilt, state.is_longer) = (None, false);
        state.proofs.clear();
        state.doubted.clear();
        state.streams.clear();
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

    /// Starts a stream for a reader who misses these bytes. It begins there if it can.
    fn start(
        self: &Arc<Self>,
        state: &mut State,
        (path, version): (&RemotePath, Version),
        missing: Range<u64>,
        can_begin: bool,
    ) {
        let (from, end) = (missing.start, missing.end);
        let can_begin = can_begin && self.shared.can_seek();
        state.make_place();
        state.target = Some((path.clone(), version));
        let limit = state.gap_in_team(from, self.shared.blocks.budget());
        // Without REST everything comes from the start.
        let next = if can_begin { from / PAGE * PAGE } else { 0 };
        let window = if state.jumps > 0 { 0 } else { FIRST_WINDOW };
        let stream = state.add(next, end + window, limit);
        (stream.window, stream.first) = (window, end);
        stream.can_begin = can_begin;
        stream.signal.demand.store(end, Ordering::Relaxed);
        let id = stream.id;
        if let Err(error) = self.start_pump(state, id) {
            state.end(id, Err(Error::local("starting a thread", &error)));
        }
        // Whoever had to make way.
        self.changed.notify_all();
    }

    /// Starts a stream for the team.
    fn start_member(self: &Arc<Self>, state: &mut State, segment: Range<u64>, role: Role) {
        let goal = match role {
            Role::Newcomer => segment.end.min(segment.start + TRIAL),
            _ => segment.end,
        };
        let stream = state.add(segment.start, goal, Some(segment.end));
        stream.role = role;
        let id = stream.id;
        state.doubted.insert(segment.start);
        if let Err(error) = self.start_pump(state, id) {
            log::debug!("no thread for one more stream: {error}");
            state.forget(id);
            state.team.settle(Instant::now());
        }
    }

    fn start_pump(self: &Arc<Self>, state: &mut State, id: u64) -> std::io::Result<()> {
        if let (Some(target), Some(stream)) = (
            state.target.clone(),
            state.streams.iter().find(|stream| stream.id == id),
        ) {
            Pump::new(self, target, state.generation, stream).start()?;
            state.running.insert(id);
        }
        Ok(())
    }
}

impl Shared {
    /// Whether a transfer may begin in the middle of a file.
    fn can_seek(&self) -> bool {
        !self.honesty.is_broken() && self.remote.traits().seeks
    }

    /// Bytes that a stream runs ahead at most.
    fn largest_window(&self) -> u64 {
        let largest = if self.traffic.is_sending() {
            CLOSE
        } else {
            LARGEST_WINDOW
        };
        largest.min(self.blocks.budget() / WINDOW_SHARE)
    }
}

impl State {
    /// A new stream of a reader.
    fn add(&mut self, next: u64, goal: u64, limit: Option<u64>) -> &mut Stream {
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
    fn front(&self) -> Option<usize> {
        (0..self.streams.len())
            .filter(|&at| {
                let stream = &self.streams[at];
                stream.role == Role::Reader && stream.is_followed && stream.ended.is_none()
            })
            .max_by_key(|&at| self.streams[at].followed)
    }

    fn end_front_at(&mut self, limit: u64) {
        if let Some(at) = self.front() {
            self.streams[at].limit = Some(limit);
            self.streams[at].goal = limit;
        }
    }

    fn keep_newcomers(&mut self) {
        for stream in &mut self.streams {
            if stream.role == Role::Newcomer {
                stream.role = Role::Member;
                stream.goal = stream.limit.unwrap_or(stream.goal);
            }
        }
    }

    /// A reader misses the bytes at `offset`: among the team's segments its stream goes on to the next of
    /// them; elsewhere it is alone, and the team is dissolved.
    fn gap_in_team(&mut self, offset: u64, budget: u64) -> Option<u64> {
        let near = self.position.saturating_sub(SKIP)..=self.position + budget;
        if near.contains(&offset) && self.team.is_many() {
            let later = self.streams.iter().filter(|one| one.role != Role::Reader);
            return later
                .map(|stream| stream.begin)
                .filter(|&begin| begin > offset)
                .min();
        }
        self.streams.retain(|stream| stream.role == Role::Reader);
        self.team = Team::default();
        self.proofs.clear();
        self.doubted.clear();
        None
    }

    /// The stream that brings the bytes at `offset`, or that has just ended there.
    fn stream_for(&self, offset: u64) -> Option<usize> {
        self.streams.iter().position(|stream| {
            let skip = if stream.window > 0 { SKIP } else { 0 };
            let end = stream.limit.unwrap_or(stream.goal + skip + 1);
            stream.next <= offset && offset < end
        })
    }

    /// The reader has got everything up to `end`: the stream that it follows may run on. Returns whether
    /// one does.
    fn follow(&mut self, end: u64, largest: u64) -> bool {
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

    /// Before a new stream: those that have brought what was asked for, and that nobody follows, go, but
    /// for the last; then the one that was followed longest ago, if there are still many.
    fn make_place(&mut self) {
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
        if self.streams.iter().filter(|stream| own(stream)).count() >= STREAMS {
            // Not one for whose bytes somebody waits: then there are more streams for a while.
            let oldest = (0..self.streams.len())
                .filter(|&at| own(&self.streams[at]) && has_brought(&self.streams[at]))
                .min_by_key(|&at| self.streams[at].followed);
            if let Some(at) = oldest {
                let gone = self.streams.remove(at);
                self.jumps += u32::from(!gone.is_followed);
            }
        }
    }

    /// Bytes have come up to `end`, of a block that begins at `start`; whether somebody waits for just that.
    pub(super) fn bring(&mut self, start: u64, end: u64) -> bool {
        self.brought += 1;
        self.awaited.iter().any(|&aim| start < aim && aim <= end)
    }

    /// Whether a segment begins below `end` that is about to be compared with what comes before it, or can't be
    /// any more: until then it is shown to nobody.
    fn doubts(&self, end: u64) -> bool {
        let about_to = |&joint: &u64| {
            self.streams.iter().any(|stream| {
                let reaches = joint <= stream.limit.unwrap_or(stream.goal);
                stream.ended.is_none() && stream.begin < joint && reaches
            })
        };
        let mut below = self.doubted.range(..end);
        match self.spoilt {
            Some(_) => below.next().is_some(),
            None => below.any(about_to),
        }
    }

    fn stop_awaiting(&mut self, aim: u64) {
        if let Some(at) = self.awaited.iter().position(|&other| other == aim) {
            self.awaited.swap_remove(at);
        }
    }

    /// The stream of this number, if it is still wanted.
    pub(super) fn find(&mut self, id: u64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// A stream has ended, and readers are to see how.
    pub(super) fn end(&mut self, id: u64, how: Result<()>) {
        if let Some(stream) = self.find(id) {
            stream.ended = Some(how);
        }
    }

    /// A stream has ended as if it had never been.
    pub(super) fn forget(&mut self, id: u64) {
        self.streams.retain(|stream| stream.id != id);
    }
}
