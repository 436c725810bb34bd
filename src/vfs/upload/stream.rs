//! Streaming: what is written in order is on its way to the server while it is written.
//!
//! The one idea: a *stream* is a thread (`streaming/pump.rs`) that takes from the spool what was written in order,
//! and sends it by one transfer. What it has taken is dirty no more; what is written over that later is dirty
//! again, and goes by a plan when the stream has ended. So a stream is but an upload that has begun
//! early, and whoever needs the file at rest ends it first.
//!
//! * The spool keeps a window of the file. A writer who is a window ahead of the network waits; what was
//!   sent long ago is given up, but for the last megabytes, from which a broken stream goes on.
//! * A stream that nobody feeds, or whose connection others want, is finished; what is written after that
//!   is appended by the next one.
//!
//! Lock order: a file's `body`, and no call to the server under it.

pub(crate) mod resume;
pub(crate) mod sender;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::vfs::upload::stream::sender::Pump;

use crate::remote::{Deadline, Plan, Remote, RemotePath, Sink, Version};
use crate::vfs::error::Error;
use crate::vfs::file::open_file::{Body, File, Stream};
use crate::vfs::journal::Journal;
use crate::vfs::stats::traffic::{CLOSE, Traffic};

/// A stream begins with so many bytes: fewer are better off with one upload when they are all there.
const START: u64 = 512 * 1024;
/// Bytes behind what was sent that the spool keeps: more than the sockets of both sides can hold, so
/// that what a server has of a broken transfer lies within.
const KEEP: u64 = 16 << 20;
/// The same, where the local disk is full.
const KEEP_TIGHT: u64 = 4 << 20;
/// Streams at once; the other files wait for their flush, or for the spool to be full.
const STREAMS: usize = 8;

/// What the streams of all files share.
pub struct Streams {
    remote: Arc<dyn Remote>,
    /// The time without progress after which a stream gives up.
    patience: Duration,
    /// Bytes of one file that the spool holds.
    window: u64,
    traffic: Arc<Traffic>,
    /// Bytes that went forward for what is to be stored: who waits for the end sees by it that something does.
    pub moved: AtomicU64,
    /// What hears that a transfer has begun.
    journal: Arc<OnceLock<Journal>>,
    count: AtomicUsize,
}

impl Streams {
    /// No stream yet. `window` is how many bytes of a file that is written in order the spool holds.
    pub fn new(
        remote: Arc<dyn Remote>,
        patience: Duration,
        window: u64,
        traffic: Arc<Traffic>,
        journal: Arc<OnceLock<Journal>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            remote,
            patience,
            window,
            traffic,
            moved: AtomicU64::new(0),
            journal,
            count: AtomicUsize::new(0),
        })
    }

    /// Whether a writer who would reach `end` must wait for the network.
    pub fn must_wait(&self, body: &Body, end: u64) -> bool {
        let ahead = match self.traffic.is_receiving() {
            true => CLOSE.min(self.window - self.keep(false)),
            false => self.window - self.keep(false),
        };
        body.stream.as_ref().is_some_and(|stream| {
            end.saturating_sub(stream.sent) > ahead && body.ordered > stream.sent
        })
    }

    /// Whether a stream may begin now, and from where.
    pub fn start_of(&self, body: &Body) -> Option<u64> {
        let busy = body.stream.is_some() || body.uploading || body.removed;
        if busy || body.failed || body.hopeless.is_some() || body.sizeless {
            return None;
        }
        let first = body.dirty.first()?;
        let start = START.min(self.window / 4);
        let due = body.dirty.stretch(first).min(body.ordered) >= first + start;
        let begins = body.kept == 0 && first == 0
            || body.base.is_some_and(|base| base.size == Some(first)) && body.kept == first;
        let crowded =
            self.count.load(Ordering::Relaxed) >= STREAMS && body.size - first < self.window / 2;
        if !due || !begins || crowded {
            return None;
        }
        let appends = || self.remote.plan(&body.change()) == Plan::Append(first);
        // Where there is a hole, what is appended has its place, which others may have taken.
        let may_append = || !body.unappendable && body.holes.is_empty() && appends();
        (first == 0 || may_append()).then_some(first)
    }

    /// Begins a stream over a transfer that made its file.
    pub fn start_over(
        self: &Arc<Self>,
        file: &Arc<File>,
        body: &mut Body,
        path: RemotePath,
        sink: Box<dyn Sink>,
    ) {
        // A file that was just made: the journal can't have it.
        body.begins();
        self.begin(file, body, 0, path, Some(sink));
    }

    /// Begins a stream from `first` on. `path` stays the file's name for as long as it lives.
    pub fn start(
        self: &Arc<Self>,
        file: &Arc<File>,
        body: &mut Body,
        first: u64,
        path: RemotePath,
    ) {
        self.begin(file, body, first, path, None);
    }

    fn begin(
        self: &Arc<Self>,
        file: &Arc<File>,
        body: &mut Body,
        first: u64,
        path: RemotePath,
        sink: Option<Box<dyn Sink>>,
    ) {
        let Some(spool) = body.spool.clone() else {
            return;
        };
        body.said = None;
        let anew = first == 0 && self.remote.plan(&body.change()) != Plan::Append(0);
        if !body.unconfirmed {
            body.behind = !anew;
        }
        body.stream = Some(Stream {
            sent: first,
            confirmed: first,
            taken: sink.is_some(),
            vouched: first,
            released: first,
            goal: None,
            tight: false,
        });
        let pump = Pump::new(self, file, path, spool, sink, anew);
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = pump.start() {
            log::warn!("no thread can be started for an upload: {error}");
            self.count.fetch_sub(1, Ordering::Relaxed);
            body.stream = None;
        }
    }

    fn keep(&self, tight: bool) -> u64 {
        let keep = if tight { KEEP_TIGHT } else { KEEP };
        keep.min(self.window / 2)
    }
}

/// How a stream is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When everything that was written in a row so far is sent.
    Drained,
    /// At once.
    Now,
}

impl File {
    /// Ends the stream, if there is one, and waits until the server has confirmed what it sent. How it
    /// ended is in `broken`.
    pub fn end_stream(&self, end: End, deadline: &Deadline) {
        let mut body = self.body.lock();
        let size = body.size;
        if let Some(stream) = &mut body.stream {
            let goal = match end {
                End::Drained => size,
                End::Now => stream.sent,
            };
            stream.goal = Some(stream.goal.map_or(goal, |before| before.min(goal)));
            self.uploaded.notify_all();
        }
        let mut seen = 0;
        // The stream has a deadline of its own, by which it ends if nothing moves.
        while let Some(stream) = &body.stream {
            if stream.sent != seen {
                seen = stream.sent;
                deadline.progress();
            }
            self.uploaded.wait(&mut body);
        }
    }
}

impl Body {
    /// The server has what the stream has sent.
    fn stream_confirmed(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.confirmed = stream.sent;
        stream.taken = false;
        self.touched = false;
        self.base = Some(Version {
            size: Some(stream.sent),
            modified: None,
        });
        self.kept = stream.sent;
        self.begun = false;
        self.resized = false;
        self.emptied = false;
        self.appended_from(self.kept);
        self.unconfirmed = true;
        self.rebased = true;
    }

    /// Where the server has taken nothing since it confirmed something: goes back to that, and returns true.
    fn rewind(&mut self) -> bool {
        let Some(stream) = self.stream.as_mut().filter(|stream| !stream.taken) else {
            return false;
        };
        let unsent = stream.confirmed..stream.sent;
        stream.sent = stream.confirmed;
        self.dirty.insert(unsent);
        true
    }

    /// What the stream sent may not be there.
    fn stream_failed(&mut self, error: Error) {
        let confirmed = self.stream.as_ref().map_or(0, |stream| stream.confirmed);
        let sent = self.stream.as_ref().map_or(0, |stream| stream.sent);
        self.failed = true;
        self.broke_off = None;
        if !self.rewind() {
            self.touched = true;
            // What was appended is looked for behind what was there.
            let appends =
                !self.emptied && self.base.is_some_and(|base| base.size == Some(confirmed));
            self.broke_off = appends.then_some(sent);
            self.lost_base(confirmed);
        }
        // Who removes a new name must not take our word that it is not there.
        self.touched |= self.base.is_none();
        if !self.present.contains(self.kept..self.size) {
            self.hopeless = Some(error.clone());
        }
        self.why = Some(error.clone());
        self.broken = Some(error);
    }
}
