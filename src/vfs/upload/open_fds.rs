//! Finds out whether a process that has closed a descriptor of a file has another one.
//!
//! A FLUSH does not tell whether it is from the last close: a shell's `cmd > f` opens, duplicates and closes before the
//! command has begun. The links in /proc/PID/fd (proc_pid_fd(5)) tell, and only the kernel is asked for them. Where they
//! cannot be read, the process may have one.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc;
use std::time::Duration;

use crate::process::thread::spawn_thread;

/// How long /proc is waited for. The kernel answers at once, or not before the FLUSH is answered: the descriptors of a
/// process in execve(2) that closes files (close-on-exec) cannot be read until these are closed.
const PROC_TIMEOUT: Duration = Duration::from_millis(200);

/// Whether a process may still have a file of this name open. 0 is a process of another container.
pub fn may_hold(process: u32, name: &[u8]) -> bool {
    if process == 0 {
        return true;
    }
    let name = name.to_vec();
    let (tell, told) = mpsc::sync_channel(1);
    // The thread is not waited for; it ends once the FLUSH is answered.
    let looks = spawn_thread("holders", move || {
        // The answer may come too late.
        let _ = tell.send(has_open(process, &name));
    });
    looks.is_err() || told.recv_timeout(PROC_TIMEOUT).unwrap_or(true)
}

fn has_open(process: u32, name: &[u8]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return true;
    };
    descriptors.into_iter().any(|descriptor| {
        let link = descriptor.and_then(|descriptor| fs::read_link(descriptor.path()));
        // One that is gone meanwhile is another thread's.
        link.is_ok_and(|link| link.file_name().is_some_and(|last| last.as_bytes() == name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn process_without_descriptor_holds_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a-name-of-its-own");
        let file = File::create(&path).expect("a file");
        let other = file.try_clone().expect("another descriptor");
        let process = std::process::id();
        drop(file);
        assert!(may_hold(process, b"a-name-of-its-own"));
        drop(other);
        assert!(!may_hold(process, b"a-name-of-its-own"));
        assert!(may_hold(0, b"a-name-of-its-own"));
    }
}
