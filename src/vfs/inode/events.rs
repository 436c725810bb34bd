//! Events for the kernel: what other clients changed on the server.
//!
//! The tree compares each answer of the server with what it knew. What differs, and was not changed here, goes to one
//! listener, which passes it on to the kernel later, from its own thread.

use std::fmt;

/// A change made by another client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The name is gone, or something else's.
    Gone {
        /// The directory.
        parent: u64,
        /// The name.
        name: Box<[u8]>,
        /// Its inode. The number is not reused until [`Vfs::release_gone`](crate::vfs::Vfs::release_gone) is called.
        ino: u64,
    },
    /// Size, time, rights or owner differ.
    Changed {
        /// The inode number.
        ino: u64,
        /// The bytes may differ too, or the target of the link.
        content: bool,
    },
}

/// A receiver of events.
pub trait Listener: fmt::Debug + Send + Sync {
    /// Takes news; false where they will not be passed on. Must not wait, nor ask the file system
    /// anything: it is called with locks held.
    fn hear(&self, news: News) -> bool;
}
