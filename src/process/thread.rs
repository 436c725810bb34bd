//! Starts threads: named, and with a log line if the system refuses one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Duration;

/// Runs `job` on a thread of that name, which nothing joins.
///
/// If the system has no thread to give, that is logged here. The caller decides what follows: to do
/// without, to try again later, or to fail.
pub fn spawn_thread(name: &str, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let spawned = Builder::new().name(name.into()).spawn(job);
    if let Err(error) = &spawned {
        log::error!("thread {name}: can't be started: {error}");
    }
    spawned.map(drop)
}

/// What `job` returns; `None` where it panicked, which is a bug and is logged: what waits for the job's end is to hear of
/// it all the same.
pub fn catch_panic<T>(what: &str, job: impl FnOnce() -> T) -> Option<T> {
    // The panic's own message is on stderr.
    let result = catch_unwind(AssertUnwindSafe(job)).ok();
    if result.is_none() {
        log::error!("internal error: {what} panicked; please report this bug");
    }
    result
}

/// Runs `job` on a thread named `name`, and waits this long for its end: what it waits for may never come.
pub fn run_within(patience: Duration, name: &str, job: impl FnOnce() + Send + 'static) {
    let (ended, end) = channel::<()>();
    let job = move || {
        job();
        drop(ended);
    };
    if spawn_thread(name, job).is_ok() {
        let _ = end.recv_timeout(patience);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn panic_of_a_job_is_caught_and_told() {
        assert_eq!(catch_panic("a sum", || 1 + 1), Some(2));
        assert_eq!(catch_panic::<()>("a test", || panic!("on purpose")), None);
    }

    #[test]
    fn thread_has_its_name() {
        let (tell, told) = channel();
        let job = move || {
            tell.send(thread::current().name().map(str::to_string))
                .expect("sent")
        };
        spawn_thread("worker", job).expect("a thread");
        assert_eq!(told.recv().expect("a name").as_deref(), Some("worker"));
    }

    #[test]
    fn job_is_waited_for_until_it_ends_or_for_the_given_time() {
        let (tell, told) = channel();
        let job = move || {
            thread::sleep(Duration::from_millis(50));
            tell.send(()).expect("sent");
        };
        run_within(Duration::from_secs(60), "short", job);
        told.try_recv().expect("it has ended");
        let (_keep, never) = channel::<()>();
        let job = move || never.recv().unwrap_or_default();
        run_within(Duration::from_millis(50), "endless", job);
    }
}
