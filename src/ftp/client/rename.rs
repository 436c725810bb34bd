//! Renames as rename(2) does, also where the server's `RNTO` refuses to replace.
//!
//! The existing target is renamed to a temporary name, the rename is tried again, and the temporary file is deleted, or renamed
//! back if the rename still fails.
//!
//! # Invariants
//! At every moment either the old or the new content exists on the server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::ftp::control::Control;
use crate::ftp::profile::Profile;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{FILE_STATUS, Reply};
use crate::remote::{Deadline, Done, Error, Result, Why, make_temp_name};

/// The absolute paths of a rename.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The old name.
    pub from: &'a [u8],
    /// The new name.
    pub to: &'a [u8],
}

/// How long the names are left alone after a refusal, before they are looked at again: some servers (storage of Android)
/// refuse a rename and complete it then. Not where moving aside has worked before.
const LATE_RENAME: Duration = Duration::from_millis(1200);

/// The result of `RNFR` and `RNTO`, after workarounds where they were refused. The outer error is one of the connection, the
/// inner one the rename's. `again` as in [`crate::ftp::client::step_flight::perform`].
pub fn outcome(
    control: &mut Control,
    profile: &Profile,
    names: Names<'_>,
    rnfr: &Reply,
    rnto: &Reply,
    again: bool,
    deadline: &Deadline,
) -> Result<Result<Done>> {
    // Some servers answer RNFR by 250; a completed RNTO decides.
    if rnto.is_completion() {
        return Ok(Ok(Done::Changed));
    }
    if !rnfr.is_intermediate() && !rnfr.is_completion() {
        let refusal = rnfr.refusal(Command::Rnfr(names.from));
        if again
            && refusal.why() != Some(Why::Denied)
            && kind(control, names.to, deadline)?.is_some()
        {
            return Ok(Ok(Done::Changed));
        }
        return Ok(Err(refusal));
    }
    let refusal = rnto.refusal(Command::Rnto(names.to));
    if rnto.code == BUSY && !rnto.words(Command::Rnto(names.to)).contains("exist") {
        // In use: a target that is moved away could not be moved back either.
        return Ok(Err(refusal));
    }
    if differ_in_case(names) && rename_through_temp(control, names, deadline)? {
        return Ok(Ok(Done::Changed));
    }
    let is_known = profile.ask(|learned| learned.moves_aside);
    if !is_known
        && deadline
            .remaining()
            .is_some_and(|left| left > LATE_RENAME * 2)
    {
        thread::sleep(LATE_RENAME);
    }
    let Some(existing) = kind(control, names.to, deadline)? else {
        return Ok(Err(refusal));
    };
    if is_gone(control, names.from, deadline)? {
        log::info!("rename: {refusal}; the server has done it all the same");
        return Ok(Ok(Done::Changed));
    }
    let is_renamed = match existing {
        Existing::File => {
            let is_renamed = replace_file(control, names, deadline)?;
            if is_renamed && !is_known {
                profile.learn(|learned| learned.moves_aside = true);
            }
            is_renamed
        }
        Existing::Directory => match replace_empty_directory(control, names, deadline)? {
            Ok(()) => true,
            Err(Some(error)) => return Ok(Err(error)),
            Err(None) => false,
        },
    };
    Ok(if is_renamed {
        Ok(Done::Changed)
    } else {
        Err(refusal)
    })
}

/// Whether the server says for certain that nothing has this name.
///
/// Where it knows `SIZE`, not by `RNFR` alone: ProFTPD refuses the next `RNFR` then, and takes the next `RNTO` for the first one.
fn is_gone(control: &mut Control, path: &[u8], deadline: &Deadline) -> Result<bool> {
    let size = control.command(Command::Size(path), deadline)?;
    if size.is_unknown_command() {
        // 501 and 503 are about the order of commands: another RNFR came before.
        let rnfr = control.command(Command::Rnfr(path), deadline)?;
        return Ok(rnfr.code >= 500 && !matches!(rnfr.code, 500..=504));
    }
    if size.code < 500 || control.command(Command::Cwd(path), deadline)?.code < 500 {
        return Ok(false);
    }
    // Both refuse a link that leads nowhere, too. Where it is there, the RNFR gets its RNTO, by which nothing changes.
    let rnfr = control.command(Command::Rnfr(path), deadline)?;
    if rnfr.code < 400 {
        control.command(Command::Rnto(path), deadline)?;
    }
    Ok(rnfr.code >= 500 && !matches!(rnfr.code, 500..=504))
}

/// "Requested file action not taken. File unavailable (e.g., file busy)" (RFC 959 section 4.2.2).
const BUSY: u16 = 450;

/// The kind of an existing name.
enum Existing {
    File,
    Directory,
}

/// Asks by `SIZE` and `CWD` (no code depends on the working directory). On a server without `SIZE`, the reply to `RNFR`
/// shows whether the name exists; the next `RNFR` overrides it.
fn kind(control: &mut Control, path: &[u8], deadline: &Deadline) -> Result<Option<Existing>> {
    let questions = [Command::Size(path), Command::Cwd(path)];
    let mut replies = control.flight(&questions, deadline)?;
    // A server with a thread for each command may swap the two.
    let is_swapped = |replies: &[Reply]| {
        let by_code = |at: usize, code_is_of_size: bool| {
            replies.get(at).is_some_and(|reply| {
                reply.is_completion() && (reply.code == FILE_STATUS) == code_is_of_size
            })
        };
        by_code(0, false) || by_code(1, true)
    };
    if is_swapped(&replies) {
        replies = Vec::new();
        for question in questions {
            replies.push(control.command(question, deadline)?);
        }
    }
    let yes = |at: usize| replies.get(at).is_some_and(Reply::is_completion);
    Ok(if yes(1) {
        Some(Existing::Directory)
    } else if yes(0) {
        Some(Existing::File)
    } else if replies.first().is_some_and(Reply::is_unknown_command) {
        let rnfr = control.command(Command::Rnfr(path), deadline)?;
        rnfr.is_intermediate().then_some(Existing::File)
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
                "rename: replaced file is left on the server: {}",
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
            "rename: {} could not be replaced and is now called {}",
            names.to.escape_ascii(),
            temp.escape_ascii()
        );
    }
    Ok(false)
}

/// Whether a case-insensitive server takes both names for one.
fn differ_in_case(names: Names<'_>) -> bool {
    let folded = |name| String::from_utf8_lossy(name).to_lowercase();
    folded(names.from) == folded(names.to)
}

/// Renames by way of a temporary name, on a case-insensitive server that refuses because the new name exists: it is the old
/// one. False, with everything as before, where the new name is another file's.
fn rename_through_temp(
    control: &mut Control,
    names: Names<'_>,
    deadline: &Deadline,
) -> Result<bool> {
    let temp = temp_path(names.to);
    let away = Names {
        from: names.from,
        to: &temp,
    };
    if !rename(control, away, deadline)? {
        return Ok(false);
    }
    for (to, is_renamed) in [(names.to, true), (names.from, false)] {
        let step = Names { from: &temp, to };
        if rename(control, step, deadline)? {
            return Ok(is_renamed);
        }
    }
    log::error!(
        "rename: {} could not be renamed and is now called {}",
        names.from.escape_ascii(),
        temp.escape_ascii()
    );
    Ok(false)
}

/// Replaces an empty directory, as rename(2) does; `RMD` refuses every other one, which is the error then.
fn replace_empty_directory(
    control: &mut Control,
    names: Names<'_>,
    deadline: &Deadline,
) -> Result<std::result::Result<(), Option<Error>>> {
    let command = Command::Rmd(names.to);
    let removed = control.command(command, deadline)?;
    if !removed.is_completion() {
        let refusal = removed.refusal(command);
        let is_full = matches!(
            refusal.why(),
            Some(Why::Unsaid | Why::NotEmpty | Why::Exists)
        );
        return Ok(Err(is_full.then(|| {
            Error::refused(Why::NotEmpty, command.to_string(), removed.to_string())
        })));
    }
    if rename(control, names, deadline)? {
        return Ok(Ok(()));
    }
    control.command(Command::Mkd(names.to), deadline)?;
    Ok(Err(None))
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
