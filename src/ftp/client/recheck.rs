//! Waits until the paths whose last change may still run are at rest, before the next change of them.
//!
//! A path is at rest when two answers about it, [`INTERVAL`] apart, agree. The first question opens a new connection:
//! older ones may have died in the outage that left the doubt. While no path is doubtful this costs nothing. A server that
//! stalls for longer inside a command it has received cannot be detected.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::ftp::pool::{Pool, Purpose};
use crate::ftp::profile::{Learned, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Ask, Deadline, Error, Result};

/// Time between two answers that are compared.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits until every doubtful path on which a change of `paths` depends is at rest; an error where that takes longer than
/// `ask.deadline`, whatever progress is made meanwhile. The paths are absolute and in the server's bytes.
pub fn await_rest(pool: &Arc<Pool>, paths: &[Vec<u8>], ask: &Ask<'_>) -> Result<()> {
    let doubtful = pool.doubtful_paths().related_to(paths);
    if doubtful.is_empty() {
        return Ok(());
    }
    let until = Instant::now() + ask.deadline.remaining().unwrap_or_default();
    let shown = String::from_utf8_lossy(&doubtful[0]).into_owned();
    log::info!(
        "recheck: an earlier change of {shown:?} may still run (doubtful paths: {}); waiting until it is at rest",
        doubtful.len()
    );
    let late = || {
        Error::timed_out(format!(
            "waiting for an earlier change of {shown:?} that was not confirmed"
        ))
    };
    let mut before: Option<Vec<Reply>> = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        let deadline = &Deadline::after(left);
        let seen = Instant::now();
        let now = match answers(pool, &doubtful, before.is_none(), &Ask { deadline, ..*ask }) {
            Ok(now) => Some(now),
            Err(Error::Lost { .. }) => None,
            Err(Error::TimedOut { .. }) => return Err(late()),
            Err(error) => return Err(error),
        };
        if now.is_some() && now == before {
            for path in &doubtful {
                pool.doubtful_paths().remove(path, seen);
            }
            ask.deadline.progress();
            return Ok(());
        }
        before = now;
        let left = until.saturating_duration_since(Instant::now());
        thread::sleep(INTERVAL.min(left));
    }
}

/// Asks about every path in one flight.
fn answers(pool: &Arc<Pool>, paths: &[Vec<u8>], fresh: bool, ask: &Ask<'_>) -> Result<Vec<Reply>> {
    let stats = pool.profile().ask(Learned::stats);
    let about = |path| match stats {
        true => vec![Command::Mlst(path)],
        false => vec![Command::Size(path), Command::Mdtm(path), Command::Cwd(path)],
    };
    let questions: Vec<_> = paths.iter().flat_map(|path| about(path)).collect();
    let mut lease = pool.lease(Purpose::Metadata, fresh, ask)?;
    let control = lease.control()?;
    let replies = control.flight(&questions, ask.deadline);
    if control.has_mlst_over_data() {
        pool.profile()
            .learn(|learned| learned.listing.mlst = Support::No);
    }
    replies
}
