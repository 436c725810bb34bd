//! Repeats what failed: on a new connection after a loss, by a name where a path is refused, and after a pause where the
//! refusal is for the moment.
//!
//! What is sent or repeated is safe: earlier changes of the same paths are at rest before. A path is at rest when two answers
//! about it, [`REST_INTERVAL`] apart, agree. The first question opens a new connection: older ones may have died in the
//! outage that left the doubt. While no path is doubtful this costs nothing. A server that stalls for longer inside a
//! command it has received cannot be detected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::ftp::client::Client;
use crate::ftp::pool::connector::lacks_port;
use crate::ftp::pool::{Lease, Pool, Purpose};
use crate::ftp::profile::{Learned, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::transient::{Pauses, is_refused_for_now};
use crate::remote::{Ask, Deadline, Done, Error, Remote, RemotePath, Result, Step, Urgency, Why};

/// How often a name was sent instead of a path.
#[derive(Debug, Default)]
pub struct NameTries {
    /// In all.
    tried: AtomicU32,
    /// Of these, those that were taken.
    taken: AtomicU32,
}

impl NameTries {
    /// Starts again: what was learned of the server is forgotten.
    pub fn forget(&self) {
        self.tried.store(0, Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
    }
}

/// Names that are sent without success instead of paths, before it is left: permission is denied then.
const NAME_TRIES_LIMIT: u32 = 3;

/// Whether a command with a path was refused, perhaps for having one.
fn is_refused_path(error: &Error) -> bool {
    const VERBS: [&str; 6] = ["STOR ", "APPE ", "MKD ", "DELE ", "RMD ", "RNTO "];
    match error {
        Error::Refused { why, tried, said } => {
            // 504 is about the parameter (RFC 959 section 4.2.1).
            let is_possible = matches!(why, Why::Denied | Why::Unsaid) || said.starts_with("504");
            is_possible
                && said.starts_with('5')
                && !error.refuses_to_replace()
                && VERBS.iter().any(|verb| tried.starts_with(verb))
        }
        _ => false,
    }
}

/// Whether a command that changes a name was refused for the moment. Of `CWD`, which may come before it, that proves nothing.
fn is_change_refused_for_now(error: &Error) -> bool {
    const VERBS: [&str; 5] = ["DELE ", "RMD ", "MKD ", "RNFR ", "RNTO "];
    match error {
        Error::Refused { tried, .. } => {
            let is_change = VERBS.iter().any(|verb| tried.starts_with(verb));
            is_change && is_refused_for_now(error, tried)
        }
        _ => false,
    }
}

/// Whether a step names a path in a command that changes it.
pub(crate) fn changes_name(step: &Step<'_>) -> bool {
    matches!(
        step,
        Step::Remove(_) | Step::RemoveDirectory(_) | Step::MakeDirectory(_) | Step::Rename { .. }
    )
}

/// The name that a step makes.
pub(crate) fn made_name<'a>(step: &Step<'a>) -> Option<&'a RemotePath> {
    match step {
        Step::MakeDirectory(path)
        | Step::Rename { to: path, .. }
        | Step::MakeLink { link: path, .. } => Some(path),
        _ => None,
    }
}

impl Client {
    /// Does `work` on a lease, and once more on a new connection when the first one broke. The flag of `work` is set the
    /// second time. Before each try it waits until earlier changes of `writes`, which are absolute paths, are at rest.
    pub(crate) fn repeat<T>(
        &self,
        purpose: Purpose,
        writes: &[Vec<u8>],
        ask: &Ask<'_>,
        work: impl FnMut(Lease, bool) -> Result<T>,
    ) -> Result<T> {
        let (mut work, mut again) = (work, false);
        loop {
            let result = self.try_twice(purpose, writes, ask, again, &mut work);
            match self.report_failure(result, ask) {
                Err(error) if ask.urgency != Urgency::Ahead && self.waits_out(&error) => {
                    ask.deadline.progress();
                    again = true;
                }
                result => return result,
            }
        }
    }

    /// Passes a result on, and reports its failure to the pool.
    pub(crate) fn report_failure<T>(&self, result: Result<T>, ask: &Ask<'_>) -> Result<T> {
        result.inspect_err(|error| self.pool.note_failure(error, ask.deadline))
    }

    fn try_twice<T>(
        &self,
        purpose: Purpose,
        writes: &[Vec<u8>],
        ask: &Ask<'_>,
        again: bool,
        work: &mut impl FnMut(Lease, bool) -> Result<T>,
    ) -> Result<T> {
        let pipelines = || {
            let profile = self.pool.profile();
            profile.ask(|learned| learned.pipelining.commands) != Support::No
        };
        let did_pipeline = pipelines();
        await_rest(&self.pool, writes, ask)?;
        let lease = self.pool.lease(purpose, false, ask)?;
        match work(lease, again) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => {
                if ask.deadline.remaining().is_none() {
                    return Err(error);
                }
                log::info!("client: {error}; retrying on a new connection");
                let mut once_more = || {
                    await_rest(&self.pool, writes, ask)?;
                    work(self.pool.lease(purpose, true, ask)?, true)
                };
                if lacks_port(&error) {
                    self.pool.release_ports();
                }
                let mut again = once_more();
                let mut pauses = Pauses::default();
                // Other sessions have the server's passive ports; nothing was sent that needs one.
                while let Err(error) = &again
                    && lacks_port(error)
                    && pauses.wait(error, ask.deadline)
                {
                    self.pool.release_ports();
                    again = once_more();
                }
                match again {
                    // Other connections of ours have ended these, or replies did not fit: neither happens any more.
                    Err(Error::Lost { .. })
                        if self.pool.is_single() || did_pipeline && !pipelines() =>
                    {
                        once_more()
                    }
                    again => again,
                }
            }
            result => result,
        }
    }

    /// Does `work`, which changes a path; again by a name in its directory, where the path was refused and no path was taken
    /// yet. What is learned is kept: whether paths are taken, or names where paths are not. Not where the server has not
    /// agreed to the work yet, as `is_agreed` tells.
    pub(crate) fn by_path_or_name<T>(
        &self,
        is_agreed: impl Fn(&mut T) -> bool,
        mut work: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let profile = self.pool.profile();
        let done = work();
        if profile.ask(|learned| learned.paths.is_known()) {
            return done;
        }
        let refusal = match done {
            Err(error) if is_refused_path(&error) => error,
            Err(error) => return Err(error),
            Ok(mut done) => {
                if is_agreed(&mut done) {
                    profile.learn(|learned| learned.paths = Support::Yes);
                }
                return Ok(done);
            }
        };
        if self.name_tries.tried.fetch_add(1, Ordering::Relaxed) >= NAME_TRIES_LIMIT {
            return Err(refusal);
        }
        profile.learn(|learned| learned.paths = Support::No);
        let mut done = work();
        let is_agreed = done.as_mut().is_ok_and(is_agreed);
        match &done {
            Ok(_) if !is_agreed => profile.learn(|learned| learned.paths = Support::Unknown),
            // The refusal of one path may have another reason, which has passed.
            Ok(_) if self.name_tries.taken.fetch_add(1, Ordering::Relaxed) == 0 => {
                profile.learn(|learned| learned.paths = Support::Unknown);
            }
            Ok(_) => log::info!("client: {refusal}; the server takes names instead of paths"),
            Err(_) => {
                profile.learn(|learned| learned.paths = Support::Unknown);
                return Err(refusal);
            }
        }
        done
    }

    /// Whether a rename was refused, perhaps because its new name is taken.
    pub(crate) fn is_taken(&self, step: &Step<'_>, result: &Result<Done>, ask: &Ask<'_>) -> bool {
        match (step, result) {
            (Step::Rename { to, .. }, Err(error)) if is_refused_path(error) => {
                let version = self.steps(&[Step::Version(to)], ask);
                let version = version.ok().and_then(|mut done| done.pop());
                !matches!(version, Some(Err(error)) if error.why() == Some(Why::NotFound))
            }
            _ => false,
        }
    }

    /// Changes a name again where that was refused for the moment.
    pub(crate) fn repeat_refused(&self, step: &Step<'_>, result: &mut Result<Done>, ask: &Ask<'_>) {
        if !changes_name(step) {
            return;
        }
        let mut pauses = Pauses::default();
        while let Err(error) = result
            && is_change_refused_for_now(error)
            && pauses.wait(error, ask.deadline)
        {
            *result = match self.steps(std::slice::from_ref(step), ask) {
                Ok(mut done) => done.pop().unwrap_or(Err(Error::Closed)),
                Err(error) => Err(error),
            };
        }
    }
}

/// Time between two answers that are compared.
const REST_INTERVAL: Duration = Duration::from_secs(1);

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
        thread::sleep(REST_INTERVAL.min(left));
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
