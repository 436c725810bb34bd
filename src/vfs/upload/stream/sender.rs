//! Implements the thread of a stream: it sends sequential writes from the spool, by one transfer after the other.
//!
//! Before each piece it looks at its file's `Stream`, and what it takes is no longer dirty. When a transfer breaks off it
//! resumes with another one (`resume`), a few times.
//!
//! # Invariants
//!
//! Of what the journal relies on, the spool releases only what the server has confirmed.
//!
//! # Lock order
//!
//! The file's lock, and no request to the server under it.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::thread::{catch_panic, spawn_thread};
use crate::remote;
use crate::remote::{Ask, Deadline, ReadAt, RemotePath, Sink, Then, Why};
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::spool::SpoolFile;
use crate::vfs::upload::stream::Streams;

/// Bytes sent at once.
const SEND_CHUNK: u64 = 512 * 1024;
/// Bytes that the spool releases at once.
const RELEASE_CHUNK: u64 = 4 << 20;
/// How long a stream waits for more to send before it is finished: servers close idle connections, and other callers
/// may want it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stream keeps its connection while another caller waits for one.
const MIN_CONNECTION_TIME: Duration = Duration::from_millis(500);
/// Interval at which a stream without bytes checks whether its connection is wanted.
const WANTED_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Consecutive retries of a broken stream without progress.
const MAX_RETRIES: u32 = 6;
/// The first retry follows at once, the second after four times this, each further one after twice as long, within the
/// patience of the mount: twelve seconds in all, in which a server can restart.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The thread of a stream.
pub(crate) struct Sender {
    pub(crate) streams: Arc<Streams>,
    pub(crate) file: Arc<File>,
    pub(crate) path: RemotePath,
    pub(crate) spool: Arc<SpoolFile>,
    sink: Option<Box<dyn Sink>>,
    /// It replaces the file instead of appending to it.
    pub(crate) from_start: bool,
    /// What the transfer sets at its end.
    then: Then,
    /// When the transfer began.
    since: Instant,
    /// When the step began that failed first, until one succeeds: retries have what is left of the patience since then.
    failed_since: Option<Instant>,
    /// When the last step began.
    step_since: Instant,
    buffer: Vec<u8>,
    /// What was noted of parts that the server has taken, or may have, when the transfer began.
    before: Begun,
    /// The file's first bytes, where they were sent before the server's consent and are not confirmed yet.
    pub(crate) early: Vec<u8>,
}

/// What is noted when a transfer begins.
#[derive(Clone, Copy, Debug)]
struct Begun {
    taken: bool,
    may_have_arrived: bool,
}

/// What a stream does next.
enum Turn {
    Send(Range<u64>),
    /// The transfer is finished, and another one begins when there is more.
    Yield,
    End,
}

impl Sender {
    /// The thread of a stream of `file`, not started yet, over the transfer `sink` if there is one already.
    pub(crate) fn new(
        streams: &Arc<Streams>,
        file: &Arc<File>,
        path: RemotePath,
        spool: Arc<SpoolFile>,
        sink: Option<Box<dyn Sink>>,
        from_start: bool,
    ) -> Self {
        Self {
            streams: Arc::clone(streams),
            file: Arc::clone(file),
            path,
            spool,
            sink,
            from_start,
            then: Then::default(),
            since: Instant::now(),
            failed_since: None,
            step_since: Instant::now(),
            buffer: Vec::new(),
            before: Begun {
                taken: true,
                may_have_arrived: true,
            },
            early: Vec::new(),
        }
    }

    /// Starts the thread.
    pub(crate) fn start(self) -> io::Result<()> {
        spawn_thread("upload", move || self.run())
    }

    fn run(mut self) {
        let _sending = self.streams.traffic.send();
        let ended = catch_panic("an upload stream", || self.send_with_retries());
        let ended = ended.unwrap_or_else(|| Err(remote::Error::panicked("upload")));
        self.sink = None;
        self.streams.count.fetch_sub(1, Ordering::Relaxed);
        let mut body = self.file.body.lock();
        match ended {
            // What is written from here on goes with the whole file, when that is flushed.
            Err(error) if error.why() == Some(Why::Unsupported) && body.rewind() => {
                body.upload.unappendable = true;
                log::info!(
                    "upload: {}: streaming stopped: {error}; the rest is sent by its close",
                    self.path
                );
            }
            Err(error) => {
                log::warn!("upload: {}: stream failed: {error}", self.path);
                body.stream_failed(error.into());
            }
            Ok(()) => {}
        }
        body.upload.stream = None;
        self.file.uploaded.notify_all();
    }

    /// Sends until the stream is to end, over as many transfers as it takes.
    fn send_with_retries(&mut self) -> remote::Result<()> {
        let mut failures = 0;
        let mut reached = 0;
        let mut cause = None;
        loop {
            let result = match failures {
                0 => self.send_until_end(),
                _ => self.resume().and_then(|()| self.send_until_end()),
            };
            let Err(error) = result else {
                return Ok(());
            };
            if self.sink.as_mut().is_some_and(|sink| sink.took_nothing()) {
                self.forget_begun();
            }
            self.sink = None;
            let sent = self.sent();
            if failures == 0 || sent > reached {
                (reached, failures) = (sent, 0);
                self.failed_since = None;
            }
            let since = *self.failed_since.get_or_insert(self.step_since);
            if self.streams.remote.waits_out(&error) {
                (failures, self.failed_since) = (1, None);
                thread::sleep(RETRY_PAUSE);
                continue;
            }
            failures += 1;
            // A timeout has waited for long enough, but for that of a server that is away: it comes at once.
            let is_away = self.streams.remote.is_away();
            let passes = is_away || matches!(error, remote::Error::Lost { .. });
            let pause = RETRY_PAUSE * (1 << failures.min(MAX_RETRIES));
            let late = since.elapsed() + pause > self.streams.patience;
            if !passes || late || failures > MAX_RETRIES && !is_away {
                // A retry without a reply says less than the error that made it necessary: pyftpdlib answers 426 when its
                // disk is full, and nothing at all to the next STOR.
                let is_silence = matches!(error, remote::Error::TimedOut { .. });
                return Err(cause.filter(|_| is_silence).unwrap_or(error));
            }
            cause = Some(error.clone());
            log::info!(
                "upload: {}: {error}; resuming after what has arrived",
                self.path
            );
            if failures > 1 {
                thread::sleep(pause);
            }
        }
    }

    /// The deadline of the next step: of one after a failure, what that has left.
    pub(crate) fn deadline(&self) -> Deadline {
        let spent = self
            .failed_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        Deadline::after(self.streams.patience.saturating_sub(spent))
    }

    fn sent(&self) -> u64 {
        let body = self.file.body.lock();
        body.upload.stream.as_ref().map_or(0, |stream| stream.sent)
    }

    /// Sends until the stream is to end, and has the server confirm it.
    fn send_until_end(&mut self) -> remote::Result<()> {
        loop {
            match self.turn() {
                Turn::Send(range) => self.send(range)?,
                Turn::Yield => self.finish()?,
                Turn::End => return self.finish(),
            }
            // What comes next has all of the timeout again.
            self.failed_since = None;
        }
    }

    /// Waits for the next step. Takes the bytes to send: they are no longer dirty.
    fn turn(&self) -> Turn {
        let since = Instant::now();
        let mut guard = self.file.body.lock();
        loop {
            let body = &mut *guard;
            let Some(stream) = &mut body.upload.stream else {
                return Turn::End;
            };
            let written = body.content.ordered_from(stream.sent);
            let until = stream.goal.unwrap_or(body.content.ordered);
            let mut end = written.min(until).min(stream.sent + SEND_CHUNK);
            if body.journal.is_cutting() {
                // What is about to be cut off must not be sent.
                end = stream.sent;
            }
            // Where the server cannot append, the whole file must be here to be sent again.
            let may_pause = self.sink.is_none()
                || self.streams.remote.traits().appends
                || body.content.present.contains(0..stream.sent);
            let wanted = self.sink.as_ref().is_some_and(|sink| sink.wanted()) && may_pause;
            if end > stream.sent {
                // What the journal relies on goes only when the server has confirmed it.
                let relied = body.journal.id.is_some() && body.journal.superseded.is_empty();
                let held = body.content.size.saturating_sub(stream.released) > self.streams.window
                    && stream.sent - stream.vouched >= self.streams.window / 2;
                if self.sink.is_some() && relied && (held || stream.tight) {
                    return Turn::Yield;
                }
                if wanted && self.since.elapsed() > MIN_CONNECTION_TIME {
                    return Turn::Yield;
                }
                let range = stream.sent..end;
                body.content.dirty.remove(range.clone());
                stream.sent = end;
                return Turn::Send(range);
            }
            if stream.goal.is_some() || wanted || may_pause && since.elapsed() > IDLE_TIMEOUT {
                return Turn::End;
            }
            if stream.tight {
                self.release(body);
                // A writer that waits for room on the disk tries again, and reports it again if there is none.
                if let Some(stream) = &mut body.upload.stream {
                    stream.tight = false;
                }
                self.file.uploaded.notify_all();
            }
            let look = if self.sink.is_some() {
                WANTED_POLL_INTERVAL
            } else {
                IDLE_TIMEOUT
            };
            self.file.uploaded.wait_for(&mut guard, look);
        }
    }

    fn send(&mut self, range: Range<u64>) -> remote::Result<()> {
        self.step_since = Instant::now();
        let deadline = self.deadline();
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.buffer.resize(length, 0);
        self.spool
            .read_exact_at(&mut self.buffer, range.start)
            .map_err(|error| remote::Error::local("reading the spool", &error))?;
        match &mut self.sink {
            Some(sink) => sink.write(&self.buffer, &deadline)?,
            None => self.begin(range.start, &deadline)?,
        }
        self.streams
            .traffic
            .moved
            .fetch_add(length as u64, Ordering::Relaxed);
        let mut body = self.file.body.lock();
        self.release(&mut body);
        self.file.uploaded.notify_all();
        Ok(())
    }

    /// Begins a transfer at an offset, with what is in the buffer.
    fn begin(&mut self, from: u64, deadline: &Deadline) -> remote::Result<()> {
        let ask = Ask::flush(deadline);
        let exclusive = {
            let body = self.file.body.lock();
            // What is set on an old file must wait until that has been written to: it may not.
            let is_ours = body.content.base.is_none() || body.name.temp.is_some();
            self.then = match is_ours {
                true => body.then(),
                false => Then::default(),
            };
            body.upload.exclusive && body.name.temp.is_none()
        };
        let remote = &self.streams.remote;
        let (sink, early) = if exclusive {
            self.then = Then::default();
            (remote.create(&self.path, &|| self.begins(), &ask)?, 0)
        } else {
            let from_start = self.from_start && from == 0;
            let behind = (!from_start).then_some(from);
            let begins = || self.begins();
            remote.write(&self.path, behind, self.then, &self.buffer, &begins, &ask)?
        };
        self.since = Instant::now();
        let mut body = self.file.body.lock();
        self.before.may_have_arrived = std::mem::replace(&mut body.upload.may_have_arrived, true);
        if let Some(stream) = &mut body.upload.stream {
            self.before.taken = std::mem::replace(&mut stream.taken, true);
        }
        // That was of the transfer before.
        body.upload.stream_reply = None;
        body.upload.exclusive &= !exclusive;
        drop(body);
        let early = usize::try_from(early).unwrap_or(usize::MAX);
        let (early, rest) = self.buffer.split_at(early.min(self.buffer.len()));
        if from == 0 {
            self.early = early.to_vec();
        }
        self.sink.insert(sink).write(rest, deadline)
    }

    /// The transfer was refused, and nothing of it is on the server: what was noted when it began is not so.
    fn forget_begun(&self) {
        let mut body = self.file.body.lock();
        body.upload.may_have_arrived = self.before.may_have_arrived;
        if let Some(stream) = &mut body.upload.stream {
            stream.taken = self.before.taken;
        }
    }

    /// The journal hears that the server takes something, if it has the file.
    fn begins(&self) {
        let news = self.file.body.lock().mark_upload_begun();
        if let (Some(journal), Some(id)) = (self.streams.journal.get(), news) {
            journal.begun(id);
        }
    }

    /// Gives up what was sent long ago, once the window is full.
    fn release(&self, body: &mut Body) {
        let Some(stream) = &mut body.upload.stream else {
            return;
        };
        let full = body.content.size.saturating_sub(stream.released) > self.streams.window;
        let mut until = stream
            .sent
            .saturating_sub(self.streams.kept_bytes(stream.tight));
        if body.journal.id.is_some() || body.journal.is_committing() {
            until = until.min(stream.vouched);
        }
        if !(full || stream.tight)
            || until < stream.released + RELEASE_CHUNK.min(self.streams.window / 8)
        {
            return;
        }
        for part in body.content.dirty.gaps(stream.released..until) {
            match self.spool.zero(part.clone()) {
                Ok(()) => body.content.present.remove(part),
                Err(error) => log::warn!("upload: spool: sent bytes not released: {error}"),
            }
        }
        stream.released = until;
    }

    /// Has the server confirm what was sent so far.
    fn finish(&mut self) -> remote::Result<()> {
        if self.sink.is_some() {
            self.step_since = Instant::now();
        }
        let deadline = self.deadline();
        let Some(sink) = &mut self.sink else {
            return Ok(());
        };
        let said = sink.finish(&deadline)?;
        self.sink = None;
        self.early = Vec::new();
        let mut body = self.file.body.lock();
        body.stream_confirmed();
        body.upload.stream_reply = said.map(|said| (self.then, said));
        let number = body
            .journal
            .id
            .filter(|_| !body.journal.is_committing() && body.journal.superseded.is_empty());
        let (Some(journal), Some(id)) = (self.streams.journal.get(), number) else {
            return Ok(());
        };
        let Some(sent) = body.upload.stream.as_ref().map(|stream| stream.sent) else {
            return Ok(());
        };
        drop(body);
        if let Err(error) = journal.arrived(id, sent) {
            log::warn!("journal: write failed: {error}; the spool keeps what was sent");
            return Ok(());
        }
        let mut body = self.file.body.lock();
        let is_same = body.journal.id == Some(id) && !body.journal.is_committing();
        if let Some(stream) = body.upload.stream.as_mut().filter(|_| is_same) {
            stream.vouched = sent;
        }
        self.release(&mut body);
        Ok(())
    }
}
