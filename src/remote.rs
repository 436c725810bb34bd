//! Defines the interface of a remote file server, which the FTP client and the file system share.
//!
//! It stands below both, so that neither imports the other and tests can put a server in memory in
//! place of the client. The trait [`Remote`] says *what* is wanted, never *how*: it has no connection
//! and no lease. FTP commands are named in comments only, where a property of a server comes from one
//! (`MLST`, `REST`); an [`Error`] quotes the command that failed as text.
//!
//! * `attributes`: kind, attributes and version of a file
//! * `change`: what changed in a file, how it is stored, and the result
//! * `path`: paths and names below the mounted directory
//! * `deadline`: the timeout of an operation, which progress renews
//! * `error`: errors, and what may be done about each
//! * `temp_name`: temporary names on the server
//! * `checked`: a remote that calls a check before each request, for debug builds
//!
//! # Invariants
//! Names and paths are bytes. A [`RemotePath`] is relative to the mounted directory and contains neither empty names nor `.` and
//! `..`. Times are seconds since 1970 in UTC.

pub(crate) mod attributes;
pub(crate) mod change;
#[cfg(debug_assertions)]
pub(crate) mod checked;
pub(crate) mod deadline;
pub(crate) mod error;
pub(crate) mod path;
pub(crate) mod temp_name;

use std::time::Duration;

pub use crate::remote::attributes::{
    Attributes, Entry, Kind, Modified, OwnerName, Perm, Precision, Version, pass_on,
};
pub use crate::remote::change::{Change, Plan, ReadAt, Then, Updated};
pub use crate::remote::deadline::Deadline;
pub use crate::remote::error::{Error, Result, Why};
pub use crate::remote::path::{RemotePath, is_name};
pub use crate::remote::temp_name::{
    TEMP_NAME_LIMIT, is_own_temp_name, is_temp_name, make_temp_name,
};

/// Priority of a request. Requests get connections in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A system call waits for the answer.
    Caller,
    /// A system call waits for the end of a long upload.
    Flush,
    /// Nothing waits for it yet: prefetch.
    Ahead,
}

/// Priority and deadline of a request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The priority.
    pub urgency: Urgency,
    /// The deadline.
    pub deadline: &'a Deadline,
}

impl<'a> Ask<'a> {
    /// A request for a system call that waits.
    pub fn caller(deadline: &'a Deadline) -> Self {
        let urgency = Urgency::Caller;
        Self { urgency, deadline }
    }

    /// A request of an upload.
    pub fn flush(deadline: &'a Deadline) -> Self {
        let urgency = Urgency::Flush;
        Self { urgency, deadline }
    }

    /// A request ahead of its use.
    pub fn ahead(deadline: &'a Deadline) -> Self {
        let urgency = Urgency::Ahead;
        Self { urgency, deadline }
    }
}

/// A small, independent command or query; several can be pipelined.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// Query the attributes of any path. Fails with [`Why::Unsupported`] without [`Traits::stats`].
    Stat(&'a RemotePath),
    /// Query size and time of a path that is known to be a file.
    Version(&'a RemotePath),
    /// Delete a file or a link.
    Remove(&'a RemotePath),
    /// Delete an empty directory.
    RemoveDirectory(&'a RemotePath),
    /// Create a directory.
    MakeDirectory(&'a RemotePath),
    /// Rename a file or directory; an existing target is replaced, as with rename(2).
    Rename {
        /// The old path.
        from: &'a RemotePath,
        /// The new path.
        to: &'a RemotePath,
    },
    /// Create a symbolic link.
    MakeLink {
        /// The new name.
        link: &'a RemotePath,
        /// The target as passed to symlink(2).
        target: &'a [u8],
    },
    /// Set the permission bits (`0o7777` at most).
    SetMode(&'a RemotePath, u32),
    /// Set the time of the last modification, seconds since 1970 in UTC.
    SetModified(&'a RemotePath, i64),
}

/// Result of a [`Step`].
#[derive(Clone, Debug)]
pub enum Done {
    /// The change was made.
    Changed,
    /// Result of [`Step::Stat`].
    Attributes(Attributes),
    /// Result of [`Step::Version`].
    Version(Version),
}

/// Whether a listing is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// A name that was not listed does not exist.
    Whole,
    /// A name that was not listed may exist: some lines could not be parsed, or the server left entries out.
    Partial,
    /// Most may be missing: no entry could be parsed, or a limit of this program was reached. Such a listing must not
    /// pass for that of the directory.
    Cut,
}

/// Properties of a server that the file system depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// [`Step::Stat`] works: a single path can be asked for (MLST).
    pub stats: bool,
    /// [`Remote::stat_without_mlst`] may work: a single path can be asked for although [`Step::Stat`] does not work.
    pub stats_without_mlst: bool,
    /// A read can start in the middle of a file (REST).
    pub seeks: bool,
    /// Listings may lack directories that can be entered (virtual directories of IIS): see [`Remote::enters`].
    pub hides_directories: bool,
    /// [`Remote::list_many`] pipelines. False until that was seen, which takes one call for one
    /// directory.
    pub lists_together: bool,
    /// A stored file can be appended to. True until that was seen to fail.
    pub appends: bool,
    /// A file was seen to be extended by a store beyond its end ([`Remote::probe_holes`]): holes are not sent.
    pub makes_holes: bool,
    /// [`Step::SetMode`] may work. True until it was seen to fail.
    pub sets_modes: bool,
    /// [`Step::SetModified`] may work. True until it was seen to fail.
    pub sets_times: bool,
}

/// How a file is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Offset to start at, in bytes.
    pub from: u64,
    /// Bytes of the file, if the caller knows them.
    pub size: Option<u64>,
    /// Ask for the version of the file in the same flight ([`Source::version`]).
    pub verify: bool,
    /// Bytes after which the caller may want no more: the server is kept from sending much more than them.
    pub enough: Option<u64>,
}

impl Reading {
    /// Reads from an offset to the end.
    pub fn at(from: u64) -> Self {
        Self {
            from,
            ..Self::default()
        }
    }
}

/// A download: a file that is being read from some offset to its end.
///
/// Dropping it aborts the transfer, which can take a moment: do not drop it while a caller waits.
pub trait Source: Send {
    /// Reads the next bytes; returns 0 at the end, after the server has confirmed that it is the end.
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize>;

    /// Reads to the end of the file, `limit` bytes at most.
    fn read_up_to(&mut self, limit: usize, deadline: &Deadline) -> Result<Vec<u8>> {
        let mut bytes = vec![0; limit];
        let mut filled = 0;
        while filled < limit {
            match self.read(&mut bytes[filled..], deadline)? {
                0 => break,
                length => filled += length,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Returns the version of the file at the start of the read, if it was asked for and answered.
    fn version(&self) -> Option<Version>;

    /// Whether another request waits for the connection of this transfer.
    fn wanted(&self) -> bool;
}

/// An upload: a file that is being written, from its start or appended to.
///
/// Dropping it aborts the transfer: the server may keep what it received.
pub trait Sink: Send {
    /// Sends all of `bytes`.
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<()>;

    /// Ends the transfer; returns after the server has confirmed all bytes, with the version that it
    /// reported after that, if any.
    fn finish(&mut self, deadline: &Deadline) -> Result<Option<Updated>>;

    /// After a failure: whether the server has refused the transfer and taken nothing, though it was begun.
    fn took_nothing(&mut self) -> bool {
        false
    }

    /// Whether another request waits for the connection of this transfer.
    fn wanted(&self) -> bool;
}

/// Space on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free bytes.
    pub free: u64,
    /// Total bytes.
    pub total: Option<u64>,
}

/// The answer of [`Remote::stat_without_mlst`].
#[derive(Clone, Debug)]
pub enum NameStatus {
    /// The name exists.
    Exists(Attributes),
    /// There is no such name.
    Absent,
}

/// What [`Remote::describe`] asks the server about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The facts (RFC 3659 section 7.5).
    Facts,
    /// The line of a listing.
    Raw,
    /// A hash of the content, after the name of the algorithm.
    Hash,
}

/// A remote file server.
pub trait Remote: Send + Sync {
    /// Returns the properties of this server.
    fn traits(&self) -> Traits;

    /// Returns how many requests of this priority could start now without waiting for a connection.
    fn room(&self, urgency: Urgency) -> usize;

    /// Whether the server counts as away: requests fail soon, until it can be reached again.
    fn is_away(&self) -> bool {
        false
    }

    /// Whether a request that failed by `error` is to be repeated, since callers wait for a server that does not answer
    /// (`-o hard`).
    fn waits_out(&self, error: &Error) -> bool {
        let _ = error;
        false
    }

    /// From now on no request waits for a server that does not answer, as without `-o hard`: the mount ends.
    fn soften(&self) {}

    /// Performs steps in order and returns their results in that order; a failed step does not stop the
    /// next.
    fn perform(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Vec<Result<Done>>;

    /// Returns the attributes of a name if one command answers that for certain; `None` if it takes a
    /// listing.
    fn stat_without_mlst(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<Option<NameStatus>> {
        let _ = (path, ask);
        Ok(None)
    }

    /// Whether a path is a directory that can be entered, though no listing has it.
    fn enters(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<bool> {
        let _ = (path, ask);
        Ok(false)
    }

    /// Lists a directory; `each` gets every entry except `.` and `..`. An entry may come twice.
    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness>;

    /// Lists many directories, pipelined if possible (see [`Traits::lists_together`]); `each` gets the
    /// index of the directory and an entry. An entry may come twice.
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

    /// Returns the target of a symbolic link as the server reports it; for links that were listed without.
    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>>;

    /// Reads a file. Fails with [`Why::Unsupported`] if the server is not known to start in the middle of
    /// a file; it can be read from its start then.
    fn read(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Box<dyn Source>>;

    /// Starts to write a file: from its start, or appended after `append_at` bytes and whatever other clients
    /// appended. `first` are its first bytes, of which some may be sent early; their number is returned. If
    /// the server can, `then` is done at the end. `begins` is called before the command is sent.
    fn write(
        &self,
        file: &RemotePath,
        append_at: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        ask: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)>;

    /// Creates a file and starts to write it. Fails with [`Why::Exists`] if the name exists, which then
    /// stays untouched. `begins` is called before the command is sent.
    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>>;

    /// Refuses a name that the server's charset can't encode, or that the server would change silently.
    /// Sends nothing.
    fn check_name(&self, path: &RemotePath) -> Result<()>;

    /// Returns how [`Remote::update`] would store this change, so that the caller can provide the bytes
    /// before a connection is taken.
    fn plan(&self, change: &Change) -> Plan;

    /// Probes how the server stores a part of a file (REST before STOR), so that [`Plan::Patch`] is not tried
    /// on a real file first. It creates and removes a small file at `temp`, which must not exist.
    fn probe_patch(&self, temp: &RemotePath, ask: &Ask<'_>) -> Result<()>;

    /// Probes whether the server makes zeros of what lies between the end of a file and a part that is stored beyond it
    /// ([`Traits::makes_holes`]), unless that is known. It creates and removes a small file at `temp`, which must not
    /// exist.
    fn probe_holes(&self, temp: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        let _ = (temp, ask);
        Ok(())
    }

    /// Stores a change with `plan` and returns the version of the file after that. `bytes` provides the
    /// bytes that the plan needs.
    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated>;

    /// Sets `then` on a file that the server has confirmed as stored, and returns its version; an unknown one where the
    /// server does not show the file.
    fn confirm(&self, file: &RemotePath, then: Then, ask: &Ask<'_>) -> Result<Updated> {
        then.updated(self.perform(&then.steps(file), ask))
    }

    /// Returns the space below `directory`, if the server reports it.
    fn space(&self, directory: &RemotePath, ask: &Ask<'_>) -> Result<Option<Room>>;

    /// Returns what the server reports about a path, in its own words, if it does.
    fn describe(&self, path: &RemotePath, view: View, ask: &Ask<'_>) -> Result<Option<Vec<u8>>>;

    /// Closes all connections at once and for good.
    fn close(&self);
}

impl dyn Remote {
    /// The time that a caller has left to wait for another request; once it is over, an error that says what for, unless
    /// callers outlast that.
    pub fn time_left(&self, deadline: &Deadline, waiting: &str) -> Result<Duration> {
        if let Some(left) = deadline.remaining() {
            return Ok(left);
        }
        let error = Error::timed_out(waiting);
        if !self.waits_out(&error) {
            return Err(error);
        }
        deadline.progress();
        Ok(deadline.patience())
    }

    /// Performs one step for a system call that waits.
    pub fn step(&self, step: Step<'_>, deadline: &Deadline) -> Result<Done> {
        let ask = Ask::caller(deadline);
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
