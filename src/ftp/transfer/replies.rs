//! Waits for the replies to a transfer: the first one, or its data instead, and the final one; then brings the control
//! connection back in step.
//!
//! # The first reply
//!
//! The 150 comes before the data (RFC 959 section 5.4). Some servers send it together with the final reply, when the data has
//! moved. Then the bytes of a download are the sign that it has begun. An upload, and what is encrypted, has no such sign: where
//! no reply comes for a while, our side begins. That grants nothing: success is the final reply, and where a refusal comes
//! instead of the preliminary reply, the bytes are dropped.
//!
//! # The final reply
//!
//! Where the server broke the transfer off, its reason is better than ours. Where we broke it off, whatever the server replies is
//! taken, or the connection is given up.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::control::Control;
use crate::ftp::data::{Opening, Preconnected};
use crate::ftp::net::stream::{DataState, Stream};
use crate::ftp::pool::Lease;
use crate::ftp::profile::Profile;
use crate::ftp::profile::evidence::order::Order;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

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

/// How long an ended transfer may take to bring the control connection back in step.
const LAST_REPLIES_PATIENCE: Duration = Duration::from_secs(3);
/// How long a server that broke off a transfer may take to say why.
const REASON_PATIENCE: Duration = Duration::from_secs(5);

/// Reads the final reply to a transfer.
pub fn read_final_reply(lease: &mut Lease, reply: &Reply, tried: &dyn fmt::Display) -> Result<()> {
    if reply.is_completion() {
        return Ok(());
    }
    let pool = Arc::clone(lease.pool());
    if reply.code == 425 && lease.began_over_spare() {
        // The server had closed it before the command came, and found that out after its 150.
        Preconnected::note_misfire(pool.profile());
    }
    let control = lease.control()?;
    // vsftpd says 522, ProFTPD and FileZilla Server 425, of a session that was not resumed.
    if matches!(reply.code, 425 | 522) && pool.step_back(control) {
        control.give_up();
        log::info!("tls: {tried}: {reply}; falling back to TLS 1.2");
        return Err(Error::lost(tried.to_string(), reply));
    }
    Err(reply.refusal(tried))
}

/// The replies to a transfer and to commands after it are in no order: replies can't be matched to commands any more.
pub fn out_of_order(control: &mut Control, command: Command<'_>, profile: &Profile) -> Error {
    profile.note_misfit(match command {
        Command::Stor(_) | Command::Appe(_) => Order::AfterUpload,
        _ => Order::AfterDownload,
    });
    control.give_up();
    Error::lost(
        command.to_string(),
        "pipelined commands after it were answered out of order",
    )
}

/// What the server says after a data connection broke: its reason is better than ours. `None`
/// when it says nothing, or nothing bad.
pub fn last_words(lease: &mut Lease, tried: &dyn fmt::Display) -> Option<Error> {
    let control = lease.control().ok()?;
    match control.reply(tried, &Deadline::after(REASON_PATIENCE)) {
        Ok(reply) if !reply.is_completion() => read_final_reply(lease, &reply, tried).err(),
        _ => {
            control.give_up();
            None
        }
    }
}

/// Whether a reply is one to a command pipelined after a download: `NOOP`, `EPSV` or `PASV`.
fn is_answer(reply: &Reply) -> bool {
    matches!(reply.code, 200 | 227 | 229)
}

/// Brings a control connection back in step after its data connection was closed by us.
///
/// Servers answer with 426, 451 or 226, some with two replies, some (Pure-FTPd) late: a `NOOP` after
/// it marks the end, and the `behind` commands that were pipelined after the transfer are answered before that. What
/// does not fit leaves the connection out of step, and the pool drops it.
pub fn read_last_replies(control: &mut Control, tried: &dyn fmt::Display, behind: usize) {
    let deadline = Deadline::after(LAST_REPLIES_PATIENCE);
    let mut noop_answered = || -> Result<()> {
        // Pure-FTPd ends what was broken off by a second 150. If more is to come, NOOP shows it.
        let first = control.reply(tried, &deadline)?;
        if first.is_preliminary() {
            control.expect_one_less();
        }
        let mut all_end = behind > 0 && !is_answer(&first);
        for _ in 0..behind {
            all_end &= !is_answer(&control.reply(tried, &deadline)?);
        }
        if all_end {
            // Two replies to the transfer: those to what was pipelined after it would be taken for that to NOOP.
            control.give_up();
            return Err(first.refusal(tried));
        }
        control.send(&[Command::Noop], &deadline)?;
        let mut reply = control.reply(&Command::Noop, &deadline)?;
        if reply.code != 200 {
            // That was a second reply to the broken transfer; the one to NOOP is still owed.
            control.expect_one_more();
            reply = control.reply(&Command::Noop, &deadline)?;
        }
        if reply.code == 200 {
            Ok(())
        } else {
            control.give_up();
            Err(reply.refusal(Command::Noop))
        }
    };
    if let Err(error) = noop_answered() {
        log::debug!("dropping a control connection after an ended transfer: {error}");
    }
}
