//! Types for storing a changed file: the change, the plan of the upload, and its result.
//!
//! The file system describes what changed ([`Change`]), the client how it would store that ([`Plan`]), so that the file
//! system can provide the bytes of the plan before the client takes a connection.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::remote::attributes::Version;
use crate::remote::error::Result;
use crate::remote::path::RemotePath;
use crate::remote::step::{Done, Step};

/// How a changed file is uploaded: the client's choice (see [`Remote::plan`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Append the bytes from this offset to the end.
    Append(u64),
    /// Send these ranges, in order; the server keeps its other bytes.
    Patch {
        /// The ranges, in bytes from the file's start.
        ranges: Vec<Range<u64>>,
        /// Whether the result is checked afterwards, and repaired by the whole file where it is wrong: the whole file must
        /// be at hand.
        tried: bool,
        /// Whether the server truncates the file after the last range, also where the upload breaks off.
        cuts: bool,
    },
    /// Send the whole file.
    Whole,
}

impl Plan {
    /// The ranges that must be at hand, of a file of `size` bytes, besides those that were written locally.
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

/// The change of a file since its base version.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The version on the server before the change; `None` when the name is new.
    pub base: Option<Version>,
    /// Bytes of the base that are kept, from its start, except for the dirty ones.
    pub kept: u64,
    /// The ranges that differ from the base, in order.
    pub dirty: Vec<Range<u64>>,
    /// Size of the file after the change, in bytes.
    pub size: u64,
    /// Whether the file was truncated to nothing locally: no byte on the server is kept, not even of other clients.
    pub emptied: bool,
    /// Whether the whole file is at hand, so that an append that went wrong can be repaired.
    pub at_hand: bool,
    /// Whether an earlier upload broke off, so that some of the bytes after the base may be ours.
    pub broke_off: bool,
    /// Becomes true when some of the bytes may be on the server, however the update ends: it has started
    /// ([`ReadAt::begins`]), and was not refused.
    pub taken: Arc<AtomicBool>,
    /// The attributes to set after the upload.
    pub then: Then,
}

impl Change {
    /// The first byte that differs from the base.
    pub fn first_dirty(&self) -> u64 {
        self.dirty.first().map_or(self.size, |range| range.start)
    }
}

/// Attributes to set on a file after its upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// Permission bits.
    pub mode: Option<u32>,
    /// A time, seconds since 1970 in UTC.
    pub modified: Option<i64>,
}

impl Then {
    /// The steps that set them on `file`, and then ask for its version.
    pub fn steps<'a>(&self, file: &'a RemotePath) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        steps.extend(self.mode.map(|mode| Step::SetMode(file, mode)));
        steps.extend(self.modified.map(|time| Step::SetModified(file, time)));
        steps.push(Step::Version(file));
        steps
    }

    /// Interprets the results of [`Self::steps`]; an error where the version is unknown.
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

/// The state of a file after its upload.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The version of the file.
    pub version: Version,
    /// The result of [`Then::mode`].
    pub mode: Option<Result<()>>,
    /// The result of [`Then::modified`].
    pub modified: Option<Result<()>>,
}

/// Bytes that can be read at any offset without asking the server.
pub trait ReadAt: Sync {
    /// Fills `buffer` from `offset`, both in bytes; an end of file before that is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;

    /// Called when a connection is ready, before the command is sent: from now on the server may have some of the bytes. May be
    /// called several times.
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
