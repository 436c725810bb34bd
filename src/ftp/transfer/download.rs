//! Implements downloads: `RETR`, from its command to the final reply.
//!
//! A transfer owns its lease. `start.rs` starts it, `replies.rs` takes its replies.
//!
//! # Invariants
//!
//! * However a transfer ends, its control connection is in step afterwards, or dropped by the pool.
//! * Success is the final reply (2xx), never just the end of the data connection.

use std::time::Duration;

use crate::ftp::control::{blame, version_query};
use crate::ftp::net::stream::Stream;
use crate::ftp::pool::Lease;
use crate::ftp::profile::Profile;
use crate::ftp::protocol::command::Command;
use crate::ftp::transfer::followup::DownloadFollowup;
use crate::ftp::transfer::replies::{last_words, read_last_replies};
use crate::ftp::transfer::start::{TransferRequest, begin};
use crate::remote::{Deadline, Error, Reading, Result, Source, Version};

/// Bytes of a file that is always read to its end: a larger transfer may be given up halfway.
const SMALL_FILE_LIMIT: u64 = 64 * 1024;

/// Bytes that a server may have under way to a reader that wants fewer: what it sends at once, before our kernel can tell
/// it of a smaller window, is as much.
const RANDOM_WINDOW: libc::c_int = 64 * 1024;

/// Interval at which a stalled transfer checks whether the server has aborted it.
const REFUSAL_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A running download.
#[derive(Debug)]
pub struct Download {
    lease: Lease,
    data: Option<Stream>,
    tried: String,
    version: Option<Version>,
    followup: DownloadFollowup,
    /// Whether the final reply has come with the preliminary one (or instead of it).
    confirmed: bool,
    cutter: u64,
}

impl Download {
    /// Starts to retrieve the file at the absolute path `path`.
    pub fn open(
        mut lease: Lease,
        path: &[u8],
        reading: &Reading,
        deadline: &Deadline,
    ) -> Result<Self> {
        let (command, verify) = (Command::Retr(path), reading.verify);
        let left = reading.size.and_then(|size| size.checked_sub(reading.from));
        let followup = match left.is_some_and(|left| left <= SMALL_FILE_LIMIT) {
            true => DownloadFollowup::of(&mut lease)?,
            false => DownloadFollowup::Nothing,
        };
        let learned = lease.pool().profile().get();
        let leading = if verify {
            version_query::version_commands(&learned, path)
        } else {
            Vec::new()
        };
        let start = TransferRequest {
            leading: &leading,
            from: reading.from,
            following: followup.commands(),
            closes_our_half: followup.closes_our_half(&mut lease)?,
            ..TransferRequest::of(command)
        };
        let mut opened = begin(&mut lease, start, deadline)?;
        if let Some(data) = &opened.data
            && (reading.enough).is_some_and(|enough| enough <= RANDOM_WINDOW.unsigned_abs().into())
        {
            data.bound_window(RANDOM_WINDOW);
        }
        let version = verify
            .then(|| {
                version_query::version_said(lease.pool().profile(), &learned, path, &opened.leading)
            })
            .and_then(Result::ok);
        let cutter = match opened.data.as_mut().and_then(|data| data.cutter().ok()) {
            Some(cutter) => lease.pool().register_cutter(cutter),
            None => u64::MAX,
        };
        Ok(Self {
            lease,
            data: opened.data,
            tried: command.to_string(),
            version,
            followup,
            confirmed: opened.confirmed,
            cutter,
        })
    }

    fn finish(&mut self, deadline: &Deadline) -> Result<()> {
        // Closed for good, the cutter's handle too: ProFTPD confirms a transfer only when we have closed.
        self.lease.pool().unregister(self.cutter);
        let mut in_full = None;
        if let Some(data) = self.data.take() {
            in_full = data.ended_in_full();
            data.end();
        }
        self.lease.note_data_end();
        if self.confirmed {
            self.lease.want_preconnected();
        } else {
            self.confirmed = true;
            self.followup
                .conclude(&mut self.lease, &self.tried, deadline)?;
        }
        check_end(self.lease.pool().profile(), in_full, &self.tried)
    }
}

impl Download {
    /// The next bytes; 0 at the end of the data, before the final reply.
    pub fn receive(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize> {
        let error = loop {
            let Some(data) = &mut self.data else {
                return Ok(0);
            };
            let slice = deadline.within(REFUSAL_CHECK_INTERVAL);
            let error = match data.read(buffer, &slice) {
                Ok(length) => {
                    self.lease.pool().note_received(length);
                    return Ok(length);
                }
                Err(error) => blame(self.tried.clone(), &error),
            };
            if !matches!(error, Error::TimedOut { .. }) {
                break error;
            }
            if self.is_aborted_by_server() {
                break Error::lost(self.tried.clone(), "the server aborted the transfer");
            }
            if deadline.remaining().is_none() {
                self.lease.pool().note_failure(&error, deadline);
                return Err(error);
            }
        };
        let words = last_words(&mut self.lease, &self.tried);
        // The final reply is in, or will never come: nothing is left to settle.
        self.data = None;
        Err(words.unwrap_or(error))
    }

    /// Whether the server has aborted the transfer (4xx or 5xx on the control connection). The data connection may still
    /// look open: a NAT that dropped its state sends no RST.
    fn is_aborted_by_server(&mut self) -> bool {
        // Else it may be the reply to a followup.
        let is_alone = self.followup.commands().is_empty() && !self.confirmed;
        is_alone && (self.lease.control()).is_ok_and(|control| control.hears_refusal())
    }
}

impl Source for Download {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize> {
        match self.receive(buffer, deadline)? {
            0 if self.data.is_some() => self.finish(deadline).map(|()| 0),
            length => Ok(length),
        }
    }

    fn version(&self) -> Option<Version> {
        self.version
    }

    fn wanted(&self) -> bool {
        self.lease.pool().is_wanted()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.lease.pool().unregister(self.cutter);
        if self.data.take().is_some()
            && !self.confirmed
            && let Ok(control) = self.lease.control()
        {
            read_last_replies(control, &self.tried, self.followup.commands().len());
            self.lease.want_preconnected();
        }
    }
}

/// An attacker can cut an encrypted connection, but only the server can send close_notify.
/// Where the server is known to send it, an end without it is an error.
pub fn check_end(
    profile: &Profile,
    in_full: Option<bool>,
    tried: &dyn std::fmt::Display,
) -> Result<()> {
    match in_full {
        Some(true) => {
            profile.learn(|learned| learned.this_mount.tls_close_notify = true);
            Ok(())
        }
        Some(false) if profile.ask(|learned| learned.this_mount.tls_close_notify) => {
            Err(Error::lost(
                tried.to_string(),
                "the encrypted data ended without close_notify",
            ))
        }
        _ => Ok(()),
    }
}
