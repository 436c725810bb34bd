//! Finds out whether a process that has closed a descriptor of a file has another one.
//!
//! A FLUSH does not tell whether it is from the last close: a shell's `cmd > f` opens, duplicates and closes before the
//! command has begun. The links in /proc/PID/fd (proc_pid_fd(5)) tell, and only the kernel is asked for them. Where they
//! cannot be read, the process may have one.
//!
//! A program that closes thousands of files must not pay for each with a look at all others. A redirection has a low number,
//! so that the first ones do where a miss costs no more than an upload of an empty file.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use crate::process::thread::spawn_thread;

/// How long /proc is waited for. The kernel answers at once, or not before the FLUSH is answered: the descriptors of a
/// process in execve(2) that closes files (close-on-exec) cannot be read until these are closed.
const PROC_TIMEOUT: Duration = Duration::from_millis(200);

/// Descriptors that are looked at where that may miss one.
const FEW_DESCRIPTORS: u32 = 64;

/// How many descriptors of a process are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those of the lowest numbers.
    Lowest,
    /// All, which takes the longer the more there are.
    All,
}

/// Whether a process may still have a file of this name open. 0 is a process of another container.
pub fn may_hold(process: u32, name: &[u8], extent: Extent) -> bool {
    if process == 0 {
        return true;
    }
    let name = name.to_vec();
    let (tell, told) = mpsc::sync_channel(1);
    // The thread is not waited for; it ends once the FLUSH is answered.
    let looks = spawn_thread("holders", move || {
        // The answer may come too late.
        let _ = tell.send(has_open(process, &name, extent));
    });
    looks.is_err() || told.recv_timeout(PROC_TIMEOUT).unwrap_or(true)
}

fn has_open(process: u32, name: &[u8], extent: Extent) -> bool {
    let directory = PathBuf::from(format!("/proc/{process}/fd"));
    // It is read only as far as it is asked for.
    let Ok(descriptors) = fs::read_dir(&directory) else {
        return true;
    };
    let is_it = |path: PathBuf| {
        // One that is gone meanwhile is another thread's.
        let link = fs::read_link(path);
        link.is_ok_and(|link| link.file_name().is_some_and(|last| last.as_bytes() == name))
    };
    match extent {
        Extent::All => descriptors
            .flatten()
            .any(|descriptor| is_it(descriptor.path())),
        Extent::Lowest => {
            (0..FEW_DESCRIPTORS).any(|number| is_it(directory.join(number.to_string())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{FromRawFd, OwnedFd};

    #[test]
    fn process_without_descriptor_holds_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a-name-of-its-own");
        let file = File::create(&path).expect("a file");
        let other = file.try_clone().expect("another descriptor");
        let process = std::process::id();
        drop(file);
        assert!(may_hold(process, b"a-name-of-its-own", Extent::All));
        drop(other);
        for extent in [Extent::Lowest, Extent::All] {
            assert!(!may_hold(process, b"a-name-of-its-own", extent));
            assert!(may_hold(0, b"a-name-of-its-own", extent));
        }
    }

    /// So a close costs the same among many open files.
    #[test]
    fn descriptors_of_high_numbers_are_not_looked_at() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = File::create(directory.path().join("another-name-of-its-own")).expect("a file");
        let number = i32::try_from(FEW_DESCRIPTORS).expect("a number");
        let high = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(number));
        // SAFETY: the descriptor was made above, and has no other owner.
        let high = unsafe { OwnedFd::from_raw_fd(high.expect("a descriptor")) };
        drop(file);
        let process = std::process::id();
        assert!(may_hold(process, b"another-name-of-its-own", Extent::All));
        assert!(!may_hold(
            process,
            b"another-name-of-its-own",
            Extent::Lowest
        ));
        drop(high);
    }
}
