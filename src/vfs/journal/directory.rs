//! The directory of the journals of one server and user, and its lock.
//!
//! Every mount has its own log, which it keeps locked while it lives, so that a log without an owner is recognised by its
//! lock. Whatever concerns the logs of several mounts is done under one common lock. It is held for a few reads and writes
//! of the local disk, never while the server is asked.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::process::private_dir::{PrivateDir, PrivatePath};
use crate::vfs::spool::UNDONE;

/// The name of the common lock.
const LOCK: &str = "lock";
/// How long the common lock is waited for: it is held for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which the common lock is tried.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Suffix of the names of logs.
const LOG_SUFFIX: &str = ".log";

/// The directory.
#[derive(Clone, Debug)]
pub struct Directory {
    place: Arc<PrivatePath>,
}

/// How logs are opened: everything is written at their end.
pub const LOG_FLAGS: OFlag = OFlag::O_RDWR.union(OFlag::O_APPEND);
/// What makes a new file.
pub const NEW_FLAGS: OFlag = OFlag::O_CREAT.union(OFlag::O_EXCL);

/// The common lock, as long as this lives.
#[derive(Debug)]
pub struct Locked {
    _file: File,
}

impl Directory {
    /// The directory at `path`, whether it is there or not.
    pub fn new(path: &Path) -> Self {
        Self {
            place: Arc::new(PrivatePath::new(path)),
        }
    }

    /// The path of a file in it, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The directory itself, made for its owner only where it is missing.
    pub fn make(&self) -> io::Result<Arc<PrivateDir>> {
        self.place.make()
    }

    /// Takes the common lock; makes the directory, for its owner only, where it is missing.
    pub fn lock(&self) -> io::Result<Locked> {
        let begun = Instant::now();
        loop {
            let directory = self.make();
            let file = directory.and_then(|directory| {
                let file = directory.open(LOCK, OFlag::O_WRONLY | OFlag::O_CREAT)?;
                Ok((file, directory))
            });
            match file {
                Ok((file, directory)) => {
                    // The last mount removes the lock file: then the path is another file, or none.
                    if is_free(&file)? && directory.is_at(&file, LOCK)? {
                        return Ok(Locked { _file: file });
                    }
                }
                // The directory went between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if begun.elapsed() > LOCK_TIMEOUT {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(LOCK_POLL_INTERVAL);
        }
    }

    /// The names of the logs of all mounts; none where there is no directory.
    pub fn logs(&self) -> io::Result<Vec<String>> {
        let names = match self.place.find().and_then(|directory| directory.names()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names?,
        };
        let mut logs: Vec<String> = names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(|name| name.ends_with(LOG_SUFFIX))
            .collect();
        logs.sort_unstable();
        Ok(logs)
    }

    /// Opens a log that is there; the error names it.
    pub fn open_log(&self, name: &str) -> io::Result<File> {
        self.place.find()?.open(name, LOG_FLAGS).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{}: {error}", self.path(name).display()),
            )
        })
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.place.find()?.remove(name)
    }

    /// A new log, which belongs to this process for as long as it is open.
    pub fn new_log(&self, _: &Locked) -> io::Result<(String, File)> {
        let directory = self.make()?;
        for number in 0_u32.. {
            let name = format!("{number}{LOG_SUFFIX}");
            match directory.open(&name, LOG_FLAGS | NEW_FLAGS) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    let file = file?;
                    own(&file)?;
                    return Ok((name, file));
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Removes the files of bytes for which no intent counts any more; after damage they are kept, under
    /// names that are not given again.
    pub fn sweep(&self, _: &Locked, damaged: bool, counts: impl Fn(u64) -> bool) {
        let Ok(directory) = self.place.find() else {
            return;
        };
        for name in directory.names().into_iter().flatten() {
            let name = name.to_string_lossy();
            let id = name
                .strip_suffix(UNDONE)
                .unwrap_or(&name)
                .strip_suffix(".data")
                .and_then(|id| id.parse::<u64>().ok());
            if id.is_some_and(|id| !counts(id)) {
                // It is tried again by the next mount.
                let _ = match damaged {
                    false => directory.remove(&*name),
                    true => {
                        let stem = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem);
                        directory.rename(&*name, format!("{stem}.damaged"))
                    }
                };
            }
        }
    }

    /// Removes everything, if no mount has a log any more.
    pub fn remove_if_empty(&self, _: &Locked) {
        if self.logs().is_ok_and(|logs| logs.is_empty()) {
            // What stays is no harm.
            let _ = self.remove(LOCK);
            let _ = fs::remove_dir(self.place.path());
        }
    }
}

/// The file of the bytes of a large intent. Numbers are never given to two.
pub fn data_name(id: u64) -> String {
    format!("{id}.data")
}

/// Makes a log belong to this process for as long as it is open.
pub fn own(log: &File) -> io::Result<()> {
    match is_free(log)? {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Takes the lock of a file if it is free; then this process has it until the file is closed or [`disown`]ed.
pub fn is_free(file: &File) -> io::Result<bool> {
    match flock(file, libc::LOCK_EX | libc::LOCK_NB) {
        Ok(()) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives the lock of a file back.
pub fn disown(file: &File) {
    // Closing it does the same.
    let _ = flock(file, libc::LOCK_UN);
}

fn flock(file: &File, how: libc::c_int) -> nix::Result<()> {
    // SAFETY: flock(2) takes a descriptor, which is open, and touches no memory of ours.
    let result = unsafe { libc::flock(file.as_raw_fd(), how) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_one_for_all_and_goes_with_the_last_log() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::new(&place.path().join("journal"));
        assert!(directory.logs().expect("none").is_empty());
        let locked = directory.lock().expect("locked");
        let (name, log) = directory.new_log(&locked).expect("a log");
        directory.remove_if_empty(&locked);
        assert_eq!(
            directory.logs().expect("listed"),
            std::slice::from_ref(&name)
        );
        let again = directory.open_log(&name).expect("opened");
        assert!(!is_free(&again).expect("looked"));
        drop(log);
        assert!(is_free(&again).expect("looked"));
        let waits = directory.clone();
        let waiter = thread::spawn(move || waits.lock().map(drop));
        directory.remove(&name).expect("removed");
        directory.remove_if_empty(&locked);
        drop(locked);
        // A mount that waited for a lock that is gone takes the new one.
        waiter.join().expect("no panic").expect("locked");
        assert!(directory.path(LOCK).exists());
    }

    #[test]
    fn fifo_as_a_log_is_refused_at_once() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = Directory::new(place.path());
        let fifo = place.path().join("0.log");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        let error = directory.open_log("0.log").expect_err("a fifo");
        assert!(
            error.to_string().ends_with("0.log: is not a regular file"),
            "{error}"
        );
    }
}
