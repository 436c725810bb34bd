//! What a remote file server is: the vocabulary that the engine and the file system share.
//!
//! This file stands below both of its users, so that neither imports the other and a server in
//! memory can stand in for the engine in tests. The trait [`Remote`] says *what* is wanted, never
//! *how*: no command of the protocol, no lease and no connection is named above this line.
//!
//! Invariants: names and paths are bytes; a [`RemotePath`] is relative to the mounted directory
//! and holds neither empty names nor `.` and `..`; times are seconds since 1970 in UTC.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The result of anything that a remote file server is asked for.
pub type Result<T> = std::result::Result<T, Error>;

/// A pathname below the mounted directory: names joined by `/`, without one at either end.
///
/// The empty path is the mounted directory itself. Bytes, as RFC 3659 section 2.2 has them; a
/// name never holds `/`, NUL, CR or LF.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RemotePath(Vec<u8>);

impl RemotePath {
    /// The mounted directory.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of `name` in this directory, or `None` when `name` can't be a name on a server:
    /// empty, `.`, `..`, or holding `/`, NUL, CR or LF (which would smuggle a second command).
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        if !is_name(name) {
            return None;
        }
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Some(Self(path))
    }

    /// The directory that holds this path; `None` for the mounted directory.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// The last name; empty for the mounted directory.
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// Whether this is the mounted directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, without a leading `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this path is `other` or lies below it.
    pub fn is_within(&self, other: &RemotePath) -> bool {
        other.is_root()
            || self.0 == other.0
            || (self.0.starts_with(&other.0) && self.0.get(other.0.len()) == Some(&b'/'))
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `name` can be the name of a file on a server (see [`RemotePath::join`]).
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name != b"."
        && name != b".."
        && !name
            .iter()
            .any(|&byte| matches!(byte, b'/' | 0 | b'\r' | b'\n'))
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a pipe: it can be seen, but not opened.
    Special,
}

/// How exact a time is. A listing by `LIST` has minutes, and days for what is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// To the day.
    Day,
    /// To the minute.
    Minute,
    /// To the second: from facts (RFC 3659 section 7.5.3) or from `MDTM`.
    Second,
}

/// When a file was last modified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modified {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// How much of [`Self::seconds`] the server really said.
    pub precision: Precision,
}

/// What the user may do with a file or directory: the letters of the `perm` fact (RFC 3659 section
/// 7.5.5).
///
/// For files `a` append, `r` read, `w` write; for directories `c` create files, `e` enter, `l` list,
/// `m` make directories, `p` purge what it holds; for both `d` delete and `f` rename.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Perm(u16);

impl Perm {
    const LETTERS: &'static [u8] = b"acdeflmprw";

    /// The rights that `letters` name, in any case and order; unknown letters are skipped.
    pub fn of(letters: &[u8]) -> Self {
        Self(
            letters
                .iter()
                .fold(0, |bits, &letter| bits | Self::bit(letter)),
        )
    }

    /// Whether the right of this letter is given.
    pub fn has(self, letter: u8) -> bool {
        self.0 & Self::bit(letter) != 0
    }

    /// The bit of a letter; none for an unknown one.
    fn bit(letter: u8) -> u16 {
        let letter = letter.to_ascii_lowercase();
        let place = Self::LETTERS.iter().position(|&known| known == letter);
        place.map_or(0, |place| 1 << place)
    }
}

/// What a server says of one file, directory or link. What it did not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: Option<u64>,
    /// The last modification.
    pub modified: Option<Modified>,
    /// The permission bits, `0o7777` at most.
    pub mode: Option<u32>,
    /// The owner as the server names it: a name or a number.
    pub owner: Option<Box<[u8]>>,
    /// The group as the server names it: a name or a number.
    pub group: Option<Box<[u8]>>,
    /// Where a symbolic link points, as the server wrote it.
    pub target: Option<Box<[u8]>>,
    /// What the user may do with it.
    pub perm: Option<Perm>,
}

impl Attributes {
    /// Attributes of which nothing but the kind is known.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            size: None,
            modified: None,
            mode: None,
            owner: None,
            group: None,
            target: None,
            perm: None,
        }
    }

    /// The version that these attributes tell of.
    pub fn version(&self) -> Version {
        Version {
            size: self.size,
            modified: self
                .modified
                .filter(|modified| modified.precision == Precision::Second)
                .map(|modified| modified.seconds),
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as the server wrote it, never trimmed; [`is_name`] holds.
    pub name: Vec<u8>,
    /// What the server said of it.
    pub attributes: Attributes,
}

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Bytes.
    pub size: Option<u64>,
    /// Seconds since 1970, UTC; only where the server says seconds.
    pub modified: Option<i64>,
}

impl Version {
    /// Whether `self` and `other` can be the same content: nothing that both know differs.
    pub fn may_be(&self, other: &Version) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            }
        }
        agree(self.size, other.size) && agree(self.modified, other.modified)
    }
}

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
    progressed: AtomicU64,
}

impl Deadline {
    /// A deadline that passes after `patience` without progress, from now on.
    pub fn after(patience: Duration) -> Self {
        Self {
            made: Instant::now(),
            patience,
            progressed: AtomicU64::new(0),
        }
    }

    /// Something went forward: the patience begins anew.
    pub fn progress(&self) {
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progressed.fetch_max(now, Ordering::Relaxed);
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

/// A small change or question that stands on its own; several can be asked for at once.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The attributes of any path. Refused with [`Why::Unsupported`] where [`Traits::stats`] is not.
    Stat(&'a RemotePath),
    /// Size and time of a path that is known to be a file.
    Version(&'a RemotePath),
    /// Delete a file or a link.
    Remove(&'a RemotePath),
    /// Delete an empty directory.
    RemoveDirectory(&'a RemotePath),
    /// Make a directory.
    MakeDirectory(&'a RemotePath),
    /// Give a file or directory another name; what bears that name is replaced, as by rename(2).
    Rename {
        /// The old path.
        from: &'a RemotePath,
        /// The new path.
        to: &'a RemotePath,
    },
    /// Make a symbolic link.
    MakeLink {
        /// The new name.
        link: &'a RemotePath,
        /// Where it points: bytes, as the caller of symlink(2) gave them.
        target: &'a [u8],
    },
    /// Set the permission bits (`0o7777` at most).
    SetMode(&'a RemotePath, u32),
    /// Set the time of the last modification, seconds since 1970 in UTC.
    SetModified(&'a RemotePath, i64),
}

/// What a [`Step`] brought.
#[derive(Clone, Debug)]
pub enum Done {
    /// It happened.
    Changed,
    /// The answer to [`Step::Stat`].
    Attributes(Attributes),
    /// The answer to [`Step::Version`].
    Version(Version),
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
    /// A read can begin in the middle of a file.
    pub seeks: bool,
    /// [`Remote::list_many`] costs about as much for many as for one. False until that was seen, which
    /// takes one call for one directory.
    pub lists_together: bool,
}

/// How a changed file gets onto the server: the engine's choice (see [`Remote::plan`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The bytes from here to the end are appended; nothing below is read.
    Append(u64),
    /// These ranges are sent, in order; what the server has elsewhere stays.
    Patch {
        /// Where bytes are sent, in bytes from the file's start.
        ranges: Vec<Range<u64>>,
        /// What the server does with them is looked at afterwards, and mended by the whole file where
        /// it is wrong: all of the file must be at hand.
        tried: bool,
        /// What the server has behind the last range goes: a try that breaks off takes it along.
        cuts: bool,
    },
    /// Every byte of the file is sent.
    Whole,
}

impl Plan {
    /// The bytes that must be at hand, of a file of `size` bytes, besides those that were written here.
    pub fn needs(&self, size: u64) -> Vec<Range<u64>> {
        match self {
            Self::Append(_) => Vec::new(),
            Self::Patch {
                ranges,
                tried: false,
                ..
            } => ranges.clone(),
            Self::Patch { .. } | Self::Whole => std::iter::once(0..size).collect(),
        }
    }
}

/// What became of a file since its base version.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What the server had before; `None` when the name is new.
    pub base: Option<Version>,
    /// Bytes of the base that still stand, from its start, but for the dirty ones.
    pub kept: u64,
    /// What differs from the base, in order.
    pub dirty: Vec<Range<u64>>,
    /// Bytes of the whole file now.
    pub size: u64,
    /// An earlier try broke off: some of the bytes behind the base may be ours.
    pub broke_off: bool,
    /// What is to be set behind the upload.
    pub then: Then,
}

impl Change {
    /// The first byte that differs from the base.
    pub fn first_dirty(&self) -> u64 {
        self.dirty.first().map_or(self.size, |range| range.start)
    }
}

/// What is to be set on a file behind its upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// Permission bits.
    pub mode: Option<u32>,
    /// A time, seconds since 1970 in UTC.
    pub modified: Option<i64>,
}

impl Then {
    /// The steps of it on `file`, and the question what the file then is.
    pub fn steps<'a>(&self, file: &'a RemotePath) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        steps.extend(self.mode.map(|mode| Step::SetMode(file, mode)));
        steps.extend(self.modified.map(|time| Step::SetModified(file, time)));
        steps.push(Step::Version(file));
        steps
    }

    /// What the results of [`Self::steps`] say; an error where the file can't be asked for.
    pub fn updated(&self, mut results: Vec<Result<Done>>) -> Result<Updated> {
        let version = match results.pop() {
            Some(Ok(Done::Version(version))) => version,
            Some(Err(error)) => return Err(error),
            _ => Version::default(),
        };
        let mut results = results.into_iter().map(|result| result.map(|_| ()));
        Ok(Updated {
            version,
            mode: self.mode.and_then(|_| results.next()),
            modified: self.modified.and_then(|_| results.next()),
        })
    }
}

/// What an upload left on the server.
#[derive(Clone, Debug)]
pub struct Updated {
    /// What the file now is.
    pub version: Version,
    /// What became of [`Then::mode`].
    pub mode: Option<Result<()>>,
    /// What became of [`Then::modified`].
    pub modified: Option<Result<()>>,
}

/// Bytes that can be read at any offset without asking the server.
pub trait ReadAt: Sync {
    /// Fills `buffer` from `offset`, both in bytes; an end of file before that is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;
}

impl ReadAt for &[u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|from| self.get(from..));
        let found = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
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

    /// Begins to write a file: anew where `from` is 0, else behind its `from` bytes. Where the server allows,
    /// `then` is done at its end.
    fn write(
        &self,
        file: &RemotePath,
        from: u64,
        then: Then,
        ask: &Ask<'_>,
    ) -> Result<Box<dyn Sink>>;

    /// Makes a file that must be new, and begins to write it. Refused with [`Why::Exists`] where there is
    /// one already, which stays untouched.
    fn create(&self, file: &RemotePath, ask: &Ask<'_>) -> Result<Box<dyn Sink>>;

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

/// Asks for one step.
pub fn perform_one(remote: &dyn Remote, step: Step<'_>, ask: &Ask<'_>) -> Result<Done> {
    remote
        .perform(&[step], ask)
        .pop()
        .unwrap_or_else(|| Err(Error::misbehaved("a step", "no answer")))
}

/// Why a server said no, as far as its reply tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no such file or directory.
    NotFound,
    /// The name is taken.
    Exists,
    /// The user may not do that.
    Denied,
    /// The directory holds something.
    NotEmpty,
    /// It is a directory.
    IsDirectory,
    /// It is not a directory.
    NotDirectory,
    /// No space is left on the server.
    NoSpace,
    /// The user's quota is used up.
    Quota,
    /// The file is in use.
    Busy,
    /// The server can't do that at all.
    Unsupported,
    /// The server has no more connections for us.
    TooMany,
    /// User or password are wrong.
    Login,
    /// The reply does not say.
    Unsaid,
}

/// What went wrong, by who is to blame. Each tells what was tried.
#[derive(Clone, Debug)]
pub enum Error {
    /// The server said no.
    Refused {
        /// The reason, as far as the reply tells.
        why: Why,
        /// What was asked.
        tried: String,
        /// The server's words.
        said: String,
    },
    /// The server broke the protocol.
    Misbehaved {
        /// What was asked.
        tried: String,
        /// What came instead of an answer.
        saw: String,
    },
    /// The connection could not be made, or broke.
    Lost {
        /// What was asked.
        tried: String,
        /// What the operating system said.
        cause: String,
    },
    /// The deadline passed without progress.
    TimedOut {
        /// What was asked.
        tried: String,
    },
    /// The way is barred, by a firewall or by our own rules: to try again changes nothing.
    Barred {
        /// What was tried.
        tried: String,
        /// What is in the way, and what mends it.
        cause: String,
    },
    /// Something here failed: the disk under the spool, for one.
    Local {
        /// What was tried.
        tried: String,
        /// The operating system's error number.
        errno: i32,
    },
    /// The mount is ending.
    Closed,
}

impl Error {
    /// A refusal.
    pub fn refused(why: Why, tried: impl Into<String>, said: impl Into<String>) -> Self {
        Self::Refused {
            why,
            tried: tried.into(),
            said: said.into(),
        }
    }

    /// A breach of the protocol.
    pub fn misbehaved(tried: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::Misbehaved {
            tried: tried.into(),
            saw: saw.into(),
        }
    }

    /// A broken connection.
    pub fn lost(tried: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::Lost {
            tried: tried.into(),
            cause: cause.to_string(),
        }
    }

    /// A deadline that has passed.
    pub fn timed_out(tried: impl Into<String>) -> Self {
        Self::TimedOut {
            tried: tried.into(),
        }
    }

    /// A way that is barred.
    pub fn barred(tried: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::Barred {
            tried: tried.into(),
            cause: cause.into(),
        }
    }

    /// A failure of this machine.
    pub fn local(tried: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Local {
            tried: tried.into(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// The reason of a refusal; `None` for every other error.
    pub fn why(&self) -> Option<Why> {
        match self {
            Self::Refused { why, .. } => Some(*why),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { tried, said, .. } => write!(f, "{tried}: the server refused: {said}"),
            Self::Misbehaved { tried, saw } => write!(f, "{tried}: the server misbehaved: {saw}"),
            Self::Lost { tried, cause } => write!(f, "{tried}: connection lost: {cause}"),
            Self::TimedOut { tried } => write!(f, "{tried}: timed out"),
            Self::Barred { tried, cause } => write!(f, "{tried}: {cause}"),
            Self::Local { tried, errno } => {
                write!(f, "{tried}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Closed => f.write_str("the mount is ending"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_names_apart_and_together() {
        let path = RemotePath::root()
            .join(b"a b")
            .and_then(|path| path.join(b" c"));
        let path = path.expect("good names");
        assert_eq!(path.as_bytes(), b"a b/ c");
        assert_eq!(path.name(), b" c");
        assert_eq!(path.parent().expect("a parent").as_bytes(), b"a b");
        assert!(RemotePath::root().parent().is_none());
    }

    #[test]
    fn a_name_that_could_smuggle_or_climb_is_no_name() {
        for name in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a\0b",
            b"a\rb",
            b"a\nDELE b",
        ] {
            assert!(RemotePath::root().join(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn within_goes_by_names_not_by_bytes() {
        let a = RemotePath::root().join(b"a").expect("a name");
        let ab = RemotePath::root().join(b"ab").expect("a name");
        let below = a.join(b"b").expect("a name");
        assert!(below.is_within(&a) && a.is_within(&a) && a.is_within(&RemotePath::root()));
        assert!(!ab.is_within(&a));
    }

    #[test]
    fn a_perm_has_the_letters_that_it_was_made_of() {
        let perm = Perm::of(b"RdX f");
        for letter in b"acdeflmprw" {
            assert_eq!(perm.has(*letter), b"rdf".contains(letter));
        }
        assert!(perm.has(b'R') && !perm.has(b'x') && !perm.has(b' '));
        assert_eq!(Perm::of(b""), Perm::default());
    }

    #[test]
    fn a_version_differs_only_in_what_both_know() {
        let known = Version {
            size: Some(1),
            modified: Some(2),
        };
        assert!(known.may_be(&Version {
            size: Some(1),
            modified: None
        }));
        assert!(!known.may_be(&Version {
            size: Some(1),
            modified: Some(3)
        }));
        assert!(known.may_be(&Version::default()));
    }

    #[test]
    fn a_deadline_begins_anew_with_progress() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.remaining().is_none());
        let deadline = Deadline::after(Duration::from_secs(3600));
        deadline.progress();
        assert!(deadline.remaining().is_some());
    }
}
