//! The streams of a file: which of them serves which reader, how far each runs ahead, and which makes place.
//!
//! The one idea: plain data and its rules, under the lock of the reader that owns it; nothing here waits, and no server is
//! asked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::remote::{Error, RemotePath, Result, Version};
use crate::vfs::cache::memory::BLOCK;
use crate::vfs::readahead::parallelism::Team;

/// Bytes that a new stream runs ahead.
pub(crate) const FIRST_WINDOW: u64 = 2 * BLOCK;
/// A read so far ahead of a stream waits for it instead of starting another one: cheaper than the
/// round trips of a new transfer.
const SKIP: u64 = 1 << 20;
/// Streams of one file: a reader at its start and one at its end is what players and unzip do.
const STREAMS: usize = 2;

/// The streams of a file.
#[derive(Default)]
pub(crate) struct State {
    /// The content that is read.
    pub(crate) generation: u64,
    /// Those that there are, and those whose end no reader has seen yet.
    pub(crate) streams: Vec<Stream>,
    pub(crate) next_id: u64,
    /// Pieces that came so far.
    pub(crate) brought: u64,
    /// Where segments begin that were not compared yet with what comes before them.
    pub(crate) doubted: BTreeSet<u64>,
    /// What was seen to come behind a segment, by where it ends, while nobody else had brought it yet.
    pub(crate) proofs: HashMap<u64, Vec<u8>>,
    /// Where the pieces end that readers wait for.
    pub(crate) awaited: Vec<u64>,
    /// The streams whose threads may still hold a transfer.
    pub(crate) running: BTreeSet<u64>,
    /// Who keeps the file from being read, since its name is about to change.
    pub(crate) holds: usize,
    /// Counts the holds that have ended: what was to be read under an older name is not begun any more.
    pub(crate) turn: u64,
    /// Others were seen to have changed the content: no more of it is read in this generation.
    pub(crate) spoilt: Option<Error>,
    /// Two transfers have brought different bytes of the same content.
    pub(crate) is_wrong: bool,
    /// Streams that have gone since one was followed.
    pub(crate) jumps: u32,
    /// More has come than the size that the server said: this one.
    pub(crate) longer: Option<u64>,
    /// What is read.
    pub(crate) target: Option<(RemotePath, Version)>,
    /// The end of what was last read.
    pub(crate) position: u64,
    pub(crate) team: Team,
}

/// A stream, as its readers see it. Its thread ends soon after this value.
pub(crate) struct Stream {
    pub(crate) id: u64,
    /// Everything of it below this offset has been in the cache.
    pub(crate) next: u64,
    /// It runs to here.
    pub(crate) goal: u64,
    pub(crate) window: u64,
    /// When somebody last read what it brought.
    pub(crate) followed: Instant,
    /// It is to end here, where somebody else's segment begins.
    pub(crate) limit: Option<u64>,
    pub(crate) role: Role,
    /// The offset at which it began.
    pub(crate) begin: u64,
    /// It began where it was wanted, not at the start for want of that.
    pub(crate) can_begin: bool,
    /// The end of the read that it was made for.
    pub(crate) first: u64,
    /// Somebody has read on from there.
    pub(crate) is_followed: bool,
    /// How it ended, until a reader has seen it.
    pub(crate) ended: Option<Result<()>>,
    pub(crate) signal: Arc<Signal>,
}

/// Whom a stream works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A reader.
    Reader,
    /// The team, on trial.
    Newcomer,
    /// The team.
    Member,
}

/// What a thread asks between two pieces, without a lock.
#[derive(Debug)]
pub(crate) struct Signal {
    /// Somebody waits, or has waited, for everything up to this offset.
    pub(crate) demand: AtomicU64,
    /// Nobody waits for what ends before this offset; written under the lock of the state only.
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
    /// Somebody may wait for what has come with the bytes up to this offset: [`State::reaches`] tells.
    pub(crate) fn may_reach(&self, have: u64) -> bool {
        self.nearest.load(Ordering::Relaxed) <= have
    }

    /// Somebody waits, or has waited, for everything up to this offset.
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

impl State {
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

    pub(crate) fn end_front_at(&mut self, limit: u64) {
        if let Some(at) = self.front() {
            self.streams[at].limit = Some(limit);
            self.streams[at].goal = limit;
        }
    }

    pub(crate) fn keep_newcomers(&mut self) {
        for stream in &mut self.streams {
            if stream.role == Role::Newcomer {
                stream.role = Role::Member;
                stream.goal = stream.limit.unwrap_or(stream.goal);
            }
        }
    }

    /// A reader misses the bytes at `offset`: among the team's segments its stream goes on to the next of
    /// them; elsewhere it is alone, and the team is dissolved.
    pub(crate) fn gap_in_team(&mut self, offset: u64, budget: u64) -> Option<u64> {
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
    pub(crate) fn stream_for(&self, offset: u64) -> Option<usize> {
        self.streams.iter().position(|stream| {
            let skip = if stream.window > 0 { SKIP } else { 0 };
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

    /// Before a new stream: those that have brought what was asked for, and that nobody follows, go, but
    /// for the last; then the one that was followed longest ago, if there are still many.
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
    pub(crate) fn bring(&mut self, start: u64, end: u64) -> bool {
        self.brought += 1;
        self.is_awaited(start, end)
    }

    /// Whether somebody waits for what ends behind `seen` and has come with the bytes up to `have`. Who waits for more
    /// at the same time, as the kernel's readahead does, keeps nobody from having that.
    pub(crate) fn reaches(&self, signal: &Signal, seen: u64, have: u64) -> bool {
        let beyond = self.awaited.iter().copied().filter(|&aim| aim > have);
        let nearest = beyond.min().unwrap_or(u64::MAX);
        signal.nearest.store(nearest, Ordering::Relaxed);
        self.is_awaited(seen, have)
    }

    /// Whether somebody waits for what ends behind `after`, and not behind `end`.
    fn is_awaited(&self, after: u64, end: u64) -> bool {
        self.awaited.iter().any(|&aim| after < aim && aim <= end)
    }

    /// Whether a segment begins below `end` that is about to be compared with what comes before it, or can't be
    /// any more: until then it is shown to nobody.
    pub(crate) fn doubts(&self, end: u64) -> bool {
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
