//! Streaming: what is written in order is on its way to the server while it is written.
//!
//! The one idea: a *stream* is a thread that takes from the spool what was written in order, and sends
//! it by one transfer. What it has taken is dirty no more; what is written over that later is dirty
//! again, and goes by a plan when the stream has ended. So a stream is but an upload that has begun
//! early, and whoever needs the file at rest ends it first.
//!
//! * The spool keeps a window of the file. A writer who is a window ahead of the network waits; what was
//!   sent long ago is given up, but for the last megabytes, from which a broken stream goes on.
//! * A stream that nobody feeds, or whose connection others want, is finished; what is written after that
//!   is appended by the next one.
//!
//! Lock order: a file's `body`, and no call to the server under it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::remote::{
    self, Ask, Deadline, Done, Plan, ReadAt, Reading, Remote, RemotePath, Sink, Step, Then,
    Urgency, Version, Why, perform_one,
};
use crate::vfs::error::Error;
use crate::vfs::file::{Body, File, Stream};
use crate::vfs::journal::Journal;
use crate::vfs::spool::SpoolFile;
use crate::vfs::traffic::{CLOSE, Traffic};

/// A stream begins with so many bytes: fewer are better off with one upload when they are all there.
const START: u64 = 512 * 1024;
/// Bytes sent at once.
const CHUNK: u64 = 512 * 1024;
/// Bytes behind what was sent that the spool keeps: more than the sockets of both sides can hold, so
/// that what a server has of a broken transfer lies within.
const KEEP: u64 = 16 << 20;
/// The same, where the local disk is full.
const KEEP_TIGHT: u64 = 4 << 20;
/// The spool gives up so many bytes at once.
const RELEASE: u64 = 4 << 20;
/// A stream that gets nothing to send is finished after so long: servers hang up on idle ones, and others
/// may want the connection.
const IDLE: Duration = Duration::from_secs(5);
/// A stream keeps its connection so long when somebody else waits for one.
const SLICE: Duration = Duration::from_millis(500);
/// How often a stream without bytes looks whether its connection is wanted.
const LOOK: Duration = Duration::from_millis(50);
/// Times in a row that a broken stream is taken up again without having got on.
const RETRIES: u32 = 6;
/// It is taken up again at once, then after four times this, and after twice as long each further time,
/// within the patience of the mount: some twelve seconds, in which a server can be started again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Streams at once; the other files wait for their flush, or for the spool to be full.
const STREAMS: usize = 8;
/// Bytes before the end of what a server has that are compared before a stream goes on behind them.
const TAIL: u64 = 64 * 1024;

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
        (first == 0 || body.holes.is_empty() && appends()).then_some(first)
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
        let pump = Pump {
            streams: Arc::clone(self),
            file: Arc::clone(file),
            path,
            spool,
            sink,
            anew,
            then: Then::default(),
            since: Instant::now(),
            buffer: Vec::new(),
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        let spawned = thread::Builder::new()
            .name("upload".into())
            .spawn(move || pump.run());
        if let Err(error) = spawned {
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

/// The thread of a stream.
struct Pump {
    streams: Arc<Streams>,
    file: Arc<File>,
    path: RemotePath,
    spool: Arc<SpoolFile>,
    sink: Option<Box<dyn Sink>>,
    /// It began with an empty file, not behind what was there.
    anew: bool,
    /// What the transfer sets at its end.
    then: Then,
    /// When the transfer began.
    since: Instant,
    buffer: Vec<u8>,
}

/// What a stream does next.
enum Turn {
    Send(Range<u64>),
    /// The transfer is finished, and another one begins when there is more.
    Yield,
    End,
}

impl Pump {
    fn run(mut self) {
        let _sending = self.streams.traffic.send();
        let ended = self.insist();
        self.sink = None;
        self.streams.count.fetch_sub(1, Ordering::Relaxed);
        let mut body = self.file.body.lock();
        match ended {
            // What is written from here on goes with the whole file, when that is flushed.
            Err(error) if error.why() == Some(Why::Unsupported) && body.rewind() => {
                log::info!("{error}; the rest of {} waits for its close", self.path);
            }
            Err(error) => {
                log::warn!("{}: {error}", self.path);
                body.stream_failed(error.into());
            }
            Ok(()) => {}
        }
        body.stream = None;
        self.file.uploaded.notify_all();
    }

    /// Sends until the stream is to end, over as many transfers as it takes.
    fn insist(&mut self) -> remote::Result<()> {
        let mut failures = 0;
        let mut reached = 0;
        let mut since = Instant::now();
        loop {
            let result = match failures {
                0 => self.pump(),
                _ => self.resume().and_then(|()| self.pump()),
            };
            let Err(error) = result else {
                return Ok(());
            };
            self.sink = None;
            let sent = self.sent();
            if failures == 0 || sent > reached {
                (reached, failures) = (sent, 0);
                since = Instant::now();
            }
            failures += 1;
            // Who timed out has waited for long enough.
            let passes = matches!(error, remote::Error::Lost { .. });
            let pause = FIRST_PAUSE * (1 << failures.min(RETRIES));
            let late = since.elapsed() + pause > self.streams.patience;
            if !passes || late || failures > RETRIES {
                return Err(error);
            }
            log::info!("{error}; looking what of {} has arrived", self.path);
            if failures > 1 {
                thread::sleep(pause);
            }
        }
    }

    fn sent(&self) -> u64 {
        let body = self.file.body.lock();
        body.stream.as_ref().map_or(0, |stream| stream.sent)
    }

    /// Sends until the stream is to end, and has the server confirm it.
    fn pump(&mut self) -> remote::Result<()> {
        loop {
            match self.turn() {
                Turn::Send(range) => self.send(range)?,
                Turn::Yield => self.finish()?,
                Turn::End => return self.finish(),
            }
        }
    }

    /// Waits until there is something to do. Bytes that are to be sent are taken: dirty no more.
    fn turn(&self) -> Turn {
        let since = Instant::now();
        let mut guard = self.file.body.lock();
        loop {
            let body = &mut *guard;
            let Some(stream) = &mut body.stream else {
                return Turn::End;
            };
            let written = body.dirty.stretch(stream.sent);
            let until = stream.goal.unwrap_or(body.ordered);
            let end = written.min(until).min(stream.sent + CHUNK);
            // Where it can't be gone on with, all of it has to be at hand for the whole file to be sent.
            let may_pause = self.sink.is_none()
                || self.streams.remote.traits().goes_on
                || body.present.contains(0..stream.sent);
            let wanted = self.sink.as_ref().is_some_and(|sink| sink.wanted()) && may_pause;
            if end > stream.sent {
                // What the journal relies on goes only when the server has confirmed it.
                let relied = body.journal.is_some() && body.superseded.is_empty();
                let held = body.size.saturating_sub(stream.released) > self.streams.window
                    && stream.sent - stream.vouched >= self.streams.window / 2;
                if self.sink.is_some() && relied && (held || stream.tight) {
                    return Turn::Yield;
                }
                if wanted && self.since.elapsed() > SLICE {
                    return Turn::Yield;
                }
                let range = stream.sent..end;
                body.dirty.remove(range.clone());
                stream.sent = end;
                return Turn::Send(range);
            }
            if stream.goal.is_some() || wanted || may_pause && since.elapsed() > IDLE {
                return Turn::End;
            }
            if stream.tight {
                self.release(body);
                // Whoever waits for room on the disk tries again, and says so again if there is none.
                if let Some(stream) = &mut body.stream {
                    stream.tight = false;
                }
                self.file.uploaded.notify_all();
            }
            let look = if self.sink.is_some() { LOOK } else { IDLE };
            self.file.uploaded.wait_for(&mut guard, look);
        }
    }

    fn send(&mut self, range: Range<u64>) -> remote::Result<()> {
        let deadline = Deadline::after(self.streams.patience);
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.buffer.resize(length, 0);
        self.spool
            .read_exact_at(&mut self.buffer, range.start)
            .map_err(|error| remote::Error::local("reading the spool", &error))?;
        let sink = match &mut self.sink {
            Some(sink) => sink,
            None => {
                let ask = flush(&deadline);
                let exclusive = {
                    let body = self.file.body.lock();
                    // What is set on an old file must wait until that has been written to: it may not.
                    let is_ours = body.base.is_none() || body.beside.is_some();
                    self.then = Some(body.then()).filter(|_| is_ours).unwrap_or_default();
                    body.exclusive && body.beside.is_none()
                };
                let remote = &self.streams.remote;
                let sink = if exclusive {
                    self.then = Then::default();
                    remote.create(&self.path, &|| self.begins(), &ask)?
                } else {
                    let anew = self.anew && range.start == 0;
                    let behind = (!anew).then_some(range.start);
                    remote.write(&self.path, behind, self.then, &|| self.begins(), &ask)?
                };
                self.since = Instant::now();
                let mut body = self.file.body.lock();
                body.touched = true;
                if let Some(stream) = &mut body.stream {
                    stream.taken = true;
                }
                // That was of the transfer before.
                body.said = None;
                body.exclusive &= !exclusive;
                drop(body);
                self.sink.insert(sink)
            }
        };
        sink.write(&self.buffer, &deadline)?;
        self.streams
            .moved
            .fetch_add(length as u64, Ordering::Relaxed);
        let mut body = self.file.body.lock();
        self.release(&mut body);
        self.file.uploaded.notify_all();
        Ok(())
    }

    /// The journal hears that the server takes something, if it has the file.
    fn begins(&self) {
        let news = self.file.body.lock().begins();
        if let (Some(journal), Some(id)) = (self.streams.journal.get(), news) {
            journal.begun(id);
        }
    }

    /// Gives up what was sent long ago, once the window is full.
    fn release(&self, body: &mut Body) {
        let Some(stream) = &mut body.stream else {
            return;
        };
        let full = body.size.saturating_sub(stream.released) > self.streams.window;
        let mut until = stream.sent.saturating_sub(self.streams.keep(stream.tight));
        if body.journal.is_some() || body.committing {
            until = until.min(stream.vouched);
        }
        if !(full || stream.tight) || until < stream.released + RELEASE.min(self.streams.window / 8)
        {
            return;
        }
        for part in body.dirty.gaps(stream.released..until) {
            match self.spool.zero(part.clone()) {
                Ok(()) => body.present.remove(part),
                Err(error) => log::warn!("the spool can't give up what was sent: {error}"),
            }
        }
        stream.released = until;
    }

    /// Has the server confirm what was sent so far.
    fn finish(&mut self) -> remote::Result<()> {
        let Some(sink) = self.sink.take() else {
            return Ok(());
        };
        let said = sink.finish(&Deadline::after(self.streams.patience))?;
        let mut body = self.file.body.lock();
        body.stream_confirmed();
        body.said = said.map(|said| (self.then, said));
        let number = body
            .journal
            .filter(|_| !body.committing && body.superseded.is_empty());
        let (Some(journal), Some(id)) = (self.streams.journal.get(), number) else {
            return Ok(());
        };
        let Some(sent) = body.stream.as_ref().map(|stream| stream.sent) else {
            return Ok(());
        };
        drop(body);
        if let Err(error) = journal.arrived(id, sent) {
            log::warn!("the journal can't be written: {error}");
            return Ok(());
        }
        let mut body = self.file.body.lock();
        let is_same = body.journal == Some(id) && !body.committing;
        if let Some(stream) = body.stream.as_mut().filter(|_| is_same) {
            stream.vouched = sent;
        }
        self.release(&mut body);
        Ok(())
    }

    /// After a transfer broke: goes back to what the server has, if that is what was sent and the spool
    /// still has the rest.
    fn resume(&self) -> remote::Result<()> {
        if self.file.body.lock().rewind() {
            return Ok(());
        }
        let deadline = Deadline::after(self.streams.patience);
        let has = self.has(&deadline)?;
        let (sent, confirmed, clean) = {
            let body = self.file.body.lock();
            let Some(stream) = &body.stream else {
                return Ok(());
            };
            let start = has.saturating_sub(TAIL).max(stream.confirmed);
            // What was written over since it was sent tells nothing.
            let tail = start.max(stream.released)..has.min(stream.sent);
            let clean = body.dirty.gaps(tail.clone()).pop();
            (stream.sent, stream.confirmed, clean.unwrap_or(0..0))
        };
        let other = |saw: String| remote::Error::misbehaved(format!("storing {}", self.path), saw);
        // Others may have appended behind it.
        let more = has > sent && !(self.anew && confirmed == 0);
        let all = more && !clean.is_empty() && self.holds(clean.clone(), &deadline)?;
        if has < confirmed || more && !all {
            return Err(other(format!(
                "of {sent} bytes that were sent it now has {has}"
            )));
        }
        let mut from = has.min(sent);
        if !all && (has > sent || !self.holds(clean, &deadline)?) {
            if confirmed > 0 {
                return Err(other("others have written to it meanwhile".to_string()));
            }
            // Not what was sent, or not yet: all of it once more.
            from = 0;
        }
        let mut body = self.file.body.lock();
        if !body.present.contains(from..sent) {
            return Err(other(format!(
                "it has {has} of {sent} bytes, and what lies between is no longer here"
            )));
        }
        body.dirty.insert(from..sent);
        if let Some(stream) = &mut body.stream {
            stream.sent = from;
        }
        if from > confirmed {
            body.stream_confirmed();
        }
        Ok(())
    }

    /// The size of what the server has.
    fn has(&self, deadline: &Deadline) -> remote::Result<u64> {
        let step = Step::Version(&self.path);
        match perform_one(self.streams.remote.as_ref(), step, &flush(deadline)) {
            Ok(Done::Version(Version { size, .. })) => Ok(size.unwrap_or(0)),
            Ok(_) => Ok(0),
            Err(error) if error.why() == Some(Why::NotFound) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether the server has the same bytes there.
    fn holds(&self, range: Range<u64>, deadline: &Deadline) -> remote::Result<bool> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(true);
        }
        let remote = &self.streams.remote;
        let mut source = remote.read(&self.path, &Reading::at(range.start), &flush(deadline))?;
        let (mut theirs, mut ours) = (vec![0; length], vec![0; length]);
        let mut filled = 0;
        while filled < length {
            match source.read(&mut theirs[filled..], deadline)? {
                0 => return Ok(false),
                read => filled += read,
            }
        }
        self.spool
            .read_exact_at(&mut ours, range.start)
            .map_err(|error| remote::Error::local("reading the spool", &error))?;
        Ok(ours == theirs)
    }
}

fn flush(deadline: &Deadline) -> Ask<'_> {
    Ask {
        urgency: Urgency::Flush,
        deadline,
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
            self.broke_off = Some(sent).filter(|_| appends);
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
