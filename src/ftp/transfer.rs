//! Transfers: what runs over a data connection, from the command that begins it to the final reply.
//!
//! The one idea: a transfer owns its lease. However it ends, the control connection is either in
//! step afterwards or dropped by the pool. Success means the final reply said so (2xx), never
//! just that the data connection ended.
//!
//! `REST` and the command behind it fly together (RFC 3659 section 5.4 wants them adjacent); a
//! refused `REST` is seen before the first byte is handed out.

use std::sync::Arc;
use std::time::Duration;

use crate::ftp::command::Command;
use crate::ftp::control::{Control, blame};
use crate::ftp::data;
use crate::ftp::pool::Lease;
use crate::ftp::profile::Profile;
use crate::ftp::reply::Reply;
use crate::ftp::stream::Stream;
use crate::remote::{Deadline, Error, Result, Source, Why};

/// Bytes moved at once between a file and the data connection.
const CHUNK: usize = 256 * 1024;
/// Bytes of one line of a listing, far above what a name can need.
const LINE_LIMIT: usize = 64 * 1024;
/// Bytes of a listing: some five million entries.
const LISTING_LIMIT: u64 = 512 << 20;
/// How long an ended download may take to bring the control connection back in step.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a server that broke off a transfer may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A file on its way to us.
#[derive(Debug)]
pub struct Download {
    lease: Lease,
    data: Option<Stream>,
    tried: String,
    /// Whether the final reply has come with the preliminary one (or instead of it).
    confirmed: bool,
    cutter: u64,
}

impl Download {
    /// Begins to retrieve the file at the absolute path `path` from the offset `from`.
    pub fn open(mut lease: Lease, path: &[u8], from: u64, deadline: &Deadline) -> Result<Self> {
        let command = Command::Retr(path);
        let mut opened = begin(&mut lease, from, command, deadline)?;
        let cutter = match opened.data.as_mut().and_then(|data| data.cutter().ok()) {
            Some(cutter) => lease.pool().register_cutter(cutter),
            None => u64::MAX,
        };
        Ok(Self {
            lease,
            data: opened.data,
            tried: command.to_string(),
            confirmed: opened.confirmed,
            cutter,
        })
    }

    fn finish(&mut self, deadline: &Deadline) -> Result<()> {
        // Closed for good, the cutter's handle too: ProFTPD confirms a transfer only when we have closed.
        self.lease.pool().unregister(self.cutter);
        let mut in_full = None;
        if let Some(data) = self.data.take() {
            in_full = data.ended_in_full();
            data.end();
        }
        if !self.confirmed {
            let reply = self.lease.control()?.reply(&self.tried, deadline)?;
            self.confirmed = true;
            confirm(&mut self.lease, &reply, &self.tried)?;
        }
        check_end(self.lease.pool().profile(), in_full, &self.tried)
    }
}

impl Source for Download {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize> {
        let Some(data) = &mut self.data else {
            return Ok(0);
        };
        match data.read(buffer, deadline) {
            Ok(0) => self.finish(deadline).map(|()| 0),
            Ok(length) => {
                self.lease.pool().note_progress();
                Ok(length)
            }
            Err(error) => {
                let error = blame(self.tried.clone(), &error);
                if matches!(error, Error::TimedOut { .. }) {
                    return Err(error);
                }
                let words = last_words(&mut self.lease, &self.tried);
                // The final reply is in, or will never come: nothing is left to settle.
                self.data = None;
                Err(words.unwrap_or(error))
            }
        }
    }

    fn wanted(&self) -> bool {
        self.lease.pool().is_wanted()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.lease.pool().unregister(self.cutter);
        if self.data.take().is_some()
            && !self.confirmed
            && let Ok(control) = self.lease.control()
        {
            settle(control, &self.tried);
        }
    }
}

/// Brings a control connection back in step after its data connection was closed by us.
///
/// Servers answer with 426, 451 or 226, some with two replies, some (Pure-FTPd) late: a `NOOP` behind
/// it marks the end. Whatever does not fit leaves the connection out of step, and the pool drops it.
fn settle(control: &mut Control, tried: &str) {
    let deadline = Deadline::after(SETTLE);
    let mut noop_answered = || -> Result<()> {
        control.reply(&tried, &deadline)?;
        control.send(&[Command::Noop], &deadline)?;
        let mut reply = control.reply(&Command::Noop, &deadline)?;
        if reply.code != 200 {
            // That was a second reply to the broken transfer; the one to NOOP is still owed.
            control.expect_one_more();
            reply = control.reply(&Command::Noop, &deadline)?;
        }
        if reply.code == 200 {
            Ok(())
        } else {
            control.give_up();
            Err(reply.refusal(Command::Noop))
        }
    };
    if let Err(error) = noop_answered() {
        log::debug!("dropping a control connection after an ended download: {error}");
    }
}

/// Lists the absolute path `directory` by `command`, line by line.
///
/// Returns whether all of it came: false when the listing was cut off at our limit.
pub fn listing(
    lease: &mut Lease,
    directory: &[u8],
    command: Command<'_>,
    deadline: &Deadline,
    each: &mut dyn FnMut(&[u8]),
) -> Result<bool> {
    // Into the directory first and no argument then: names may hold what servers take for
    // patterns (Pure-FTPd, vsftpd: `*`, `?`, `[`) or for switches (`-`).
    let change = Command::Cwd(directory);
    let reply = lease.control()?.command(change, deadline)?;
    if !reply.is_completion() {
        return Err(reply.refusal(change));
    }
    let opened = match begin(lease, 0, command, deadline) {
        Err(error) if is_empty_directory(&error) => return Ok(true),
        opened => opened?,
    };
    let mut in_full = None;
    if let Some(mut data) = opened.data {
        let whole = match lines(&mut data, command, deadline, each) {
            Err(error @ Error::TimedOut { .. }) => return Err(error),
            Err(error) => {
                drop(data);
                return Err(last_words(lease, &command).unwrap_or(error));
            }
            Ok(whole) => whole,
        };
        if !whole {
            lease.control()?.give_up();
            return Ok(false);
        }
        in_full = data.ended_in_full();
        data.end();
    }
    if !opened.confirmed {
        let reply = lease.control()?.reply(&command, deadline)?;
        match confirm(lease, &reply, &command) {
            Err(error) if is_empty_directory(&error) => return Ok(true),
            result => result?,
        }
    }
    check_end(lease.pool().profile(), in_full, &command)?;
    Ok(true)
}

/// Reads the final reply to a transfer.
pub fn confirm(lease: &mut Lease, reply: &Reply, tried: &dyn std::fmt::Display) -> Result<()> {
    if reply.is_completion() {
        return Ok(());
    }
    let pool = Arc::clone(lease.pool());
    let control = lease.control()?;
    // vsftpd says 522, ProFTPD and FileZilla Server 425, of a session that was not resumed.
    if matches!(reply.code, 425 | 522) && pool.step_back(control) {
        control.give_up();
        log::info!("{tried}: {reply}; going on with TLS 1.2");
        return Err(Error::lost(tried.to_string(), reply));
    }
    Err(reply.refusal(tried))
}

/// An encrypted connection can be cut by others, but only the server can say that it is at its end.
/// Where the server is known to say so, an end without that is none.
fn check_end(
    profile: &Profile,
    in_full: Option<bool>,
    tried: &dyn std::fmt::Display,
) -> Result<()> {
    match in_full {
        Some(true) => {
            profile.learn(|learned| learned.ends_in_full = true);
            Ok(())
        }
        Some(false) if profile.ask(|learned| learned.ends_in_full) => Err(Error::lost(
            tried.to_string(),
            "the encrypted data ended without the server's saying so",
        )),
        _ => Ok(()),
    }
}

/// Some servers refuse to list a directory that holds nothing: "550 No files found".
fn is_empty_directory(error: &Error) -> bool {
    matches!(error, Error::Refused { said, .. } if said.to_ascii_lowercase().contains("no files"))
}

/// A transfer that has begun.
pub struct Opened {
    /// The data connection, where there is one.
    pub data: Option<Stream>,
    /// Whether the final reply has come already.
    pub confirmed: bool,
}

/// Opens a data connection and sends the command; returns when the server has taken it.
///
/// Where it is not known yet how data connections come about, one way is tried after the other.
pub fn begin(
    lease: &mut Lease,
    from: u64,
    command: Command<'_>,
    deadline: &Deadline,
) -> Result<Opened> {
    let pool = Arc::clone(lease.pool());
    let (profile, policy) = (pool.profile(), pool.data());
    let control = lease.control()?;
    if control.is_used_up() {
        pool.step_back(control);
        control.give_up();
        return Err(Error::lost(
            command.to_string(),
            "the server gave no ticket to resume its TLS session by",
        ));
    }
    loop {
        let opening = data::open(control, profile, policy, command, deadline)?;
        let attempt = opening.attempt();
        match begin_over(opening, control, profile, from, command, deadline) {
            Ok(mut opened) => {
                attempt.worked(profile);
                if let Some(data) = &mut opened.data
                    && let Err(error) = control.protect(data, deadline)
                {
                    drop(opened);
                    return Err(unprotected(lease, command, error));
                }
                return Ok(opened);
            }
            Err(error) => attempt.failed(control, profile, policy, error)?,
        }
    }
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
        // Already one that is worth another try.
        Some(lost @ Error::Lost { .. }) => lost,
        _ if matches!(error, Error::Barred { .. }) => error,
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

fn begin_over(
    opening: data::Opening,
    control: &mut Control,
    profile: &Profile,
    from: u64,
    command: Command<'_>,
    deadline: &Deadline,
) -> Result<Opened> {
    let short = opening.patience(deadline);
    let deadline = short.as_ref().unwrap_or(deadline);
    if from > 0 {
        control.send(&[Command::Rest(from), command], deadline)?;
        let reply = control.reply(&Command::Rest(from), deadline)?;
        if !reply.is_intermediate() {
            // The command behind it would begin at the wrong byte: neither may be used.
            control.give_up();
            profile.learn(|learned| learned.rest = Some(false));
            return Err(Error::refused(
                Why::Unsupported,
                Command::Rest(from).to_string(),
                reply.to_string(),
            ));
        }
    } else {
        control.send(&[command], deadline)?;
    }
    let reply = control.reply(&command, deadline)?;
    if reply.is_preliminary() {
        let (data, ended) = opening.finish(control, deadline)?;
        return Ok(Opened {
            data: Some(data),
            confirmed: ended.is_some(),
        });
    }
    if reply.is_completion() {
        // Done at once, without a preliminary reply: what there is, is in the data connection.
        return Ok(Opened {
            data: opening.at_once()?,
            confirmed: true,
        });
    }
    Err(reply.refusal(command))
}

/// What the server says after a data connection broke: its reason is better than ours. `None`
/// when it says nothing, or nothing bad.
pub fn last_words(lease: &mut Lease, tried: &dyn std::fmt::Display) -> Option<Error> {
    let control = lease.control().ok()?;
    match control.reply(tried, &Deadline::after(LAST_WORDS)) {
        Ok(reply) if !reply.is_completion() => confirm(lease, &reply, tried).err(),
        _ => {
            control.give_up();
            None
        }
    }
}

/// Cuts a data connection into lines; false when there were too many.
fn lines(
    data: &mut Stream,
    command: Command<'_>,
    deadline: &Deadline,
    each: &mut dyn FnMut(&[u8]),
) -> Result<bool> {
    let mut buffer = vec![0; CHUNK];
    let mut rest: Vec<u8> = Vec::new();
    let mut total = 0;
    loop {
        let length = data
            .read(&mut buffer, deadline)
            .map_err(|error| blame(command.to_string(), &error))?;
        if length == 0 {
            if !rest.is_empty() {
                each(&rest);
            }
            return Ok(true);
        }
        total += length as u64;
        let mut input = &buffer[..length];
        while let Some(end) = input.iter().position(|&byte| byte == b'\n') {
            if rest.is_empty() {
                each(&input[..end]);
            } else {
                rest.extend_from_slice(&input[..end]);
                each(&rest);
                rest.clear();
            }
            input = &input[end + 1..];
        }
        rest.extend_from_slice(input);
        if rest.len() > LINE_LIMIT || total > LISTING_LIMIT {
            return Ok(false);
        }
    }
}
