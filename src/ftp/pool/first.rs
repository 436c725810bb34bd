//! The first connection: who the server is, and where the mounted directory lies.
//!
//! The one idea: who mounts is about to look, and behind an automount somebody waits already. So what a first file or
//! listing needs is asked for with the last question of the login, and a second connection is on its way by then.
//!
//! A server that loses commands which come together is found out here, and gets a second login without.
//!
//! Lock order: as in `pool.rs`.

use std::sync::{Arc, mpsc};
use std::thread;

use crate::ftp::control::Control;
use crate::ftp::data::Spare;
use crate::ftp::endpoint::Endpoint;
use crate::ftp::kept::Kept;
use crate::ftp::login;
use crate::ftp::place::Place;
use crate::ftp::pool::growing::{GROWING_PATIENCE, further_login, note_flights};
use crate::ftp::pool::state::State;
use crate::ftp::pool::{LOOK, Pool};
use crate::ftp::profile::Profile;
use crate::ftp::reply::Reply;
use crate::ftp::route::Route;
use crate::remote::{Deadline, Error, Result, Urgency, Why};

/// What there is when a server has been found.
pub(super) struct First {
    /// The connection, logged in and in the directory.
    pub control: Control,
    /// Where that lies.
    pub place: Place,
    /// The connections, of which this is one.
    pub state: State,
    /// Somebody is about to look, and a spare data connection can be made for that.
    pub looks: bool,
    /// Where the server listens for it, if it was asked already.
    pub port: Option<Reply>,
    /// A second connection, which the pool is to wait for.
    pub second: Option<Forerunner>,
}

/// Finds the server, logs in, learns what it can do and enters the directory.
pub(super) fn meet(
    endpoint: &Arc<Endpoint>,
    profile: &Arc<Profile>,
    kept: &Kept,
    deadline: &Deadline,
) -> Result<First> {
    profile.learn(|learned| learned.steps_back = kept.steps_back());
    if kept.loses_flights() {
        profile.learn(|learned| learned.flights = Some(false));
    }
    let longer = Deadline::after(deadline.patience() * 2);
    let (mut control, deadline) = match first_login(endpoint, profile, deadline) {
        Err(Error::TimedOut { .. }) if profile.ask(|learned| learned.flights) == Some(false) => {
            (first_login(endpoint, profile, &longer)?, &longer)
        }
        result => (result?, deadline),
    };
    kept.adopt(profile, &network(&control), endpoint.data.is_free());
    let mut state = State::new(endpoint.max_conns.max(1));
    state.live = 1;
    let looks = Spare::is_possible(profile);
    let second = (looks && state.may_grow(Urgency::Ahead))
        .then(|| Forerunner::start(endpoint, control.route(), profile))
        .flatten();
    let lines = control.lines();
    let here = Place::new(Vec::new(), endpoint.charset, lines);
    let directory = endpoint.directory.as_deref();
    let directory = directory.map(|path| here.encode(path)).transpose()?;
    // Through a proxy a data connection takes longer than to begin one.
    let asks = Spare::command(profile).filter(|_| !control.route().is_proxied());
    let located = login::locate(&mut control, directory.as_deref(), asks, deadline);
    let flights = control.take_flights();
    let is_lost = flights.is_some_and(|work| note_flights(profile, work));
    let (base, port) = match located {
        // Without what was only asked for later use.
        Err(error) if is_lost || asks.is_some() && !matches!(error, Error::Refused { .. }) => {
            log::info!("{error}; once more, on another connection");
            Spare::note_misfire(profile);
            // A server may have room for one alone, and count this one until it is gone.
            drop(control);
            control = match first_login(endpoint, profile, &longer) {
                Err(error) if error.why() == Some(Why::TooMany) => {
                    thread::sleep(LOOK);
                    first_login(endpoint, profile, &longer)?
                }
                result => result?,
            };
            login::locate(&mut control, directory.as_deref(), None, &longer)?
        }
        located => located?,
    };
    Ok(First {
        control,
        place: Place::new(base, endpoint.charset, lines),
        state,
        looks,
        port,
        second,
    })
}

/// A further connection that is being made while the first one still asks where the directory lies, and there is no pool
/// yet: it is ready so much sooner for what comes beside the first look.
pub(super) struct Forerunner(mpsc::Sender<Arc<Pool>>);

impl Forerunner {
    /// Begins to make it, where that can be.
    pub(super) fn start(
        endpoint: &Arc<Endpoint>,
        route: &Route,
        profile: &Arc<Profile>,
    ) -> Option<Self> {
        let (sender, pool) = mpsc::channel::<Arc<Pool>>();
        let (endpoint, route, profile) = (Arc::clone(endpoint), route.clone(), Arc::clone(profile));
        let run = move || {
            let deadline = Deadline::after(GROWING_PATIENCE);
            let made = further_login(&endpoint, &route, &profile, true, &mut |_| (), &deadline);
            // Where the mount has failed, there will be none.
            let Ok(pool) = pool.recv() else { return };
            pool.take_in(made.map(|(mut control, port)| {
                let spare = port.and_then(|port| pool.spare_at(&port, &mut control));
                (pool.register(&control), control, spare)
            }));
        };
        let thread = thread::Builder::new().name("connect".into()).spawn(run);
        thread.is_ok().then_some(Self(sender))
    }

    /// The pool is there, and counts on it.
    pub(super) fn join(self, pool: &Arc<Pool>) {
        let mut state = pool.state.lock();
        state.note_transfer();
        state.live += 1;
        state.connecting += 1;
        if self.0.send(Arc::clone(pool)).is_err() {
            state.live -= 1;
            state.connecting -= 1;
        }
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
