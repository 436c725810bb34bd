//! Implements the control connection: commands out, replies in.
//!
//! Commands are pipelined in *flights*: several in one write, and then as many replies, in order (RFC 959 section 5: a
//! server answers every command, in turn).
//!
//! * `login`: logs in, and learns what the server can do
//! * `tls`: encrypts control and data connections
//! * `reply_reader`: reads replies from what has come
//! * `owed_replies`: counts the replies that the server owes, and takes those that do not fit
//! * `version_query`: asks for size and time of a file
//! * `by_name`: sends commands by `CWD` and a bare name, where paths are refused
//! * `foreign`: recognizes servers of other protocols
//!
//! # Invariants
//!
//! After any error it is unknown which replies are owed: [`Control::in_step`] is false from then on, and the pool drops
//! the connection and never uses it again.

pub(crate) mod by_name;
pub(crate) mod foreign;
pub(crate) mod login;
pub(crate) mod owed_replies;
pub(crate) mod reply_reader;
pub(crate) mod tls;
pub(crate) mod version_query;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::control::foreign::Foreign;
use crate::ftp::control::owed_replies::{
    Consent, OwedReplies, PipelineOutcome, Pipelining, SURPLUS_REPLIES_LIMIT,
};
use crate::ftp::control::reply_reader::{ReadError, ReplyReader};
use crate::ftp::net::route::Route;
pub use crate::ftp::net::stream::blame;
use crate::ftp::net::stream::{Cutter, Stream};
use crate::ftp::protocol::command::{Command, Lines};
use crate::ftp::protocol::reply::Reply;
use crate::ftp::tls::{Session, Tls};
use crate::remote::{Deadline, Error, Result, Why};

/// A control connection.
#[derive(Debug)]
pub struct Control {
    stream: Stream,
    route: Route,
    /// The TLS session, once there is one.
    session: Option<Session>,
    /// Whether data connections are encrypted (`PROT P`).
    protects_data: bool,
    reader: ReplyReader,
    owed: OwedReplies,
    condition: Condition,
    pipelining: Pipelining,
    /// `MLST` was answered like a listing (uftpd, where a data connection is ready).
    mlst_over_data: bool,
    lines: Lines,
    logged_in: bool,
    greeting: Reply,
    here: WorkingDirectory,
}

/// The working directory, and how it is used.
#[derive(Debug, Default)]
struct WorkingDirectory {
    /// The directory that was entered last, absolute; `None` where the login left us.
    path: Option<Arc<[u8]>>,
    /// The names in it, where a listing has shown them since it was entered.
    names: Option<Names>,
    /// Commands that change something are sent by `CWD` and a name.
    by_name: bool,
}

/// The names in a directory, by their hashes.
pub type Names = HashSet<u64>;

/// Whether the connection can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// The replies that are owed are known.
    InStep,
    /// Which replies are owed is unknown.
    OutOfStep,
    /// The server has ended the connection, and with it whatever it was doing.
    EndedByServer,
    /// The server has agreed to TLS, and then spoke none or ended the connection.
    SpeaksNoTls,
}

/// Command bytes that may be under way unanswered. Less than any socket buffer, so that a server
/// which answers before it reads on never waits for us while we wait for it.
const FLIGHT_BYTES: usize = 16 * 1024;
/// Commands that may be under way unanswered: their replies fit our socket's buffer.
const FLIGHT_COMMANDS: usize = 400;
/// Commands that may join what is owed already, unanswered.
pub const FEW_COMMANDS: usize = FLIGHT_COMMANDS / 2;
/// How long a reply may take after the reply to an earlier command of the same write, on a server of which nothing is
/// known: a lost packet takes seconds, and a server that loses commands (nodeftpd) must not cost the whole patience.
const FLIGHT_PATIENCE: Duration = Duration::from_secs(5);
/// Greetings after the first that are dropped: embedded servers send one reply for each line of theirs.
const SURPLUS_GREETINGS_LIMIT: usize = 16;
/// The reply that greets (RFC 959 section 5.4); before the login it answers no command.
const SERVICE_READY: u16 = 220;

impl Control {
    /// Takes the greeting over a connection that goes by `route`, within TLS if a session is given (with who judges it).
    /// `pipelining` is whether flights may hold more than one unanswered command.
    pub fn greeted(
        route: &Route,
        stream: Stream,
        implicit: Option<(Option<&Tls>, Session)>,
        pipelining: bool,
        deadline: &Deadline,
    ) -> Result<Self> {
        let tried = || format!("connecting to {route}");
        let mut control = Self {
            stream,
            route: route.clone(),
            session: None,
            protects_data: false,
            reader: ReplyReader::default(),
            owed: OwedReplies::greeting(),
            condition: Condition::InStep,
            pipelining: match pipelining {
                true => Pipelining::Works,
                false => Pipelining::Off,
            },
            mlst_over_data: false,
            lines: Lines::of(""),
            logged_in: false,
            greeting: Reply::default(),
            here: WorkingDirectory::default(),
        };
        match implicit {
            Some((judge, session)) => control.encrypt(judge, session, deadline)?,
            None => control.check_start(deadline)?,
        }
        // 120 says that the server will be ready in some minutes (RFC 959 section 5.4).
        let mut greeting = control.reply(&"the greeting", deadline)?;
        for _ in 0..SURPLUS_GREETINGS_LIMIT {
            if !greeting.is_preliminary() {
                break;
            }
            greeting = control.reply(&"the greeting", deadline)?;
        }
        if let Some(foreign) = Foreign::of_greeting(&greeting.text()) {
            return Err(foreign.error(route));
        }
        control.lines = Lines::of(&greeting.text());
        if greeting.is_completion() {
            control.greeting = greeting;
            Ok(control)
        } else {
            Err(Error::refused(Why::TooMany, tried(), greeting.to_string()))
        }
    }

    /// Reads the first bytes of the greeting, which are left to be taken; an error where another protocol begins so.
    fn check_start(&mut self, deadline: &Deadline) -> Result<()> {
        const START: usize = 4;
        while self.reader.bytes().len() < START {
            // `reply` says why there are no more.
            if !matches!(self.reader.receive(&mut self.stream, deadline), Ok(1..)) {
                break;
            }
            if let Some(foreign) = Foreign::of_start(self.reader.bytes()) {
                self.give_up();
                return Err(foreign.error(&self.route));
            }
        }
        Ok(())
    }

    /// Sends the commands in one go and returns the final reply to each, in order.
    ///
    /// None of them may be one that begins a transfer. A 421 is the end of the connection.
    pub fn flight(&mut self, commands: &[Command<'_>], deadline: &Deadline) -> Result<Vec<Reply>> {
        match self.flight_by_name(commands, deadline)? {
            Some(replies) => Ok(replies),
            None => self.flight_as_is(commands, deadline),
        }
    }

    fn flight_as_is(
        &mut self,
        commands: &[Command<'_>],
        deadline: &Deadline,
    ) -> Result<Vec<Reply>> {
        self.check_no_surplus(commands, deadline)?;
        let mut replies: Vec<Reply> = Vec::with_capacity(commands.len());
        let mut sizes: VecDeque<usize> = VecDeque::new();
        let mut unsent = commands.iter();
        let mut next = unsent.next();
        let mut unanswered = 0;
        while replies.len() < commands.len() {
            let mut out = Vec::new();
            self.forget_answered();
            // Not one command for each reply: many go in one packet as well.
            let refills = sizes.len() <= FLIGHT_COMMANDS / 2 && unanswered <= FLIGHT_BYTES / 2;
            while let Some(command) = next.filter(|_| refills) {
                let before = out.len();
                command.write_to(&mut out, self.lines)?;
                let size = out.len() - before;
                let room = sizes.is_empty()
                    || self.is_pipelining()
                        && sizes.len() < FLIGHT_COMMANDS
                        && unanswered + size <= FLIGHT_BYTES;
                if !room {
                    out.truncate(before);
                    break;
                }
                log::debug!("> {command}");
                self.owed.add_command(command, self.here.path.as_deref());
                unanswered += size;
                sizes.push_back(size);
                next = unsent.next();
            }
            if !out.is_empty() {
                self.write(&out, sizes.len(), &commands[replies.len()], deadline)?;
            }
            let command = &commands[replies.len()];
            let reply = self.reply(command, deadline)?;
            if reply.is_preliminary() {
                self.give_up();
                if matches!(command, Command::Mlst(_)) {
                    self.mlst_over_data = true;
                    let cause = format!("the answer goes over a data connection ({reply})");
                    return Err(Error::lost(command.to_string(), cause));
                }
                return Err(Error::misbehaved(command.to_string(), reply.to_string()));
            }
            self.note_reply(command, &reply, replies.last(), commands.len() > 1)?;
            unanswered -= sizes.pop_front().unwrap_or(0);
            replies.push(reply);
            self.drop_surplus(command, deadline)?;
        }
        if commands.len() > 1 && !self.reader.is_empty() {
            // More replies came than were asked for: they can't be matched to commands.
            let tried = commands.last().map(ToString::to_string);
            return Err(self.surplus(&tried.unwrap_or_default()));
        }
        Ok(replies)
    }

    /// Sends one command and returns its final reply.
    pub fn command(&mut self, command: Command<'_>, deadline: &Deadline) -> Result<Reply> {
        let replies = self.flight(&[command], deadline)?;
        replies
            .into_iter()
            .next()
            .ok_or_else(|| Error::misbehaved(command.to_string(), "no reply"))
    }

    /// Sends the commands `before`, then `transfer`, which may begin a transfer, then those `after` it, and returns the final
    /// replies to `before`. The replies to `transfer` and to `after` are owed: [`Control::reply`] takes them. `sent` is called
    /// when `transfer` has been sent.
    ///
    /// They go in one write where pipelining is on, but for a `STOR` after a `REST`: where `REST` is refused, that would store
    /// from the start of the file, and what lay before the part would be gone. It waits, and is not sent then.
    pub fn send_transfer(
        &mut self,
        before: &[Command<'_>],
        transfer: Command<'_>,
        after: &[Command<'_>],
        sent: impl FnOnce(),
        deadline: &Deadline,
    ) -> Result<Vec<Reply>> {
        self.owed.consent = Consent::Given;
        let is_part = matches!(
            (before.last(), transfer),
            (Some(Command::Rest(_)), Command::Stor(_))
        );
        if is_part || !self.is_pipelining() {
            // A command between REST and its STOR would end the REST.
            let transfer = match self.by_name(transfer, deadline)? {
                Ok(transfer) => transfer,
                Err(refusal) => return Err(refusal.refusal(transfer)),
            };
            let replies = self.flight(before, deadline)?;
            let begins_elsewhere = matches!(before.last(), Some(Command::Rest(_)))
                && !replies.last().is_some_and(Reply::is_intermediate);
            if !begins_elsewhere {
                let after = if self.is_pipelining() { after } else { &[] };
                self.send(&[&[transfer], after].concat(), deadline)?;
                sent();
            }
            return Ok(replies);
        }
        let all: Vec<_> = before
            .iter()
            .chain([&transfer])
            .chain(after)
            .copied()
            .collect();
        self.send(&all, deadline)?;
        sent();
        let mut replies: Vec<Reply> = Vec::with_capacity(before.len());
        for command in before {
            let reply = self.reply(command, deadline)?;
            if reply.is_preliminary() {
                self.give_up();
                return Err(Error::misbehaved(command.to_string(), reply.to_string()));
            }
            self.note_reply(command, &reply, replies.last(), true)?;
            replies.push(reply);
        }
        Ok(replies)
    }

    /// Takes a reply to a command, one of `several`, after the reply `before`. One that must be another command's is refused:
    /// replies can't be matched to commands then.
    fn note_reply(
        &mut self,
        command: &Command<'_>,
        reply: &Reply,
        before: Option<&Reply>,
        several: bool,
    ) -> Result<()> {
        if several && self.is_pipelining() && command.is_missed_by(reply) {
            self.give_up();
            self.pipelining = Pipelining::Broken;
            match before.is_some_and(|before| before.to_string() == reply.to_string()) {
                true => self.owed.note_surplus(),
                false => self.owed.note_reordered(),
            }
            let cause = format!("it was answered out of order ({reply})");
            return Err(Error::lost(command.to_string(), cause));
        }
        if let Command::Cwd(path) = command
            && reply.is_completion()
        {
            self.here.path = Some(Arc::from(*path));
            self.here.names = None;
        }
        Ok(())
    }

    /// The directory that was entered last, absolute and in the server's bytes; `None` where the login left us.
    pub fn directory(&self) -> Option<&Arc<[u8]>> {
        self.here.path.as_ref()
    }

    /// The names in [`Self::directory`], as [`Self::note_names`] has them.
    pub fn names(&self) -> Option<&Names> {
        self.here.names.as_ref()
    }

    /// A listing has shown the names in [`Self::directory`].
    pub fn note_names(&mut self, names: Option<Names>) {
        self.here.names = names;
    }

    /// Nothing is known of this server yet.
    pub fn mark_untested(&mut self) {
        if self.is_pipelining() {
            self.pipelining = Pipelining::Untested;
        }
    }

    /// Whether several commands may be under way unanswered.
    pub fn is_pipelining(&self) -> bool {
        !self.here.by_name && matches!(self.pipelining, Pipelining::Untested | Pipelining::Works)
    }

    /// Sends commands in one go, without waiting for a reply. [`Control::reply`] takes the replies,
    /// one by one.
    pub fn send(&mut self, commands: &[Command<'_>], deadline: &Deadline) -> Result<()> {
        self.send_within(commands, usize::MAX, deadline).map(drop)
    }

    /// Sends as many of the commands as may be under way together, after what is owed already; returns how many.
    pub fn send_some(&mut self, commands: &[Command<'_>], deadline: &Deadline) -> Result<usize> {
        let few = &commands[..commands.len().min(FEW_COMMANDS)];
        self.send_within(few, FLIGHT_BYTES / 2, deadline)
    }

    /// Before a command is sent: what was sent earlier is answered where nothing is owed. A late preliminary reply that has not
    /// come by then does not come.
    fn forget_answered(&mut self) {
        if self.owed.preliminary && self.owed.count() == 0 && !self.has_input() {
            self.owed.preliminary = false;
        }
        self.owed.forget_answered();
    }

    /// Sends the first of the commands, up to so many bytes; returns how many.
    fn send_within(
        &mut self,
        commands: &[Command<'_>],
        bytes: usize,
        deadline: &Deadline,
    ) -> Result<usize> {
        let mut out = Vec::new();
        let mut count = 0;
        self.forget_answered();
        for command in commands {
            let before = out.len();
            command.write_to(&mut out, self.lines)?;
            if out.len() > bytes {
                out.truncate(before);
                break;
            }
            log::debug!("> {command}");
            self.owed.add_command(command, self.here.path.as_deref());
            count += 1;
        }
        if count > 0 {
            self.write(&out, self.owed.count() + count, &commands[0], deadline)?;
        }
        Ok(count)
    }

    /// The next reply, preliminary or final; without the preliminary one that [is late](Self::expect_late_start). `tried` is
    /// what it answers, for messages.
    pub fn reply(&mut self, tried: &dyn std::fmt::Display, deadline: &Deadline) -> Result<Reply> {
        if self.starts_late()
            && let Some(reply) = self.take_late_start(tried, deadline)?
        {
            return Ok(reply);
        }
        self.next_reply(tried, deadline)
    }

    /// The final reply to a transfer that has started. Further preliminary replies are dropped: 110 marks a place in it (RFC 959
    /// section 5.4), and some servers send 150 twice.
    pub fn final_reply(
        &mut self,
        tried: &dyn std::fmt::Display,
        deadline: &Deadline,
    ) -> Result<Reply> {
        for _ in 0..SURPLUS_REPLIES_LIMIT {
            let reply = self.reply(tried, deadline)?;
            if !reply.is_preliminary() {
                return Ok(reply);
            }
            log::debug!("control: a further preliminary reply is dropped: {reply}");
        }
        Err(self.endless_start(tried))
    }

    /// Waits until the server says something, or until `other` has something to read, or for `slice`, or a little less; the
    /// caller checks again. `since` is when it began to wait.
    pub fn await_either(
        &mut self,
        other: Option<BorrowedFd<'_>>,
        (since, slice): (Instant, Duration),
        tried: &dyn std::fmt::Display,
        deadline: &Deadline,
    ) -> Result<()> {
        let waited = self.stream.await_either(other, since, slice, deadline);
        waited.map_err(|error| {
            self.give_up();
            self.note_error(&error);
            blame(tried.to_string(), &error)
        })
    }

    /// The deadline of the next reply where it is shorter than its operation's.
    pub fn reply_deadline(&self, deadline: &Deadline) -> Option<Deadline> {
        let is_untested = self.pipelining == Pipelining::Untested && self.owed.is_answering();
        is_untested.then(|| deadline.within(FLIGHT_PATIENCE))
    }

    fn next_reply(&mut self, tried: &dyn std::fmt::Display, deadline: &Deadline) -> Result<Reply> {
        let short = self.reply_deadline(deadline);
        let result = self.take_own_reply(tried, short.as_ref().unwrap_or(deadline));
        match &result {
            Ok(reply) => {
                log::debug!("< {reply}");
                self.owed.note_heard();
                deadline.progress();
                if !reply.is_preliminary()
                    && self.owed.take_final()
                    && self.pipelining == Pipelining::Untested
                {
                    self.pipelining = Pipelining::Works;
                }
                if self.owed.count() > 0 {
                    // A server that does not switch off Nagle's algorithm (vsftpd) holds its next reply until it hears
                    // that this one has come, and our kernel would take 40 ms to say so.
                    self.stream.acknowledge();
                }
            }
            Err(error) => {
                self.give_up();
                if matches!(error, Error::TimedOut { .. })
                    && self.owed.note_timeout()
                    && self.is_pipelining()
                {
                    self.pipelining = Pipelining::Broken;
                }
            }
        }
        let reply = result?;
        if self.logged_in && is_last_word(&reply) {
            self.condition = Condition::EndedByServer;
            let cause = format!("the server said {reply}");
            return Err(Error::lost(tried.to_string(), cause));
        }
        if reply.code == 421 {
            self.condition = Condition::EndedByServer;
            // Before the login it means that the server has no room for one more.
            return Err(if self.logged_in {
                Error::lost(tried.to_string(), format!("the server said {reply}"))
            } else {
                Error::refused(Why::TooMany, tried.to_string(), reply.to_string())
            });
        }
        Ok(reply)
    }

    /// Hides the password in the next reply: some servers repeat the command.
    pub fn hide_in_reply(&mut self, password: &[u8]) {
        self.reader.hide(password);
    }

    /// The login was accepted: from now on a 421 ends this connection alone.
    pub fn note_login(&mut self) {
        self.logged_in = true;
    }

    /// Whether the login was accepted.
    pub fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Whether everything that was sent has been answered, and nothing else came.
    pub fn in_step(&self) -> bool {
        self.condition == Condition::InStep && self.owed.count() == 0 && self.reader.is_empty()
    }

    /// Whether an idle connection has become useless: the server sent 421 or closed it.
    pub fn is_stale(&mut self) -> bool {
        !self.in_step() || self.stream.has_news()
    }

    /// Whether a stale connection is one that the server ends: surplus replies end none.
    pub fn is_ending(&self) -> bool {
        self.is_ended_by_server() || self.stream.is_ending()
    }

    /// When the last reply came.
    pub fn heard(&self) -> Option<Instant> {
        self.owed.heard()
    }

    /// A reply that was taken was not the one that it seemed to be: one more is owed.
    pub fn expect_one_more(&mut self) {
        self.owed.add_one();
    }

    /// A reply that was taken for a preliminary one was the last one.
    pub fn expect_one_less(&mut self) {
        self.owed.remove_one();
    }

    /// Paths that the server may still change although its reply is no longer waited for: the commands have arrived and
    /// were not answered. Where the server has ended the connection, or nothing has arrived, there are none.
    pub fn possibly_done(&self) -> &[Vec<u8>] {
        // Under TLS more bytes go than are counted.
        let arrived = self.is_encrypted() || self.stream.unacknowledged() < self.owed.bytes();
        match self.owed.count() > 0 && arrived && !self.is_ended_by_server() {
            true => self.owed.paths(),
            false => &[],
        }
    }

    /// Whether the end of the connection was seen.
    pub fn is_ended_by_server(&self) -> bool {
        self.condition == Condition::EndedByServer
    }

    /// Whether commands wait to be acknowledged by the server's kernel: dropping the connection drops them.
    pub fn has_unacknowledged(&self) -> bool {
        self.stream.unacknowledged() > 0
    }

    /// Takes an error of the connection.
    fn note_error(&mut self, error: &io::Error) {
        if is_end(error) {
            self.condition = Condition::EndedByServer;
        }
    }

    /// What is owed is no longer known: the connection must not be used again.
    pub fn give_up(&mut self) {
        if self.condition == Condition::InStep {
            self.condition = Condition::OutOfStep;
        }
    }

    /// What became of pipelined commands since this was last asked, if there were any.
    pub fn take_pipeline_outcome(&mut self) -> Option<PipelineOutcome> {
        self.owed.take_outcome()
    }

    /// Whether `MLST` was answered over a data connection, and not here (RFC 3659 section 7.1).
    pub fn has_mlst_over_data(&self) -> bool {
        self.mlst_over_data
    }

    /// Whether a reply, or a part of one, waits to be taken.
    pub fn has_input(&mut self) -> bool {
        !self.reader.is_empty() || self.stream.has_news()
    }

    /// Whether the next reply has come and is a refusal, or no reply can come any more. It is left to be taken.
    pub fn hears_refusal(&mut self) -> bool {
        if self.reader.is_empty() && self.stream.has_news() {
            // The bytes are there: this does not wait.
            let at_once = Deadline::after(Duration::ZERO);
            match self.reader.receive(&mut self.stream, &at_once) {
                // Of what is encrypted a part is nothing yet.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Ok(0) | Err(_) => {
                    self.condition = Condition::EndedByServer;
                    return true;
                }
                Ok(_) => {}
            }
        }
        self.reader.is_refusal()
    }

    /// The address of our end: the one at which the server can reach us, if it can at all.
    pub fn local_address(&self) -> Result<SocketAddr> {
        let address = self.stream.local_address();
        address.map_err(|error| blame("our own address", &error))
    }

    /// How the server reads lines.
    pub fn lines(&self) -> Lines {
        self.lines
    }

    /// The greeting.
    pub fn greeting(&self) -> &Reply {
        &self.greeting
    }

    /// The route to the server.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The round-trip time, as the kernel estimates it.
    pub fn round_trip(&self) -> Option<Duration> {
        self.stream.round_trip()
    }

    /// A handle with which another thread can cut the connection.
    pub fn cutter(&self) -> io::Result<Cutter> {
        self.stream.cutter()
    }

    fn write(
        &mut self,
        bytes: &[u8],
        owed: usize,
        tried: &Command<'_>,
        deadline: &Deadline,
    ) -> Result<()> {
        if deadline.remaining().is_none() {
            // Nothing was sent: whatever is asked for, it has not happened, and the connection is as good as before.
            return Err(Error::timed_out(tried.to_string()));
        }
        self.owed.start_write(owed, bytes.len());
        self.stream.write_all(bytes, deadline).map_err(|error| {
            self.give_up();
            self.note_error(&error);
            blame(tried.to_string(), &error)
        })
    }

    /// The next reply, without further greetings before the login, and without the preliminary reply to a transfer that is
    /// confirmed.
    fn take_own_reply(
        &mut self,
        tried: &dyn std::fmt::Display,
        deadline: &Deadline,
    ) -> Result<Reply> {
        let is_greeted = !self.greeting.lines.is_empty();
        for _ in 0..SURPLUS_GREETINGS_LIMIT {
            let reply = self.take_reply(tried, deadline)?;
            let is_greeting = reply.code == SERVICE_READY && is_greeted && !self.logged_in;
            let is_late = reply.is_preliminary() && std::mem::take(&mut self.owed.preliminary);
            if !is_greeting && !is_late {
                return Ok(reply);
            }
            log::debug!("control: a reply that nothing waits for is dropped: {reply}");
        }
        Err(Error::misbehaved(
            tried.to_string(),
            "greetings without end",
        ))
    }

    fn take_reply(&mut self, tried: &dyn std::fmt::Display, deadline: &Deadline) -> Result<Reply> {
        let reply = self.reader.next(&mut self.stream, tried, deadline);
        reply.map_err(|error| match error {
            ReadError::Ended => {
                self.condition = Condition::EndedByServer;
                Error::lost(tried.to_string(), "the server hung up")
            }
            ReadError::Failed(error) => {
                self.note_error(&error);
                blame(tried.to_string(), &error)
            }
            ReadError::NoReply(saw) => Error::misbehaved(tried.to_string(), saw),
        })
    }
}

impl Drop for Control {
    /// Closes the connection: by a reset where commands are still on their way, which are dropped with it (see
    /// `net/stream.rs`), and else by a FIN, which the kernel repeats until the server has it.
    fn drop(&mut self) {
        if !self.has_unacknowledged() {
            self.stream.deliver_on_close();
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether an error is the end of the connection.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// Whether a session ends with this reply, whatever was asked: vsftpd says so when one of its processes has died, in the
/// words of an unknown command.
fn is_last_word(reply: &Reply) -> bool {
    let first = reply.lines.first().map(Vec::as_slice);
    reply.code == 500 && first.is_some_and(|line| line.starts_with(b"OOPS:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::net::route::Target;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    /// A server that greets and then answers every line with the next of `answers`.
    fn server(answers: Vec<&'static str>) -> Route {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            socket
                .write_all(b"220-hello\r\n220 there\r\n")
                .expect("a greeting");
            let mut lines = BufReader::new(socket.try_clone().expect("a clone")).lines();
            for answer in answers {
                if lines.next().is_none() {
                    return;
                }
                socket.write_all(answer.as_bytes()).expect("an answer");
            }
        });
        Route {
            bind: None,
            target: Target::Address(address),
        }
    }

    fn patient() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn connected(route: &Route) -> Control {
        let stream = route.connect(&patient()).expect("a connection");
        Control::greeted(route, stream, None, true, &patient()).expect("a greeting")
    }

    #[test]
    fn flight_matches_replies_to_commands() {
        let address = server(vec!["213 5\r\n", "550 No such file\r\n", "200 ok\r\n"]);
        let mut control = connected(&address);
        let commands = [Command::Size(b"/a"), Command::Size(b"/b"), Command::Noop];
        let replies = control.flight(&commands, &patient()).expect("replies");
        let codes: Vec<_> = replies.iter().map(|reply| reply.code).collect();
        assert_eq!(codes, [213, 550, 200]);
        assert!(control.in_step());
    }

    #[test]
    fn flight_of_a_thousand_commands_does_not_block() {
        let address = server(vec!["213 20260101000000\r\n"; 1000]);
        let mut control = connected(&address);
        let commands = vec![Command::Mdtm(b"/a/rather/long/pathname/of/a/file"); 1000];
        assert_eq!(
            control
                .flight(&commands, &patient())
                .expect("replies")
                .len(),
            1000
        );
    }

    #[test]
    fn error_leaves_the_connection_out_of_step() {
        for answer in ["garbage\r\n", "421 bye\r\n", "150 a transfer\r\n"] {
            let address = server(vec![answer]);
            let mut control = connected(&address);
            assert!(control.command(Command::Noop, &patient()).is_err());
            assert!(!control.in_step());
        }
    }

    #[test]
    fn preliminary_replies_without_end_are_an_error() {
        let endless: &'static str = Box::leak("150 x\r\n".repeat(200).into_boxed_str());
        let mut control = connected(&server(vec![endless]));
        let list = [Command::List("")];
        control.send(&list, &patient()).expect("it is sent");
        let error = control
            .final_reply(&list[0], &patient())
            .expect_err("there is no final reply");
        assert!(matches!(error, Error::Misbehaved { .. }), "{error}");
        assert!(!control.in_step());
    }

    #[test]
    fn unrequested_reply_makes_the_connection_stale() {
        let address = server(vec!["200 ok\r\n200 again\r\n"]);
        let mut control = connected(&address);
        control.command(Command::Noop, &patient()).expect("a reply");
        while !control.is_stale() {
            thread::yield_now();
        }
    }
}
