//! Mutexes with a rank: debug builds check that each thread takes them in one order, and holds none while it blocks.
//!
//! Each [`OrderedMutex`] has a rank. A thread that waits for one must hold only locks of lower ranks; otherwise two threads
//! can wait for each other. The ranks that a thread holds are in a thread-local list. A violation panics, so that a test
//! fails the first time that the wrong order is taken, not when two threads meet. Release builds check nothing, and the
//! types are those of `parking_lot` with no field more.
//!
//! The ranks themselves are listed where the locks are (`vfs.rs`).

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, WaitTimeoutResult};

/// Rank of locks that are taken only while no other is held, and under which no other is taken.
pub const ALONE: u8 = u8::MAX;

/// A mutex with a rank.
#[derive(Debug, Default)]
pub struct OrderedMutex<T, const RANK: u8> {
    inner: Mutex<T>,
}

/// Access to the value of an [`OrderedMutex`], until this is dropped.
#[derive(Debug)]
pub struct OrderedGuard<'a, T> {
    guard: MutexGuard<'a, T>,
    _held: held::Held,
}

/// A condition variable for [`OrderedMutex`]es. A thread that waits for it may hold the waiting lock only.
#[derive(Debug, Default)]
pub struct OrderedCondvar {
    inner: parking_lot::Condvar,
}

impl<T, const RANK: u8> OrderedMutex<T, RANK> {
    /// A mutex around a value.
    pub const fn new(value: T) -> Self {
        Self {
            inner: Mutex::new(value),
        }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> OrderedGuard<'_, T> {
        held::check_order(RANK);
        OrderedGuard {
            guard: self.inner.lock(),
            _held: held::Held::new(RANK),
        }
    }

    /// The lock, if it is free. As nothing waits, any order will do.
    pub fn try_lock(&self) -> Option<OrderedGuard<'_, T>> {
        Some(OrderedGuard {
            guard: self.inner.try_lock()?,
            _held: held::Held::new(RANK),
        })
    }
}

impl<T> Deref for OrderedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for OrderedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl OrderedCondvar {
    /// A condition variable that no thread waits for.
    pub const fn new() -> Self {
        Self {
            inner: parking_lot::Condvar::new(),
        }
    }

    /// Gives the lock back until the next notification.
    pub fn wait<T>(&self, guard: &mut OrderedGuard<'_, T>) {
        held::check_alone();
        self.inner.wait(&mut guard.guard);
    }

    /// Gives the lock back until the next notification, or until `timeout` has passed.
    pub fn wait_for<T>(
        &self,
        guard: &mut OrderedGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        held::check_alone();
        self.inner.wait_for(&mut guard.guard, timeout)
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        self.inner.notify_all();
    }
}

/// Panics in debug builds if the thread holds a lock, since `what` is about to block it.
pub fn assert_none_held(what: &str) {
    held::check_none(what);
}

#[cfg(debug_assertions)]
mod held {
    use std::cell::RefCell;

    use super::ALONE;

    thread_local! {
        static RANKS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    /// A rank in the list of the thread, until this is dropped.
    #[derive(Debug)]
    pub struct Held(u8);

    impl Held {
        pub fn new(rank: u8) -> Self {
            RANKS.with_borrow_mut(|ranks| ranks.push(rank));
            Self(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            // The list is gone while a thread ends.
            let _ = RANKS.try_with(|ranks| {
                let mut ranks = ranks.borrow_mut();
                if let Some(at) = ranks.iter().rposition(|&rank| rank == self.0) {
                    ranks.remove(at);
                }
            });
        }
    }

    /// Panics unless all ranks that the thread holds are as they are to be.
    fn check(is_right: impl Fn(&[u8]) -> bool, tell: impl Fn(&[u8]) -> String) {
        let _ = RANKS.try_with(|ranks| {
            let ranks = ranks.borrow();
            let is_right = is_right(&ranks) || std::thread::panicking();
            assert!(is_right, "lock order: {}", tell(&ranks));
        });
    }

    pub fn check_order(rank: u8) {
        check(
            |held| held.iter().all(|&other| other < rank && rank != ALONE),
            |held| format!("a lock of rank {rank} is taken while ranks {held:?} are held"),
        );
    }

    pub fn check_alone() {
        check(
            |held| held.len() <= 1,
            |held| format!("a thread waits for a condition while ranks {held:?} are held"),
        );
    }

    pub fn check_none(what: &str) {
        check(<[u8]>::is_empty, |held| {
            format!("{what} begins while ranks {held:?} are held")
        });
    }
}

#[cfg(not(debug_assertions))]
mod held {
    #[derive(Debug)]
    pub struct Held;

    impl Held {
        pub fn new(_: u8) -> Self {
            Self
        }
    }

    pub fn check_order(_: u8) {}

    pub fn check_alone() {}

    pub fn check_none(_: &str) {}
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn panics(job: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(job)).is_err()
    }

    #[test]
    fn lock_of_lower_rank_under_higher_rank_panics() {
        let (outer, inner) = (OrderedMutex::<_, 1>::new(()), OrderedMutex::<_, 2>::new(()));
        {
            let _outer = outer.lock();
            let _inner = inner.lock();
        }
        let held = inner.lock();
        assert!(panics(|| drop(outer.lock())));
        assert!(panics(|| drop(inner.lock())));
        // Nothing waits for a lock that is only tried.
        assert!(outer.try_lock().is_some());
        drop(held);
        assert!(!panics(|| drop(outer.lock())));
    }

    #[test]
    fn lock_that_is_taken_alone_allows_no_other() {
        let (alone, other) = (
            OrderedMutex::<_, ALONE>::new(()),
            OrderedMutex::<_, 1>::new(()),
        );
        let held = alone.lock();
        assert!(panics(|| drop(other.lock())));
        drop(held);
        let _held = other.lock();
        assert!(panics(|| drop(alone.lock())));
    }

    #[test]
    fn blocking_call_under_a_lock_panics() {
        let lock = OrderedMutex::<_, 1>::new(());
        let held = lock.lock();
        assert!(panics(|| assert_none_held("a call")));
        drop(held);
        assert!(!panics(|| assert_none_held("a call")));
    }

    #[test]
    fn wait_for_a_condition_under_another_lock_panics() {
        let (outer, inner) = (OrderedMutex::<_, 1>::new(()), OrderedMutex::<_, 2>::new(()));
        let condition = OrderedCondvar::new();
        let short = Duration::from_millis(1);
        let mut guard = inner.lock();
        assert!(condition.wait_for(&mut guard, short).timed_out());
        drop(guard);
        let _outer = outer.lock();
        let mut guard = inner.lock();
        assert!(panics(|| condition.wait(&mut guard)));
    }
}
