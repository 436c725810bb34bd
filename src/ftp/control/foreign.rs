//! Recognizes servers of other protocols: by what they say at once, or by what they answer to the first message of TLS.
//!
//! A server that says nothing may wait for TLS or for a request of HTTP. Both answer a ClientHello (RFC 8446 section 4.1.2),
//! which is sent over a connection of its own, so that an FTP server that is slow to greet is not disturbed.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use crate::ftp::net::route::Route;
use crate::ftp::net::stream::{Stream, wait_for};
use crate::remote::{Deadline, Error, Result};

/// How long a server may take to greet before it is examined: FTP servers look up our name meanwhile.
const SILENCE_LIMIT: Duration = Duration::from_millis(1000);
/// How long it may take to answer the first message of TLS.
const ANSWER_LIMIT: Duration = Duration::from_millis(700);
/// Bytes by which a protocol is recognized.
const SAMPLE_SIZE: usize = 16;

/// A ClientHello of TLS 1.2 without extensions. Any answer tells.
const CLIENT_HELLO: [u8; 52] = {
    let mut hello = [0x55; 52];
    let head = [0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
    let mut at = 0;
    while at < head.len() {
        hello[at] = head[at];
        at += 1;
    }
    // After 32 random bytes: no session, two cipher suites, no compression.
    let tail = [0, 0, 4, 0xC0, 0x2F, 0, 0x9C, 1, 0];
    let mut at = 0;
    while at < tail.len() {
        hello[43 + at] = tail[at];
        at += 1;
    }
    hello
};

/// Another protocol, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    name: &'static str,
    remedy: &'static str,
}

/// Protocols by how their servers begin.
const TABLE: &[(&[u8], Foreign)] = &[
    (b"SSH-", SSH),
    (b"HTTP/", HTTP),
    (b"<", HTTP),
    (&[0x15, 3], TLS),
    (&[0x16, 3], TLS),
    (b"+OK", OTHER_MAIL),
    (b"* OK", OTHER_MAIL),
];

const SSH: Foreign = Foreign {
    name: "SSH",
    remedy: "for SFTP use sshfs; else check the port",
};
const HTTP: Foreign = Foreign {
    name: "HTTP",
    remedy: "check the port",
};
const TLS: Foreign = Foreign {
    name: "TLS",
    remedy: "if it is FTP within TLS, use ftps://; else check the port",
};
const SMTP: Foreign = Foreign {
    name: "SMTP",
    remedy: "check the port",
};
const OTHER_MAIL: Foreign = Foreign {
    name: "a mail protocol",
    remedy: "check the port",
};

impl Foreign {
    /// The protocol of a server whose first bytes are these.
    pub fn of_start(bytes: &[u8]) -> Option<Self> {
        let mut rows = TABLE.iter();
        rows.find(|(start, _)| bytes.starts_with(start))
            .map(|(_, foreign)| *foreign)
    }

    /// The protocol of a server with this greeting, whose code SMTP shares with FTP (RFC 5321 section 4.2).
    pub fn of_greeting(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        let is_named = text
            .split_whitespace()
            .any(|word| matches!(word, "SMTP" | "ESMTP"));
        (is_named && !text.contains("FTP")).then_some(SMTP)
    }

    /// The error for a server at the end of `route`.
    pub fn error(self, route: &Route) -> Error {
        let Self { name, remedy } = self;
        Error::barred(
            format!("connecting to {route}"),
            format!("the port speaks {name}, not FTP; {remedy}"),
        )
    }
}

/// An error where a server that does not greet speaks another protocol.
pub fn check_silent(route: &Route, stream: &mut Stream, deadline: &Deadline) -> Result<()> {
    let short = deadline.within(SILENCE_LIMIT);
    if route.is_proxied() || deadline.patience() < SILENCE_LIMIT * 2 || speaks(stream, &short) {
        return Ok(());
    }
    match answer(route, &deadline.within(ANSWER_LIMIT)).map(|answer| Foreign::of_start(&answer)) {
        Ok(Some(foreign)) => Err(foreign.error(route)),
        Ok(None) => Ok(()),
        Err(error) => {
            log::debug!("no answer to TLS: {error}");
            Ok(())
        }
    }
}

/// Waits until something can be read.
fn speaks(stream: &mut Stream, deadline: &Deadline) -> bool {
    while !stream.has_news() {
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        if wait_for(&mut fds, deadline).is_err() {
            return false;
        }
    }
    true
}

/// The first bytes of the answer to a ClientHello.
fn answer(route: &Route, deadline: &Deadline) -> std::io::Result<Vec<u8>> {
    let failed = |error: Error| std::io::Error::other(error.to_string());
    let mut stream = route.connect(deadline).map_err(failed)?;
    stream.write_all(&CLIENT_HELLO, deadline)?;
    let mut sample = [0; SAMPLE_SIZE];
    let length = stream.read(&mut sample, deadline)?;
    Ok(sample[..length].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_recognized_by_their_first_words() {
        for (start, expected) in [
            (&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], Some("SSH")),
            (b"HTTP/1.1 400 Bad Request\r\n", Some("HTTP")),
            (b"<!DOCTYPE HTML>", Some("HTTP")),
            (&[0x15, 3, 3, 0, 2, 2, 80], Some("TLS")),
            (&[0x16, 3, 3, 0, 61], Some("TLS")),
            (b"+OK POP3 ready\r\n", Some("a mail protocol")),
            (b"220 ready\r\n", None),
            (b"220-welcome\r\n", None),
            (b"", None),
        ] {
            let found = Foreign::of_start(start).map(|foreign| foreign.name);
            assert_eq!(found, expected, "{}", start.escape_ascii());
        }
        assert_eq!(Foreign::of_greeting("host ESMTP Postfix"), Some(SMTP));
        assert_eq!(Foreign::of_greeting("FTP and SMTP of host"), None);
    }
}
