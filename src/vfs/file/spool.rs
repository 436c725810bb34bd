//! The spool: files on the local disk that hold what is written until the server has it.
//!
//! The one idea: a spool file has no name, so that nothing is left of it however the process ends.
//! Only what could not be brought to the server gets a name, under `lost+found`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate};
use nix::unistd::linkat;

use crate::remote::ReadAt;

/// The directory of the spool files.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
}

/// Names that are tried in `lost+found` for one file before giving up.
const NAME_TRIES: u32 = 10_000;
/// How the name of a file ends that is about to take another one's place.
pub const UNDONE: &str = ".undone";

impl Spool {
    /// A spool in `directory`, which is made, for its owner only, when the first file is.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A new spool file.
    pub fn create(&self) -> io::Result<SpoolFile> {
        make_private(&self.directory)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE)
            .open(&self.directory)
            .or_else(|_| self.named_and_removed())?;
        Ok(SpoolFile { file })
    }

    /// Where what could not be brought to the server is kept.
    pub fn lost_and_found(&self) -> PathBuf {
        self.directory.join("lost+found")
    }

    /// Gives `file` a name in `lost+found` that tells what it was and when, with `reason` beside it; returns
    /// where it is. What of its `size` bytes was never written is a hole there.
    pub fn keep(
        &self,
        file: &SpoolFile,
        size: u64,
        name: &[u8],
        reason: &str,
    ) -> io::Result<PathBuf> {
        let directory = self.lost_and_found();
        make_private(&directory)?;
        file.set_size(size)?;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let name = format!("{}.{now}", readable(name));
        for number in 0..NAME_TRIES {
            let path = directory.join(if number == 0 {
                name.clone()
            } else {
                format!("{name}.{number}")
            });
            match file.link(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let mut why = path.clone().into_os_string();
                    why.push(".reason");
                    if let Err(error) = fs::write(&why, format!("{reason}\n")) {
                        // What counts is there.
                        log::warn!("{}: {error}", why.display());
                    }
                    File::open(&directory)?.sync_all()?;
                    return Ok(path);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// For file systems without `O_TMPFILE` (NFS, some overlays).
    fn named_and_removed(&self) -> io::Result<File> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self
            .directory
            .join(format!(".spool-{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }
}

/// The local copy of a file that is being written; holes are zeros.
#[derive(Debug)]
pub struct SpoolFile {
    file: File,
}

impl SpoolFile {
    /// One that has a name already.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file })
    }

    /// Gives it a name, if it does not have that already, in place of what has it, and writes all of it to the
    /// disk.
    pub fn name(&self, path: &Path) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let is_it = |there: fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if fs::metadata(path).is_ok_and(is_it) {
            return self.file.sync_data();
        }
        // Whatever has the name, an earlier copy perhaps, keeps it until this one is whole.
        let mut beside = path.to_path_buf().into_os_string();
        beside.push(UNDONE);
        let beside = PathBuf::from(beside);
        let _ = fs::remove_file(&beside);
        self.link(&beside)?;
        fs::rename(&beside, path)
    }

    /// Gives it one more name, which must be new, and writes all of it to the disk. One whose last name is
    /// gone can have no other: then it is a copy that gets it.
    fn link(&self, path: &Path) -> io::Result<()> {
        let here = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let linked = linkat(
            AT_FDCWD,
            here.as_str(),
            AT_FDCWD,
            path,
            AtFlags::AT_SYMLINK_FOLLOW,
        );
        match linked {
            Ok(()) => return self.file.sync_all(),
            Err(Errno::EEXIST) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        let copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let size = self.length()?;
        let copied = copy.set_len(size);
        let copied = copied.and_then(|()| self.copy_to(&copy, 0..size));
        let copied = copied.and_then(|()| copy.sync_all());
        if copied.is_err() {
            // Half of it is of no use to anybody.
            let _ = fs::remove_file(path);
        }
        copied
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Cuts or extends it with zeros.
    pub fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    /// Makes zeros of a range that may hold something, without changing the size.
    pub fn zero(&self, range: Range<u64>) -> io::Result<()> {
        let number = |offset: u64| {
            libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
        };
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // There is nothing behind its end, however far that is.
        let end = range.end.min(self.file.metadata()?.len());
        let range = range.start..end.max(range.start);
        let length = number(range.end - range.start)?;
        if length == 0 || fallocate(&self.file, flags, number(range.start)?, length).is_ok() {
            return Ok(());
        }
        // A file system that can't punch holes.
        let zeros = vec![0; 1 << 20];
        let mut at = range.start;
        while at < range.end {
            let length = zeros
                .len()
                .min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            self.file.write_all_at(&zeros[..length], at)?;
            at += length as u64;
        }
        Ok(())
    }

    /// Bytes that it has.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes a range of it into another one, which is empty there.
    pub fn copy_part(&self, target: &Self, range: Range<u64>) -> io::Result<()> {
        self.copy_to(&target.file, range)
    }

    fn copy_to(&self, target: &File, Range { start: mut at, end }: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        while at < end {
            let length = buffer
                .len()
                .min(usize::try_from(end - at).unwrap_or(usize::MAX));
            self.read_exact_at(&mut buffer[..length], at)?;
            // What is a hole here is one there.
            if buffer[..length].iter().any(|&byte| byte != 0) {
                target.write_all_at(&buffer[..length], at)?;
            }
            at += length as u64;
        }
        Ok(())
    }
}

impl ReadAt for SpoolFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// Makes a directory that only its owner may look into.
pub fn make_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// A file name that tells the path of what it holds.
fn readable(name: &[u8]) -> String {
    /// Leaves room for time, number and ending within the 255 bytes that a name may have.
    const LENGTH: usize = 200;
    let text: String = name.escape_ascii().to_string().replace('/', "_");
    text.chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_name_of_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().join("spool"));
        let file = spool.create().expect("a spool file");
        file.write_at(b"bytes", 3).expect("written");
        let one = spool.keep(&file, 8, b"dir/na\nme", "full").expect("kept");
        let two = spool.keep(&file, 8, b"dir/na\nme", "full").expect("kept");
        assert_ne!(one, two);
        assert_eq!(fs::read(&one).expect("read"), b"\0\0\0bytes");
        let name = one.file_name().and_then(|name| name.to_str());
        assert!(name.is_some_and(|name| name.starts_with("dir_na\\nme.20")));
        let why = fs::read_to_string(format!("{}.reason", one.display()));
        assert_eq!(why.expect("read"), "full\n");
    }

    #[test]
    fn what_is_kept_is_not_copied_and_what_was_never_written_is_a_hole() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().join("spool"));
        let file = spool.create().expect("a spool file");
        file.write_at(b"bytes", 3).expect("written");
        let kept = spool.keep(&file, 1 << 40, b"f", "full").expect("kept");
        let (there, ours) = (fs::metadata(&kept), file.file.metadata());
        let (there, ours) = (there.expect("there"), ours.expect("ours"));
        assert_eq!((there.ino(), there.len()), (ours.ino(), 1 << 40));
        assert!(there.blocks() < 100, "{} blocks", there.blocks());
    }

    #[test]
    fn whose_last_name_is_gone_gets_another_one_each_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().to_path_buf());
        let file = spool.create().expect("a spool file");
        file.write_at(b"one", 0).expect("written");
        let named = directory.path().join("1.data");
        file.name(&named).expect("named");
        fs::remove_file(&named).expect("removed");
        for bytes in [b"two", b"six"] {
            file.write_at(bytes, 0).expect("written");
            file.name(&named).expect("named again");
            assert_eq!(fs::read(&named).expect("read"), bytes);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn an_unnamed_file_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().to_path_buf());
        drop(spool.create().expect("a spool file"));
        drop(spool.named_and_removed().expect("a spool file"));
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
    }
}
