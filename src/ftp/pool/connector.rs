//! Growing: logins, and the spare data connections of what is idle.
//!
//! The one idea: what nobody waits for is made on a thread of its own, so that who comes next finds it ready; it counts
//! as `connecting` or `arming` until then.
//!
//! Lock order: as in `pool.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::config::Endpoint;
use crate::ftp::control::owed_replies::PipelineOutcome;
use crate::ftp::control::{Control, login};
use crate::ftp::data::Spare;
use crate::ftp::pool::wait_queue::PoolState;
use crate::ftp::pool::{LOOK, Pool};
use crate::ftp::profile::{Profile, Support};
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

/// Flights that are lost in a row before no more are sent to a server that had answered some.
const LOST_FLIGHTS: u32 = 2;
/// How long a connection may take to be made that nobody waits for yet.
pub(crate) const GROWING_PATIENCE: Duration = Duration::from_secs(20);
/// How long a spare data connection may take to be agreed: nobody waits for it.
const ARMING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection from the port of an old session may take: a firewall may drop its SYN.
const OLD_PORT_PATIENCE: Duration = Duration::from_secs(4);

impl Pool {
    /// One more connection, which the pool does not count; the number is for [`Self::unregister`]. Where a transfer is
    /// to follow (`arms`), it asks for its spare data connection while it logs in.
    pub fn new_control(
        &self,
        arms: bool,
        deadline: &Deadline,
    ) -> Result<(u64, Control, Option<Spare>)> {
        let (endpoint, profile) = (&self.endpoint, &self.profile);
        let control = self.connect_further(deadline)?;
        let id = self.register(&control);
        match further_login(control, endpoint, profile, arms, deadline) {
            Ok((mut control, port)) => {
                let spare = port.and_then(|port| self.spare_at(&port, &mut control));
                Ok((id, control, spare))
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
            return endpoint.control(route, None, profile, deadline);
        };
        let left = deadline.remaining().unwrap_or_default();
        let short = Deadline::after(left.min(OLD_PORT_PATIENCE).min(left / 2));
        let error = match endpoint.control(route, Some(local), profile, &short) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => error,
            result => return result,
        };
        log::debug!("pool: {error}; connecting from another port");
        let connected = endpoint.control(route, None, profile, deadline);
        if matches!(connected, Err(Error::Lost { .. } | Error::TimedOut { .. })) {
            // The server was not reached at all.
            self.state.lock().old_sessions.put_back(local);
        }
        connected
    }

    /// The spare data connection of which a login tells.
    pub(crate) fn spare_at(&self, port: &Reply, control: &mut Control) -> Option<Spare> {
        let deadline = Deadline::after(ARMING_PATIENCE);
        let made = Spare::of_reply(port, control, &self.profile, self.data(), &deadline);
        Spare::if_made(made, &self.profile)
    }

    pub(crate) fn start_growing(self: &Arc<Self>, state: &mut PoolState, deadline: Deadline) {
        state.live += 1;
        state.connecting += 1;
        if !self.spawn("connect", move |pool| pool.grow(&deadline)) {
            state.live -= 1;
            state.connecting -= 1;
        }
    }

    /// Makes one more connection for whoever is next.
    fn grow(&self, deadline: &Deadline) {
        let arms = self.state.lock().transfers_go_on();
        let grown = self.new_control(arms, deadline);
        self.take_in(grown);
    }

    /// Counts a further connection in or out.
    pub(crate) fn take_in(&self, grown: Result<(u64, Control, Option<Spare>)>) {
        let mut state = self.state.lock();
        state.connecting -= 1;
        match grown {
            Ok((id, control, spare @ Some(_))) => {
                state.note_accepted();
                drop(state);
                return self.rest(id, control, spare);
            }
            Ok((id, control, None)) => {
                state.note_accepted();
                // Who comes next finds it ready; who waits already is as quick by himself.
                let arms = state.transfers_go_on() && state.nobody_waits() && !state.closed;
                if arms && Spare::is_possible(&self.profile) {
                    state.arming += 1;
                    drop(state);
                    return self.arm(id, control);
                }
                drop(state);
                return self.rest(id, control, None);
            }
            Err(error) => {
                state.live -= 1;
                state.limit.paused_until = Some(Instant::now() + LOOK);
                if !state.note_refused(&error) {
                    log::info!("no further connection: {error}");
                }
            }
        }
        self.changed.notify_all();
    }

    /// Gets a spare data connection for an idle control connection, while others go on.
    pub(crate) fn arm_beside(self: &Arc<Self>, id: u64, control: Control) {
        self.state.lock().arming += 1;
        if !self.spawn("spare", move |pool| pool.arm(id, control)) {
            let mut state = self.state.lock();
            state.arming -= 1;
            state.drop_connection(id);
        }
    }

    /// Gets a spare data connection for a connection that counts as arming.
    fn arm(&self, id: u64, mut control: Control) {
        let deadline = Deadline::after(ARMING_PATIENCE);
        let made = Spare::make(&mut control, &self.profile, self.data(), &deadline);
        let spare = Spare::if_made(made, &self.profile);
        self.state.lock().arming -= 1;
        self.rest(id, control, spare);
    }
}

/// Logs in on a further connection; with the reply to what asks for a spare data connection, if that flew.
pub(crate) fn further_login(
    mut control: Control,
    endpoint: &Endpoint,
    profile: &Profile,
    arms: bool,
    deadline: &Deadline,
) -> Result<(Control, Option<Reply>)> {
    let Endpoint { login, tls, .. } = endpoint;
    // Through a proxy a data connection takes longer than to begin one: nobody who needs this one is to wait for that.
    let arms = arms && !control.route().is_proxied();
    let asks = arms.then(|| Spare::command(profile)).flatten();
    let result = login::again(&mut control, login, tls, profile, asks, deadline);
    if let Some(outcome) = control.take_pipeline_outcome() {
        learn_pipelining(profile, outcome);
    }
    if let (Err(error), Some(_)) = (&result, asks)
        && !matches!(error, Error::Refused { .. })
        && control.is_logged_in()
    {
        // Perhaps it has no answer to that, which is asked behind the login: one must not fail for it for ever.
        Spare::note_misfire(profile);
    }
    result.map(|port| (control, port))
}

/// What became of several commands at once. Where they were seen to be answered and then are lost it was the network,
/// unless it happens again before any work; a server that answers them in another order is none to send them. True when
/// none is to be sent any more.
pub(crate) fn learn_pipelining(profile: &Profile, outcome: PipelineOutcome) -> bool {
    let mut is_news = false;
    profile.learn(|learned| {
        let ends = match outcome {
            PipelineOutcome::Answered => {
                learned.this_mount.lost_pipelines = 0;
                learned.pipelining.commands = learned.pipelining.commands.or(Support::Yes);
                false
            }
            PipelineOutcome::Lost => {
                learned.this_mount.lost_pipelines += 1;
                learned.pipelining.commands.is_unknown()
                    || learned.this_mount.lost_pipelines >= LOST_FLIGHTS
            }
            PipelineOutcome::Reordered => true,
        };
        is_news = ends && learned.pipelining.commands != Support::No;
        if ends {
            learned.pipelining.commands = Support::No;
        }
    });
    if is_news {
        let does = match outcome {
            PipelineOutcome::Reordered => "answers commands that come together out of order",
            _ => "loses commands that come together",
        };
        log::warn!("this server {does}: one by one from now on");
    }
    is_news
}
