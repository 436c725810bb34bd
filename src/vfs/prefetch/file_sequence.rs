//! Detects sequences of files: which will be read next.
//!
//! `cp -r`, `tar`, `grep -r` and rsync open one file after the other, by name or by inode number. A program that opens a
//! file and then the next one is in a sequence. The number of files fetched ahead is a *window* that doubles with hits and
//! closes when fetched files are not read.
//!
//! Plain data without locks or server; `files` acts on it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The order of files in a tree.
pub trait Order {
    /// At most `count` files that come after `file` and could be fetched, in the order of names or of
    /// numbers.
    fn after(&self, file: u64, by_number: bool, count: usize) -> Vec<u64>;
}

/// What is known of all sequences.
#[derive(Debug, Default)]
pub struct Sequences {
    rows: Vec<Row>,
    queue: VecDeque<u64>,
    ahead: HashMap<u64, Ahead>,
    /// Files that were fetched ahead and then read.
    pub hits: u64,
    /// Files that were fetched ahead and not read.
    pub wasted: u64,
}

/// How far the fetching of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Queued,
    /// The server is being asked for it.
    Asked,
    /// Its bytes are coming.
    Coming,
    /// It is there.
    There,
    /// It is not to be fetched ahead: it can't be, or is here already. Not asked for again before it is
    /// opened, or that is long ago.
    Skipped,
}

#[derive(Debug)]
struct Ahead {
    stage: Stage,
    since: Instant,
}

#[derive(Debug)]
struct Row {
    last: u64,
    by_number: bool,
    window: usize,
    used: Instant,
}

/// Sequences followed at once; the least recently active one gives way.
const MAX_SEQUENCES: usize = 4;
/// The largest window, in files: with files of the largest size that is fetched still well below the block cache.
const LARGEST_WINDOW: usize = 64;
/// Files that a sequence may skip: those that the program does not read (`grep --include`), or too large to be
/// fetched.
const MAX_SKIPPED: usize = 3;
/// A fetched file that was not read within this time was wasted.
const WASTE_TIMEOUT: Duration = Duration::from_secs(20);

impl Sequences {
    /// A program opens `file` to read it; queues what is best fetched now.
    pub fn open(&mut self, file: u64, order: &dyn Order) {
        self.forget_old();
        let stage = self.ahead.get(&file).map(|ahead| ahead.stage);
        let hit = matches!(stage, Some(Stage::Coming | Stage::There));
        self.hits += u64::from(hit);
        if matches!(stage, Some(Stage::There | Stage::Skipped)) {
            self.ahead.remove(&file);
        }
        if self.rows.iter().any(|row| row.last == file) {
            return;
        }
        let followed = (0..self.rows.len()).rev().find_map(|at| {
            let row = &self.rows[at];
            let near = |by_number| {
                order
                    .after(row.last, by_number, MAX_SKIPPED)
                    .contains(&file)
            };
            let ways = [row.by_number, !row.by_number];
            let by_number = ways.into_iter().find(|&by_number| near(by_number))?;
            Some((at, by_number))
        });
        let mut row = match followed {
            Some((at, by_number)) => {
                let row = self.rows.remove(at);
                let window = (row.window * 2).clamp(2, LARGEST_WINDOW);
                Row {
                    by_number,
                    window,
                    ..row
                }
            }
            None => {
                if self.rows.len() == MAX_SEQUENCES {
                    self.rows.remove(0);
                }
                Row {
                    last: file,
                    by_number: false,
                    window: 0,
                    used: Instant::now(),
                }
            }
        };
        row.last = file;
        row.used = Instant::now();
        if row.window > 0 {
            for wanted in order.after(file, row.by_number, row.window) {
                if !self.ahead.contains_key(&wanted) {
                    self.queue.push_back(wanted);
                    self.set(wanted, Stage::Queued);
                }
            }
        }
        self.rows.push(row);
    }

    /// The next file to be fetched.
    pub fn next(&mut self) -> Option<u64> {
        while let Some(file) = self.queue.pop_front() {
            if self.stage(file) == Some(Stage::Queued) {
                self.set(file, Stage::Asked);
                return Some(file);
            }
        }
        None
    }

    /// A queued file cannot be fetched for now.
    pub fn put_back(&mut self, file: u64) {
        self.set(file, Stage::Queued);
        self.queue.push_front(file);
    }

    /// How far the fetching of a file is, if it is fetched at all.
    pub fn stage(&self, file: u64) -> Option<Stage> {
        self.ahead.get(&file).map(|ahead| ahead.stage)
    }

    /// Since when a file is at one of these stages, if it is.
    pub fn since(&self, file: u64, stages: &[Stage]) -> Option<Instant> {
        let ahead = self.ahead.get(&file)?;
        stages.contains(&ahead.stage).then_some(ahead.since)
    }

    /// A file is at the next stage, or has got on.
    pub fn set(&mut self, file: u64, stage: Stage) {
        let since = Instant::now();
        self.ahead.insert(file, Ahead { stage, since });
    }

    /// A file is not fetched any more, or is not what it was.
    pub fn drop_file(&mut self, file: u64) {
        self.ahead.remove(&file);
    }

    /// Whether something waits to be fetched.
    pub fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// What was fetched is there no more.
    pub fn forget(&mut self) {
        self.ahead
            .retain(|_, ahead| !matches!(ahead.stage, Stage::There | Stage::Skipped));
        self.rows.clear();
    }

    fn forget_old(&mut self) {
        // No reader came for these files.
        let mut in_vain = false;
        self.ahead.retain(|_, ahead| {
            let is_over = match ahead.stage {
                Stage::Asked | Stage::Coming => false,
                _ => ahead.since.elapsed() >= WASTE_TIMEOUT,
            };
            if is_over {
                self.wasted += u64::from(ahead.stage == Stage::There);
                in_vain |= ahead.stage != Stage::Skipped;
            }
            !is_over
        });
        self.rows
            .retain(|row| !in_vain && row.used.elapsed() < WASTE_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by name in this order.
    struct Files(Vec<u64>);

    impl Order for Files {
        fn after(&self, file: u64, by_number: bool, count: usize) -> Vec<u64> {
            let mut files = self.0.clone();
            if by_number {
                files.sort_unstable();
            }
            let at = files.iter().position(|&other| other == file).unwrap();
            files.into_iter().skip(at + 1).take(count).collect()
        }
    }

    fn fetch_all(sequences: &mut Sequences) -> usize {
        let mut fetched = 0;
        while let Some(file) = sequences.next() {
            sequences.set(file, Stage::There);
            fetched += 1;
        }
        fetched
    }

    #[test]
    fn one_file_and_files_here_and_there_want_nothing() {
        let files = Files((10..1000).collect());
        let mut sequences = Sequences::default();
        for file in [10, 500, 300, 80, 700, 90, 400, 60] {
            sequences.open(file, &files);
            assert_eq!(fetch_all(&mut sequences), 0);
        }
    }

    #[test]
    fn a_sequence_by_name_or_by_number_hits_from_its_third_file_on() {
        let backwards: Vec<u64> = (100..200).rev().collect();
        for order in [(100..200).collect(), backwards.clone()] {
            let files = Files(backwards.clone());
            let mut sequences = Sequences::default();
            for file in order {
                sequences.open(file, &files);
                fetch_all(&mut sequences);
            }
            assert_eq!(sequences.hits, 98);
        }
    }

    #[test]
    fn failed_fetch_is_not_repeated_before_the_open() {
        let files = Files((0..200).collect());
        let mut sequences = Sequences::default();
        let mut asked = Vec::new();
        for file in 0..100 {
            sequences.open(file, &files);
            while let Some(next) = sequences.next() {
                asked.push(next);
                sequences.set(next, Stage::Skipped);
            }
        }
        let mut once = asked.clone();
        once.dedup();
        assert_eq!(asked, once);
        assert_eq!((sequences.hits, sequences.wasted), (0, 0));
        // Long ago it is no waste either, and it may be tried again.
        for ahead in sequences.ahead.values_mut() {
            ahead.since -= WASTE_TIMEOUT;
        }
        sequences.open(100, &files);
        assert_eq!((sequences.wasted, sequences.next()), (0, Some(101)));
    }

    #[test]
    fn the_window_is_bounded_and_a_file_is_fetched_once() {
        let files = Files((0..10_000).collect());
        let mut sequences = Sequences::default();
        let mut fetched = 0;
        for file in 0..1000 {
            sequences.open(file, &files);
            fetched += fetch_all(&mut sequences);
        }
        assert!(fetched <= 1000 + LARGEST_WINDOW, "{fetched}");
    }
}
