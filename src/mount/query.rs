//! Asking a mount from outside: how it is, and to drop its caches.
//!
//! The one idea: the mount is its own door. What is asked goes through the kernel to the file system, as an
//! extended attribute of its root that is read, or an ioctl(2) on it. So there is no socket, no name and no
//! file that could be left behind, be wrong, or be found by somebody else; it works wherever the mount is
//! seen, however it was made; and who may ask is for the kernel and the mount to say: its owner, and root.
//!
//! The attribute is of the namespace `system`, since for `user` the kernel first looks at the permissions,
//! for which it may ask for the root's attributes, and the server for these may be gone.
//!
//! Invariants: every question ends ([`PATIENCE`]).

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{geteuid, getuid};

use crate::mount;
use crate::mount::Entry;
use crate::thread::spawn_thread;

/// The attribute that tells how the mount is, in words.
pub const STATUS: &str = "system.ftpfs.status";
/// The same, in JSON.
pub const STATUS_JSON: &str = "system.ftpfs.status.json";
/// The ioctl that drops the caches: without data, "ftpfs" by its letter, and a number that nobody has.
pub const DROP_CACHE: u32 = 0x66fd;
/// Bytes of an answer: the most that the kernel lets an attribute have.
pub const LONGEST: usize = 64 * 1024;
/// How long a mount may take to answer. It does so without asking its server.
const PATIENCE: Duration = Duration::from_secs(10);
/// How the sources of our mounts begin, unless they are told to be called otherwise.
const SCHEMES: [&str; 3] = ["ftp://", "ftps://", "ftpes://"];

/// A mount that can be asked.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Where it is.
    pub mountpoint: PathBuf,
    /// What it calls itself.
    pub source: String,
    /// Its type, such as `fuse.ftpfs`.
    kind: String,
    /// Who made it: user and group. `None` where the table does not say.
    owner: Option<(u32, u32)>,
}

/// The mount at `mountpoint`, which is not touched for it.
pub fn find(mountpoint: &Path) -> Result<Mounted, String> {
    let shown = mountpoint.display();
    let plain = std::path::absolute(mountpoint).map_err(|error| format!("{shown}: {error}"))?;
    let mounts = mount::mounts().map_err(|error| error.to_string())?;
    let at = |path: &Path| mounts.iter().rev().find(|entry| entry.mountpoint == path);
    // Links are followed above it only: a look at the mount itself may take long.
    let real = || {
        let parent = fs::canonicalize(plain.parent()?).ok()?;
        Some(parent.join(plain.file_name()?))
    };
    let entry = at(&plain).or_else(|| at(&real()?));
    let entry = entry.ok_or_else(|| format!("{shown}: nothing is mounted there"))?;
    if !is_fuse(entry) {
        return Err(format!(
            "{shown}: no mount of ftpfs, but {} ({}), is there",
            entry.source, entry.kind
        ));
    }
    Ok(Mounted::of(entry))
}

/// The mounts of ftpfs that this user has made, in the order of the table.
pub fn all() -> Result<Vec<Mounted>, String> {
    let mounts = mount::mounts().map_err(|error| error.to_string())?;
    let uid = getuid().as_raw();
    let mut found = Vec::new();
    for (at, entry) in mounts.iter().enumerate() {
        let ours = entry.kind == "fuse.ftpfs"
            || is_fuse(entry)
                && SCHEMES
                    .iter()
                    .any(|scheme| entry.source.starts_with(scheme));
        // What another mount covers can't be reached.
        let seen = mounts[at + 1..]
            .iter()
            .all(|later| later.mountpoint != entry.mountpoint);
        if ours && seen && entry.owner.is_some_and(|(user, _)| user == uid) {
            found.push(Mounted::of(entry));
        }
    }
    Ok(found)
}

fn is_fuse(entry: &Entry) -> bool {
    entry.kind == "fuse" || entry.kind.starts_with("fuse.")
}

impl Mounted {
    fn of(entry: &Entry) -> Self {
        Self {
            mountpoint: entry.mountpoint.clone(),
            source: entry.source.clone(),
            kind: entry.kind.clone(),
            owner: entry.owner,
        }
    }

    /// How it is, in words or in JSON.
    pub fn status(&self, json: bool) -> Result<String, String> {
        let name = if json { STATUS_JSON } else { STATUS };
        let path = self.mountpoint.clone();
        let told = self.ask(move || attribute(&path, name));
        told.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Has it drop its caches; returns when that is done.
    pub fn drop_cache(&self) -> Result<(), String> {
        let path = self.mountpoint.clone();
        self.ask(move || {
            let root = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECTORY)
                .open(&path)?;
            drop_cache(&root)
        })
    }

    /// Asks on a thread of its own, since a question to a mount can't be broken off; and as the owner of the
    /// mount, since the kernel lets not even root in otherwise.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let owner = self.owner;
        let (answer, answered) = channel();
        let thread = spawn_thread("ask", move || {
            // Who waits no longer needs no answer.
            let _ = answer.send(become_owner(owner).and_then(|()| ask()));
        });
        thread.map_err(|error| format!("no thread can be started: {error}"))?;
        let shown = self.mountpoint.display();
        match answered.recv_timeout(PATIENCE) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(format!(
                "{shown}: the mount did not answer within {} seconds",
                PATIENCE.as_secs()
            )),
        }
    }

    fn explain(&self, error: &io::Error) -> String {
        let shown = self.mountpoint.display();
        match error.raw_os_error() {
            Some(libc::ENODATA | libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL) => {
                format!(
                    "{shown}: no mount of ftpfs that can be asked, but {} ({}), is there",
                    self.source, self.kind
                )
            }
            Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV) => format!(
                "{shown}: its process has ended; remove what is left with: fusermount3 -u {shown}"
            ),
            Some(libc::EACCES | libc::EPERM) => {
                format!("{shown}: only who mounted it, and root, may ask")
            }
            Some(libc::EBUSY) => format!("{shown}: that is being done already"),
            _ => format!("{shown}: {error}"),
        }
    }
}

/// The value of an extended attribute.
fn attribute(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let name = CString::new(name)?;
    let mut value = vec![0_u8; LONGEST];
    // SAFETY: both strings end in NUL, and the buffer is as long as is said.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(value)
}

fn drop_cache(root: &File) -> io::Result<()> {
    // SAFETY: this number takes no data, and the descriptor lives until it returns.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), DROP_CACHE as libc::Ioctl) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// Root becomes the owner of the mount, on this thread alone: to the kernel users are a matter of threads.
fn become_owner(owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((user, group)) = owner.filter(|(user, _)| geteuid().is_root() && *user != 0) else {
        return Ok(());
    };
    // SAFETY: both take numbers. The calls of the C library would change all threads.
    let done = unsafe {
        match libc::syscall(libc::SYS_setresgid, group, group, group) {
            0 => libc::syscall(libc::SYS_setresuid, user, user, user),
            failed => failed,
        }
    };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mount_of_ours_is_told_so() {
        let error = find(Path::new("/proc")).expect_err("not ours");
        assert!(error.contains("no mount of ftpfs, but proc"), "{error}");
        let error = find(Path::new("/no/such/place")).expect_err("nothing");
        assert_eq!(error, "/no/such/place: nothing is mounted there");
    }
}
