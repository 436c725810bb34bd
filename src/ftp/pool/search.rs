//! Looks for a server that counts as away (see `reachability.rs`).
//!
//! An operation whose deadline has passed while the server sent nothing on any connection makes the server count as
//! away, and so does a missing route to it. From then on callers wait [`AWAY_PATIENCE`] for a connection and no longer,
//! and the search for the server tries to connect: after pauses that grow, at once when the kernel reports a change of
//! links, addresses or routes (rtnetlink(7)) or the machine wakes from a suspend, and at once when a caller comes. The
//! first success ends it, and so does any byte that comes on an older connection. A server that refuses the login is
//! reachable.
//!
//! One idle connection is asked by a `NOOP`: where only new connections are lost, by a firewall that counts them, those that
//! there are serve on.
//!
//! Attempts run concurrently: one whose SYN was lost learns of the network's return only when the kernel repeats the SYN,
//! up to two seconds later, while a new one gets through at once.
//!
//! # Invariants
//!
//! * The search thread exists while the server is away, and no longer than one check interval after that.
//! * While the server is away, callers get no connection, idle ones are kept but for the one that is asked, and only attempts
//!   connect.
//!
//! # Lock order
//!
//! As in `pool.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::time::ClockId;

use crate::ftp::control::Control;
use crate::ftp::net::route_changes::RouteChanges;
use crate::ftp::pool::Pool;
use crate::ftp::pool::wait_queue::PoolState;
use crate::ftp::protocol::command::Command;
use crate::process::thread::spawn_thread;
use crate::remote::{Ask, Deadline, Error, Result, Urgency};

/// How long an operation waits for a server that is away, from its beginning: where it does not answer, so short that the
/// kernel's second attempt at a failed read(2) fails within the same second.
const AWAY_PATIENCE: Duration = Duration::from_millis(450);
/// The same while an attempt to connect logs in.
const LOGIN_PATIENCE: Duration = Duration::from_millis(950);
/// Pause after the first attempt to connect; doubled after each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long an attempt waits for TCP: two SYNs that the kernel repeats.
const CONNECT_PATIENCE: Duration = Duration::from_millis(3500);
/// Share of a timed out operation's timeout in which nothing was heard of the server: bytes that were under way when the
/// network failed come later than the operation began.
const SILENT_SHARE: u32 = 2;
/// How long nothing was heard of a server at least: an operation may have had only the rest of a timeout.
const LEAST_SILENCE: Duration = Duration::from_secs(1);
/// How long an attempt to log in may take at least, for the same reason.
const LEAST_LOGIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing was heard of a server to which there is no route: else it is only a data connection that has none.
const UNREACHABLE_SILENCE: Duration = Duration::from_secs(1);
/// Interval at which a waiting caller checks whether an attempt is under way and gets on.
const CALLER_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Interval at which the search checks whether it is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How much longer the clock that counts suspends must have run than the other one for a suspend between two checks.
const LEAST_SUSPEND: Duration = Duration::from_secs(1);

/// Notices suspends: `CLOCK_BOOTTIME` counts them, and `CLOCK_MONOTONIC`, by which all deadlines go, does not
/// (clock_gettime(2)).
struct SuspendWatch {
    slept: Duration,
}

impl SuspendWatch {
    /// From now on.
    fn new() -> Self {
        Self {
            slept: Self::time_slept(),
        }
    }

    /// How long the machine was suspended since it was started.
    fn time_slept() -> Duration {
        let read = |clock: ClockId| clock.now().map(Duration::from).unwrap_or_default();
        // In this order, so that the difference is never too large by the time between the two.
        let awake = read(ClockId::CLOCK_MONOTONIC);
        read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
    }

    /// Whether the machine was suspended since the last call, where it has slept for `slept` in all.
    fn has_slept(&mut self, slept: Duration) -> bool {
        let before = std::mem::replace(&mut self.slept, slept);
        slept.saturating_sub(before) >= LEAST_SUSPEND
    }
}

impl Pool {
    /// Whether the server counts as away.
    pub fn is_away(&self) -> bool {
        self.heard.is_away.load(Ordering::Relaxed)
    }

    fn end_search(&self, state: &mut PoolState) {
        state.reachability.end();
        self.heard.is_away.store(false, Ordering::Relaxed);
    }

    /// Takes the failure of an operation: where its deadline has passed and no byte has come meanwhile on any connection,
    /// or there is no route, the server is away.
    pub fn note_failure(self: &Arc<Self>, error: &Error, deadline: &Deadline) {
        let patience = deadline.patience();
        let silence = match error {
            Error::TimedOut { .. } if deadline.remaining().is_none() => {
                (patience / SILENT_SHARE).max(LEAST_SILENCE)
            }
            Error::Lost {
                unreachable: true, ..
            } => UNREACHABLE_SILENCE,
            _ => return,
        };
        if self.heard.at().elapsed() < silence {
            return;
        }
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        let login_patience = patience.max(LEAST_LOGIN_PATIENCE);
        let Some(since) = state.reachability.begin(login_patience) else {
            return;
        };
        log::debug!("pool: {error}; looking for the server");
        let pool = Arc::clone(self);
        self.heard.is_away.store(true, Ordering::Relaxed);
        if spawn_thread("search", move || pool.search(since)).is_err() {
            self.end_search(&mut state);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// How long a caller may wait now for a server that is away, before it checks again; with `hard` it does so for ever. Has
    /// an attempt begun for it.
    pub(crate) fn away_patience(
        self: &Arc<Self>,
        state: &mut PoolState,
        ask: &Ask<'_>,
    ) -> Result<Duration> {
        if self.is_hard() && ask.urgency != Urgency::Ahead {
            self.start_attempt(state);
            ask.deadline.progress();
            return Ok(CHECK_INTERVAL);
        }
        let patience = match state.reachability.logins {
            0 => AWAY_PATIENCE,
            _ => LOGIN_PATIENCE,
        };
        let left = patience.checked_sub(ask.deadline.age());
        match left.filter(|left| !left.is_zero() && ask.urgency != Urgency::Ahead) {
            Some(left) => {
                self.start_attempt(state);
                Ok(left.min(CALLER_CHECK_INTERVAL))
            }
            None => Err(Error::timed_out("waiting for a server that is away")),
        }
    }

    /// Begins an attempt to connect; false where the last one has just begun, or there are too many.
    fn start_attempt(self: &Arc<Self>, state: &mut PoolState) -> bool {
        if state.closed || !state.reachability.note_attempt() {
            return false;
        }
        self.ask_idle(state);
        let pool = Arc::clone(self);
        let begun = spawn_thread("reconnect", move || pool.attempt()).is_ok();
        if !begun {
            state.reachability.attempts -= 1;
        }
        begun
    }

    /// Begins attempts until the search that began at `since` is over, the server was heard of, or the pool is closed.
    fn search(self: &Arc<Self>, since: Instant) {
        let changes = RouteChanges::watch();
        let mut suspends = SuspendWatch::new();
        let mut pause = FIRST_PAUSE;
        let mut due = Instant::now();
        loop {
            let mut state = self.state.lock();
            let search = (state.reachability.search).filter(|search| search.since == since);
            let Some(search) = search else {
                return;
            };
            if state.closed || self.heard.at() > search.since {
                self.end_search(&mut state);
                drop(state);
                self.changed.notify_all();
                return;
            }
            if search.since.elapsed() >= FIRST_PAUSE && !search.announced {
                if let Some(search) = &mut state.reachability.search {
                    search.announced = true;
                }
                log::warn!(
                    "pool: no answer: the server counts as away, operations fail until it can be reached again"
                );
            }
            if Instant::now() >= due {
                if self.start_attempt(&mut state) {
                    due = Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                } else {
                    due = Instant::now() + CHECK_INTERVAL;
                }
            }
            drop(state);
            let left = due.saturating_duration_since(Instant::now());
            match &changes {
                Some(changes) => {
                    if changes.await_change(left.min(CHECK_INTERVAL)) {
                        (due, pause) = (Instant::now(), FIRST_PAUSE);
                    }
                }
                None => std::thread::sleep(left.min(CHECK_INTERVAL)),
            }
            if suspends.has_slept(SuspendWatch::time_slept()) {
                (due, pause) = (Instant::now(), FIRST_PAUSE);
            }
        }
    }

    /// Asks the server on an idle connection, once in a search; on a thread of its own, which waits as long as an attempt
    /// may log in.
    fn ask_idle(self: &Arc<Self>, state: &mut PoolState) {
        let Some(search) = state.reachability.search.as_mut() else {
            return;
        };
        if search.has_asked {
            return;
        }
        let Some(mut idle) = state.idle.pop() else {
            return;
        };
        search.has_asked = true;
        let (id, patience) = (idle.id, search.patience);
        let pool = Arc::clone(self);
        let ask = move || {
            let answer = idle
                .control
                .command(Command::Noop, &Deadline::after(patience));
            pool.rest(idle.id, idle.control, idle.preconnected);
            match answer {
                Ok(_) => pool.found(),
                Err(error) => log::debug!("pool: {error}"),
            }
        };
        if spawn_thread("ask", ask).is_err() {
            state.drop_connection(id);
        }
    }

    /// The server has answered: the search is over.
    fn found(&self) {
        self.end_search(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// One attempt to connect and log in. Its connection joins the pool, where that has room for one more.
    fn attempt(&self) {
        let patience = {
            let state = self.state.lock();
            state.reachability.search.map(|search| search.patience)
        };
        let begun = Instant::now();
        let made = self.reach(patience.unwrap_or(CONNECT_PATIENCE));
        let mut state = self.state.lock();
        state.reachability.attempts -= 1;
        if let Err(error @ (Error::TimedOut { .. } | Error::Lost { .. })) = &made {
            log::debug!("pool: {error}");
            return;
        }
        let was_away = state.reachability.is_away();
        self.end_search(&mut state);
        match made {
            Ok((id, control)) if was_away && !state.closed && state.live < state.limit.now => {
                state.live += 1;
                state.connecting += 1;
                drop(state);
                self.count_in(Ok((id, control, None)), begun);
            }
            Ok((id, control)) => {
                drop(state);
                self.unregister(id);
                drop(control);
            }
            Err(error) => {
                drop(state);
                log::info!("pool: the server is there: {error}");
            }
        }
        self.changed.notify_all();
    }

    /// Connects and logs in, from any port.
    fn reach(&self, patience: Duration) -> Result<(u64, Control)> {
        let (endpoint, profile) = (&self.endpoint, &self.profile);
        let stream = self.route.connect(&Deadline::after(CONNECT_PATIENCE))?;
        self.state.lock().reachability.logins += 1;
        let deadline = Deadline::after(patience);
        let made = (endpoint.greet(&self.route, stream, profile, &deadline))
            .and_then(|control| self.log_in(control, false, &deadline));
        self.state.lock().reachability.logins -= 1;
        made.map(|(id, control, _)| (id, control))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspend_is_noticed_once() {
        let mut watch = SuspendWatch::new();
        let slept = SuspendWatch::time_slept();
        // Both clocks run while the machine is awake.
        assert!(!watch.has_slept(slept));
        assert!(watch.has_slept(slept + Duration::from_secs(30)));
        assert!(!watch.has_slept(slept + Duration::from_secs(30)));
    }
}
