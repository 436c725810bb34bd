//! Chooses how data connections are made: `EPSV` and `PASV` (`data/passive.rs`: we connect) first, then `EPRT` and
//! `PORT` (`data/active.rs`: the server connects).
//!
//! A way works once a transfer has started over it, not when its command was accepted; the profile keeps it for the
//! whole mount. Failed ways are kept too until one works, since a way can fail together with its control connection,
//! and the next connection is to continue with the next way.
//!
//! * `passive`: passive mode, and which address a 227 may name
//! * `active`: active mode: the listening socket, and which peers are accepted
//! * `preconnected`: makes the data connection of the next transfer ahead
//!
//! # Invariants
//!
//! Whatever a server says, a data connection has the control connection's server at its other end (RFC 2577 sections 3
//! and 4), unless `pasv_ip=server` was asked for.

pub(crate) mod active;
pub(crate) mod passive;
pub(crate) mod preconnected;

pub use crate::ftp::data::preconnected::Preconnected;

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::ftp::control::Control;
use crate::ftp::net::local_address::External;
use crate::ftp::net::stream::{DataState, Stream};
use crate::ftp::profile::{DataMode, DataModes, FailedMode, Learned, ModeFailure, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{
    Reply, is_no_data_connection, no_data_connection, no_data_connection_words, without_names,
};
use crate::remote::{Deadline, Error, Result};

pub use crate::ftp::data::passive::is_private;

/// Which data connections may be made, and how.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Who connects to whom.
    pub mode: Mode,
    /// Whether the address in a 227 counts. By default it is the control connection's that does.
    pub trusts_pasv: bool,
    /// The ports that we listen on in active mode; any free one by default.
    pub ports: Option<RangeInclusive<u16>>,
    /// The address for `EPRT` and `PORT`, where that of the control connection is hidden behind NAT or is not wanted.
    pub external: Option<External>,
}

/// Who connects to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whatever works.
    #[default]
    Auto,
    /// We connect to the server.
    Passive,
    /// The server connects to us.
    Active,
}

/// How long an untried way may take to connect before the next one is tried: a filtered port
/// swallows connections without a word. TCP asks again after 1 s and 3 s.
const UNTRIED_PATIENCE: Duration = Duration::from_secs(5);
/// The share of an operation's patience that one untried way may have at most.
const UNTRIED_SHARE: u32 = 4;

/// A data connection that is open, or will be once the server has the command that wants it.
#[derive(Debug)]
pub struct Opening {
    way: DataMode,
    known: bool,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Open(Stream),
    /// And whether `EPRT` or `PORT` is still to be sent.
    Awaited(active::Listener, bool),
}

/// Commands that are sent before a transfer: `CWD`, or the question whether the file is still the same.
#[derive(Debug)]
pub struct LeadingCommands<'a> {
    commands: &'a [Command<'a>],
    is_strict: bool,
    replies: Option<Vec<Reply>>,
}

impl<'a> LeadingCommands<'a> {
    /// Commands that are to be sent; where the server refuses one, a `strict` transfer is not to begin.
    pub fn new(commands: &'a [Command<'a>], is_strict: bool) -> Self {
        Self {
            commands,
            is_strict,
            replies: None,
        }
    }

    /// What is still to be sent.
    pub fn due(&self) -> &'a [Command<'a>] {
        match self.replies {
            Some(_) => &[],
            None => self.commands,
        }
    }

    /// Takes the replies to what was [due](Self::due), once it was sent.
    pub fn take_replies(&mut self, replies: Vec<Reply>) {
        self.replies.get_or_insert(replies);
    }

    /// Why the transfer is not to begin.
    pub fn refusal(&self) -> Option<Error> {
        let replies = self.replies.iter().flatten().filter(|_| self.is_strict);
        let mut pairs = replies.zip(self.commands);
        let (reply, command) = pairs.find(|(reply, _)| !reply.is_completion())?;
        Some(reply.refusal(command))
    }

    /// Whether the last one enters a directory.
    pub fn ends_with_cwd(&self) -> bool {
        matches!(self.commands.last(), Some(Command::Cwd(_)))
    }

    /// Whether there were any, and the server refused each.
    pub fn all_refused(&self) -> bool {
        let mut replies = self.replies.iter().flatten().peekable();
        replies.peek().is_some() && replies.all(|reply| !reply.is_completion())
    }

    /// The replies, in the order of the commands.
    pub fn into_replies(self) -> Vec<Reply> {
        self.replies.unwrap_or_default()
    }
}

/// Prepares a data connection for `transfer` by the way that is known to work, or by the first of
/// the untried ones.
pub fn open(
    control: &mut Control,
    profile: &Profile,
    policy: &Policy,
    transfer: Command<'_>,
    leading: &mut LeadingCommands<'_>,
    deadline: &Deadline,
) -> Result<Opening> {
    loop {
        let ways = profile.ask(|learned| learned.data.modes.clone());
        let Some(way) = policy.next(&ways, control) else {
            return Err(nothing_works(profile, &ways, policy, control));
        };
        let known = ways.works == Some(way);
        let short = (!known).then(|| untried(deadline));
        let patience = short.as_ref().unwrap_or(deadline);
        let socket = if way.is_active() {
            let is_pipelined = known && may_pipeline(profile, transfer);
            active::listen(control, policy, way).and_then(|listener| {
                if !is_pipelined {
                    announce(control, &listener, leading, patience)?;
                }
                Ok(Socket::Awaited(listener, is_pipelined))
            })
        } else {
            passive::listen(control, profile, policy, way, transfer, leading, deadline)
                .and_then(|port| port.connect(control, patience))
                .map(Socket::Open)
        };
        if let Some(refusal) = leading.refusal().filter(|_| control.in_step()) {
            return Err(refusal);
        }
        match socket {
            Ok(socket) => return Ok(Opening { way, known, socket }),
            Err(error) if !control.in_step() => return Err(error),
            Err(error) => note(profile, policy, way, known, error)?,
        }
    }
}

/// Whether the command that begins a transfer may be pipelined with `EPRT` or `PORT`.
/// pyftpdlib answers the first of them last: what is harmless finds out.
fn may_pipeline(profile: &Profile, transfer: Command<'_>) -> bool {
    let harmless = matches!(
        transfer,
        Command::Retr(_) | Command::List(_) | Command::Mlsd
    );
    profile
        .ask(|learned| learned.data.active_pipelining.known())
        .unwrap_or(harmless)
}

/// Says where we listen, and waits for consent.
fn announce(
    control: &mut Control,
    listener: &active::Listener,
    leading: &mut LeadingCommands<'_>,
    deadline: &Deadline,
) -> Result<()> {
    let announcement = listener.announcement();
    let flight: Vec<_> = leading
        .due()
        .iter()
        .copied()
        .chain([announcement])
        .collect();
    let mut replies = control.flight(&flight, deadline)?;
    let reply = replies.pop();
    leading.take_replies(replies);
    match reply {
        Some(reply) if !reply.is_completion() => Err(reply.refusal(announcement)),
        _ => Ok(()),
    }
}

impl Opening {
    /// How long to wait for the reply to the command: a server that can't reach us may say so only
    /// after minutes. `None` is as long as the operation may.
    pub fn patience(&self, deadline: &Deadline) -> Option<Deadline> {
        (self.way.is_active() && !self.known).then(|| untried(deadline))
    }

    /// The `EPRT` or `PORT` that is still to be sent right before the command, in the same flight.
    pub fn announcement(&self) -> Option<Command<'static>> {
        match &self.socket {
            Socket::Awaited(listener, true) => Some(listener.announcement()),
            _ => None,
        }
    }

    /// The connection, once the server has taken the command; with the final reply, if that came
    /// first. [`Attempt::failed`] is to hear of an error.
    pub fn finish(
        self,
        control: &mut Control,
        deadline: &Deadline,
    ) -> Result<(Stream, Option<Reply>)> {
        match self.socket {
            Socket::Open(stream) => Ok((stream, None)),
            Socket::Awaited(listener, _) => listener.accept(control, deadline),
        }
    }

    /// What the connection shows; one of the server's is accepted.
    pub fn state(&mut self) -> Result<DataState> {
        if let Socket::Awaited(listener, _) = &self.socket {
            match listener.let_in()? {
                Some(stream) => self.socket = Socket::Open(stream),
                None => return Ok(DataState::Awaited),
            }
        }
        match &self.socket {
            Socket::Open(stream) => Ok(stream.data_state()),
            Socket::Awaited(..) => Ok(DataState::Awaited),
        }
    }

    /// The connection, where the server says at once that it is done: if there is one, it is there.
    pub fn at_once(self) -> Result<Option<Stream>> {
        match self.socket {
            Socket::Open(stream) => Ok(Some(stream)),
            Socket::Awaited(listener, _) => listener.let_in(),
        }
    }

    /// The connection, where it is a passive one that is still open.
    pub fn into_open(self) -> Option<(DataMode, Stream)> {
        match self.socket {
            Socket::Open(mut stream) => {
                let is_passive = !self.way.is_active();
                (is_passive && !stream.has_news()).then_some((self.way, stream))
            }
            Socket::Awaited(..) => None,
        }
    }

    /// The attempt, whose outcome is to be noted.
    pub fn attempt(&self) -> Attempt {
        Attempt {
            way: self.way,
            known: self.known,
        }
    }
}

impl AsFd for Opening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Open(stream) => stream.as_fd(),
            Socket::Awaited(listener, _) => listener.as_fd(),
        }
    }
}

/// A way on trial.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    way: DataMode,
    known: bool,
}

impl Attempt {
    /// A transfer began over it.
    pub fn worked(self, profile: &Profile) {
        let is_doubted =
            |learned: &Learned| learned.this_mount.modes_refused_once.contains(&self.way);
        if profile.ask(is_doubted) {
            profile.learn(|learned| {
                let refused = &mut learned.this_mount.modes_refused_once;
                refused.retain(|refused| *refused != self.way);
            });
        }
        if self.known {
            return;
        }
        profile.learn(|learned| {
            let modes = std::mem::take(&mut learned.data.modes);
            let mut failed = modes.failed.iter();
            if failed.any(|failed| failed.failure == ModeFailure::Moment) {
                // A better way was refused for the moment only: the next transfer tries it again.
                learned.data.modes.before = modes.before;
                return;
            }
            log::info!("data: connections are made by {}", self.way);
            learned.data.modes.works = Some(self.way);
        });
    }

    /// The server has the command, and there is no data connection. `Ok` when the next way is to be
    /// tried on the same control connection.
    pub fn failed(
        self,
        control: &Control,
        profile: &Profile,
        policy: &Policy,
        error: Error,
    ) -> Result<()> {
        let is_no_connection = match &error {
            // 425, and 426 before a transfer began.
            Error::Lost { .. } if control.in_step() => true,
            Error::Lost { .. } | Error::TimedOut { .. } => self.way.is_active(),
            // Servers without the command say so only to the transfer: "Use PORT or PASV first."
            Error::Refused { said, tried, .. } => without_names(said, tried).contains("pasv"),
            _ => false,
        };
        if !is_no_connection {
            return Err(error);
        }
        if !control.in_step() {
            let said = error.to_string();
            note(profile, policy, self.way, self.known, error)?;
            let ways = profile.ask(|learned| learned.data.modes.clone());
            return Err(match policy.next(&ways, control) {
                Some(_) => Error::lost(self.way.to_string(), said),
                None => nothing_works(profile, &ways, policy, control),
            });
        }
        note(profile, policy, self.way, self.known, error)
    }
}

/// Keeps in mind that a way failed; an error when it is the one that had worked.
fn note(
    profile: &Profile,
    policy: &Policy,
    way: DataMode,
    known: bool,
    error: Error,
) -> Result<()> {
    let failure = profile.judge_mode(way, &error);
    if known {
        // A server that answers may do better in a moment.
        let is_broken = matches!(error, Error::Lost { .. } | Error::TimedOut { .. });
        if is_broken && !is_no_data_connection(&error) {
            policy.doubt_mode(profile);
        }
        let is_fixed = profile.ask(|learned| learned.data.modes.is_fixed);
        if is_fixed || failure != ModeFailure::Command {
            return Err(error);
        }
    }
    log::info!("data: {way} data connection failed: {error}");
    profile.learn(|learned| {
        let modes = &mut learned.data.modes;
        modes.works = modes.works.filter(|works| *works != way);
        let is_new = modes.failed.iter().all(|failed| failed.mode != way);
        if is_new && modes.works.is_none() {
            modes.failed.push(FailedMode {
                mode: way,
                cause: error.to_string(),
                failure,
            });
        }
    });
    Ok(())
}

fn untried(deadline: &Deadline) -> Deadline {
    Deadline::after((deadline.patience() / UNTRIED_SHARE).min(UNTRIED_PATIENCE))
}

impl Policy {
    /// The way that worked does no more: the network has changed, or the server. All is open again.
    pub fn doubt_mode(&self, profile: &Profile) {
        if self.mode == Mode::Auto {
            profile.learn(|learned| learned.data.modes = DataModes::default());
        }
    }

    /// The way to go now.
    fn next(&self, ways: &DataModes, control: &Control) -> Option<DataMode> {
        let failed = |way: &DataMode| ways.failed.iter().any(|failed| failed.mode == *way);
        let all = self.ways(control);
        let before = ways.before.filter(|way| all.contains(way));
        ways.works.or_else(|| {
            let mut by_turns = before.into_iter().chain(all);
            by_turns.find(|way| !failed(way))
        })
    }

    /// Whether the way that worked says something to other mounts too: one that was asked for does not.
    pub fn is_free(&self) -> bool {
        self.mode == Mode::Auto
            && !self.trusts_pasv
            && self.ports.is_none()
            && self.external.is_none()
    }

    /// All ways that are allowed here, best first.
    fn ways(&self, control: &Control) -> Vec<DataMode> {
        // A 229 names no address: `pasv_ip=server` needs the one in a 227.
        let passive = match self.trusts_pasv {
            true => [DataMode::Pasv, DataMode::Epsv],
            false => [DataMode::Epsv, DataMode::Pasv],
        };
        let is_ipv6 = is_ipv6(control);
        let all = passive.into_iter().chain([DataMode::Eprt, DataMode::Port]);
        all.filter(|way| match self.mode {
            Mode::Auto => true,
            Mode::Passive => !way.is_active(),
            Mode::Active => way.is_active(),
        })
        // PASV and PORT know IPv4 only.
        .filter(|way| matches!(way, DataMode::Epsv | DataMode::Eprt) || !is_ipv6)
        .filter(|way| !(way.is_active() && self.mode == Mode::Auto && control.route().is_proxied()))
        .collect()
    }
}

/// Whether the server is reached by IPv6, of which `PASV` and `PORT` know nothing.
fn is_ipv6(control: &Control) -> bool {
    control.route().ip().is_some_and(|ip| ip.is_ipv6())
}

/// Every way was tried. The next operation tries them again: networks change.
fn nothing_works(profile: &Profile, ways: &DataModes, policy: &Policy, control: &Control) -> Error {
    profile.learn(|learned| learned.data.modes = DataModes::default());
    let said = ways.failed.iter().map(|FailedMode { mode, cause, .. }| {
        match cause.strip_prefix(&mode.to_string()) {
            Some(rest) => format!("{mode}{rest}"),
            None => format!("{mode}: {cause}"),
        }
    });
    let said: Vec<_> = said.collect();
    let is_of_commands = !ways.failed.is_empty()
        && (ways.failed.iter()).all(|failed| failed.failure == ModeFailure::Command);
    let mend = match policy.mode {
        _ if is_ipv6(control) && is_of_commands => {
            "the server makes no data connections over IPv6 (PASV and PORT are for IPv4): try ipv4"
        }
        Mode::Auto => {
            "a firewall here or there lets neither side connect: let the server's passive ports \
             through, or a port_range= to us"
        }
        Mode::Passive => "the server's passive ports can't be reached: try mode=active",
        Mode::Active => {
            "the server can't reach us: try mode=passive, or external_ip= and port_range= behind NAT"
        }
    };
    let passive = ways
        .failed
        .iter()
        .filter(|failed| !failed.mode.is_active() && failed.failure != ModeFailure::Command);
    let refusals: Vec<_> = passive
        .map(|failed| no_data_connection_words(&failed.cause))
        .collect();
    let tried = "no data connection can be made";
    match refusals.first() {
        // The server could be reached, and has refused for the moment.
        Some(Some(refusal)) if refusals.iter().all(Option::is_some) => {
            no_data_connection(tried, &format!("{refusal}; {mend}"))
        }
        _ => Error::barred(tried, format!("{}; {mend}", said.join("; "))),
    }
}
