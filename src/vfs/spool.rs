//! The spool: local files that hold what is written until the server has it.
//!
//! A spool file has no name, so that nothing is left of it however the process ends. Only what could not be stored gets a
//! name, in lost+found.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::unistd::{Whence, lseek};

use crate::process::lock_order::assert_none_held;
use crate::process::private_dir::{PrivateDir, PrivatePath};
use crate::remote::ReadAt;

/// The directory of the spool files.
#[derive(Debug)]
pub struct Spool {
    directory: PrivatePath,
    lost_and_found: PrivatePath,
}

/// Names that are tried in `lost+found` for one file before giving up.
const NAME_TRIES: u32 = 10_000;
/// Bytes copied at once.
const COPY_CHUNK: usize = 1 << 20;
/// Smallest hole that a copy leaves out because the local file system reports it. Smaller ones are read: OpenZFS before 2.2.2
/// may report data as a hole while it is not on the disk yet, and there is never this much of that.
const MIN_TRUSTED_HOLE: u64 = 4 << 30;
/// How the name of a file ends that is about to take another one's place.
pub const UNDONE: &str = ".undone";

impl Spool {
    /// A spool in `directory`, which is made, for its owner only, when the first file is.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            lost_and_found: PrivatePath::new(directory.join("lost+found")),
            directory: PrivatePath::new(directory),
        }
    }

    /// A new spool file.
    pub fn create(&self) -> io::Result<SpoolFile> {
        let create = || {
            let directory = self.directory.make()?;
            let file = directory
                .unnamed()
                .or_else(|_| named_and_removed(&directory))?;
            Ok(SpoolFile { file })
        };
        // Callers know an error number only.
        create().inspect_err(|error: &io::Error| {
            log::error!("spool: {}: {error}", self.directory.path().display());
        })
    }

    /// Where what could not be brought to the server is kept.
    pub fn lost_and_found(&self) -> PathBuf {
        self.lost_and_found.path()
    }

    /// Gives `file` a name in `lost+found` that shows what it was and when, with a `.reason` file; returns its path.
    /// What of its `size` bytes was never written is a hole there.
    pub fn keep(
        &self,
        file: &SpoolFile,
        size: u64,
        name: &[u8],
        reason: &str,
    ) -> io::Result<PathBuf> {
        assert_none_held("a sync of lost+found");
        let directory = self.lost_and_found.make()?;
        file.set_size(size)?;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let name = format!("{}.{now}", readable(name));
        for number in 0..NAME_TRIES {
            let name = match number {
                0 => name.clone(),
                number => format!("{name}.{number}"),
            };
            match file.link(&directory, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let why = format!("{name}.reason");
                    let written = directory.create_new(&why);
                    let written = written.and_then(|mut why| writeln!(why, "{reason}"));
                    if let Err(error) = written {
                        // What counts is there.
                        let why = directory.path().join(why);
                        log::warn!("lost+found: {}: not written: {error}", why.display());
                    }
                    directory.sync()?;
                    return Ok(directory.path().join(name));
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// For file systems without `O_TMPFILE` (NFS, some overlays).
fn named_and_removed(directory: &PrivateDir) -> io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".spool-{}-{number}", std::process::id());
    let file = directory.create_new(&name)?;
    directory.remove(&name)?;
    Ok(file)
}

/// The local copy of a file that is being written; holes are zeros.
#[derive(Debug)]
pub struct SpoolFile {
    file: File,
}

impl SpoolFile {
    /// One that has a name already.
    pub fn open(directory: &PrivateDir, name: &str) -> io::Result<Self> {
        let file = directory.open(name, OFlag::O_RDWR)?;
        Ok(Self { file })
    }

    /// Gives it a name, if it does not have that already, in place of what has it, and writes all of it to the
    /// disk.
    pub fn name(&self, directory: &PrivateDir, name: &str) -> io::Result<()> {
        if directory.is_at(&self.file, name)? {
            return self.file.sync_data();
        }
        // Whatever has the name, an earlier copy perhaps, keeps it until this one is whole.
        let temp = format!("{name}{UNDONE}");
        let _ = directory.remove(&temp);
        self.link(directory, &temp)?;
        directory.rename(&temp, name)
    }

    /// Gives it one more name, which must be new, and writes all of it to the disk. One whose last name is
    /// gone can have no other: then it is a copy that gets it.
    fn link(&self, directory: &PrivateDir, name: &str) -> io::Result<()> {
        match directory.link(&self.file, name) {
            Ok(()) => return self.file.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
        }
        let copy = directory.create_new(name)?;
        let size = self.length()?;
        let copied = copy.set_len(size);
        let copied = copied.and_then(|()| self.copy_to(&copy, 0..size));
        let copied = copied.and_then(|()| copy.sync_all());
        if copied.is_err() {
            // Half of it is of no use to anybody.
            let _ = directory.remove(name);
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
        // Nothing is stored after its end, however far the range reaches.
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

    /// The parts of `ranges`, of `least` bytes or more, for which the disk has no block: they are zeros. None where the
    /// file system does not tell.
    pub fn holes(&self, ranges: &[Range<u64>], least: u64) -> Vec<Range<u64>> {
        let seek = |from: u64, whence| {
            let from = libc::off_t::try_from(from).ok()?;
            match lseek(&self.file, from, whence) {
                Ok(at) => u64::try_from(at).ok(),
                // Nothing of that kind comes before the end.
                Err(Errno::ENXIO) => Some(u64::MAX),
                Err(_) => None,
            }
        };
        let mut holes = Vec::new();
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let Some(start) = seek(at, Whence::SeekHole) else {
                    return Vec::new();
                };
                let start = start.clamp(at, range.end);
                let Some(end) = seek(start, Whence::SeekData) else {
                    return Vec::new();
                };
                at = end.clamp(start, range.end);
                if at - start >= least {
                    holes.push(start..at);
                }
                if at == start {
                    break;
                }
            }
        }
        holes
    }

    /// Bytes that it has.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes a range of it into another one, which is empty there.
    pub fn copy_part(&self, target: &Self, range: Range<u64>) -> io::Result<()> {
        self.copy_to(&target.file, range)
    }

    fn copy_to(&self, target: &File, range: Range<u64>) -> io::Result<()> {
        let mut at = range.start;
        for hole in self.holes(std::slice::from_ref(&range), MIN_TRUSTED_HOLE) {
            self.copy_data(target, at..hole.start)?;
            at = hole.end;
        }
        self.copy_data(target, at..range.end)
    }

    fn copy_data(&self, target: &File, Range { start: mut at, end }: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; COPY_CHUNK];
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

/// A file without a spool file is empty.
impl ReadAt for Option<Arc<SpoolFile>> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Some(file) => file.read_exact_at(buffer, offset),
            None if buffer.is_empty() => Ok(()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A file name that shows the path of its content.
fn readable(name: &[u8]) -> String {
    /// Leaves room for time, number and ending within the 255 bytes that a name may have.
    const LENGTH: usize = 200;
    let text: String = name.escape_ascii().to_string().replace('/', "_");
    text.chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn lost_and_found_follows_no_symlink() {
        let scratch = tempfile::tempdir().expect("a directory");
        let victim = scratch.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        let spool = Spool::new(scratch.path().join("spool"));
        let file = spool.create().expect("a spool file");
        let found = scratch.path().join("spool/lost+found");
        fs::create_dir(&found).expect("made");
        // A name for each second in which this may run.
        let now = jiff::Timestamp::now();
        for second in 0..30 {
            let then = now + jiff::SignedDuration::from_secs(second);
            let name = format!("f.{}.reason", then.strftime("%Y-%m-%dT%H:%M:%SZ"));
            symlink(&victim, found.join(name)).expect("a link");
        }
        spool.keep(&file, 0, b"f", "full").expect("kept");
        assert_eq!(fs::read(&victim).expect("read"), b"precious");
    }

    #[test]
    fn lost_and_found_names_are_unique() {
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
    fn kept_file_is_linked_and_keeps_its_holes() {
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
    fn holes_are_found_and_not_copied() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().join("spool"));
        let (file, copy) = (spool.create(), spool.create());
        let (file, copy) = (file.expect("a spool file"), copy.expect("a spool file"));
        let (far, end) = (1_u64 << 40, (1 << 40) + 4096);
        file.write_at(b"begin", 0).expect("written");
        file.write_at(&[1; 4096], far).expect("written");
        let whole = 0..end;
        let holes = file.holes(std::slice::from_ref(&whole), 1 << 20);
        assert_eq!(holes.len(), 1);
        assert!(
            holes[0].start <= 64 << 10 && holes[0].end == far,
            "{holes:?}"
        );
        file.copy_part(&copy, whole).expect("copied");
        assert_eq!(copy.length().expect("a length"), end);
        let mut bytes = [0; 4097];
        copy.read_exact_at(&mut bytes, far - 1).expect("read");
        assert_eq!((bytes[0], bytes[1], bytes[4096]), (0, 1, 1));
    }

    #[test]
    fn spool_file_without_a_name_is_copied_for_each_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().to_path_buf());
        let file = spool.create().expect("a spool file");
        file.write_at(b"one", 0).expect("written");
        let place = PrivateDir::make(directory.path()).expect("a directory");
        let named = directory.path().join("1.data");
        file.name(&place, "1.data").expect("named");
        fs::remove_file(&named).expect("removed");
        for bytes in [b"two", b"six"] {
            file.write_at(bytes, 0).expect("written");
            file.name(&place, "1.data").expect("named again");
            assert_eq!(fs::read(&named).expect("read"), bytes);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn an_unnamed_file_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().to_path_buf());
        drop(spool.create().expect("a spool file"));
        let place = PrivateDir::make(directory.path()).expect("a directory");
        drop(named_and_removed(&place).expect("a spool file"));
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
    }
}
