//! Makes replies to the kernel: attributes, data, errors.
//!
//! Each kind of reply is made in one place. One function turns an error into an errno and logs it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyXattr, Request, TimeOrNow,
};

use crate::remote::Kind;
use crate::vfs::{Attr, Bytes, Caller, Creator, Error, NewTime, Open, Result, Space, Timestamp};

/// `st_blksize` in bytes, which cp(1) and stdio use as the size of a request.
const BLOCK_SIZE: u32 = 128 * 1024;
/// Permission bits.
const MODE_BITS: u32 = 0o7777;

/// Returns the errno for the kernel, and logs errors that an errno does not explain.
pub(crate) fn errno(operation: &str, error: &Error) -> Errno {
    if error.is_worth_a_line() {
        log::warn!("{operation}: {error}");
    }
    Errno::from_i32(error.to_errno())
}

/// Replies with success or an error alone.
pub(crate) fn done(operation: &str, reply: ReplyEmpty, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

/// Replies with the bytes of a file or the target of a link.
pub(crate) fn data(operation: &str, reply: ReplyData, result: Result<impl Into<Bytes>>) {
    match result {
        Ok(bytes) => bytes.into().with(|bytes| reply.data(bytes)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

/// Replies with the attributes of a name; the kernel holds a lookup of it from then on.
pub(crate) fn entry(operation: &str, reply: ReplyEntry, result: Result<Attr>) {
    match result {
        Ok(attr) => reply.entry(&attr.ttl, &file_attr(&attr), Generation(0)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

/// Replies with attributes.
pub(crate) fn attributes(operation: &str, reply: ReplyAttr, result: Result<Attr>) {
    match result {
        Ok(attr) => reply.attr(&attr.ttl, &file_attr(&attr)),
        Err(error) => reply.error(errno(operation, &error)),
    }
}

/// Replies to statfs.
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

/// Returns who calls.
pub(crate) fn caller(request: &Request) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
    }
}

/// Returns who makes something with these permission bits.
pub(crate) fn creator(request: &Request, mode: u32) -> Creator {
    Creator {
        mode,
        caller: Some(caller(request)),
    }
}

/// Whether the calling process is in a group; by its own one alone where it has ended.
pub(crate) fn is_in_group(caller: Caller, process: u32, group: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    let mut groups = groups.unwrap_or_default().split_ascii_whitespace();
    group == caller.gid || groups.any(|member| member.parse() == Ok(group))
}

/// Replies with a value, or with its length if the size is 0 (getxattr(2)).
pub(crate) fn attribute(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

/// The flags of the reply to open: whether the kernel keeps its pages of the file, and whether it sends a FLUSH.
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

/// The type of a file for the kernel.
pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        // Never a device node: a socket can't be opened, and FTP does not report which device it is.
        Kind::Special => FileType::Socket,
    }
}

/// The attributes of a file for the kernel.
pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: system_time(attr.accessed),
        mtime: system_time(attr.modified),
        ctime: system_time(attr.changed),
        crtime: system_time(attr.modified),
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & MODE_BITS).unwrap_or(0),
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// The moment as the kernel has it; those that it can't have are 1970.
fn system_time(at: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(at.seconds.unsigned_abs());
    let seconds = match at.seconds < 0 {
        false => UNIX_EPOCH.checked_add(whole),
        true => UNIX_EPOCH.checked_sub(whole),
    };
    seconds
        .and_then(|seconds| seconds.checked_add(Duration::from_nanos(at.nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

/// The moment that the kernel has sent. fuser 0.18 subtracts the nanoseconds of times before 1970, which count upwards.
fn sent_time(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(_) => Timestamp::from(time),
        Err(before) => Timestamp {
            seconds: -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
            nanos: before.duration().subsec_nanos(),
        },
    }
}

/// The time that setattr is to set.
pub(crate) fn new_time(time: TimeOrNow) -> NewTime {
    match time {
        TimeOrNow::SpecificTime(time) => NewTime::At(sent_time(time)),
        TimeOrNow::Now => NewTime::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_the_server_are_shown_as_sockets() {
        assert_eq!(file_type(Kind::Special), FileType::Socket);
    }

    #[test]
    fn moments_stay_what_they_are() {
        for (seconds, nanos) in [(0, 0), (7, 5), (-1, 0), (-2, 750_000_000)] {
            let at = Timestamp { seconds, nanos };
            assert_eq!(Timestamp::from(system_time(at)), at);
        }
    }
}
