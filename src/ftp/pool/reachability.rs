//! Decides whether the server counts as away, and when the next attempt to reach it may begin.
//!
//! Plain data and its rules; `search.rs` looks for the server.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shortest time between two attempts, however many callers come.
const ATTEMPT_SPACING: Duration = Duration::from_millis(300);
/// The same while one logs in.
const LOGIN_SPACING: Duration = Duration::from_secs(1);
/// Logins at once: a server that accepts connections and answers nothing is not to be filled with them.
const LOGINS_LIMIT: usize = 8;
/// Attempts at once: more than are begun while one of them waits for TCP.
const ATTEMPTS_LIMIT: usize = 12;

/// Whether the server can be reached.
#[derive(Debug, Default)]
pub struct Reachability {
    /// The search for a server that is away.
    pub search: Option<Search>,
    /// Attempts to connect that are under way.
    pub attempts: usize,
    /// Of these, those whose TCP connection is established: they log in.
    pub logins: usize,
}

/// The search for a server that is away.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Since when.
    pub since: Instant,
    /// Timeout of the operation that found the server away.
    pub patience: Duration,
    /// When the last attempt to connect began.
    attempted: Option<Instant>,
    /// An idle connection was asked.
    pub has_asked: bool,
    /// It was logged. A server that answers the first attempt was slow, not away.
    pub announced: bool,
}

/// When the server was last heard of on any connection, and whether it is away: what is asked for without a lock.
#[derive(Debug)]
pub struct LastHeard {
    started: Instant,
    /// Milliseconds since `started`.
    at: AtomicU64,
    /// Copy of [`Reachability::is_away`].
    pub is_away: AtomicBool,
}

impl Reachability {
    /// Whether the server is away.
    pub fn is_away(&self) -> bool {
        self.search.is_some()
    }

    /// Begins a search, and returns since when; `None` where there is one already.
    pub fn begin(&mut self, patience: Duration) -> Option<Instant> {
        if self.search.is_some() {
            return None;
        }
        let since = Instant::now();
        self.search = Some(Search {
            since,
            patience,
            attempted: None,
            has_asked: false,
            announced: false,
        });
        Some(since)
    }

    /// Ends the search, and says so.
    pub fn end(&mut self) {
        let Some(search) = self.search.take() else {
            return;
        };
        let seconds = search.since.elapsed().as_secs_f64();
        match search.announced {
            true => log::warn!("pool: the server can be reached again, after {seconds:.1} s"),
            false => log::debug!("pool: the server answers after {seconds:.1} s"),
        }
    }

    /// Takes the beginning of an attempt; false where none may begin now.
    pub fn note_attempt(&mut self) -> bool {
        let Some(search) = &mut self.search else {
            return false;
        };
        let spacing = match self.logins {
            0 => ATTEMPT_SPACING,
            _ => LOGIN_SPACING,
        };
        let is_due = (search.attempted).is_none_or(|at| at.elapsed() >= spacing);
        if !is_due || self.attempts >= ATTEMPTS_LIMIT || self.logins >= LOGINS_LIMIT {
            return false;
        }
        search.attempted = Some(Instant::now());
        self.attempts += 1;
        true
    }
}

impl LastHeard {
    /// The server was just heard of.
    pub fn now() -> Self {
        Self {
            started: Instant::now(),
            at: AtomicU64::new(0),
            is_away: AtomicBool::new(false),
        }
    }

    /// Takes the time of a reply, or of data.
    pub fn note(&self, at: Instant) {
        let since = at.saturating_duration_since(self.started).as_millis();
        self.at
            .fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When that was.
    pub fn at(&self) -> Instant {
        self.started + Duration::from_millis(self.at.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_keep_their_distance_and_end_with_the_search() {
        let mut reachability = Reachability::default();
        assert!(!reachability.note_attempt());
        assert!(reachability.begin(Duration::from_secs(5)).is_some());
        // A second operation that times out begins no second search.
        assert!(reachability.begin(Duration::from_secs(5)).is_none());
        assert!(reachability.note_attempt());
        assert!(!reachability.note_attempt());
        reachability.end();
        assert!(!reachability.is_away());
        assert!(!reachability.note_attempt());
    }

    #[test]
    fn attempts_at_once_are_bounded() {
        let mut reachability = Reachability::default();
        reachability.begin(Duration::from_secs(5));
        reachability.attempts = ATTEMPTS_LIMIT;
        assert!(!reachability.note_attempt());
        reachability.attempts -= 1;
        reachability.logins = LOGINS_LIMIT;
        assert!(!reachability.note_attempt());
        reachability.logins -= 1;
        assert!(reachability.note_attempt());
    }

    #[test]
    fn last_heard_only_moves_forward() {
        let heard = LastHeard::now();
        let later = Instant::now() + Duration::from_secs(9);
        heard.note(later);
        heard.note(Instant::now());
        assert!(later.saturating_duration_since(heard.at()) < Duration::from_millis(2));
    }
}
