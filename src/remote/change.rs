//! Changes of files: what became of one here, how it gets onto the server, and what is there then.
//!
//! The one idea: the file system says what changed ([`Change`]), the engine how it would bring that about
//! ([`Plan`]), so that the bytes which that takes are at hand before a connection is taken.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::remote::attributes::Version;
use crate::remote::error::Result;
use crate::remote::path::RemotePath;
use crate::remote::step::{Done, Step};

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
    /// It was emptied here: nothing of what is there is to be left, whoever put it there.
    pub emptied: bool,
    /// An earlier try broke off: some of the bytes behind the base may be ours.
    pub broke_off: bool,
    /// Becomes true when something of it may be on the server, however the update ends: it has begun
    /// ([`ReadAt::begins`]), and was not refused.
    pub taken: Arc<AtomicBool>,
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

    /// The server is there, and about to be told to take these bytes: from now on it may have some of them. May be called
    /// several times.
    fn begins(&self) {}
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
