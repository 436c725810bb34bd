//! Beginning a transfer: from a command to a data connection that carries what it asked for.
//!
//! The one idea: everything that need not wait for an answer goes out in one write. Over a spare data
//! connection that is all of it; without one `EPSV` has to be answered first, and what flies ahead
//! flies with it. A spare connection that turns out to be dead is replaced without the caller's
//! noticing, since nothing has been transferred then.
//!
//! `REST` and the command behind it fly together (RFC 3659 section 5.4 wants them adjacent); a
//! refused `REST` is seen before the first byte is handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ftp::control::Control;
use crate::ftp::data;
use crate::ftp::data::{Ahead, Spare};
use crate::ftp::net::stream::{Stream, blame};
use crate::ftp::pool::Lease;
use crate::ftp::profile::{Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::early_data as early;
use crate::ftp::transfer::early_data::Early;
use crate::ftp::transfer::finish::{last_words, out_of_order, settle};
use crate::remote::{Deadline, Error, Result, Why};

/// A transfer that is to begin.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Commands that fly ahead of it.
    pub ahead: &'a [Command<'a>],
    /// It is not to begin where one of those is refused.
    pub is_strict: bool,
    /// The offset at which it begins, in bytes.
    pub from: u64,
    /// The command.
    pub command: Command<'a>,
    /// Commands that fly behind it, where several may be under way: see `behind.rs`.
    pub behind: &'a [Command<'a>],
    /// What is to be sent before the server has said yes, where that may be.
    pub early: Option<Early<'a>>,
    /// Nothing is to be sent: the data connection's other half may end at once.
    pub halves: bool,
    /// Becomes true when the server may have done something: the command was sent, and not refused.
    pub taken: Option<&'a AtomicBool>,
    /// Becomes true when the server has agreed to it: then it has done something.
    pub agreed: Option<&'a AtomicBool>,
}

/// A transfer that has begun.
#[derive(Debug)]
pub struct Begun {
    /// The data connection; `None` where the server was done without one.
    pub data: Option<Stream>,
    /// The final reply has come already, and says that all is well.
    pub confirmed: bool,
    /// The replies to what flew ahead.
    pub ahead: Vec<Reply>,
    /// [`Start::early`] is sent.
    pub early: bool,
}

/// The share of an operation's patience that a spare connection gets: it may be dead without a word,
/// and a fresh one must still have its chance.
const SPARE_SHARE: u32 = 3;

impl<'a> Start<'a> {
    /// A transfer of everything, with nothing ahead.
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

/// Begins a transfer; returns when the server has taken the command.
///
/// Where it is not known yet how data connections come about, one way is tried after the other.
pub fn begin(lease: &mut Lease, start: Start<'_>, deadline: &Deadline) -> Result<Begun> {
    let mut port = None;
    let begun = one_way_or_another(lease, start, &mut port, deadline);
    if begun.is_err()
        && let Some(port) = port
    {
        // Twisted answers nothing more until somebody connects to the port that was asked for.
        if let Err(error) = keep_spare(lease, Ok(port), deadline) {
            log::debug!("{error}");
        }
    }
    begun
}

/// The same; `port` becomes the reply by which a refused transfer still brought the next one's data connection.
fn one_way_or_another(
    lease: &mut Lease,
    start: Start<'_>,
    port: &mut Option<Reply>,
    deadline: &Deadline,
) -> Result<Begun> {
    let pool = Arc::clone(lease.pool());
    let (profile, policy, command) = (pool.profile(), pool.data(), start.command);
    let spare = lease.take_spare();
    lease.note_beginning(false);
    let control = lease.control()?;
    if control.is_used_up() {
        pool.step_back(control);
        control.give_up();
        return Err(Error::lost(
            command.to_string(),
            "the server gave no ticket to resume its TLS session by",
        ));
    }
    let mut ahead = Ahead::new(start.ahead, start.is_strict);
    if let Some(spare) = spare
        && let Some(begun) = over_spare(control, spare, start, &mut ahead, profile, port, deadline)?
    {
        lease.note_beginning(true);
        return protected(lease, begun, ahead, command, deadline);
    }
    loop {
        let control = lease.control()?;
        let opening = data::open(control, profile, policy, command, &mut ahead, deadline)?;
        let attempt = opening.attempt();
        *port = None;
        match over(opening, control, start, &mut ahead, profile, port, deadline) {
            Ok(begun) => {
                attempt.worked(profile);
                return protected(lease, begun, ahead, command, deadline);
            }
            Err(error) => attempt.failed(control, profile, policy, error)?,
        }
    }
}

/// Begins over a spare connection; `None` where that was dead, and nothing has happened.
fn over_spare(
    control: &mut Control,
    spare: Spare,
    start: Start<'_>,
    ahead: &mut Ahead<'_>,
    profile: &Profile,
    port: &mut Option<Reply>,
    deadline: &Deadline,
) -> Result<Option<Begun>> {
    let mut patience = Deadline::after(deadline.remaining().unwrap_or_default() / SPARE_SHARE);
    let attempt = spare.attempt(profile);
    let mut stream = match spare.into_stream(&patience) {
        Ok(stream) => stream,
        Err(error) => {
            log::debug!("{error}");
            Spare::note_misfire(profile);
            return Ok(None);
        }
    };
    let early = start
        .early
        .filter(|&early| early::may_be(early, profile, control));
    if early.is_some() {
        patience = early::patience(profile, &patience);
    }
    let mut written = Ok(());
    let mut send_early = || {
        if let Some(early) = early {
            written = early::send(&mut stream, early, &patience);
        } else if start.halves {
            written = stream.finish_writing(&patience);
        }
    };
    let led = lead(
        control,
        None,
        start,
        ahead,
        profile,
        &mut send_early,
        &patience,
    );
    let reply = match led {
        Ok(Led::Reply(reply)) => reply,
        Ok(Led::Refused(refusal)) => {
            // It runs all the same, from where we are.
            let reply = control.reply(&start.command, &patience)?;
            drop(stream);
            match reply.is_preliminary() {
                true => settle(control, &start.command, start.behind.len()),
                false => drain(control, start, profile, port, &patience)?,
            }
            return Err(refusal);
        }
        Err(error) => {
            if early.is_some() {
                early::failed(profile, &error);
            }
            // Its end may have been sent: nothing of it is to arrive later.
            stream.abort();
            return Err(error);
        }
    };
    if reply.is_preliminary() || reply.is_completion() {
        deadline.progress();
        attempt.worked(profile);
        Spare::note_success(profile);
        if let Err(error) = written {
            let error = blame(start.command.to_string(), &error);
            early::failed(profile, &error);
            stream.abort();
            return Err(error);
        }
        return Ok(Some(Begun {
            data: Some(stream),
            confirmed: reply.is_completion(),
            ahead: Vec::new(),
            early: early.is_some(),
        }));
    }
    let text = reply.words(start.command);
    if matches!(reply.code, 425 | 426) || text.contains("pasv") || text.contains("port") {
        log::debug!(
            "{}: {reply}; not over the spare connection, then",
            start.command
        );
        Spare::note_misfire(profile);
        drain(control, start, profile, port, &patience)?;
        return Ok(None);
    }
    drain(control, start, profile, port, &patience)?;
    Err(reply.refusal(start.command))
}

/// Takes the replies to what flew behind a command that was refused: nothing of it matters any more, but for the port of
/// the next data connection.
fn drain(
    control: &mut Control,
    start: Start<'_>,
    profile: &Profile,
    port: &mut Option<Reply>,
    deadline: &Deadline,
) -> Result<()> {
    if start.from > 0 {
        // What was refused may not have used up the REST before it, and the next transfer would begin there.
        control.give_up();
        return Ok(());
    }
    if control.is_pipelining() {
        for command in start.behind {
            let reply = control.reply(command, deadline)?;
            if reply.is_preliminary() {
                return Err(out_of_order(control, start.command, profile));
            }
            if matches!(command, Command::Epsv | Command::Pasv) && reply.is_completion() {
                *port = Some(reply);
            }
        }
    }
    Ok(())
}

/// Begins over a connection that was made for it.
fn over(
    opening: data::Opening,
    control: &mut Control,
    start: Start<'_>,
    ahead: &mut Ahead<'_>,
    profile: &Profile,
    port: &mut Option<Reply>,
    deadline: &Deadline,
) -> Result<Begun> {
    let short = opening.patience(deadline);
    let deadline = short.as_ref().unwrap_or(deadline);
    let told = opening.announcement();
    let led = lead(control, told, start, ahead, profile, &mut || (), deadline);
    let reply = match led? {
        Led::Reply(reply) => reply,
        Led::Refused(refusal) => {
            // It may be running: nobody waits for its end.
            control.give_up();
            return Err(refusal);
        }
    };
    if reply.is_preliminary() {
        let (data, ended) = opening.finish(control, deadline)?;
        return Ok(Begun {
            data: Some(data),
            confirmed: ended.is_some(),
            ahead: Vec::new(),
            early: false,
        });
    }
    if reply.is_completion() {
        // Done at once, without a preliminary reply: what there is, is in the data connection.
        return Ok(Begun {
            data: opening.at_once()?,
            confirmed: true,
            ahead: Vec::new(),
            early: false,
        });
    }
    drain(control, start, profile, port, deadline)?;
    Err(reply.refusal(start.command))
}

enum Led {
    /// The first reply to the command.
    Reply(Reply),
    /// Something before it was refused; the command's own replies are still owed.
    Refused(Error),
}

/// Sends the command and all that flies before it, and takes the replies up to its first one.
fn lead(
    control: &mut Control,
    told: Option<Command<'_>>,
    start: Start<'_>,
    ahead: &mut Ahead<'_>,
    profile: &Profile,
    sent: &mut dyn FnMut(),
    deadline: &Deadline,
) -> Result<Led> {
    let due = ahead.due();
    let before: Vec<_> = due
        .iter()
        .copied()
        .chain(told)
        .chain(start.rest())
        .collect();
    let taken_before = start.note_taken(true);
    let mut replies = match control.lead(&before, start.command, start.behind, sent, deadline) {
        Err(error @ Error::Misbehaved { .. }) if told.is_some() => {
            log::info!("{error}; going on without flights in active mode");
            profile.learn(|learned| learned.data.active_pipelining = Support::No);
            return Err(Error::lost(start.command.to_string(), error));
        }
        replies => replies?,
    };
    if told.is_some() {
        profile.learn(|learned| learned.data.active_pipelining = Support::Yes);
    }
    let rest = start.rest().and_then(|rest| Some((rest, replies.pop()?)));
    if let Some((command, reply)) = rest.filter(|(_, reply)| !reply.is_intermediate()) {
        // The command behind it would begin at the wrong byte: neither may be used.
        control.give_up();
        profile.learn(|learned| learned.partial.rest_retr = Support::No);
        return Err(Error::refused(
            Why::Unsupported,
            command.to_string(),
            reply.to_string(),
        ));
    }
    let told = told.and_then(|told| Some((told, replies.pop()?)));
    ahead.flown(replies);
    if let Some(refusal) = ahead.refusal() {
        return Ok(Led::Refused(refusal));
    }
    if let Some((told, reply)) = told.filter(|(_, reply)| !reply.is_completion()) {
        return Ok(Led::Refused(reply.refusal(told)));
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
    Ok(Led::Reply(reply))
}

/// Encrypts what has begun, where that is agreed, and hands it over.
fn protected(
    lease: &mut Lease,
    mut begun: Begun,
    ahead: Ahead<'_>,
    command: Command<'_>,
    deadline: &Deadline,
) -> Result<Begun> {
    begun.ahead = ahead.into_replies();
    if let Some(data) = &mut begun.data
        && let Err(error) = lease.control()?.protect(data, deadline)
    {
        drop(begun);
        return Err(unprotected(lease, command, error));
    }
    Ok(begun)
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
                log::info!("{said}; going on with TLS 1.2");
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
