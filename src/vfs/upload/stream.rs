//! Streaming: sequential writes are sent to the server while they are written.
//!
//! A *stream* is a thread (`sender`) that takes sequential writes from the spool and sends them by one transfer. What it
//! has taken is no longer dirty; what is written over that later is dirty again, and goes by a plan when the stream has
//! ended. So a stream is an upload that begins early, and whatever needs the file at rest ends the stream first.
//!
//! * The spool holds a window of the file. A writer that is a window ahead of the network waits. What was sent long ago is
//!   released from the spool, except for the last megabytes, from which a broken stream resumes.
//! * A stream without input, or whose connection another caller wants, is finished; what is written afterwards is appended
//!   by the next one.
//!
//! The modules:
//!
//! * `sender`: the thread of a stream
//! * `resume`: resumes a stream after a broken transfer
//!
//! # Lock order
//!
//! A file's lock, and no request to the server under it.

pub(crate) mod resume;
pub(crate) mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::vfs::file::upload_state::{Report, UploadState};
use crate::vfs::upload::stream::sender::Sender;

use crate::remote::{Plan, Remote, RemotePath, Sink, Version};
use crate::vfs::error::Error;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::upload_state::Stream;
use crate::vfs::journal::JournalHandle;
use crate::vfs::stats::{DUPLEX_WINDOW, Traffic};

/// Sequential bytes with which a stream begins: fewer are better sent by one upload when all are there.
const MIN_STREAM: u64 = 512 * 1024;
/// Sent bytes that the spool keeps: more than the sockets of both sides can hold, so that what the server has of a
/// broken transfer ends within.
const KEEP: u64 = 16 << 20;
/// The same, while the local disk is full.
const KEEP_TIGHT: u64 = 4 << 20;
/// Streams at once; other files wait for their flush, or for the spool to be full.
const MAX_STREAMS: usize = 8;

/// What the streams of all files share.
pub struct Streams {
    remote: Arc<dyn Remote>,
    /// The time without progress after which a stream gives up.
    patience: Duration,
    /// Bytes of one file that the spool holds.
    window: u64,
    pub(crate) traffic: Arc<Traffic>,
    /// What hears that a transfer has begun.
    journal: Arc<JournalHandle>,
    count: AtomicUsize,
}

impl Streams {
    /// No stream yet. `window` is how many bytes of a file that is written in order the spool holds.
    pub fn new(
        remote: Arc<dyn Remote>,
        patience: Duration,
        window: u64,
        traffic: Arc<Traffic>,
        journal: Arc<JournalHandle>,
    ) -> Arc<Self> {
        Arc::new(Self {
            remote,
            patience,
            window,
            traffic,
            journal,
            count: AtomicUsize::new(0),
        })
    }

    /// Whether a writer that would reach `end` must wait for the network.
    pub fn must_wait(&self, body: &Body, end: u64) -> bool {
        let ahead = match self.traffic.is_receiving() {
            true => DUPLEX_WINDOW.min(self.window - self.kept_bytes(false)),
            false => self.window - self.kept_bytes(false),
        };
        body.upload.stream.as_ref().is_some_and(|stream| {
            end.saturating_sub(stream.sent) > ahead && body.content.ordered > stream.sent
        })
    }

    /// Whether a stream may begin now, and from where.
    pub fn start_of(&self, body: &Body) -> Option<u64> {
        let busy =
            body.upload.stream.is_some() || body.upload.busy_until.is_some() || body.name.removed;
        if busy
            || body.upload.state.is_failed()
            || body.upload.state.lost().is_some()
            || body.content.sizeless
        {
            return None;
        }
        let first = body.content.dirty.first()?;
        let start = MIN_STREAM.min(self.window / 4);
        let due = body.content.ordered_from(first).min(body.content.ordered) >= first + start;
        let begins = body.content.kept == 0 && first == 0
            || body
                .content
                .base
                .is_some_and(|base| base.size == Some(first))
                && body.content.kept == first;
        let crowded = self.count.load(Ordering::Relaxed) >= MAX_STREAMS
            && body.content.size - first < self.window / 2;
        if !due || !begins || crowded {
            return None;
        }
        let appends = || self.remote.plan(&body.change()) == Plan::Append(first);
        // With a hole, the appended bytes have a fixed offset, which other clients may have taken.
        let may_append = || !body.upload.unappendable && body.content.holes.is_empty() && appends();
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
        body.mark_upload_begun();
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
        let Some(spool) = body.content.spool.clone() else {
            return;
        };
        body.upload.stream_reply = None;
        let from_start = first == 0 && self.remote.plan(&body.change()) != Plan::Append(0);
        if !body.upload.unconfirmed {
            body.upload.appended_to_base = !from_start;
            body.upload.replaced = body.content.base.filter(|_| from_start);
        }
        body.upload.stream = Some(Stream {
            sent: first,
            confirmed: first,
            taken: sink.is_some(),
            vouched: first,
            released: first,
            goal: None,
            tight: false,
        });
        let sender = Sender::new(self, file, path, spool, sink, from_start);
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = sender.start() {
            log::warn!(
                "upload: no thread could be started: {error}; the file is sent by its close"
            );
            self.count.fetch_sub(1, Ordering::Relaxed);
            body.upload.stream = None;
        }
    }

    fn kept_bytes(&self, tight: bool) -> u64 {
        let keep = if tight { KEEP_TIGHT } else { KEEP };
        keep.min(self.window / 2)
    }
}

impl Body {
    /// The server has what the stream has sent.
    fn stream_confirmed(&mut self) {
        let Some(stream) = &mut self.upload.stream else {
            return;
        };
        stream.confirmed = stream.sent;
        stream.taken = false;
        (self.upload.may_have_arrived, self.upload.was_taken) = (false, false);
        self.content.base = Some(Version {
            size: Some(stream.sent),
            modified: None,
        });
        self.content.kept = stream.sent;
        self.journal.upload_begun = false;
        self.content.resized = false;
        self.content.emptied = false;
        self.appended_from(self.content.kept);
        self.upload.unconfirmed = true;
        self.merged.reader_is_stale = true;
    }

    /// Where the server has taken nothing since it confirmed something: goes back to that, and returns true.
    fn rewind(&mut self) -> bool {
        let Some(stream) = self.upload.stream.as_mut().filter(|stream| !stream.taken) else {
            return false;
        };
        let unsent = stream.confirmed..stream.sent;
        stream.sent = stream.confirmed;
        self.content.dirty.insert(unsent);
        true
    }

    /// What the stream sent may not be there.
    fn stream_failed(&mut self, error: Error) {
        let confirmed = self
            .upload
            .stream
            .as_ref()
            .map_or(0, |stream| stream.confirmed);
        let sent = self.upload.stream.as_ref().map_or(0, |stream| stream.sent);
        self.upload.broke_off = None;
        if !self.rewind() {
            (self.upload.may_have_arrived, self.upload.was_taken) = (true, true);
            // A broken append is looked for after the old end.
            let appends = !self.content.emptied
                && self
                    .content
                    .base
                    .is_some_and(|base| base.size == Some(confirmed));
            self.upload.broke_off = appends.then_some(sent);
            self.lost_base(confirmed);
        }
        // A later unlink must not rely on this mount's belief that the name is not there.
        self.upload.may_have_arrived |= self.content.base.is_none();
        let report = Report::Due;
        let is_here = (self.content.present).contains(self.content.kept..self.content.size);
        self.upload.state = match is_here {
            true => UploadState::Failed {
                why: Some(error),
                report,
            },
            false => UploadState::Lost { why: error, report },
        };
    }
}
