//! Waits for the first reply to the command of a transfer, or for its data.
//!
//! The 150 comes before the data (RFC 959 section 5.4). Some servers send it together with the final reply, when the data has
//! moved. Then the bytes of a download are the sign that it has begun. An upload, and what is encrypted, has no such sign: where
//! no reply comes for a while, our side begins. That grants nothing: success is the final reply, and where a refusal comes
//! instead of the preliminary reply, the bytes are
//! dropped.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::ftp::control::Control;
use crate::ftp::data::Opening;
use crate::ftp::net::stream::{DataState, Stream};
use crate::ftp::profile::Profile;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Result};

/// The data connection of a transfer whose command was sent.
pub trait DataConnection: AsFd {
    /// What it shows.
    fn state(&mut self) -> Result<DataState>;
}

impl DataConnection for Stream {
    fn state(&mut self) -> Result<DataState> {
        Ok(self.data_state())
    }
}

impl DataConnection for Opening {
    fn state(&mut self) -> Result<DataState> {
        Self::state(self)
    }
}

/// What starts a transfer.
#[derive(Debug)]
pub enum Start {
    /// Its first reply.
    Reply(Reply),
    /// Its data: the preliminary reply is still owed.
    Data,
}

/// How long our side waits for the reply where only it can begin. A disk that has to spin up takes longer, and finds the bytes
/// in its socket then.
const UPLOAD_GRACE: Duration = Duration::from_secs(2);
/// Of what is encrypted, this share of the time: the handshake can't be given up when a refusal comes.
const HANDSHAKE_GRACE_SHARE: u32 = 4;
/// The same on a server that was late several times in a row.
const LATE_SERVER_GRACE: Duration = Duration::from_millis(100);
/// And so many round trips at least, so that a reply that is on its way counts.
const LATE_SERVER_ROUND_TRIPS: u32 = 4;
/// Late starts in a row by which such a server is known. One may be a pause of any server.
const LATE_STARTS: u32 = 2;

/// Waits until `command` is answered, or until its data moves, or must be made to move. `is_sent` says that all our bytes were
/// sent with it.
pub fn await_start(
    control: &mut Control,
    data: &mut dyn DataConnection,
    (command, is_sent): (&Command<'_>, bool),
    profile: &Profile,
    deadline: &Deadline,
) -> Result<Start> {
    let sends = matches!(command, Command::Stor(_) | Command::Appe(_));
    let is_protected = control.protects_data();
    let short = control.reply_deadline(deadline);
    let deadline = short.as_ref().unwrap_or(deadline);
    let late = profile.ask(|learned| learned.this_mount.starts.late);
    let round_trips = control.round_trip().unwrap_or_default() * LATE_SERVER_ROUND_TRIPS;
    let grace = match (late >= LATE_STARTS, is_protected) {
        (true, _) => LATE_SERVER_GRACE.max(round_trips),
        (false, true) => deadline.remaining().unwrap_or_default() / HANDSHAKE_GRACE_SHARE,
        (false, false) => UPLOAD_GRACE,
    };
    let (since, we_begin) = (Instant::now(), (sends || is_protected) && !is_sent);
    while !control.has_input() && deadline.remaining().is_some() {
        let state = data.state()?;
        let left = grace.saturating_sub(since.elapsed());
        match state {
            DataState::Bytes if !sends && !is_protected => return Ok(start_late(control)),
            DataState::Silent if we_begin && left.is_zero() => {
                profile.learn(|learned| learned.this_mount.starts.late += 1);
                return Ok(start_late(control));
            }
            _ => {}
        }
        let slice = match we_begin && !left.is_zero() {
            true => left,
            false => Duration::MAX,
        };
        // What has ended, or sends where it should not, is readable without end.
        let is_watched = matches!(state, DataState::Awaited | DataState::Silent);
        let other = is_watched.then(|| data.as_fd());
        control.await_either(other, (since, slice), command, deadline)?;
    }
    let reply = control.reply(command, deadline)?;
    if late > 0 && reply.is_preliminary() && since.elapsed() < grace {
        profile.learn(|learned| learned.this_mount.starts.late = 0);
    }
    if reply.is_completion() {
        control.expect_preliminary();
    }
    Ok(Start::Reply(reply))
}

fn start_late(control: &mut Control) -> Start {
    log::debug!("data: the transfer begins before its preliminary reply");
    control.expect_late_start();
    Start::Data
}
