//! Runs jobs that may block on the server, in a pool of threads.
//!
//! FUSE's own loops never wait for the server: what can't be answered at once becomes a job. Each of the two classes
//! has threads of its own, so that readers blocked by a stalled server never delay a listing. Threads
//! start with the jobs and end when idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::process::allocator;
use crate::process::thread::{catch_panic, spawn_thread};

/// The class of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Names and attributes.
    Metadata,
    /// File data.
    Transfer,
}

/// Maximum threads of each class: far more than connections, since most of them wait for one.
const MAX_THREADS: [usize; 2] = [16, 32];
/// How long a thread waits for a job before it ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The pool.
#[derive(Clone, Default)]
pub struct Workers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queues: [Queue; 2],
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Workers {
    /// Queues `job`, and starts a thread for it if none is idle.
    pub fn submit(&self, class: Class, job: impl FnOnce() + Send + 'static) {
        allocator::note_work();
        let queue = &self.shared.queues[class as usize];
        let mut state = queue.state.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= MAX_THREADS[class as usize] {
            queue.changed.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let work = move || shared.queues[class as usize].work();
        if spawn_thread(&format!("{class:?}").to_lowercase(), work).is_err() {
            // The other threads will do the job; without any, the reply is an error.
            let mut state = queue.state.lock();
            state.threads -= 1;
            if state.threads == 0 {
                state.jobs.clear();
            }
        }
    }
}

impl Queue {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // Where it panics, the dropped reply becomes an error.
                let _ = catch_panic("a request handler", job);
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let timed_out = self.changed.wait_for(&mut state, IDLE_TIMEOUT).timed_out();
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn blocked_transfers_do_not_delay_metadata() {
        let workers = Workers::default();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock();
        for _ in 0..100 {
            let gate = Arc::clone(&gate);
            workers.submit(Class::Transfer, move || drop(gate.lock()));
        }
        let (done, wait) = channel();
        workers.submit(Class::Metadata, move || {
            done.send(()).expect("the receiver waits")
        });
        wait.recv_timeout(LONG).expect("the metadata job is done");
        drop(closed);
    }

    #[test]
    fn panic_ends_one_job_and_no_thread() {
        let workers = Workers::default();
        for _ in 0..MAX_THREADS[0] * 2 {
            workers.submit(Class::Metadata, || panic!("on purpose"));
        }
        let (done, wait) = channel();
        workers.submit(Class::Metadata, move || {
            done.send(()).expect("the receiver waits")
        });
        wait.recv_timeout(LONG).expect("done after all");
    }
}
