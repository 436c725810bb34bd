//! Counts the replies that the server owes on one control connection, and what it may still do before they come.
//!
//! A server answers every command, in order (RFC 959 section 5), so that a count is all there is to know. The count also
//! shows what became of pipelined commands: the second reply after one write proves that the server takes several.
//!
//! Some servers break that rule: they send more replies than commands, or the preliminary reply to a transfer late, twice or
//! not at all. A reply that nothing has asked for makes the connection unusable, except on servers that were seen to answer
//! twice: there it is dropped. A transfer whose preliminary reply is late runs without consent: [`Consent`] keeps what
//! became of that.

use std::time::{Duration, Instant};

use crate::ftp::control::Control;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::below;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

/// Replies in a row to one command that are dropped.
pub const SURPLUS_REPLIES_LIMIT: usize = 16;
/// How long after a reply another one to the same command is waited for, where the server was seen to send such: it is sent
/// at once, but in a packet of its own.
const SURPLUS_PATIENCE: Duration = Duration::from_millis(20);

/// Whether several commands may be sent before the first of them is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelining {
    /// One command at a time.
    Off,
    /// Allowed, on a server of which nothing is known: a missing second reply is noticed early.
    Untested,
    /// Allowed, as seen on this connection or an earlier one.
    Works,
    /// Replies were lost or came in another order: the connection is out of step.
    Broken,
}

/// What became of pipelined commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineOutcome {
    /// Each was answered.
    Answered,
    /// The first was answered, and then nothing came.
    Lost,
    /// A reply came that must belong to another command.
    Reordered,
    /// More replies came than commands were sent.
    Surplus,
}

impl PipelineOutcome {
    /// Whether a reply came that did not fit.
    pub fn is_misfit(self) -> bool {
        matches!(self, Self::Reordered | Self::Surplus)
    }
}

/// Whether the server has agreed to a transfer whose data moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Its preliminary reply came before the data, or has come since.
    #[default]
    Given,
    /// Its preliminary reply has not come.
    Awaited,
    /// It was refused in place of that: the server has taken nothing.
    Refused,
}

/// The replies that are owed.
#[derive(Debug, Default)]
pub struct OwedReplies {
    /// Final replies that are owed.
    count: usize,
    /// Final replies since the last write.
    answered: usize,
    /// Paths that the commands sent since nothing was owed would change.
    paths: Vec<Vec<u8>>,
    /// Bytes of the commands sent since then.
    bytes: usize,
    outcome: Option<PipelineOutcome>,
    /// When the last reply came, preliminary ones too.
    heard: Option<Instant>,
    /// Whether the running transfer was agreed to.
    pub consent: Consent,
    /// The server answers some commands twice.
    pub doubles: bool,
    /// A transfer was confirmed without its preliminary reply, which may come after that.
    pub preliminary: bool,
}

impl OwedReplies {
    /// The greeting is owed.
    pub fn greeting() -> Self {
        Self {
            count: 1,
            ..Self::default()
        }
    }

    /// Final replies that are owed.
    pub fn count(&self) -> usize {
        self.count
    }

    /// A reply came.
    pub fn note_heard(&mut self) {
        self.heard = Some(Instant::now());
    }

    /// When the last reply came.
    pub fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Whether a reply has come since the last write.
    pub fn is_answering(&self) -> bool {
        self.answered > 0
    }

    /// Paths that the unanswered commands would change.
    pub fn paths(&self) -> &[Vec<u8>] {
        &self.paths
    }

    /// Bytes of the commands sent since nothing was owed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Before a command is sent: those sent earlier are answered where nothing is owed.
    pub fn forget_answered(&mut self) {
        if self.count == 0 {
            self.paths.clear();
            self.bytes = 0;
        }
    }

    /// A command is to be sent; `directory` is where names in it lie.
    pub fn add_command(&mut self, command: &Command<'_>, directory: Option<&[u8]>) {
        let path = command.written_path().map(|path| match directory {
            Some(directory) if !path.starts_with(b"/") => below(directory, path),
            _ => path.to_vec(),
        });
        self.paths.extend(path);
    }

    /// `bytes` of commands are being written; `count` replies are owed then.
    pub fn start_write(&mut self, count: usize, bytes: usize) {
        self.count = count;
        self.answered = 0;
        self.bytes += bytes;
    }

    /// A final reply came. True when it proves that several commands are answered.
    pub fn take_final(&mut self) -> bool {
        self.remove_one();
        self.answered += 1;
        let is_proof = self.answered > 1;
        if is_proof {
            self.outcome = Some(PipelineOutcome::Answered);
        }
        is_proof
    }

    /// No reply came in time. True when the server took the first of several commands and lost the others.
    pub fn note_timeout(&mut self) -> bool {
        if self.is_answering() {
            self.outcome = Some(PipelineOutcome::Lost);
        }
        self.is_answering()
    }

    /// A reply belonged to another command.
    pub fn note_reordered(&mut self) {
        self.outcome = Some(PipelineOutcome::Reordered);
    }

    /// More replies came than are owed.
    pub fn note_surplus(&mut self) {
        self.outcome = Some(PipelineOutcome::Surplus);
    }

    /// One more final reply is owed than was counted.
    pub fn add_one(&mut self) {
        self.count += 1;
    }

    /// One final reply less is owed than was counted.
    pub fn remove_one(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// What became of pipelined commands since this was last asked, if there were any.
    pub fn take_outcome(&mut self) -> Option<PipelineOutcome> {
        self.outcome.take()
    }
}

impl Control {
    /// An error where a reply is there before the command that it would be taken for. What ends the session is left to be
    /// taken. On a server that answers twice it is the second reply to what went before, and dropped.
    pub(super) fn check_no_surplus(
        &mut self,
        commands: &[Command<'_>],
        deadline: &Deadline,
    ) -> Result<()> {
        let tried = commands.first().map(ToString::to_string);
        let tried = tried.unwrap_or_default();
        if !self.logged_in || self.owed.count() > 0 {
            return Ok(());
        }
        if self.owed.doubles {
            return self.take_surplus(&tried, deadline);
        }
        if !self.has_input() || self.reader.is_empty() && self.stream.is_ending() {
            return Ok(());
        }
        Err(self.surplus(&tried))
    }

    /// Drops the replies that are there and answer nothing.
    fn take_surplus(&mut self, tried: &dyn std::fmt::Display, deadline: &Deadline) -> Result<()> {
        for _ in 0..SURPLUS_REPLIES_LIMIT {
            if !self.has_input() {
                return Ok(());
            }
            let surplus = self.reply(tried, deadline)?;
            log::debug!("control: a reply that nothing has asked for is dropped: {surplus}");
        }
        Err(self.surplus(tried))
    }

    /// Gives the connection up after a reply that nothing has asked for, and returns the error.
    pub(super) fn surplus(&mut self, tried: &dyn std::fmt::Display) -> Error {
        self.note_surplus();
        let cause = "more replies came than commands were sent";
        Error::lost(tried.to_string(), cause)
    }

    /// More replies came than are owed: which answers which command is unknown.
    pub fn note_surplus(&mut self) {
        self.give_up();
        self.owed.note_surplus();
    }

    /// The server answers some commands twice: what comes after a reply, before the next command, is dropped.
    pub fn expect_surplus(&mut self) {
        self.owed.doubles = true;
    }

    /// After a reply, drops further ones to the same command, on a server that was seen to send such.
    pub(super) fn drop_surplus(
        &mut self,
        tried: &dyn std::fmt::Display,
        deadline: &Deadline,
    ) -> Result<()> {
        if !self.owed.doubles || self.is_pipelining() || self.owed.count() > 0 {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            match self.take_surplus(tried, deadline) {
                // The end of the session is no reply: what was answered before it stands.
                Err(_) if self.is_ended_by_server() => return Ok(()),
                taken => taken?,
            }
            let left = SURPLUS_PATIENCE.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            self.await_either(None, (begun, left), tried, deadline)?;
        }
    }

    /// A server that sends preliminary replies without end would hold the operation for ever.
    pub fn endless_start(&mut self, tried: &dyn std::fmt::Display) -> Error {
        self.give_up();
        Error::misbehaved(tried.to_string(), "preliminary replies without end")
    }

    /// The preliminary reply to a transfer may come at any time until its final one, and starts nothing any more.
    pub fn expect_late_start(&mut self) {
        self.owed.consent = Consent::Awaited;
    }

    /// A transfer was confirmed without a preliminary reply: one that comes after that is dropped.
    pub fn expect_preliminary(&mut self) {
        self.owed.preliminary = true;
    }

    /// Whether the preliminary reply to the running transfer has not been taken yet.
    pub fn starts_late(&self) -> bool {
        self.owed.consent == Consent::Awaited
    }

    /// Whether the running transfer was agreed to.
    pub fn is_agreed(&self) -> bool {
        self.owed.consent == Consent::Given
    }

    /// Whether the transfer was refused though its data moved already: the server has taken nothing of it.
    pub fn is_refused_late(&self) -> bool {
        self.owed.consent == Consent::Refused
    }

    /// The refusal of the running transfer, where it came in place of its late preliminary reply.
    pub fn take_late_refusal(
        &mut self,
        tried: &dyn std::fmt::Display,
        deadline: &Deadline,
    ) -> Result<Option<Reply>> {
        if !self.starts_late() || !self.has_input() {
            return Ok(None);
        }
        self.take_late_start(tried, deadline)
    }

    /// Takes the late preliminary reply; what came in its place is returned.
    pub(super) fn take_late_start(
        &mut self,
        tried: &dyn std::fmt::Display,
        deadline: &Deadline,
    ) -> Result<Option<Reply>> {
        let reply = self.next_reply(tried, deadline)?;
        if reply.is_completion() {
            self.expect_preliminary();
        }
        self.owed.consent = match reply.is_preliminary() || reply.is_completion() {
            true => Consent::Given,
            false => Consent::Refused,
        };
        Ok((!reply.is_preliminary()).then_some(reply))
    }
}
