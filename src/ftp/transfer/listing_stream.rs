//! Implements listings: lines over a data connection.
//!
//! The lines are complete when the data ends, a round trip before the final reply. The caller's next commands go out in
//! between, and are answered right after that reply.

use std::sync::Arc;

use crate::ftp::control::blame;
use crate::ftp::net::stream::Stream;
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{FILE_STATUS, Reply, without_names};
use crate::ftp::transfer::download::check_end;
use crate::ftp::transfer::followup::DownloadFollowup;
use crate::ftp::transfer::replies::{last_words, out_of_order};
use crate::ftp::transfer::start::{TransferRequest, begin};
use crate::ftp::transfer::transient::is_transient;
use crate::remote::{Completeness, Deadline, Error, Result};

/// Bytes taken at once.
const READ_SIZE: usize = 256 * 1024;
/// Bytes of one line of a listing, far above what a name can need. Of a longer line the caller gets one byte more than these.
pub const LINE_LIMIT: usize = 64 * 1024;
/// Bytes of a listing: some five million entries.
const LISTING_LIMIT: u64 = 512 << 20;

/// What a refusal to list says of a directory without entries. "File not found" may be said of the directory.
const EMPTY_WORDS: [&str; 4] = [
    "no files",
    "directory is empty",
    "empty directory",
    "no entries",
];

/// A listing whose lines are all there.
#[must_use = "its final reply is owed"]
#[derive(Debug)]
pub struct Listing<'a> {
    command: Command<'a>,
    /// What follows its final reply, which is owed; `None` where that is in.
    owed: Option<DownloadFollowup>,
    /// Commands that were sent since.
    asked: usize,
    in_full: Option<bool>,
    received: Completeness,
}

/// Lists the absolute path `directory` by `command`, line by line; returns when the last line is there, or `each` returns
/// false: then the listing is cut there.
pub fn listing<'a>(
    lease: &mut Lease,
    directory: &[u8],
    command: Command<'a>,
    deadline: &Deadline,
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Listing<'a>> {
    // Into the directory first and no argument then: names may hold what servers take for
    // patterns (Pure-FTPd, vsftpd: `*`, `?`, `[`) or for switches (`-`).
    let followup = DownloadFollowup::of(lease)?;
    let start = TransferRequest {
        leading: &[Command::Cwd(directory)],
        is_strict: true,
        following: followup.commands(),
        closes_our_half: followup.closes_our_half(lease)?,
        ..TransferRequest::of(command)
    };
    let mut listing = Listing {
        command,
        owed: None,
        asked: 0,
        in_full: None,
        received: Completeness::Whole,
    };
    let opened = match begin(lease, start, deadline) {
        Err(error) if is_empty_directory(&error, command) => return Ok(listing),
        opened => opened?,
    };
    if let Some(mut data) = opened.data {
        let whole = match lines(&mut data, command, lease.pool(), deadline, each) {
            Err(error @ Error::TimedOut { .. }) => return Err(error),
            Err(error) => {
                drop(data);
                return Err(last_words(lease, &command).unwrap_or(error));
            }
            Ok(whole) => whole,
        };
        if !whole {
            lease.control()?.give_up();
            listing.received = Completeness::Cut;
            return Ok(listing);
        }
        listing.in_full = data.ended_in_full();
        data.end();
    }
    listing.owed = (!opened.confirmed).then_some(followup);
    Ok(listing)
}

impl Listing<'_> {
    /// Sends commands that are answered after the final reply, as many as may be under way, where that is owed and
    /// this server was seen to answer in order. None may begin a transfer.
    pub fn ask(
        &mut self,
        lease: &mut Lease,
        commands: &[Command<'_>],
        deadline: &Deadline,
    ) -> Result<()> {
        if let Some(DownloadFollowup::Port(_)) = self.owed {
            self.asked = lease.control()?.send_some(commands, deadline)?;
        }
        Ok(())
    }

    /// Takes the final reply. Returns how much of the listing came ([`Completeness::Partial`] by the server's own word,
    /// [`Completeness::Cut`] at our limit), and the replies to the first of what was [asked](Self::ask).
    pub fn conclude(
        mut self,
        lease: &mut Lease,
        deadline: &Deadline,
    ) -> Result<(Completeness, Vec<Reply>)> {
        let Some(followup) = self.owed else {
            return Ok((self.received, Vec::new()));
        };
        let received = match followup.conclude(lease, &self.command, deadline) {
            Err(error) if is_empty_directory(&error, self.command) => {
                // Of that the data has no end that could be missing.
                self.in_full = None;
                Completeness::Whole
            }
            Ok(last) if self.asked > 0 && last.code == FILE_STATUS => {
                return Err(disorder(lease, self.command));
            }
            Err(error) if is_transient(&error, &self.command.to_string()) => {
                // Lines have come: once more, over another connection.
                return Err(Error::lost(self.command.to_string(), error));
            }
            last => match is_cut_off(&last?) {
                true => Completeness::Partial,
                false => Completeness::Whole,
            },
        };
        let mut replies = Vec::with_capacity(self.asked);
        for _ in 0..self.asked {
            let reply = lease.control()?.reply(&self.command, deadline)?;
            if is_of_transfer(&reply) {
                return Err(disorder(lease, self.command));
            }
            replies.push(reply);
        }
        if self.asked > 0 && !lease.control()?.in_step() {
            // More replies came than were asked for: they can't be matched to commands.
            return Err(disorder(lease, self.command));
        }
        check_end(lease.pool().profile(), self.in_full, &self.command)?;
        Ok((received, replies))
    }
}

/// The replies to a listing and to the commands after it are in no order.
fn disorder(lease: &mut Lease, command: Command<'_>) -> Error {
    let pool = Arc::clone(lease.pool());
    let control = lease.control();
    control.map_or_else(
        |error| error,
        |control| out_of_order(control, command, pool.profile()),
    )
}

/// Whether a reply is about a transfer or its data connection, and not about a file (RFC 959 section 5.4).
fn is_of_transfer(reply: &Reply) -> bool {
    reply.is_preliminary() || matches!(reply.code, 226 | 227 | 229 | 425 | 426)
}

/// Whether the server says that a listing does not show all that there is: "226 Output truncated to 10000 matches"
/// (Pure-FTPd, by default).
fn is_cut_off(reply: &Reply) -> bool {
    reply.lines.iter().any(|line| says_cut_off(line))
}

/// Whether a line of such a reply says so.
pub fn says_cut_off(line: &[u8]) -> bool {
    let text = without_names(&String::from_utf8_lossy(line), "");
    ["truncat", "incomplete", "too many"]
        .iter()
        .any(|words| text.contains(words))
}

/// Some servers refuse to list a directory that holds nothing: "550 No files found".
/// Of the refusal to enter a directory that says nothing: its path may hold the words.
pub fn is_empty_directory(error: &Error, command: Command<'_>) -> bool {
    match error {
        Error::Refused { tried, said, .. } if *tried == command.to_string() => {
            let words = without_names(said, tried);
            EMPTY_WORDS.iter().any(|sign| words.contains(sign))
        }
        _ => false,
    }
}

/// Cuts a data connection into lines; false when there were too many, or `each` has returned false. Of a line of more than [`LINE_LIMIT`] bytes only
/// the beginning is kept.
fn lines(
    data: &mut Stream,
    command: Command<'_>,
    pool: &Pool,
    deadline: &Deadline,
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<bool> {
    let mut buffer = vec![0; READ_SIZE];
    let mut rest: Vec<u8> = Vec::new();
    let mut total = 0;
    let keep = |rest: &mut Vec<u8>, part: &[u8]| {
        let room = (LINE_LIMIT + 1).saturating_sub(rest.len());
        rest.extend_from_slice(&part[..part.len().min(room)]);
    };
    loop {
        let length = data
            .read(&mut buffer, deadline)
            .map_err(|error| blame(command.to_string(), &error))?;
        if length == 0 {
            return Ok(rest.is_empty() || each(&rest));
        }
        pool.note_received(length);
        total += length as u64;
        let mut input = &buffer[..length];
        while let Some(end) = input.iter().position(|&byte| byte == b'\n') {
            let goes_on = if rest.is_empty() {
                each(&input[..end.min(LINE_LIMIT + 1)])
            } else {
                keep(&mut rest, &input[..end]);
                let goes_on = each(&rest);
                rest.clear();
                goes_on
            };
            if !goes_on {
                return Ok(false);
            }
            input = &input[end + 1..];
        }
        keep(&mut rest, input);
        if total > LISTING_LIMIT {
            return Ok(false);
        }
    }
}
