//! Starts a transfer: from its command to a data connection that carries the data.
//!
//! [`TransferStart`] is the state machine. All commands that need not wait for an answer go out in one write
//! (pipelining). Over a preconnected data connection that is everything; without one `EPSV` has to be answered first,
//! and the commands before the transfer go with it. A preconnected data connection that turns out to be dead is
//! replaced, and the caller does not notice: nothing has been transferred then.
//!
//! `REST` and the command after it are adjacent (RFC 3659 section 5.4). A refused `REST` is seen before the first byte is
//! handed out; a `STOR` is not even sent then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ftp::control::Control;
use crate::ftp::data;
use crate::ftp::data::{Attempt, LeadingCommands, Preconnected};
use crate::ftp::net::stream::{Stream, blame};
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::{Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{Reply, is_no_data_connection};
use crate::ftp::transfer::early_data;
use crate::ftp::transfer::early_data::Early;
use crate::ftp::transfer::replies::{
    DataConnection, Start, await_start, last_words, out_of_order, read_last_replies,
};
use crate::ftp::transfer::transient::repeat_while_transient;
use crate::remote::{Deadline, Error, Result, Why};

/// A transfer that is to be started.
#[derive(Clone, Copy, Debug)]
pub struct TransferRequest<'a> {
    /// Commands that are sent before it.
    pub leading: &'a [Command<'a>],
    /// A refusal of one of those refuses the transfer.
    pub is_strict: bool,
    /// The offset at which it begins, in bytes.
    pub from: u64,
    /// The command.
    pub command: Command<'a>,
    /// Commands that are sent after it in the same write, where pipelining is on: see `followup.rs`.
    pub following: &'a [Command<'a>],
    /// Data to be sent before the 150, where the server takes it.
    pub early: Option<Early<'a>>,
    /// Our half of the data connection may be closed at once: nothing is to be sent.
    pub closes_our_half: bool,
    /// Becomes true when the server may have done something: the command was sent, and not refused.
    pub taken: Option<&'a AtomicBool>,
    /// Becomes true when the server has agreed to it: then it has done something.
    pub agreed: Option<&'a AtomicBool>,
}

/// A transfer that has started.
#[derive(Debug)]
pub struct StartedTransfer {
    /// The data connection; `None` where the server was done without one.
    pub data: Option<Stream>,
    /// The final reply has come already, and is a success.
    pub confirmed: bool,
    /// The replies to [`TransferRequest::leading`].
    pub leading: Vec<Reply>,
    /// [`TransferRequest::early`] was sent.
    pub early: bool,
    /// How its data connection was made, where nothing shows yet that it works: our side of an upload began before the 150.
    pub unproven: Option<Beginning>,
}

/// How the data connection of a transfer was made.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    attempt: Attempt,
    is_preconnected: bool,
}

impl Beginning {
    /// The transfer over it has begun, or moved its data.
    pub fn worked(self, profile: &Profile) {
        self.attempt.worked(profile);
        if self.is_preconnected {
            Preconnected::note_success(profile);
        }
    }
}

/// The share of an operation's patience that the handshake of a preconnected data connection gets: a firewall may drop it,
/// and a fresh one must still have its chance.
const PRECONNECTED_SHARE: u32 = 3;

/// The reply to `CWD` (RFC 959 section 5.4).
const ENTERED: u16 = 250;

impl<'a> TransferRequest<'a> {
    /// A transfer of everything, with no commands before it.
    pub fn of(command: Command<'a>) -> Self {
        Self {
            leading: &[],
            is_strict: false,
            from: 0,
            command,
            following: &[],
            early: None,
            closes_our_half: false,
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

/// Starts a transfer; returns when the server has taken the command. What is refused for the moment is repeated, but not a
/// part of a file: where that is refused, the whole file is stored.
pub fn begin(
    lease: &mut Lease,
    request: TransferRequest<'_>,
    deadline: &Deadline,
) -> Result<StartedTransfer> {
    let command = request.command;
    let is_part = matches!(command, Command::Appe(_))
        || matches!(command, Command::Stor(_)) && request.from > 0;
    let pool = Arc::clone(lease.pool());
    let mut begun = try_to_begin(lease, request, is_part, deadline);
    if let Err(error) = &begun
        && demands_prot(error)
        && lease.control()?.protects_data()
        && !pool
            .profile()
            .ask(|learned| learned.this_mount.starts.forgets_prot)
    {
        log::info!("data: {error}; sending PROT P before each transfer");
        pool.profile()
            .learn(|learned| learned.this_mount.starts.forgets_prot = true);
        check_in_step(lease, command)?;
        begun = try_to_begin(lease, request, is_part, deadline);
    }
    begun.inspect_err(|error| {
        if is_no_data_connection(error) {
            pool.data().doubt_mode(pool.profile());
        }
    })
}

/// Whether a transfer was refused since its data would not be encrypted (RFC 4217 section 12.2 has 522; others say 521).
fn demands_prot(error: &Error) -> bool {
    matches!(error, Error::Refused { said, .. } if said.starts_with("521") || said.starts_with("522"))
}

/// An error where replies to what was refused are still to come: another connection has to be taken for the next try.
fn check_in_step(lease: &mut Lease, command: Command<'_>) -> Result<()> {
    match lease.control()?.in_step() {
        true => Ok(()),
        false => Err(Error::lost(
            command.to_string(),
            "the connection was given up",
        )),
    }
}

/// Starts a transfer; again where it is refused for the moment, but for a part of a file.
fn try_to_begin(
    lease: &mut Lease,
    request: TransferRequest<'_>,
    is_part: bool,
    deadline: &Deadline,
) -> Result<StartedTransfer> {
    let command = request.command;
    match is_part {
        true => begin_once(lease, request, deadline),
        false => {
            let mut is_again = false;
            repeat_while_transient(command, deadline, || {
                if std::mem::replace(&mut is_again, true) {
                    check_in_step(lease, command)?;
                }
                begin_once(lease, request, deadline)
            })
        }
    }
}

/// Starts a transfer, by one try. Where it is not known yet how data connections are made, one way is tried after the other.
pub fn begin_once(
    lease: &mut Lease,
    request: TransferRequest<'_>,
    deadline: &Deadline,
) -> Result<StartedTransfer> {
    let preconnected = lease.take_preconnected();
    lease.note_beginning(false);
    let mut starter = Starter {
        request,
        pool: Arc::clone(lease.pool()),
        leading: LeadingCommands::new(request.leading, request.is_strict),
        next_port: None,
        used_port: false,
        unused: None,
        taken_before: false,
        deadline,
    };
    let begun = starter.run(lease, preconnected);
    if starter.unused.is_some() {
        lease.keep_preconnected(starter.unused.take());
    }
    if begun.is_err()
        && let Some(port) = starter.next_port
    {
        // Twisted answers nothing more until the client connects to the port that was asked for.
        if let Err(error) = keep_preconnected(lease, Ok(port), deadline) {
            log::debug!("{error}");
        }
    }
    begun
}

/// The steps from a command to its data connection.
enum TransferStart {
    /// A preconnected data connection is to be tried.
    Preconnected(Preconnected),
    /// A data connection is to be made: `EPSV` or `PASV` with its reply, or a listener for `EPRT` or `PORT`.
    Connect,
    /// The data connection is there, or listened for: the command is to be sent.
    Send(data::Opening),
    /// The server has taken the command.
    Begun(StartedTransfer),
}

/// One transfer while it is started.
struct Starter<'a> {
    request: TransferRequest<'a>,
    pool: Arc<Pool>,
    leading: LeadingCommands<'a>,
    /// The reply by which a refused transfer still brought the port of the next one's data connection.
    next_port: Option<Reply>,
    /// Such a port was used already.
    used_port: bool,
    /// The data connection of a refused transfer, for the next try.
    unused: Option<Preconnected>,
    /// What was noted of [`TransferRequest::taken`] before the command was sent.
    taken_before: bool,
    deadline: &'a Deadline,
}

impl Starter<'_> {
    fn run(
        &mut self,
        lease: &mut Lease,
        preconnected: Option<Preconnected>,
    ) -> Result<StartedTransfer> {
        let command = self.request.command;
        let control = lease.control()?;
        if control.is_used_up() {
            self.pool.step_back(control);
            control.give_up();
            return Err(Error::lost(
                command.to_string(),
                "the server gave no ticket to resume its TLS session by",
            ));
        }
        let mut step = preconnected.map_or(TransferStart::Connect, TransferStart::Preconnected);
        loop {
            step = match step {
                TransferStart::Preconnected(preconnected) => {
                    let next = self.try_preconnected(lease.control()?, preconnected)?;
                    lease.note_beginning(matches!(next, TransferStart::Begun(_)));
                    next
                }
                TransferStart::Connect => {
                    let (control, leading) = (lease.control()?, &mut self.leading);
                    let (profile, policy) = (self.pool.profile(), self.pool.data());
                    let opening =
                        data::open(control, profile, policy, command, leading, self.deadline)?;
                    TransferStart::Send(opening)
                }
                TransferStart::Send(opening) => self.send_command(lease.control()?, opening)?,
                TransferStart::Begun(begun) => return self.protect(lease, begun),
            }
        }
    }

    /// Starts over a preconnected data connection, or continues with a new one where that was dead and nothing has
    /// happened.
    fn try_preconnected(
        &mut self,
        control: &mut Control,
        preconnected: Preconnected,
    ) -> Result<TransferStart> {
        let pool = Arc::clone(&self.pool);
        let (request, profile) = (self.request, pool.profile());
        let left = self.deadline.remaining().unwrap_or_default();
        let attempt = preconnected.attempt(profile);
        let share = self.deadline.within(left / PRECONNECTED_SHARE);
        let mut stream = match preconnected.into_stream(&share) {
            Ok(stream) => stream,
            Err(error) => {
                log::debug!("{error}");
                Preconnected::note_misfire(profile);
                return Ok(TransferStart::Connect);
            }
        };
        let early = request
            .early
            .filter(|&early| early_data::may_be(early, profile, control));
        let patience = match early {
            Some(_) => early_data::patience(profile, self.deadline),
            None => self.deadline.twin(),
        };
        let mut written = Ok(());
        let mut send_early = || {
            if let Some(early) = early {
                written = early_data::send(&mut stream, early, &patience);
            } else if request.closes_our_half {
                written = stream.finish_writing(&patience);
            }
        };
        let sent = self.send_all(control, None, &mut send_early, &patience);
        let first = match sent {
            Ok(Some(refusal)) => {
                return Err(self.stop_refused(control, stream, refusal, &patience)?);
            }
            Ok(None) => {
                let is_sent = early.is_some_and(|early| early.is_all);
                self.await_start(control, &mut stream, is_sent, &patience)
            }
            Err(error) => Err(error),
        };
        let reply = match first {
            Ok(Start::Reply(reply)) => Some(reply),
            Ok(Start::Data) => None,
            Err(error) => {
                if early.is_some() {
                    early_data::failed(profile, &error);
                }
                // Its end may have been sent: nothing of it is to arrive later.
                stream.abort();
                return Err(error);
            }
        };
        if let Some(reply) = &reply
            && !reply.is_preliminary()
            && !reply.is_completion()
        {
            return self.refused_preconnected(control, reply, &patience);
        }
        let unproven = self.note_begun(control, attempt, true);
        if let Err(error) = written {
            let error = blame(request.command.to_string(), &error);
            early_data::failed(profile, &error);
            stream.abort();
            return Err(error);
        }
        Ok(TransferStart::Begun(StartedTransfer {
            data: Some(stream),
            confirmed: reply.is_some_and(|reply| reply.is_completion()),
            leading: Vec::new(),
            early: early.is_some(),
            unproven,
        }))
    }

    /// A transfer has begun over a data connection. Where our side of an upload begins before the 150, the server may still
    /// refuse it: that is learned at its end.
    fn note_begun(
        &self,
        control: &Control,
        attempt: Attempt,
        is_preconnected: bool,
    ) -> Option<Beginning> {
        let beginning = Beginning {
            attempt,
            is_preconnected,
        };
        let sends = matches!(self.request.command, Command::Stor(_) | Command::Appe(_));
        if control.starts_late() && (sends || control.protects_data()) {
            return Some(beginning);
        }
        beginning.worked(self.pool.profile());
        None
    }

    /// A command before the transfer was refused, which runs all the same, from the directory where we are: ends it.
    fn stop_refused(
        &mut self,
        control: &mut Control,
        stream: Stream,
        refusal: Error,
        patience: &Deadline,
    ) -> Result<Error> {
        let command = self.request.command;
        let reply = control.reply(&command, patience)?;
        drop(stream);
        match reply.is_preliminary() {
            true => read_last_replies(control, &command, self.request.following.len()),
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
        let command = self.request.command;
        let text = reply.words(command);
        let is_of_connection =
            matches!(reply.code, 425 | 426) || text.contains("pasv") || text.contains("port");
        if is_of_connection {
            log::debug!("{command}: {reply}; making a new data connection");
            Preconnected::note_misfire(self.pool.profile());
        }
        self.drain(control, patience)?;
        if is_of_connection && let Some(port) = self.next_port.take_if(|_| !self.used_port) {
            // The server has opened that one for the next transfer, which is this one now.
            self.used_port = true;
            let (profile, policy) = (self.pool.profile(), self.pool.data());
            let made = Preconnected::of_reply(&port, control, profile, policy, self.deadline);
            if let Some(next) = Preconnected::if_made(made, profile) {
                return Ok(TransferStart::Preconnected(next));
            }
        }
        match is_of_connection {
            true => Ok(TransferStart::Connect),
            false => Err(self.refusal(reply)),
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
                let unproven = self.note_begun(control, attempt, false);
                Ok(TransferStart::Begun(StartedTransfer { unproven, ..begun }))
            }
            Err(error) => {
                attempt.failed(control, profile, policy, error)?;
                Ok(TransferStart::Connect)
            }
        }
    }

    fn start_over(
        &mut self,
        control: &mut Control,
        mut opening: data::Opening,
    ) -> Result<StartedTransfer> {
        let short = opening.patience(self.deadline);
        let deadline = short.as_ref().unwrap_or(self.deadline);
        let announced = opening.announcement();
        if let Some(refusal) = self.send_all(control, announced, &mut || (), deadline)? {
            // It may be running, and its end is not waited for.
            control.give_up();
            return Err(refusal);
        }
        let begun = |data, confirmed| StartedTransfer {
            data,
            confirmed,
            leading: Vec::new(),
            early: false,
            unproven: None,
        };
        let reply = match self.await_start(control, &mut opening, false, deadline)? {
            Start::Reply(reply) if !reply.is_preliminary() => reply,
            _ => {
                let (data, ended) = opening.finish(control, deadline)?;
                return Ok(begun(Some(data), ended.is_some()));
            }
        };
        if reply.is_completion() {
            // Done at once, without a preliminary reply: what there is, is in the data connection.
            return Ok(begun(opening.at_once()?, true));
        }
        self.drain(control, deadline)?;
        if reply.code == 425 && self.pool.is_single() {
            // It has tried a data connection of a session that has ended; this one is still in its queue.
            let unused = opening.into_open();
            self.unused = unused.map(|(way, stream)| Preconnected::over(way, stream, control));
        }
        Err(self.refusal(&reply))
    }

    /// The error of a refused command. 554 is about the offset (RFC 1123 section 4.1.3.4 has it for `RETR` after `REST`).
    fn refusal(&self, reply: &Reply) -> Error {
        const INVALID_OFFSET: u16 = 554;
        let request = &self.request;
        if reply.code == INVALID_OFFSET && request.from > 0 {
            let tried = request.command.to_string();
            return Error::refused(Why::Unsupported, tried, reply.to_string());
        }
        reply.refusal(request.command)
    }

    /// Takes the replies to what was pipelined after a command that was refused: only the port of the next data
    /// connection matters.
    fn drain(&mut self, control: &mut Control, deadline: &Deadline) -> Result<()> {
        let request = self.request;
        if request.from > 0 {
            // What was refused may not have used up the REST before it, and the next transfer would begin there.
            control.give_up();
            return Ok(());
        }
        if control.is_pipelining() {
            for command in request.following {
                let reply = control.reply(command, deadline)?;
                if reply.is_preliminary() {
                    return Err(out_of_order(control, request.command, self.pool.profile()));
                }
                if matches!(command, Command::Epsv | Command::Pasv) && reply.is_completion() {
                    self.next_port = Some(reply);
                }
            }
        }
        Ok(())
    }

    /// Sends the command and all that goes before and after it, and takes the replies to what goes before. `announced`
    /// is the `EPRT` or `PORT` of its data connection; `sent` is called between the write and the replies. Returns the refusal of
    /// a command before it; the command's own replies are owed.
    fn send_all(
        &mut self,
        control: &mut Control,
        announced: Option<Command<'_>>,
        sent: &mut dyn FnMut(),
        deadline: &Deadline,
    ) -> Result<Option<Error>> {
        let (request, profile) = (self.request, self.pool.profile());
        let due = self.leading.due().iter().copied();
        let is_forgotten = profile.ask(|learned| learned.this_mount.starts.forgets_prot);
        let prot = (is_forgotten && control.protects_data()).then_some(Command::Prot('P'));
        let before: Vec<_> = due
            .chain(prot)
            .chain(announced)
            .chain(request.rest())
            .collect();
        self.taken_before = request.note_taken(true);
        let mut replies = match control.send_transfer(
            &before,
            request.command,
            request.following,
            sent,
            deadline,
        ) {
            Err(error @ Error::Misbehaved { .. }) if announced.is_some() => {
                log::info!("data: {error}; pipelining disabled in active mode");
                profile.learn(|learned| learned.data.active_pipelining = Support::No);
                return Err(Error::lost(request.command.to_string(), error));
            }
            replies => replies?,
        };
        if announced.is_some() {
            profile.learn(|learned| learned.data.active_pipelining = Support::Yes);
        }
        let rest = request.rest().and_then(|rest| Some((rest, replies.pop()?)));
        if let Some((command, reply)) = rest.filter(|(_, reply)| !reply.is_intermediate()) {
            // No STOR was sent, and a RETR changes nothing.
            request.note_taken(self.taken_before);
            return Err(refused_rest(control, profile, command, &reply));
        }
        let announced = announced.and_then(|command| Some((command, replies.pop()?)));
        if prot.is_some() {
            // Where it is refused, so is the transfer.
            replies.pop();
        }
        self.leading.take_replies(replies);
        if let Some(refusal) = self.leading.refusal() {
            return Ok(Some(refusal));
        }
        if let Some((command, reply)) = announced.filter(|(_, reply)| !reply.is_completion()) {
            return Ok(Some(reply.refusal(command)));
        }
        Ok(None)
    }

    /// Waits until the command is answered, or its data moves.
    fn await_start(
        &mut self,
        control: &mut Control,
        data: &mut dyn DataConnection,
        is_sent: bool,
        deadline: &Deadline,
    ) -> Result<Start> {
        let (request, profile) = (self.request, self.pool.profile());
        let start = await_start(
            control,
            data,
            (&request.command, is_sent),
            profile,
            deadline,
        )?;
        let reply = match &start {
            Start::Reply(reply) => reply,
            Start::Data => {
                // The name was free, and an upload that is taken makes it.
                self.note_agreed(self.leading.all_refused());
                return Ok(start);
            }
        };
        if !reply.is_preliminary() && !reply.is_completion() {
            request.note_taken(self.taken_before);
            // Many servers make a file before they refuse to store it. It is ours only if `SIZE` did not find it.
            let makes = matches!(reply.code, 425 | 426 | 450 | 451);
            self.note_agreed(makes && self.leading.all_refused());
        } else {
            self.note_agreed(true);
        }
        if reply.code == ENTERED && control.is_pipelining() && self.leading.ends_with_cwd() {
            // It answers the CWD once more.
            control.note_surplus();
            let cause = format!("a command before it was answered twice ({reply})");
            return Err(Error::lost(request.command.to_string(), cause));
        }
        if reply.is_completion() && !request.following.is_empty() && control.is_pipelining() {
            return Err(out_of_order(control, request.command, profile));
        }
        Ok(start)
    }

    /// Notes that the server has made the file, or may have.
    fn note_agreed(&self, agreed: bool) {
        if let Some(noted) = self.request.agreed.filter(|_| agreed) {
            noted.store(true, Ordering::Relaxed);
        }
    }

    /// Encrypts the data connection, where that is agreed, and hands it over.
    fn protect(
        &mut self,
        lease: &mut Lease,
        mut begun: StartedTransfer,
    ) -> Result<StartedTransfer> {
        let leading = std::mem::replace(&mut self.leading, LeadingCommands::new(&[], false));
        begun.leading = leading.into_replies();
        if let Some(data) = &mut begun.data
            && let Err(error) = lease.control()?.protect(data, self.deadline)
        {
            drop(begun);
            return Err(unprotected(lease, self.request.command, error));
        }
        if lease.control()?.protects_data()
            && let Some(beginning) = begun.unproven.take()
        {
            // The server has answered over it.
            beginning.worked(self.pool.profile());
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
    profile.note(Capability::RestRetr, b"", reply);
    Error::refused(Why::Unsupported, command.to_string(), reply.to_string())
}

/// A transfer has begun, and its data connection could not be encrypted.
fn unprotected(lease: &mut Lease, command: Command<'_>, error: Error) -> Error {
    let is_late = lease.control().is_ok_and(|control| control.starts_late());
    let said = last_words(lease, &command);
    let pool = Arc::clone(lease.pool());
    let Ok(control) = lease.control() else {
        return error;
    };
    control.give_up();
    match said {
        // Our own refusal: what the server says to it is but the echo.
        _ if matches!(error, Error::Barred { .. }) => error,
        // It was no agreement that was missing, but consent.
        Some(refusal @ Error::Refused { .. }) if is_late => refusal,
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

/// Starts the preconnected data connection whose port a reply names.
pub fn keep_preconnected(
    lease: &mut Lease,
    reply: Result<Reply>,
    deadline: &Deadline,
) -> Result<()> {
    let pool = Arc::clone(lease.pool());
    let (profile, policy) = (pool.profile(), pool.data());
    let control = lease.control()?;
    let preconnected =
        reply.and_then(|reply| Preconnected::of_reply(&reply, control, profile, policy, deadline));
    let preconnected = Preconnected::if_made(preconnected, profile);
    lease.keep_preconnected(preconnected);
    Ok(())
}
