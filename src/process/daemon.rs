//! Going into the background, and the signals that end the mount.
//!
//! The one idea: the fork comes first, and the child does all the work; the parent waits at a pipe
//! until the child says that the mount is live, or why not. So the shell learns the truth, and no
//! thread, socket or lock ever crosses a fork.
//!
//! The pipe carries one byte 0 for "live", or the text of an error. Until then the child belongs
//! to the parent: it stays in its session, writes to its terminal and gets SIGTERM when it dies.
//!
//! Invariants: [`start`] is called while there is one thread; the parent's wait is bounded; file
//! descriptors 0 to 2 are never closed, since the next socket would take their place.

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

/// How long a child that was told to end has for it, before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// More than any error that we write.
const MESSAGE_LIMIT: u64 = 64 * 1024;

/// The child's way to say that the mount is live. Dropped without that, the parent still waits:
/// what `work` returns decides.
#[derive(Debug)]
pub struct Ready {
    /// `None` in the foreground, where nobody waits; empty once something was said.
    parent: Option<Pipe>,
}

type Pipe = Arc<Mutex<Option<OwnedFd>>>;

impl Ready {
    /// Cuts loose: to the root directory, into a session of its own, away from the terminal; then
    /// tells the parent, which returns. An error means that the parent is gone: end the mount.
    ///
    /// Logs must go elsewhere than to stderr from here on (`logging::to_syslog`).
    pub fn live(self) -> Result<(), String> {
        let Some(pipe) = self.parent else {
            return Ok(());
        };
        let failed = |error: Errno| format!("can't go into the background: {error}");
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| format!("can't open /dev/null: {error}"))?;
        // A mount that stays in some directory would keep that from being unmounted.
        chdir("/").map_err(failed)?;
        setsid().map_err(failed)?;
        dup2_stdin(&null).map_err(failed)?;
        dup2_stdout(&null).map_err(failed)?;
        dup2_stderr(&null).map_err(failed)?;
        outlive_parent().map_err(failed)?;
        let Some(parent) = pipe.lock().take() else {
            return Ok(());
        };
        File::from(parent)
            .write_all(&[0])
            .map_err(|error| format!("whoever started the mount is gone: {error}"))
    }
}

/// Runs `work` in the background. Returns in the parent, once the work says that it is live or has
/// failed, or after `patience`; never returns in the child.
///
/// When `patience` is over or the parent dies, the child gets SIGTERM and shall undo what it did.
pub fn start(
    patience: Duration,
    work: impl FnOnce(Ready) -> Result<(), String>,
) -> Result<(), String> {
    let failed = |error: Errno| format!("can't go into the background: {error}");
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let parent = nix::unistd::getpid();
    // SAFETY: there is one thread (the caller's promise), so the child is a whole process.
    match unsafe { fork() }.map_err(failed)? {
        ForkResult::Parent { child } => {
            drop(write);
            // Whoever waits may stop waiting with Ctrl-C, whatever is blocked for the work's sake.
            ending().thread_unblock().map_err(failed)?;
            await_child(child, read, patience)
        }
        ForkResult::Child => {
            drop(read);
            std::process::exit(run_child(parent, write, work));
        }
    }
}

/// Runs `work` in the foreground: the same, without a child.
pub fn stay(work: impl FnOnce(Ready) -> Result<(), String>) -> Result<(), String> {
    work(Ready { parent: None })
}

/// The signals that end a mount, blocked in the calling thread and in all that it starts.
#[derive(Clone, Copy, Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks SIGINT, SIGTERM and SIGHUP, and ignores SIGPIPE. To be called before any thread is
    /// started; programs that we start get a clean mask from the standard library.
    pub fn block() -> Result<Self, String> {
        let failed = |error: Errno| format!("can't block signals: {error}");
        let set = ending();
        set.thread_block().map_err(failed)?;
        // SAFETY: no handler runs, so there is none that could do harm.
        unsafe { signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map_err(failed)?;
        Ok(Self(set))
    }

    /// Waits for one of them.
    pub fn wait(&self) -> Signal {
        loop {
            match self.0.wait() {
                Ok(signal) => return signal,
                Err(Errno::EINTR) => {}
                // sigwait(3) fails for a wrong set only; then nothing could ever end the mount.
                Err(error) => {
                    log::error!("waiting for signals: {error}");
                    return Signal::SIGTERM;
                }
            }
        }
    }
}

fn ending() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

fn run_child(parent: Pid, write: OwnedFd, work: impl FnOnce(Ready) -> Result<(), String>) -> i32 {
    let pipe: Pipe = Arc::new(Mutex::new(Some(write)));
    let ready = Ready {
        parent: Some(Arc::clone(&pipe)),
    };
    let outcome = match die_with(parent) {
        Ok(()) => work(ready),
        Err(error) => Err(format!("can't go into the background: {error}")),
    };
    let waiting = pipe.lock().take();
    match (outcome, waiting) {
        (Ok(()), None) => 0,
        (Ok(()), Some(parent)) => say(parent, "the mount ended before it was live"),
        (Err(error), Some(parent)) => say(parent, &error),
        (Err(error), None) => {
            log::error!("{error}");
            1
        }
    }
}

/// Tells the parent what went wrong, and returns our exit status.
fn say(parent: OwnedFd, error: &str) -> i32 {
    // A parent that is gone can't be told, and nobody else waits.
    let _ = File::from(parent).write_all(error.as_bytes());
    1
}

/// Has the kernel send us SIGTERM when `parent` ends.
fn die_with(parent: Pid) -> nix::Result<()> {
    set_parent_death_signal(libc::SIGTERM)?;
    // It may have ended before that.
    if getppid() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

fn outlive_parent() -> nix::Result<()> {
    set_parent_death_signal(0)
}

fn set_parent_death_signal(signal: i32) -> nix::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a number and touches no memory of ours.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }).map(drop)
}

/// The parent's part.
fn await_child(child: Pid, read: OwnedFd, patience: Duration) -> Result<(), String> {
    let until = Instant::now() + patience;
    if !readable(&read, until)? {
        let end = stop(child);
        return Err(format!(
            "the mount was not live after {} seconds; {end}",
            patience.as_secs()
        ));
    }
    let mut message = Vec::new();
    let mut first = [0];
    let mut pipe = File::from(read);
    match pipe.read(&mut first) {
        Ok(1) if first == [0] => return Ok(()),
        Ok(1) => {
            message.extend(first);
            // The child writes its message in one go and ends; what it writes is whole.
            let _ = pipe.take(MESSAGE_LIMIT).read_to_end(&mut message);
            let _ = wait_until(child, Instant::now() + GRACE);
            let message = String::from_utf8_lossy(&message);
            return Err(message.trim().replace('\n', " "));
        }
        Ok(_) => {}
        Err(error) => return Err(format!("waiting for the mount: {error}")),
    }
    let how = match wait_until(child, Instant::now() + GRACE) {
        Some(WaitStatus::Signaled(_, signal, _)) => format!("ended by {signal}"),
        Some(WaitStatus::Exited(_, status)) => format!("ended with status {status}"),
        _ => "went away".to_string(),
    };
    Err(format!(
        "the mount {how} before it was live; -d shows how far it came"
    ))
}

/// Whether there is something to read, or the end, before `until`.
fn readable(read: &OwnedFd, until: Instant) -> Result<bool, String> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the last fraction of a millisecond is not spun away.
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

/// Ends the child: by asking, then by force.
fn stop(child: Pid) -> &'static str {
    // It may have ended by itself just now.
    let _ = signal::kill(child, Signal::SIGTERM);
    if wait_until(child, Instant::now() + GRACE).is_some() {
        return "it was ended";
    }
    let _ = signal::kill(child, Signal::SIGKILL);
    let _ = wait_until(child, Instant::now() + GRACE);
    "it was killed: look whether a dead mount is left, and unmount it with fusermount3 -u"
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
    fn await_script(script: &str, patience: Duration) -> Result<(), String> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        // `await_child` waits for those that fail; one that goes on is left to init.
        #[allow(clippy::zombie_processes)]
        let child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::from(write))
            .spawn()
            .expect("a shell");
        await_child(Pid::from_raw(child.id() as i32), read, patience)
    }

    #[test]
    fn a_child_that_is_live_lets_the_parent_go() {
        let begun = Instant::now();
        let outcome = await_script("printf '\\0'; sleep 2", Duration::from_secs(30));
        assert_eq!(outcome, Ok(()));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn the_words_of_a_child_that_fails_reach_the_parent() {
        let outcome = await_script("printf 'no such host'; exit 1", Duration::from_secs(30));
        assert_eq!(outcome, Err("no such host".to_string()));
    }

    #[test]
    fn a_child_that_ends_without_a_word_is_an_error() {
        let error = await_script("exit 3", Duration::from_secs(30)).expect_err("no word");
        assert!(error.contains("ended with status 3"), "{error}");
        let error = await_script("kill -9 $$", Duration::from_secs(30)).expect_err("no word");
        assert!(error.contains("ended by SIGKILL"), "{error}");
    }

    #[test]
    fn the_wait_for_a_child_has_an_end() {
        let error = await_script("sleep 60", Duration::from_millis(50)).expect_err("late");
        assert!(error.contains("it was ended"), "{error}");
    }

    #[test]
    fn in_the_foreground_being_live_changes_nothing() {
        let before = std::env::current_dir().expect("a directory");
        assert_eq!(stay(Ready::live), Ok(()));
        assert_eq!(std::env::current_dir().expect("a directory"), before);
        assert_eq!(stay(|_| Err("no".into())), Err("no".to_string()));
    }
}
