//! Implements the deadline of an operation: a timeout that starts again with each byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time after which an operation fails: so long *without progress*.
///
/// It is created when the operation arrives and passed down through all that it does, retries
/// included. Every byte sent or received is progress.
#[derive(Debug)]
pub struct Deadline {
    created: Instant,
    /// Timeout without progress.
    patience: Duration,
    /// Milliseconds from `created` to the last progress.
    progressed: Arc<AtomicU64>,
}

impl Deadline {
    /// Returns a deadline that passes after `patience` without progress.
    pub fn after(patience: Duration) -> Self {
        Self {
            created: Instant::now(),
            patience,
            progressed: Arc::default(),
        }
    }

    /// Returns the same deadline for an operation that waits for this one: progress counts for both.
    pub fn twin(&self) -> Self {
        Self {
            progressed: Arc::clone(&self.progressed),
            ..*self
        }
    }

    /// Records progress: the timeout starts again.
    pub fn progress(&self) {
        let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progressed.fetch_max(now, Ordering::Relaxed);
    }

    /// Returns a number that grows with progress.
    pub fn mark(&self) -> u64 {
        self.progressed.load(Ordering::Relaxed)
    }

    /// Returns the time left, or `None` after the deadline has passed.
    pub fn remaining(&self) -> Option<Duration> {
        let progressed = Duration::from_millis(self.progressed.load(Ordering::Relaxed));
        let left =
            (self.created + progressed + self.patience).saturating_duration_since(Instant::now());
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
}
