//! Sends early data: the first bytes of an upload, all of a small one, together with `STOR`, over a preconnected data
//! connection and before the 150.
//!
//! They wait in the server's socket until it reads them, so that a small upload costs one round trip, and the TCP
//! window of a large one opens a round trip sooner. A server that watches all its sockets at once may take them for an
//! error (pyftpdlib closes the connection). So this is done only where
//! [`UploadFollowup`](crate::ftp::transfer::followup::UploadFollowup) has seen a server that does one thing after the
//! other, and no more once it has failed. A refused `STOR` drops the bytes.

use std::io;
use std::time::Duration;

use crate::ftp::control::Control;
use crate::ftp::net::stream::Stream;
use crate::ftp::profile::evidence::order::{Misfit, Order};
use crate::ftp::profile::{Profile, Support};
use crate::remote::{Deadline, Error};

/// Data to be sent before the 150.
#[derive(Clone, Copy, Debug)]
pub struct Early<'a> {
    /// The bytes, [`EARLY_DATA_LIMIT`] at most.
    pub bytes: &'a [u8],
    /// They are the whole file: its end is sent with them.
    pub is_all: bool,
}

/// Bytes of an upload that may be sent early: less than a fresh connection's window (64 KiB), so that the server's
/// system takes them whether it reads or not.
pub const EARLY_DATA_LIMIT: u64 = 32 * 1024;
/// How long the first upload of this kind may take: a server that drops the bytes may send no reply.
const TRIAL_PATIENCE: Duration = Duration::from_secs(5);

/// Whether it may be sent early over this connection. The trial is a small upload, which is soon over.
pub fn may_be(early: Early<'_>, profile: &Profile, control: &Control) -> bool {
    let (works, in_order) = profile.ask(|learned| {
        (
            learned.pipelining.early_data,
            learned.pipelining.after_upload,
        )
    });
    let is_tried = works == Support::Yes || works.is_unknown() && early.is_all;
    // The TLS handshake begins after the 150.
    is_tried && in_order == Support::Yes && control.is_pipelining() && !control.protects_data()
}

/// The deadline of an upload whose bytes were sent early.
pub fn patience(profile: &Profile, deadline: &Deadline) -> Deadline {
    let tried = profile
        .ask(|learned| learned.pipelining.early_data)
        .is_known();
    match tried {
        true => deadline.twin(),
        false => deadline.within(TRIAL_PATIENCE),
    }
}

/// Sends early data.
pub fn send(stream: &mut Stream, early: Early<'_>, deadline: &Deadline) -> io::Result<()> {
    match early.is_all {
        true => stream.write_last(early.bytes, deadline),
        false => stream.write_all(early.bytes, deadline),
    }
}

/// An upload whose bytes were sent early is stored.
pub fn worked(profile: &Profile) {
    if profile
        .ask(|learned| learned.pipelining.early_data)
        .is_unknown()
    {
        profile.learn(|learned| learned.pipelining.early_data = Support::Yes);
    }
}

/// One has failed: the next one is a trial again, and the second failure is enough.
pub fn failed(profile: &Profile, error: &Error) {
    let is_of_connection = matches!(error, Error::Lost { .. } | Error::TimedOut { .. });
    let is_known = profile.ask(|learned| learned.pipelining.early_data) == Support::No;
    if is_of_connection && !is_known && profile.note_misfit(Order::EarlyData) == Misfit::Mount {
        log::info!("upload: early data disabled for this server: {error}");
    }
}
