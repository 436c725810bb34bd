//! The vocabulary that the FTP client and the file system share: the trait [`Remote`] and its types.
//!
//! This module is below both of its users, so that neither imports the other, and a server in memory can replace the client in
//! tests. [`Remote`] says *what* is wanted, never *how*: no command of the protocol, no lease and no connection is named
//! above it.
//!
//! # Invariants
//! Names and paths are bytes. A [`RemotePath`] is relative to the mounted directory and contains neither empty names nor `.` and
//! `..`. Times are seconds since 1970 in UTC.

pub(crate) mod attributes;
pub(crate) mod change;
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
pub use crate::remote::temp_name::{
    TEMP_NAME_LIMIT, is_own_temp_name, is_temp_name, make_temp_name,
};

/// The urgency of a request. Of several requests that wait for a connection, the first in this order gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A system call waits for the answer.
    Caller,
    /// A system call waits for the end of a long upload.
    Flush,
    /// Speculative: no system call waits for it yet.
    Ahead,
}

/// The deadline of an operation: a limit on the time *without progress*.
///
/// One is made when the operation arrives and passed down through everything that it does,
/// retries too. Every byte that is received or sent counts as progress.
#[derive(Debug)]
pub struct Deadline {
    made: Instant,
    patience: Duration,
    /// Milliseconds from `made` to the last progress.
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

    /// The same deadline for a caller that waits for an operation of another thread: progress counts for both.
    pub fn twin(&self) -> Self {
        Self {
            progressed: Arc::clone(&self.progressed),
            ..*self
        }
    }

    /// Records progress: the time limit starts again.
    pub fn progress(&self) {
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progressed.fetch_max(now, Ordering::Relaxed);
    }

    /// A number that grows with progress, to detect it.
    pub fn mark(&self) -> u64 {
        self.progressed.load(Ordering::Relaxed)
    }

    /// The time that is left, or `None` once the deadline has passed.
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

/// Urgency and deadline of a request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The urgency.
    pub urgency: Urgency,
    /// The deadline.
    pub deadline: &'a Deadline,
}

/// Whether a listing shows all entries of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// A name that was not listed does not exist.
    Whole,
    /// A name that was not listed may exist: lines could not be parsed, or a limit was reached.
    Partial,
}

/// Capabilities of a server, as far as the file system needs them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// Whether [`Step::Stat`] works: one path can be asked for alone.
    pub stats: bool,
    /// Whether [`Remote::stat_without_mlst`] is worth a try: [`Step::Stat`] does not work, but one name can be asked for alone.
    pub stats_without_mlst: bool,
    /// Whether a read can start in the middle of a file.
    pub seeks: bool,
    /// Whether [`Remote::list_many`] costs about as much for many directories as for one. False until that was seen,
    /// which takes one call for one directory.
    pub lists_together: bool,
    /// Whether an upload that broke off can be continued at its end. True until the opposite was seen.
    pub goes_on: bool,
    /// Whether [`Step::SetMode`] may work. True until the opposite was seen.
    pub sets_modes: bool,
    /// Whether [`Step::SetModified`] may work. True until the opposite was seen.
    pub sets_times: bool,
}

/// How a file is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Offset of the first byte.
    pub from: u64,
    /// Size of the file in bytes, as far as the caller knows.
    pub size: Option<u64>,
    /// Whether to ask for the version at the same time, at no extra round trip ([`Source::version`]).
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
/// Dropping it ends the transfer, which can take a moment: drop it where no caller waits.
pub trait Source: Send {
    /// The next bytes; 0 at the end, and only after the server has confirmed that it is the end.
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize>;

    /// The version of the file when the reading began, where that was asked for and the server answered.
    fn version(&self) -> Option<Version>;

    /// Whether another request waits for the connection of this transfer.
    fn wanted(&self) -> bool;
}

/// A file that is being written, from its start or from its end on.
///
/// Dropping it aborts the transfer: the server may keep the bytes that it received.
pub trait Sink: Send {
    /// Sends all of `bytes`.
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<()>;

    /// Ends the transfer; returns once the server has confirmed it, with the state of the file if the server reported that
    /// after the transfer.
    fn finish(self: Box<Self>, deadline: &Deadline) -> Result<Option<Updated>>;

    /// Whether another request waits for the connection of this transfer.
    fn wanted(&self) -> bool;
}

/// The storage space of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free bytes.
    pub free: u64,
    /// Bytes in total.
    pub total: Option<u64>,
}

/// The answer about one name.
#[derive(Clone, Debug)]
pub enum NameStatus {
    /// The name exists.
    Exists(Attributes),
    /// The name does not exist.
    Absent,
}

/// An answer about a path in the server's own words.
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
    /// The capabilities of this server.
    fn traits(&self) -> Traits;

    /// The number of requests of this urgency that could start now without waiting for a connection.
    fn room(&self, urgency: Urgency) -> usize;

    /// Performs the steps in order and returns the result of each; a failed step does not stop the next.
    fn perform(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Vec<Result<Done>>;

    /// Asks for one name on a server without `MLST`; `None` where only a listing can answer for certain.
    fn stat_without_mlst(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<Option<NameStatus>> {
        let _ = (path, ask);
        Ok(None)
    }

    /// Lists a directory; `each` gets every entry but `.` and `..`. An entry may come twice.
    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness>;

    /// Lists many directories, in one flight where possible (see [`Traits::lists_together`]); `each` gets the index of the
    /// directory and an entry. An entry may come twice.
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

    /// The target of a symbolic link as the server reports it; for links that were listed without a target.
    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>>;

    /// Reads a file. Where it is uncertain that the server would start in the middle of it, that is refused with
    /// [`Why::Unsupported`]: the file can be read from its start then.
    fn read(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Box<dyn Source>>;

    /// Starts to write a file: from its start, or with `append_at` after its first so many bytes and whatever other clients
    /// have appended. Some of `first`, the first bytes, may be sent with the command; their number is returned. Where the
    /// server allows, `then` is done at the end. `begins` is called when a connection is ready, before the command is sent.
    fn write(
        &self,
        file: &RemotePath,
        append_at: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        ask: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)>;

    /// Creates a file that must be new, and starts to write it. Refused with [`Why::Exists`] where there is one already, which
    /// stays untouched. `begins` is called when a connection is ready, before the command is sent.
    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>>;

    /// Refuses a name that the server's charset lacks, or that the server would change silently. Sends no command.
    fn check_name(&self, path: &RemotePath) -> Result<()>;

    /// The plan by which [`Remote::update`] would store this change, so that the caller can provide the bytes before it
    /// takes a connection.
    fn plan(&self, change: &Change) -> Plan;

    /// Probes whether the server can store a part of a file ([`Plan::Patch`]), so that no plan has to be tried on the user's
    /// file. Creates a small file at `temp`, which must not exist, and removes it again.
    fn probe_patch(&self, temp: &RemotePath, ask: &Ask<'_>) -> Result<()>;

    /// Stores a change by `plan` and returns the state of the file afterwards. The bytes that the plan names are in `bytes`.
    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated>;

    /// The storage space below `directory`, where the server reports it.
    fn space(&self, directory: &RemotePath, ask: &Ask<'_>) -> Result<Option<Room>>;

    /// What the server reports about a path in its own words, if anything.
    fn describe(&self, path: &RemotePath, view: View, ask: &Ask<'_>) -> Result<Option<Vec<u8>>>;

    /// Aborts everything that still runs and closes all connections for good.
    fn close(&self);
}

impl dyn Remote {
    /// Performs one step for a system call that waits.
    pub fn step(&self, step: Step<'_>, deadline: &Deadline) -> Result<Done> {
        let ask = Ask {
            urgency: Urgency::Caller,
            deadline,
        };
        perform_one(self, step, &ask)
    }
}

/// Performs one step.
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
    fn deadline_with_progress_starts_again() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.remaining().is_none());
        let deadline = Deadline::after(Duration::from_secs(3600));
        deadline.progress();
        assert!(deadline.remaining().is_some());
    }
}
