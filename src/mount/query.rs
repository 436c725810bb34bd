//! Queries a running mount: its status, and the requests to drop its caches, to become writable, and to end by force.
//!
//! Queries go through the mount itself, as a read of an extended attribute of its root or an ioctl(2)
//! on it. So no socket and no state file can be stale, and queries work wherever the mount is visible.
//! The kernel and the mount allow queries to its owner and to root.
//!
//! The attribute is in the namespace `system`: for `user` the kernel checks permissions first, for
//! which it may ask for the root's attributes, and the server may be unreachable.
//!
//! Invariant: every query ends within `QUERY_TIMEOUT`.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{geteuid, getuid};

use crate::mount;
use crate::mount::Entry;
use crate::process::thread::spawn_thread;

/// The attribute with the status as text.
pub const STATUS: &str = "system.ftpfs.status";
/// The attribute with the status in JSON.
pub const STATUS_JSON: &str = "system.ftpfs.status.json";
/// The attribute with the number of files and bytes that wait for upload, and of the bytes that uploads have moved,
/// separated by blanks.
pub const PENDING: &str = "system.ftpfs.pending";
/// The attribute with the number of refused files, the number of those in lost+found and its path, separated by blanks; then
/// the refused files, each after a NUL, for the user who mounted it and root.
pub const REFUSED: &str = "system.ftpfs.refused";
/// The ioctl that drops the caches: without data, of type `f`, with an unused number.
pub const DROP_CACHE: u32 = 0x66fd;
/// The same that forgets what was learned of the server, too.
pub const FORGET_SERVER: u32 = 0x66fc;
/// The ioctl that has a read-only mount change files on the server.
pub const MAKE_WRITABLE: u32 = 0x66fb;
/// The ioctl that ends the mount by force: its result is the number of open files that the server lacks content of.
pub const FORCE: u32 = 0x66fe;
/// Maximum bytes of an answer: the kernel's limit for an attribute.
pub const MAX_ANSWER_SIZE: usize = 64 * 1024;
/// Timeout of a query. The mount answers without asking its server.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a query before an unmount by force.
pub const FORCED_QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Prefixes of the sources of our mounts, unless `fsname` names another.
const SCHEMES: [&str; 4] = ["ftp://", "ftps://", "ftpes://", "curlftpfs#"];

/// A mount that can be queried.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Its line of the mount table.
    pub entry: Entry,
}

/// Why a mount gave no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The kernel or the mount refused.
    Failed(io::Error),
    /// No answer within the timeout. The pending query keeps the mount in use.
    TimedOut,
}

/// Finds the mount at `mountpoint` in the mount table, without accessing it.
pub fn find(mountpoint: &Path) -> Result<Mounted, String> {
    let entry = mount::find_mount(mountpoint).map_err(|error| error.to_string())?;
    if !entry.is_fuse() {
        return Err(format!(
            "{}: not a mount of ftpfs but {} ({})",
            mountpoint.display(),
            entry.source,
            entry.kind
        ));
    }
    Ok(Mounted { entry })
}

/// Returns this user's mounts of ftpfs, in the order of the mount table.
pub fn all() -> Result<Vec<Mounted>, String> {
    let mounts = mount::mounts().map_err(|error| error.to_string())?;
    let uid = getuid().as_raw();
    let mut found = Vec::new();
    for (at, entry) in mounts.iter().enumerate() {
        // A mount that another one covers can't be accessed.
        let is_visible = mounts[at + 1..]
            .iter()
            .all(|later| later.mountpoint != entry.mountpoint);
        let mounted = Mounted {
            entry: entry.clone(),
        };
        if mounted.is_ours() && is_visible && entry.owner.is_some_and(|(user, _)| user == uid) {
            found.push(mounted);
        }
    }
    Ok(found)
}

impl Mounted {
    /// Whether the mount table identifies it as a mount of ftpfs.
    pub fn is_ours(&self) -> bool {
        let entry = &self.entry;
        let is_source = || {
            SCHEMES
                .iter()
                .any(|scheme| entry.source.starts_with(scheme))
        };
        entry.kind == "fuse.ftpfs" || entry.is_fuse() && is_source()
    }

    /// Returns the status as text or in JSON.
    pub fn status(&self, json: bool) -> Result<String, String> {
        let name = if json { STATUS_JSON } else { STATUS };
        let answer = self.attribute(name);
        answer
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|unanswered| self.explain(&unanswered))
    }

    /// Drops the caches of the mount, with `server` also what it has learned of the server, and waits for that.
    pub fn drop_cache(&self, server: bool) -> Result<(), String> {
        let number = if server { FORGET_SERVER } else { DROP_CACHE };
        self.request(number, QUERY_TIMEOUT)
            .map(drop)
            .map_err(|unanswered| self.explain(&unanswered))
    }

    /// Has a read-only mount change files on the server from now on.
    pub fn make_writable(&self) -> Result<(), String> {
        self.request(MAKE_WRITABLE, QUERY_TIMEOUT)
            .map(drop)
            .map_err(|unanswered| match &unanswered {
                Unanswered::Failed(error) if error.raw_os_error() == Some(libc::EROFS) => format!(
                    "{}: can't be made writable: its log has the reason; unmount, then mount it with rw",
                    self.entry.mountpoint.display()
                ),
                _ => self.explain(&unanswered),
            })
    }

    /// Ends the mount by force: frees its callers, and stores nothing more on the server. Returns how many open files have
    /// content that the server lacks.
    pub fn force(&self) -> Result<u64, Unanswered> {
        self.request(FORCE, FORCED_QUERY_TIMEOUT)
    }

    /// Requests something by an ioctl without data on its root, and returns the result.
    fn request(&self, number: u32, timeout: Duration) -> Result<u64, Unanswered> {
        let path = self.entry.mountpoint.clone();
        let ask = move || {
            let root = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECTORY)
                .open(&path)?;
            request(&root, number)
        };
        self.run_query(timeout, ask)
    }

    /// Returns the value of an extended attribute of its root.
    pub fn attribute(&self, name: &'static str) -> Result<Vec<u8>, Unanswered> {
        let path = self.entry.mountpoint.clone();
        self.run_query(QUERY_TIMEOUT, move || read_attribute(&path, name))
    }

    /// Runs `query` on a new thread, since a system call on a mount can't be interrupted, and as the owner
    /// of the mount, since the kernel refuses even root otherwise.
    fn run_query<T: Send + 'static>(
        &self,
        timeout: Duration,
        query: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let owner = self.entry.owner;
        let (answer, answered) = channel();
        let thread = spawn_thread("ask", move || {
            // After the timeout nothing receives the answer.
            let _ = answer.send(become_owner(owner).and_then(|()| query()));
        });
        thread.map_err(Unanswered::Failed)?;
        match answered.recv_timeout(timeout) {
            Ok(answer) => answer.map_err(Unanswered::Failed),
            Err(_) => Err(Unanswered::TimedOut),
        }
    }

    /// Explains in one line why there is no answer, with the remedy.
    pub fn explain(&self, unanswered: &Unanswered) -> String {
        let shown = self.entry.mountpoint.display();
        match unanswered {
            Unanswered::Failed(error) => self.explain_error(error),
            Unanswered::TimedOut => format!(
                "{shown}: the mount did not answer within {} seconds",
                QUERY_TIMEOUT.as_secs()
            ),
        }
    }

    fn explain_error(&self, error: &io::Error) -> String {
        let shown = self.entry.mountpoint.display();
        match error.raw_os_error() {
            Some(libc::ENODATA | libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL) => {
                format!(
                    "{shown}: not a mount of ftpfs that answers queries but {} ({})",
                    self.entry.source, self.entry.kind
                )
            }
            Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV) => format!(
                "{shown}: its process has ended; remove the mount with: fusermount3 -u {shown}"
            ),
            Some(libc::EACCES | libc::EPERM) => {
                format!("{shown}: only the user who mounted it and root may query it")
            }
            Some(libc::EBUSY) => format!("{shown}: another request changes it already; try again"),
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

fn request(root: &File, number: u32) -> io::Result<u64> {
    // SAFETY: our ioctls take no data, and the descriptor lives until it returns.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), number as libc::Ioctl) };
    Errno::result(done)
        .map(|done| u64::try_from(done).unwrap_or(0))
        .map_err(io::Error::from)
}

/// Makes root the owner of the mount on this thread only: the kernel keeps user IDs per thread.
fn become_owner(owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((user, group)) = owner.filter(|(user, _)| geteuid().is_root() && *user != 0) else {
        return Ok(());
    };
    // SAFETY: both take numbers. The functions of the C library would change the IDs of all threads.
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
