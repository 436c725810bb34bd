//! Extended attributes: windows on the server, and on the mount itself.
//!
//! The one idea: what no system call asks for is asked for by a name. `user.ftp.*` tell what the server says of a file,
//! `user.ftpfs.*` how the mount is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{Errno, ReplyIoctl, ReplyXattr, Request};

use crate::fuse::filesystem::Adapter;
use crate::fuse::reply::{attribute, errno, is_ours};
use crate::fuse::worker_pool::Class;
use crate::mount::query::{STATUS, STATUS_JSON};
use crate::remote::View;
use crate::thread::spawn_thread;

/// The extended attribute that tells how much waits to be stored: files and bytes, with a blank between.
const PENDING: &str = "user.ftpfs.pending";
/// Whoever unmounts asks by this what was refused, see `unmount.rs`.
const REFUSED: &str = "user.ftpfs.refused";

impl Adapter {
    /// The value of an attribute.
    pub(crate) fn tell(&self, req: &Request, ino: u64, name: &OsStr, size: u32, reply: ReplyXattr) {
        if name == PENDING {
            let pending = self.vfs.pending();
            let value = format!("{} {}", pending.files, pending.bytes);
            return attribute(reply, size, value.as_bytes());
        }
        if name == REFUSED {
            let (files, place) = self.vfs.refusals();
            let mut value = format!("{files} ").into_bytes();
            value.extend_from_slice(place.as_os_str().as_bytes());
            return attribute(reply, size, &value);
        }
        if let Some(json) = inquiry(name) {
            return match is_ours(req) {
                true => attribute(reply, size, self.desk.status(json).as_bytes()),
                false => reply.error(Errno::EACCES),
            };
        }
        let Some(view) = view(name) else {
            // "Not supported" of a whole kind has ls(1) ask for it once, and not for every file.
            let none = match name.as_bytes().starts_with(b"user.") {
                true => Errno::ENODATA,
                false => Errno::EOPNOTSUPP,
            };
            return reply.error(none);
        };
        self.later(Class::Metadata, &[], move |vfs, deadline| {
            match vfs.describe(ino, view, deadline) {
                Ok(Some(value)) => attribute(reply, size, &value),
                Ok(None) => reply.error(Errno::ENODATA),
                Err(error) => reply.error(errno("getxattr", &error)),
            }
        });
    }

    /// Drops the caches, on a thread of its own: it is not a request's to tell the kernel something.
    pub(crate) fn drop_cache(&self, reply: ReplyIoctl) {
        if self.dropping.swap(true, Ordering::Acquire) {
            return reply.error(Errno::EBUSY);
        }
        let (desk, dropping) = (Arc::clone(&self.desk), Arc::clone(&self.dropping));
        let drops = move || {
            desk.drop_cache();
            dropping.store(false, Ordering::Release);
            reply.ioctl(0, &[]);
        };
        // The reply that is dropped becomes an error.
        if spawn_thread("drop-cache", drops).is_err() {
            self.dropping.store(false, Ordering::Release);
        }
    }
}

/// The extended attributes: windows on the server.
fn view(name: &OsStr) -> Option<View> {
    match name.as_bytes() {
        b"user.ftp.facts" => Some(View::Facts),
        b"user.ftp.raw" => Some(View::Raw),
        b"user.ftp.hash" => Some(View::Hash),
        _ => None,
    }
}

/// Whether the attribute asks how the mount is, and if so whether for JSON.
fn inquiry(name: &OsStr) -> Option<bool> {
    [(STATUS, false), (STATUS_JSON, true)]
        .into_iter()
        .find_map(|(asked, json)| (name == asked).then_some(json))
}
