//! Makes the first connection: learns what the server can do, and where the mounted directory lies.
//!
//! The first access follows the mount at once, and under autofs it waits already. So the data connection for it is
//! asked for together with the last command of the login, and a second connection is being made by then.
//!
//! A server that loses pipelined commands is detected here, and gets a second login without pipelining.
//!
//! # Lock order
//!
//! As in `pool.rs`.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::ftp::config::Endpoint;
use crate::ftp::control::Control;
use crate::ftp::control::login;
use crate::ftp::control::login::{Early, Located};
use crate::ftp::data::Preconnected;
use crate::ftp::net::route::Route;
use crate::ftp::pool::connector::{
    GROWING_PATIENCE, further_login, has_surplus_replies, learn_pipelining, workarounds,
};
use crate::ftp::pool::session_requests::SessionRequests;
use crate::ftp::pool::wait_queue::PoolState;
use crate::ftp::pool::{Pool, WAIT_CHECK_INTERVAL};
use crate::ftp::profile::store::ProfileStore;
use crate::ftp::profile::{Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::RemoteRoot;
use crate::ftp::protocol::reply::Reply;
use crate::process::thread::spawn_thread;
use crate::remote::{Deadline, Error, Result, Urgency, Why};

/// How long a new mount waits for other mounts of the server to close a session.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// The outcome of the first login.
pub(crate) struct Bootstrap {
    /// The connection, logged in and in the directory.
    pub control: Control,
    /// The mounted directory on the server.
    pub root: RemoteRoot,
    /// The connections, of which this is one.
    pub state: PoolState,
    /// A data connection can be made for the first access.
    pub looks: bool,
    /// The reply that names its port, if that was asked for already.
    pub port: Option<Reply>,
    /// A second connection, which the pool is to wait for.
    pub second: Option<SecondConnection>,
}

/// Finds the server, logs in, learns what it can do and enters the directory.
pub(crate) fn connect_first(
    endpoint: &Arc<Endpoint>,
    profile: &Arc<Profile>,
    kept: &ProfileStore,
    deadline: &Deadline,
) -> Result<Bootstrap> {
    profile.learn(|learned| learned.data.tls12_only = kept.steps_back());
    if kept.loses_pipelined_commands() {
        profile.learn(|learned| learned.pipelining.commands = Support::No);
    }
    let mut state = first_state(endpoint, kept);
    let is_known = kept.is_known();
    let is_wanted = is_known && state.may_grow(Urgency::Ahead);
    let mut second = None;
    // Not before the first login was accepted: nothing that is refused is tried twice.
    let mut accepted = |control: &Control| {
        second = is_wanted
            .then(|| SecondConnection::start(endpoint, control.route(), profile))
            .flatten();
    };
    let longer = Deadline::after(deadline.patience() * 2);
    let mut met = first_login(
        (endpoint, profile),
        (is_known, !is_wanted),
        Some(kept),
        &mut accepted,
        deadline,
    );
    let is_early_failed = profile.ask(|learned| learned.this_mount.pipelining_faults.early_login);
    if let Err(error) = &met
        && is_early_failed
    {
        log::info!("pool: {error}; logging in again with one command after the other");
        // It may be what has ended the first.
        second = None;
        met = login_again(endpoint, profile, is_known, &longer).map(|control| (control, None));
    }
    let met = match met {
        // Some servers end a session when another one begins.
        Err(error @ Error::Lost { .. }) if second.is_some() => {
            log::info!("pool: {error}; logging in again without a second connection");
            second = None;
            let again = login_alone(endpoint, profile, (is_known, &mut state), deadline);
            again.map(|control| (control, None))
        }
        met => met,
    };
    let ((mut control, early), deadline) = match met {
        Err(Error::TimedOut { .. })
            if profile.ask(|learned| learned.pipelining.commands) == Support::No =>
        {
            let again = plain_login(endpoint, profile, is_known, &longer);
            ((again?, None), &longer)
        }
        result => (result?, deadline),
    };
    kept.adopt(profile, &network(&control), endpoint.data.is_free());
    if is_early_failed {
        Preconnected::note_misfire(profile);
    }
    if state.limit.is_single {
        profile.learn(|learned| learned.one_session = true);
    }
    let looks = Preconnected::is_possible(profile);
    let second = second.filter(|_| looks).map(SecondConnection::log_in);
    let (base, port) = match early {
        Some(located) => located,
        None => {
            let located;
            (control, located) = locate(endpoint, profile, is_known, control, [deadline, &longer])?;
            located
        }
    };
    let lines = control.lines();
    Ok(Bootstrap {
        control,
        root: RemoteRoot::new(base, endpoint.charset, lines),
        state,
        looks,
        port,
        second,
    })
}

/// Logs in without a second connection, after the first one was ended. If that works, one connection has to do; not where the
/// session has ended once more, since then it ends for what was sent.
fn login_alone(
    endpoint: &Endpoint,
    profile: &Profile,
    (is_known, state): (bool, &mut PoolState),
    deadline: &Deadline,
) -> Result<Control> {
    let ended = || profile.ask(|learned| learned.this_mount.pipelining_faults.ended_logins);
    let ended_before = ended();
    let control = login_again(endpoint, profile, is_known, deadline)?;
    if ended() == ended_before {
        state.limit_to_one();
    }
    Ok(control)
}

/// Makes the first connection by `first`; where the server has no room for it, other mounts are asked to close theirs.
pub(crate) fn with_room<T>(
    requests: Option<&SessionRequests>,
    deadline: &Deadline,
    first: impl Fn() -> Result<T>,
) -> Result<T> {
    let until = Instant::now() + deadline.patience().min(ROOM_PATIENCE);
    loop {
        let made = first();
        let refusal = made.as_ref().err().and_then(Error::why);
        let asked = requests.filter(|requests| {
            refusal == Some(Why::TooMany) && Instant::now() < until && requests.has_others()
        });
        let Some(asked) = asked else { return made };
        asked.ask(0);
        asked.wait_for(WAIT_CHECK_INTERVAL);
    }
}

/// The directory to change to, in the server's bytes.
fn directory(endpoint: &Endpoint, control: &Control) -> Result<Option<Vec<u8>>> {
    let here = RemoteRoot::new(Vec::new(), endpoint.charset, control.lines());
    let directory = (endpoint.directory.as_deref()).map(|path| here.encode(path));
    directory.transpose()
}

/// The command that asks for the first data connection, where that is likely to work.
fn port_command(profile: &Profile, control: &Control) -> Option<Command<'static>> {
    // Through a proxy a data connection takes longer than to begin one.
    Preconnected::command(profile).filter(|_| !control.route().is_proxied())
}

/// Enters the directory, on another connection with another login where that may help: then `longer` counts.
fn locate(
    endpoint: &Endpoint,
    profile: &Profile,
    is_known: bool,
    mut control: Control,
    [deadline, longer]: [&Deadline; 2],
) -> Result<(Control, Located)> {
    let directory = directory(endpoint, &control)?;
    let asks = port_command(profile, &control);
    let doubts_refusal = login::sends_opts(profile);
    let directory = directory.as_deref();
    let located = login::locate(&mut control, directory, asks, doubts_refusal, deadline);
    let outcome = control.take_pipeline_outcome();
    let is_lost =
        outcome.is_some_and(|outcome| learn_pipelining(profile, outcome) || outcome.is_misfit());
    // The command before it may have ended the session.
    let is_ended = is_lost_to_end(&located, &control);
    note_ended_login(profile, &control, &located);
    let is_surplus =
        doubts_refusal && located.as_ref().err().and_then(Error::why) == Some(Why::Unsaid);
    if is_surplus {
        profile.learn(|learned| learned.this_mount.skips.opts = true);
    }
    match located {
        // Without what was only asked for later use.
        Err(error)
            if is_lost
                || is_surplus
                || is_ended
                || asks.is_some() && !matches!(error, Error::Refused { .. }) =>
        {
            log::info!("pool: {error}; trying again on another connection");
            Preconnected::note_misfire(profile);
            // A server may have room for one alone, and count this one until it is gone.
            drop(control);
            loop {
                let before = profile.ask(workarounds);
                let mut control = login_again(endpoint, profile, is_known, longer)?;
                let located = login::locate(&mut control, directory, None, false, longer);
                note_ended_login(profile, &control, &located);
                if let Some(outcome) = control.take_pipeline_outcome() {
                    learn_pipelining(profile, outcome);
                }
                let is_refused = matches!(located, Err(Error::Refused { .. }));
                if located.is_ok() || is_refused || profile.ask(workarounds) == before {
                    return Ok((control, located?));
                }
            }
        }
        located => Ok((control, located?)),
    }
}

/// The state of the pool with the first connection.
fn first_state(endpoint: &Endpoint, kept: &ProfileStore) -> PoolState {
    let mut state = PoolState::new(endpoint.max_conns.max(1));
    state.live = 1;
    if kept.has_one_session() {
        state.be_single();
    }
    state
}

/// Logins whose session has ended, until nothing more can be left out.
const ENDED_LOGINS_LIMIT: u32 = 5;

/// Another first login, after a connection that was given up.
fn login_again(
    endpoint: &Endpoint,
    profile: &Profile,
    is_known: bool,
    deadline: &Deadline,
) -> Result<Control> {
    match plain_login(endpoint, profile, is_known, deadline) {
        Err(error) if error.why() == Some(Why::TooMany) => {
            thread::sleep(WAIT_CHECK_INTERVAL);
            plain_login(endpoint, profile, is_known, deadline)
        }
        result => result,
    }
}

/// A further connection that is being made while the first one still asks what the server can do and where the directory
/// lies, and there is no pool yet: it is ready sooner for what is concurrent with the first access. It is given up where
/// this is dropped.
pub(crate) struct SecondConnection {
    log_in: mpsc::Sender<()>,
    pool: mpsc::Sender<Arc<Pool>>,
}

impl SecondConnection {
    /// Starts to make it on a thread: connects and waits for the greeting.
    fn start(endpoint: &Arc<Endpoint>, route: &Route, profile: &Arc<Profile>) -> Option<Self> {
        let (log_in, may_log_in) = mpsc::channel();
        let (sender, pool) = mpsc::channel::<Arc<Pool>>();
        let (endpoint, route, profile) = (Arc::clone(endpoint), route.clone(), Arc::clone(profile));
        let run = move || {
            let begun = Instant::now();
            let deadline = Deadline::after(GROWING_PATIENCE);
            let met = endpoint.connect(&route, &profile, &deadline);
            // It has turned out to be another server, or the mount has failed.
            let Ok(()) = may_log_in.recv() else { return };
            let log_in = |control| further_login(control, &endpoint, &profile, true, &deadline);
            let made = met.and_then(log_in);
            // Where the mount has failed, there will be none.
            let Ok(pool) = pool.recv() else { return };
            let made = made.map(|(mut control, port)| {
                let preconnected = port.and_then(|port| pool.preconnected_at(&port, &mut control));
                (pool.register(&control), control, preconnected)
            });
            pool.count_in(made, begun);
        };
        let thread = spawn_thread("connect", run);
        thread.is_ok().then_some(Self {
            log_in,
            pool: sender,
        })
    }

    /// What the server can do is known.
    fn log_in(self) -> Self {
        // Where its thread has ended, `join` sees it.
        self.log_in.send(()).ok();
        self
    }

    /// The pool is there, and counts on it.
    pub(crate) fn join(self, pool: &Arc<Pool>) {
        let mut state = pool.state.lock();
        state.note_transfer();
        state.live += 1;
        state.connecting += 1;
        if self.pool.send(Arc::clone(pool)).is_err() {
            state.live -= 1;
            state.connecting -= 1;
        }
    }
}

/// A first login in which each flight waits for the one before.
fn plain_login(
    endpoint: &Endpoint,
    profile: &Profile,
    is_known: bool,
    deadline: &Deadline,
) -> Result<Control> {
    let made = first_login(
        (endpoint, profile),
        (is_known, true),
        None,
        &mut |_| (),
        deadline,
    );
    made.map(|(control, _)| control)
}

/// Connects and logs in, and once more for each of two faults that the first login shows: a session that cannot be used
/// after `AUTH TLS`, and surplus replies. With a stored profile in `kept`, the directory is entered as well. `known_alone` is
/// whether the server is expected to be known, and whether no second connection is made beside this one.
fn first_login(
    (endpoint, profile): (&Endpoint, &Profile),
    known_alone: (bool, bool),
    kept: Option<&ProfileStore>,
    accepted: &mut dyn FnMut(&Control),
    deadline: &Deadline,
) -> Result<(Control, Option<Located>)> {
    loop {
        let before = profile.ask(workarounds);
        let result = try_first_login((endpoint, profile), known_alone, kept, accepted, deadline);
        match result {
            // A refusal is the server's word on the password: it is not asked twice.
            Err(error)
                if !matches!(error, Error::Refused { .. })
                    && profile.ask(workarounds) != before =>
            {
                log::info!("pool: {error}; logging in again without that command");
            }
            result => return result,
        }
    }
}

/// One login; a server that loses pipelined commands is detected.
fn try_first_login(
    (endpoint, profile): (&Endpoint, &Profile),
    (is_known, is_alone): (bool, bool),
    kept: Option<&ProfileStore>,
    accepted: &mut dyn FnMut(&Control),
    deadline: &Deadline,
) -> Result<(Control, Option<Located>)> {
    let connect = |route: &Route| endpoint.connect_first(route, profile, deadline);
    let mut control = endpoint.first_control(&connect)?;
    if !is_known {
        control.mark_untested();
    }
    let Endpoint { login, tls, .. } = endpoint;
    let expected = kept
        .filter(|_| control.is_pipelining())
        .and_then(|kept| kept.expected(&network(&control), endpoint.data.is_free()));
    let result = match &expected {
        Some(expected) => {
            let directory = directory(endpoint, &control)?;
            let early = Early {
                expected,
                directory: directory.as_deref(),
                asks: port_command(expected, &control),
            };
            let profiles = (&**tls, profile);
            login::first_known(&mut control, login, profiles, &early, accepted, deadline).map(Some)
        }
        None => login::first(&mut control, login, tls, profile, accepted, deadline).map(|()| None),
    };
    if let Some(outcome) = control.take_pipeline_outcome() {
        learn_pipelining(profile, outcome);
    }
    let is_lost = matches!(result, Err(Error::Lost { .. }));
    let is_unfit = matches!(
        result,
        Err(Error::Misbehaved { .. } | Error::TimedOut { .. })
    );
    if expected.is_some() && (is_lost || is_unfit) && control.is_logged_in() {
        profile.learn(|learned| learned.this_mount.pipelining_faults.early_login = true);
    } else if is_lost && has_surplus_replies(&control) {
        profile.learn(|learned| learned.this_mount.skips.opts = true);
    } else if is_alone {
        // No second connection of ours can have ended this one.
        note_ended_login(profile, &control, &result);
    }
    result.map(|located| (control, located))
}

/// Whether a session has ended by the server's doing.
fn is_lost_to_end<T>(result: &Result<T>, control: &Control) -> bool {
    matches!(result, Err(Error::Lost { .. })) && control.is_ended_by_server()
}

/// Learns from a session that has ended after the password was accepted, or at a command without which a login works, too,
/// what the next login does without. The first end may be an accident; then pipelining is left out, so that the next end shows
/// whether that was the reason, and then the commands.
fn note_ended_login<T>(profile: &Profile, control: &Control, result: &Result<T>) {
    let feat = Command::Feat.to_string();
    if matches!(result, Err(Error::TimedOut { tried }) if *tried == feat) {
        return profile.learn(|learned| learned.this_mount.skips.feat = true);
    }
    if !control.is_logged_in() || !is_lost_to_end(result, control) {
        return;
    }
    profile.learn(|learned| {
        let this_mount = &mut learned.this_mount;
        let (faults, skips) = (&mut this_mount.pipelining_faults, &mut this_mount.skips);
        let is_first = faults.ended_logins == 0;
        faults.ended_logins = (faults.ended_logins + 1).min(ENDED_LOGINS_LIMIT);
        if is_first {
            return;
        }
        if control.is_pipelining() && !skips.opts {
            faults.suspended = true;
            learned.pipelining.commands = Support::No;
            return;
        }
        if std::mem::take(&mut faults.suspended) {
            // It was not the reason.
            learned.pipelining.commands = Support::Unknown;
        }
        skips.feat |= skips.opts;
        skips.opts = true;
    });
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
