//! Registers `umount.fuse.ftpfs`, which waits for uploads, with umount(8).
//!
//! For root, umount(8) does not read the mount table. It takes the type from statfs(2), which is only
//! `fuse`, unless an entry of `/run/mount/utab` names a helper (libmount's `uhelper`). mount(8) with `-f`
//! writes such an entry for a mount that exists already.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::mount::fusermount::wait_for_stderr;
use crate::mount::mount_options::Options;

/// The helper, at the path that umount(8) uses. If it is not installed, nothing is registered.
const HELPER: &str = "/sbin/umount.fuse.ftpfs";
/// mount(8). An absolute path, since root runs it.
const MOUNT: &str = "/bin/mount";
/// umount(8), which is set-user-ID and reads `/etc/fstab`.
const UMOUNT: &str = "/bin/umount";
/// Timeout of mount(8) and umount(8), which lock a local file and write a line.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes umount(8) call the helper for this mount, if it is installed. Only root's umount(8) needs that, and
/// only root can do it. Call it when the mount answers requests.
pub fn register_helper(mountpoint: &Path, options: &Options) {
    if !geteuid().is_root() || !Path::new(HELPER).exists() {
        return;
    }
    let child = Command::new(MOUNT)
        .args([
            "--no-canonicalize",
            "-i",
            "-f",
            "-o",
            "uhelper=fuse.ftpfs",
            "-t",
        ])
        .arg(format!("fuse.{}", options.subtype))
        .arg("--")
        .arg(&options.fsname)
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let message = match child {
        Ok(mut child) => wait_for_stderr(&mut child, MOUNT_TIMEOUT),
        Err(error) => error.to_string(),
    };
    if !message.is_empty() {
        log::info!(
            "utab: {MOUNT} failed: {}; umount(8) does not wait for uploads",
            message.trim()
        );
    }
}

/// Unmounts with umount(8), which allows it to the users of `users`, `user`, `owner` or `group` in `/etc/fstab`. With `-i`
/// it does not call the helper, which would call it again.
pub fn unmount_by_fstab(mountpoint: &Path, lazily: bool) -> Result<(), String> {
    let failed = |message: &str| format!("{UMOUNT} -i: {}", message.trim());
    let mut child = Command::new(UMOUNT)
        .arg("-i")
        .args(lazily.then_some("-l"))
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let message = wait_for_stderr(&mut child, MOUNT_TIMEOUT);
    match child.try_wait() {
        Ok(Some(status)) if status.success() => Ok(()),
        _ => Err(failed(&message)),
    }
}

/// Removes the entry of a mount that has ended. umount(8) leaves it if the helper fails, as it does to report files that
/// are not stored.
pub fn remove_entry(mountpoint: &Path) {
    if !geteuid().is_root() || !Path::new(HELPER).exists() {
        return;
    }
    let child = Command::new(UMOUNT)
        .args(["--no-canonicalize", "-i", "--fake", "--"])
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let message = match child {
        Ok(mut child) => wait_for_stderr(&mut child, MOUNT_TIMEOUT),
        Err(error) => error.to_string(),
    };
    if !message.is_empty() {
        log::debug!("utab: {UMOUNT} failed: {}", message.trim());
    }
}
