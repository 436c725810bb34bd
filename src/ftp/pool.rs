//! The pool of control connections.
//!
//! The one idea: whoever wants to talk to the server takes a [`Lease`] and gives the connection
//! back by dropping it. The pool grows by one connection at a time, when nobody is idle, up to a
//! limit which a server's own words can lower. Transfers never take the last place, so that an
//! `ls` does not wait behind a copy; with a limit of one, a transfer sees that it is *wanted* and
//! makes way. A connection that has transferred gets a spare data connection before it is idle again,
//! unless somebody waits for it; so connections take turns.
//!
//! Invariants: nobody who holds a lease waits for a second one; a connection that is out of step
//! is never given out again; all connections go to the address of the first.
//!
//! Lock order: `state` is taken alone and nothing is called under it.

mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::ftp::control::Control;
use crate::ftp::data::{self, Spare};
use crate::ftp::endpoint::Endpoint;
use crate::ftp::kept::Kept;
use crate::ftp::login;
use crate::ftp::place::Place;
pub use crate::ftp::pool::state::Purpose;
use crate::ftp::pool::state::{Idle, Next, State};
use crate::ftp::profile::Profile;
use crate::ftp::route::Route;
use crate::ftp::stream::Cutter;
use crate::remote::{Ask, Deadline, Error, Result, Urgency, Why};

/// The pool.
#[derive(Debug)]
pub struct Pool {
    endpoint: Endpoint,
    route: Route,
    place: Place,
    profile: Profile,
    kept: Arc<Kept>,
    state: Mutex<State>,
    /// Something was given back, or has failed.
    changed: Condvar,
    /// The first one became idle, or the pool is closed.
    rests: Condvar,
    /// Pieces that transfers have moved so far.
    moved: AtomicU64,
}

/// Control connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Those that there are.
    pub open: usize,
    /// Of these, those that somebody uses.
    pub busy: usize,
    /// At most, now: the server may have asked for fewer.
    pub limit: usize,
    /// At most, as configured.
    pub wanted: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// How often those who wait for a connection look whether the transfers that hold them get on, and
/// how long no other connection is tried after one could not be made.
const LOOK: Duration = Duration::from_secs(1);
/// How long what nobody waits for yet waits for a connection: it may hold what others come to need.
const AHEAD_PATIENCE: Duration = Duration::from_millis(100);
/// Flights that are lost in a row before no more are sent to a server that had answered some.
const LOST_FLIGHTS: u32 = 2;
/// How long a connection may take to be made that nobody waits for yet.
const GROWING_PATIENCE: Duration = Duration::from_secs(20);
/// How long a spare data connection may take to be agreed: nobody waits for it.
const ARMING_PATIENCE: Duration = Duration::from_secs(5);

impl Pool {
    /// Finds the server, logs in once and learns what it can do and where the directory lies.
    pub fn connect(endpoint: Endpoint, deadline: &Deadline) -> Result<Arc<Self>> {
        let profile = Profile::default();
        let Endpoint {
            host, port, login, ..
        } = &endpoint;
        let kept = Kept::open(endpoint.profiles.as_deref(), host, *port, &login.user);
        profile.learn(|learned| learned.steps_back = kept.steps_back());
        if kept.loses_flights() {
            profile.learn(|learned| learned.flights = Some(false));
        }
        let second = Deadline::after(deadline.patience() * 2);
        let (mut control, deadline) = match first_login(&endpoint, &profile, deadline) {
            Err(Error::TimedOut { .. })
                if profile.ask(|learned| learned.flights) == Some(false) =>
            {
                (first_login(&endpoint, &profile, &second)?, &second)
            }
            result => (result?, deadline),
        };
        kept.adopt(&profile, &network(&control), endpoint.data.is_free());
        let here = Place::new(Vec::new(), endpoint.charset);
        let directory = endpoint
            .directory
            .as_deref()
            .map(|path| here.encode(path))
            .transpose()?;
        let base = login::locate(&mut control, directory.as_deref(), deadline)?;
        let place = Place::new(base, endpoint.charset);
        let limit = endpoint.max_conns.max(1);
        let pool = Arc::new(Self {
            route: control.route().clone(),
            endpoint,
            place,
            profile,
            kept: Arc::new(kept),
            state: Mutex::new(State::new(limit)),
            changed: Condvar::new(),
            rests: Condvar::new(),
            moved: AtomicU64::new(0),
        });
        let id = pool.register(&control);
        pool.state.lock().live += 1;
        // Who mounts is about to look: an automount has somebody waiting already. Of a server that is known,
        // all that a first file or listing needs is made ready, and a second connection for what comes beside it.
        if Spare::is_possible(&pool.profile) {
            pool.arm_beside(id, control);
            let mut state = pool.state.lock();
            if state.may_grow(Urgency::Ahead) {
                state.note_transfer();
                pool.start_growing(&mut state, Deadline::after(GROWING_PATIENCE));
            }
        } else {
            pool.rest(id, control, None);
        }
        match pool.spawn("pool", Self::watch) {
            true => Ok(pool),
            false => Err(Error::Closed),
        }
    }

    /// Whether a transfer failed because its TLS session was not resumed, and may do better with TLS
    /// 1.2: there one session serves any number of connections, where a ticket of TLS 1.3 serves one.
    pub fn step_back(&self, control: &Control) -> bool {
        let may = control.protects_data() && self.endpoint.tls.can_step_back();
        let steps = may && !self.profile.ask(|learned| learned.steps_back);
        if steps {
            self.profile.learn(|learned| learned.steps_back = true);
        }
        steps
    }

    /// What was learned of the server.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Which data connections are made.
    pub fn data(&self) -> &data::Policy {
        &self.endpoint.data
    }

    /// Where the mounted directory lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where the server is and how it is used.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Takes a connection, waiting for one if it must. `fresh` asks for one that was not used
    /// before, after an idle one turned out to be dead.
    pub fn lease(self: &Arc<Self>, purpose: Purpose, fresh: bool, ask: &Ask<'_>) -> Result<Lease> {
        let mut state = self.state.lock();
        let transfers = usize::from(purpose == Purpose::Transfer);
        let since = Instant::now();
        state.waiting[ask.urgency as usize] += 1;
        state.waiting_transfers += transfers;
        let result = loop {
            // Who has waited for long is as urgent as anybody: a stream of readers must not starve it.
            let urgency = match ask.urgency {
                Urgency::Flush if since.elapsed() > LOOK => Urgency::Caller,
                urgency => urgency,
            };
            match state.next(purpose, fresh, urgency) {
                Next::Closed => break Err(Error::Closed),
                Next::Take(mut idle) => {
                    if !idle.is_old() && !idle.control.is_stale() {
                        if purpose != Purpose::Metadata {
                            state.note_transfer();
                            let is_last = idle.spare.is_none() || state.idle.is_empty();
                            if is_last && state.may_grow(Urgency::Ahead) {
                                // Those that follow find one that is ready, and wait no longer for it than they may.
                                let patience = GROWING_PATIENCE.min(ask.deadline.patience());
                                self.start_growing(&mut state, Deadline::after(patience));
                            }
                        }
                        break Ok((idle.id, idle.control, idle.spare, true));
                    }
                    state.drop_connection(idle.id);
                    continue;
                }
                Next::Connect => {
                    state.live += 1;
                    state.connecting += 1;
                    drop(state);
                    // An attempt's own bytes are no progress of the caller's: a server that always refuses
                    // must not keep it for ever.
                    let left = ask.deadline.remaining().unwrap_or_default();
                    let result = self.new_control(&Deadline::after(left));
                    state = self.state.lock();
                    state.connecting -= 1;
                    self.changed.notify_all();
                    match result {
                        Ok((id, control)) => break Ok((id, control, None, false)),
                        Err(error) => {
                            state.live -= 1;
                            if error.why() != Some(Why::TooMany) {
                                break Err(error);
                            }
                            if state.live > 0 {
                                state.lower_limit(&error);
                            } else if ask.deadline.remaining().is_none() {
                                break Err(error);
                            }
                            // It may still count connections of ours that have just died.
                        }
                    }
                }
                Next::Grow => {
                    let left = ask.deadline.remaining().unwrap_or_default();
                    self.start_growing(&mut state, Deadline::after(left));
                }
                Next::Wait => {}
            }
            let tired = ask.urgency == Urgency::Ahead && since.elapsed() > AHEAD_PATIENCE;
            let Some(left) = ask.deadline.remaining().filter(|_| !tired) else {
                break Err(Error::timed_out("waiting for a free connection"));
            };
            let left = match ask.urgency {
                Urgency::Ahead => left.min(AHEAD_PATIENCE),
                _ => left,
            };
            let before = self.moved.load(Ordering::Relaxed);
            self.changed.wait_for(&mut state, left.min(LOOK));
            if self.moved.load(Ordering::Relaxed) != before {
                // Those who hold the connections get on: the line moves.
                ask.deadline.progress();
            }
        };
        state.waiting[ask.urgency as usize] -= 1;
        state.waiting_transfers -= transfers;
        let (id, control, spare, used) = result?;
        let ahead = match ask.urgency {
            Urgency::Ahead => transfers,
            _ => 0,
        };
        state.transfers += transfers;
        state.ahead += ahead;
        drop(state);
        Ok(Lease {
            pool: Arc::clone(self),
            id,
            transfers,
            ahead,
            control: Some(control),
            spare,
            wants_spare: false,
            used,
        })
    }

    /// How many leases could be had now without waiting. Where that is none for want of connections, one
    /// more is made, for later.
    pub fn room(self: &Arc<Self>, urgency: Urgency) -> usize {
        let mut state = self.state.lock();
        let room = state.room(urgency);
        if room == 0 && state.may_grow(urgency) {
            self.start_growing(&mut state, Deadline::after(GROWING_PATIENCE));
        }
        room
    }

    /// A transfer has moved some bytes: who waits for its connection does not wait in vain.
    pub fn note_progress(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether somebody waits who can't get a connection unless a transfer makes way.
    pub fn is_wanted(&self) -> bool {
        self.state.lock().is_stuck()
    }

    /// Cuts every connection; whoever waits gets an error, now and from now on.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for cutter in state.cutters.values() {
            cutter.cut();
        }
        state.idle.clear();
        self.changed.notify_all();
        self.rests.notify_all();
        drop(state);
        self.keep();
    }

    /// Keeps what was learned for the next mount.
    pub fn keep(&self) {
        self.kept.finish(&self.profile);
    }

    /// Where what was learned is kept.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Makes `cutter`'s connection end with the pool; the number is for [`Self::unregister`].
    pub fn register_cutter(&self, cutter: Cutter) -> u64 {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        if state.closed {
            cutter.cut();
        }
        state.cutters.insert(id, cutter);
        id
    }

    /// Forgets a connection that has ended.
    pub fn unregister(&self, id: u64) {
        self.state.lock().cutters.remove(&id);
    }

    fn register(&self, control: &Control) -> u64 {
        match control.cutter() {
            Ok(cutter) => self.register_cutter(cutter),
            // Without a cutter the connection ends by its deadline instead.
            Err(_) => u64::MAX,
        }
    }

    /// Connections that there are, once none is being made any more.
    pub fn live(&self, deadline: &Deadline) -> usize {
        let mut state = self.state.lock();
        while state.connecting > 0
            && let Some(left) = deadline.remaining()
        {
            self.changed.wait_for(&mut state, left);
        }
        state.live - state.connecting
    }

    /// How many connections there are, and what they are at.
    pub fn figures(&self) -> Connections {
        let state = self.state.lock();
        Connections {
            open: state.live - state.connecting,
            busy: state.busy().saturating_sub(state.connecting),
            limit: state.limit,
            wanted: self.endpoint.max_conns.max(1),
            waiting: state.waiting.iter().sum(),
        }
    }

    /// One more connection, which the pool does not count; the number is for [`Self::unregister`].
    pub fn new_control(&self, deadline: &Deadline) -> Result<(u64, Control)> {
        let mut control = self
            .endpoint
            .control(&self.route, &self.profile, deadline)?;
        let id = self.register(&control);
        let Endpoint { login, tls, .. } = &self.endpoint;
        let result = login::again(&mut control, login, tls, &self.profile, deadline);
        if let Some(flights) = control.take_flights() {
            note_flights(&self.profile, flights);
        }
        if let Err(error) = result {
            self.unregister(id);
            return Err(error);
        }
        Ok((id, control))
    }

    fn start_growing(self: &Arc<Self>, state: &mut State, deadline: Deadline) {
        state.live += 1;
        state.connecting += 1;
        if !self.spawn("connect", move |pool| pool.grow(&deadline)) {
            state.live -= 1;
            state.connecting -= 1;
        }
    }

    /// Makes one more connection for whoever is next, and counts it in or out.
    fn grow(&self, deadline: &Deadline) {
        let result = self.new_control(deadline);
        let mut state = self.state.lock();
        state.connecting -= 1;
        match result {
            Ok((id, control)) => {
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
                state.grows_after = Some(Instant::now() + LOOK);
                if error.why() == Some(Why::TooMany) && state.live > 0 {
                    state.lower_limit(&error);
                } else {
                    log::info!("no further connection: {error}");
                }
            }
        }
        self.changed.notify_all();
    }

    /// Gets a spare data connection for an idle control connection, while others go on.
    fn arm_beside(self: &Arc<Self>, id: u64, control: Control) {
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
        let spare = made.unwrap_or_else(|error| {
            log::debug!("no spare data connection: {error}");
            Spare::note_misfire(&self.profile);
            None
        });
        self.state.lock().arming -= 1;
        self.rest(id, control, spare);
    }

    /// Puts a connection among the idle ones, if it is still good for anything.
    fn rest(&self, id: u64, control: Control, spare: Option<Spare>) {
        let mut state = self.state.lock();
        if control.in_step() && !state.closed {
            state.idle.push(Idle {
                id,
                control,
                spare,
                since: Instant::now(),
            });
            if state.idle.len() == 1 {
                self.rests.notify_all();
            }
        } else {
            state.drop_connection(id);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Drops what is idle for too long, until the pool is closed.
    fn watch(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            match state.prune() {
                Some(at) => {
                    self.rests.wait_until(&mut state, at);
                }
                None => self.rests.wait(&mut state),
            }
        }
    }

    /// Does something beside; false when that can't be.
    fn spawn(self: &Arc<Self>, name: &str, job: impl FnOnce(&Self) + Send + 'static) -> bool {
        let pool = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name(name.into())
            .spawn(move || job(&pool));
        if let Err(error) = &spawned {
            log::error!("no thread can be started: {error}");
        }
        spawned.is_ok()
    }

    fn give_back(self: &Arc<Self>, lease: &mut Lease) {
        let mut control = lease.control.take();
        if let Some(flights) = control.as_mut().and_then(Control::take_flights)
            && note_flights(&self.profile, flights)
        {
            // Those that were made before would still send them.
            let mut state = self.state.lock();
            while let Some(idle) = state.idle.pop() {
                state.drop_connection(idle.id);
            }
        }
        if let Some(used_up) = control.take_if(|control| control.is_used_up()) {
            // Before a transfer is refused for it; the next one is made when it is needed.
            self.step_back(&used_up);
        }
        let mut state = self.state.lock();
        state.transfers -= lease.transfers;
        state.ahead -= lease.ahead;
        let Some(control) = control else {
            state.drop_connection(lease.id);
            drop(state);
            self.changed.notify_all();
            return;
        };
        // Beside a chain of transfers, one that just carried metadata gets ready as well.
        let joins = state.transfers_go_on() && !state.idle.is_empty();
        let arms = (lease.wants_spare || joins)
            && lease.spare.is_none()
            && state.nobody_waits()
            && !state.closed
            && control.in_step()
            && Spare::is_possible(&self.profile);
        let id = lease.id;
        drop(state);
        if arms {
            self.arm_beside(id, control);
        } else {
            self.rest(id, control, lease.spare.take());
        }
        self.kept.note(&self.profile);
    }
}

/// Connects and logs in; a server that loses commands which come together is found out.
fn first_login(endpoint: &Endpoint, profile: &Profile, deadline: &Deadline) -> Result<Control> {
    let connect = |route: &Route| endpoint.control(route, profile, deadline);
    let mut control = endpoint.first_control(&connect)?;
    let Endpoint { login, tls, .. } = endpoint;
    let result = login::first(&mut control, login, tls, profile, deadline);
    if let Some(flights) = control.take_flights() {
        note_flights(profile, flights);
    }
    result.map(|()| control)
}

/// Several commands at once were answered, or all but the first were lost. Where they were seen to work it was the
/// network, unless it happens again before any work. True when none is to be sent any more.
fn note_flights(profile: &Profile, work: bool) -> bool {
    let mut is_news = false;
    profile.learn(|learned| {
        learned.flights_lost = if work { 0 } else { learned.flights_lost + 1 };
        let loses = learned.flights.is_none() && !work || learned.flights_lost >= LOST_FLIGHTS;
        is_news = loses && learned.flights != Some(false);
        if loses {
            learned.flights = Some(false);
        } else if work && learned.flights.is_none() {
            learned.flights = Some(true);
        }
    });
    if is_news {
        log::warn!("this server loses commands that come together: one by one from now on");
    }
    is_news
}

/// Where we are, as far as it matters to data connections.
fn network(control: &Control) -> String {
    let proxied = if control.route().is_proxied() {
        " by-proxy"
    } else {
        ""
    };
    match control.local_address() {
        Ok(address) => format!("{}{proxied}", address.ip()),
        Err(_) => "unknown".to_string(),
    }
}

/// A control connection that is ours until this is dropped.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    id: u64,
    /// What it counts as, one or none.
    transfers: usize,
    ahead: usize,
    control: Option<Control>,
    spare: Option<Spare>,
    wants_spare: bool,
    used: bool,
}

impl Lease {
    /// The connection.
    pub fn control(&mut self) -> Result<&mut Control> {
        self.control.as_mut().ok_or(Error::Closed)
    }

    /// A data connection that is ready for a transfer, if there is one.
    pub fn take_spare(&mut self) -> Option<Spare> {
        let mut spare = self.spare.take()?;
        spare.is_good(self.pool.profile()).then_some(spare)
    }

    /// Keeps a data connection for the next transfer.
    pub fn keep_spare(&mut self, spare: Option<Spare>) {
        self.spare = spare;
    }

    /// A transfer has ended: one more may follow.
    pub fn want_spare(&mut self) {
        self.wants_spare = true;
    }

    /// The pool that it belongs to.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether the connection had been idle before: then its failure may just mean that the server
    /// had closed it, and a fresh one may do better.
    pub fn was_idle(&self) -> bool {
        self.used
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        Arc::clone(&self.pool).give_back(self);
    }
}
