//! Probes what a server does with `APPE`, and with `REST` before `STOR` within a file and beyond its end, on a temporary
//! file.
//!
//! A server is trusted to store a part of a file once that was seen to work. A probe on the user's own file would need all
//! of that file to repair it; a file of ten bytes shows the same for a few round trips. It is created in the directory of
//! the user's file, since permissions and disks differ between directories, and removed again. `ftpfs probe` stores and
//! judges by the same functions.
//!
//! * `odd_names`: learns whether names that are not UTF-8 are kept, before one is stored

pub(crate) mod odd_names;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::ftp::control::version_query::number;
use crate::ftp::pool::{Lease, Pool, Purpose};
use crate::ftp::profile::Support;
use crate::ftp::profile::partial_store;
use crate::ftp::profile::{Learned, Part, Profile, WRAPS};
use crate::ftp::protocol::command::Command;
use crate::ftp::transfer::download::Download;
use crate::ftp::transfer::transient::repeat_while_transient;
use crate::ftp::transfer::upload::upload;
use crate::remote::{
    Ask, Deadline, Error, Reading, RemotePath, Result, Source, Why, make_temp_name,
};

/// Content of the temporary file before the probe.
const BEFORE: &[u8] = b"0123456789";
/// Bytes that the probe writes into it.
const PART: &[u8] = b"ab";
/// Offset at which they are written.
const AT: usize = 3;
/// Offset beyond the end at which they are written once more. A block of a disk, so that the hole may be a real one.
const BEYOND: usize = 4096;
/// Offset at which 32 bits, with a sign or without, end, and one more block.
const FAR: u64 = WRAPS[1] + BEYOND as u64;
/// Least time for the removal of the temporary file, also when the operation's deadline has passed.
const MIN_REMOVAL_TIME: Duration = Duration::from_secs(5);

/// What `REST n` before `STOR` does to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchOutcome {
    /// The bytes are written at the offset, and the bytes after them stay.
    Keeps,
    /// The bytes are written at the offset, and the file ends after them.
    Cuts,
    /// The bytes are appended at the end.
    Appends,
    /// The bytes become the whole file.
    Replaces,
    /// The file has other content.
    Wrong,
    /// The server refuses; its reply.
    Refused(String),
}

impl PatchOutcome {
    /// The outcome for a file that held `before` and holds `now`, after `part` was stored at offset `at`.
    pub fn of(before: &[u8], at: usize, part: &[u8], now: &[u8]) -> Self {
        let end = at + part.len();
        let kept = [&before[..at], part, &before[end..]].concat();
        if now == kept {
            Self::Keeps
        } else if now == &kept[..end] {
            Self::Cuts
        } else if now == [before, part].concat() {
            Self::Appends
        } else if now == part {
            Self::Replaces
        } else {
            Self::Wrong
        }
    }

    /// Remembers the outcome for the plans of updates.
    pub fn learn(&self, profile: &Profile) {
        let (at, keeps) = match self {
            Self::Keeps => (true, Some(true)),
            Self::Cuts => (true, Some(false)),
            _ => (false, None),
        };
        profile.learn(|learned| {
            (learned.partial.rest_stor, learned.partial.rest_stor_keeps) =
                (Support::from(at), keeps.into())
        });
    }
}

/// Learns whether `STOR` after `REST` writes at the offset, and whether the bytes after the part stay. `path` is absolute and
/// names nothing yet. An error means that nothing was learned.
pub fn probe_patch(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<()> {
    let outcome = with_temp_file(pool, path, ask, || try_patch(pool, path, ask))?;
    log::info!(
        "patch probe: REST before STOR: {}",
        match outcome {
            PatchOutcome::Keeps => "writes a part of a file in place",
            PatchOutcome::Cuts => "writes at the offset and truncates the file after the part",
            _ => "does not write at the offset",
        }
    );
    outcome.learn(pool.profile());
    Ok(())
}

/// Learns whether `STOR` after `REST` beyond the end of a file makes zeros of what lies between, and what it does within a
/// file, unless that is known. `path` is absolute and names nothing yet. An error means that nothing was learned.
pub fn probe_holes(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<()> {
    let profile = pool.profile();
    let is_known = |learned: &Learned| {
        let partial = &learned.partial;
        let is_lacked = partial.rest_stor == Support::No || partial.rest_retr == Support::No;
        is_lacked || partial.rest_stor_beyond.is_known()
    };
    if profile.ask(is_known) {
        return Ok(());
    }
    let is_proven = profile.ask(|learned| learned.partial.rest_stor == Support::Yes);
    let makes = with_temp_file(pool, path, ask, || {
        let outcome = try_patch(pool, path, ask)?;
        if !is_proven {
            outcome.learn(profile);
        }
        match outcome {
            PatchOutcome::Keeps | PatchOutcome::Cuts => try_beyond(pool, path, ask),
            // Parts of other files were stored: it is about this directory.
            _ if is_proven => Err(Error::misbehaved(
                "patch probe",
                "it refuses here what it does elsewhere",
            )),
            _ => Ok(false),
        }
    })?;
    log::info!(
        "patch probe: REST beyond the end before STOR: {}",
        match makes {
            true => "makes a hole",
            false => "makes no hole; zeros are sent instead",
        }
    );
    profile.learn(|learned| learned.partial.rest_stor_beyond = makes.into());
    Ok(())
}

/// Whether `APPE` to `file` keeps the content of the file: known, or tried on a temporary file in the same directory. False,
/// without being remembered, where that file cannot be created.
pub fn appends(pool: &Arc<Pool>, file: &RemotePath, ask: &Ask<'_>) -> Result<bool> {
    match pool
        .profile()
        .ask(|learned| (learned.partial.appe_keeps, learned.partial.appe))
    {
        (_, Support::No) => return Ok(false),
        (true, _) => return Ok(true),
        (false, _) => {}
    }
    let tried = match probe_append(pool, file, ask) {
        // The connection failed, not the command, and the file of the user has not been touched.
        Err(Error::Lost { .. }) if ask.deadline.remaining().is_some() => {
            probe_append(pool, file, ask)
        }
        tried => tried,
    };
    match tried {
        Ok(appends) => {
            if appends {
                // What is refused from now on is refused for the file.
                partial_store::took(pool.profile(), Part::Append);
            }
            log::info!(
                "patch probe: APPE: {}",
                match appends {
                    true => "appends",
                    false => "does not append; uploading whole files instead",
                }
            );
            pool.profile().learn(|learned| match appends {
                true => (learned.partial.appe, learned.partial.appe_keeps) = (Support::Yes, true),
                false => learned.lacks(Part::Append),
            });
            Ok(appends)
        }
        Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => Err(error),
        Err(error) => {
            log::info!("patch probe: APPE not tried: {error}; uploading all of {file} instead");
            Ok(false)
        }
    }
}

/// Whether `APPE` keeps the content of a temporary file in the directory of `file`.
fn probe_append(pool: &Arc<Pool>, file: &RemotePath, ask: &Ask<'_>) -> Result<bool> {
    let path = temp_path(pool, file, "append")?;
    with_temp_file(pool, &path, ask, || try_append(pool, &path, ask))
}

/// Whether `STOR` after `REST` beyond 4 GiB, and beyond the end of a file, stores there: known in this mount, or tried on a
/// temporary file in the directory of `file`, on a server that was seen to make holes.
pub fn reaches_far(pool: &Arc<Pool>, file: &RemotePath, ask: &Ask<'_>) -> Result<bool> {
    if pool
        .profile()
        .ask(|learned| learned.this_mount.parts.reaches_far)
    {
        return Ok(true);
    }
    let path = temp_path(pool, file, "far")?;
    let reaches = with_temp_file(pool, &path, ask, || try_far(pool, &path, ask))?;
    if !reaches {
        log::info!("patch probe: REST does not reach beyond 4 GiB; zeros are sent for holes");
    }
    pool.profile().learn(|learned| match reaches {
        true => learned.this_mount.parts.reaches_far = true,
        false => learned.lacks(Part::Beyond),
    });
    Ok(reaches)
}

/// The absolute path of a new temporary file for a probe by this `name`, in the directory of `file`.
fn temp_path(pool: &Pool, file: &RemotePath, name: &str) -> Result<Vec<u8>> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = make_temp_name(name, COUNT.fetch_add(1, Ordering::Relaxed));
    let temp = file.parent().unwrap_or_default().join(name.as_bytes());
    let no_name = || Error::refused(Why::Unsupported, "patch probe", "no name for its file");
    pool.root().absolute(&temp.ok_or_else(no_name)?)
}

/// Runs `probe`, which creates the temporary file `path`, and removes that file.
pub(crate) fn with_temp_file<T>(
    pool: &Arc<Pool>,
    path: &[u8],
    ask: &Ask<'_>,
    probe: impl Fn() -> Result<T>,
) -> Result<T> {
    let probed = probe();
    let shown = String::from_utf8_lossy(path);
    match remove(pool, path, ask) {
        Ok(()) => {}
        // The file may never have been created.
        Err(error @ Error::Refused { .. }) if probed.is_err() => {
            log::info!("patch probe: {error}");
        }
        Err(error @ Error::Refused { .. }) => {
            log::warn!("patch probe: temporary file {shown:?} is left on the server: {error}")
        }
        Err(error) => {
            log::warn!("patch probe: temporary file {shown:?} may be left on the server: {error}")
        }
    }
    probed
}

/// Removes the file, also after the deadline, on a second connection where the first one breaks, and again where that is
/// refused for the moment.
fn remove(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<()> {
    let left = ask.deadline.remaining().unwrap_or_default();
    let deadline = &Deadline::after(left.max(MIN_REMOVAL_TIME));
    let command = Command::Dele(path);
    let once = |fresh| {
        let ask = Ask { deadline, ..*ask };
        let mut lease = pool.lease(Purpose::Metadata, fresh, &ask)?;
        let reply = lease.control()?.command(command, deadline)?;
        match reply.is_completion() {
            true => Ok(()),
            false => Err(reply.refusal(command)),
        }
    };
    repeat_while_transient(command, deadline, || match once(false) {
        Err(Error::Lost { .. }) => once(true),
        removed => removed,
    })
}

fn try_patch(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<PatchOutcome> {
    let lease = || pool.lease(Purpose::Transfer, false, ask);
    store(lease()?, Command::Stor(path), 0, BEFORE, ask.deadline)?;
    let patch = || {
        store_part(
            lease()?,
            pool.profile(),
            path,
            AT as u64,
            PART,
            ask.deadline,
        )
    };
    match twice(&patch) {
        // The whole file was accepted before.
        Err(error) if partial_store::may_be_of_parts(&error) => {
            return Ok(PatchOutcome::Refused(error.to_string()));
        }
        stored => stored?,
    }
    let now = content(pool, path, ask)?;
    Ok(PatchOutcome::of(BEFORE, AT, PART, &now))
}

/// Whether a part that is stored beyond the end of the temporary file is found there, after zeros.
fn try_beyond(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<bool> {
    let lease = || pool.lease(Purpose::Transfer, false, ask);
    let mut expected = content(pool, path, ask)?;
    let patch = || {
        store_part(
            lease()?,
            pool.profile(),
            path,
            BEYOND as u64,
            PART,
            ask.deadline,
        )
    };
    match twice(&patch) {
        Err(error) if partial_store::may_be_of_parts(&error) => return Ok(false),
        stored => stored?,
    }
    expected.resize(BEYOND, 0);
    expected.extend_from_slice(PART);
    Ok(content(pool, path, ask)? == expected)
}

/// Whether the temporary file is as long as a part that is stored beyond 4 GiB makes it.
fn try_far(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<bool> {
    let lease = || pool.lease(Purpose::Transfer, false, ask);
    store(lease()?, Command::Stor(path), 0, BEFORE, ask.deadline)?;
    let part = || store_part(lease()?, pool.profile(), path, FAR, PART, ask.deadline);
    match twice(&part) {
        Err(error) if partial_store::may_be_of_parts(&error) => return Ok(false),
        stored => stored?,
    }
    let command = Command::Size(path);
    let reply = lease()?.control()?.command(command, ask.deadline)?;
    Ok(number(&reply) == Some(FAR + PART.len() as u64))
}

/// Whether `APPE` keeps the content of the file.
fn try_append(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<bool> {
    let lease = || pool.lease(Purpose::Transfer, false, ask);
    store(lease()?, Command::Stor(path), 0, BEFORE, ask.deadline)?;
    let append = || store(lease()?, Command::Appe(path), 0, PART, ask.deadline);
    match twice(&append) {
        // The whole file was accepted before.
        Err(error) if partial_store::may_be_of_parts(&error) => return Ok(false),
        stored => stored?,
    }
    Ok(content(pool, path, ask)? == [BEFORE, PART].concat())
}

/// Tries once more what was refused without a reason that holds for all parts: one odd reply, a virus scanner or a lock may
/// have been it, and the outcome is stored for later mounts.
fn twice(attempt: &dyn Fn() -> Result<()>) -> Result<()> {
    match attempt() {
        Err(error)
            if partial_store::may_be_of_parts(&error) && !partial_store::names_parts(&error) =>
        {
            attempt()
        }
        outcome => outcome,
    }
}

fn content(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<Vec<u8>> {
    let lease = pool.lease(Purpose::Transfer, false, ask)?;
    let mut download = Download::open(lease, path, &Reading::at(0), ask.deadline)?;
    // One byte more than the file can have.
    let limit = BEFORE.len() + BEYOND + PART.len() + 1;
    download.read_up_to(limit, ask.deadline)
}

/// Stores `bytes` by `command` at the offset `at`.
pub fn store(
    lease: Lease,
    command: Command<'_>,
    at: u64,
    bytes: &[u8],
    deadline: &Deadline,
) -> Result<()> {
    let all = 0..bytes.len() as u64;
    let taken = AtomicBool::default();
    upload(lease, (command, at), (&bytes, all), None, &taken, deadline).map(drop)
}

/// Stores `part` at the offset `at` of a file. A refusal of `REST` here leaves open whether it works before `RETR`.
pub fn store_part(
    lease: Lease,
    profile: &Profile,
    path: &[u8],
    at: u64,
    part: &[u8],
    deadline: &Deadline,
) -> Result<()> {
    let before = profile.ask(|learned| learned.partial.rest_retr);
    let stored = store(lease, Command::Stor(path), at, part, deadline);
    profile.learn(|learned| learned.partial.rest_retr = before);
    stored
}
