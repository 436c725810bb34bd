//! Threads for what must wait for the server.
//!
//! The one idea: FUSE's own loops never wait. What can't be answered at once becomes a job, and jobs
//! of the two classes have seats of their own, so that readers stuck on a stalled server
//! never keep a listing from its turn. Threads come with the work and go when there is none.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::thread::spawn_thread;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Names and attributes.
    Metadata,
    /// Bytes of files.
    Transfer,
}

/// Seats of each class. Far more than connections: most who sit wait for one.
const SEATS: [usize; 2] = [16, 32];
/// A thread without work ends after so long.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads.
#[derive(Clone, Default)]
pub struct Workers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lines: [Line; 2],
}

#[derive(Default)]
struct Line {
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
    /// Does `job` soon.
    pub fn submit(&self, class: Class, job: impl FnOnce() + Send + 'static) {
        let line = &self.shared.lines[class as usize];
        let mut state = line.state.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads >= SEATS[class as usize] {
            line.changed.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let work = move || shared.lines[class as usize].work();
        if spawn_thread(&format!("{class:?}").to_lowercase(), work).is_err() {
            // The other threads will do the job; without any, the reply is an error.
            let mut state = line.state.lock();
            state.threads -= 1;
            if state.threads == 0 {
                state.jobs.clear();
            }
        }
    }
}

impl Line {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // The panic's own message is on stderr or gone; the dropped reply becomes an error.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    log::error!("a request failed by a fault of ftpfs; please report it");
                }
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let timed_out = self.changed.wait_for(&mut state, IDLE).timed_out();
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
    fn stuck_transfers_do_not_keep_metadata_waiting() {
        let workers = Workers::default();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock();
        for _ in 0..100 {
            let gate = Arc::clone(&gate);
            workers.submit(Class::Transfer, move || drop(gate.lock()));
        }
        let (done, wait) = channel();
        workers.submit(Class::Metadata, move || {
            done.send(()).expect("somebody waits")
        });
        wait.recv_timeout(LONG).expect("the metadata job is done");
        drop(closed);
    }

    #[test]
    fn a_panic_costs_one_job_and_no_seat() {
        let workers = Workers::default();
        for _ in 0..SEATS[0] * 2 {
            workers.submit(Class::Metadata, || panic!("on purpose"));
        }
        let (done, wait) = channel();
        workers.submit(Class::Metadata, move || {
            done.send(()).expect("somebody waits")
        });
        wait.recv_timeout(LONG).expect("done after all");
    }
}
