//! Takes replies that do not fit the rule of one final reply for each command: more of them than commands, and the
//! preliminary reply to a transfer, which some servers send late, twice or not at all.
//!
//! A reply that nothing has asked for makes the connection unusable, except on servers that were seen to answer twice:
//! there it is dropped. A transfer whose preliminary reply is late runs without consent: [`Consent`] keeps what became
//! of that.

use std::time::{Duration, Instant};

use crate::ftp::control::Control;
use crate::ftp::control::owed_replies::Consent;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

/// Replies in a row to one command that are dropped.
pub const SURPLUS_REPLIES_LIMIT: usize = 16;
/// How long after a reply another one to the same command is waited for, where the server was seen to send such: it is sent
/// at once, but in a packet of its own.
const SURPLUS_PATIENCE: Duration = Duration::from_millis(20);

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
