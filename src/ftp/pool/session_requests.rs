//! Shares the sessions that a server allows among the mounts of one server and user.
//!
//! Servers limit the sessions of a user, or of an address. A mount that is refused for lack of room asks the other mounts
//! for some: it writes into a file that all of them watch by inotify(7). One that has more sessions lowers its limit to
//! half of what both have, closes what is idle beyond that, and says so there. A mount that ends closes the file, which
//! the others are told as well.
//!
//! * [`SessionRequests`]: the file, its watch, and the lock that shows whether there are other mounts
//! * [`Event`]: what another mount has written
//!
//! # Invariants
//!
//! * Each mount holds a shared lock on the file for as long as it lives (F_OFD_SETLK).
//! * Requests are hints: one that is lost, because two mounts wrote at once, is repeated at the next refusal.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::process::private_dir::PrivateDir;
use crate::process::thread::spawn_thread;

/// The file of one server and user.
#[derive(Debug)]
pub struct SessionRequests {
    directory: PrivateDir,
    name: Box<OsStr>,
    file: File,
    inotify: Inotify,
    watch: WatchDescriptor,
    /// Tells our own requests from those of others.
    own: u64,
    /// A thread writes.
    is_telling: AtomicBool,
}

/// What another mount has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was refused for lack of room, and has this many sessions.
    Asked(usize),
    /// It has closed sessions, or has ended.
    Given,
}

/// How long a server needs to count a session no more whose connection has ended.
const NOTICE_TIME: Duration = Duration::from_millis(200);
/// Bytes of a request, padded with blanks: the whole of one replaces the whole of another.
const LENGTH: usize = 48;

impl SessionRequests {
    /// Opens the file that belongs to the stored `profile` of a server and user.
    pub fn beside(profile: &Path) -> Option<Self> {
        let directory = profile.parent()?.with_file_name("sessions");
        let opened = Self::open(&directory, profile.file_name()?);
        let said = opened
            .inspect_err(|error| log::info!("pool: shares no sessions with other mounts: {error}"));
        said.ok()
    }

    fn open(directory: &Path, name: &OsStr) -> io::Result<Self> {
        let directory = PrivateDir::make(directory)?;
        let file = directory.open(name, OFlag::O_RDWR | OFlag::O_CREAT)?;
        fcntl(&file, FcntlArg::F_OFD_SETLK(&lock(libc::F_RDLCK)))?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        // By the descriptor: the name may be replaced.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
        let watch = inotify.add_watch(path.as_str(), events)?;
        Ok(Self {
            directory,
            name: name.into(),
            file,
            inotify,
            watch,
            own: RandomState::new().hash_one(()),
            is_telling: AtomicBool::new(false),
        })
    }

    /// Writes something where there are other mounts; on a thread, since the home directory may hang. One at a time: the
    /// next refusal asks again.
    pub fn tell(self: &Arc<Self>, tell: impl FnOnce(&Self) + Send + 'static) {
        if self.is_telling.swap(true, Ordering::AcqRel) {
            return;
        }
        let requests = Arc::clone(self);
        let told = move || {
            if requests.has_others() {
                tell(&requests);
            }
            requests.is_telling.store(false, Ordering::Release);
        };
        if spawn_thread("session request", told).is_err() {
            self.is_telling.store(false, Ordering::Release);
        }
    }

    /// Whether there are other mounts of this server and user.
    pub fn has_others(&self) -> bool {
        // Our own lock is not in our way.
        let mut found = lock(libc::F_WRLCK);
        let asked = fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut found));
        asked.is_ok() && i32::from(found.l_type) != libc::F_UNLCK
    }

    /// Asks the others for room. We have this many sessions.
    pub fn ask(&self, sessions: usize) {
        self.write(&format!("asks {sessions}"));
    }

    /// Tells the others that sessions were closed, once the server has noticed.
    pub fn give(&self) {
        thread::sleep(NOTICE_TIME);
        self.write("gives");
    }

    fn write(&self, words: &str) {
        let text = format!("{:016x} {words}", self.own);
        if let Err(error) = self
            .file
            .write_all_at(format!("{text:LENGTH$}").as_bytes(), 0)
        {
            log::info!("pool: other mounts can't be asked for sessions: {error}");
        }
    }

    /// Waits for what another mount does; `None` once [`Self::end`] was called, or where nothing can be known any more.
    pub fn next(&self) -> Option<Event> {
        loop {
            if let Some(event) = self.take()? {
                return Some(event);
            }
        }
    }

    /// Waits for this time at most, or until another mount has closed sessions.
    pub fn wait_for(&self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, left) {
                // What others ask for is of no use to a mount that has nothing.
                Ok(1..) if self.take().is_some_and(|event| event != Some(Event::Given)) => {}
                Ok(1..) => return,
                _ => return thread::sleep(until.saturating_duration_since(Instant::now())),
            }
        }
    }

    /// Reads the events that there are, and waits for the first: `Some(None)` where they tell of nothing that another mount
    /// did, `None` at the end.
    fn take(&self) -> Option<Option<Event>> {
        let events = self.inotify.read_events().ok()?;
        let has = |flag| events.iter().any(|event| event.mask.contains(flag));
        if has(AddWatchFlags::IN_IGNORED) {
            return None;
        }
        let ended = has(AddWatchFlags::IN_CLOSE_WRITE).then_some(Event::Given);
        // A request in the same moment is repeated.
        Some(ended.or_else(|| has(AddWatchFlags::IN_MODIFY).then(|| self.read()).flatten()))
    }

    /// What stands there, if it is another mount's.
    fn read(&self) -> Option<Event> {
        let mut text = [0; LENGTH];
        self.file.read_exact_at(&mut text, 0).ok()?;
        parse(std::str::from_utf8(&text).ok()?, self.own)
    }

    /// Ends [`Self::next`].
    pub fn end(&self) {
        let _ = self.inotify.rm_watch(self.watch);
    }

    /// Removes the file where there is no other mount; one that opens it just then has a file of its own, and asks no other one.
    pub fn remove(&self) {
        let is_own = self.directory.is_at(&self.file, &self.name);
        if is_own.unwrap_or(false) && !self.has_others() {
            let _ = self.directory.remove(&self.name);
        }
    }
}

/// A lock on the whole file.
fn lock(kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn parse(text: &str, own: u64) -> Option<Event> {
    let mut words = text.split_ascii_whitespace();
    let other = u64::from_str_radix(words.next()?, 16).ok()?;
    if other == own {
        return None;
    }
    match words.next()? {
        "asks" => Some(Event::Asked(words.next()?.parse().ok()?)),
        "gives" => Some(Event::Given),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(directory: &Path) -> SessionRequests {
        SessionRequests::open(directory, OsStr::new("anna@example.org:21")).expect("opened")
    }

    #[test]
    fn request_reaches_the_other_mount_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = opened(directory.path());
        assert!(!first.has_others());
        let second = opened(directory.path());
        assert!(first.has_others() && second.has_others());
        second.ask(3);
        assert_eq!(first.next(), Some(Event::Asked(3)));
        first.give();
        assert_eq!(second.next(), Some(Event::Given));
        drop(second);
        assert_eq!(first.next(), Some(Event::Given));
        first.end();
        assert_eq!(first.next(), None);
        first.remove();
        let left = std::fs::read_dir(directory.path()).expect("read").count();
        assert_eq!(left, 0);
    }

    #[test]
    fn foreign_text_is_no_request() {
        for text in [
            "",
            "x",
            "12",
            "12 asks",
            "12 asks x",
            "12 takes 3",
            "7 asks 3",
        ] {
            assert_eq!(parse(text, 7), None, "{text}");
        }
        assert_eq!(parse("12 asks 3", 7), Some(Event::Asked(3)));
    }
}
