//! Finds the mount that a path names, without asking the mounted file system.
//!
//! Symbolic links are resolved one component at a time, as umount(8) resolves them. The walk stops at the first FUSE
//! mountpoint: a stat(2) of anything in it would wait for a server that may be gone.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::mount::error::Error;
use crate::mount::mountinfo::{Entry, mounts};

/// Symbolic links in one path, as the kernel limits them (MAXSYMLINKS, path_resolution(7)).
const SYMLINK_LIMIT: usize = 40;

/// The mount whose mountpoint is `path`, or to which `path` is a symbolic link.
pub fn find_mount(path: &Path) -> Result<Entry, Error> {
    let shown = path.display();
    let plain = std::path::absolute(path).map_err(|error| Error(format!("{shown}: {error}")))?;
    let mounts = mounts()?;
    if let Some(entry) = top_of(&mounts, &plain) {
        return Ok(entry.clone());
    }
    let nothing = || Error(format!("{shown}: nothing is mounted there"));
    match walk(&mounts, &plain) {
        Ok(Walked::To(real)) => top_of(&mounts, &real).cloned().ok_or_else(nothing),
        Ok(Walked::Below(entry)) => Err(Error(format!(
            "{shown}: is below the mountpoint {0}; name {0} instead",
            entry.mountpoint.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(nothing()),
        Err(error) => Err(Error(format!("{shown}: {error}"))),
    }
}

/// Where a path leads.
enum Walked<'a> {
    /// A path without links and dots.
    To(PathBuf),
    /// A place in this FUSE mount.
    Below(&'a Entry),
}

/// The last mount at `path`, which covers the others there.
fn top_of<'a>(mounts: &'a [Entry], path: &Path) -> Option<&'a Entry> {
    mounts.iter().rev().find(|entry| entry.mountpoint == path)
}

/// Resolves links and dots of the absolute `path`.
fn walk<'a>(mounts: &'a [Entry], path: &Path) -> std::io::Result<Walked<'a>> {
    let mut left: VecDeque<OsString> = components(path);
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        if let Some(entry) = top_of(mounts, &real).filter(|entry| entry.is_fuse()) {
            // A mount within the mount has its own line in the table.
            let within: PathBuf = [real.clone(), name.into()]
                .into_iter()
                .chain(left.into_iter().map(PathBuf::from))
                .collect();
            return Ok(match top_of(mounts, &within) {
                Some(_) => Walked::To(within),
                None => Walked::Below(entry),
            });
        }
        let next = real.join(&name);
        // A FUSE mountpoint is a directory: the kernel would ask its file system for more.
        let is_mountpoint = top_of(mounts, &next).is_some_and(Entry::is_fuse);
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
        for name in components(&target).into_iter().rev() {
            left.push_front(name);
        }
    }
    Ok(Walked::To(real))
}

/// The names of a path, with `..`, without the root and `.`.
fn components(path: &Path) -> VecDeque<OsString> {
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
