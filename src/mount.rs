//! Mounts and unmounts: opens the FUSE device and attaches it to a mountpoint.
//!
//! The session gets a file descriptor instead of a path, so that each failure has its own message and only
//! this process's mount is unmounted. Root calls mount(2); other users go through `fusermount3`, which sends
//! the descriptor over a socket (`_FUSE_COMMFD`). With `/dev/fd/N` as the mountpoint the device was
//! mounted before and is passed as descriptor N (mount.fuse3(8), `drop_privileges`).
//!
//! A mount is identified by its number and device in `/proc/self/mountinfo`, which is read without
//! asking the file system: stat(2) would wait for a session that does not run yet.
//!
//! ```text
//! mount_options   formats the options of a mount
//! fuse_device     opens the device, or takes over a passed one
//! fusermount      mounts and unmounts with fusermount3
//! utab            registers the helper of umount(8)
//! automount       keeps an automount from expiring
//! mountinfo       parses the mount table
//! lookup          finds the mount at a path
//! query           queries a running mount
//! error           the error of mounting
//! ```
//!
//! Invariant: each error is one line with cause and remedy.

pub(crate) mod automount;
pub(crate) mod error;
pub(crate) mod fuse_device;
pub(crate) mod fusermount;
pub(crate) mod lookup;
pub(crate) mod mount_options;
pub(crate) mod mountinfo;
pub mod query;
pub(crate) mod utab;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::unistd::{AccessFlags, access, getegid, geteuid};

pub use crate::mount::error::Error;
use crate::mount::error::{quoted, unmount_hint};
use crate::mount::fuse_device::{
    DEVICE, check_device, check_passed, check_passed_options, open_device, passed_descriptor,
    take_passed,
};
pub use crate::mount::lookup::find_mount;
pub use crate::mount::mount_options::Options;
pub use crate::mount::mountinfo::top_mount;
pub use crate::mount::mountinfo::{Entry, mounts};
use crate::mount::mountinfo::{Identity, MOUNTINFO};
pub use crate::mount::utab::remove_entries as remove_utab_entries;
pub use crate::mount::utab::{fstab_options, fstab_source};

/// KiB of kernel readahead, four times the default: a large file takes a quarter of the requests, and of the thread switches
/// that these cost. With more, the kernel asks for a window at once, and readers wait longer for each request.
const READ_AHEAD_KIB: &str = "512";

/// A mount made by this process. It stays when this is dropped: [`Mount::unmount`] ends it.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    /// `None` if another program mounted and will unmount.
    identity: Option<Identity>,
}

/// Whether the mountpoint is `/dev/fd/N`: the kernel has mounted the device already.
pub fn is_passed(mountpoint: &Path) -> bool {
    passed_descriptor(mountpoint).is_some()
}

/// Checks, before anything is connected, that a mount at `mountpoint` can work. Returns the path
/// without links and dots, since a mount in the background leaves the working directory.
pub fn check(mountpoint: &Path, options: &Options) -> Result<PathBuf, Error> {
    if let Some(fd) = passed_descriptor(mountpoint) {
        let fd = fd?;
        check_passed(fd)?;
        check_passed_options(fd, options.allow_other && options.default_permissions)?;
        return Ok(mountpoint.to_path_buf());
    }
    let shown = mountpoint.display();
    check_device()?;
    let unmount = unmount_hint(mountpoint);
    let stale = || {
        Error(format!(
            "{shown}: a dead mount is left there; remove it with: {unmount}"
        ))
    };
    let metadata = match fs::metadata(mountpoint) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Err(match error.raw_os_error() {
                Some(libc::ENOTCONN) => stale(),
                Some(libc::ENOENT) => Error(format!(
                    "{shown}: there is no such directory; make it with: mkdir -p {}",
                    quoted(mountpoint)
                )),
                // Root gets this from another user's mount without allow_other.
                Some(libc::EACCES) => Error(format!(
                    "{shown}: permission denied; choose a directory of your own, \
                     or, if something is mounted there, unmount it with: {unmount}"
                )),
                _ => Error(format!("{shown}: can't be used as a mountpoint: {error}")),
            });
        }
    };
    if !metadata.is_dir() {
        return Err(Error(format!(
            "{shown}: is not a directory; a mountpoint must be one"
        )));
    }
    let real = fs::canonicalize(mountpoint)
        .map_err(|error| Error(format!("{shown}: can't be used as a mountpoint: {error}")))?;
    if let Some(top) = top_mount(&real)?
        && top.is_fuse()
    {
        return Err(already_mounted(mountpoint, &top));
    }
    if !geteuid().is_root() {
        check_rights(&real, &metadata)?;
        fusermount::program()?;
    }
    Ok(real)
}

fn already_mounted(mountpoint: &Path, top: &Entry) -> Error {
    Error(format!(
        "{}: {} is already mounted there; unmount it first with: {}",
        mountpoint.display(),
        top.source,
        unmount_hint(mountpoint)
    ))
}

/// How long the lock of a mountpoint is waited for: a mount takes less, and any user may hold one on a directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Locks the directory below a mount to be made, until the result is dropped (flock(2)). Without a lock the mount is made
/// all the same.
fn lock_mountpoint(mountpoint: &Path) -> Option<Flock<File>> {
    let mut directory = File::open(mountpoint).ok()?;
    let begun = Instant::now();
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err(_) if begun.elapsed() > LOCK_PATIENCE => return None,
            Err((unlocked, _)) => directory = unlocked,
        }
        sleep(BUSY_POLL_INTERVAL);
    }
}

/// Mounts at `mountpoint`, a path that [`check`] returned. The session must run with the device
/// soon: until then every access to the mountpoint blocks.
pub fn attach(mountpoint: &Path, options: &Options) -> Result<(OwnedFd, Mount), Error> {
    if let Some(fd) = passed_descriptor(mountpoint) {
        let device = take_passed(fd?)?;
        let mount = Mount {
            mountpoint: mountpoint.to_path_buf(),
            identity: None,
        };
        return Ok((device, mount));
    }
    // Of two mounts at a time, the second sees the first.
    let _locked = lock_mountpoint(mountpoint);
    if let Some(top) = top_mount(mountpoint)?
        && top.is_fuse()
    {
        return Err(already_mounted(mountpoint, &top));
    }
    let device = if geteuid().is_root() {
        attach_directly(mountpoint, options)?
    } else {
        fusermount::attach(mountpoint, options)?
    };
    let identity = top_mount(mountpoint).map(|top| top.map(|top| top.identity));
    match identity {
        Ok(Some(identity)) => {
            let mount = Mount {
                mountpoint: mountpoint.to_path_buf(),
                identity: Some(identity),
            };
            Ok((device, mount))
        }
        // Without an identity the mount could not be distinguished from another one later.
        identity => {
            drop(device);
            let _ = call_umount(mountpoint, true);
            Err(identity.err().unwrap_or_else(|| {
                let shown = mountpoint.display();
                Error(format!(
                    "{shown}: the new mount does not show in {MOUNTINFO}"
                ))
            }))
        }
    }
}

impl Mount {
    /// Returns the mountpoint.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Raises the kernel's readahead; only root may do that. Call it after the session has started: the reply
    /// to FUSE_INIT resets it.
    pub fn raise_readahead(&self) {
        let Some(identity) = &self.identity else {
            return;
        };
        let file = format!("/sys/class/bdi/{}/read_ahead_kb", identity.device);
        if let Err(error) = fs::write(&file, READ_AHEAD_KIB) {
            log::debug!(
                "readahead: {file} can't be written: {error}; the kernel's default remains"
            );
        }
    }

    /// Registers the helper, which waits for uploads, with umount(8). Call it when the session answers requests.
    pub fn register_umount_helper(&self, options: &Options) {
        if self.identity.is_some() {
            utab::register_helper(&self.mountpoint, options);
        }
    }

    /// Removes the note of [`Mount::register_umount_helper`]. Call it when the mount has ended.
    pub fn forget_umount_helper(&self) {
        if self.identity.is_some() {
            utab::remove_entries(&self.mountpoint);
        }
    }

    /// Whether an automount has made it, which would expire it, and umount(8) calls the helper that waits for uploads.
    pub fn expires(&self) -> bool {
        self.identity.is_some()
            && utab::is_helper_installed()
            && automount::is_automounted(&self.mountpoint)
    }

    /// Keeps it in use until the result is dropped; `None` if it has ended. May wait until a running expiry has ended.
    pub fn hold(&self) -> Option<OwnedFd> {
        automount::hold(&self.mountpoint, self.identity.as_ref()?)
    }

    /// Whether the mount table still has it. Where its session has ended all the same, the kernel's connection was aborted.
    pub fn is_attached(&self) -> bool {
        let is_it = |entry: &Entry| {
            entry.mountpoint == self.mountpoint && self.identity.as_ref() == Some(&entry.identity)
        };
        mounts().is_ok_and(|mounts| mounts.iter().any(is_it))
    }

    /// Whether the kernel refuses changes now, by the mount table.
    pub fn is_read_only(&self) -> bool {
        let is_it = |entry: &Entry| self.identity.as_ref() == Some(&entry.identity);
        mounts().is_ok_and(|mounts| mounts.iter().any(|entry| is_it(entry) && entry.has("ro")))
    }

    /// Unmounts. `lazily` detaches the mount at once, even while files are open; the session then ends
    /// with the last of them. Succeeds if the mount has ended already; does not unmount another mount at the
    /// same path.
    pub fn unmount(&self, lazily: bool) -> Result<(), Error> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        remove(&self.mountpoint, identity, lazily)
    }
}

/// Enters the mount namespace at `path` (`/proc/PID/ns/mnt`), for `mount -N`. The process must have
/// one thread.
pub fn enter_namespace(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    let failed =
        |error: io::Error| Error(format!("-N {shown}: can't enter this namespace: {error}"));
    let namespace = File::open(path).map_err(failed)?;
    // SAFETY: setns(2) takes a descriptor, which lives until it returns, and a number.
    let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) };
    Errno::result(entered)
        .map(drop)
        .map_err(|errno| failed(errno.into()))
}

/// Checks the rules of `fusermount3` before it does, for a better message.
fn check_rights(mountpoint: &Path, metadata: &fs::Metadata) -> Result<(), Error> {
    let shown = mountpoint.display();
    let sticky = metadata.mode() & libc::S_ISVTX != 0;
    if sticky && metadata.uid() != geteuid().as_raw() {
        return Err(Error(format!(
            "{shown}: belongs to another user and is sticky; choose a directory of your own"
        )));
    }
    access(mountpoint, AccessFlags::W_OK).map_err(|_| {
        Error(format!(
            "{shown}: no permission to write; choose a directory of your own"
        ))
    })
}

/// Mounts with mount(2), for root.
fn attach_directly(mountpoint: &Path, options: &Options) -> Result<OwnedFd, Error> {
    let device = open_device()?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        geteuid(),
        getegid()
    );
    for (wanted, word) in [
        (options.allow_other, ",allow_other"),
        (options.default_permissions, ",default_permissions"),
    ] {
        if wanted {
            data.push_str(word);
        }
    }
    data.push_str(&mount_options::labels(options, has_selinux()));
    let mount = |kind: &str, data: &str| {
        nix::mount::mount(
            Some(options.fsname.as_str()),
            mountpoint,
            Some(kind),
            mount_options::flags(options),
            Some(data),
        )
    };
    let outcome = match mount(&format!("fuse.{}", options.subtype), &data) {
        // Kernels that do not support a subtype in the type take it as an option.
        Err(Errno::ENODEV | Errno::EINVAL) => {
            mount("fuse", &format!("{data},subtype={}", options.subtype))
        }
        outcome => outcome,
    };
    let shown = mountpoint.display();
    match outcome {
        Ok(()) => Ok(device),
        Err(Errno::EPERM | Errno::EACCES) => Err(Error(format!(
            "{shown}: mount(2) is not permitted; \
             a container needs --device {DEVICE} --cap-add SYS_ADMIN"
        ))),
        Err(error) => Err(Error(format!("{shown}: can't be mounted: {error}"))),
    }
}

/// Whether SELinux is enabled: then its file system is mounted (selinux_config(5), is_selinux_enabled(3)).
fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Changes the flags of a mount. Its file system keeps its own, unless it is read-only and is to be so no more: then it
/// takes all flags.
pub fn remount(entry: &Entry, options: &Options) -> Result<(), Error> {
    let shown = entry.mountpoint.display();
    let mut flags = mount_options::flags(options) | MsFlags::MS_REMOUNT;
    // "rw" is missing if the mount and its file system both are read-only.
    flags.set(MsFlags::MS_BIND, options.read_only || entry.has("rw"));
    let none = None::<&str>;
    nix::mount::mount(none, &entry.mountpoint, none, flags, none).map_err(|error| {
        Error(match error {
            Errno::EPERM => format!("{shown}: only root can change a mount"),
            error => format!("{shown}: can't be remounted: {error}"),
        })
    })
}

/// Unmounts `entry`, which another process may have mounted; `lazily` also while it is in use.
pub fn unmount(entry: &Entry, lazily: bool) -> Result<(), Error> {
    remove(&entry.mountpoint, &entry.identity, lazily)
}

/// Frees all callers of a mount whose process does not answer (MNT_FORCE), for root: the kernel answers them from now on.
pub fn abort(entry: &Entry) {
    // EBUSY, where it is in use: the mount is detached by `unmount`. Users may not do it at all.
    let flags = MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW;
    if let Err(error) = umount2(&entry.mountpoint, flags) {
        log::debug!("mount: MNT_FORCE: {error}");
    }
}

/// Unmounts the mount `identity` at `mountpoint`. Returns success only if the mount table does not contain it any more:
/// umount2(2) returns EINVAL also for a path that is not a mountpoint.
fn remove(mountpoint: &Path, identity: &Identity, lazily: bool) -> Result<(), Error> {
    let shown = mountpoint.display();
    let mounts_there = || -> Result<Vec<Entry>, Error> {
        let mut mounts = mounts()?;
        mounts.retain(|entry| entry.mountpoint == mountpoint);
        Ok(mounts)
    };
    let before = mounts_there()?;
    match before.iter().rposition(|entry| entry.identity == *identity) {
        None => return Ok(()),
        Some(place) if place + 1 == before.len() => {}
        Some(_) => {
            return Err(Error(format!(
                "{shown}: something else is mounted over it; unmount that first"
            )));
        }
    }
    let begun = Instant::now();
    let mut outcome = call_umount(mountpoint, lazily);
    // A query of another process keeps the mount in use for a moment.
    while let Err(Failed::InUse(_)) = outcome
        && begun.elapsed() < BUSY_PATIENCE
    {
        sleep(BUSY_POLL_INTERVAL);
        outcome = call_umount(mountpoint, lazily);
    }
    // Another process may have unmounted it first, so the mount table decides.
    if mounts_there()?
        .iter()
        .all(|entry| entry.identity != *identity)
    {
        return Ok(());
    }
    match outcome {
        Ok(()) => Err(Error(format!("{shown}: is still mounted"))),
        Err(Failed::InUse(error) | Failed::Other(error)) => Err(error),
    }
}

/// How long a mount that is in use is tried again.
const BUSY_PATIENCE: Duration = Duration::from_millis(300);
/// Interval of these tries.
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Why a mount was not unmounted.
enum Failed {
    /// Something has a file or a directory of it open.
    InUse(Error),
    /// Anything else.
    Other(Error),
}

/// Unmounts with umount2(2), or with `fusermount3 -u` or umount(8) for users who may not call it.
fn call_umount(mountpoint: &Path, lazily: bool) -> Result<(), Failed> {
    let shown = mountpoint.display();
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    flags.set(MntFlags::MNT_DETACH, lazily);
    match umount2(mountpoint, flags) {
        Ok(()) => Ok(()),
        // fusermount3 unmounts only for the user who mounted.
        Err(Errno::EPERM) => fusermount::detach(mountpoint, lazily).or_else(|error| {
            if error.0.contains("resource busy") {
                return Err(Failed::InUse(in_use(mountpoint)));
            }
            utab::unmount_by_fstab(mountpoint, lazily)
                .map_err(|also| Failed::Other(Error(format!("{error}; {also}"))))
        }),
        Err(Errno::EBUSY) => Err(Failed::InUse(in_use(mountpoint))),
        Err(error) => Err(Failed::Other(Error(format!(
            "{shown}: can't be unmounted: {error}"
        )))),
    }
}

fn in_use(mountpoint: &Path) -> Error {
    let (shown, quoted) = (mountpoint.display(), quoted(mountpoint));
    Error(format!(
        "{shown}: is in use; end the programs that fuser -vm {quoted} lists, or detach it: ftpfs umount -l {quoted}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmount_leaves_other_mounts_alone() {
        // The root directory stands for another mount: the number differs.
        let mount = Mount {
            mountpoint: "/".into(),
            identity: Some(Identity {
                mount_id: u64::MAX,
                device: "0:0".into(),
            }),
        };
        assert_eq!(mount.unmount(true), Ok(()));
        assert!(top_mount(Path::new("/")).expect("a table").is_some());
    }

    #[test]
    fn unusable_mountpoint_is_refused_with_remedy() {
        // Without the device every answer is about the device.
        if check_device().is_err() {
            panic!("/dev/fuse can't be opened here: run the tests where it can");
        }
        let error = check(Path::new("/no/such/dir"), &Options::default()).expect_err("missing");
        assert!(error.0.contains("mkdir -p /no/such/dir"), "{error}");
        let error = check(Path::new("/etc/passwd"), &Options::default()).expect_err("a file");
        assert!(error.0.contains("is not a directory"), "{error}");
    }
}
