//! What follows a listing or a small file: the next data connection.
//!
//! The one idea: what is to come after the data is asked for before them. `EPSV` in one write with the command is
//! answered behind the transfer by servers that do one thing after the other, one round trip
//! earlier than when it waits for the data's end. Of a server that is not known yet, a `NOOP` shows which kind it is: its
//! 200 ends no transfer. (Uploads show it anew, in `behind.rs`: what is mistaken here costs a connection, and there a file.)
//!
//! Downloads that may be given up halfway have nothing behind them: it would have to be waited for.

use std::fmt;
use std::slice;
use std::sync::Arc;

use crate::ftp::data::Spare;
use crate::ftp::pool::Lease;
use crate::ftp::profile::Support;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::finish::confirm;
use crate::ftp::transfer::start::keep_spare;
use crate::remote::{Deadline, Result};

/// What flies behind a transfer that brings bytes.
#[derive(Clone, Copy, Debug)]
pub enum Follow {
    /// Nothing.
    Nothing,
    /// A question by whose answer the server shows what it does with such.
    Trial(Command<'static>),
    /// What asks for the next data connection.
    Spare(Command<'static>),
}

/// The reply to `NOOP` (RFC 959 section 5.4).
const FINE: u16 = 200;

impl Follow {
    /// What may follow the next transfer.
    pub fn of(lease: &mut Lease) -> Result<Self> {
        let pool = Arc::clone(lease.pool());
        let profile = pool.profile();
        if !lease.control()?.is_pipelining() {
            return Ok(Self::Nothing);
        }
        Ok(
            match profile.ask(|learned| learned.pipelining.after_download) {
                Support::Yes => Spare::early(profile).map_or(Self::Nothing, Self::Spare),
                Support::No => Self::Nothing,
                Support::Unknown => Self::Trial(Command::Noop),
            },
        )
    }

    /// It as what flies behind.
    pub fn commands(&self) -> &[Command<'static>] {
        match self {
            Self::Nothing => &[],
            Self::Trial(command) | Self::Spare(command) => slice::from_ref(command),
        }
    }

    /// Whether our half of the data connection is to end at once. ProFTPD says how a transfer went when it has seen
    /// that end, a round trip later where it comes after the data; others may take it for the end of everything.
    pub fn halves(&self, lease: &mut Lease) -> Result<bool> {
        let control = lease.control()?;
        let greeting = control.greeting().text().to_ascii_lowercase();
        Ok(matches!(self, Self::Spare(_))
            && greeting.contains("proftpd")
            && !control.protects_data())
    }

    /// Takes the final reply of a transfer whose data has come to its end, and returns it, and takes what follows it: the
    /// next data connection is asked for here at the latest, before that reply.
    pub fn conclude(
        &self,
        lease: &mut Lease,
        tried: &dyn fmt::Display,
        deadline: &Deadline,
    ) -> Result<Reply> {
        let pool = Arc::clone(lease.pool());
        let profile = pool.profile();
        let asked = match self {
            Self::Spare(command) => Some(*command),
            _ => {
                let control = lease.control()?;
                let early = Spare::early(profile).filter(|_| control.is_pipelining());
                control.send(early.as_slice(), deadline)?;
                early
            }
        };
        let control = lease.control()?;
        let mut last = control.reply(tried, deadline)?;
        if let Self::Trial(command) = self {
            let other = control.reply(command, deadline)?;
            profile.learn(|learned| {
                learned.pipelining.after_download =
                    Support::from(last.code != FINE && other.code == FINE);
            });
            if last.code != FINE && other.code != FINE {
                // Which is whose can't be told, nor whether that was all.
                control.give_up();
            }
            if is_late(&last, &other) {
                last = other;
            }
        }
        let Some(command) = asked else {
            let confirmed = confirm(lease, &last, tried);
            lease.want_spare();
            return confirmed.map(|()| last);
        };
        let mut port = None;
        if matches!(last.code, 227 | 229) {
            // libunftp answers what it can at once.
            profile.learn(|learned| learned.data.late_preconnect = true);
            port = Some(std::mem::replace(
                &mut last,
                control.reply(tried, deadline)?,
            ));
        }
        let port = match port {
            Some(port) => Ok(port),
            None => control.reply(&command, deadline),
        };
        if let Ok(end) = &port
            && may_be_refused_port(&last)
            && is_end(end)
        {
            // It was refused because of the transfer, before that ended.
            profile.learn(|learned| {
                learned.data.late_preconnect = true;
                learned.pipelining.after_download = Support::No;
            });
            return confirm(lease, end, tried).map(|()| end.clone());
        }
        let confirmed = confirm(lease, &last, tried);
        keep_spare(lease, port, deadline)?;
        confirmed.map(|()| last)
    }
}

/// Whether of two replies, to a transfer and to the `NOOP` behind it, the second one is the transfer's. In doubt
/// it is the worse one.
fn is_late(first: &Reply, second: &Reply) -> bool {
    match (first.code, second.code) {
        (FINE, FINE) | (_, FINE) => false,
        (FINE, _) => true,
        _ if first.is_unknown_command() => true,
        _ => !second.is_completion() && !second.is_unknown_command(),
    }
}

/// Whether a reply may be a refusal of `EPSV` or `PASV` as well as of a listing.
fn may_be_refused_port(reply: &Reply) -> bool {
    reply.code == 450 || reply.code == 503 || reply.is_unknown_command()
}

/// Whether a reply ends a transfer for sure, well or not (RFC 959 section 5.4).
fn is_end(reply: &Reply) -> bool {
    matches!(reply.code, 226 | 250 | 425 | 426 | 451)
}
