//! Finds out that the server ends a session when the same user connects once more, as embedded servers with room for one
//! client do: more than one connection is of no use there.
//!
//! The evidence is a connection that ends right after a newer one was begun, which answers then, and is ended by a still
//! newer one in its turn. One such end shows nothing: where the server restarts, the first connection of the new server may
//! be there before the end of an old one is noticed. A connection that answers after a newer one has logged in proves the
//! contrary, for good.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The sessions by age.
#[derive(Debug, Default)]
pub struct Succession {
    /// When the connections that there are were begun, by their numbers, which grow.
    begun: HashMap<u64, Instant>,
    /// When connections were begun that the server ended, and when it did.
    ends: Vec<(Instant, Instant)>,
    /// When the first connection was begun that has outlived an older one, while nothing else explains that.
    suspected: Option<Instant>,
    /// An older connection has answered.
    coexist: bool,
}

/// Longest time from the beginning of a newer connection to the end of an older one that counts: later the server may have
/// ended it for being idle.
const END_WINDOW: Duration = Duration::from_secs(5);
/// How long one such end is remembered: a server with room for one client ends each connection that is not the newest.
const SUSPICION_LIFE: Duration = Duration::from_secs(60);

impl Succession {
    /// A connection that was `begun` then has logged in.
    pub fn note_login(&mut self, id: u64, begun: Instant) {
        self.begun.insert(id, begun);
    }

    /// Whether a newer connection has logged in.
    pub fn is_older(&self, id: u64) -> bool {
        self.begun.keys().any(|&other| other > id)
    }

    /// A connection has answered, or is still open; it `was_older` when it was asked. True where it has outlived one that
    /// had itself outlived another.
    pub fn note_answer(&mut self, id: u64, was_older: bool) -> bool {
        self.coexist |= was_older;
        if self.coexist {
            self.ends.clear();
            self.suspected = None;
            return false;
        }
        let Some(&begun) = self.begun.get(&id) else {
            return false;
        };
        let outlived = self.ends.extract_if(.., |&mut (ended, at)| {
            ended < begun && begun < at && at - begun < END_WINDOW
        });
        let newest = outlived.map(|(ended, _)| ended).max();
        self.ends.retain(|(_, at)| at.elapsed() < END_WINDOW);
        let Some(newest) = newest else {
            return false;
        };
        self.suspected
            .take_if(|since| since.elapsed() > SUSPICION_LIFE);
        let since = *self.suspected.get_or_insert(begun);
        newest >= since
    }

    /// The server has ended a connection.
    pub fn note_end(&mut self, id: u64) {
        if let Some(&begun) = self.begun.get(&id) {
            self.note_end_of_login(begun);
        }
    }

    /// The server has ended a connection that was `begun` then, and had not logged in yet.
    pub fn note_end_of_login(&mut self, begun: Instant) {
        if !self.coexist {
            self.ends.push((begun, Instant::now()));
        }
    }

    /// A connection is gone.
    pub fn forget(&mut self, id: u64) {
        self.begun.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(sessions: &mut Succession, id: u64) {
        sessions.note_login(id, Instant::now());
    }

    fn end(sessions: &mut Succession, id: u64) {
        std::thread::sleep(Duration::from_millis(2));
        sessions.note_end(id);
        sessions.forget(id);
    }

    #[test]
    fn outlived_session_shows_a_server_with_room_for_one() {
        let mut sessions = Succession::default();
        login(&mut sessions, 1);
        // Before it has logged in the first one ends.
        let begun = Instant::now();
        end(&mut sessions, 1);
        sessions.note_login(2, begun);
        assert!(!sessions.note_answer(2, false));
        login(&mut sessions, 3);
        end(&mut sessions, 2);
        assert!(sessions.note_answer(3, false));
        assert!(!sessions.note_answer(3, false));
        login(&mut sessions, 4);
        end(&mut sessions, 3);
        assert!(sessions.note_answer(4, false));
    }

    #[test]
    fn ends_noticed_late_after_a_restart_show_nothing() {
        let mut sessions = Succession::default();
        for id in 0..3 {
            login(&mut sessions, id);
        }
        end(&mut sessions, 0);
        login(&mut sessions, 3);
        end(&mut sessions, 1);
        assert!(!sessions.note_answer(3, false));
        login(&mut sessions, 4);
        end(&mut sessions, 2);
        assert!(!sessions.note_answer(4, false));
    }

    #[test]
    fn restarted_server_shows_nothing() {
        let mut sessions = Succession::default();
        for id in 0..9 {
            login(&mut sessions, id);
        }
        for id in 0..9 {
            end(&mut sessions, id);
        }
        login(&mut sessions, 10);
        assert!(!sessions.note_answer(10, false));
    }

    #[test]
    fn older_session_that_answers_shows_room_for_two() {
        let mut sessions = Succession::default();
        login(&mut sessions, 1);
        login(&mut sessions, 2);
        assert!(sessions.is_older(1) && !sessions.is_older(2));
        assert!(!sessions.note_answer(1, true));
        for id in 3..9 {
            login(&mut sessions, id);
            end(&mut sessions, id - 1);
            assert!(!sessions.note_answer(id, false));
        }
    }
}
