//! The pool of control connections.
//!
//! The one idea: whoever wants to talk to the server takes a [`Lease`] and gives the connection
//! back by dropping it. The pool grows by one connection at a time, when nobody is idle, up to a
//! limit which a server's own words can lower. Transfers never take the last place, so that an
//! `ls` does not wait behind a copy; with a limit of one, a transfer sees that it is *wanted* and
//! makes way.
//!
//! Invariants: nobody who holds a lease waits for a second one; a connection that is out of step
//! is never given out again; all connections go to the address of the first.
//!
//! Lock order: `state` is taken alone and nothing is called under it.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::ftp::charset::Charset;
use crate::ftp::control::Control;
use crate::ftp::data;
use crate::ftp::kept::Kept;
use crate::ftp::login::{self, Login};
use crate::ftp::place::Place;
use crate::ftp::profile::Profile;
use crate::ftp::proxy::Proxy;
use crate::ftp::route::{Route, Target};
use crate::ftp::stream::{Bind, Cutter};
use crate::ftp::tls::{Tls, When};
use crate::ftp::zone::Zone;
use crate::remote::{Ask, Deadline, Error, Result, Urgency, Why};

/// Where the server is and how it is to be used.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// The port of the control connection.
    pub port: u16,
    /// Who logs in.
    pub login: Login,
    /// What `CWD` is given before the mounted directory is asked for; `None` stays at the login.
    pub directory: Option<Vec<u8>>,
    /// Control connections at most, at least one.
    pub max_conns: usize,
    /// Whether several commands may be under way at once.
    pub pipelining: bool,
    /// When and how connections are encrypted.
    pub tls: Arc<Tls>,
    /// Which data connections are made.
    pub data: data::Policy,
    /// Where connections go out from.
    pub bind: Option<Bind>,
    /// The proxy that connections go through.
    pub proxy: Option<Arc<Proxy>>,
    /// The one family of addresses that is used; both by default.
    pub family: Option<Family>,
    /// The charset of names, where it is not UTF-8.
    pub charset: Option<Charset>,
    /// How listings are taken.
    pub manner: Manner,
    /// The directory in which it is kept what was learned of servers.
    pub profiles: Option<PathBuf>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How listings are taken.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Files are asked for their exact times where the listing rounds them.
    pub exact_times: bool,
    /// Links are shown as what they lead to.
    pub follow_links: bool,
    /// The zone of the listing's times; learned from one file where it is not given.
    pub zone: Option<Zone>,
}

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Some replies: soon given back.
    Metadata,
    /// A file or a listing: may take long.
    Transfer,
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    endpoint: Endpoint,
    route: Route,
    place: Place,
    profile: Profile,
    kept: Arc<Kept>,
    state: Mutex<State>,
    changed: Condvar,
    /// Pieces that transfers have moved so far.
    moved: AtomicU64,
}

#[derive(Debug)]
struct State {
    idle: Vec<Idle>,
    /// Connections that exist or are being made.
    live: usize,
    transfers: usize,
    connecting: bool,
    /// Connections at most, now.
    limit: usize,
    /// Connections at most, as configured.
    max_conns: usize,
    limited_until: Option<Instant>,
    /// Who waits, by urgency.
    waiting: [usize; 3],
    /// Of these, who wants to transfer.
    waiting_transfers: usize,
    cutters: HashMap<u64, Cutter>,
    next_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct Idle {
    id: u64,
    control: Control,
    since: Instant,
}

/// How long a limit that the server named is kept before more is tried again.
const LIMIT_MEMORY: Duration = Duration::from_secs(600);
/// How often those who wait for a connection look whether the transfers that hold them get on.
const LOOK: Duration = Duration::from_secs(1);
/// An idle connection is closed after so long: servers do so after some minutes, less politely.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

impl Pool {
    /// Finds the server, logs in once and learns what it can do and where the directory lies.
    pub fn connect(endpoint: Endpoint, deadline: &Deadline) -> Result<Arc<Self>> {
        let profile = Profile::default();
        let Endpoint {
            host, port, login, ..
        } = &endpoint;
        let kept = Kept::open(endpoint.profiles.as_deref(), host, *port, &login.user);
        profile.learn(|learned| learned.steps_back = kept.steps_back());
        let mut control = first_control(&endpoint, &profile, deadline)?;
        login::first(
            &mut control,
            &endpoint.login,
            &endpoint.tls,
            &profile,
            deadline,
        )?;
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
            state: Mutex::new(State {
                idle: Vec::new(),
                live: 1,
                transfers: 0,
                connecting: false,
                limit,
                max_conns: limit,
                limited_until: None,
                waiting: [0; 3],
                waiting_transfers: 0,
                cutters: HashMap::new(),
                next_id: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            moved: AtomicU64::new(0),
        });
        let id = pool.register(&control);
        pool.state.lock().idle.push(Idle {
            id,
            control,
            since: Instant::now(),
        });
        Ok(pool)
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
            let urgency = if since.elapsed() > LOOK {
                Urgency::Caller
            } else {
                ask.urgency
            };
            match state.next(purpose, fresh, urgency) {
                Next::Closed => break Err(Error::Closed),
                Next::Take(mut idle) => {
                    if idle.since.elapsed() <= IDLE_LIMIT && !idle.control.is_stale() {
                        break Ok((idle.id, idle.control, true));
                    }
                    state.drop_connection(idle.id);
                }
                Next::Connect => {
                    state.live += 1;
                    state.connecting = true;
                    drop(state);
                    // An attempt's own bytes are no progress of the caller's: a server that always refuses
                    // must not keep it for ever.
                    let left = ask.deadline.remaining().unwrap_or_default();
                    let result = self.new_control(&Deadline::after(left));
                    state = self.state.lock();
                    state.connecting = false;
                    self.changed.notify_all();
                    match result {
                        Ok((id, control)) => break Ok((id, control, false)),
                        Err(error) => {
                            state.live -= 1;
                            if error.why() != Some(Why::TooMany) {
                                break Err(error);
                            }
                            if state.live > 0 {
                                state.lower_limit(&error);
                            } else if ask.deadline.remaining().is_some() {
                                // It may still count connections of ours that have just died.
                                self.changed.wait_for(&mut state, LOOK);
                            } else {
                                break Err(error);
                            }
                        }
                    }
                }
                Next::Wait => {
                    let Some(left) = ask.deadline.remaining() else {
                        break Err(Error::timed_out("waiting for a free connection"));
                    };
                    let before = self.moved.load(Ordering::Relaxed);
                    self.changed.wait_for(&mut state, left.min(LOOK));
                    if self.moved.load(Ordering::Relaxed) != before {
                        // Those who hold the connections get on: the line moves.
                        ask.deadline.progress();
                    }
                }
            }
        };
        state.waiting[ask.urgency as usize] -= 1;
        state.waiting_transfers -= transfers;
        let (id, control, used) = result?;
        state.transfers += transfers;
        drop(state);
        Ok(Lease {
            pool: Arc::clone(self),
            id,
            purpose,
            control: Some(control),
            used,
        })
    }

    /// A transfer has moved some bytes: who waits for its connection does not wait in vain.
    pub fn note_progress(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether somebody waits who can't get a connection unless a transfer makes way.
    pub fn is_wanted(&self) -> bool {
        let state = self.state.lock();
        let callers =
            state.waiting[Urgency::Caller as usize] + state.waiting[Urgency::Flush as usize];
        let none_left = state.idle.is_empty() && state.live >= state.limit;
        let none_to_transfer = state.waiting_transfers > 0 && !state.may_transfer();
        callers > 0 && (none_left || none_to_transfer)
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
        drop(state);
        self.keep();
    }

    /// Keeps what was learned for the next mount.
    pub fn keep(&self) {
        self.kept.finish(&self.profile);
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

    fn new_control(&self, deadline: &Deadline) -> Result<(u64, Control)> {
        let mut control = self
            .endpoint
            .control(&self.route, &self.profile, deadline)?;
        let id = self.register(&control);
        let Endpoint { login, tls, .. } = &self.endpoint;
        let result = login::again(&mut control, login, tls, &self.profile, deadline);
        if let Err(error) = result {
            self.unregister(id);
            return Err(error);
        }
        Ok((id, control))
    }

    fn give_back(&self, id: u64, mut control: Option<Control>, purpose: Purpose) {
        if let Some(used_up) = control.take_if(|control| control.is_used_up()) {
            // Before a transfer is refused for it; the next one is made when it is needed.
            self.step_back(&used_up);
        }
        let mut state = self.state.lock();
        if purpose == Purpose::Transfer {
            state.transfers -= 1;
        }
        match control {
            Some(control) if control.in_step() && !state.closed => state.idle.push(Idle {
                id,
                control,
                since: Instant::now(),
            }),
            _ => state.drop_connection(id),
        }
        state.drop_idle();
        self.changed.notify_all();
        drop(state);
        self.kept.note(&self.profile);
    }
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

/// What somebody who wants a connection is to do.
enum Next {
    Take(Box<Idle>),
    Connect,
    Wait,
    Closed,
}

impl State {
    fn next(&mut self, purpose: Purpose, fresh: bool, urgency: Urgency) -> Next {
        if self.closed {
            return Next::Closed;
        }
        if self
            .limited_until
            .is_some_and(|until| until < Instant::now())
        {
            self.limited_until = None;
            self.limit = self.max_conns;
        }
        let first_in_line = self.waiting[..urgency as usize]
            .iter()
            .all(|&waiting| waiting == 0);
        let has_place = purpose == Purpose::Metadata || self.may_transfer();
        if !has_place || !first_in_line {
            return Next::Wait;
        }
        if fresh {
            // Those that were idle since before the failure are as dead as the one that failed.
            while let Some(idle) = self.idle.pop() {
                self.drop_connection(idle.id);
            }
        } else if let Some(idle) = self.idle.pop() {
            return Next::Take(Box::new(idle));
        }
        if self.live < self.limit && !self.connecting {
            return Next::Connect;
        }
        Next::Wait
    }

    /// Whether one more transfer leaves a place for metadata.
    fn may_transfer(&self) -> bool {
        self.limit < 2 || self.transfers + 1 < self.limit
    }

    fn lower_limit(&mut self, error: &Error) {
        log::warn!("{error}; going on with {} connections", self.live);
        self.limit = self.live;
        self.limited_until = Some(Instant::now() + LIMIT_MEMORY);
    }

    fn drop_connection(&mut self, id: u64) {
        self.live -= 1;
        self.cutters.remove(&id);
    }

    fn drop_idle(&mut self) {
        while self
            .idle
            .first()
            .is_some_and(|idle| idle.since.elapsed() > IDLE_LIMIT)
        {
            let idle = self.idle.remove(0);
            self.drop_connection(idle.id);
        }
    }
}

/// A control connection that is ours until this is dropped.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    id: u64,
    purpose: Purpose,
    control: Option<Control>,
    used: bool,
}

impl Lease {
    /// The connection.
    pub fn control(&mut self) -> Result<&mut Control> {
        self.control.as_mut().ok_or(Error::Closed)
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
        self.pool
            .give_back(self.id, self.control.take(), self.purpose);
    }
}

impl Endpoint {
    fn control(&self, route: &Route, profile: &Profile, deadline: &Deadline) -> Result<Control> {
        let implicit = if self.tls.when() == When::Implicit {
            let session = self
                .tls
                .session(profile.ask(|learned| learned.steps_back))?;
            Some((&*self.tls, session))
        } else {
            None
        };
        Control::connect(route, implicit, self.pipelining, deadline)
    }

    /// Whether an address may be connected to, by `ipv4`, `ipv6` and `bind=`.
    fn allows(&self, address: &SocketAddr) -> bool {
        let is_wanted = match self.family {
            Some(Family::V4) => address.is_ipv4(),
            Some(Family::V6) => address.is_ipv6(),
            None => true,
        };
        let is_bound = match &self.bind {
            Some(Bind::Address(ours)) => ours.is_ipv4() == address.is_ipv4(),
            _ => true,
        };
        is_wanted && is_bound
    }
}

/// Connects to the first of the host's addresses that answers.
fn first_control(endpoint: &Endpoint, profile: &Profile, deadline: &Deadline) -> Result<Control> {
    let to = |target| Route {
        bind: endpoint.bind.clone(),
        target,
    };
    if let Some(proxy) = &endpoint.proxy {
        let target = Target::Behind(Arc::clone(proxy), endpoint.host.clone(), endpoint.port);
        return endpoint.control(&to(target), profile, deadline);
    }
    let tried = || format!("finding {}", endpoint.host);
    let addresses: Vec<_> = (endpoint.host.as_str(), endpoint.port)
        .to_socket_addrs()
        .map_err(|error| Error::lost(tried(), error))?
        .collect();
    let mut last = match addresses.first() {
        None => Error::lost(tried(), "the name has no address"),
        Some(other) => Error::barred(
            endpoint.host.clone(),
            format!(
                "it has no address of the family that ipv4, ipv6 or bind= asks for, but {}",
                other.ip()
            ),
        ),
    };
    for address in addresses {
        if !endpoint.allows(&address) {
            continue;
        }
        match endpoint.control(&to(Target::Address(address)), profile, deadline) {
            Ok(control) => return Ok(control),
            Err(error) => last = error,
        }
    }
    Err(last)
}
