//! Rehearsals: what a server makes of `APPE`, and of `REST` before `STOR`, seen on a scratch file.
//!
//! The one idea: a server is trusted with a part of a file once that was seen to work. To see it on the user's own
//! file takes all of that file, to mend what is spoilt; a file of ten bytes shows the same for some round
//! trips. It lies beside the user's, since rights and disks differ from directory to directory, and is removed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::ftp::pool::{Pool, Purpose};
use crate::ftp::profile::partial_store as parts;
use crate::ftp::profile::{Part, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::download::Download;
use crate::ftp::transfer::upload::upload;
use crate::remote::{Ask, Deadline, Error, Reading, RemotePath, Result, Source, name_aside};

/// What the file has first, and what is put where.
const BEFORE: &[u8] = b"0123456789";
const PART: &[u8] = b"ab";
const AT: usize = 3;
/// How long the removal may take at least.
const REMOVAL: Duration = Duration::from_secs(5);

/// Learns whether `STOR` behind `REST` puts a part into its place, and whether what lies behind it stays.
/// `path` is absolute and names nothing yet. An error says that nothing could be learned.
pub fn rehearse(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<()> {
    let (at, keeps) = with_scratch(pool, path, ask, || play(pool, path, ask))?;
    log::info!(
        "{}",
        match (at, keeps) {
            (true, Some(true)) => "this server puts a part of a file into its place",
            (true, _) => "this server cuts off what lies behind a part of a file",
            (false, _) => "this server does not put a part of a file into its place",
        }
    );
    pool.profile().learn(|learned| {
        learned.partial.rest_stor = Support::from(at);
        learned.partial.rest_stor_keeps = keeps.into();
    });
    Ok(())
}

/// Whether `APPE` to the file `file` keeps what is there. Known, or tried on a scratch file beside it; where that can't be
/// made, no for this time.
pub fn appends(pool: &Arc<Pool>, file: &RemotePath, ask: &Ask<'_>) -> Result<bool> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    match pool
        .profile()
        .ask(|learned| (learned.partial.appe_keeps, learned.partial.appe))
    {
        (_, Support::No) => return Ok(false),
        (true, _) => return Ok(true),
        (false, _) => {}
    }
    let name = name_aside("append", COUNT.fetch_add(1, Ordering::Relaxed));
    let Some(scratch) = file.parent().unwrap_or_default().join(name.as_bytes()) else {
        return Ok(false);
    };
    let path = pool.place().absolute(&scratch)?;
    match with_scratch(pool, &path, ask, || play_append(pool, &path, ask)) {
        Ok(appends) => {
            log::info!(
                "APPE on a scratch file: {}",
                match appends {
                    true => "appends",
                    false => "does not append; files are stored whole",
                }
            );
            pool.profile().learn(|learned| match appends {
                true => (learned.partial.appe, learned.partial.appe_keeps) = (Support::Yes, true),
                false => learned.lacks(Part::Append),
            });
            Ok(appends)
        }
        // The server may come back: the caller tries again.
        Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => Err(error),
        Err(error) => {
            log::info!("APPE can't be tried on a scratch file: {error}; {file} is stored whole");
            Ok(false)
        }
    }
}

/// Plays on the scratch file at `path` and removes it.
fn with_scratch<T>(
    pool: &Arc<Pool>,
    path: &[u8],
    ask: &Ask<'_>,
    play: impl Fn() -> Result<T>,
) -> Result<T> {
    let rehearsed = play();
    let shown = String::from_utf8_lossy(path);
    match remove(pool, path, ask) {
        Ok(reply) if reply.is_completion() => {}
        // It may never have been made.
        Ok(reply) if rehearsed.is_err() => log::info!("{}: {reply}", Command::Dele(path)),
        Ok(reply) => log::warn!("{shown} of ours is left on the server: {reply}"),
        Err(error) => log::warn!("{shown} of ours may be left on the server: {error}"),
    }
    rehearsed
}

/// Removes the file, even if the patience is over, and over a second connection where the first one breaks.
fn remove(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<Reply> {
    let once = |fresh| {
        let left = ask.deadline.remaining().unwrap_or_default();
        let deadline = &Deadline::after(left.max(REMOVAL));
        let ask = Ask { deadline, ..*ask };
        let mut lease = pool.lease(Purpose::Metadata, fresh, &ask)?;
        lease.control()?.command(Command::Dele(path), deadline)
    };
    match once(false) {
        Err(Error::Lost { .. }) => once(true),
        removed => removed,
    }
}

fn play(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<(bool, Option<bool>)> {
    store(pool, Command::Stor(path), 0, BEFORE, ask)?;
    let before = pool.profile().ask(|learned| learned.partial.rest_retr);
    let stored = store(pool, Command::Stor(path), AT as u64, PART, ask);
    // A refusal here says nothing of reading.
    pool.profile()
        .learn(|learned| learned.partial.rest_retr = before);
    match stored {
        // All of it was taken before.
        Err(error) if parts::may_be_of_parts(&error) => return Ok((false, None)),
        stored => stored?,
    }
    let kept = [&BEFORE[..AT], PART, &BEFORE[AT + PART.len()..]].concat();
    let has = content(pool, path, ask)?;
    Ok(if has == kept {
        (true, Some(true))
    } else if has == kept[..AT + PART.len()] {
        (true, Some(false))
    } else {
        (false, None)
    })
}

/// Whether `APPE` keeps what is there.
fn play_append(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<bool> {
    store(pool, Command::Stor(path), 0, BEFORE, ask)?;
    match store(pool, Command::Appe(path), 0, PART, ask) {
        // All of it was taken before.
        Err(error) if parts::may_be_of_parts(&error) => return Ok(false),
        stored => stored?,
    }
    Ok(content(pool, path, ask)? == [BEFORE, PART].concat())
}

fn store(
    pool: &Arc<Pool>,
    command: Command<'_>,
    at: u64,
    bytes: &[u8],
    ask: &Ask<'_>,
) -> Result<()> {
    let lease = pool.lease(Purpose::Transfer, false, ask)?;
    let all = 0..bytes.len() as u64;
    let taken = AtomicBool::default();
    upload(
        lease,
        (command, at),
        (&bytes, all),
        None,
        &taken,
        ask.deadline,
    )?;
    Ok(())
}

fn content(pool: &Arc<Pool>, path: &[u8], ask: &Ask<'_>) -> Result<Vec<u8>> {
    let lease = pool.lease(Purpose::Transfer, false, ask)?;
    let mut download = Download::open(lease, path, &Reading::at(0), ask.deadline)?;
    // One more than can be there.
    let mut bytes = vec![0; BEFORE.len() + PART.len() + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        match download.read(&mut bytes[filled..], ask.deadline)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
