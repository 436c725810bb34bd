//! Decides how many streams one reader gets: parallel segments as long as each stream added raises the rate.
//!
//! A *trial*: while the network limits a reader, the number of streams is doubled, with segments further on in the file.
//! If all together are faster by a good part of what doubling should bring, the new ones stay and the next trial follows;
//! if not, they end and nothing is tried for a while. On a line that one stream fills, only small trials are lost.
//!
//! Pure arithmetic on the figures in [`Snapshot`]: no stream, no lock and no clock.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::vfs::cache::BLOCK;

/// How long the rate is measured, before a trial and in it.
const RATE_INTERVAL: Duration = Duration::from_millis(300);
/// How long the streams of a trial may take to their first byte: a login, and the start of a transfer.
const TRIAL_START_TIMEOUT: Duration = Duration::from_secs(2);
/// Streams of one reader: what the pool gives to transfers by default.
const MAX_STREAMS: usize = 7;
/// Share of the expected gain by which a trial succeeds. Slow start reduces the gain; on a full line the rate changes
/// by far less.
const MIN_GAIN: f64 = 0.3;
/// How long no trial follows a failed one.
const TRIAL_PAUSE: Duration = Duration::from_secs(5);
/// Bytes a second of a stream that more streams would not make faster.
const FAST_STREAM: f64 = (64 << 20) as f64;
/// Bytes that each new stream fetches before its trial is over: they cost a full line little.
pub const TRIAL_LENGTH: u64 = 1 << 20;
/// Seconds that a segment should take one stream: long compared with the round trips of the next.
const SEGMENT_SECONDS: f64 = 2.0;
const SMALLEST_SEGMENT: u64 = 1 << 20;
const LARGEST_SEGMENT: u64 = 8 << 20;
/// Divisor of the block cache: the share that may lie between a reader and the end of the last segment.
const AHEAD_SHARE: u64 = 4;

/// The streams of one reader, as numbers.
#[derive(Debug)]
pub struct Parallelism {
    phase: Phase,
    /// Streams in use.
    size: usize,
    /// The end of the last segment.
    frontier: u64,
    segment: u64,
}

#[derive(Debug, Default)]
enum Phase {
    /// The reader has not begun, or what it waits for is not the network.
    #[default]
    Resting,
    /// Start of the measurement, and the bytes received by then.
    Measuring(Instant, u64),
    Trial(Trial),
    /// Nothing is tried until then.
    Paused(Instant),
}

#[derive(Debug)]
struct Trial {
    /// Bytes a second before.
    before: f64,
    added: usize,
    /// Range of the segments of the trial streams.
    range: Range<u64>,
    started: Instant,
    /// When the last of them had its first byte, and what had been received then.
    begun: Option<(Instant, u64)>,
}

/// Figures of the streams at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Now.
    pub now: Instant,
    /// Bytes that all streams have received so far.
    pub received: u64,
    /// The next offset of the stream that the reader follows.
    pub front: u64,
    /// Where the reader is.
    pub position: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Streams with segments, without those on trial.
    pub working: usize,
    /// Trial streams without a byte yet.
    pub waiting: usize,
    /// Trial streams that have delivered all that a trial wants.
    pub done: usize,
    /// Bytes of the block cache.
    pub budget: u64,
}

/// A change of the streams.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// A stream is to bring this segment, of which it first fetches [`TRIAL_LENGTH`] bytes only.
    Try(Range<u64>),
    /// A stream is to bring this segment.
    Bring(Range<u64>),
    /// The stream that the reader follows ends here, where the first segment begins.
    End(u64),
    /// The trial streams stay.
    Keep,
    /// The trial streams end.
    Dismiss,
}

impl Default for Parallelism {
    fn default() -> Self {
        Self {
            phase: Phase::default(),
            size: 1,
            frontier: 0,
            segment: SMALLEST_SEGMENT,
        }
    }
}

impl Parallelism {
    /// Whether there are several streams.
    pub fn is_many(&self) -> bool {
        self.size > 1
    }

    /// The reader is slower than the network.
    pub fn stop_measuring(&mut self) {
        if matches!(self.phase, Phase::Measuring(..)) {
            self.phase = Phase::Resting;
        }
    }

    /// No trial begins for a while.
    pub fn pause(&mut self, now: Instant) {
        self.phase = Phase::Paused(now + TRIAL_PAUSE);
    }

    /// Another caller needed the connection of one stream.
    pub fn remove_one(&mut self, now: Instant) {
        self.size = (self.size - 1).max(1);
        self.pause(now);
    }

    /// The actions of this step.
    pub fn step(&mut self, snapshot: &Snapshot) -> Vec<Action> {
        let mut actions = match &self.phase {
            Phase::Paused(until) if snapshot.now < *until => Vec::new(),
            Phase::Paused(_) | Phase::Resting => {
                self.phase = Phase::Measuring(snapshot.now, snapshot.received);
                Vec::new()
            }
            Phase::Measuring(since, received) => {
                match rate((*since, *received), snapshot)
                    .filter(|_| snapshot.now - *since >= RATE_INTERVAL)
                {
                    Some(rate) => self.start_trial(rate, snapshot),
                    None => Vec::new(),
                }
            }
            Phase::Trial(_) => self.end_trial(snapshot),
        };
        // Streams kept in this step are not among those observed.
        if self.is_many() && !actions.contains(&Action::Keep) {
            let mut working = snapshot.working;
            while working < self.size
                && let Some(segment) = self.next_segment(snapshot)
            {
                actions.push(Action::Bring(segment));
                working += 1;
            }
        }
        actions
    }

    fn start_trial(&mut self, before: f64, snapshot: &Snapshot) -> Vec<Action> {
        self.pause(snapshot.now);
        let each = before / self.size as f64;
        if each >= FAST_STREAM {
            return Vec::new();
        }
        let bytes = (each * SEGMENT_SECONDS) as u64;
        self.segment = bytes.clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT) / BLOCK * BLOCK;
        if self.size == 1 {
            self.frontier = (snapshot.front + self.segment).next_multiple_of(BLOCK);
        }
        let from = self.frontier;
        let mut actions = Vec::new();
        for _ in 0..self.size.min(MAX_STREAMS - self.size) {
            actions.extend(self.next_segment(snapshot).map(Action::Try));
        }
        if !actions.is_empty() {
            self.phase = Phase::Trial(Trial {
                before,
                added: actions.len(),
                range: from..self.frontier,
                started: snapshot.now,
                begun: None,
            });
        }
        actions
    }

    fn end_trial(&mut self, snapshot: &Snapshot) -> Vec<Action> {
        let Phase::Trial(trial) = &mut self.phase else {
            return Vec::new();
        };
        let Some(begun) = trial.begun else {
            if snapshot.waiting == 0 {
                trial.begun = Some((snapshot.now, snapshot.received));
            } else if snapshot.now - trial.started > TRIAL_START_TIMEOUT {
                return self.dismiss(snapshot.now);
            }
            return Vec::new();
        };
        if snapshot.now - begun.0 < RATE_INTERVAL && snapshot.done < trial.added {
            return Vec::new();
        }
        let Some(now) = rate(begun, snapshot) else {
            return Vec::new();
        };
        let (added, before) = (trial.added, trial.before);
        log::debug!("readahead: {added} more streams: {now:.0} bytes/s, {before:.0} before");
        let enough = trial.before * (1.0 + MIN_GAIN * trial.added as f64 / self.size as f64);
        if now < enough {
            return self.dismiss(snapshot.now);
        }
        let mut actions = vec![Action::Keep];
        if self.size == 1 {
            actions.push(Action::End(trial.range.start));
        }
        self.size += trial.added;
        actions.extend(self.start_trial(now, snapshot));
        actions
    }

    fn dismiss(&mut self, now: Instant) -> Vec<Action> {
        if let Phase::Trial(trial) = &self.phase
            && trial.range.end == self.frontier
        {
            self.frontier = trial.range.start;
        }
        self.pause(now);
        vec![Action::Dismiss]
    }

    /// The next segment that no stream has, if it is not too far ahead of the reader.
    fn next_segment(&mut self, snapshot: &Snapshot) -> Option<Range<u64>> {
        let from = self.frontier.max(snapshot.position.next_multiple_of(BLOCK));
        let rest = snapshot.size.saturating_sub(from);
        // So that all end at about the same time.
        let fair = (rest / self.size as u64).max(SMALLEST_SEGMENT) / BLOCK * BLOCK;
        let to = from + self.segment.min(fair);
        let near = to <= snapshot.position + snapshot.budget / AHEAD_SHARE;
        (rest > 0 && near).then(|| {
            self.frontier = to;
            from..to
        })
    }
}

/// Bytes a second since then.
fn rate((since, received): (Instant, u64), snapshot: &Snapshot) -> Option<f64> {
    let seconds = (snapshot.now - since).as_secs_f64();
    (seconds > 0.0).then(|| (snapshot.received - received) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a line and a server that limit all streams together, and each of them, to these bytes a second.
    /// Returns the number of streams after some seconds of reading, and the bytes of failed trials.
    fn simulate(line: f64, each: f64) -> (usize, u64) {
        const STEP: Duration = Duration::from_millis(20);
        let mut parallelism = Parallelism::default();
        let (mut size, mut trying, mut tried) = (1, Vec::new(), 0);
        let mut snapshot = Snapshot {
            now: Instant::now(),
            received: 0,
            front: 0,
            position: 0,
            size: 10 << 30,
            working: 1,
            waiting: 0,
            done: 0,
            budget: 256 << 20,
        };
        for _ in 0..400 {
            snapshot.now += STEP;
            let streams = size + trying.len();
            let one = each.min(line / streams as f64) * STEP.as_secs_f64();
            snapshot.received += (one * streams as f64) as u64;
            snapshot.front += one as u64;
            snapshot.position = snapshot.front;
            trying.iter_mut().for_each(|bytes| *bytes += one as u64);
            snapshot.done = trying
                .iter()
                .filter(|&&bytes| bytes >= TRIAL_LENGTH)
                .count();
            for action in parallelism.step(&snapshot) {
                match action {
                    Action::Try(_) => trying.push(0),
                    Action::Keep => size += std::mem::take(&mut trying).len(),
                    Action::Dismiss => tried += std::mem::take(&mut trying).iter().sum::<u64>(),
                    Action::Bring(_) | Action::End(_) => {}
                }
            }
            snapshot.working = size;
        }
        (size, tried)
    }

    #[test]
    fn streams_are_added_while_each_raises_the_rate() {
        assert_eq!(simulate(1e9, 2e6).0, MAX_STREAMS);
        assert_eq!(simulate(7.9e6, 2e6).0, 4);
    }

    #[test]
    fn a_line_that_is_full_loses_a_fiftieth_to_trials_at_most() {
        let (size, tried) = simulate(25e6, 25e6);
        assert_eq!(size, 1);
        assert!(tried < 8 * 25_000_000 / 50, "{tried}");
    }

    #[test]
    fn nothing_is_tried_with_a_fast_stream_or_a_slow_reader() {
        assert_eq!(simulate(1e9, 1e9), (1, 0));
        let mut parallelism = Parallelism::default();
        let mut snapshot = Snapshot {
            now: Instant::now(),
            received: 0,
            front: 0,
            position: 0,
            size: 1 << 30,
            working: 1,
            waiting: 0,
            done: 0,
            budget: 256 << 20,
        };
        for _ in 0..50 {
            snapshot.now += RATE_INTERVAL / 2;
            snapshot.received += 1 << 20;
            assert!(parallelism.step(&snapshot).is_empty());
            parallelism.stop_measuring();
        }
    }

    #[test]
    fn segments_are_disjoint_and_stay_near_the_reader() {
        let mut parallelism = Parallelism {
            phase: Phase::Paused(Instant::now() + TRIAL_PAUSE),
            size: 4,
            frontier: 4 * BLOCK,
            segment: SMALLEST_SEGMENT,
        };
        let mut snapshot = Snapshot {
            now: Instant::now(),
            received: 0,
            front: 0,
            position: 0,
            size: (9 << 20) + 5,
            working: 0,
            waiting: 0,
            done: 0,
            budget: 16 << 20,
        };
        let mut next = 4 * BLOCK;
        while snapshot.position < snapshot.size {
            for action in parallelism.step(&snapshot) {
                let Action::Bring(segment) = action else {
                    panic!("{action:?}");
                };
                assert_eq!(segment.start, next);
                assert!(segment.end <= snapshot.position + (4 << 20));
                next = segment.end;
            }
            snapshot.position += 1 << 20;
        }
        assert!(next >= snapshot.size);
    }
}
