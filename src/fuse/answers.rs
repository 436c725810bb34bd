//! Answers in FUSE's words: what the file system says, as the kernel wants to hear it.
//!
//! The one idea: each kind of reply is made in one place, and an error becomes an errno in one function, which
//! also writes the line in the log.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyData,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyXattr, Request, TimeOrNow,
};

use crate::inquiry::{STATUS, STATUS_JSON};
use crate::remote::{Kind, View};
use crate::vfs::{Attr, Bytes, Error, Listed, Open, Result, Space, Vfs};

/// `.` and `..` come before the file system's own entries.
pub(super) const DOTS: u64 = 2;
/// What cp(1) and stdio take for the best size of a request, in bytes.
const BLOCK_SIZE: u32 = 128 * 1024;
/// The error number for the kernel; what the user can't find out otherwise is logged.
pub(super) fn errno(operation: &str, error: &Error) -> Errno {
    if error.is_worth_a_line() {
        log::warn!("{operation}: {error}");
    }
    Errno::from_i32(error.to_errno())
}

pub(super) fn done(operation: &str, reply: ReplyEmpty, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(super) fn data(operation: &str, reply: ReplyData, result: Result<impl Into<Bytes>>) {
    match result {
        Ok(bytes) => bytes.into().with(|bytes| reply.data(bytes)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(super) fn entry(operation: &str, reply: ReplyEntry, result: Result<Attr>) {
    match result {
        Ok(attr) => reply.entry(&attr.ttl, &file_attr(&attr), Generation(0)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(super) fn attributes(operation: &str, reply: ReplyAttr, result: Result<Attr>) {
    match result {
        Ok(attr) => reply.attr(&attr.ttl, &file_attr(&attr)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

pub(super) fn filled(reply: ReplyStatfs, space: Space) {
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

/// The extended attributes: windows on the server.
pub(super) fn view(name: &OsStr) -> Option<View> {
    match name.as_bytes() {
        b"user.ftp.facts" => Some(View::Facts),
        b"user.ftp.raw" => Some(View::Raw),
        b"user.ftp.hash" => Some(View::Hash),
        _ => None,
    }
}

/// Whether the attribute asks how the mount is, and if so whether for JSON.
pub(super) fn inquiry(name: &OsStr) -> Option<bool> {
    [(STATUS, false), (STATUS_JSON, true)]
        .into_iter()
        .find_map(|(asked, json)| (name == asked).then_some(json))
}

/// Whether who asks has made the mount, or is root.
pub(super) fn is_ours(request: &Request) -> bool {
    let uid = request.uid();
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

pub(super) fn attribute(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

pub(super) fn listing(reply: ReplyDirectoryPlus, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno("readdir", &error)),
    }
}

/// The whole reply from memory, or nothing added to it.
pub(super) fn plus_cached(
    vfs: &Vfs,
    handle: u64,
    offset: u64,
    itself: &Attr,
    reply: &mut ReplyDirectoryPlus,
) -> Option<Result<()>> {
    let mut dots = None;
    vfs.readdir_cached(handle, offset.saturating_sub(DOTS), &mut |listed| {
        *dots.get_or_insert_with(|| plus_dots(itself, offset, reply)) && plus(reply, &listed)
    })
    .inspect(|_| {
        // An empty directory has no entry that would have brought them.
        if dots.is_none() {
            plus_dots(itself, offset, reply);
        }
    })
}

/// Adds `.` and `..` as far as they belong behind `offset`; false when there is no more room.
pub(super) fn plus_dots(itself: &Attr, offset: u64, reply: &mut ReplyDirectoryPlus) -> bool {
    (offset..DOTS).all(|at| {
        let name = if at == 0 { "." } else { ".." };
        let ino = INodeNo(itself.ino);
        !reply.add(
            ino,
            at + 1,
            name,
            &itself.ttl,
            &file_attr(itself),
            Generation(0),
        )
    })
}

pub(super) fn plus(reply: &mut ReplyDirectoryPlus, listed: &Listed) -> bool {
    let attr = &listed.attr;
    let name = OsStr::from_bytes(&listed.name);
    let next = listed.next + DOTS;
    !reply.add(
        INodeNo(attr.ino),
        next,
        name,
        &attr.ttl,
        &file_attr(attr),
        Generation(0),
    )
}

pub(super) fn open_flags(open: Open, flags: i32) -> FopenFlags {
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

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        // Which device it is can't be known; a socket can't be opened by mistake.
        Kind::Special => FileType::Socket,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
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
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or(0),
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Seconds since 1970, UTC. FTP has no finer times.
pub(super) fn seconds(time: TimeOrNow) -> i64 {
    let time = match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    };
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}
