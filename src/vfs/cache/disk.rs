//! The block cache on disk (`cache_dir=`): what was read survives the mount.
//!
//! Each file has a sparse file, named by a digest of user, server and path, with its blocks at their offsets. Next to it is
//! a *map*, with the path, the version and a digest of each block that is there. Where the version is another one, both
//! are removed and made again; who has them open keeps the old ones. A block counts only if the map has its digest, which
//! depends on the version.
//! So nothing need be synced, a crash leaves blocks that are there or are not, and mounts that share a directory do not harm
//! each other: what one writes to the blocks of another version has no digest in its map.
//!
//! A content without a known size and a time to the second is not cached. What is stored, renamed or given a time here may
//! have the size and second of an earlier content: what was cached of that path is removed then (`forget`), and of a
//! directory everything below it (`forget_below`). The least recently used files go when there is too much.
//!
//! # Lock order
//!
//! `clearing` is a leaf: no other lock is taken under it. Nothing here is called while a lock of the file system is held.

use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use parking_lot::Mutex;

use crate::process::lock_order::assert_none_held;
use crate::process::private_dir::{PrivateDir, PrivatePath};
use crate::remote::{RemotePath, Version};
use crate::vfs::cache::{BLOCK, BLOCK_LENGTH};

/// Bytes of the digest of a block in a map.
const BLOCK_DIGEST: usize = 8;
/// First bytes of a map: the format, and the size of blocks.
const MAP_MAGIC: &[u8; 16] = b"ftpfs cache3 256";
/// Bytes of the digest of a source, after the magic.
const SOURCE_DIGEST: usize = 32;
/// Offset of the digests in a map: the space before them has room for the longest path, a NUL and the version.
const DIGESTS_OFFSET: u64 = 4096;
/// Bytes of a version in a map: size and time.
const VERSION_LENGTH: usize = 16;
/// Offset of the version in a map.
const VERSION_OFFSET: u64 = DIGESTS_OFFSET - VERSION_LENGTH as u64;
/// Divisor of the allowed size: the cache is cleaned up after this share of it was written, and this share is freed.
const CLEANUP_SHARE: u64 = 16;
/// Bytes of one unit of `st_blocks`.
const STAT_BLOCK: u64 = 512;
/// Suffix of the file of blocks.
const DATA_SUFFIX: &str = "blocks";
/// Suffix of the map.
const MAP_SUFFIX: &str = "map";

/// How much is kept on disk, and where.
#[derive(Clone, Debug)]
pub struct DiskCache {
    /// The directory; it is made, for its owner only, when it is needed.
    pub directory: PathBuf,
    /// Bytes that it may take.
    pub size: u64,
    /// User, server, and the mounted directory: what paths are relative to.
    pub source: Vec<u8>,
}

/// The cache.
#[derive(Debug)]
pub struct Disk {
    settings: DiskCache,
    directory: PrivatePath,
    /// Bytes written since it was last looked how much there is.
    written: AtomicU64,
    clearing: Mutex<()>,
}

/// One content of one file.
#[derive(Debug)]
pub struct Content {
    data: File,
    map: File,
    size: u64,
    /// What the digests of its blocks begin with: blocks of another version have other ones, also in the same map.
    seed: u64,
}

impl Disk {
    /// A cache.
    pub fn new(settings: DiskCache) -> Self {
        Self {
            directory: PrivatePath::new(&settings.directory),
            settings,
            written: AtomicU64::new(0),
            clearing: Mutex::new(()),
        }
    }

    /// The content that a file has in this version, if it can be kept.
    pub fn content(&self, path: &RemotePath, version: &Version) -> Option<Arc<Content>> {
        assert_none_held("a look-up in the disk cache");
        let (size, modified) = (version.size?, version.modified?);
        match self.open(path, size, modified) {
            Ok(content) => Some(Arc::new(content)),
            Err(error) => {
                log::warn!(
                    "disk cache: {}: a file is not cached: {error}",
                    self.settings.directory.display()
                );
                None
            }
        }
    }

    /// Removes what is cached of a file: it belongs to an earlier content. Open handles continue with files that are no
    /// longer found.
    pub fn forget(&self, path: &RemotePath) {
        assert_none_held("a removal from the disk cache");
        match self.directory.find() {
            Ok(directory) => forget_content(&directory, &self.name(path)),
            Err(error) => self.warn_stale(&error),
        }
    }

    /// The same for all below a directory, listed or not: every map is looked at.
    pub fn forget_below(&self, path: &RemotePath) {
        assert_none_held("a removal from the disk cache");
        let mut head = self.head(path);
        head.pop();
        head.push(b'/');
        let found = self.directory.find();
        let found = found.and_then(|directory| Ok((contents(&directory)?, directory)));
        let (contents, directory) = match found {
            Ok(found) => found,
            Err(error) => return self.warn_stale(&error),
        };
        for Usage { name, .. } in contents {
            let mut begins = vec![0; head.len()];
            let map = directory.open(format!("{name}.{MAP_SUFFIX}"), OFlag::O_RDONLY);
            let read = map.and_then(|map| map.read_exact_at(&mut begins, 0));
            // One that is too short for a path holds no digests.
            if read.is_ok() && begins == head {
                forget_content(&directory, &name);
            }
        }
    }

    /// Nothing could be removed; where there is no directory nothing need be.
    fn warn_stale(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            let place = self.settings.directory.display();
            log::warn!("disk cache: stale entries may stay in {place}: {error}");
        }
    }

    /// What a map of a file of this path begins with.
    fn head(&self, path: &RemotePath) -> Vec<u8> {
        let source = digest_of(&self.settings.source);
        [MAP_MAGIC, source.as_ref(), path.as_bytes(), &[0]].concat()
    }

    /// The name of a file's blocks and map, without their suffixes.
    fn name(&self, path: &RemotePath) -> String {
        let name = digest_of(&self.head(path));
        name.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn open(&self, path: &RemotePath, size: u64, modified: i64) -> io::Result<Content> {
        let head = self.head(path);
        if head.len() as u64 > VERSION_OFFSET {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        }
        let directory = self.directory.make()?;
        let name = self.name(path);
        let open = |end: &str| {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT;
            directory.open(format!("{name}.{end}"), flags)
        };
        let version = [size.to_be_bytes(), modified.to_be_bytes()].concat();
        let mut map = open(MAP_SUFFIX)?;
        let mut kept = [0; VERSION_LENGTH];
        if map.read_exact_at(&mut kept, VERSION_OFFSET).is_ok() && kept[..] != version {
            forget_content(&directory, &name);
            map = open(MAP_SUFFIX)?;
        }
        let data = open(DATA_SUFFIX)?;
        map.write_all_at(&head, 0)?;
        map.write_all_at(&version, VERSION_OFFSET)?;
        // What was used last goes last.
        map.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
        let seed = digest(&version, 0);
        Ok(Content {
            data,
            map,
            size,
            seed,
        })
    }

    /// Keeps a block, if it is whole.
    pub fn put(&self, content: &Content, index: u64, bytes: &[u8]) {
        assert_none_held("a write to the disk cache");
        match content.put(index, bytes) {
            Ok(()) => {
                let bytes = bytes.len() as u64;
                let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
                if written > self.settings.size / CLEANUP_SHARE {
                    self.evict_to(self.settings.size - self.settings.size / CLEANUP_SHARE);
                }
            }
            // Caching is optional: the disk may be full.
            Err(error) => {
                log::debug!("disk cache: a block is not cached: {error}");
            }
        }
    }

    /// Bytes that it may take.
    pub fn size(&self) -> u64 {
        self.settings.size
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.evict_to(0);
    }

    /// Removes the least recently used contents, while there are more than this many bytes.
    fn evict_to(&self, bytes: u64) {
        let Some(_one) = self.clearing.try_lock() else {
            return;
        };
        self.written.store(0, Ordering::Relaxed);
        let found = self.directory.find();
        let found = found.and_then(|directory| Ok((contents(&directory)?, directory)));
        let (mut contents, directory) = match found {
            Ok(found) => found,
            Err(error) => return log::debug!("disk cache: cleanup failed: {error}"),
        };
        contents.sort_unstable_by_key(|usage| usage.last);
        let mut total: u64 = contents.iter().map(|usage| usage.bytes).sum();
        for Usage {
            bytes: taken, name, ..
        } in contents
        {
            if total <= bytes && bytes > 0 {
                return;
            }
            // The data first: a map alone says nothing, and is cleared the next time.
            let _ = directory.remove(format!("{name}.{DATA_SUFFIX}"));
            let _ = directory.remove(format!("{name}.{MAP_SUFFIX}"));
            total -= taken;
        }
    }
}

/// How a content is used.
struct Usage {
    /// When it was last used: seconds since 1970, and nanoseconds.
    last: (i64, i64),
    /// Bytes on the disk.
    bytes: u64,
    /// The name of its files.
    name: String,
}

/// All contents in a directory.
fn contents(directory: &PrivateDir) -> io::Result<Vec<Usage>> {
    let mut found = Vec::new();
    for name in directory.names()? {
        let name = name.to_string_lossy();
        let Some((name, MAP_SUFFIX)) = name.rsplit_once('.') else {
            continue;
        };
        let Ok(map) = directory.stat(format!("{name}.{MAP_SUFFIX}")) else {
            continue;
        };
        let data = directory.stat(format!("{name}.{DATA_SUFFIX}"));
        let blocks = map.st_blocks + data.map_or(0, |data| data.st_blocks);
        let bytes = u64::try_from(blocks).unwrap_or(0) * STAT_BLOCK;
        found.push(Usage {
            last: (map.st_mtime, map.st_mtime_nsec),
            bytes,
            name: name.to_string(),
        });
    }
    Ok(found)
}

impl Content {
    /// A block, if it is there.
    pub fn get(&self, index: u64) -> Option<Vec<u8>> {
        assert_none_held("a look-up in the disk cache");
        let mut known = [0; BLOCK_DIGEST];
        self.map
            .read_exact_at(&mut known, digest_offset(index))
            .ok()?;
        if known == [0; BLOCK_DIGEST] {
            return None;
        }
        let mut bytes = vec![0; self.length(index)];
        self.data.read_exact_at(&mut bytes, index * BLOCK).ok()?;
        (u64::from_be_bytes(known) == self.digest(&bytes, index)).then_some(bytes)
    }

    /// Drops all blocks of this content: they may be wrong.
    pub fn forget(&self) {
        if let Err(error) = self.map.set_len(DIGESTS_OFFSET) {
            log::warn!("disk cache: wrong blocks could not be removed: {error}");
        }
    }

    fn put(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || bytes.len() != self.length(index) {
            return Ok(());
        }
        self.data.write_all_at(bytes, index * BLOCK)?;
        let digest = self.digest(bytes, index).to_be_bytes();
        self.map.write_all_at(&digest, digest_offset(index))
    }

    fn digest(&self, bytes: &[u8], index: u64) -> u64 {
        digest(bytes, self.seed.wrapping_add(index))
    }

    /// Bytes of a whole block: those of the last one are fewer.
    fn length(&self, index: u64) -> usize {
        let rest = self.size.saturating_sub(index * BLOCK);
        usize::try_from(rest).map_or(BLOCK_LENGTH, |rest| rest.min(BLOCK_LENGTH))
    }
}

fn digest_offset(index: u64) -> u64 {
    DIGESTS_OFFSET + index * BLOCK_DIGEST as u64
}

/// Removes a map and its data. The map first: data alone says nothing.
fn forget_content(directory: &PrivateDir, name: &str) {
    for end in [MAP_SUFFIX, DATA_SUFFIX] {
        match directory.remove(format!("{name}.{end}")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let place = directory.path().display();
                log::warn!("disk cache: stale entry {name}.{end} stays in {place}: {error}");
            }
            _ => {}
        }
    }
}

/// A collision-resistant digest (SHA-256).
fn digest_of(bytes: &[u8]) -> [u8; SOURCE_DIGEST] {
    let mut digest = [0; SOURCE_DIGEST];
    let made = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.copy_from_slice(made.as_ref());
    digest
}

/// A digest that is the same in every version of the program; never 0. It detects torn blocks; it does not protect from
/// changes by others, since only the owner may write to the directory.
fn digest(bytes: &[u8], seed: u64) -> u64 {
    // The multiplier of FNV-1a does too little to the upper bits of whole words: a shift mixes them.
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let state = (state ^ word).wrapping_mul(PRIME);
        state ^ (state >> 32)
    };
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut state = mix(seed.wrapping_add(1), bytes.len() as u64);
    for &word in words {
        state = mix(state, u64::from_le_bytes(word));
    }
    mix(state, u64::from_le_bytes(last)).max(1)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn link_in_the_cache_is_not_followed() {
        let scratch = tempfile::tempdir().expect("a directory");
        let victim = scratch.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        let disk = disk(scratch.path(), 1 << 30);
        let name = disk.name(&path("f"));
        let cache = PrivateDir::make(&disk.settings.directory).expect("made");
        let link = cache.path().join(format!("{name}.{MAP_SUFFIX}"));
        std::os::unix::fs::symlink(&victim, link).expect("a link");
        assert!(disk.content(&path("f"), &version(3, 1)).is_none());
        assert_eq!(fs::read(&victim).expect("read"), b"precious");
    }

    fn disk(directory: &Path, size: u64) -> Disk {
        Disk::new(DiskCache {
            directory: directory.join("cache"),
            size,
            source: b"user@somewhere:21/".to_vec(),
        })
    }

    fn version(size: u64, modified: i64) -> Version {
        Version {
            size: Some(size),
            modified: Some(modified),
        }
    }

    fn path(name: &str) -> RemotePath {
        RemotePath::root().join(name.as_bytes()).expect("a name")
    }

    #[test]
    fn block_is_found_by_later_mounts_for_its_version_only() {
        let scratch = tempfile::tempdir().expect("a directory");
        let size = BLOCK + 3;
        let content = |modified| {
            let disk = disk(scratch.path(), 1 << 30);
            disk.content(&path("f"), &version(size, modified))
                .expect("a content")
        };
        let first = disk(scratch.path(), 1 << 30);
        let kept = content(1);
        first.put(&kept, 1, b"end");
        first.put(&kept, 0, b"too short");
        assert_eq!(content(1).get(1), Some(b"end".to_vec()));
        assert_eq!(content(1).get(0), None);
        let other = content(2);
        assert_eq!(other.get(1), None);
        // One that is still open as the former version does no harm.
        first.put(&kept, 0, &vec![1; BLOCK_LENGTH]);
        assert_eq!((other.get(0), content(2).get(0)), (None, None));
        assert_eq!(content(1).get(1), None);
        let unknown = Version {
            size: Some(size),
            modified: None,
        };
        assert!(first.content(&path("f"), &unknown).is_none());
    }

    #[test]
    fn forgotten_content_is_not_found_again() {
        let scratch = tempfile::tempdir().expect("a directory");
        let disk = disk(scratch.path(), 1 << 30);
        let content = || disk.content(&path("f"), &version(3, 1)).expect("a content");
        let old = content();
        disk.put(&old, 0, b"old");
        disk.forget(&path("f"));
        // An open handle must not bring it back.
        disk.put(&old, 0, b"old");
        assert_eq!(content().get(0), None);
        disk.forget(&path("g"));
    }

    #[test]
    fn forget_below_removes_one_source_below_a_path() {
        let scratch = tempfile::tempdir().expect("a directory");
        let here = disk(scratch.path(), 1 << 30);
        let mut there = disk(scratch.path(), 1 << 30);
        there.settings.source = b"user@elsewhere:21/".to_vec();
        let below = |name: &str| path("d").join(name.as_bytes()).expect("a name");
        let all = |disk: &Disk| {
            [path("d"), below("f"), below("g"), path("dd"), path("e")].map(|path| {
                let content = disk.content(&path, &version(3, 1)).expect("a content");
                let kept = content.get(0).is_some();
                disk.put(&content, 0, b"old");
                kept
            })
        };
        for disk in [&here, &there] {
            assert_eq!(all(disk), [false; 5]);
        }
        here.forget_below(&path("d"));
        assert_eq!(all(&there), [true; 5]);
        assert_eq!(all(&here), [true, false, false, true, true]);
        here.forget(&path("e"));
        assert_eq!(all(&here), [true, true, true, true, false]);
        let nowhere = disk(&scratch.path().join("none"), 1 << 30);
        nowhere.forget_below(&path("d"));
    }

    #[test]
    fn torn_block_is_rejected() {
        let scratch = tempfile::tempdir().expect("a directory");
        let disk = disk(scratch.path(), 1 << 30);
        let content = disk.content(&path("f"), &version(BLOCK, 1));
        let content = content.expect("a content");
        disk.put(&content, 0, &vec![7; BLOCK_LENGTH]);
        assert_eq!(content.get(0), Some(vec![7; BLOCK_LENGTH]));
        content.data.write_all_at(&[0; 4096], 8192).expect("torn");
        assert_eq!(content.get(0), None);
        // A block at another's place is none either.
        assert_ne!(digest(&[7; 16], 0), digest(&[7; 16], 1));
        assert_ne!(digest(&[0; 8], 0), digest(&[0; 9], 0));
    }

    #[test]
    fn least_recently_used_content_is_evicted() {
        let scratch = tempfile::tempdir().expect("a directory");
        let size = 16 * BLOCK;
        let disk = disk(scratch.path(), size);
        let keep = |name: &str| {
            let content = disk.content(&path(name), &version(8 * BLOCK, 1));
            let content = content.expect("a content");
            (0..8).for_each(|index| disk.put(&content, index, &vec![1; BLOCK_LENGTH]));
        };
        for name in ["a", "b", "c", "d"] {
            keep(name);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        disk.evict_to(size - size / CLEANUP_SHARE);
        let cache = disk.directory.find().expect("there");
        let there = contents(&cache).expect("a listing");
        let total: u64 = there.iter().map(|usage| usage.bytes).sum();
        assert!(total <= size, "{total}");
        let last = disk.content(&path("d"), &version(8 * BLOCK, 1));
        assert!(last.expect("a content").get(3).is_some());
        disk.clear();
        let left = fs::read_dir(&disk.settings.directory).expect("a listing");
        assert_eq!(left.count(), 0);
    }
}
