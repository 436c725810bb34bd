//! Registers `umount.fuse.ftpfs`, which waits for uploads, with umount(8).
//!
//! For root, umount(8) does not read the mount table. It takes the type from statfs(2), which is just
//! `fuse`, unless its own notes in `/run/mount/utab` name a helper. mount(8) writes such a note for a
//! mount that exists already if it is told not to mount (`-f`).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::mount::fusermount::wait_for_stderr;
use crate::mount::mount_options::Options;

/// The helper where umount(8) looks for it; if it is not installed, nothing is registered.
const HELPER: &str = "/sbin/umount.fuse.ftpfs";
/// mount(8). An absolute path, since root runs it.
const MOUNT: &str = "/bin/mount";
/// umount(8), which is set-user-ID and knows `/etc/fstab`.
const UMOUNT: &str = "/bin/umount";
/// Timeout of mount(8) and umount(8), which lock a local file and write a line.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes umount(8) call our helper for this mount, if it is installed. Only root's umount(8) needs
/// that, and only root can do it. Call it when the mount answers.
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
    let said = match child {
        Ok(mut child) => wait_for_stderr(&mut child, MOUNT_TIMEOUT),
        Err(error) => error.to_string(),
    };
    if !said.is_empty() {
        log::info!(
            "utab: {MOUNT} failed: {}; umount(8) does not wait for uploads",
            said.trim()
        );
    }
}

/// Unmounts with umount(8), which allows it to each user whom a `users`, `user`, `owner` or `group` in `/etc/fstab` names.
/// `-i`: it must not call us again.
pub fn unmount_by_fstab(mountpoint: &Path, lazily: bool) -> Result<(), String> {
    let failed = |said: &str| format!("{UMOUNT} -i: {}", said.trim());
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
    let said = wait_for_stderr(&mut child, MOUNT_TIMEOUT);
    match child.try_wait() {
        Ok(Some(status)) if status.success() => Ok(()),
        _ => Err(failed(&said)),
    }
}

/// Removes the note of a mount that has ended: umount(8) leaves it where its helper fails, as ours does to report that
/// something is not stored.
pub fn forget(mountpoint: &Path) {
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
    let said = match child {
        Ok(mut child) => wait_for_stderr(&mut child, MOUNT_TIMEOUT),
        Err(error) => error.to_string(),
    };
    if !said.is_empty() {
        log::debug!("utab: {UMOUNT}: {}", said.trim());
    }
}
