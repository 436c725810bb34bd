//! Counts the bytes that data connections move, in each direction: in all, and a second in the last few.
//!
//! Lock order: the lock of a [`Meter`] is the innermost; nothing else is done under it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The traffic of a mount. Control connections are not counted.
#[derive(Debug, Default)]
pub struct Traffic {
    /// From the server.
    pub received: Meter,
    /// To the server.
    pub sent: Meter,
}

/// What has moved in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes since the mount.
    pub bytes: u64,
    /// Bytes a second, over the last [`WINDOW`] seconds.
    pub per_second: u64,
}

/// Counts bytes in one direction.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    counts: Mutex<Counts>,
}

/// Seconds over which a rate is measured: shorter ones jump with every pause of a program.
const WINDOW: usize = 5;

#[derive(Debug, Default)]
struct Counts {
    bytes: u64,
    /// The second since the start in which bytes last came.
    newest: u64,
    /// Bytes of the last seconds; that of second N is at N modulo the length.
    seconds: [u64; WINDOW],
}

impl Counts {
    /// Forgets the seconds that have left the window.
    fn advance(&mut self, second: u64) {
        let passed = second.saturating_sub(self.newest).min(WINDOW as u64);
        for step in 0..passed {
            self.seconds[((second - step) % WINDOW as u64) as usize] = 0;
        }
        self.newest = self.newest.max(second);
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            counts: Mutex::default(),
        }
    }
}

impl Meter {
    /// Counts bytes that have moved now.
    pub fn add(&self, bytes: u64) {
        self.add_at(self.start.elapsed(), bytes);
    }

    /// Returns what has moved until now.
    pub fn moved(&self) -> Moved {
        self.moved_at(self.start.elapsed())
    }

    fn add_at(&self, elapsed: Duration, bytes: u64) {
        let mut counts = self.counts.lock();
        counts.advance(elapsed.as_secs());
        let newest = (counts.newest % WINDOW as u64) as usize;
        counts.seconds[newest] += bytes;
        counts.bytes += bytes;
    }

    fn moved_at(&self, elapsed: Duration) -> Moved {
        let mut counts = self.counts.lock();
        counts.advance(elapsed.as_secs());
        Moved {
            bytes: counts.bytes,
            per_second: counts.seconds.iter().sum::<u64>() / WINDOW as u64,
        }
    }
}

impl Traffic {
    /// Returns the bytes of both directions.
    pub fn total(&self) -> u64 {
        self.received.moved().bytes + self.sent.moved().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_that_of_the_last_seconds() {
        let meter = Meter::default();
        let at = |second: u64| Duration::from_millis(second * 1000 + 500);
        for second in 10..13 {
            meter.add_at(at(second), 1000);
            meter.add_at(at(second), 500);
        }
        let moved = |second| {
            let moved = meter.moved_at(at(second));
            (moved.bytes, moved.per_second)
        };
        assert_eq!(moved(12), (4500, 900));
        assert_eq!(moved(15), (4500, 600));
        assert_eq!(moved(17), (4500, 0));
        assert_eq!(moved(1000), (4500, 0));
        meter.add_at(at(1001), 5000);
        assert_eq!(moved(1001), (9500, 1000));
    }
}
