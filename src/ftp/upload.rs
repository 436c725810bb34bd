//! Uploads: bytes on their way to the server, by `STOR` or `APPE`.
//!
//! The one idea: an upload is a success only when the final reply says so (2xx). An end of the data
//! connection is the end of the file to a server, so one that is no end is made by a reset instead.

use std::ops::Range;
use std::sync::Arc;

use crate::ftp::begin::{Start, begin, confirm, last_words};
use crate::ftp::command::Command;
use crate::ftp::control::blame;
use crate::ftp::pool::Lease;
use crate::ftp::stream::Stream;
use crate::remote::{Deadline, Error, ReadAt, Result};

/// Bytes moved at once between the spool and the data connection.
const CHUNK: usize = 256 * 1024;

/// Stores the first `size` bytes of `bytes` from `from` on, by `command`, which is STOR or APPE.
///
/// Returns once the server has confirmed the whole.
pub fn upload(
    lease: &mut Lease,
    command: Command<'_>,
    bytes: &dyn ReadAt,
    from: u64,
    size: u64,
    deadline: &Deadline,
) -> Result<()> {
    let opened = begin(lease, Start::of(command), deadline)?;
    let (Some(mut data), false) = (opened.data, opened.confirmed) else {
        return Err(Error::misbehaved(
            command.to_string(),
            "the server said that it was done before it got a byte",
        ));
    };
    let cutter = data
        .cutter()
        .ok()
        .map(|cutter| lease.pool().register_cutter(cutter));
    let pool = Arc::clone(lease.pool());
    let moved = || pool.note_progress();
    let sent = send(&mut data, command, bytes, from..size, &moved, deadline);
    if let Some(cutter) = cutter {
        lease.pool().unregister(cutter);
    }
    if let Err(Error::Local { .. }) = &sent {
        // Our own disk failed: a reset instead of an end, lest half a file pass for a whole one.
        drop(data);
        lease.control()?.give_up();
        return sent;
    }
    drop(data);
    if let Err(error @ Error::TimedOut { .. }) = sent {
        // The patience is over: no more of it for the server's words.
        lease.control()?.give_up();
        return Err(error);
    }
    if let Err(error) = sent {
        return Err(last_words(lease, &command).unwrap_or(error));
    }
    let reply = lease.control()?.reply(&command, deadline)?;
    lease.want_spare();
    confirm(lease, &reply, &command)
}

fn send(
    data: &mut Stream,
    command: Command<'_>,
    bytes: &dyn ReadAt,
    range: Range<u64>,
    moved: &dyn Fn(),
    deadline: &Deadline,
) -> Result<()> {
    let Range { start: mut at, end } = range;
    let mut buffer = vec![0; CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK))];
    while at < end {
        let length = buffer.len().min(usize::try_from(end - at).unwrap_or(CHUNK));
        let chunk = &mut buffer[..length];
        bytes
            .read_exact_at(chunk, at)
            .map_err(|error| Error::local("reading the spool", &error))?;
        data.write_all(chunk, deadline)
            .map_err(|error| blame(command.to_string(), &error))?;
        moved();
        at += length as u64;
    }
    data.finish_writing(deadline)
        .map_err(|error| blame(command.to_string(), &error))
}
