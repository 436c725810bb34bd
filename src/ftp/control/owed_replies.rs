//! Counts the replies that the server owes on one control connection, and what it may still do before they come.
//!
//! A server answers every command, in order (RFC 959 section 5), so that a count is all there is to know. The count also
//! shows what became of pipelined commands: the second reply after one write proves that the server takes several.

use std::time::Instant;

use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::below;

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
