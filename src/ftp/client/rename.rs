//! Renames as rename(2) does, also where the server's `RNTO` refuses to replace.
//!
//! The existing target is renamed to a temporary name, the rename is tried again, and the temporary file is deleted, or renamed
//! back if the rename still fails.
//!
//! # Invariants
//! At every moment either the old or the new content exists on the server.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::ftp::control::Control;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Done, Result, Why, make_temp_name};

/// The absolute paths of a rename.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The old name.
    pub from: &'a [u8],
    /// The new name.
    pub to: &'a [u8],
}

/// What became of `RNFR` and `RNTO`, going on where there is another way. The outer result is the
/// connection's, the inner one the rename's. `again` as in `steps.rs`.
pub fn outcome(
    control: &mut Control,
    names: Names<'_>,
    rnfr: &Reply,
    rnto: &Reply,
    again: bool,
    deadline: &Deadline,
) -> Result<Result<Done>> {
    if !rnfr.is_intermediate() {
        let refusal = rnfr.refusal(Command::Rnfr(names.from));
        if again
            && refusal.why() != Some(Why::Denied)
            && kind(control, names.to, deadline)?.is_some()
        {
            return Ok(Ok(Done::Changed));
        }
        return Ok(Err(refusal));
    }
    if rnto.is_completion() {
        return Ok(Ok(Done::Changed));
    }
    let refusal = rnto.refusal(Command::Rnto(names.to));
    if rnto.code == BUSY && !rnto.words(Command::Rnto(names.to)).contains("exist") {
        // In use: what is moved aside for it could not be moved back either.
        return Ok(Err(refusal));
    }
    if differ_in_case(names) && by_another_name(control, names, deadline)? {
        return Ok(Ok(Done::Changed));
    }
    let made_way = match kind(control, names.to, deadline)? {
        Some(Bears::File) => replace_file(control, names, deadline)?,
        Some(Bears::Directory) => instead_of_empty(control, names, deadline)?,
        None => false,
    };
    Ok(if made_way {
        Ok(Done::Changed)
    } else {
        Err(refusal)
    })
}

/// "Requested file action not taken. File unavailable (e.g., file busy)" (RFC 959 section 4.2.2).
const BUSY: u16 = 450;

/// What bears a name.
enum Bears {
    File,
    Directory,
}

/// Asks by `SIZE` and `CWD`; the working directory means nothing to us. A server without `SIZE` tells by what it says to
/// `RNFR`, which every further one takes back.
fn kind(control: &mut Control, path: &[u8], deadline: &Deadline) -> Result<Option<Bears>> {
    let replies = control.flight(&[Command::Size(path), Command::Cwd(path)], deadline)?;
    let yes = |at: usize| replies.get(at).is_some_and(Reply::is_completion);
    Ok(if yes(1) {
        Some(Bears::Directory)
    } else if yes(0) {
        Some(Bears::File)
    } else if replies.first().is_some_and(Reply::is_unknown_command) {
        let rnfr = control.command(Command::Rnfr(path), deadline)?;
        rnfr.is_intermediate().then_some(Bears::File)
    } else {
        None
    })
}

fn rename(control: &mut Control, names: Names<'_>, deadline: &Deadline) -> Result<bool> {
    let flight = [Command::Rnfr(names.from), Command::Rnto(names.to)];
    let replies = control.flight(&flight, deadline)?;
    Ok(replies.last().is_some_and(Reply::is_completion))
}

fn replace_file(control: &mut Control, names: Names<'_>, deadline: &Deadline) -> Result<bool> {
    let temp = temp_path(names.to);
    let away = Names {
        from: names.to,
        to: &temp,
    };
    if !rename(control, away, deadline)? {
        return Ok(false);
    }
    if rename(control, names, deadline)? {
        let reply = control.command(Command::Dele(&temp), deadline)?;
        if !reply.is_completion() {
            log::warn!(
                "a replaced file is left on the server: {}",
                reply.refusal(Command::Dele(&temp))
            );
        }
        return Ok(true);
    }
    let back = Names {
        from: &temp,
        to: names.to,
    };
    if !rename(control, back, deadline)? {
        log::error!(
            "{} could not be replaced and is now called {}",
            names.to.escape_ascii(),
            temp.escape_ascii()
        );
    }
    Ok(false)
}

/// Whether a server that folds case takes both names for one.
fn differ_in_case(names: Names<'_>) -> bool {
    let folded = |name| String::from_utf8_lossy(name).to_lowercase();
    folded(names.from) == folded(names.to)
}

/// Where a file's own name in another case counts as taken: by a name that nothing else has. False, with
/// all as it was, where the new name is another file's after all.
fn by_another_name(control: &mut Control, names: Names<'_>, deadline: &Deadline) -> Result<bool> {
    let temp = temp_path(names.to);
    let away = Names {
        from: names.from,
        to: &temp,
    };
    if !rename(control, away, deadline)? {
        return Ok(false);
    }
    for (to, arrived) in [(names.to, true), (names.from, false)] {
        let on = Names { from: &temp, to };
        if rename(control, on, deadline)? {
            return Ok(arrived);
        }
    }
    log::error!(
        "{} could not be renamed and is now called {}",
        names.from.escape_ascii(),
        temp.escape_ascii()
    );
    Ok(false)
}

/// rename(2) replaces an empty directory; `RMD` refuses every other one.
fn instead_of_empty(control: &mut Control, names: Names<'_>, deadline: &Deadline) -> Result<bool> {
    if !control
        .command(Command::Rmd(names.to), deadline)?
        .is_completion()
    {
        return Ok(false);
    }
    if rename(control, names, deadline)? {
        return Ok(true);
    }
    control.command(Command::Mkd(names.to), deadline)?;
    Ok(false)
}

/// A temporary name in the directory of `path`.
fn temp_path(path: &[u8]) -> Vec<u8> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cut = path
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |slash| slash + 1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut temp = path[..cut].to_vec();
    temp.extend_from_slice(make_temp_name("aside", number).as_bytes());
    temp
}
