//! Makers: which process makes one new file after the other in which directory.
//!
//! The one idea: who does so, and renames and removes none there, copies; who locks makes one file, and takes
//! it away again.
//!
//! Lock order: the lock here is taken alone.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

/// A process, and the directory in which it makes files.
pub type Who = (u32, u64);

/// The processes that make files.
pub struct Makers {
    seen: Mutex<LruCache<Who, Seen>>,
}

struct Seen {
    made: u32,
    last: Instant,
}

/// So many files are made in a row before the next is taken for one of a copy.
const ROW: u32 = 3;
/// Two files that are made within so long are in a row.
const GAP: Duration = Duration::from_secs(2);
/// Processes and directories that are watched at once.
const WATCHED: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

impl Default for Makers {
    fn default() -> Self {
        Self {
            seen: Mutex::new(LruCache::new(WATCHED)),
        }
    }
}

impl Makers {
    /// A process makes a file: whether that is one of a copy.
    ///
    /// The kernel calls all processes of another container 0: several of them are no copy.
    pub fn copies(&self, who: Who) -> bool {
        if who.0 == 0 {
            return false;
        }
        let mut seen = self.seen.lock();
        let now = Instant::now();
        let before = seen.pop(&who).filter(|seen| seen.last.elapsed() < GAP);
        let made = before.map_or(0, |seen| seen.made);
        let one_more = Seen {
            made: made.saturating_add(1),
            last: now,
        };
        seen.put(who, one_more);
        made >= ROW
    }

    /// A name in the directory is renamed or removed: what is made there may be more than a copy.
    pub fn doubt(&self, directory: u64) {
        let mut seen = self.seen.lock();
        let theirs: Vec<Who> = seen
            .iter()
            .map(|(who, _)| *who)
            .filter(|who| who.1 == directory)
            .collect();
        for who in theirs {
            seen.pop(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_one_file_after_the_other_copies() {
        let makers = Makers::default();
        let made = |process, directory| makers.copies((process, directory));
        assert_eq!(
            [(); 5].map(|()| made(7, 1)),
            [false, false, false, true, true]
        );
        // Others, and elsewhere, are not meant.
        assert!(!made(8, 1) && !made(7, 2));
        assert!((0..5).all(|_| !made(0, 1)));
        // Who renames or removes there may lock.
        makers.doubt(1);
        assert!(!made(7, 1));
    }
}
