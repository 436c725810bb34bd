//! Keeps an automount of systemd or autofs(5) from expiring while uploads are pending.
//!
//! The kernel expires a mount that no process uses. An `O_PATH` descriptor of its root counts as a use, and asks the file
//! system nothing. An expiry would wait for the uploads, and every access of the mount with it.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::mount::mountinfo::{Identity, mounts};

/// Whether a trigger of autofs lies under the mount: at its mountpoint (systemd, direct maps) or its directory (indirect
/// maps).
pub fn is_automounted(mountpoint: &Path) -> bool {
    let is_trigger = |at: &Path| at == mountpoint || Some(at) == mountpoint.parent();
    mounts().is_ok_and(|mounts| {
        let mut triggers = mounts.iter().filter(|entry| entry.kind == "autofs");
        triggers.any(|entry| is_trigger(&entry.mountpoint))
    })
}

/// Opens the root of a mount, so that it is in use; `None` if another file system is there, such as the trigger. May wait
/// until a running expiry has ended.
pub fn hold(mountpoint: &Path, identity: &Identity) -> Option<OwnedFd> {
    // O_PATH does not trigger an automount that is not there; O_DIRECTORY would.
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(mountpoint, flags, Mode::empty()).ok()?;
    // fstat(2) would ask the file system.
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", root.as_raw_fd())).ok()?;
    let mut lines = info.lines();
    let mount = lines.find_map(|line| line.strip_prefix("mnt_id:"))?;
    (mount.trim().parse() == Ok(identity.mount_id)).then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mount_itself_is_held() {
        let all = mounts().expect("a mount table");
        let proc = all
            .iter()
            .rfind(|entry| entry.mountpoint == Path::new("/proc"));
        let proc = &proc.expect("/proc").identity;
        assert!(hold(Path::new("/proc"), proc).is_some());
        assert!(hold(Path::new("/sys"), proc).is_none());
        assert!(hold(Path::new("/no/such"), proc).is_none());
        assert!(!is_automounted(Path::new("/proc")));
    }
}
