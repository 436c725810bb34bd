//! Detects walks through a tree: which directories will be looked at next.
//!
//! `ls -R`, `find`, `du` and `cp -r` go through a tree depth first, siblings by name or by inode number. A program that
//! looks at one directory and then at the first one below it, or at its next sibling, is walking. The number of
//! directories listed ahead is a *window* that doubles with hits and halves with misses, so that a wrong guess costs
//! little and a crawler cannot cause a flood. It holds no more than the walk reaches while a listing counts: `cp -r` reads
//! the files of each directory, and a listing that has expired by then would be asked for again.
//!
//! Plain data without locks, server or tree; `directories` acts on it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// What is known of all walks.
#[derive(Debug, Default)]
pub struct Walks {
    walks: Vec<Walk>,
    /// Listed ahead, and not looked at yet.
    unseen: HashMap<u64, Unseen>,
    /// Being listed ahead.
    pending: HashSet<u64>,
    /// Put off once.
    postponed: HashSet<u64>,
    /// Directories that were listed ahead and then looked at.
    pub hits: u64,
    /// Directories that were listed ahead and not looked at.
    pub wasted: u64,
}

/// A directory, as far as walks need it.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Its inode number.
    pub ino: u64,
    /// The directories in it, by name; `None` if it was not listed lately.
    pub below: Option<Vec<u64>>,
}

#[derive(Debug)]
struct Unseen {
    below: Vec<Directory>,
    since: Instant,
}

#[derive(Debug)]
struct Walk {
    /// From the top down to where it is; each with what is still to be looked at in it.
    frames: Vec<Vec<Directory>>,
    by_number: bool,
    window: usize,
    used: Instant,
    /// Time from one directory to the next, lately on average.
    pace: Duration,
}

/// Walks followed at once; the least recently active one gives way.
const MAX_WALKS: usize = 4;
/// The largest window, in directories.
const LARGEST_WINDOW: usize = 256;
/// Weight of the time before the last directory in the average, as a divisor.
const PACE_WEIGHT: u32 = 4;
/// The part of a listing's life in which a walk is to reach it, as a divisor.
const REACH_SHARE: u32 = 2;
/// A walk without activity for this long is over.
const WALK_TIMEOUT: Duration = Duration::from_secs(30);

impl Walks {
    /// A program looks at `seen`, which contains these directories. Returns what is best listed now.
    pub fn visit(&mut self, seen: u64, below: Vec<Directory>, age: Duration) -> Vec<u64> {
        self.forget_old(age);
        let was_listed_ahead = self.unseen.remove(&seen).is_some();
        self.postponed.remove(&seen);
        let hit = was_listed_ahead || self.pending.contains(&seen);
        self.hits += u64::from(hit);
        let found = self
            .walks
            .iter()
            .position(|walk| walk.frames.iter().any(|frame| contains(frame, seen)));
        match found {
            Some(at) => {
                let walk = self.walks.remove(at);
                self.walks.push(walk);
            }
            None => {
                if self.walks.len() == MAX_WALKS {
                    self.walks.remove(0);
                }
                self.walks.push(Walk::new());
            }
        }
        if let Some(walk) = self.walks.last_mut() {
            walk.go_to(seen, below, found.is_some(), hit);
            walk.window = walk.window.min(walk.reach(age));
        }
        self.wanted()
    }

    /// These are being listed.
    pub fn begin(&mut self, directories: &[u64]) {
        self.pending.extend(directories);
    }

    /// One has been listed, with these directories in it; `None` if that failed: it is not asked for again
    /// before it is looked at, or what is known gets old.
    pub fn end(&mut self, listed: u64, below: Option<Vec<Directory>>) {
        if self.pending.remove(&listed) {
            let (below, since) = (below.unwrap_or_default(), Instant::now());
            self.unseen.insert(listed, Unseen { below, since });
        }
    }

    /// One was not listed, since no connection was free for it or the server did not answer in time: it may be wanted again
    /// at the next look at a directory, but not a third time.
    pub fn postpone(&mut self, directory: u64) {
        match self.postponed.insert(directory) {
            true => drop(self.pending.remove(&directory)),
            false => self.end(directory, None),
        }
    }

    /// What the walk that was used last is best served by.
    pub fn wanted(&self) -> Vec<u64> {
        let Some(walk) = self.walks.last() else {
            return Vec::new();
        };
        let room = walk
            .window
            .saturating_sub(self.unseen.len() + self.pending.len());
        let mut wanted = Vec::new();
        for frame in walk.frames.iter().rev() {
            self.collect(frame, walk.by_number, room, &mut wanted);
        }
        wanted
    }

    /// Adds what is not listed yet, depth first.
    fn collect(&self, frame: &[Directory], by_number: bool, room: usize, wanted: &mut Vec<u64>) {
        let mut ordered: Vec<&Directory> = frame.iter().collect();
        if by_number {
            ordered.sort_unstable_by_key(|directory| directory.ino);
        }
        for directory in ordered {
            if wanted.len() >= room {
                return;
            }
            if let Some(unseen) = self.unseen.get(&directory.ino) {
                self.collect(&unseen.below, by_number, room, wanted);
            } else if directory.below.is_none() && !self.pending.contains(&directory.ino) {
                wanted.push(directory.ino);
            }
        }
    }

    /// What was listed ahead is there no more.
    pub fn forget(&mut self) {
        self.unseen.clear();
        self.postponed.clear();
        self.walks.clear();
    }

    fn forget_old(&mut self, age: Duration) {
        let before = self.unseen.len();
        self.unseen.retain(|_, unseen| unseen.since.elapsed() < age);
        let wasted = before - self.unseen.len();
        self.wasted += wasted as u64;
        if wasted > 0 {
            self.walks.clear();
        }
        self.walks.retain(|walk| walk.used.elapsed() < WALK_TIMEOUT);
    }
}

impl Walk {
    fn new() -> Self {
        Self {
            frames: Vec::new(),
            by_number: false,
            window: 0,
            used: Instant::now(),
            pace: Duration::ZERO,
        }
    }

    /// How many directories it reaches while a listing counts, of which the life is `age`; two at least.
    fn reach(&self, age: Duration) -> usize {
        let directories = (age / REACH_SHARE).as_micros() / self.pace.as_micros().max(1);
        usize::try_from(directories).unwrap_or(usize::MAX).max(2)
    }

    fn go_to(&mut self, seen: u64, below: Vec<Directory>, found: bool, hit: bool) {
        let since_last = self.used.elapsed();
        self.used = Instant::now();
        if found {
            self.pace = (self.pace * (PACE_WEIGHT - 1) + since_last) / PACE_WEIGHT;
            while self
                .frames
                .last()
                .is_some_and(|frame| !contains(frame, seen))
            {
                self.frames.pop();
            }
            let frame = self.frames.last().map_or(&[][..], Vec::as_slice);
            let first_by_name = frame.first().is_some_and(|first| first.ino == seen);
            let first_by_number = frame.iter().all(|other| other.ino >= seen);
            if first_by_name != first_by_number {
                self.by_number = first_by_number;
            }
            self.window = match hit || first_by_name || first_by_number {
                true => (self.window * 2).clamp(2, LARGEST_WINDOW),
                false => self.window / 2,
            };
            if let Some(frame) = self.frames.last_mut() {
                frame.retain(|other| other.ino != seen);
            }
        }
        self.frames.push(below);
    }
}

fn contains(frame: &[Directory], ino: u64) -> bool {
    frame.iter().any(|directory| directory.ino == ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn unlisted(inos: impl IntoIterator<Item = u64>) -> Vec<Directory> {
        let directory = |ino| Directory { ino, below: None };
        inos.into_iter().map(directory).collect()
    }

    /// Lists all that is wanted; every directory holds nothing.
    fn serve(walks: &mut Walks, wanted: &[u64]) {
        walks.begin(wanted);
        for &ino in wanted {
            walks.end(ino, Some(Vec::new()));
        }
    }

    #[test]
    fn a_look_at_one_directory_wants_nothing() {
        let mut walks = Walks::default();
        assert!(walks.visit(1, unlisted(10..20), LONG).is_empty());
        assert!(walks.visit(5, unlisted(30..40), LONG).is_empty());
    }

    #[test]
    fn a_walk_wants_more_and_more_and_hits() {
        let mut walks = Walks::default();
        walks.visit(1, unlisted(100..400), LONG);
        let mut asked = 0;
        for ino in 100..400 {
            let wanted = walks.visit(ino, Vec::new(), LONG);
            asked += usize::from(!wanted.is_empty());
            serve(&mut walks, &wanted);
        }
        assert_eq!(walks.hits, 299);
        assert!(asked < 150, "{asked}");
    }

    #[test]
    fn a_walk_by_number_is_seen_to_be_one() {
        let mut walks = Walks::default();
        // By name they come backwards.
        walks.visit(1, unlisted((100..200).rev()), LONG);
        for ino in 100..110 {
            let wanted = walks.visit(ino, Vec::new(), LONG);
            serve(&mut walks, &wanted);
        }
        assert_eq!(walks.hits, 9);
    }

    #[test]
    fn a_walk_goes_down_before_it_goes_on() {
        let mut walks = Walks::default();
        walks.visit(1, unlisted([10, 20, 30]), LONG);
        assert_eq!(walks.visit(10, unlisted([11, 12]), LONG), [11, 12]);
        assert_eq!(walks.visit(11, Vec::new(), LONG), [12, 20, 30]);
    }

    #[test]
    fn failed_listing_is_not_repeated() {
        let mut walks = Walks::default();
        walks.visit(1, unlisted(10..14), LONG);
        let wanted = walks.visit(10, Vec::new(), LONG);
        assert_eq!(wanted, [11, 12]);
        walks.begin(&wanted);
        for ino in wanted {
            walks.end(ino, None);
        }
        assert!(walks.wanted().is_empty());
    }

    #[test]
    fn slow_walk_lists_what_it_reaches_in_time() {
        let mut walks = Walks::default();
        let life = Duration::from_millis(40);
        walks.visit(1, unlisted(100..400), life);
        for ino in 100..130 {
            std::thread::sleep(Duration::from_millis(10));
            let wanted = walks.visit(ino, Vec::new(), life);
            assert!(wanted.len() <= 16, "{}", wanted.len());
            serve(&mut walks, &wanted);
        }
    }

    #[test]
    fn jumping_around_closes_the_window() {
        let mut walks = Walks::default();
        walks.visit(1, unlisted(100..1000), LONG);
        let mut wanted = 0;
        for step in 1..100 {
            wanted += walks.visit(100 + step * 7, Vec::new(), LONG).len();
        }
        assert_eq!(wanted, 0);
    }
}
