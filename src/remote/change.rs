//! Defines changes of files: what changed here, how it is stored on the server, and the result.
//!
//! The file system describes a change ([`Change`]), the FTP client how it would store it ([`Plan`]), so
//! that the bytes for it are available before a connection is taken.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::remote::attributes::Version;
use crate::remote::error::Result;
use crate::remote::path::RemotePath;
use crate::remote::{Done, Step};

/// How a changed file is stored; the FTP client decides (see [`Remote::plan`](crate::remote::Remote::plan)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Append the bytes from this offset to the end; nothing below is needed.
    Append(u64),
    /// Send these ranges, in order; all other bytes on the server stay.
    Patch {
        /// The ranges to send, in bytes from the start of the file.
        ranges: Vec<Range<u64>>,
        /// The result is checked, and the whole file is sent if it is wrong: all of the file must be
        /// available.
        tried: bool,
        /// The server truncates after the last range, also when the transfer is aborted.
        cuts: bool,
    },
    /// Send these ranges of a new file, from its start on, in order; the server makes zeros of what lies between.
    Sparse(Vec<Range<u64>>),
    /// Send the whole file.
    Whole,
}

impl Plan {
    /// Returns the ranges of a file of `size` bytes that must be available besides those written here.
    pub fn needs(&self, size: u64) -> Vec<Range<u64>> {
        match self {
            Self::Append(_) => Vec::new(),
            Self::Patch {
                ranges,
                tried: false,
                ..
            } => ranges.clone(),
            Self::Sparse(ranges) => ranges.clone(),
            Self::Patch { .. } | Self::Whole => std::iter::once(0..size).collect(),
        }
    }

    /// Returns the ranges of a file of `size` bytes that are sent.
    pub fn sends(&self, size: u64) -> Vec<Range<u64>> {
        match self {
            Self::Append(base) => std::iter::once(*base..size).collect(),
            Self::Patch { ranges, .. } | Self::Sparse(ranges) => ranges.clone(),
            Self::Whole => std::iter::once(0..size).collect(),
        }
    }
}

/// What changed in a file since its base version.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The version on the server before; `None` if the name is new.
    pub base: Option<Version>,
    /// Bytes from the start of the base that are unchanged, except the dirty ranges.
    pub kept: u64,
    /// The ranges that differ from the base, in order.
    pub dirty: Vec<Range<u64>>,
    /// The dirty ranges, or parts of them, that are zeros which no program wrote, in order.
    pub holes: Vec<Range<u64>>,
    /// Size of the changed file in bytes.
    pub size: u64,
    /// The file was truncated to 0 here: no byte on the server may stay, even of other clients.
    pub emptied: bool,
    /// Whether the whole file is at hand, so that an append that went wrong can be repaired.
    pub at_hand: bool,
    /// An earlier attempt was aborted: some of the bytes after the base may be ours.
    pub broke_off: bool,
    /// Set when some of the bytes may be on the server, however the update ends: it has started
    /// ([`ReadAt::begins`]), and was not refused.
    pub taken: Arc<AtomicBool>,
    /// Attributes to set after the upload.
    pub then: Then,
}

impl Change {
    /// Returns the offset of the first byte that differs from the base.
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
    /// Returns the steps for `file`, with a query for its version at the end.
    pub fn steps<'a>(&self, file: &'a RemotePath) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        steps.extend(self.mode.map(|mode| Step::SetMode(file, mode)));
        steps.extend(self.modified.map(|time| Step::SetModified(file, time)));
        steps.push(Step::Version(file));
        steps
    }

    /// Evaluates the results of [`Self::steps`]; an error if the query for the version failed.
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
            shown_mode: None,
        })
    }
}

/// Result of an upload.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The version of the file after it.
    pub version: Version,
    /// Result of setting [`Then::mode`].
    pub mode: Option<Result<()>>,
    /// Result of setting [`Then::modified`].
    pub modified: Option<Result<()>>,
    /// The permission bits that the server showed of it, if it was asked; they are those of before, where a mode was set.
    pub shown_mode: Option<u32>,
}

impl Updated {
    /// The result of setting `wanted`, if this says it: `set` was set, and the server may have given the file the wanted
    /// mode when it made it.
    pub fn having(self, set: Then, wanted: Then) -> Option<Self> {
        if wanted.modified.is_some() && wanted.modified != set.modified {
            return None;
        }
        if wanted.mode.is_none() || wanted.mode == set.mode {
            return Some(self);
        }
        let is_shown = set.mode.is_none() && wanted.mode == self.shown_mode;
        is_shown.then_some(Self {
            mode: Some(Ok(())),
            ..self
        })
    }
}

/// Bytes that can be read at any offset without asking the server.
pub trait ReadAt: Sync {
    /// Fills `buffer` from `offset`, both in bytes; an end of file before that is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;

    /// Called before the command that stores these bytes is sent: from then on the server may have some of
    /// them. May be called several times.
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
