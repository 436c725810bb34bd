//! Implements the pool of control connections.
//!
//! A caller takes a [`Lease`] and gives the connection back by dropping it. The pool grows by one connection at a time,
//! when none is idle, up to a limit that replies of the server can lower. Transfers never take the last connection, so
//! that an `ls` does not wait for a copy; with a limit of one, a transfer sees that it is *wanted* and ends. A
//! connection that has transferred gets a preconnected data connection before it is idle again, unless a caller waits
//! for it; so connections take turns.
//!
//! * `lease`: waits for a connection, and gives it back
//! * `wait_queue`: decides which caller gets which connection, and when one more is made
//! * `bootstrap`: makes the first connection, and learns what the server can do
//! * `connector`: makes further connections, and preconnects data connections
//! * `reachability`: decides whether the server counts as away
//! * `search`: looks for a server that counts as away
//! * `session_requests`: shares the sessions that the server allows among the mounts of one server and user
//! * `old_sessions`: keeps track of sessions that the server may still count
//! * `succession`: finds out that each new session ends an older one
//! * `doubtful_paths`: remembers the paths whose last change may still run
//! * `traffic`: counts the bytes of data connections
//!
//! # Invariants
//!
//! * A thread that holds a lease does not wait for a second one.
//! * A connection that is out of step is never leased again.
//! * All connections go to the address of the first.
//! * Whether the server counts as away is decided in `reachability.rs` and `search.rs` alone.
//!
//! # Lock order
//!
//! `state` before the lock of the profile; it is taken under no other. Under it the meters of `traffic.rs` are read, too.

pub(crate) mod bootstrap;
pub(crate) mod connector;
pub(crate) mod doubtful_paths;
pub(crate) mod lease;
pub(crate) mod old_sessions;
pub(crate) mod reachability;
pub(crate) mod search;
pub(crate) mod session_requests;
pub(crate) mod succession;
pub(crate) mod traffic;
pub(crate) mod wait_queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::ftp::config::Endpoint;
use crate::ftp::control::Control;
use crate::ftp::data;
use crate::ftp::data::Preconnected;
use crate::ftp::net::route::Route;
use crate::ftp::net::stream::Cutter;
use crate::ftp::pool::bootstrap::Bootstrap;
use crate::ftp::pool::connector::GROWING_PATIENCE;
use crate::ftp::pool::doubtful_paths::DoubtfulPaths;
pub use crate::ftp::pool::lease::Lease;
use crate::ftp::pool::reachability::LastHeard;
use crate::ftp::pool::session_requests::{Event, SessionRequests};
use crate::ftp::pool::traffic::{Moved, Traffic};
pub use crate::ftp::pool::wait_queue::Purpose;
use crate::ftp::pool::wait_queue::{Idle, PoolState};
use crate::ftp::profile::store::ProfileStore;
use crate::ftp::profile::{DataMode, Profile};
use crate::ftp::protocol::remote_root::RemoteRoot;
use crate::process::thread::{run_within, spawn_thread};
use crate::remote::{Deadline, Error, Result, Urgency};

/// The pool.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    route: Route,
    root: RemoteRoot,
    profile: Arc<Profile>,
    kept: Arc<ProfileStore>,
    /// Where other mounts of the server are asked for sessions; `None` where nothing can be stored.
    requests: Option<Arc<SessionRequests>>,
    doubtful_paths: DoubtfulPaths,
    state: Mutex<PoolState>,
    /// Something was given back, or has failed.
    changed: Condvar,
    /// The first one became idle, or the pool is closed.
    rests: Condvar,
    traffic: Traffic,
    /// As last seen; taken alone.
    transport: Mutex<Transport>,
    heard: LastHeard,
    /// Callers wait for a server that is away (`hard`); not at the end of the mount.
    is_hard: AtomicBool,
}

/// Control connections, and what data connections have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// How many there are.
    pub sessions: Sessions,
    /// How the server is reached.
    pub transport: Transport,
    /// What data connections have received, listings among it.
    pub received: Moved,
    /// What they have sent.
    pub sent: Moved,
}

/// How many control connections there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Those that there are.
    pub open: usize,
    /// Of these, those in use.
    pub busy: usize,
    /// At most, now: the server may have asked for fewer.
    pub limit: usize,
    /// At most, as configured.
    pub wanted: usize,
    /// Callers that wait for one.
    pub waiting: usize,
    /// How long the server has been away, if it is.
    pub away: Option<Duration>,
}

/// How the server is reached, as an idle connection last told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// The version of TLS on control connections, such as "TLS 1.3"; `None` without TLS.
    pub tls: Option<&'static str>,
    /// The way of data connections that works; `None` before the first.
    pub data: Option<DataMode>,
    /// The round-trip time, as the kernel estimates it.
    pub round_trip: Option<Duration>,
}

/// Interval at which waiting callers check whether the holders of connections make progress, and pause after a failed
/// attempt to make one more.
const WAIT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end of a mount waits until its file of session requests is removed: a home directory may hang.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);

impl Pool {
    /// Finds the server, logs in once and learns what it can do and where the directory lies.
    pub fn connect(endpoint: Endpoint, deadline: &Deadline) -> Result<Arc<Self>> {
        let (profile, endpoint) = (Arc::<Profile>::default(), Arc::new(endpoint));
        let Endpoint {
            host, port, login, ..
        } = &*endpoint;
        let kept = ProfileStore::open(endpoint.profiles.as_deref(), host, *port, &login.user);
        let requests = kept.path().and_then(SessionRequests::beside).map(Arc::new);
        let first = || bootstrap::connect_first(&endpoint, &profile, &kept, deadline);
        let Bootstrap {
            mut control,
            root,
            state,
            looks,
            port,
            second,
        } = bootstrap::with_room(requests.as_deref(), deadline, first)?;
        let is_hard = AtomicBool::new(endpoint.hard);
        let pool = Arc::new(Self {
            route: control.route().clone(),
            endpoint,
            root,
            profile,
            kept: Arc::new(kept),
            requests,
            doubtful_paths: DoubtfulPaths::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            rests: Condvar::new(),
            traffic: Traffic::default(),
            transport: Mutex::default(),
            heard: LastHeard::now(),
            is_hard,
        });
        let id = pool.register(&control);
        pool.state.lock().sessions.note_login(id, Instant::now());
        match port.and_then(|port| pool.preconnected_at(&port, &mut control)) {
            None if looks => pool.preconnect_in_background(id, control),
            preconnected => pool.rest(id, control, preconnected),
        }
        if let Some(second) = second {
            second.join(&pool);
        }
        if pool.requests.is_some() {
            pool.spawn("sessions", Self::answer_requests);
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
        let steps = may && !self.profile.ask(|learned| learned.data.tls12_only);
        if steps {
            self.profile.learn(|learned| learned.data.tls12_only = true);
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

    /// Paths whose last change may still run.
    pub fn doubtful_paths(&self) -> &DoubtfulPaths {
        &self.doubtful_paths
    }

    /// Where the mounted directory lies.
    pub fn root(&self) -> &RemoteRoot {
        &self.root
    }

    /// Where the server is and how it is used.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Number of leases that are available without waiting. Where there is none for lack of connections, one more is
    /// made, for later.
    pub fn room(self: &Arc<Self>, urgency: Urgency) -> usize {
        let mut state = self.state.lock();
        let room = state.room(urgency);
        if room == 0 && state.may_grow(urgency) {
            self.start_growing(&mut state, Deadline::after(GROWING_PATIENCE));
        }
        room
    }

    /// A transfer has received bytes: waiting for its connection makes sense.
    pub fn note_received(&self, bytes: usize) {
        self.traffic.received.add(bytes as u64);
        self.heard.note(Instant::now());
    }

    /// A transfer has sent bytes: likewise.
    pub fn note_sent(&self, bytes: usize) {
        self.traffic.sent.add(bytes as u64);
        self.heard.note(Instant::now());
    }

    /// Whether a caller waits that gets no connection unless a transfer makes way.
    pub fn is_wanted(&self) -> bool {
        self.state.lock().is_stuck()
    }

    /// Whether callers wait for a server that is away.
    pub fn is_hard(&self) -> bool {
        self.is_hard.load(Ordering::Relaxed)
    }

    /// From now on no caller waits for a server that is away.
    pub fn soften(&self) {
        self.is_hard.store(false, Ordering::Relaxed);
    }

    /// Cuts every connection, and keeps what was learned; callers get an error, now and from now on.
    pub fn close(&self) {
        self.cut();
        self.keep();
        if let Some(requests) = self.requests.clone() {
            requests.end();
            run_within(REMOVAL_PATIENCE, "session request", move || {
                requests.remove();
            });
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        // Before they are cut: what is idle has nothing to lose, and is closed without a reset.
        state.idle.clear();
        for cutter in state.cutters.values() {
            cutter.cut();
        }
        self.changed.notify_all();
        self.rests.notify_all();
    }

    /// Keeps what was learned for the next mount.
    pub fn keep(&self) {
        self.kept.finish(&self.profile);
    }

    /// Forgets what was learned, here and for later mounts. What other mounts of the server know, they store again.
    pub fn forget_server(&self) {
        self.profile.forget();
        self.state.lock().forget_limit();
        self.kept.forget();
    }

    /// Where what was learned is kept.
    pub fn kept(&self) -> &ProfileStore {
        &self.kept
    }

    /// Makes `cutter`'s connection end with the pool; the number is for [`Self::unregister`].
    pub fn register_cutter(&self, cutter: Cutter) -> u64 {
        self.register_with(Some(cutter))
    }

    /// A number that no other connection has. Without a cutter it ends by its deadline instead.
    fn register_with(&self, cutter: Option<Cutter>) -> u64 {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        if let Some(cutter) = cutter {
            if state.closed {
                cutter.cut();
            }
            state.cutters.insert(id, cutter);
        }
        id
    }

    /// Forgets a connection that has ended.
    pub fn unregister(&self, id: u64) {
        self.state.lock().cutters.remove(&id);
    }

    fn register(&self, control: &Control) -> u64 {
        self.register_with(control.cutter().ok())
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

    /// How many connections there are, what they are at, and what they have moved.
    pub fn figures(&self) -> Connections {
        let (sessions, asked) = {
            let state = self.state.lock();
            let idle = state.idle.last();
            let sessions = Sessions {
                open: state.live - state.connecting,
                busy: state.busy().saturating_sub(state.connecting),
                limit: state.limit.now,
                wanted: self.endpoint.max_conns.max(1),
                waiting: state.waiting.by_urgency.iter().sum(),
                away: (state.reachability.search).map(|search| search.since.elapsed()),
            };
            let asked = idle.map(|idle| (idle.control.tls_version(), idle.control.round_trip()));
            (sessions, asked)
        };
        let data = self.profile.ask(|learned| learned.data.modes.works);
        let transport = {
            let mut transport = self.transport.lock();
            let (tls, round_trip) = asked.unwrap_or((transport.tls, transport.round_trip));
            *transport = Transport {
                tls,
                data,
                round_trip,
            };
            *transport
        };
        Connections {
            sessions,
            transport,
            received: self.traffic.received.moved(),
            sent: self.traffic.sent.moved(),
        }
    }

    /// Puts a connection among the idle ones, if it is still good for anything.
    fn rest(&self, id: u64, control: Control, preconnected: Option<Preconnected>) {
        self.doubtful_paths.add(control.possibly_done());
        if let Some(at) = control.heard() {
            self.heard.note(at);
        }
        // The port of a data connection that may not wait is free when its session has ended.
        let keeps_port = preconnected.is_some() && !Preconnected::is_possible(&self.profile);
        let mut state = self.state.lock();
        if state.is_asked_for() {
            state.give_up(id, &control);
            drop((control, preconnected));
            if let Some(requests) = &self.requests {
                requests.tell(SessionRequests::give);
            }
        } else if control.in_step() && !state.closed && !keeps_port {
            let idle = Idle {
                id,
                control,
                preconnected,
                since: Instant::now(),
            };
            if state.prune_at().is_none_or(|at| idle.ages_at() < at) {
                self.rests.notify_all();
            }
            state.idle.push(idle);
        } else {
            state.give_up(id, &control);
        }
        self.share(state);
        self.changed.notify_all();
    }

    /// Keeps it for later mounts where the server has turned out to have room for one connection.
    fn share(&self, state: MutexGuard<'_, PoolState>) {
        let is_single = state.limit.is_single;
        drop(state);
        if is_single && !self.profile.ask(|learned| learned.one_session) {
            self.profile.learn(|learned| learned.one_session = true);
        }
    }

    /// Whether the server has turned out to have room for one connection.
    pub fn is_single(&self) -> bool {
        self.state.lock().limit.is_single
    }

    /// Asks the other mounts of the server for room, after a refusal for lack of it with so many sessions.
    fn ask_for_room(&self, sessions: usize) {
        if let Some(requests) = &self.requests {
            requests.tell(move |requests| requests.ask(sessions));
        }
    }

    /// Gives way to other mounts of the server, and takes what they give, until the pool is closed.
    fn answer_requests(&self) {
        let Some(requests) = &self.requests else {
            return;
        };
        while let Some(event) = requests.next() {
            log::debug!("pool: another mount of this server: {event:?}");
            let closed = {
                let mut state = self.state.lock();
                match event {
                    Event::Asked(sessions) => state.make_room(sessions),
                    Event::Given => {
                        state.lift_limit();
                        Vec::new()
                    }
                }
            };
            let gives = !closed.is_empty();
            drop(closed);
            self.changed.notify_all();
            if gives {
                requests.give();
            }
        }
    }

    /// Drops what is idle for too long, until the pool is closed.
    fn watch(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            state.prune();
            match state.prune_at() {
                Some(at) => {
                    self.rests.wait_until(&mut state, at);
                }
                None => self.rests.wait(&mut state),
            }
        }
    }

    /// Runs `job` on a thread of its own; false where there is none to be had.
    fn spawn(self: &Arc<Self>, name: &str, job: impl FnOnce(&Self) + Send + 'static) -> bool {
        let pool = Arc::clone(self);
        spawn_thread(name, move || job(&pool)).is_ok()
    }
}
