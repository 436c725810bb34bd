//! Implements the extended attributes.
//!
//! `user.ftp.*` are the server's own words about a file, `system.ftpfs.*` the state of the mount. Other `user.*` are kept
//! by the mount (`vfs/attributes`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{Errno, ReplyIoctl, ReplyXattr, Request};

use crate::fuse::filesystem::{Adapter, QueryHandler};
use crate::fuse::reply::{attribute, errno, is_owner_or_root};
use crate::fuse::worker_pool::Class;
use crate::mount::query::{MAX_ANSWER_SIZE, PENDING, REFUSED, STATUS, STATUS_JSON};
use crate::process::thread::spawn_thread;
use crate::remote::View;

impl Adapter {
    /// Replies with the value of an attribute.
    pub(crate) fn reply_xattr(
        &self,
        req: &Request,
        ino: u64,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        if name == PENDING {
            let pending = self.vfs.pending();
            let value = format!("{} {} {}", pending.files, pending.bytes, pending.moved);
            return attribute(reply, size, value.as_bytes());
        }
        if name == REFUSED {
            let refusals = self.vfs.refusals();
            let mut value = format!("{} {} ", refusals.files, refusals.kept).into_bytes();
            value.extend_from_slice(refusals.directory.as_os_str().as_bytes());
            for file in refusals.named.iter().filter(|_| is_owner_or_root(req)) {
                let file = format!("\0{file}");
                if value.len() + file.len() <= MAX_ANSWER_SIZE {
                    value.extend_from_slice(file.as_bytes());
                }
            }
            return attribute(reply, size, &value);
        }
        if let Some(json) = status_format(name) {
            return match is_owner_or_root(req) {
                true => attribute(reply, size, self.queries.status(json).as_bytes()),
                false => reply.error(Errno::EACCES),
            };
        }
        let Some(view) = view(name) else {
            // After EOPNOTSUPP ls(1) asks for this kind of attribute only once, not for each file.
            if !name.as_bytes().starts_with(b"user.") {
                return reply.error(Errno::EOPNOTSUPP);
            }
            return match self.vfs.extended(ino, name.as_bytes()) {
                Ok(Some(value)) => attribute(reply, size, &value),
                Ok(None) => reply.error(Errno::ENODATA),
                Err(error) => reply.error(errno("getxattr", &error)),
            };
        };
        self.later(Class::Metadata, &[], move |vfs, deadline| {
            match vfs.describe(ino, view, deadline) {
                Ok(Some(value)) => attribute(reply, size, &value),
                Ok(None) => reply.error(Errno::ENODATA),
                Err(error) => reply.error(errno("getxattr", &error)),
            }
        });
    }

    /// Changes the mount, on a new thread: a thread that handles a request must not notify the kernel.
    pub(crate) fn change(
        &self,
        name: &str,
        reply: ReplyIoctl,
        change: impl FnOnce(&dyn QueryHandler) -> bool + Send + 'static,
    ) {
        if self.is_changing.swap(true, Ordering::Acquire) {
            return reply.error(Errno::EBUSY);
        }
        let (queries, is_changing) = (Arc::clone(&self.queries), Arc::clone(&self.is_changing));
        let changes = move || {
            let changed = change(queries.as_ref());
            is_changing.store(false, Ordering::Release);
            match changed {
                true => reply.ioctl(0, &[]),
                false => reply.error(Errno::EROFS),
            }
        };
        // The dropped reply becomes an error.
        if spawn_thread(name, changes).is_err() {
            self.is_changing.store(false, Ordering::Release);
        }
    }
}

/// Returns the view that an attribute of the server asks for.
fn view(name: &OsStr) -> Option<View> {
    match name.as_bytes() {
        b"user.ftp.facts" => Some(View::Facts),
        b"user.ftp.raw" => Some(View::Raw),
        b"user.ftp.hash" => Some(View::Hash),
        _ => None,
    }
}

/// Returns whether the status is asked for in JSON; `None` if the attribute is another.
fn status_format(name: &OsStr) -> Option<bool> {
    [(STATUS, false), (STATUS_JSON, true)]
        .into_iter()
        .find_map(|(asked, json)| (name == asked).then_some(json))
}
