//! Implements readdir and readdirplus.
//!
//! A reply has room for a number of entries; the kernel asks again with the offset of the last one.
//! `.` and `..` come first.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use crate::fuse::filesystem::Adapter;
use crate::fuse::reply::{errno, file_attr, file_type};
use crate::fuse::worker_pool::Class;
use crate::vfs::{Attr, Listed, Result, Vfs};

/// Number of entries before the file system's own: `.` and `..`.
const DOTS: u64 = 2;

impl Adapter {
    /// Lists names without attributes, from `offset` on.
    pub(crate) fn list(&self, ino: u64, handle: u64, offset: u64, mut reply: ReplyDirectory) {
        self.later(Class::Metadata, &[ino], move |vfs, deadline| {
            let mut taken = Vec::new();
            let dots = (offset..DOTS).all(|at| {
                let name = if at == 0 { "." } else { ".." };
                !reply.add(INodeNo(ino), at + 1, FileType::Directory, name)
            });
            let mut each = |listed: Listed| {
                let attr = &listed.attr;
                let name = OsStr::from_bytes(&listed.name);
                let full = reply.add(
                    INodeNo(attr.ino),
                    listed.next + DOTS,
                    file_type(attr.kind),
                    name,
                );
                taken.extend((!full).then_some(attr.ino));
                !full
            };
            let result = if dots {
                vfs.readdir(handle, offset.saturating_sub(DOTS), deadline, &mut each)
            } else {
                Ok(())
            };
            // Plain readdir does not count as a lookup.
            taken.into_iter().for_each(|ino| vfs.forget(ino, 1));
            match result {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno("readdir", &error)),
            }
        });
    }

    /// Lists names with attributes, from `offset` on.
    pub(crate) fn list_plus(
        &self,
        ino: u64,
        handle: u64,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let itself = self.vfs.getattr_cached(ino).and_then(Result::ok);
        if let Some(itself) = &itself
            && let Some(listed) = plus_cached(&self.vfs, handle, offset, itself, &mut reply)
        {
            self.vfs.tallies.names.note(true);
            return listing(reply, listed);
        }
        self.vfs.tallies.names.note(false);
        self.later(Class::Metadata, &[ino], move |vfs, deadline| {
            let listed = vfs.getattr(ino, deadline).and_then(|itself| {
                if !plus_dots(&itself, offset, &mut reply) {
                    return Ok(());
                }
                vfs.readdir(
                    handle,
                    offset.saturating_sub(DOTS),
                    deadline,
                    &mut |listed| plus(&mut reply, &listed),
                )
            });
            listing(reply, listed);
        });
    }
}

fn listing(reply: ReplyDirectoryPlus, result: Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno("readdir", &error)),
    }
}

/// Fills the whole reply from memory, or adds nothing.
fn plus_cached(
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
        // In an empty directory no entry has added them.
        if dots.is_none() {
            plus_dots(itself, offset, reply);
        }
    })
}

/// Adds `.` and `..` if they come after `offset`; false if the reply is full.
fn plus_dots(itself: &Attr, offset: u64, reply: &mut ReplyDirectoryPlus) -> bool {
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

fn plus(reply: &mut ReplyDirectoryPlus, listed: &Listed) -> bool {
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
