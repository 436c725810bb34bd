//! Starts a transfer: from its command to a data connection that carries the data.
//!
//! [`TransferStart`] is the state machine. All commands that need not wait for an answer go out in one write
//! (pipelining). Over a preconnected data connection that is everything; without one `EPSV` has to be answered first,
//! and the commands before the transfer go with it. A preconnected data connection that turns out to be dead is
//! replaced, and the caller does not notice: nothing has been transferred then.
//!
//! `REST` and the command after it go together (RFC 3659 section 5.4 wants them adjacent); a
//! refused `REST` is seen before the first byte is handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ftp::control::Control;
use crate::ftp::data;
use crate::ftp::data::{Ahead, Spare};
use crate::ftp::net::stream::{Stream, blame};
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::{Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::early_data;
use crate::ftp::transfer::early_data::Early;
use crate::ftp::transfer::finish::{last_words, out_of_order, settle};
use crate::remote::{Deadline, Error, Result, Why};

/// A transfer that is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Commands that are sent before it.
    pub ahead: &'a [Command<'a>],
    /// A refusal of one of those refuses the transfer.
    pub is_strict: bool,
    /// The offset at which it begins, in bytes.
    pub from: u64,
    /// The command.
    pub command: Command<'a>,
    /// Commands that are sent after it in the same write, where pipelining is on: see `followup.rs`.
    pub behind: &'a [Command<'a>],
    /// Data to be sent before the 150, where the server takes it.
    pub early: Option<Early<'a>>,
    /// Our half of the data connection may be closed at once: nothing is to be sent.
    pub halves: bool,
    /// Becomes true when the server may have done something: the command was sent, and not refused.
    pub taken: Option<&'a AtomicBool>,
    /// Becomes true when the server has agreed to it: then it has done something.
    pub agreed: Option<&'a AtomicBool>,
}

/// A transfer that has started.
#[derive(Debug)]
pub struct Begun {
    /// The data connection; `None` where the server was done without one.
    pub data: Option<Stream>,
    /// The final reply has come already, and is a success.
    pub confirmed: bool,
    /// The replies to [`Start::ahead`].
    pub ahead: Vec<Reply>,
    /// [`Start::early`] was sent.
    pub early: bool,
}

/// The share of an operation's patience that a preconnected data connection gets: it may be dead without a word,
/// and a fresh one must still have its chance.
const PRECONNECTED_SHARE: u32 = 3;

impl<'a> Start<'a> {
    /// A transfer of everything, with no commands before it.
    pub fn of(command: Command<'a>) -> Self {
        Self {
            ahead: &[],
            is_strict: false,
            from: 0,
            command,
            behind: &[],
            early: None,
            halves: false,
            taken: None,
            agreed: None,
        }
    }

    /// Notes that the server may have done something, or that it has not; returns what was noted before.
    fn note_taken(&self, taken: bool) -> bool {
        self.taken
            .is_some_and(|noted| noted.swap(taken, Ordering::Relaxed))
    }

    fn rest(&self) -> Option<Command<'a>> {
        (self.from > 0).then_some(Command::Rest(self.from))
    }
}

/// Starts a transfer; returns when the server has taken the command.
///
/// Where it is not known yet how data connections are made, one way is tried after the other.
pub fn begin(lease: &mut Lease, start: Start<'_>, deadline: &Deadline) -> Result<Begun> {
    let spare = lease.take_spare();
    lease.note_beginning(false);
    let mut starter = Starter {
        start,
        pool: Arc::clone(lease.pool()),
        ahead: Ahead::new(start.ahead, start.is_strict),
        next_port: None,
        deadline,
    };
    let begun = starter.run(lease, spare);
    if begun.is_err()
        && let Some(port) = starter.next_port
    {
        // Twisted answers nothing more until the client connects to the port that was asked for.
        if let Err(error) = keep_spare(lease, Ok(port), deadline) {
            log::debug!("{error}");
        }
    }
    begun
}

/// The steps from a command to its data connection.
enum TransferStart {
    /// A preconnected data connection is to be tried.
    Preconnected(Spare),
    /// A data connection is to be made: `EPSV` or `PASV` with its reply, or a listener for `EPRT` or `PORT`.
    Connect,
    /// The data connection is there, or listened for: the command is to be sent.
    Send(data::Opening),
    /// The server has taken the command.
    Begun(Begun),
}

/// The first reply to the command, or the reason why it does not count.
enum FirstReply {
    /// The first reply.
    Reply(Reply),
    /// A command before it was refused; the command's own replies are still owed.
    Refused(Error),
}

/// One transfer while it is started.
struct Starter<'a> {
    start: Start<'a>,
    pool: Arc<Pool>,
    ahead: Ahead<'a>,
    /// The reply by which a refused transfer still brought the port of the next one's data connection.
    next_port: Option<Reply>,
    deadline: &'a Deadline,
}

impl Starter<'_> {
    fn run(&mut self, lease: &mut Lease, spare: Option<Spare>) -> Result<Begun> {
        let command = self.start.command;
        let control = lease.control()?;
        if control.is_used_up() {
            self.pool.step_back(control);
            control.give_up();
            return Err(Error::lost(
                command.to_string(),
                "the server gave no ticket to resume its TLS session by",
            ));
        }
        let mut step = spare.map_or(TransferStart::Connect, TransferStart::Preconnected);
        loop {
            step = match step {
                TransferStart::Preconnected(spare) => {
                    let next = self.try_preconnected(lease.control()?, spare)?;
                    lease.note_beginning(matches!(next, TransferStart::Begun(_)));
                    next
                }
                TransferStart::Connect => {
                    let (control, ahead) = (lease.control()?, &mut self.ahead);
                    let (profile, policy) = (self.pool.profile(), self.pool.data());
                    let opening =
                        data::open(control, profile, policy, command, ahead, self.deadline)?;
                    TransferStart::Send(opening)
                }
                TransferStart::Send(opening) => self.send_command(lease.control()?, opening)?,
                TransferStart::Begun(begun) => return self.protect(lease, begun),
            }
        }
    }

    /// Starts over a preconnected data connection, or continues with a new one where that was dead and nothing has
    /// happened.
    fn try_preconnected(&mut self, control: &mut Control, spare: Spare) -> Result<TransferStart> {
        let pool = Arc::clone(&self.pool);
        let (start, profile) = (self.start, pool.profile());
        let left = self.deadline.remaining().unwrap_or_default();
        let mut patience = Deadline::after(left / PRECONNECTED_SHARE);
        let attempt = spare.attempt(profile);
        let mut stream = match spare.into_stream(&patience) {
            Ok(stream) => stream,
            Err(error) => {
                log::debug!("{error}");
                Spare::note_misfire(profile);
                return Ok(TransferStart::Connect);
            }
        };
        let early = start
            .early
            .filter(|&early| early_data::may_be(early, profile, control));
        if early.is_some() {
            patience = early_data::patience(profile, &patience);
        }
        let mut written = Ok(());
        let mut send_early = || {
            if let Some(early) = early {
                written = early_data::send(&mut stream, early, &patience);
            } else if start.halves {
                written = stream.finish_writing(&patience);
            }
        };
        let reply = match self.send_all(control, None, &mut send_early, &patience) {
            Ok(FirstReply::Reply(reply)) => reply,
            Ok(FirstReply::Refused(refusal)) => {
                return Err(self.stop_refused(control, stream, refusal, &patience)?);
            }
            Err(error) => {
                if early.is_some() {
                    early_data::failed(profile, &error);
                }
                // Its end may have been sent: nothing of it is to arrive later.
                stream.abort();
                return Err(error);
            }
        };
        if !reply.is_preliminary() && !reply.is_completion() {
            return self.refused_preconnected(control, &reply, &patience);
        }
        self.deadline.progress();
        attempt.worked(profile);
        Spare::note_success(profile);
        if let Err(error) = written {
            let error = blame(start.command.to_string(), &error);
            early_data::failed(profile, &error);
            stream.abort();
            return Err(error);
        }
        Ok(TransferStart::Begun(Begun {
            data: Some(stream),
            confirmed: reply.is_completion(),
            ahead: Vec::new(),
            early: early.is_some(),
        }))
    }

    /// A command before the transfer was refused, which runs all the same, from the directory where we are: ends it.
    fn stop_refused(
        &mut self,
        control: &mut Control,
        stream: Stream,
        refusal: Error,
        patience: &Deadline,
    ) -> Result<Error> {
        let command = self.start.command;
        let reply = control.reply(&command, patience)?;
        drop(stream);
        match reply.is_preliminary() {
            true => settle(control, &command, self.start.behind.len()),
            false => self.drain(control, patience)?,
        }
        Ok(refusal)
    }

    /// The command was refused over a preconnected data connection: perhaps for that.
    fn refused_preconnected(
        &mut self,
        control: &mut Control,
        reply: &Reply,
        patience: &Deadline,
    ) -> Result<TransferStart> {
        let command = self.start.command;
        let text = reply.words(command);
        let is_of_connection =
            matches!(reply.code, 425 | 426) || text.contains("pasv") || text.contains("port");
        if is_of_connection {
            log::debug!("{command}: {reply}; making a new data connection");
            Spare::note_misfire(self.pool.profile());
        }
        self.drain(control, patience)?;
        match is_of_connection {
            true => Ok(TransferStart::Connect),
            false => Err(reply.refusal(command)),
        }
    }

    /// Sends the command for a data connection that was made for it. Where that fails, the next way may be tried.
    fn send_command(
        &mut self,
        control: &mut Control,
        opening: data::Opening,
    ) -> Result<TransferStart> {
        let attempt = opening.attempt();
        self.next_port = None;
        let begun = self.start_over(control, opening);
        let (profile, policy) = (self.pool.profile(), self.pool.data());
        match begun {
            Ok(begun) => {
                attempt.worked(profile);
                Ok(TransferStart::Begun(begun))
            }
            Err(error) => {
                attempt.failed(control, profile, policy, error)?;
                Ok(TransferStart::Connect)
            }
        }
    }

    fn start_over(&mut self, control: &mut Control, opening: data::Opening) -> Result<Begun> {
        let short = opening.patience(self.deadline);
        let deadline = short.as_ref().unwrap_or(self.deadline);
        let announced = opening.announcement();
        let reply = match self.send_all(control, announced, &mut || (), deadline)? {
            FirstReply::Reply(reply) => reply,
            FirstReply::Refused(refusal) => {
                // It may be running, and its end is not waited for.
                control.give_up();
                return Err(refusal);
            }
        };
        let begun = |data, confirmed| Begun {
            data,
            confirmed,
            ahead: Vec::new(),
            early: false,
        };
        if reply.is_preliminary() {
            let (data, ended) = opening.finish(control, deadline)?;
            return Ok(begun(Some(data), ended.is_some()));
        }
        if reply.is_completion() {
            // Done at once, without a preliminary reply: what there is, is in the data connection.
            return Ok(begun(opening.at_once()?, true));
        }
        self.drain(control, deadline)?;
        Err(reply.refusal(self.start.command))
    }

    /// Takes the replies to what was pipelined after a command that was refused: only the port of the next data
    /// connection matters.
    fn drain(&mut self, control: &mut Control, deadline: &Deadline) -> Result<()> {
        let start = self.start;
        if start.from > 0 {
            // What was refused may not have used up the REST before it, and the next transfer would begin there.
            control.give_up();
            return Ok(());
        }
        if control.is_pipelining() {
            for command in start.behind {
                let reply = control.reply(command, deadline)?;
                if reply.is_preliminary() {
                    return Err(out_of_order(control, start.command, self.pool.profile()));
                }
                if matches!(command, Command::Epsv | Command::Pasv) && reply.is_completion() {
                    self.next_port = Some(reply);
                }
            }
        }
        Ok(())
    }

    /// Sends the command and all that goes before and after it, and takes the replies up to its first one. `announced`
    /// is the `EPRT` or `PORT` of its data connection; `sent` is called between the write and the replies.
    fn send_all(
        &mut self,
        control: &mut Control,
        announced: Option<Command<'_>>,
        sent: &mut dyn FnMut(),
        deadline: &Deadline,
    ) -> Result<FirstReply> {
        let (start, profile) = (self.start, self.pool.profile());
        let due = self.ahead.due().iter().copied();
        let before: Vec<_> = due.chain(announced).chain(start.rest()).collect();
        let taken_before = start.note_taken(true);
        let mut replies = match control.lead(&before, start.command, start.behind, sent, deadline) {
            Err(error @ Error::Misbehaved { .. }) if announced.is_some() => {
                log::info!("data: {error}; pipelining disabled in active mode");
                profile.learn(|learned| learned.data.active_pipelining = Support::No);
                return Err(Error::lost(start.command.to_string(), error));
            }
            replies => replies?,
        };
        if announced.is_some() {
            profile.learn(|learned| learned.data.active_pipelining = Support::Yes);
        }
        let rest = start.rest().and_then(|rest| Some((rest, replies.pop()?)));
        if let Some((command, reply)) = rest.filter(|(_, reply)| !reply.is_intermediate()) {
            return Err(refused_rest(control, profile, command, &reply));
        }
        let announced = announced.and_then(|command| Some((command, replies.pop()?)));
        self.ahead.take_replies(replies);
        if let Some(refusal) = self.ahead.refusal() {
            return Ok(FirstReply::Refused(refusal));
        }
        if let Some((command, reply)) = announced.filter(|(_, reply)| !reply.is_completion()) {
            return Ok(FirstReply::Refused(reply.refusal(command)));
        }
        let reply = control.reply(&start.command, deadline)?;
        if !reply.is_preliminary() && !reply.is_completion() {
            start.note_taken(taken_before);
        } else if let Some(agreed) = start.agreed {
            agreed.store(true, Ordering::Relaxed);
        }
        if reply.is_completion() && !start.behind.is_empty() && control.is_pipelining() {
            return Err(out_of_order(control, start.command, profile));
        }
        Ok(FirstReply::Reply(reply))
    }

    /// Encrypts the data connection, where that is agreed, and hands it over.
    fn protect(&mut self, lease: &mut Lease, mut begun: Begun) -> Result<Begun> {
        let ahead = std::mem::replace(&mut self.ahead, Ahead::new(&[], false));
        begun.ahead = ahead.into_replies();
        if let Some(data) = &mut begun.data
            && let Err(error) = lease.control()?.protect(data, self.deadline)
        {
            drop(begun);
            return Err(unprotected(lease, self.start.command, error));
        }
        Ok(begun)
    }
}

/// `REST` was refused, and the command after it would begin at the wrong byte: neither may be used.
fn refused_rest(
    control: &mut Control,
    profile: &Profile,
    command: Command<'_>,
    reply: &Reply,
) -> Error {
    control.give_up();
    profile.learn(|learned| learned.partial.rest_retr = Support::No);
    Error::refused(Why::Unsupported, command.to_string(), reply.to_string())
}

/// A transfer has begun, and its data connection could not be encrypted.
fn unprotected(lease: &mut Lease, command: Command<'_>, error: Error) -> Error {
    let said = last_words(lease, &command);
    let pool = Arc::clone(lease.pool());
    let Ok(control) = lease.control() else {
        return error;
    };
    control.give_up();
    match said {
        // Our own refusal: what the server says to it is but the echo.
        _ if matches!(error, Error::Barred { .. }) => error,
        // Already one that is worth another try.
        Some(lost @ Error::Lost { .. }) => lost,
        said => {
            let said = said.unwrap_or(error);
            if pool.step_back(control) {
                log::info!("tls: {said}; falling back to TLS 1.2");
                return Error::lost(command.to_string(), said);
            }
            said
        }
    }
}

/// Begins the spare data connection of which a reply tells.
pub fn keep_spare(lease: &mut Lease, reply: Result<Reply>, deadline: &Deadline) -> Result<()> {
    let pool = Arc::clone(lease.pool());
    let (profile, policy) = (pool.profile(), pool.data());
    let control = lease.control()?;
    let spare = reply.and_then(|reply| Spare::of_reply(&reply, control, profile, policy, deadline));
    let spare = Spare::if_made(spare, profile);
    lease.keep_spare(spare);
    Ok(())
}
