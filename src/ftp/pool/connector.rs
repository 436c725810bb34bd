//! Makes further connections: logs in, and preconnects data connections for idle ones.
//!
//! What no caller waits for is made on a thread of its own, so that the next caller finds it ready; it counts as
//! `connecting` or `arming` until then.
//!
//! # Lock order
//!
//! As in `pool.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::config::Endpoint;
use crate::ftp::control::owed_replies::PipelineOutcome;
use crate::ftp::control::{Control, login};
use crate::ftp::data::Preconnected;
use crate::ftp::pool::wait_queue::{Idle, PoolState};
use crate::ftp::pool::{Pool, WAIT_CHECK_INTERVAL};
use crate::ftp::profile::evidence::order::{Misfit, Order};
use crate::ftp::profile::{AuthTls, Learned, Profile, Support};
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

/// Lost pipelines in a row that disable pipelining on a server that had answered some.
const LOST_PIPELINES_LIMIT: u32 = 2;
/// How long a connection may take that no caller waits for yet.
pub(crate) const GROWING_PATIENCE: Duration = Duration::from_secs(20);
/// How long the port of a preconnected data connection may take: no caller waits for it.
const ARMING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection from the port of an old session may take: a firewall may drop its SYN.
const OLD_PORT_PATIENCE: Duration = Duration::from_secs(4);

impl Pool {
    /// One more connection, which the pool does not count; the number is for [`Self::unregister`]. Where a transfer is
    /// to follow (`arms`), it asks for its preconnected data connection while it logs in.
    pub fn new_control(
        &self,
        arms: bool,
        deadline: &Deadline,
    ) -> Result<(u64, Control, Option<Preconnected>)> {
        let log_in = |arms| self.log_in(self.connect_further(deadline)?, arms, deadline);
        loop {
            let before = self.profile.ask(workarounds);
            match log_in(arms) {
                // Each of them is given up for good.
                Err(error)
                    if !matches!(error, Error::Refused { .. })
                        && self.profile.ask(workarounds) != before =>
                {
                    log::info!(
                        "pool: {error}; logging in again without what the server answers twice"
                    );
                }
                Err(error) if arms && lacks_port(&error) => {
                    log::info!("pool: {error}; logging in again without a data connection");
                    self.release_ports();
                    return log_in(false);
                }
                result => return result,
            }
        }
    }

    /// Ends idle sessions whose data connection waits for a transfer: the server has no passive port left.
    pub(crate) fn release_ports(&self) {
        Preconnected::note_misfire(&self.profile);
        let mut state = self.state.lock();
        let (waiting, others) =
            (state.idle.drain(..)).partition(|idle| idle.preconnected.is_some());
        state.idle = others;
        let waiting: Vec<Idle> = waiting;
        for idle in &waiting {
            state.drop_connection(idle.id);
        }
        drop(state);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Logs in on a connection that was greeted, as [`Self::new_control`] does.
    pub(crate) fn log_in(
        &self,
        control: Control,
        arms: bool,
        deadline: &Deadline,
    ) -> Result<(u64, Control, Option<Preconnected>)> {
        let (endpoint, profile) = (&self.endpoint, &self.profile);
        let id = self.register(&control);
        match further_login(control, endpoint, profile, arms, deadline) {
            Ok((mut control, port)) => {
                let preconnected = port.and_then(|port| self.preconnected_at(&port, &mut control));
                Ok((id, control, preconnected))
            }
            Err(error) => {
                self.unregister(id);
                Err(error)
            }
        }
    }

    /// Connects from where an old session came, so that the server ends that one (see `old_sessions.rs`); or from any
    /// port, where there is none or that fails.
    fn connect_further(&self, deadline: &Deadline) -> Result<Control> {
        let (endpoint, profile, route) = (&self.endpoint, &self.profile, &self.route);
        let local = self.state.lock().old_sessions.take_address();
        let Some(local) = local else {
            return endpoint.connect(route, profile, deadline);
        };
        let left = deadline.remaining().unwrap_or_default();
        let short = Deadline::after(left.min(OLD_PORT_PATIENCE).min(left / 2));
        let stream = route.connect_from(local, &short);
        let greeted = stream.and_then(|stream| endpoint.greet(route, stream, profile, &short));
        let error = match greeted {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => error,
            result => return result,
        };
        log::debug!("pool: {error}; connecting from another port");
        let connected = endpoint.connect(route, profile, deadline);
        if matches!(connected, Err(Error::Lost { .. } | Error::TimedOut { .. })) {
            // The server was not reached at all.
            self.state.lock().old_sessions.put_back(local);
        }
        connected
    }

    /// The preconnected data connection whose port a login returned.
    pub(crate) fn preconnected_at(
        &self,
        port: &Reply,
        control: &mut Control,
    ) -> Option<Preconnected> {
        let deadline = Deadline::after(ARMING_PATIENCE);
        let made = Preconnected::of_reply(port, control, &self.profile, self.data(), &deadline);
        Preconnected::if_made(made, &self.profile)
    }

    /// Starts to make one more connection, on a thread of its own. It counts as `connecting` until then.
    pub(crate) fn start_growing(self: &Arc<Self>, state: &mut PoolState, deadline: Deadline) {
        state.live += 1;
        state.connecting += 1;
        if !self.spawn("connect", move |pool| pool.grow(&deadline)) {
            state.live -= 1;
            state.connecting -= 1;
        }
    }

    /// Makes one more connection for the next caller.
    fn grow(&self, deadline: &Deadline) {
        let arms = self.state.lock().is_in_transfer_chain();
        let begun = Instant::now();
        let grown = self.new_control(arms, deadline);
        self.count_in(grown, begun);
    }

    /// Counts a further connection, which was `begun` then, in or out.
    pub(crate) fn count_in(
        &self,
        grown: Result<(u64, Control, Option<Preconnected>)>,
        begun: Instant,
    ) {
        let mut state = self.state.lock();
        state.connecting -= 1;
        match grown {
            Ok((id, control, preconnected @ Some(_))) => {
                state.note_accepted();
                state.sessions.note_login(id, begun);
                drop(state);
                return self.rest(id, control, preconnected);
            }
            Ok((id, control, None)) => {
                state.note_accepted();
                state.sessions.note_login(id, begun);
                // The next caller finds it ready; one that waits already is as quick on its own.
                let arms =
                    state.is_in_transfer_chain() && state.has_no_waiting_caller() && !state.closed;
                if arms && Preconnected::is_possible(&self.profile) {
                    state.arming += 1;
                    drop(state);
                    return self.preconnect(id, control);
                }
                drop(state);
                return self.rest(id, control, None);
            }
            Err(error) => {
                state.limit.paused_until = Some(Instant::now() + WAIT_CHECK_INTERVAL);
                if !self.count_out(&mut state, &error, begun) {
                    log::info!("pool: no further connection: {error}");
                }
            }
        }
        self.changed.notify_all();
    }

    /// Counts a failed attempt to make one more connection, which was `begun` then, out. Returns whether the server has no
    /// room for it now; then other mounts are asked for some.
    pub(crate) fn count_out(&self, state: &mut PoolState, error: &Error, begun: Instant) -> bool {
        state.live -= 1;
        // A server that ends logins for what is sent there does so with one session, too.
        let skips = self.profile.ask(|learned| learned.this_mount.skips);
        if matches!(error, Error::Lost { .. }) && !skips.opts && !skips.feat {
            state.sessions.note_end_of_login(begun);
        }
        let is_full = state.note_refused(error);
        if is_full {
            self.ask_for_room(state.live);
        }
        is_full
    }

    /// Gets a preconnected data connection for an idle control connection, on a thread of its own.
    pub(crate) fn preconnect_in_background(self: &Arc<Self>, id: u64, control: Control) {
        self.state.lock().arming += 1;
        if !self.spawn("preconnected", move |pool| pool.preconnect(id, control)) {
            let mut state = self.state.lock();
            state.arming -= 1;
            state.drop_connection(id);
        }
    }

    /// Gets a preconnected data connection for a connection that counts as arming.
    fn preconnect(&self, id: u64, mut control: Control) {
        let deadline = Deadline::after(ARMING_PATIENCE);
        let made = Preconnected::make(&mut control, &self.profile, self.data(), &deadline);
        let preconnected = Preconnected::if_made(made, &self.profile);
        self.state.lock().arming -= 1;
        self.rest(id, control, preconnected);
    }
}

/// Logs in on a further connection; with the reply to the command that asks for a preconnected data connection, if
/// that was sent.
pub(crate) fn further_login(
    mut control: Control,
    endpoint: &Endpoint,
    profile: &Profile,
    arms: bool,
    deadline: &Deadline,
) -> Result<(Control, Option<Reply>)> {
    let Endpoint { login, tls, .. } = endpoint;
    // Through a proxy a data connection takes long to make: a caller that needs this connection is not to wait for that.
    let arms = arms && !control.route().is_proxied();
    let asks = arms.then(|| Preconnected::command(profile)).flatten();
    let result = login::again(&mut control, login, tls, profile, asks, deadline);
    if let Some(outcome) = control.take_pipeline_outcome() {
        learn_pipelining(profile, outcome);
    }
    if let (Err(error), Some(_)) = (&result, asks)
        && !matches!(error, Error::Refused { .. })
        && control.is_logged_in()
    {
        // Perhaps the server never answers that command: logins must not fail for it for ever.
        Preconnected::note_misfire(profile);
    }
    match result {
        Err(error @ Error::Lost { .. }) if has_surplus_replies(&control) => {
            profile.learn(|learned| learned.this_mount.skips.opts = true);
            // The server has ended nothing.
            Err(Error::misbehaved("logging in", error.to_string()))
        }
        result => result.map(|port| (control, port)),
    }
}

/// Whether a session has ended for want of a passive port: vsftpd says "500 OOPS: vsf_sysutil_bind" to `EPSV`, others 421.
pub(crate) fn lacks_port(error: &Error) -> bool {
    match error {
        Error::Lost { tried, cause, .. } => {
            let is_of_port = tried == "EPSV" || tried == "PASV";
            is_of_port && (cause.contains("said 500 OOPS") || cause.contains("said 421"))
        }
        _ => false,
    }
}

/// Whether a login that failed got more replies than commands were sent.
pub(crate) fn has_surplus_replies(control: &Control) -> bool {
    control.is_logged_in() && !control.is_ended_by_server()
}

/// What is left out at a login since the server did not take it; it only grows.
pub(crate) fn workarounds(learned: &Learned) -> (AuthTls, [bool; 5], u32) {
    let this_mount = &learned.this_mount;
    let skipped = [
        this_mount.skips.opts,
        this_mount.skips.feat,
        this_mount.pipelining_faults.misfits[Order::Commands as usize],
        learned.pipelining.commands == Support::No,
        learned.pipelining.doubles,
    ];
    let ended_logins = this_mount.pipelining_faults.ended_logins;
    (this_mount.auth_tls, skipped, ended_logins)
}

/// Learns from what became of pipelined commands. Where a server had answered some, lost ones are put down to the network,
/// unless it happens again before any are answered. One odd reply ends the connection only; the second one ends pipelining. True when pipelining was
/// disabled by this.
pub(crate) fn learn_pipelining(profile: &Profile, outcome: PipelineOutcome) -> bool {
    let is_known = profile.ask(|learned| learned.pipelining.commands) == Support::No;
    let ends_by_misfit =
        outcome.is_misfit() && profile.note_misfit(Order::Commands) == Misfit::Mount;
    let mut is_news = false;
    profile.learn(|learned| {
        let ends = match outcome {
            PipelineOutcome::Answered => {
                learned.this_mount.pipelining_faults.lost = 0;
                learned.pipelining.commands = learned.pipelining.commands.or(Support::Yes);
                false
            }
            PipelineOutcome::Lost => {
                learned.this_mount.pipelining_faults.lost += 1;
                learned.pipelining.commands.is_unknown()
                    || learned.this_mount.pipelining_faults.lost >= LOST_PIPELINES_LIMIT
            }
            PipelineOutcome::Reordered | PipelineOutcome::Surplus => ends_by_misfit,
        };
        is_news = ends && !is_known;
        if ends || is_known {
            learned.pipelining.doubles |= outcome == PipelineOutcome::Surplus;
        }
        if ends {
            learned.pipelining.commands = Support::No;
        }
    });
    if is_news {
        let does = match outcome {
            PipelineOutcome::Reordered => "answers pipelined commands out of order",
            PipelineOutcome::Surplus => "answers some commands twice",
            _ => "loses pipelined commands",
        };
        log::warn!("control: the server {does}: pipelining disabled");
    }
    is_news
}
