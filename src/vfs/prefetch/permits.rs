//! A limited number of permits for speculative work; each is given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Permits for speculative work.
#[derive(Debug, Default)]
pub struct Permits(Arc<AtomicUsize>);

/// A permit, taken until it is dropped.
pub struct Permit(Arc<AtomicUsize>);

impl Permits {
    /// A permit, unless `limit` are taken.
    pub fn take(&self, limit: usize) -> Option<Permit> {
        // One that was too much is given back at once, by its end.
        let permit = Permit(Arc::clone(&self.0));
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        (taken < limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
