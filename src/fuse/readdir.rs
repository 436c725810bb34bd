//! Implements readdir and readdirplus.
//!
//! A reply has room for a number of entries; the kernel asks again with the offset of the last one.
//! `.` and `..` come first.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use crate::fuse::filesystem::Adapter;
use crate::fuse::reply::{errno, file_attr, file_type};
use crate::fuse::worker_pool::Class;
use crate::vfs::{Attr, Listed, Result, Start, Vfs};

/// Number of entries before the file system's own: `.` and `..`.
const DOTS: u64 = 2;

/// A reply with or without attributes. Only an entry with attributes counts as a lookup.
enum Reply {
    Names(ReplyDirectory),
    Plus(ReplyDirectoryPlus),
}

impl Reply {
    /// Adds an entry; false if it has no room for it.
    fn add(&mut self, attr: &Attr, next: u64, name: &OsStr) -> bool {
        let ino = INodeNo(attr.ino);
        let is_full = match self {
            Self::Names(reply) => reply.add(ino, next, file_type(attr.kind), name),
            Self::Plus(reply) => {
                let (ttl, none) = (&attr.ttl, Generation(0));
                reply.add(ino, next, name, ttl, &file_attr(attr), none)
            }
        };
        !is_full
    }

    /// Adds `.` and `..` if they come after `offset`; false if there is no room for them.
    fn add_dots(&mut self, itself: &Attr, offset: u64) -> bool {
        (offset..DOTS).all(|at| {
            let name = if at == 0 { "." } else { ".." };
            self.add(itself, at + 1, OsStr::new(name))
        })
    }

    fn add_listed(&mut self, listed: &Listed) -> bool {
        let name = OsStr::from_bytes(&listed.name);
        self.add(&listed.attr, listed.next + DOTS, name)
    }

    fn finish(self, result: Result<()>) {
        match (result, self) {
            (Ok(()), Self::Names(reply)) => reply.ok(),
            (Ok(()), Self::Plus(reply)) => reply.ok(),
            (Err(error), Self::Names(reply)) => reply.error(errno("readdir", &error)),
            (Err(error), Self::Plus(reply)) => reply.error(errno("readdir", &error)),
        }
    }
}

impl Adapter {
    /// Lists an open directory without attributes, from `offset` on.
    pub(crate) fn list_names(&self, ino: u64, handle: u64, offset: u64, reply: ReplyDirectory) {
        self.list(ino, handle, offset, Reply::Names(reply));
    }

    /// Lists an open directory with attributes, from `offset` on.
    pub(crate) fn list_plus(&self, ino: u64, handle: u64, offset: u64, reply: ReplyDirectoryPlus) {
        self.list(ino, handle, offset, Reply::Plus(reply));
    }

    fn list(&self, ino: u64, handle: u64, offset: u64, mut reply: Reply) {
        let from = Start {
            handle,
            offset: offset.saturating_sub(DOTS),
            counts: matches!(reply, Reply::Plus(_)),
        };
        let itself = self.vfs.getattr_cached(ino).and_then(Result::ok);
        if let Some(itself) = &itself
            && let Some(listed) = list_cached(&self.vfs, &from, offset, itself, &mut reply)
        {
            self.vfs.tallies.names.note(true);
            return reply.finish(listed);
        }
        self.vfs.tallies.names.note(false);
        self.later(Class::Metadata, &[ino], move |vfs, deadline| {
            let listed = vfs.getattr(ino, deadline).and_then(|itself| {
                if !reply.add_dots(&itself, offset) {
                    return Ok(());
                }
                vfs.readdir(&from, deadline, &mut |listed| reply.add_listed(&listed))
            });
            reply.finish(listed);
        });
    }
}

/// Fills the whole reply from memory, or adds nothing.
fn list_cached(
    vfs: &Vfs,
    from: &Start,
    offset: u64,
    itself: &Attr,
    reply: &mut Reply,
) -> Option<Result<()>> {
    let mut dots = None;
    vfs.readdir_cached(from, &mut |listed| {
        *dots.get_or_insert_with(|| reply.add_dots(itself, offset)) && reply.add_listed(&listed)
    })
    .inspect(|_| {
        // In an empty directory no entry has added them.
        if dots.is_none() {
            reply.add_dots(itself, offset);
        }
    })
}
