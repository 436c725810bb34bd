//! Registers `umount.fuse.ftpfs`, which waits for uploads, with umount(8).
//!
//! For root, umount(8) does not read the mount table. It takes the type from statfs(2), which is only
//! `fuse`, unless an entry of `/run/mount/utab` names a helper (libmount's `uhelper`). mount(8) with `-f`
//! writes such an entry for a mount that exists already.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;

use crate::mount::fusermount::wait_for_stderr;
use crate::mount::mount_options::Options;
use crate::mount::mountinfo::{top_mount, unescape};

/// The helper, at the path that umount(8) uses. If it is not installed, nothing is registered.
const HELPER: &str = "/sbin/umount.fuse.ftpfs";
/// mount(8). An absolute path, since root runs it.
const MOUNT: &str = "/bin/mount";
/// umount(8), which is set-user-ID and reads `/etc/fstab`.
const UMOUNT: &str = "/bin/umount";
/// The table of mounts of libmount.
const UTAB: &str = "/run/mount/utab";
/// The mounts of the system.
const FSTAB: &str = "/etc/fstab";
/// Entries for one mountpoint that are removed: more than killed mounts leave, since each mount removes them.
const MAX_ENTRIES: usize = 16;
/// Timeout of mount(8) and umount(8), which lock a local file and write a line.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether umount(8) finds the helper.
pub fn is_helper_installed() -> bool {
    Path::new(HELPER).exists()
}

/// Makes umount(8) call the helper for this mount, if it is installed. Only root's umount(8) needs that, and
/// only root can do it. Call it when the mount answers requests.
pub fn register_helper(mountpoint: &Path, options: &Options) {
    if !geteuid().is_root() || !is_helper_installed() {
        return;
    }
    // An entry that is there now was left by a mount whose process was killed: mount(8) writes its own after
    // its helper has ended.
    remove_all(mountpoint);
    let message = run_quietly(
        Command::new(MOUNT)
            .args(["--no-canonicalize", "-i", "-f", "-o"])
            .arg(note(options))
            .arg("-t")
            .arg(format!("fuse.{}", options.subtype))
            .arg("--")
            .arg(&options.fsname)
            .arg(mountpoint),
    );
    if !message.is_empty() {
        log::info!("utab: {MOUNT} failed: {message}; umount(8) does not wait for uploads");
    }
}

/// Runs mount(8) or umount(8) without input; returns what it, or its start, said went wrong.
fn run_quietly(command: &mut Command) -> String {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let message = match child {
        Ok(mut child) => wait_for_stderr(&mut child, MOUNT_TIMEOUT),
        Err(error) => error.to_string(),
    };
    message.trim().to_string()
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

/// Returns the options of the note. mount(8) 2.38 adds nothing to a note that exists, and without `_netdev` there
/// systemd stops the network before it unmounts.
fn note(options: &Options) -> String {
    let mut words = vec!["uhelper=fuse.ftpfs".to_string()];
    for word in &options.user_space {
        let word = match word.split_once('=') {
            // A comma in a value would separate it.
            Some((name, value)) if value.contains(',') => format!("{name}=\"{value}\""),
            _ => word.clone(),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(",")
}

/// Returns the list of options in the line of `/etc/fstab` for this mountpoint, a path without links; empty without a line.
pub fn fstab_options(mountpoint: &Path) -> String {
    parse_fstab(&read_fstab(), mountpoint).1
}

/// Returns the source in that line.
pub fn fstab_source(mountpoint: &Path) -> String {
    parse_fstab(&read_fstab(), mountpoint).0
}

fn read_fstab() -> Vec<u8> {
    fs::read(FSTAB).unwrap_or_default()
}

/// Returns source and options of the line for a mountpoint.
fn parse_fstab(fstab: &[u8], mountpoint: &Path) -> (String, String) {
    let lines = fstab.split(|&byte| byte == b'\n');
    let mut fields = lines.map(|line| {
        line.split(|byte| byte.is_ascii_whitespace())
            .filter(|field| !field.is_empty())
    });
    let line = fields.find_map(|mut fields| {
        let source = fields.next()?;
        let target = fields.next()?;
        let kind = fields.next().unwrap_or_default();
        let target = unescape(target);
        let target = Path::new(&target);
        // Links are followed in lines for FUSE alone: another one may lead to a server that is away.
        let is_fuse = kind.windows(4).any(|part| part == b"fuse") || kind == b"ftpfs";
        let is_there = target == mountpoint || is_fuse && leads_to(target, mountpoint);
        (!source.starts_with(b"#") && is_there).then(|| (source, fields.next().unwrap_or_default()))
    });
    let text = |field| unescape(field).to_string_lossy().into_owned();
    let (source, options) = line.unwrap_or_default();
    (text(source), text(options))
}

/// Whether a path is that of the mountpoint, or leads there by links. Only the parent is looked at: the last part may be a
/// mount that does not answer.
fn leads_to(path: &Path, mountpoint: &Path) -> bool {
    if path == mountpoint {
        return true;
    }
    if let Ok(target) = fs::read_link(path) {
        let from = path.parent().unwrap_or(Path::new("/"));
        return fs::canonicalize(from.join(target)).is_ok_and(|real| real == mountpoint);
    }
    let parent = path.parent().map(fs::canonicalize);
    let (Some(Ok(parent)), Some(name)) = (parent, path.file_name()) else {
        return false;
    };
    parent.join(name) == mountpoint
}

/// Removes the entries of a mount that has ended, unless another one is mounted there now: umount(8) leaves an entry if
/// the helper fails, as it does to report files that are not stored, and it does not see a mount that ends by a signal.
pub fn remove_entries(mountpoint: &Path) {
    let is_root = geteuid().is_root() && Path::new(HELPER).exists();
    if is_root && matches!(top_mount(mountpoint), Ok(None)) {
        remove_all(mountpoint);
    }
}

/// Removes all entries for a mountpoint. umount(8) removes one at a time.
fn remove_all(mountpoint: &Path) {
    for _ in 0..MAX_ENTRIES {
        let utab = fs::read(UTAB).unwrap_or_default();
        if !has_entry(&utab, mountpoint) {
            return;
        }
        let message = run_quietly(
            Command::new(UMOUNT)
                .args(["--no-canonicalize", "-i", "--fake", "--"])
                .arg(mountpoint),
        );
        if !message.is_empty() {
            log::debug!("utab: {UMOUNT} failed: {message}");
            return;
        }
    }
}

/// Whether a line `SRC=... TARGET=... ROOT=/ OPTS=...` is about this mountpoint.
fn has_entry(utab: &[u8], mountpoint: &Path) -> bool {
    utab.split(|&byte| byte == b'\n' || byte == b' ')
        .filter_map(|field| field.strip_prefix(b"TARGET="))
        .any(|target| Path::new(&unescape(target)) == mountpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_keeps_what_systemd_reads() {
        let options = Options {
            user_space: vec!["_netdev".into(), "user=guest".into(), "x-a=b,c".into()],
            ..Options::default()
        };
        assert_eq!(
            note(&options),
            "uhelper=fuse.ftpfs,_netdev,user=guest,x-a=\"b,c\""
        );
        assert_eq!(note(&Options::default()), "uhelper=fuse.ftpfs");
    }

    #[test]
    fn line_of_fstab_is_found_by_its_target() {
        let directory = tempfile::tempdir().expect("a directory");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/usr", &link).expect("a link");
        let fstab = format!(
            "# h: /mnt/a\\040b x x-none 0 0\nh:\t/mnt/a\\040b  fuse.ftpfs _netdev,x-a=b\\040c 0 0\nh: {} fuse.ftpfs link 0 0\n",
            link.display()
        );
        let line = |target: &str| parse_fstab(fstab.as_bytes(), Path::new(target));
        let options = |target: &str| line(target).1;
        assert_eq!(options("/mnt/a b"), "_netdev,x-a=b c");
        assert_eq!(options("/mnt"), "");
        assert_eq!(line("/mnt/a b").0, "h:");
        assert_eq!(options("/usr"), "link");
    }

    #[test]
    fn entry_is_found_by_its_target() {
        let utab = b"SRC=h: TARGET=/mnt/a\\040b ROOT=/ OPTS=uhelper=fuse.ftpfs\n";
        assert!(has_entry(utab, Path::new("/mnt/a b")));
        assert!(!has_entry(utab, Path::new("/mnt/a")));
    }
}
