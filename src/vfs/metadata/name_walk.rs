//! Detects programs that ask for names one by one, directory after directory: `git status`, make(1), compilers.
//!
//! One name is asked for alone, since it may be the only one of its directory, and the second one lists the directory.
//! Where the last directories were all listed for a second name, the next one is listed for the first: that saves a round
//! trip for each directory. What was learned expires, so that directories are asked for one name now and then.
//!
//! Plain data without locks, server or tree.

use std::time::{Duration, Instant};

/// Directories listed for a second name, one after the other, that make a walk.
const WALK_LENGTH: u32 = 3;
/// A walk of which no directory was listed for a second name for this long is over.
const WALK_TIMEOUT: Duration = Duration::from_secs(1);

/// The directories that were listed for a second name.
#[derive(Debug, Default)]
pub struct NameWalk {
    /// How many, with less than the timeout between two of them.
    listed: u32,
    /// The last one.
    since: Option<Instant>,
}

impl NameWalk {
    /// A name is asked for, and the directory's other names were not (`is_first`) or were lately. Returns whether the
    /// directory is to be listed.
    pub fn is_to_list(&mut self, is_first: bool, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) < WALK_TIMEOUT;
        if !self.since.is_some_and(is_recent) {
            self.listed = 0;
        }
        if is_first {
            return self.listed >= WALK_LENGTH;
        }
        self.listed += 1;
        self.since = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_name_lists_after_three_directories_with_two() {
        let mut walk = NameWalk::default();
        let now = Instant::now();
        for _ in 0..WALK_LENGTH {
            assert!(!walk.is_to_list(true, now));
            assert!(walk.is_to_list(false, now));
        }
        assert!(walk.is_to_list(true, now));
        // Nothing has shown for a while that it is of use.
        let later = now + WALK_TIMEOUT;
        assert!(!walk.is_to_list(true, later));
        assert!(walk.is_to_list(false, later));
        assert!(!walk.is_to_list(true, later));
    }

    #[test]
    fn directories_asked_for_one_name_make_no_walk() {
        let mut walk = NameWalk::default();
        let now = Instant::now();
        assert!((0..100).all(|_| !walk.is_to_list(true, now)));
    }
}
