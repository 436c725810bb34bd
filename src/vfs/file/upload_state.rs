//! The upload state of an open file: its stream, what is in flight, and how the last try ended.

use crate::remote::{Deadline, Then, Updated, Version};
use crate::vfs::error::Error;
use crate::vfs::file::range_set::RangeSet;

/// What brings an open file to the server, and how that went.
#[derive(Default)]
pub struct Upload {
    /// How the last try ended.
    pub state: UploadState,
    /// By when the upload that is under way, or another claim of the file, ends if it makes no progress.
    pub busy_until: Option<Deadline>,
    /// What an upload that is under way brings: bytes that were not written here, too, where it goes over them.
    pub in_flight: RangeSet,
    /// The transfer that brings to the server what is being written.
    pub stream: Option<Stream>,
    /// The streams since the server was last asked appended to an existing file.
    pub appended_to_base: bool,
    /// Streams have sent everything, and the server has not been asked yet for the resulting version.
    pub unconfirmed: bool,
    /// The version that streams from the start of the file should have replaced.
    pub replaced: Option<Version>,
    /// Version and attributes that the server reported after the last stream, and what was set by then.
    pub stream_reply: Option<(Then, Updated)>,
    /// A part of ours may be under the name, although the base does not show it: a transfer was taken that has not
    /// ended well (`journaling.rs`).
    pub may_have_arrived: bool,
    /// The server accepted an upload that has not ended well: what is under the name may be ours.
    pub was_taken: bool,
    /// End of an append that broke off, while what it sent is unchanged.
    pub broke_off: Option<u64>,
    /// The name must be new on the server (O_EXCL), which has not been told of it yet.
    pub exclusive: bool,
    /// The server does not append to this file: the rest is sent with the whole file, at a flush.
    pub unappendable: bool,
    /// A flush has found an empty file, and has waited for more.
    pub waited: bool,
    /// The server has refused what was closed by one handle, while another one still writes.
    pub refused_closed: bool,
}

/// A transfer in progress while the file is being written.
#[derive(Debug)]
pub struct Stream {
    /// Bytes of the file that it has taken.
    pub sent: u64,
    /// Bytes that the server has confirmed.
    pub confirmed: u64,
    /// The server has taken a transfer of which it has not confirmed anything yet.
    pub taken: bool,
    /// Sent bytes that the journal knows of, which has the rest of the file in its spool.
    pub vouched: u64,
    /// Bytes from the start that the spool has released.
    pub released: u64,
    /// Offset at which it ends at the latest; `None` while more may be written.
    pub goal: Option<u64>,
    /// The local disk is full: the spool keeps as little as it can.
    pub tight: bool,
}

/// How the last try to bring an open file to the server ended.
#[derive(Clone, Debug, Default)]
pub enum UploadState {
    /// It succeeded, or there was none.
    #[default]
    Fine,
    /// It failed: what could not be stored is kept at the last close.
    Failed {
        /// Why, where that is known.
        why: Option<Error>,
        /// Whether a caller got the error.
        report: Report,
    },
    /// A stream failed, and what it had sent is no longer here: nothing can store the file.
    Lost {
        /// Why.
        why: Error,
        /// Whether a caller got the error.
        report: Report,
    },
}

/// Whether a failure was reported to a caller: one of a stream or of a queued upload has none at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A caller got the error.
    Done,
    /// No caller got it yet.
    Due,
    /// A write got it; the close still has to.
    Written,
}

impl UploadState {
    /// Whether the last try failed.
    pub fn is_failed(&self) -> bool {
        !matches!(self, Self::Fine)
    }

    /// Why the last try failed.
    pub fn why(&self) -> Option<&Error> {
        match self {
            Self::Fine => None,
            Self::Failed { why, .. } => why.as_ref(),
            Self::Lost { why, .. } => Some(why),
        }
    }

    /// Why nothing can store the file.
    pub fn lost(&self) -> Option<&Error> {
        match self {
            Self::Lost { why, .. } => Some(why),
            _ => None,
        }
    }

    fn report_mut(&mut self) -> Option<&mut Report> {
        match self {
            Self::Fine => None,
            Self::Failed { report, .. } | Self::Lost { report, .. } => Some(report),
        }
    }

    fn report(&self) -> Report {
        match self {
            Self::Fine => Report::Done,
            Self::Failed { report, .. } | Self::Lost { report, .. } => *report,
        }
    }

    /// The failure that the next close has to report.
    pub fn to_report(&self) -> Option<&Error> {
        self.why().filter(|_| self.report() != Report::Done)
    }

    /// The failure that no caller has got yet.
    pub fn unreported(&self) -> Option<&Error> {
        self.why().filter(|_| self.report() == Report::Due)
    }

    /// The failure that a close is about to report.
    pub fn take_report(&mut self) -> Option<Error> {
        let why = self.to_report().cloned();
        self.reported();
        why
    }

    /// The failure that keeps a program from writing on, which a write is about to report.
    pub fn refuse_write(&mut self) -> Option<Error> {
        let why = self.lost().or(self.to_report()).cloned()?;
        if let Some(report) = self.report_mut().filter(|report| **report == Report::Due) {
            *report = Report::Written;
        }
        Some(why)
    }

    /// A caller got the error, or it concerns none any more.
    pub fn reported(&mut self) {
        if let Some(report) = self.report_mut() {
            *report = Report::Done;
        }
    }

    /// A try failed. What was lost stays so.
    pub fn fail(&mut self, why: Option<Error>, report: Report) {
        *self = match (std::mem::take(self), why) {
            (Self::Lost { why: old, .. }, why) => Self::Lost {
                why: why.unwrap_or(old),
                report,
            },
            (_, why) => Self::Failed { why, report },
        };
    }

    /// The content that could not be stored is gone: a new one can be.
    pub fn start_over(&mut self) {
        if let Self::Lost { why, .. } = self {
            *self = Self::Failed {
                why: Some(why.clone()),
                report: Report::Done,
            };
        }
        self.reported();
    }
}
