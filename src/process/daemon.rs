//! Moves the process to the background, and blocks the signals that end the mount.
//!
//! [`start`] forks first, and the child does all the work: no thread, socket or lock is shared across
//! the fork. The parent reads a pipe until the child reports that the mount is live, or an error, and
//! exits with that result.
//!
//! The pipe transmits one byte 0 for "live", or the text of an error. Until then the child stays in
//! the parent's session, writes to its terminal, and gets SIGTERM when the parent ends.
//!
//! Invariants: [`start`] is called while the process has one thread; the parent's wait is bounded; file
//! descriptors 0 to 2 stay open, since the next socket would get their numbers.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigHandler, SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, getppid, pipe2, setsid,
};
use parking_lot::Mutex;

/// How long the child may take to end after SIGTERM, before it gets SIGKILL.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum bytes of an error in the pipe.
const MESSAGE_LIMIT: u64 = 64 * 1024;

/// Reports to the parent that the mount is live. If it is dropped instead, the parent waits for the
/// result of `work`.
#[derive(Debug)]
pub struct Ready {
    /// `None` in the foreground; empty after a report.
    parent: Option<Pipe>,
}

type Pipe = Arc<Mutex<Option<OwnedFd>>>;

impl Ready {
    /// Detaches the process: changes to the root directory, starts a session, and leaves the terminal.
    /// Then reports to the parent, which returns. After an error the caller must end the mount: the
    /// parent has ended.
    ///
    /// The log must not use standard error from here on (`logging::to_syslog`).
    pub fn live(self) -> Result<(), String> {
        let Some(pipe) = self.parent else {
            return Ok(());
        };
        let failed = |error: Errno| format!("can't run in the background: {error}");
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| format!("can't open /dev/null: {error}"))?;
        // The working directory of a process keeps its file system from being unmounted.
        chdir("/").map_err(failed)?;
        setsid().map_err(failed)?;
        dup2_stdin(&null).map_err(failed)?;
        dup2_stdout(&null).map_err(failed)?;
        dup2_stderr(&null).map_err(failed)?;
        clear_parent_death_signal().map_err(failed)?;
        let Some(parent) = pipe.lock().take() else {
            return Ok(());
        };
        File::from(parent)
            .write_all(&[0])
            .map_err(|error| format!("the process that started the mount has ended: {error}"))
    }
}

/// Runs `work` in a child in the background. Returns in the parent when the work has reported that it is
/// live or has failed, or after `timeout`; does not return in the child.
///
/// After `timeout`, or when the parent ends, the child gets SIGTERM.
pub fn start(
    timeout: Duration,
    work: impl FnOnce(Ready) -> Result<(), String>,
) -> Result<(), String> {
    let failed = |error: Errno| format!("can't run in the background: {error}");
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let parent = nix::unistd::getpid();
    // SAFETY: there is one thread (the caller's promise), so the child is a whole process.
    match unsafe { fork() }.map_err(failed)? {
        ForkResult::Parent { child } => {
            drop(write);
            // Ctrl-C ends the wait.
            end_signals().thread_unblock().map_err(failed)?;
            await_child(child, read, timeout)
        }
        ForkResult::Child => {
            drop(read);
            std::process::exit(run_child(parent, write, work));
        }
    }
}

/// Runs `work` in the foreground, without a child.
pub fn stay(work: impl FnOnce(Ready) -> Result<(), String>) -> Result<(), String> {
    work(Ready { parent: None })
}

/// The signals that end a mount, blocked in the calling thread and in all threads that it starts.
#[derive(Clone, Copy, Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks SIGINT, SIGTERM and SIGHUP, and ignores SIGPIPE. Call it before the first thread is
    /// started. The standard library resets the mask for programs that it starts.
    pub fn block() -> Result<Self, String> {
        let failed = |error: Errno| format!("can't block signals: {error}");
        let set = end_signals();
        set.thread_block().map_err(failed)?;
        // SAFETY: SIG_IGN installs no handler.
        unsafe { signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map_err(failed)?;
        Ok(Self(set))
    }

    /// Waits for one of them.
    pub fn wait(&self) -> Signal {
        loop {
            match self.0.wait() {
                Ok(signal) => return signal,
                Err(Errno::EINTR) => {}
                // sigwait(3) fails only for an invalid set. Without this the mount could not be ended.
                Err(error) => {
                    log::error!("signals: sigwait failed: {error}; unmounting");
                    return Signal::SIGTERM;
                }
            }
        }
    }
}

fn end_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

fn run_child(parent: Pid, write: OwnedFd, work: impl FnOnce(Ready) -> Result<(), String>) -> i32 {
    let pipe: Pipe = Arc::new(Mutex::new(Some(write)));
    let ready = Ready {
        parent: Some(Arc::clone(&pipe)),
    };
    let outcome = match end_with_parent(parent) {
        Ok(()) => work(ready),
        Err(error) => Err(format!("can't run in the background: {error}")),
    };
    let waiting = pipe.lock().take();
    match (outcome, waiting) {
        (Ok(()), None) => 0,
        (Ok(()), Some(parent)) => report_error(parent, "the mount ended before it was live"),
        (Err(error), Some(parent)) => report_error(parent, &error),
        (Err(error), None) => {
            log::error!("{error}");
            1
        }
    }
}

/// Reports an error to the parent, and returns the exit status.
fn report_error(parent: OwnedFd, error: &str) -> i32 {
    // Fails if the parent has ended; then nothing waits for the report.
    let _ = File::from(parent).write_all(error.as_bytes());
    1
}

/// Has the kernel send SIGTERM to this process when `parent` ends.
fn end_with_parent(parent: Pid) -> nix::Result<()> {
    set_parent_death_signal(libc::SIGTERM)?;
    // The parent may have ended before the call.
    if getppid() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

fn clear_parent_death_signal() -> nix::Result<()> {
    set_parent_death_signal(0)
}

fn set_parent_death_signal(signal: i32) -> nix::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a number and accesses no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }).map(drop)
}

/// Waits in the parent for the report of the child.
fn await_child(child: Pid, read: OwnedFd, timeout: Duration) -> Result<(), String> {
    let until = Instant::now() + timeout;
    if !wait_readable(&read, until)? {
        let end = stop(child);
        return Err(format!(
            "the mount was not live after {} seconds; {end}",
            timeout.as_secs()
        ));
    }
    let mut message = Vec::new();
    let mut first = [0];
    let mut pipe = File::from(read);
    match pipe.read(&mut first) {
        Ok(1) if first == [0] => return Ok(()),
        Ok(1) => {
            message.extend(first);
            // The child writes its message at once and ends.
            let _ = pipe.take(MESSAGE_LIMIT).read_to_end(&mut message);
            let _ = wait_until(child, Instant::now() + EXIT_TIMEOUT);
            let message = String::from_utf8_lossy(&message);
            return Err(message.trim().replace('\n', " "));
        }
        Ok(_) => {}
        Err(error) => return Err(format!("waiting for the mount: {error}")),
    }
    let how = match wait_until(child, Instant::now() + EXIT_TIMEOUT) {
        Some(WaitStatus::Signaled(_, signal, _)) => format!("ended by {signal}"),
        Some(WaitStatus::Exited(_, status)) => format!("ended with status {status}"),
        _ => "ended".to_string(),
    };
    Err(format!(
        "the mount {how} before it was live; -d logs each step"
    ))
}

/// Waits until there are bytes to read or the end; false after `until`.
fn wait_readable(read: &OwnedFd, until: Instant) -> Result<bool, String> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up: with a timeout of 0 the loop would spin for the last fraction of a millisecond.
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, left) {
            Ok(0) if Instant::now() >= until => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(format!("waiting for the mount: {error}")),
        }
    }
}

/// Ends the child with SIGTERM, then with SIGKILL.
fn stop(child: Pid) -> &'static str {
    // Fails if the child has just ended.
    let _ = signal::kill(child, Signal::SIGTERM);
    if wait_until(child, Instant::now() + EXIT_TIMEOUT).is_some() {
        return "it was stopped";
    }
    let _ = signal::kill(child, Signal::SIGKILL);
    let _ = wait_until(child, Instant::now() + EXIT_TIMEOUT);
    "it was killed; if a dead mount remains, remove it with fusermount3 -u"
}

fn wait_until(child: Pid, until: Instant) -> Option<WaitStatus> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if Instant::now() >= until => return None,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(10)),
            Ok(status) => return Some(status),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A child that is a shell script, whose standard output is the pipe.
    fn await_script(script: &str, timeout: Duration) -> Result<(), String> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        // `await_child` reaps a child that fails; init reaps one that continues.
        #[allow(clippy::zombie_processes)]
        let child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::from(write))
            .spawn()
            .expect("a shell");
        await_child(Pid::from_raw(child.id() as i32), read, timeout)
    }

    #[test]
    fn live_child_ends_the_wait() {
        let begun = Instant::now();
        let outcome = await_script("printf '\\0'; sleep 2", Duration::from_secs(30));
        assert_eq!(outcome, Ok(()));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn error_of_child_reaches_the_parent() {
        let outcome = await_script("printf 'no such host'; exit 1", Duration::from_secs(30));
        assert_eq!(outcome, Err("no such host".to_string()));
    }

    #[test]
    fn child_that_ends_without_report_is_an_error() {
        let error = await_script("exit 3", Duration::from_secs(30)).expect_err("no word");
        assert!(error.contains("ended with status 3"), "{error}");
        let error = await_script("kill -9 $$", Duration::from_secs(30)).expect_err("no word");
        assert!(error.contains("ended by SIGKILL"), "{error}");
    }

    #[test]
    fn wait_for_child_has_a_timeout() {
        let error = await_script("sleep 60", Duration::from_millis(50)).expect_err("late");
        assert!(error.contains("it was stopped"), "{error}");
    }

    #[test]
    fn live_has_no_effect_in_the_foreground() {
        let before = std::env::current_dir().expect("a directory");
        assert_eq!(stay(Ready::live), Ok(()));
        assert_eq!(std::env::current_dir().expect("a directory"), before);
        assert_eq!(stay(|_| Err("no".into())), Err("no".to_string()));
    }
}
