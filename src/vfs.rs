//! The file system: inodes, attributes, listings, reading, writing.
//!
//! Knows the trait [`crate::remote::Remote`], and neither sockets nor FUSE. Its operations are
//! FUSE's, in two forms where it matters: `x_cached` answers from memory or not at all, and `x` may
//! ask the server.
//!
//! ```text
//! lookup, names, attributes, orphan, opening, reading, writing, flush   the operations
//! uploads, early -> checks, outcome, exclusive, atomic, hash            bringing files to the server
//! recover -> found; writeback, order -> begun, noting, keeping -> journal   closes that return early
//! figures, forget                                 questions from outside
//! fetch, ahead, copying -> listing, freshness, appending   what they share
//! core                                            state, settings, and the lock order
//! shown, inode, queue, streaming -> file -> readahead -> blocks, spool, ranges, links, error
//! walk, fetching -> sequence, under_way; inode -> news; makers; holders
//! ```

pub(crate) mod cache;
pub(crate) mod core;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod file;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod metadata;
pub(crate) mod ops;
pub(crate) mod prefetch;
pub(crate) mod readahead;
pub(crate) mod stats;
pub(crate) mod upload;
pub(crate) mod writeback;

pub use crate::vfs::cache::disk::DiskCache;
pub use crate::vfs::cache::memory::Bytes;
pub use crate::vfs::core::{Settings, Vfs};
pub use crate::vfs::error::{Error, Result};
pub use crate::vfs::events::{Listener, News};
pub use crate::vfs::file::append::Spot;
pub use crate::vfs::inode::ROOT;
pub use crate::vfs::inode::attr_view::{Attr, Names, Shown, Space};
pub use crate::vfs::inode::symlink_policy::Links;
pub use crate::vfs::journal::takeover::Outside;
pub use crate::vfs::ops::lookup::Listed;
pub use crate::vfs::ops::open::{Open, Wants};
pub use crate::vfs::ops::setattr::Changes;
pub use crate::vfs::stats::{Figures, Unsent};
pub use crate::vfs::writeback::queue::{Pending, WriteBack};
