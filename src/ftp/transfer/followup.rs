//! Commands pipelined after a transfer, in one write with it, and whose replies come with its final reply.
//!
//! After a download or a listing: `EPSV` for the next data connection ([`DownloadFollowup`]). After `STOR` or `APPE`:
//! `SITE CHMOD` and `MFMT` for the stored file, and the question for its version ([`UploadFollowup`]). A server that does
//! one thing after the other answers them after the final reply, a round trip earlier than commands which wait for that
//! reply. vsftpd, ProFTPD and Pure-FTPd do; pyftpdlib and libunftp answer at once, while the file is still on its way.
//! Only the *same* write does it: what comes later ProFTPD answers in the middle of the transfer, and Pure-FTPd loses.
//!
//! A harmless command shows which kind the server is: `NOOP` after a download, whose 200 ends no transfer, and `SIZE`
//! after an upload, whose 213 does not either. The two are learned separately: a mistake costs a connection
//! after a download, and a file after an upload. [`judge`] decides from the replies.
//!
//! Nothing follows downloads that may be stopped halfway: its reply would have to be waited for.

use std::fmt;
use std::slice;
use std::sync::Arc;

use crate::ftp::control::Control;
use crate::ftp::data::Preconnected;
use crate::ftp::pool::Lease;
use crate::ftp::profile::evidence::order::Order;
use crate::ftp::profile::{Learned, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{COMMAND_OKAY, FILE_STATUS, Reply};
use crate::ftp::transfer::replies::read_final_reply;
use crate::ftp::transfer::start::keep_preconnected;
use crate::remote::{Deadline, Error, Result, Updated};

/// The final reply to a transfer that nothing else is answered by. 250 may be `MLST`'s, and 200 `SITE CHMOD`'s.
const STORED: u16 = 226;
/// Bytes of commands in the one write: ProFTPD takes 1,024 at once from its socket, and answers the rest early.
const WRITE_LIMIT: usize = 1000;
/// Bytes of a command without its path, at most: `SITE CHMOD 7777 `, `MFMT YYYYMMDDHHMMSS `, the line's end.
const COMMAND_LIMIT: usize = 24;

/// What was pipelined after a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipelined {
    /// `NOOP` after a download, as a trial.
    Noop,
    /// `SIZE` after an upload, as a trial.
    Size,
    /// `EPSV` or `PASV` after a download.
    Port,
    /// Steps on the stored file after an upload.
    Steps,
}

/// What the order of the replies to a transfer and to the commands after it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    /// The transfer's final reply; `None` where that is unknown.
    transfer: Option<Place>,
    /// Whether the server answers in order.
    in_order: Support,
    /// Whether the replies match the commands, so that the control connection can still be used.
    is_in_step: bool,
}

/// A place among the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Second,
}

/// Decides from the `first` reply and `others`, in the order in which they came.
fn judge(pipelined: Pipelined, first: &Reply, others: &[Reply]) -> Outcome {
    let as_sent = Outcome {
        transfer: Some(Place::First),
        in_order: Support::Unknown,
        is_in_step: true,
    };
    let place = |is_second| {
        Some(if is_second {
            Place::Second
        } else {
            Place::First
        })
    };
    match (pipelined, others) {
        (Pipelined::Noop, [second, ..]) => Outcome {
            transfer: place(is_after_noop(first, second)),
            in_order: Support::from(first.code != COMMAND_OKAY && second.code == COMMAND_OKAY),
            // Else replies can't be matched to commands, and more may come.
            is_in_step: first.code == COMMAND_OKAY || second.code == COMMAND_OKAY,
        },
        (Pipelined::Size, [second, ..]) => {
            let in_order = first.code != FILE_STATUS && second.code == FILE_STATUS;
            let no_size = first.is_unknown_command() || first.code == 550;
            let early =
                !in_order && (first.code == FILE_STATUS || no_size && second.code == STORED);
            let is_safe = in_order && (first.code == STORED || !first.is_completion());
            Outcome {
                transfer: place(early),
                in_order: match in_order || first.is_completion() || second.is_completion() {
                    true => Support::from(is_safe),
                    false => Support::Unknown,
                },
                // Else it may be a second reply to the transfer, and that to SIZE is still to come.
                is_in_step: in_order || early || !second.is_completion(),
            }
        }
        // libunftp answers what it can at once.
        (Pipelined::Port, [_, ..]) if is_port(first) => Outcome {
            transfer: Some(Place::Second),
            ..as_sent
        },
        // EPSV was refused because of the transfer, before that ended.
        (Pipelined::Port, [second, ..]) if may_be_refused_port(first) && is_end(second) => {
            Outcome {
                transfer: Some(Place::Second),
                in_order: Support::No,
                ..as_sent
            }
        }
        (Pipelined::Steps, others) => {
            let is_stored_later = others.iter().any(|other| other.code == STORED);
            let is_early = match first.is_completion() {
                true => first.code != STORED,
                false => is_stored_later,
            };
            match is_early {
                true => Outcome {
                    transfer: None,
                    in_order: Support::No,
                    is_in_step: false,
                },
                // Said twice: what else is to come is unknown.
                false => Outcome {
                    is_in_step: !is_stored_later,
                    ..as_sent
                },
            }
        }
        _ => as_sent,
    }
}

/// Whether of two replies, to a transfer and to the `NOOP` after it, the second one is the transfer's. In doubt
/// it is the worse one.
fn is_after_noop(first: &Reply, second: &Reply) -> bool {
    match (first.code, second.code) {
        (_, COMMAND_OKAY) => false,
        (COMMAND_OKAY, _) => true,
        _ if first.is_unknown_command() => true,
        _ => !second.is_completion() && !second.is_unknown_command(),
    }
}

/// Whether a reply names the port of a data connection.
fn is_port(reply: &Reply) -> bool {
    matches!(reply.code, 227 | 229)
}

/// Whether a reply may be a refusal of `EPSV` or `PASV` as well as of a listing.
fn may_be_refused_port(reply: &Reply) -> bool {
    reply.code == 450 || reply.code == 503 || reply.is_unknown_command()
}

/// Whether a reply ends a transfer for sure, well or not (RFC 959 section 5.4).
fn is_end(reply: &Reply) -> bool {
    matches!(reply.code, 226 | 250 | 425 | 426 | 451)
}

/// What is pipelined after a download or a listing.
#[derive(Clone, Copy, Debug)]
pub enum DownloadFollowup {
    /// Nothing.
    Nothing,
    /// A command whose reply shows in which order the server answers.
    Trial(Command<'static>),
    /// The command that asks for the next data connection.
    Port(Command<'static>),
}

impl DownloadFollowup {
    /// What may follow the next transfer.
    pub fn of(lease: &mut Lease) -> Result<Self> {
        let pool = Arc::clone(lease.pool());
        let profile = pool.profile();
        if !lease.control()?.is_pipelining() {
            return Ok(Self::Nothing);
        }
        Ok(
            match profile.ask(|learned| learned.pipelining.after_download) {
                Support::Yes => Preconnected::early(profile).map_or(Self::Nothing, Self::Port),
                Support::No => Self::Nothing,
                Support::Unknown => Self::Trial(Command::Noop),
            },
        )
    }

    /// Its commands.
    pub fn commands(&self) -> &[Command<'static>] {
        match self {
            Self::Nothing => &[],
            Self::Trial(command) | Self::Port(command) => slice::from_ref(command),
        }
    }

    /// Whether our half of the data connection is to be closed at once. ProFTPD confirms a transfer when it has seen
    /// that end, a round trip later where it comes after the data; others may take it for the end of everything.
    pub fn closes_our_half(&self, lease: &mut Lease) -> Result<bool> {
        let control = lease.control()?;
        let greeting = control.greeting().text().to_ascii_lowercase();
        Ok(matches!(self, Self::Port(_))
            && greeting.contains("proftpd")
            && !control.protects_data())
    }

    /// Takes and returns the final reply of a transfer whose data has come to its end, with the replies to what follows
    /// it: the next data connection is asked for here at the latest, before that reply.
    pub fn conclude(
        &self,
        lease: &mut Lease,
        tried: &dyn fmt::Display,
        deadline: &Deadline,
    ) -> Result<Reply> {
        let pool = Arc::clone(lease.pool());
        let profile = pool.profile();
        let control = lease.control()?;
        let asked = match self {
            Self::Port(command) => Some(*command),
            _ => {
                let early = Preconnected::early(profile).filter(|_| control.is_pipelining());
                control.send(early.as_slice(), deadline)?;
                early
            }
        };
        let mut last = control.final_reply(tried, deadline)?;
        if let Self::Trial(command) = self {
            let other = match control.reply(command, deadline) {
                // The transfer's own reply has come, and with it the end of the session.
                Err(_) if is_end(&last) && control.is_ended_by_server() => {
                    return read_final_reply(lease, &last, tried).map(|()| last);
                }
                other => other?,
            };
            let outcome = judge(Pipelined::Noop, &last, slice::from_ref(&other));
            profile.note_trial(Order::AfterDownload, outcome.in_order);
            if !outcome.is_in_step {
                control.give_up();
            }
            if outcome.transfer == Some(Place::Second) {
                last = other;
            }
        }
        match asked {
            Some(command) => conclude_with_port(lease, last, command, tried, deadline),
            None => {
                let confirmed = read_final_reply(lease, &last, tried);
                lease.want_preconnected();
                confirmed.map(|()| last)
            }
        }
    }
}

/// Takes the second of two replies, to a transfer and to the `command` that asks for the next data connection.
fn conclude_with_port(
    lease: &mut Lease,
    first: Reply,
    command: Command<'_>,
    tried: &dyn fmt::Display,
    deadline: &Deadline,
) -> Result<Reply> {
    let pool = Arc::clone(lease.pool());
    let control = lease.control()?;
    let second = match is_port(&first) {
        true => {
            pool.profile()
                .learn(|learned| learned.data.late_preconnect = true);
            Ok(control.reply(tried, deadline)?)
        }
        false => control.reply(&command, deadline),
    };
    let others = second.as_ref().map(slice::from_ref).unwrap_or_default();
    let outcome = judge(Pipelined::Port, &first, others);
    let (last, port) = match (outcome.transfer, second) {
        (Some(Place::Second), Ok(second)) => {
            pool.profile()
                .learn(|learned| learned.data.late_preconnect = true);
            if outcome.in_order == Support::No {
                pool.profile().note_misfit(Order::AfterDownload);
            }
            if !is_port(&first) {
                return read_final_reply(lease, &second, tried).map(|()| second);
            }
            (second, Ok(first))
        }
        (_, second) => (first, second),
    };
    let confirmed = read_final_reply(lease, &last, tried);
    keep_preconnected(lease, port, deadline)?;
    confirmed.map(|()| last)
}

/// Steps on a stored file: commands that set mode and time, and the question for its version.
pub trait StoredSteps: fmt::Debug + Send {
    /// The commands, one reply each.
    fn commands(&self) -> Vec<Command<'_>>;

    /// What the replies to [`Self::commands`] say. Steps that were refused may be tried in another way.
    fn outcome(
        &self,
        control: &mut Control,
        profile: &Profile,
        replies: Vec<Reply>,
        deadline: &Deadline,
    ) -> Result<Updated>;
}

/// What is pipelined after an upload.
#[derive(Debug)]
pub struct UploadFollowup {
    /// The file's absolute path.
    path: Vec<u8>,
    /// `None` while it is not known in which order the server answers.
    steps: Option<Box<dyn StoredSteps>>,
    /// The command that asks for the next data connection.
    asks: Option<Command<'static>>,
}

/// What the server said at the end of an upload.
#[derive(Debug)]
pub struct UploadEnd {
    /// The transfer's final reply.
    pub last: Reply,
    /// What the file is now, where that was told.
    pub updated: Option<Updated>,
    /// The reply to the command that asked for the next data connection.
    pub port: Option<Reply>,
}

impl UploadEnd {
    fn of(last: Reply) -> Self {
        Self {
            last,
            updated: None,
            port: None,
        }
    }
}

impl UploadFollowup {
    /// What may follow an upload to the absolute path `path`; `None` where nothing may. `steps` prepares the steps.
    pub fn of(
        profile: &Profile,
        path: Vec<u8>,
        steps: impl FnOnce(Learned) -> Option<Box<dyn StoredSteps>>,
    ) -> Option<Self> {
        let learned = profile.get();
        if learned.pipelining.commands == Support::No {
            return None;
        }
        let steps = match learned.pipelining.after_upload {
            Support::Yes => Some(steps(learned)?),
            Support::No => return None,
            Support::Unknown => None,
        };
        let followup = Self {
            path,
            steps,
            asks: Preconnected::early(profile),
        };
        // With the transfer's own and those before it, which are two at most.
        let others = 3 * (followup.path.len() + COMMAND_LIMIT);
        let length = |command: &Command<'_>| match command {
            Command::Rest(_) | Command::Epsv | Command::Pasv => COMMAND_LIMIT,
            _ => COMMAND_LIMIT + followup.path.len(),
        };
        let commands: usize = followup.commands().iter().map(length).sum();
        (others + commands <= WRITE_LIMIT).then_some(followup)
    }

    /// Its commands.
    pub fn commands(&self) -> Vec<Command<'_>> {
        match &self.steps {
            Some(steps) => {
                let mut commands = steps.commands();
                commands.extend(self.asks);
                commands
            }
            None => vec![Command::Size(&self.path)],
        }
    }

    /// Takes the final reply of the transfer and the replies to what follows it.
    pub fn take(
        &self,
        control: &mut Control,
        profile: &Profile,
        tried: &dyn fmt::Display,
        deadline: &Deadline,
    ) -> Result<UploadEnd> {
        let first = control.final_reply(tried, deadline)?;
        let mut others = Vec::new();
        for command in self.commands() {
            if !first.is_completion()
                && others
                    .last()
                    .is_some_and(|other: &Reply| other.code == STORED)
            {
                // Commands were dropped during the transfer, and answered together: no reply is owed to the rest.
                break;
            }
            match control.reply(&command, deadline) {
                Ok(reply) => others.push(reply),
                // The transfer's own reply has come.
                Err(error) if first.code == STORED || !first.is_completion() => {
                    log::info!("{error}");
                    return Ok(UploadEnd::of(first));
                }
                Err(error) => return Err(error),
            }
        }
        let pipelined = match &self.steps {
            Some(_) => Pipelined::Steps,
            None => Pipelined::Size,
        };
        let outcome = judge(pipelined, &first, &others);
        if outcome.in_order.is_known() {
            log::debug!("commands after an upload: answered in order: {outcome:?}");
            profile.note_trial(Order::AfterUpload, outcome.in_order);
        }
        if !outcome.is_in_step {
            control.give_up();
        }
        let last = match outcome.transfer {
            None => {
                let cause = "reply to it arrived after the reply to a later command";
                return Err(Error::lost(tried.to_string(), cause));
            }
            Some(Place::Second) => others.pop().unwrap_or(first),
            Some(Place::First) => first,
        };
        let Some(steps) = self.steps.as_ref().filter(|_| outcome.is_in_step) else {
            return Ok(UploadEnd::of(last));
        };
        let port = self.asks.and_then(|_| others.pop());
        let updated = match last.is_completion() {
            // The caller asks once more where there is no answer here.
            true => {
                let updated = steps.outcome(control, profile, others, deadline);
                updated.inspect_err(|error| log::info!("{error}")).ok()
            }
            false => None,
        };
        Ok(UploadEnd {
            last,
            updated,
            port: port.filter(|_| control.in_step()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_follows_from_the_order_of_replies() {
        use Pipelined::{Noop, Port, Size, Steps};
        use Support::{No, Unknown, Yes};
        let (first, second) = (Some(Place::First), Some(Place::Second));
        let table: &[(Pipelined, u16, &[u16], _, Support, bool)] = &[
            (Noop, 226, &[200], first, Yes, true),
            (Noop, 451, &[200], first, Yes, true),
            (Noop, 200, &[226], second, No, true),
            (Noop, 200, &[200], first, No, true),
            (Noop, 226, &[226], first, No, false),
            (Noop, 500, &[226], second, No, false),
            (Noop, 226, &[451], second, No, false),
            (Size, 226, &[213], first, Yes, true),
            (Size, 452, &[213], first, Yes, true),
            // 250 could be the reply to another command.
            (Size, 250, &[213], first, No, true),
            (Size, 213, &[226], second, No, true),
            (Size, 213, &[452], second, No, true),
            (Size, 500, &[226], second, No, true),
            (Size, 550, &[226], second, No, true),
            (Size, 226, &[550], first, No, true),
            (Size, 226, &[226], first, No, false),
            (Size, 452, &[550], first, Unknown, true),
            (Port, 226, &[229], first, Unknown, true),
            (Port, 226, &[500], first, Unknown, true),
            (Port, 550, &[229], first, Unknown, true),
            (Port, 226, &[], first, Unknown, true),
            (Port, 229, &[226], second, Unknown, true),
            (Port, 227, &[426], second, Unknown, true),
            (Port, 503, &[226], second, No, true),
            (Port, 450, &[450], first, Unknown, true),
            (Steps, 226, &[200, 213], first, Unknown, true),
            (Steps, 552, &[550, 550], first, Unknown, true),
            (Steps, 200, &[226, 213], None, No, false),
            (Steps, 552, &[226, 213], None, No, false),
            (Steps, 226, &[226, 213], first, Unknown, false),
        ];
        let reply = |code: &u16| Reply {
            code: *code,
            lines: Vec::new(),
        };
        for &(pipelined, code, codes, transfer, in_order, is_in_step) in table {
            let others: Vec<_> = codes.iter().map(reply).collect();
            let expected = Outcome {
                transfer,
                in_order,
                is_in_step,
            };
            let outcome = judge(pipelined, &reply(&code), &others);
            assert_eq!(outcome, expected, "{pipelined:?}: {code} {codes:?}");
        }
    }
}
