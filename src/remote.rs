//! What a remote file server is: the vocabulary that the engine and the file system share.
//!
//! This file stands below both of its users, so that neither imports the other and a server in
//! memory can stand in for the engine in tests. The trait [`Remote`] says *what* is wanted, never
//! *how*: no command of the protocol, no lease and no connection is named above this line.
//!
//! Invariants: names and paths are bytes; a [`RemotePath`] is relative to the mounted directory
//! and holds neither empty names nor `.` and `..`; times are seconds since 1970 in UTC.

pub(crate) mod attributes;
pub(crate) mod change;
#[cfg(debug_assertions)]
pub(crate) mod checked;
pub(crate) mod error;
pub(crate) mod path;
pub(crate) mod step;
pub(crate) mod temp_name;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use crate::remote::attributes::{Attributes, Entry, Kind, Modified, Perm, Precision, Version};
pub use crate::remote::change::{Change, Plan, ReadAt, Then, Updated};
pub use crate::remote::error::{Error, Result, Why};
pub use crate::remote::path::{RemotePath, is_name};
pub use crate::remote::step::{Done, Step};
pub use crate::remote::temp_name::{LONGEST_ASIDE, is_anybodys_aside, is_aside, name_aside};

/// Who waits. Of several who want a connection, the first in this order gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A caller waits for the answer.
    Caller,
    /// A caller waits for a long upload to end.
    Flush,
    /// Nobody waits yet.
    Ahead,
}

/// The end of an operation's patience: so much time *without progress*.
///
/// One is made when the operation arrives and passed down through everything that it does,
/// retries too. Every byte that arrives or leaves counts as progress.
#[derive(Debug)]
pub struct Deadline {
    made: Instant,
    patience: Duration,
    /// Milliseconds after `made` at which something last went forward.
    progressed: Arc<AtomicU64>,
}

impl Deadline {
    /// A deadline that passes after `patience` without progress, from now on.
    pub fn after(patience: Duration) -> Self {
        Self {
            made: Instant::now(),
            patience,
            progressed: Arc::default(),
        }
    }

    /// The same deadline for somebody who waits for what is done by this one: progress counts for both.
    pub fn twin(&self) -> Self {
        Self {
            progressed: Arc::clone(&self.progressed),
            ..*self
        }
    }

    /// Something went forward: the patience begins anew.
    pub fn progress(&self) {
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progressed.fetch_max(now, Ordering::Relaxed);
    }

    /// A number that grows with progress.
    pub fn mark(&self) -> u64 {
        self.progressed.load(Ordering::Relaxed)
    }

    /// How much time is left, or `None` once it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        let progressed = Duration::from_millis(self.progressed.load(Ordering::Relaxed));
        let left =
            (self.made + progressed + self.patience).saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The time without progress that this deadline allows.
    pub fn patience(&self) -> Duration {
        self.patience
    }
}

/// What comes with every request: who waits, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who waits.
    pub urgency: Urgency,
    /// Until when.
    pub deadline: &'a Deadline,
}

/// Whether a listing may be taken for all that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// A name that was not listed does not exist.
    Whole,
    /// Nothing may be concluded from an absence: lines could not be read, or a limit was met.
    Partial,
}

/// What holds for a server, as far as the file system needs to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// [`Step::Stat`] works: one path can be asked for alone.
    pub stats: bool,
    /// [`Remote::glance`] is worth a try: [`Step::Stat`] does not work, and yet one name can be told alone.
    pub glances: bool,
    /// A read can begin in the middle of a file.
    pub seeks: bool,
    /// [`Remote::list_many`] costs about as much for many as for one. False until that was seen, which
    /// takes one call for one directory.
    pub lists_together: bool,
    /// What was stored can be gone on with at its end. True until that was seen not to be so.
    pub goes_on: bool,
    /// [`Step::SetMode`] may work. True until that was seen not to be so.
    pub sets_modes: bool,
    /// [`Step::SetModified`] may work. True until that was seen not to be so.
    pub sets_times: bool,
}

/// How a file is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Where to begin, in bytes from the file's start.
    pub from: u64,
    /// Bytes of the file, as far as the caller knows.
    pub size: Option<u64>,
    /// Ask at the same time what the file is, at no price ([`Source::version`]).
    pub verify: bool,
}

impl Reading {
    /// From an offset to the end.
    pub fn at(from: u64) -> Self {
        Self {
            from,
            ..Self::default()
        }
    }
}

/// A file that is being read from some offset to its end.
///
/// Dropping it ends the transfer, which can take a moment: drop it off the caller's path.
pub trait Source: Send {
    /// The next bytes; 0 at the end, and only after the server has confirmed that it is the end.
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize>;

    /// What the file was when the reading began, where that was asked for and the server told.
    fn version(&self) -> Option<Version>;

    /// Whether somebody waits for the connection that this transfer keeps busy.
    fn wanted(&self) -> bool;
}

/// A file that is being written, from its start or from its end on.
///
/// Dropping it breaks the transfer off: the server may keep what it got.
pub trait Sink: Send {
    /// Sends all of `bytes`.
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<()>;

    /// Ends the transfer; returns once the server has confirmed everything, with what it said behind that
    /// of the file, if it did.
    fn finish(self: Box<Self>, deadline: &Deadline) -> Result<Option<Updated>>;

    /// Whether somebody waits for the connection that this transfer keeps busy.
    fn wanted(&self) -> bool;
}

/// The space of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes in all.
    pub total: Option<u64>,
}

/// What one name is.
#[derive(Clone, Debug)]
pub enum Glance {
    /// It is there.
    There(Attributes),
    /// There is no such name.
    Absent,
}

/// A view of a path in the server's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The facts (RFC 3659 section 7.5).
    Facts,
    /// The line of a listing.
    Raw,
    /// A hash of the content, with the name of the algorithm before it.
    Hash,
}

/// A remote file server.
pub trait Remote: Send + Sync {
    /// What holds for this server.
    fn traits(&self) -> Traits;

    /// How many requests of this urgency could begin now without waiting for a connection.
    fn room(&self, urgency: Urgency) -> usize;

    /// Steps, taken in order, each answered at its own place; one that fails does not stop the next.
    fn perform(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Vec<Result<Done>>;

    /// What one name is, where that can be told by one question and for certain; `None` where a listing has to tell.
    fn glance(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<Option<Glance>> {
        let _ = (path, ask);
        Ok(None)
    }

    /// Lists a directory; `each` gets every entry but `.` and `..`. The entry may come twice.
    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness>;

    /// Lists many directories, as far as can be in one flight (see [`Traits::lists_together`]); `each`
    /// gets the number of the directory and an entry. An entry may come twice.
    fn list_many(
        &self,
        directories: &[RemotePath],
        ask: &Ask<'_>,
        each: &mut dyn FnMut(usize, Entry),
    ) -> Vec<Result<Completeness>> {
        let one = |(number, directory): (usize, &RemotePath)| {
            self.list(directory, ask, &mut |entry| each(number, entry))
        };
        directories.iter().enumerate().map(one).collect()
    }

    /// Where a symbolic link points, as the server says it; for links that were listed without a target.
    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>>;

    /// Reads a file. Where it can't be told that the server would begin in the middle of it, that is refused
    /// with [`Why::Unsupported`]: it can be read from its start then.
    fn read(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Box<dyn Source>>;

    /// Begins to write a file: anew, or behind its so many bytes and whatever others put there. Of `first`, the bytes to
    /// begin with, some may be sent with that; how many were is returned. Where the server allows, `then` is done at the
    /// end. `begins` is called when the server is there, and about to be told.
    fn write(
        &self,
        file: &RemotePath,
        behind: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        ask: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)>;

    /// Makes a file that must be new, and begins to write it. Refused with [`Why::Exists`] where there is
    /// one already, which stays untouched. `begins` is called when the server is there, and about to be told.
    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>>;

    /// Refuses a name that the server's charset lacks, or that it would change without a word. Asks nobody.
    fn check_name(&self, path: &RemotePath) -> Result<()>;

    /// How [`Remote::update`] would bring this change about, so that the caller can provide the
    /// bytes before a connection is taken.
    fn plan(&self, change: &Change) -> Plan;

    /// Finds out what the server makes of a part of a file, so that no plan has to be tried on one that matters
    /// ([`Plan::Patch`]). For that a small file is made at `beside`, which must name nothing, and removed again.
    fn rehearse(&self, beside: &RemotePath, ask: &Ask<'_>) -> Result<()>;

    /// Brings a change about by `plan` and returns what the file then is. The bytes that the plan
    /// names are in `bytes`.
    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated>;

    /// The space below `directory`, where the server tells.
    fn space(&self, directory: &RemotePath, ask: &Ask<'_>) -> Result<Option<Room>>;

    /// What the server says of a path in its own words, where it says anything.
    fn describe(&self, path: &RemotePath, view: View, ask: &Ask<'_>) -> Result<Option<Vec<u8>>>;

    /// Ends everything that still runs, at once, for good.
    fn close(&self);
}

impl dyn Remote {
    /// One step, for a caller that waits.
    pub fn step(&self, step: Step<'_>, deadline: &Deadline) -> Result<Done> {
        let ask = Ask {
            urgency: Urgency::Caller,
            deadline,
        };
        perform_one(self, step, &ask)
    }
}

/// Asks for one step.
pub fn perform_one(remote: &dyn Remote, step: Step<'_>, ask: &Ask<'_>) -> Result<Done> {
    remote
        .perform(&[step], ask)
        .pop()
        .unwrap_or_else(|| Err(Error::misbehaved("a step", "no answer")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_begins_anew_with_progress() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.remaining().is_none());
        let deadline = Deadline::after(Duration::from_secs(3600));
        deadline.progress();
        assert!(deadline.remaining().is_some());
    }
}
