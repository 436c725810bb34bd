//! umount(8) and us: it waits for what is still to be stored only where it calls `umount.fuse.ftpfs`.
//!
//! The one idea: for root, umount(8) does not look into the table of mounts, and takes the type from statfs(2),
//! which knows just `fuse`; unless `/run/mount/utab`, its own notes about mounts, names a helper. mount(8)
//! writes such a note for a mount that is there already, when it only seems to mount (`-f`).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::mount::fusermount::finish;
use crate::mount::mount_options::Options;

/// The helper, as umount(8) finds it; without it there is nothing to be noted.
const HELPER: &str = "/sbin/umount.fuse.ftpfs";
/// mount(8). An absolute path: root runs it.
const MOUNT: &str = "/bin/mount";
/// It writes a line into a local file, when nobody else does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has umount(8) call our helper for this mount, where it is installed. Only root's umount needs that, and
/// only root can say so. To be called when the mount answers.
pub fn note(mountpoint: &Path, options: &Options) {
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
        Ok(mut child) => finish(&mut child, PATIENCE),
        Err(error) => error.to_string(),
    };
    if !said.is_empty() {
        log::info!("umount will not wait for uploads: {MOUNT}: {}", said.trim());
    }
}
