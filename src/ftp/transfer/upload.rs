//! Implements uploads: `STOR` and `APPE`.
//!
//! # Invariants
//!
//! * Success is the final reply (2xx).
//! * A server takes the end of the data connection for the end of the file, so an upload that fails resets it instead.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ftp::control::{Control, blame};
use crate::ftp::net::stream::Stream;
use crate::ftp::pool::Lease;
use crate::ftp::profile::partial_store;
use crate::ftp::profile::{Part, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{Reply, is_no_data_connection};
use crate::ftp::transfer::early_data;
use crate::ftp::transfer::early_data::{EARLY_DATA_LIMIT, Early};
use crate::ftp::transfer::followup::UploadFollowup;
use crate::ftp::transfer::replies::{last_words, read_final_reply};
use crate::ftp::transfer::start::{
    Beginning, StartedTransfer, TransferRequest, begin, begin_once, keep_preconnected,
};
use crate::ftp::transfer::transient::repeat_while_transient;
use crate::remote::{Deadline, Error, ReadAt, Result, Sink, Updated, Why};

/// Bytes moved at once between the spool and the data connection.
const CHUNK_SIZE: usize = 256 * 1024;
/// Bytes sent at once that the server has not agreed to take: a socket with room for any takes as many.
const UNAGREED_CHUNK_SIZE: usize = 16 * 1024;
/// Interval at which an upload that does not move checks whether the server has refused it.
const REFUSAL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A running upload.
#[derive(Debug)]
pub struct Upload {
    lease: Lease,
    data: Option<Stream>,
    tried: String,
    cutter: Option<u64>,
    followup: Option<UploadFollowup>,
    /// Bytes that were sent.
    sent: u64,
    /// Bytes that were sent before the 150.
    early: u64,
    /// The end was sent, too.
    ended: bool,
    /// What its success shows, where the server has not agreed to it yet.
    lessons: Vec<Lesson>,
}

/// What the server's consent to an upload shows.
#[derive(Clone, Debug)]
pub enum Lesson {
    /// Its data connection works.
    Mode(Beginning),
    /// Its path is taken as it is.
    Path,
    /// Such parts of files are stored.
    Part(Part),
    /// The file at this absolute path is stored as a whole, of which a part may have been refused.
    Whole(Vec<u8>),
}

impl Lesson {
    fn learn(self, profile: &Profile) {
        match self {
            Self::Mode(beginning) => beginning.worked(profile),
            Self::Path => {
                if profile.ask(|learned| learned.paths.is_unknown()) {
                    profile.learn(|learned| learned.paths = Support::Yes);
                }
            }
            Self::Part(part) => partial_store::took(profile, part),
            Self::Whole(path) => partial_store::took_all(profile, &path),
        }
    }
}

/// An upload that is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    /// STOR or APPE.
    pub command: Command<'a>,
    /// The offset from which on it writes, in bytes.
    pub from: u64,
    /// Its first bytes, or all.
    pub early: Option<Early<'a>>,
    /// Becomes true when something of it may be there.
    pub taken: Option<&'a AtomicBool>,
}

/// A file that is to be made.
struct NewName<'a> {
    /// Its absolute path.
    path: &'a [u8],
    /// The server has agreed to make it.
    made: &'a AtomicBool,
}

impl NewName<'_> {
    fn question(&self) -> Command<'_> {
        Command::Size(self.path)
    }

    /// Asks whether it is free; an error if not, or if the server cannot tell.
    fn ask(&self, lease: &mut Lease, deadline: &Deadline) -> Result<()> {
        let reply = lease.control()?.command(self.question(), deadline)?;
        if reply.is_unknown_command() {
            return Err(reply.refusal(self.question()));
        }
        match is_there(&reply, self.made.load(Ordering::Relaxed)) {
            true => Err(self.exists(&reply)),
            false => Ok(()),
        }
    }

    fn exists(&self, reply: &Reply) -> Error {
        Error::refused(Why::Exists, self.question().to_string(), reply.to_string())
    }
}

/// Whether a reply to `SIZE` tells of another client's file. An empty one may be our own, if an earlier try has `made` it.
fn is_there(size: &Reply, made: bool) -> bool {
    size.is_completion() && !(made && size.text().trim() == "0")
}

impl Upload {
    /// Starts to store.
    pub fn open(
        mut lease: Lease,
        store: Store<'_>,
        followup: Option<UploadFollowup>,
        deadline: &Deadline,
    ) -> Result<Self> {
        let followup = possible(&mut lease, followup)?;
        let start = TransferRequest {
            from: store.from,
            early: store.early,
            taken: store.taken,
            following: &commands(followup.as_ref()),
            ..TransferRequest::of(store.command)
        };
        let opened = begin(&mut lease, start, deadline)?;
        let early = store.early.filter(|_| opened.early);
        let mut upload = Self::over(lease, opened, store.command, followup)?;
        if let Some(early) = early {
            upload.early = early.bytes.len() as u64;
            upload.sent = upload.early;
            upload.ended = early.is_all;
        }
        Ok(upload)
    }

    /// Whether the server has agreed to it: its preliminary reply has come.
    pub fn is_agreed(&mut self) -> bool {
        self.lease
            .control()
            .is_ok_and(|control| control.is_agreed())
    }

    /// Learns what the server's consent shows: now, or at the end where that is still to come.
    pub fn learn(&mut self, lesson: Lesson) {
        let by_name = self.lease.control().is_ok_and(|it| it.sends_names());
        match self.is_agreed() {
            // The path was no part of it.
            _ if by_name && matches!(lesson, Lesson::Path) => {}
            true => lesson.learn(self.lease.pool().profile()),
            false => self.lessons.push(lesson),
        }
    }

    /// Bytes that were sent before the 150.
    pub fn early(&self) -> u64 {
        self.early
    }

    /// Makes the file at the absolute path `path`, which must be new, in one flight: `APPE` harms no file
    /// that is there after all, which `SIZE` shows; where that is unknown the refusal is `Why::Unsupported`, and nothing
    /// was made. `made` becomes true when the server has agreed to make it: an empty file is our own from then on.
    /// Before that it is another client's, whatever became of an earlier try. `followup` must
    /// only ask: it is sent before `SIZE` has said whose file that is. It can't be sent later: Pure-FTPd answers 500 to
    /// what comes while data moves.
    pub fn create(
        mut lease: Lease,
        path: &[u8],
        followup: Option<UploadFollowup>,
        made: &AtomicBool,
        deadline: &Deadline,
    ) -> Result<Self> {
        let name = NewName { path, made };
        let appends = lease.pool().profile().ask(|learned| learned.partial.appe) != Support::No;
        if !appends {
            return Self::create_by_stor(lease, &name, followup, deadline);
        }
        if !lease.pool().profile().ask(|learned| learned.features.size) {
            name.ask(&mut lease, deadline)?;
        }
        let followup = possible(&mut lease, followup)?;
        let command = Command::Appe(path);
        let start = TransferRequest {
            leading: &[name.question()],
            following: &commands(followup.as_ref()),
            agreed: Some(made),
            ..TransferRequest::of(command)
        };
        let mut again = false;
        let opened = repeat_while_transient(command, deadline, || {
            again = made.load(Ordering::Relaxed);
            begin_once(&mut lease, start, deadline)
        });
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let error =
                    partial_store::refused(lease.pool().profile(), Part::Append, path, error);
                return match error.why() {
                    // Some servers append to files that are there only.
                    Some(Why::Unsupported | Why::NotFound) => {
                        Self::create_by_stor(lease, &name, followup, deadline)
                    }
                    _ => Err(error),
                };
            }
        };
        let size = opened.leading.first().cloned();
        let mut upload = Self::over(lease, opened, command, followup)?;
        if let Some(reply) = size.filter(|reply| is_there(reply, again)) {
            // Nothing was sent, so nothing has changed, however this ends.
            let _ = upload.close(deadline);
            return Err(name.exists(&reply));
        }
        Ok(upload)
    }

    /// As [`Self::create`], on a server that does not append: `STOR` after a question of its own.
    fn create_by_stor(
        mut lease: Lease,
        name: &NewName<'_>,
        followup: Option<UploadFollowup>,
        deadline: &Deadline,
    ) -> Result<Self> {
        name.ask(&mut lease, deadline)?;
        let store = Store {
            command: Command::Stor(name.path),
            from: 0,
            early: None,
            taken: None,
        };
        let mut upload = Self::open(lease, store, followup, deadline)
            .inspect_err(|error| note_leftover(error, name.path, name.made))?;
        upload.learn(Lesson::Whole(name.path.to_vec()));
        Ok(upload)
    }

    fn over(
        lease: Lease,
        opened: StartedTransfer,
        command: Command<'_>,
        followup: Option<UploadFollowup>,
    ) -> Result<Self> {
        let (Some(data), false) = (opened.data, opened.confirmed) else {
            return Err(Error::misbehaved(
                command.to_string(),
                "the server confirmed the transfer before it got a byte",
            ));
        };
        let cutter = data
            .resetting_cutter()
            .ok()
            .map(|cutter| lease.pool().register_cutter(cutter));
        Ok(Self {
            lease,
            data: Some(data),
            tried: command.to_string(),
            cutter,
            followup,
            sent: 0,
            early: 0,
            ended: false,
            lessons: opened.unproven.map(Lesson::Mode).into_iter().collect(),
        })
    }

    /// Sends a range of `bytes`.
    pub fn send(
        &mut self,
        bytes: &dyn ReadAt,
        range: Range<u64>,
        deadline: &Deadline,
    ) -> Result<()> {
        let Range { start: mut at, end } = range;
        let mut buffer = vec![0; CHUNK_SIZE.min(usize::try_from(end - at).unwrap_or(CHUNK_SIZE))];
        while at < end {
            let length = buffer
                .len()
                .min(usize::try_from(end - at).unwrap_or(CHUNK_SIZE));
            let chunk = &mut buffer[..length];
            bytes
                .read_exact_at(chunk, at)
                .map_err(|error| Error::local("reading the spool", &error))?;
            self.send_bytes(chunk, deadline)?;
            at += length as u64;
        }
        Ok(())
    }

    /// Ends the data and takes the final reply; with what the followup showed of the file, if anything.
    pub fn close(&mut self, deadline: &Deadline) -> Result<Option<Updated>> {
        let pool = Arc::clone(self.lease.pool());
        let profile = pool.profile();
        if self.ended {
            let closed = self.conclude(&early_data::patience(profile, deadline));
            match &closed {
                Ok(_) => early_data::worked(profile),
                Err(error) => early_data::failed(profile, error),
            }
            self.learn_lessons(closed.is_ok());
            return closed;
        }
        let updated = self.conclude(deadline);
        let updated = updated.inspect_err(|error| {
            pool.note_failure(error, deadline);
            self.doubt_early(error);
        })?;
        self.learn_lessons(true);
        if self.early > 0 {
            let size = updated.as_ref().and_then(|updated| updated.version.size);
            if let Some(size) = size.filter(|&size| size < self.sent) {
                // Perhaps it has dropped what came before its 150.
                profile.learn(|learned| learned.pipelining.early_data = Support::No);
                let saw = format!("of {} bytes it has {size}", self.sent);
                return Err(Error::lost(self.tried.clone(), saw));
            }
        }
        Ok(updated)
    }

    fn learn_lessons(&mut self, stored: bool) {
        let profile = self.lease.pool().profile();
        for lesson in self.lessons.drain(..).filter(|_| stored) {
            lesson.learn(profile);
        }
    }

    fn conclude(&mut self, deadline: &Deadline) -> Result<Option<Updated>> {
        let Some(data) = &mut self.data else {
            return Err(Error::lost(
                self.tried.clone(),
                "the transfer was broken off before",
            ));
        };
        let ended = match self.ended {
            true => Ok(()),
            false => data.finish_writing(deadline),
        };
        self.forget_cutter();
        if let Err(error) = ended {
            if let Some(data) = self.data.take() {
                data.abort();
            }
            return Err(self.broken(blame(self.tried.clone(), &error)));
        }
        let pool = Arc::clone(self.lease.pool());
        let control = self.lease.control()?;
        // The data connection stays open until the server has answered: where no answer comes, it is reset
        // (`Drop`), and bytes that have not arrived by then never do.
        let Some(followup) = &self.followup else {
            let last = control.final_reply(&self.tried, deadline)?;
            self.data = None;
            self.lease.want_preconnected();
            return read_final_reply(&mut self.lease, &last, &self.tried)
                .map_err(full)
                .map(|()| None);
        };
        let said = followup.take(control, pool.profile(), &self.tried, deadline)?;
        self.data = None;
        match said.port {
            Some(port) => keep_preconnected(&mut self.lease, Ok(port), deadline)?,
            None => self.lease.want_preconnected(),
        }
        read_final_reply(&mut self.lease, &said.last, &self.tried).map_err(full)?;
        Ok(said.updated)
    }

    fn send_bytes(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<()> {
        let Some(data) = &mut self.data else {
            return Err(Error::lost(
                self.tried.clone(),
                "the transfer was broken off before",
            ));
        };
        let written = match self.lease.control() {
            Ok(control) if control.starts_late() => {
                write_unagreed(control, data, &self.tried, bytes, deadline)
            }
            _ => data
                .write_all(bytes, deadline)
                .map_err(|error| blame(self.tried.clone(), &error)),
        };
        match written {
            Ok(()) => {
                self.sent += bytes.len() as u64;
                self.lease.pool().note_sent(bytes.len());
                Ok(())
            }
            Err(error) => {
                self.data = None;
                self.forget_cutter();
                let error = match error {
                    refusal @ Error::Refused { .. } => full(refusal),
                    error => self.broken(error),
                };
                self.lease.pool().note_failure(&error, deadline);
                self.doubt_early(&error);
                Err(error)
            }
        }
    }

    /// It broke, perhaps for the early data: its next try does without. Concurrent uploads that break with it prove
    /// nothing more.
    fn doubt_early(&self, error: &Error) {
        let profile = self.lease.pool().profile();
        if self.early > 0 && profile.ask(|learned| learned.pipelining.early_data) == Support::Yes {
            early_data::failed(profile, error);
        }
    }

    /// The data connection broke: the server's own reason, if it has one.
    fn broken(&mut self, error: Error) -> Error {
        if matches!(error, Error::TimedOut { .. }) {
            // The deadline is over: the server's reply is not waited for.
            if let Ok(control) = self.lease.control() {
                control.give_up();
            }
            return error;
        }
        last_words(&mut self.lease, &self.tried).map_or(error, full)
    }

    fn forget_cutter(&mut self) {
        if let Some(cutter) = self.cutter.take() {
            self.lease.pool().unregister(cutter);
        }
    }
}

impl Sink for Upload {
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<()> {
        self.send_bytes(bytes, deadline)
    }

    fn finish(&mut self, deadline: &Deadline) -> Result<Option<Updated>> {
        self.close(deadline)
    }

    fn took_nothing(&mut self) -> bool {
        let control = self.lease.control();
        control.is_ok_and(|control| control.is_refused_late())
    }

    fn wanted(&self) -> bool {
        self.lease.pool().is_wanted()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.forget_cutter();
        if let Some(data) = self.data.take() {
            data.abort();
            if let Ok(control) = self.lease.control() {
                control.give_up();
            }
        }
    }
}

/// Sends bytes while the server has not said yet that it takes them: in pieces, between which its refusal is heard.
fn write_unagreed(
    control: &mut Control,
    data: &mut Stream,
    tried: &str,
    bytes: &[u8],
    deadline: &Deadline,
) -> Result<()> {
    for piece in bytes.chunks(UNAGREED_CHUNK_SIZE) {
        loop {
            if let Some(refusal) = control.take_late_refusal(&tried, deadline)? {
                control.give_up();
                return Err(refusal.refusal(tried));
            }
            let room = deadline.within(REFUSAL_CHECK_INTERVAL);
            match data.await_room(&room) {
                Ok(()) => break,
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut
                        && deadline.remaining().is_some() => {}
                Err(error) => return Err(blame(tried, &error)),
            }
        }
        data.write_all(piece, deadline)
            .map_err(|error| blame(tried, &error))?;
    }
    Ok(())
}

/// 451 is a "local error in processing" (RFC 959 section 4.2.1). What can go wrong there with bytes
/// that are being stored is the disk, which is full as a rule: vsftpd ("Failure writing to local file.")
/// and Pure-FTPd ("Error during write to file") say no more.
fn full(error: Error) -> Error {
    match error {
        Error::Refused {
            why: Why::Unsaid,
            tried,
            said,
        } if said.starts_with("451") => Error::refused(Why::NoSpace, tried, said),
        error => error,
    }
}

/// After a failure to make a name that was not there. Many servers make the file before its data connection, and answer 425
/// or 426 where that fails, or the reply did not come: an empty file is our own then.
fn note_leftover(error: &Error, path: &[u8], made: &AtomicBool) {
    let is_unknown =
        matches!(error, Error::Lost { tried, .. } if *tried == Command::Stor(path).to_string());
    if is_no_data_connection(error) || is_unknown {
        made.store(true, Ordering::Relaxed);
    }
}

/// What may be pipelined after an upload over this connection.
fn possible(lease: &mut Lease, followup: Option<UploadFollowup>) -> Result<Option<UploadFollowup>> {
    let may = lease.control()?.is_pipelining();
    Ok(followup.filter(|_| may))
}

fn commands(followup: Option<&UploadFollowup>) -> Vec<Command<'_>> {
    followup.map(UploadFollowup::commands).unwrap_or_default()
}

/// Stores `range` of `bytes` by `command` at the offset `from`, and returns once the server has
/// confirmed it; with what the followup showed of the file, if anything. `taken` becomes true when something of it may
/// be there, however it ends.
pub fn upload(
    lease: Lease,
    (command, from): (Command<'_>, u64),
    (bytes, range): (&dyn ReadAt, Range<u64>),
    followup: Option<UploadFollowup>,
    taken: &AtomicBool,
    deadline: &Deadline,
) -> Result<Option<Updated>> {
    let size = range.end - range.start;
    let mut few = Vec::new();
    if size <= EARLY_DATA_LIMIT {
        few.resize(usize::try_from(size).unwrap_or_default(), 0);
        bytes
            .read_exact_at(&mut few, range.start)
            .map_err(|error| Error::local("reading the spool", &error))?;
    }
    let store = Store {
        command,
        from,
        early: (size <= EARLY_DATA_LIMIT).then_some(Early {
            bytes: &few,
            is_all: true,
        }),
        taken: Some(taken),
    };
    let taken_before = taken.load(Ordering::Relaxed);
    let mut upload = Upload::open(lease, store, followup, deadline)?;
    let sent = match upload.ended {
        true => Ok(()),
        false => upload.send(bytes, range, deadline),
    };
    let closed = sent.and_then(|()| upload.close(deadline));
    if closed.is_err() && upload.took_nothing() {
        taken.store(taken_before, Ordering::Relaxed);
    }
    closed
}
