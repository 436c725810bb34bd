//! Opens directories that only this user can change: spool, journal, disk cache, server profiles.
//!
//! If another user could put a link into such a directory, or replace it, ftpfs would overwrite files of
//! its own user. So each directory of the path must belong to root or to this user, and must not be writable
//! by other users unless it is sticky. Links are resolved first; then the path is walked one name at a
//! time without following links. The last directory must belong to this user. It is opened once, and all
//! operations in it are relative to that descriptor and follow no links.
//!
//! In a sticky directory such as `/tmp` the subdirectory `ftpfs-UID` is used.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};
use parking_lot::Mutex;

use crate::process::regular_file;

/// Mode of new directories.
const DIRECTORY_MODE: Mode = Mode::S_IRWXU;
/// Mode of new files.
const FILE_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// An open directory that only this user can change.
#[derive(Debug)]
pub struct PrivateDir {
    directory: OwnedFd,
    path: PathBuf,
}

impl PrivateDir {
    /// Opens the directory at `path`, or its subdirectory if it is sticky; creates missing directories.
    pub fn make(path: &Path) -> io::Result<Self> {
        Self::walk(&resolve(path)?, true)
    }

    /// Opens the directory at `path`, or its subdirectory if it is sticky; `NotFound` if it is missing.
    pub fn find(path: &Path) -> io::Result<Self> {
        Self::walk(&resolve(path)?, false)
    }

    /// Walks an absolute path without links.
    fn walk(path: &Path, make: bool) -> io::Result<Self> {
        let mut directory = nix::fcntl::open("/", OFlag::O_PATH | DIRECTORY_FLAGS, Mode::empty())?;
        let mut there = PathBuf::from("/");
        let last = path.components().count().saturating_sub(1);
        for (at, component) in path.components().enumerate().skip(1) {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidFilename.into());
            };
            check_ancestor(&there, &fstat(&directory)?)?;
            // Only the last directory must be readable.
            let access = if at == last {
                OFlag::O_RDONLY
            } else {
                OFlag::O_PATH
            };
            let open = || openat(&directory, name, access | DIRECTORY_FLAGS, Mode::empty());
            let next = match open() {
                Err(Errno::ENOENT) if make => {
                    match mkdirat(&directory, name, DIRECTORY_MODE) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    open()
                }
                next => next,
            };
            directory = next?;
            there.push(name);
        }
        check_own(path, &fstat(&directory)?)?;
        Ok(Self {
            directory,
            path: path.to_path_buf(),
        })
    }

    /// Its path, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file in it; only this user can access a new one.
    pub fn open(&self, name: impl AsRef<OsStr>, flags: OFlag) -> io::Result<File> {
        let file = openat(
            &self.directory,
            name.as_ref(),
            flags | FILE_FLAGS,
            FILE_MODE,
        )?;
        let file = File::from(file);
        regular_file::check(&file)?;
        Ok(file)
    }

    /// Creates a new file in it, for reading and writing.
    pub fn create_new(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    /// Creates a file without a name (O_TMPFILE), if the file system supports that.
    pub fn unnamed(&self) -> io::Result<File> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        Ok(openat(&self.directory, ".", flags, FILE_MODE)?.into())
    }

    /// Links an open file to a new name in it.
    pub fn link(&self, file: &File, name: impl AsRef<OsStr>) -> io::Result<()> {
        let here = format!("/proc/self/fd/{}", file.as_raw_fd());
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        linkat(
            AT_FDCWD,
            here.as_str(),
            &self.directory,
            name.as_ref(),
            follow,
        )?;
        Ok(())
    }

    /// Renames a file, and replaces one of the new name.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        let directory = &self.directory;
        Ok(renameat(directory, from.as_ref(), directory, to.as_ref())?)
    }

    /// Removes a file.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let how = UnlinkatFlags::NoRemoveDir;
        Ok(unlinkat(&self.directory, name.as_ref(), how)?)
    }

    /// Returns the attributes of a name; of a link, not of its target.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<FileStat> {
        let how = AtFlags::AT_SYMLINK_NOFOLLOW;
        Ok(fstatat(&self.directory, name.as_ref(), how)?)
    }

    /// Whether a name leads to an open file.
    pub fn is_at(&self, file: &File, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let ours = file.metadata()?;
        Ok(self
            .stat(name)
            .is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.dev(), ours.ino())))
    }

    /// All names in it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut dir = Dir::openat(&self.directory, ".", DIRECTORY_FLAGS, Mode::empty())?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(&name).to_os_string());
            }
        }
        Ok(names)
    }

    /// Flushes its entries to the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(self.directory.as_fd())?)
    }

    /// Whether its path still leads to it.
    fn is_current(&self) -> bool {
        let same = |there: fs::Metadata| {
            fstat(&self.directory)
                .is_ok_and(|own| (own.st_dev, own.st_ino) == (there.dev(), there.ino()))
        };
        fs::symlink_metadata(&self.path).is_ok_and(same)
    }
}

const DIRECTORY_FLAGS: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const FILE_FLAGS: OFlag = OFlag::O_NOFOLLOW
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// The path of a private directory, which is opened on first use, and again after it was removed.
#[derive(Debug)]
pub struct PrivatePath {
    path: PathBuf,
    opened: Mutex<Option<Arc<PrivateDir>>>,
}

impl PrivatePath {
    /// Takes the path of a directory, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            opened: Mutex::default(),
        }
    }

    /// The path of the directory; without links once it is open.
    pub fn path(&self) -> PathBuf {
        let opened = self.opened.lock();
        let there = opened.as_ref().map(|there| there.path().to_path_buf());
        there.unwrap_or_else(|| self.path.clone())
    }

    /// Opens the directory; creates it if it is missing.
    pub fn make(&self) -> io::Result<Arc<PrivateDir>> {
        self.open(PrivateDir::make)
    }

    /// Opens the directory; `NotFound` if it is missing.
    pub fn find(&self) -> io::Result<Arc<PrivateDir>> {
        self.open(PrivateDir::find)
    }

    fn open(&self, open: fn(&Path) -> io::Result<PrivateDir>) -> io::Result<Arc<PrivateDir>> {
        let mut opened = self.opened.lock();
        if let Some(there) = opened.as_ref().filter(|there| there.is_current()) {
            return Ok(Arc::clone(there));
        }
        *opened = None;
        let there = Arc::new(open(&self.path)?);
        Ok(Arc::clone(opened.insert(there)))
    }
}

/// Resolves `path`: returns it absolute, without links, and with `ftpfs-UID` added to a sticky directory.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let (mut there, mut missing) = (absolute.as_path(), Vec::new());
    let mut real = loop {
        match fs::canonicalize(there) {
            Ok(real) => break real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // None for `..`: the parent of a missing directory is unknown.
                let name = there.file_name().ok_or(error)?;
                missing.push(name);
                there = there.parent().unwrap_or(Path::new("/"));
            }
            Err(error) => return Err(error),
        }
    };
    let mode = fs::symlink_metadata(&real)?.mode();
    let is_shared = mode & (libc::S_IWGRP | libc::S_IWOTH) != 0 && mode & libc::S_ISVTX != 0;
    if missing.is_empty() && is_shared {
        real.push(format!("ftpfs-{}", geteuid()));
    }
    real.extend(missing.iter().rev());
    Ok(real)
}

/// Checks, without writing, whether `path` may be used; returns the result of [`resolve`].
pub fn check(path: &Path) -> io::Result<PathBuf> {
    let real = resolve(path)?;
    match PrivateDir::walk(&real, false) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(real),
    }
}

fn check_ancestor(path: &Path, found: &FileStat) -> io::Result<()> {
    if found.st_uid != 0 && found.st_uid != geteuid().as_raw() {
        return Err(refused(path, &format!("belongs to user {}", found.st_uid)));
    }
    if is_writable_by_others(found) && found.st_mode & libc::S_ISVTX == 0 {
        return Err(refused(path, "can be written by other users"));
    }
    Ok(())
}

fn check_own(path: &Path, found: &FileStat) -> io::Result<()> {
    if found.st_uid != geteuid().as_raw() {
        return Err(refused(path, &format!("belongs to user {}", found.st_uid)));
    }
    if is_writable_by_others(found) {
        return Err(refused(path, "can be written by other users"));
    }
    Ok(())
}

/// Whether users other than root and its owner can write to a directory. With a umask of 002, the default
/// of many systems, directories are writable by the group, which has one member (user private groups).
fn is_writable_by_others(found: &FileStat) -> bool {
    let by_group = found.st_mode & libc::S_IWGRP != 0 && {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        !has_no_other_member(&read("/etc/passwd"), &read("/etc/group"), found)
    };
    by_group || found.st_mode & libc::S_IWOTH != 0
}

/// Whether the owner of a directory is the only member of its group, by the files of passwd(5) and
/// group(5). False for a group that is in neither.
fn has_no_other_member(passwd: &str, group: &str, found: &FileStat) -> bool {
    let (uid, gid) = (found.st_uid.to_string(), found.st_gid.to_string());
    let users = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let mut owner = None;
    for user in users.filter(|user| user.get(3) == Some(&gid.as_str())) {
        if user[2] != uid {
            return false;
        }
        owner = Some(user[0]);
    }
    let groups = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let mut members = groups
        .filter(|group| group.get(2) == Some(&gid.as_str()))
        .flat_map(|group| group.get(3).map_or("", |members| *members).split(','))
        .filter(|member| !member.is_empty());
    owner.is_some() && members.all(|member| Some(member) == owner)
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{} {why}, so that files in it could be replaced; choose another directory",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn new_directory_and_file_are_private() {
        let scratch = tempfile::tempdir().expect("a directory");
        let made = PrivateDir::make(&scratch.path().join("a/b")).expect("made");
        drop(made.create_new("f").expect("a file"));
        assert!(made.create_new("f").is_err());
        assert_eq!(mode(&scratch.path().join("a")), 0o700);
        assert_eq!(mode(made.path()), 0o700);
        assert_eq!(mode(&made.path().join("f")), 0o600);
        assert_eq!(made.names().expect("names"), ["f"]);
    }

    #[test]
    fn directory_that_others_can_write_is_refused() {
        let scratch = tempfile::tempdir().expect("a directory");
        let open = scratch.path().join("open");
        fs::create_dir(&open).expect("made");
        // A group that is not in group(5).
        let _ = nix::unistd::chown(&open, None, Some(54_321.into()));
        for wrong in [0o777, 0o775, 0o722] {
            chmod(&open, wrong);
            for path in [open.clone(), open.join("below")] {
                let error = PrivateDir::make(&path).expect_err("refused");
                assert!(error.to_string().contains("by other users"), "{error}");
                assert!(check(&path).is_err());
            }
        }
        assert!(!open.join("below").exists());
    }

    #[test]
    fn own_group_may_write() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut found = nix::sys::stat::stat(scratch.path()).expect("there");
        (found.st_uid, found.st_gid) = (1000, 1000);
        let passwd = "root:x:0:0::/:/bin/sh\nanna:x:1000:1000::/:/bin/sh\n";
        for (passwd, group, is_own) in [
            (passwd, "root:x:0:\nanna:x:1000:\n", true),
            (passwd, "anna:x:1000:anna\n", true),
            (passwd, "anna:x:1000:anna,bert\n", false),
            ("bert:x:1001:1000::/:/bin/sh\n", "anna:x:1000:\n", false),
            ("", "anna:x:1000:\n", false),
            (":", "x:y", false),
        ] {
            let found = has_no_other_member(passwd, group, &found);
            assert_eq!(found, is_own, "{passwd}{group}");
        }
    }

    #[test]
    fn directory_of_another_user_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().expect("a directory");
        let theirs = scratch.path().join("theirs");
        fs::create_dir(&theirs).expect("made");
        nix::unistd::chown(&theirs, Some(1234.into()), None).expect("chown");
        for path in [theirs.clone(), theirs.join("below")] {
            let error = PrivateDir::make(&path).expect_err("refused");
            assert!(error.to_string().contains("user 1234"), "{error}");
        }
    }

    #[test]
    fn sticky_directory_gets_a_subdirectory_of_our_own() {
        let scratch = tempfile::tempdir().expect("a directory");
        let sticky = scratch.path().join("sticky");
        fs::create_dir(&sticky).expect("made");
        chmod(&sticky, 0o1777);
        let link = scratch.path().join("link");
        symlink(&sticky, &link).expect("a link");
        let own = format!("ftpfs-{}", geteuid());
        let made = PrivateDir::make(&link).expect("made");
        assert_eq!(made.path(), sticky.join(&own));
        assert_eq!(mode(made.path()), 0o700);
        assert!(PrivateDir::make(&sticky.join("named")).is_ok());
        // Another user has created the name first.
        fs::remove_dir(made.path()).expect("removed");
        symlink(scratch.path(), sticky.join(&own)).expect("a link");
        assert!(PrivateDir::make(&link).is_err());
    }

    #[test]
    fn links_in_it_are_not_followed() {
        let scratch = tempfile::tempdir().expect("a directory");
        let victim = scratch.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        let made = PrivateDir::make(&scratch.path().join("d")).expect("made");
        symlink(&victim, made.path().join("l")).expect("a link");
        let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        assert!(made.open("l", write).is_err());
        assert!(made.create_new("l").is_err());
        made.remove("l").expect("removed");
        assert_eq!(fs::read(&victim).expect("read"), b"precious");
    }

    #[test]
    fn removed_directory_is_made_again() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = PrivatePath::new(scratch.path().join("d"));
        assert_eq!(
            path.find().expect_err("none").kind(),
            io::ErrorKind::NotFound
        );
        let first = path.make().expect("made");
        assert!(Arc::ptr_eq(&first, &path.find().expect("there")));
        fs::remove_dir(first.path()).expect("removed");
        assert!(path.find().is_err());
        path.make().expect("made").create_new("f").expect("a file");
    }

    #[test]
    fn parent_of_missing_directory_is_an_error() {
        assert!(resolve(Path::new("/no/such/../dir")).is_err());
        let there = resolve(Path::new("/no/such/dir")).expect("resolved");
        assert_eq!(there, Path::new("/no/such/dir"));
    }
}
