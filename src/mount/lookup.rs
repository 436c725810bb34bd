//! Finds the mount at a path, without accessing the mounted file system.
//!
//! Symbolic links are resolved one component at a time, as umount(8) resolves them. The walk stops at the first FUSE
//! mountpoint: a stat(2) below it could wait for a server that is unreachable.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::mount::error::Error;
use crate::mount::mountinfo::{Entry, mounts};

/// Maximum symbolic links in a path, as in the kernel (path_resolution(7)).
const SYMLINK_LIMIT: usize = 40;

/// Returns the mount whose mountpoint is `path`, or to which `path` is a symbolic link.
pub fn find_mount(path: &Path) -> Result<Entry, Error> {
    let shown = path.display();
    let plain = std::path::absolute(path).map_err(|error| Error(format!("{shown}: {error}")))?;
    let mounts = mounts()?;
    if let Some(entry) = find_top_mount(&mounts, &plain) {
        return Ok(entry.clone());
    }
    let nothing = || Error(format!("{shown}: nothing is mounted there"));
    match walk(&mounts, &plain) {
        Ok(Walked::To(real)) => find_top_mount(&mounts, &real).cloned().ok_or_else(nothing),
        Ok(Walked::Below(entry)) => Err(Error(format!(
            "{shown}: is below the mountpoint {0}; name {0} instead",
            entry.mountpoint.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(nothing()),
        Err(error) => Err(Error(format!("{shown}: {error}"))),
    }
}

/// The result of a walk.
enum Walked<'a> {
    /// A path without links and dots.
    To(PathBuf),
    /// A path below the mountpoint of this FUSE mount.
    Below(&'a Entry),
}

/// Returns the last mount at `path`, which covers earlier ones.
fn find_top_mount<'a>(mounts: &'a [Entry], path: &Path) -> Option<&'a Entry> {
    mounts.iter().rev().find(|entry| entry.mountpoint == path)
}

/// Resolves the links and dots of the absolute `path`.
fn walk<'a>(mounts: &'a [Entry], path: &Path) -> std::io::Result<Walked<'a>> {
    let mut left: VecDeque<OsString> = split_path(path);
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        if let Some(entry) = find_top_mount(mounts, &real).filter(|entry| entry.is_fuse()) {
            // Another mount can be inside of this one.
            let within: PathBuf = [real.clone(), name.into()]
                .into_iter()
                .chain(left.into_iter().map(PathBuf::from))
                .collect();
            return Ok(match find_top_mount(mounts, &within) {
                Some(_) => Walked::To(within),
                None => Walked::Below(entry),
            });
        }
        let next = real.join(&name);
        // A FUSE mountpoint is a directory. Its attributes would come from its file system.
        let is_mountpoint = find_top_mount(mounts, &next).is_some_and(Entry::is_fuse);
        if is_mountpoint || !fs::symlink_metadata(&next)?.is_symlink() {
            real = next;
            continue;
        }
        links += 1;
        if links > SYMLINK_LIMIT {
            return Err(std::io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        for name in split_path(&target).into_iter().rev() {
            left.push_front(name);
        }
    }
    Ok(Walked::To(real))
}

/// Splits a path into its names and `..`, without the root and `.`.
fn split_path(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_os_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::mountinfo::Identity;

    fn entry(mountpoint: &Path, kind: &str) -> Entry {
        Entry {
            identity: Identity {
                mount_id: 1,
                device: "0:1".into(),
            },
            mountpoint: mountpoint.to_path_buf(),
            kind: kind.into(),
            source: "ftp://h/".into(),
            owner: None,
            options: Vec::new(),
        }
    }

    #[test]
    fn walk_resolves_links_and_stops_at_fuse_mountpoints() {
        let scratch = tempfile::tempdir().expect("a directory");
        let top = fs::canonicalize(scratch.path()).expect("its path");
        let mountpoint = top.join("m");
        fs::create_dir(&mountpoint).expect("a mountpoint");
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, top.join(name)).expect("a link");
        };
        link("m", "relative");
        link("relative", "twice");
        link("loop", "loop");
        link("m/sub", "below");
        let mounts = [
            entry(&mountpoint, "fuse.ftpfs"),
            entry(&mountpoint.join("sub/inner"), "tmpfs"),
        ];
        let walked = |name: &str| match walk(&mounts, &top.join(name)) {
            Ok(Walked::To(path)) => path.strip_prefix(&top).expect("inside").to_path_buf(),
            Ok(Walked::Below(_)) => PathBuf::from("below"),
            Err(error) => PathBuf::from(format!("{:?}", error.raw_os_error())),
        };
        for (path, expected) in [
            ("m", "m"),
            ("relative", "m"),
            ("twice/", "m"),
            ("m/../relative/.", "m"),
            ("m/sub", "below"),
            ("relative/sub", "below"),
            ("below", "below"),
            ("m/sub/inner", "m/sub/inner"),
            ("relative/sub/inner", "m/sub/inner"),
            ("loop", "Some(40)"),
            ("absent", "Some(2)"),
        ] {
            assert_eq!(walked(path), Path::new(expected), "{path}");
        }
    }
}
