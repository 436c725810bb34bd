//! Queries a running mount: its status, and the request to drop its caches.
//!
//! Queries go through the mount itself, as a read of an extended attribute of its root or an ioctl(2)
//! on it. So there is no socket and no state file that could be stale or in the wrong place, and it
//! works wherever the mount is visible. The kernel and the mount decide who may ask: its owner and
//! root.
//!
//! The attribute is in the namespace `system`: for `user` the kernel checks permissions first, for
//! which it may ask for the root's attributes, and the server may be unreachable.
//!
//! Invariant: every query ends within `QUERY_TIMEOUT`.

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

/// The attribute with the status as text.
pub const STATUS: &str = "system.ftpfs.status";
/// The attribute with the status in JSON.
pub const STATUS_JSON: &str = "system.ftpfs.status.json";
/// The ioctl that drops the caches: without data, of type `f`, with an unused number.
pub const DROP_CACHE: u32 = 0x66fd;
/// Maximum bytes of an answer: the kernel's limit for an attribute.
pub const MAX_ANSWER_SIZE: usize = 64 * 1024;
/// Timeout of a query. The mount answers without asking its server.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prefixes of the sources of our mounts, unless `fsname` names another.
const SCHEMES: [&str; 3] = ["ftp://", "ftps://", "ftpes://"];

/// A mount that can be queried.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// The mountpoint.
    pub mountpoint: PathBuf,
    /// The source in the mount table.
    pub source: String,
    /// The type, such as `fuse.ftpfs`.
    kind: String,
    /// User and group that made it; `None` if the mount table does not say.
    owner: Option<(u32, u32)>,
}

/// Finds the mount at `mountpoint` in the mount table, without accessing it.
pub fn find(mountpoint: &Path) -> Result<Mounted, String> {
    let shown = mountpoint.display();
    let plain = std::path::absolute(mountpoint).map_err(|error| format!("{shown}: {error}"))?;
    let mounts = mount::mounts().map_err(|error| error.to_string())?;
    let at = |path: &Path| mounts.iter().rev().find(|entry| entry.mountpoint == path);
    // Links are followed above it only: accessing the mount itself may take long.
    let real = || {
        let parent = fs::canonicalize(plain.parent()?).ok()?;
        Some(parent.join(plain.file_name()?))
    };
    let entry = at(&plain).or_else(|| at(&real()?));
    let entry = entry.ok_or_else(|| format!("{shown}: nothing is mounted there"))?;
    if !is_fuse(entry) {
        return Err(format!(
            "{shown}: not a mount of ftpfs but {} ({})",
            entry.source, entry.kind
        ));
    }
    Ok(Mounted::of(entry))
}

/// Returns the mounts of ftpfs that this user has made, in the order of the mount table.
pub fn all() -> Result<Vec<Mounted>, String> {
    let mounts = mount::mounts().map_err(|error| error.to_string())?;
    let uid = getuid().as_raw();
    let mut found = Vec::new();
    for (at, entry) in mounts.iter().enumerate() {
        let is_ours = entry.kind == "fuse.ftpfs"
            || is_fuse(entry)
                && SCHEMES
                    .iter()
                    .any(|scheme| entry.source.starts_with(scheme));
        // A mount that another one covers can't be reached.
        let is_visible = mounts[at + 1..]
            .iter()
            .all(|later| later.mountpoint != entry.mountpoint);
        if is_ours && is_visible && entry.owner.is_some_and(|(user, _)| user == uid) {
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

    /// Returns the status as text or in JSON.
    pub fn status(&self, json: bool) -> Result<String, String> {
        let name = if json { STATUS_JSON } else { STATUS };
        let path = self.mountpoint.clone();
        let value = self.ask(move || read_attribute(&path, name));
        value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Drops the caches of the mount; returns when that is done.
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

    /// Asks on a new thread, since a system call on a mount can't be interrupted; and as the owner of
    /// the mount, since the kernel refuses even root otherwise.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let owner = self.owner;
        let (answer, answered) = channel();
        let thread = spawn_thread("ask", move || {
            // After the timeout nothing waits for the answer.
            let _ = answer.send(become_owner(owner).and_then(|()| ask()));
        });
        thread.map_err(|error| format!("no thread can be started: {error}"))?;
        let shown = self.mountpoint.display();
        match answered.recv_timeout(QUERY_TIMEOUT) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(format!(
                "{shown}: the mount did not answer within {} seconds",
                QUERY_TIMEOUT.as_secs()
            )),
        }
    }

    fn explain(&self, error: &io::Error) -> String {
        let shown = self.mountpoint.display();
        match error.raw_os_error() {
            Some(libc::ENODATA | libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL) => {
                format!(
                    "{shown}: not a mount of ftpfs that answers queries but {} ({})",
                    self.source, self.kind
                )
            }
            Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV) => format!(
                "{shown}: its process has ended; remove the mount with: fusermount3 -u {shown}"
            ),
            Some(libc::EACCES | libc::EPERM) => {
                format!("{shown}: only the user who mounted it and root may ask")
            }
            Some(libc::EBUSY) => format!("{shown}: caches are being dropped already"),
            _ => format!("{shown}: {error}"),
        }
    }
}

/// Reads an extended attribute.
fn read_attribute(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let name = CString::new(name)?;
    let mut value = vec![0_u8; MAX_ANSWER_SIZE];
    // SAFETY: both strings end in NUL, and the length is that of the buffer.
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
    // SAFETY: this ioctl takes no data, and the descriptor lives until it returns.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), DROP_CACHE as libc::Ioctl) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// Makes root the owner of the mount on this thread only: the kernel keeps user IDs per thread.
fn become_owner(owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((user, group)) = owner.filter(|(user, _)| geteuid().is_root() && *user != 0) else {
        return Ok(());
    };
    // SAFETY: both take numbers. The functions of the C library would change all threads.
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
    fn path_without_our_mount_is_refused() {
        let error = find(Path::new("/proc")).expect_err("not ours");
        assert!(error.contains("not a mount of ftpfs but proc"), "{error}");
        let error = find(Path::new("/no/such/place")).expect_err("nothing");
        assert_eq!(error, "/no/such/place: nothing is mounted there");
    }
}
