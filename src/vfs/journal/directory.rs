//! The directory in which the journals of one server and user lie, and its lock.
//!
//! The one idea: every mount has a log of its own, which it keeps locked while it lives, so that a log
//! without an owner is told by its lock. What concerns the logs of several mounts, who comes first and who
//! takes what, is settled under one common lock. It is held for some reads and writes of the local disk,
//! never while the server is asked or a disk is synced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::vfs::file::spool::{UNDONE, make_private};

/// The name of the common lock.
const LOCK: &str = "lock";
/// Who can't have the common lock for so long gives up: it is held for milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried.
const PAUSE: Duration = Duration::from_millis(1);
/// How the names of logs end.
const ENDING: &str = ".log";

/// The directory.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

/// The common lock, as long as this lives.
#[derive(Debug)]
pub struct Locked {
    _file: File,
}

impl Directory {
    /// The directory at `path`, whether it is there or not.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the common lock; makes the directory, for its owner only, where it is missing.
    pub fn lock(&self) -> io::Result<Locked> {
        let begun = Instant::now();
        let path = self.path.join(LOCK);
        loop {
            make_private(&self.path)?;
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            match file {
                Ok(file) => {
                    // The last one who goes removes it: then that is another file, or none.
                    if is_free(&file)? && is_at(&file, &path)? {
                        return Ok(Locked { _file: file });
                    }
                }
                // The directory went between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(PAUSE);
        }
    }

    /// The logs, whoever they belong to; none where there is no directory.
    pub fn logs(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut logs = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(ENDING) {
                logs.push(entry.path());
            }
        }
        logs.sort_unstable();
        Ok(logs)
    }

    /// A new log, which belongs to this process for as long as it is open.
    pub fn new_log(&self, _: &Locked) -> io::Result<(PathBuf, File)> {
        for number in 0_u32.. {
            let path = self.path.join(format!("{number}{ENDING}"));
            match open_log(OpenOptions::new().create_new(true), &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    let file = file?;
                    own(&file)?;
                    return Ok((path, file));
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where the bytes of a large intent lie. Numbers are never given to two.
    pub fn data(&self, id: u64) -> PathBuf {
        self.path.join(format!("{id}.data"))
    }

    /// Removes the files of bytes for which no intent counts any more; after damage they are kept, under
    /// names that are not given again.
    pub fn sweep(&self, _: &Locked, damaged: bool, counts: impl Fn(u64) -> bool) {
        for path in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = path.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let id = name
                .strip_suffix(UNDONE)
                .unwrap_or(&name)
                .strip_suffix(".data")
                .and_then(|id| id.parse::<u64>().ok());
            if id.is_some_and(|id| !counts(id)) {
                // It is tried again by the next mount.
                let _ = match damaged {
                    false => fs::remove_file(&path),
                    true => fs::rename(&path, path.with_extension("damaged")),
                };
            }
        }
    }

    /// Removes everything, if nobody has a log any more.
    pub fn remove_if_empty(&self, _: &Locked) {
        if self.logs().is_ok_and(|logs| logs.is_empty()) {
            // What stays is no harm.
            let _ = fs::remove_file(self.path.join(LOCK));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Opens a log as `options` say besides: everything is written at its end.
pub fn open_log(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.read(true).append(true).mode(0o600).open(path)
}

/// Makes a log belong to this process for as long as it is open.
pub fn own(log: &File) -> io::Result<()> {
    match is_free(log)? {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Whether nobody has the lock of a file; then this process has it until the file is closed or given
/// back by [`disown`].
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

/// Whether the file is still the one at `path`.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    Ok(
        fs::metadata(path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())),
    )
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
        let (path, log) = directory.new_log(&locked).expect("a log");
        directory.remove_if_empty(&locked);
        assert_eq!(
            directory.logs().expect("listed"),
            std::slice::from_ref(&path)
        );
        let again = open_log(&mut OpenOptions::new(), &path).expect("opened");
        assert!(!is_free(&again).expect("looked"));
        drop(log);
        assert!(is_free(&again).expect("looked"));
        let waits = directory.clone();
        let waiter = thread::spawn(move || waits.lock().map(drop));
        fs::remove_file(&path).expect("removed");
        directory.remove_if_empty(&locked);
        drop(locked);
        // Who waited for a lock that is gone takes the new one.
        waiter.join().expect("no panic").expect("locked");
        assert!(directory.path().exists());
    }
}
