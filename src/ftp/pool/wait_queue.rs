//! Decides which caller gets which connection, and when one more is made.
//!
//! Plain data and its rules, without a lock and without a server. Callers wait by urgency, and prefetching takes only
//! what leaves a connection for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ftp::control::Control;
use crate::ftp::data::Preconnected;
use crate::ftp::net::stream::Cutter;
use crate::ftp::pool::old_sessions::OldSessions;
use crate::ftp::pool::reachability::Reachability;
use crate::ftp::pool::succession::Succession;
use crate::remote::{Error, Urgency, Why};

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Some replies: soon given back.
    Metadata,
    /// A directory: soon given back too, and wants a data connection.
    Listing,
    /// A file: may take long.
    Transfer,
}

/// The connections, and the callers that wait for them.
#[derive(Debug)]
pub struct PoolState {
    /// Connections that no caller holds.
    pub idle: Vec<Idle>,
    /// Connections that exist or are being made.
    pub live: usize,
    /// Of these, those that are just getting a preconnected data connection: soon idle.
    pub arming: usize,
    /// Of these, those that carry a file.
    pub transfers: usize,
    /// Of these, those that prefetch a small file.
    pub ahead: usize,
    /// Of these, those that are being made.
    pub connecting: usize,
    /// When a transfer or a listing last began.
    transferred: Option<Instant>,
    /// How many connections may be made, and when.
    pub limit: ConnectionLimit,
    /// Sessions that the server may still count.
    pub old_sessions: OldSessions,
    /// Which of two sessions the server ends.
    pub sessions: Succession,
    /// Whether the server counts as away.
    pub reachability: Reachability,
    /// The callers that wait.
    pub waiting: Waiting,
    /// Handles with which every connection can be cut.
    pub cutters: HashMap<u64, Cutter>,
    /// The number of the next connection.
    pub next_id: u64,
    /// The mount ends.
    pub closed: bool,
}

/// How many connections may be made, and when.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// Connections at most, now.
    pub now: usize,
    /// The server had room for one connection only.
    pub is_single: bool,
    /// Connections at most, as configured.
    configured: usize,
    /// End of a limit that the server set below the configured one.
    lowered_until: Option<Instant>,
    /// No connection is made before this, after an attempt that failed.
    pub paused_until: Option<Instant>,
    /// Refusals in a row that were put down to old sessions.
    refused_for_old: u32,
    /// No login is tried before this: the server had no room, and there is no connection.
    full_until: Option<Instant>,
    /// When another mount of the server, which has none, last asked for the only connection.
    asked_for_last: Option<Instant>,
}

/// The callers that wait for a connection.
#[derive(Debug, Default)]
pub struct Waiting {
    /// All of them, by urgency.
    pub by_urgency: [usize; 3],
    /// Of these, those that want to transfer a file.
    pub transfers: usize,
}

/// A connection that no caller holds.
#[derive(Debug)]
pub struct Idle {
    /// Its number.
    pub id: u64,
    /// The connection.
    pub control: Control,
    /// Its preconnected data connection.
    pub preconnected: Option<Preconnected>,
    /// Since when.
    pub since: Instant,
}

/// What a caller that wants a connection is to do.
pub enum Next {
    /// Take this one.
    Take(Box<Idle>),
    /// Make one.
    Connect,
    /// Have one made, and wait for that or for another one.
    Grow,
    /// Wait.
    Wait,
    /// Wait a moment: the server is away.
    Away,
    /// Give up.
    Closed,
}

/// How long a limit that the server named is kept before more is tried again.
const LIMIT_MEMORY: Duration = Duration::from_secs(600);
/// Longest pause between two transfers of one chain.
const CHAIN_INTERVAL: Duration = Duration::from_secs(1);
/// Connections that are made at once: a login takes six round trips, and a server that has no more of them
/// says so to each.
const CONNECTING_LIMIT: usize = 4;
/// Age at which an idle connection is closed: servers do so after some minutes, less politely.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// Refused logins in a row that are put down to sessions that the server may still count.
const REFUSED_LOGINS_LIMIT: u32 = 3;
/// How long a request of another mount for the only connection counts: it is repeated each second.
const REQUEST_LIFE: Duration = Duration::from_secs(2);
/// Pause after a refusal for sessions that the server may still count; doubled three times at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

impl PoolState {
    /// An empty pool of `max_conns` connections at most.
    pub fn new(max_conns: usize) -> Self {
        Self {
            idle: Vec::new(),
            live: 0,
            arming: 0,
            transfers: 0,
            ahead: 0,
            connecting: 0,
            transferred: None,
            limit: ConnectionLimit {
                now: max_conns,
                is_single: false,
                configured: max_conns,
                lowered_until: None,
                paused_until: None,
                refused_for_old: 0,
                full_until: None,
                asked_for_last: None,
            },
            old_sessions: OldSessions::default(),
            sessions: Succession::default(),
            reachability: Reachability::default(),
            waiting: Waiting::default(),
            cutters: HashMap::new(),
            next_id: 0,
            closed: false,
        }
    }

    /// What a caller that waits with this urgency is to do now. `fresh` wants a new connection.
    pub fn next(&mut self, purpose: Purpose, fresh: bool, urgency: Urgency) -> Next {
        if self.closed {
            return Next::Closed;
        }
        if self.reachability.is_away() {
            return Next::Away;
        }
        if self
            .limit
            .lowered_until
            .is_some_and(|until| until < Instant::now())
        {
            self.limit.lowered_until = None;
            self.limit.now = self.limit.configured;
        }
        let first_in_line = self.waiting.by_urgency[..urgency as usize]
            .iter()
            .all(|&waiting| waiting == 0);
        if !first_in_line || !self.has_place(purpose, urgency) {
            return Next::Wait;
        }
        if fresh {
            // Those that were idle since before the failure are as dead as the one that failed.
            while let Some(mut idle) = self.idle.pop() {
                if !idle.control.is_stale() {
                    self.note_answer(idle.id, false);
                }
                self.old_sessions.add_closed();
                self.drop_connection(idle.id);
            }
        } else if let Some(at) = self.choose(purpose) {
            return Next::Take(Box::new(self.idle.remove(at)));
        }
        if self.live >= self.limit.now || self.connecting > 0 && !self.may_grow(urgency) {
            return Next::Wait;
        }
        if self.limit.refused_for_old > 0 && self.is_barred() {
            // A login before the pause is over is refused as the last one was.
            return Next::Wait;
        }
        if self.live == 0 && (self.limit.full_until).is_some_and(|until| Instant::now() < until) {
            return Next::Wait;
        }
        let soon_idle = self.arming > 0 && purpose == Purpose::Metadata;
        match self.live {
            0 => Next::Connect,
            _ if fresh => Next::Connect,
            _ if soon_idle || !self.may_grow(urgency) => Next::Wait,
            _ => Next::Grow,
        }
    }

    /// How many could take an idle connection now.
    pub fn room(&self, urgency: Urgency) -> usize {
        let waits = self.waiting.by_urgency[..=urgency as usize]
            .iter()
            .any(|&waiting| waiting > 0);
        match urgency {
            _ if self.closed || waits || self.reachability.is_away() => 0,
            Urgency::Ahead => self
                .idle
                .len()
                .min(self.limit.now.saturating_sub(self.busy() + 1)),
            _ => self.idle.len(),
        }
    }

    /// Whether one more connection may be made now. Prefetching may have the last one made, too: the place that it
    /// leaves free is kept by [`Self::has_place`], and a caller finds a connection there instead of the six round trips
    /// of a login.
    pub fn may_grow(&self, urgency: Urgency) -> bool {
        let barred = self.is_barred();
        let wanted = match urgency {
            // Prefetching takes as many as it may have.
            Urgency::Ahead => CONNECTING_LIMIT,
            _ => self.waiting.by_urgency.iter().sum::<usize>().max(1),
        };
        let more = self.connecting < wanted.min(CONNECTING_LIMIT);
        let reachable = !self.closed && !self.reachability.is_away();
        reachable && more && !barred && self.live < self.limit.now
    }

    fn is_barred(&self) -> bool {
        self.limit
            .paused_until
            .is_some_and(|at| Instant::now() < at)
    }

    /// Connections that callers hold.
    pub fn busy(&self) -> usize {
        self.live - self.idle.len() - self.arming
    }

    /// Whether one more transfer leaves a place for metadata. Prefetched files are small.
    pub fn may_transfer(&self) -> bool {
        self.limit.now < 2 || self.transfers - self.ahead + 1 < self.limit.now
    }

    /// Whether no caller waits for a connection.
    pub fn has_no_waiting_caller(&self) -> bool {
        self.waiting.by_urgency.iter().all(|&waiting| waiting == 0)
    }

    /// Whether a waiting caller, or another mount, gets no connection unless a transfer makes way.
    pub fn is_stuck(&self) -> bool {
        let callers = self.waiting.by_urgency[Urgency::Caller as usize]
            + self.waiting.by_urgency[Urgency::Flush as usize];
        // Nor are more to be had where one was just refused, in whatever words.
        let none_to_come = self.live >= self.limit.now || self.is_barred() && self.connecting == 0;
        let none_left = self.idle.is_empty() && self.arming == 0 && none_to_come;
        let none_to_transfer = self.waiting.transfers > 0 && !self.may_transfer();
        self.is_over_limit() || callers > 0 && (none_left || none_to_transfer)
    }

    /// A transfer or a listing begins.
    pub fn note_transfer(&mut self) {
        self.transferred = Some(Instant::now());
    }

    /// Whether one transfer follows the other.
    pub fn is_in_transfer_chain(&self) -> bool {
        self.transferred
            .is_some_and(|at| at.elapsed() < CHAIN_INTERVAL)
    }

    /// Takes a failed attempt to make one more connection, and returns whether the server has no room for it now, so
    /// that it is to be waited for. `live` counts without that attempt. The limit is lowered only where the server cannot
    /// be counting old sessions.
    pub fn note_refused(&mut self, error: &Error) -> bool {
        let counts_old = self.old_sessions.may_be_counted();
        // A login that was accepted before is refused for lack of room, whatever the words; but the password may have
        // been changed, too.
        let is_full = match error.why() {
            Some(Why::TooMany) => true,
            Some(Why::Login) => counts_old && self.limit.refused_for_old < REFUSED_LOGINS_LIMIT,
            _ => false,
        };
        if is_full && counts_old {
            let pause = FIRST_PAUSE * (1 << self.limit.refused_for_old.min(3));
            self.limit.refused_for_old += 1;
            self.limit.paused_until = Some(Instant::now() + pause);
            log::info!(
                "pool: {error}; the server may still count sessions from before an outage, next attempt in {pause:?}"
            );
        } else if is_full && self.live > 0 {
            self.lower_limit(error);
        } else if is_full {
            self.limit.full_until = Some(Instant::now() + FIRST_PAUSE);
        }
        is_full
    }

    /// A further login was accepted.
    pub fn note_accepted(&mut self) {
        self.limit.refused_for_old = 0;
    }

    /// A connection was given back in step.
    pub fn note_answer(&mut self, id: u64, was_older: bool) {
        if self.sessions.note_answer(id, was_older) {
            log::warn!("pool: the server ends a session when another one begins; limited to 1");
            self.limit_to_one();
        }
    }

    /// One connection has to do: for a while the first time, then for good.
    pub fn limit_to_one(&mut self) {
        let until = (!self.limit.is_single).then(|| Instant::now() + LIMIT_MEMORY);
        self.be_single();
        self.limit.lowered_until = until;
    }

    /// One connection has to do, for good.
    pub fn be_single(&mut self) {
        self.limit.is_single = true;
        self.limit.now = 1;
        self.limit.lowered_until = None;
    }

    /// The server may have room for more than it was seen to have.
    pub fn forget_limit(&mut self) {
        self.limit.is_single = false;
        self.limit.now = self.limit.configured;
        self.limit.lowered_until = None;
        self.sessions = Succession::default();
    }

    /// Another mount of the server was refused for lack of room, and has `theirs` connections: both are to have as many.
    /// Returns what was idle beyond that, to be closed.
    pub fn make_room(&mut self, theirs: usize) -> Vec<Idle> {
        let open = self.live - self.connecting;
        let half = open.saturating_add(theirs).div_ceil(2);
        if theirs == 0 && open == 1 {
            // The only one is theirs as soon as no caller here needs it.
            self.limit.asked_for_last = Some(Instant::now());
            return self.close_idle(1);
        }
        if open <= half {
            return Vec::new();
        }
        if half < self.limit.now {
            log::info!("pool: another mount of this server asks for a session; limited to {half}");
            self.limit.now = half;
            self.limit.lowered_until = Some(Instant::now() + LIMIT_MEMORY);
        }
        self.close_idle(open - half)
    }

    /// Takes out so many idle connections, if there are as many.
    fn close_idle(&mut self, count: usize) -> Vec<Idle> {
        let closed: Vec<Idle> = self.idle.drain(..count.min(self.idle.len())).collect();
        for idle in &closed {
            self.drop_connection(idle.id);
        }
        closed
    }

    /// Another mount of the server has closed connections, or has ended: there may be room again.
    pub fn lift_limit(&mut self) {
        self.limit.full_until = None;
        if !self.limit.is_single && self.limit.lowered_until.take().is_some() {
            log::info!(
                "pool: another mount of this server has closed sessions; {} connections again",
                self.limit.configured
            );
            self.limit.now = self.limit.configured;
            self.limit.paused_until = None;
        }
    }

    /// Whether there are more connections than another mount of the server has left to this one.
    fn is_over_limit(&self) -> bool {
        self.live - self.connecting > self.limit.now
    }

    /// Whether a connection that is given back is another mount's now.
    pub fn is_asked_for(&self) -> bool {
        let asked = self.limit.asked_for_last;
        let is_last_asked_for = asked.is_some_and(|at| at.elapsed() < REQUEST_LIFE);
        let is_last = self.live - self.connecting == 1 && self.has_no_waiting_caller();
        self.is_over_limit() || is_last && is_last_asked_for
    }

    /// A connection that is out of step is gone.
    pub fn give_up(&mut self, id: u64, control: &Control) {
        if control.is_ended_by_server() {
            self.sessions.note_end(id);
        }
        let local = control.local_address().ok();
        if control.has_unacknowledged() {
            let local = local.filter(|_| !control.route().is_proxied());
            self.old_sessions.add_reset(local);
        } else if !control.is_ended_by_server() {
            self.old_sessions.add_closed();
        }
        self.drop_connection(id);
    }

    /// The server has no more than what there is now.
    pub fn lower_limit(&mut self, error: &Error) {
        log::warn!("pool: {error}; limited to {} connections", self.live);
        self.limit.now = self.live;
        self.limit.lowered_until = Some(Instant::now() + LIMIT_MEMORY);
    }

    /// A connection is gone.
    pub fn drop_connection(&mut self, id: u64) {
        self.live -= 1;
        self.sessions.forget(id);
        self.cutters.remove(&id);
    }

    /// Drops what has been idle for too long.
    pub fn prune(&mut self) {
        while self.idle.first().is_some_and(Idle::is_old) {
            let idle = self.idle.remove(0);
            self.drop_connection(idle.id);
        }
        for idle in &mut self.idle {
            idle.preconnected
                .take_if(|preconnected| preconnected.is_old());
        }
    }

    /// When [`Self::prune`] is due, if anything is idle.
    pub fn prune_at(&self) -> Option<Instant> {
        self.idle.iter().map(Idle::ages_at).min()
    }

    /// Whether there is a place for this purpose. Prefetching leaves one more free.
    fn has_place(&self, purpose: Purpose, urgency: Urgency) -> bool {
        let is_ahead = urgency == Urgency::Ahead;
        let fits = match purpose {
            Purpose::Transfer if !is_ahead => self.may_transfer(),
            _ => true,
        };
        fits && !(is_ahead && self.busy() + 2 > self.limit.now)
    }

    /// Which idle connection is best: one with a preconnected data connection for what wants one (the oldest
    /// first, before it gets too old), else the one that was used last.
    fn choose(&self, purpose: Purpose) -> Option<usize> {
        let wants_preconnected = purpose != Purpose::Metadata;
        let mut fitting = (0..self.idle.len())
            .filter(|&at| self.idle[at].preconnected.is_some() == wants_preconnected);
        let best = if wants_preconnected {
            fitting.next()
        } else {
            fitting.next_back()
        };
        best.or_else(|| self.idle.len().checked_sub(1))
    }
}

impl Idle {
    /// Whether the server may be about to close it.
    pub fn is_old(&self) -> bool {
        Instant::now() >= self.since + IDLE_LIMIT
    }

    /// When it, or its preconnected data connection, is too old.
    pub fn ages_at(&self) -> Instant {
        let preconnected = (self.preconnected.as_ref()).map(Preconnected::ages_at);
        let at = self.since + IDLE_LIMIT;
        preconnected.map_or(at, |preconnected| preconnected.min(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetching_leaves_one_connection_to_callers() {
        let mut state = PoolState::new(3);
        state.live = 2;
        assert!(state.may_grow(Urgency::Ahead));
        assert!(!state.has_place(Purpose::Listing, Urgency::Ahead));
        assert!(state.has_place(Purpose::Listing, Urgency::Caller));
        // One that is only getting its preconnected data connection leaves room.
        state.live = 3;
        state.arming = 2;
        assert!(state.has_place(Purpose::Listing, Urgency::Ahead));
        assert!(!state.may_grow(Urgency::Caller));
    }

    #[test]
    fn another_mount_gets_half_of_what_both_have() {
        let left_of = |open, connecting, theirs| {
            let mut state = PoolState::new(8);
            (state.live, state.connecting) = (open + connecting, connecting);
            state.make_room(theirs);
            (state.limit.now, state.is_over_limit())
        };
        assert_eq!(left_of(4, 0, 0), (2, true));
        assert_eq!(left_of(7, 0, 1), (4, true));
        // Logins that are to be refused do not count.
        assert_eq!(left_of(2, 2, 0), (1, true));
        for (open, theirs) in [(1, 0), (1, 1), (3, 2), (2, 7), (0, 0), (1, usize::MAX)] {
            assert_eq!(left_of(open, 0, theirs), (8, false), "{open} {theirs}");
        }
    }

    #[test]
    fn the_only_connection_is_given_where_no_caller_waits() {
        let mut state = PoolState::new(8);
        state.live = 1;
        assert!(!state.is_asked_for());
        state.make_room(0);
        assert!(state.is_asked_for());
        state.waiting.by_urgency[Urgency::Caller as usize] = 1;
        assert!(!state.is_asked_for());
    }
}
