//! Implements the deadline of an operation: a timeout that starts again with progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes a second that count as progress, averaged over the timeout. A server that sends less holds its caller no longer
/// than one that sends nothing.
const LEAST_RATE: u64 = 1024;

/// The time after which an operation fails: the timeout *without progress*.
///
/// It is created when the operation arrives and passed down through all that it does, retries
/// included. Progress is a whole reply, or [`LEAST_RATE`] bytes for each second of the timeout.
#[derive(Debug)]
pub struct Deadline {
    created: Instant,
    /// Timeout without progress.
    patience: Duration,
    progress: Arc<Progress>,
    /// When it passes whatever progress is made.
    end: Option<Instant>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Milliseconds from `created` to the last progress.
    at: AtomicU64,
    /// Bytes moved since then.
    bytes: AtomicU64,
}

impl Deadline {
    /// Returns a deadline that passes after `patience` without progress.
    pub fn after(patience: Duration) -> Self {
        Self {
            created: Instant::now(),
            patience,
            progress: Arc::default(),
            end: None,
        }
    }

    /// Returns the same deadline for an operation that waits for this one: progress counts for both.
    pub fn twin(&self) -> Self {
        Self {
            progress: Arc::clone(&self.progress),
            ..*self
        }
    }

    /// Returns the same deadline for a part of the operation that may take less.
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            end: Some(Instant::now() + limit),
            ..self.twin()
        }
    }

    /// Records progress: the timeout starts again.
    pub fn progress(&self) {
        let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.bytes.store(0, Ordering::Relaxed);
        self.progress.at.fetch_max(now, Ordering::Relaxed);
    }

    /// Records bytes sent or received, which are progress once there are enough of them.
    pub fn moved(&self, bytes: u64) {
        let moved = self.progress.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let enough = u128::from(LEAST_RATE) * self.patience.as_millis() / 1000;
        if u128::from(moved) >= enough.max(1) {
            self.progress();
        }
    }

    /// Returns a number that grows with progress.
    pub fn mark(&self) -> u64 {
        self.progress.at.load(Ordering::Relaxed)
    }

    /// Returns the time left, or `None` after the deadline has passed.
    pub fn remaining(&self) -> Option<Duration> {
        let progressed = Duration::from_millis(self.mark());
        let end = self.created + progressed + self.patience;
        let end = self.end.map_or(end, |limit| limit.min(end));
        let left = end.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Returns the time since the operation arrived.
    pub fn age(&self) -> Duration {
        self.created.elapsed()
    }

    /// Returns the timeout without progress.
    pub fn patience(&self) -> Duration {
        self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_starts_again_with_progress() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.remaining().is_none());
        let deadline = Deadline::after(Duration::from_secs(3600));
        deadline.progress();
        assert!(deadline.remaining().is_some());
    }

    #[test]
    fn bytes_are_progress_from_the_least_rate_on() {
        let deadline = Deadline::after(Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(2));
        for _ in 0..30 {
            deadline.moved(1023);
        }
        assert_eq!(deadline.mark(), 0);
        deadline.moved(30);
        assert!(deadline.mark() > 0);
    }
}
