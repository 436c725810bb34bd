//! A tally: how often memory had the answer, and how often somebody waited for the server.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often memory had the answer.
#[derive(Debug, Default)]
pub struct Tally {
    memory: AtomicU64,
    waited: AtomicU64,
}

impl Tally {
    /// One more answer, from memory or after a wait for the server.
    pub fn note(&self, from_memory: bool) {
        let which = if from_memory {
            &self.memory
        } else {
            &self.waited
        };
        which.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers from memory, and those that waited.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.memory.load(Ordering::Relaxed),
            self.waited.load(Ordering::Relaxed),
        )
    }
}
