//! Reads replies from the control connection: bytes to lines, lines to replies.
//!
//! Bytes that come before anybody asks for a reply are kept. Empty lines before a reply, and lines of `ls` before a reply to a
//! listing, are dropped, and a password that the server repeats is hidden.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;

use crate::ftp::net::stream::Stream;
use crate::ftp::protocol::reply::{Collector, Reply};
use crate::remote::Deadline;

/// Lines before a reply that belong to none and are dropped: empty ones, and before a reply to a listing messages of `ls`,
/// which some servers run.
const NOISE_LIMIT: usize = 16;
/// Bytes of one line: far above any pathname, so that a server can't fill our memory with one.
const LINE_LIMIT: usize = 64 * 1024;
/// Bytes read from the socket at once.
const READ_SIZE: usize = 8 * 1024;

/// What has come of replies.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    input: VecDeque<u8>,
    collector: Collector,
    /// What the next reply must not repeat in the log; empty as a rule.
    secret: Vec<u8>,
}

/// Why no reply came.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The server has ended the connection.
    Ended,
    /// The connection failed, or the deadline passed.
    Failed(io::Error),
    /// What came is no reply.
    NoReply(String),
}

impl ReplyReader {
    /// Whether nothing has come that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    /// What has come and was not taken.
    pub(super) fn bytes(&mut self) -> &[u8] {
        self.input.make_contiguous()
    }

    /// Whether what has come begins as a refusal does.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.input.front(), Some(b'4' | b'5'))
    }

    /// Hides the password in the next reply: some servers repeat the command.
    pub(super) fn hide(&mut self, password: &[u8]) {
        self.secret = password.to_vec();
    }

    /// Takes what comes next from the connection; returns its length, 0 at its end.
    pub(super) fn receive(
        &mut self,
        stream: &mut Stream,
        deadline: &Deadline,
    ) -> io::Result<usize> {
        let mut buffer = [0; READ_SIZE];
        let length = stream.read(&mut buffer, deadline)?;
        self.input.extend(&buffer[..length]);
        Ok(length)
    }

    /// The next reply. `tried` is what it answers.
    pub(super) fn next(
        &mut self,
        stream: &mut Stream,
        tried: &dyn Display,
        deadline: &Deadline,
    ) -> Result<Reply, ReadError> {
        let mut noise = 0;
        loop {
            let line = match self.line(stream, deadline) {
                Err(ReadError::Failed(error))
                    if noise > 0 && error.kind() == io::ErrorKind::TimedOut =>
                {
                    let saw = "nothing but lines that are no reply";
                    return Err(ReadError::NoReply(saw.to_string()));
                }
                line => line?,
            };
            let is_noise = self.collector.is_noise(&line);
            let is_blank = line.trim_ascii().is_empty();
            if noise < NOISE_LIMIT && is_noise && (is_blank || is_listing(tried)) {
                noise += 1;
                log::debug!(
                    "control: a line that is no reply is dropped: {}",
                    line.escape_ascii()
                );
                continue;
            }
            match self.collector.line(&line) {
                Ok(Some(mut reply)) => {
                    reply.hide(&std::mem::take(&mut self.secret));
                    return Ok(reply);
                }
                Ok(None) => {}
                Err(saw) => return Err(ReadError::NoReply(saw)),
            }
        }
    }

    /// The next line, without its LF.
    fn line(&mut self, stream: &mut Stream, deadline: &Deadline) -> Result<Vec<u8>, ReadError> {
        let mut searched = 0;
        loop {
            let mut unseen = self.input.iter().skip(searched);
            if let Some(end) = unseen.position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.input.drain(..=searched + end).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.input.len();
            if searched > LINE_LIMIT {
                let saw = format!("a line of over {LINE_LIMIT} bytes");
                return Err(ReadError::NoReply(saw));
            }
            match self.receive(stream, deadline) {
                Ok(0) => return Err(ReadError::Ended),
                Ok(_) => {}
                Err(error) => return Err(ReadError::Failed(error)),
            }
        }
    }
}

/// Whether the reply to a listing is waited for.
fn is_listing(tried: &dyn Display) -> bool {
    let tried = tried.to_string();
    tried.starts_with("LIST") || tried.starts_with("MLSD")
}
