//! Starts threads: named, and with a log line if the system refuses one.

use std::io;
use std::thread::Builder;

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

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
}
