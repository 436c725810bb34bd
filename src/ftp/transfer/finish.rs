//! Ends a transfer: takes its final reply, and brings the control connection back in step.
//!
//! Where the server broke it off, its reason is better than ours. Where we broke it off, whatever the server replies is
//! taken, or the connection is given up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ftp::control::Control;
use crate::ftp::pool::Lease;
use crate::ftp::profile::Profile;
use crate::ftp::profile::evidence::order::Order;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

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
