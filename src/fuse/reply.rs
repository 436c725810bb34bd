//! Makes replies to the kernel: attributes, data, errors.
//!
//! Each kind of reply is made in one place. One function turns an error into an errno and logs it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyXattr, Request, TimeOrNow,
};

use crate::remote::Kind;
use crate::vfs::{Attr, Bytes, Error, Open, Result, Space};

/// `st_blksize` in bytes, which cp(1) and stdio use as the size of a request.
const BLOCK_SIZE: u32 = 128 * 1024;
/// Mode bits shown to the kernel: permissions and sticky. Set-uid and set-gid would let the server choose
/// whose rights a program runs with, and a mount made by mount.fuse3(8) may lack `nosuid`.
const SHOWN_MODE: u32 = 0o1777;

/// Returns the errno for the kernel, and logs errors that an errno does not explain.
pub(crate) fn errno(operation: &str, error: &Error) -> Errno {
    if error.is_worth_a_line() {
        log::warn!("{operation}: {error}");
    }
    Errno::from_i32(error.to_errno())
}

pub(crate) fn done(operation: &str, reply: ReplyEmpty, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(crate) fn data(operation: &str, reply: ReplyData, result: Result<impl Into<Bytes>>) {
    match result {
        Ok(bytes) => bytes.into().with(|bytes| reply.data(bytes)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(crate) fn entry(operation: &str, reply: ReplyEntry, result: Result<Attr>) {
    match result {
        Ok(attr) => reply.entry(&attr.ttl, &file_attr(&attr), Generation(0)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(crate) fn attributes(operation: &str, reply: ReplyAttr, result: Result<Attr>) {
    match result {
        Ok(attr) => reply.attr(&attr.ttl, &file_attr(&attr)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(crate) fn filled(reply: ReplyStatfs, space: Space) {
    reply.statfs(
        space.blocks,
        space.free,
        space.free,
        space.files,
        space.files_free,
        Space::BLOCK,
        space.name_length,
        Space::BLOCK,
    );
}

/// Whether the request comes from the owner of the mount or from root.
pub(crate) fn is_owner_or_root(request: &Request) -> bool {
    let uid = request.uid();
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

/// Replies with a value, or with its length if the size is 0 (getxattr(2)).
pub(crate) fn attribute(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

pub(crate) fn open_flags(open: Open, flags: i32) -> FopenFlags {
    let mut fopen = FopenFlags::empty();
    if open.sizeless {
        fopen |= FopenFlags::FOPEN_DIRECT_IO;
    } else if open.keep_pages {
        fopen |= FopenFlags::FOPEN_KEEP_CACHE;
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        fopen |= FopenFlags::FOPEN_NOFLUSH;
    }
    fopen
}

pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        // Never a device node: a socket can't be opened, and FTP does not report which device it is.
        Kind::Special => FileType::Socket,
    }
}

pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    let time = match u64::try_from(attr.modified) {
        Ok(seconds) => UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(attr.modified.unsigned_abs())),
    };
    let time = time.unwrap_or(UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & SHOWN_MODE).unwrap_or(0),
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Seconds since 1970, UTC. FTP has no finer times.
pub(crate) fn seconds(time: TimeOrNow) -> i64 {
    let time = match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    };
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_uid_bits_and_devices_of_the_server_are_not_shown() {
        let shown = |kind, mode| {
            let attr = file_attr(&Attr {
                ino: 2,
                kind,
                size: 0,
                modified: 0,
                mode,
                links: 1,
                uid: 0,
                gid: 0,
                ttl: Duration::ZERO,
            });
            (attr.kind, attr.perm, attr.rdev)
        };
        let file = shown(Kind::File, 0o106_755);
        assert_eq!(file, (FileType::RegularFile, 0o755, 0));
        let directory = shown(Kind::Directory, 0o7777);
        assert_eq!(directory, (FileType::Directory, 0o1777, 0));
        let device = shown(Kind::Special, 0o4666);
        assert_eq!(device, (FileType::Socket, 0o666, 0));
    }
}
