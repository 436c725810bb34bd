//! The operations of [`Vfs`](crate::vfs::Vfs), one file for each group: those of FUSE, and those of the commands.
//!
//! * `lookup`: lookup, getattr, forget
//! * `access`: access, and extended attributes: those kept here, and the server's own words
//! * `setattr`: setattr: mode, owner and times; passes a size on to `write`
//! * `open`: open, create
//! * `read`: read
//! * `write`: write, truncate, fallocate
//! * `flush`: flush, fsync, release
//! * `mkdir`: mkdir, rmdir
//! * `readdir`: opendir, readdirplus, releasedir
//! * `rename`: rename
//! * `symlink`: symlink, readlink
//! * `unlink`: unlink
//! * `statfs`: statfs
//! * `status`: no FUSE operation: the figures of `ftpfs status`, the start of write-back, the end of the mount
//! * `invalidate`: no FUSE operation: drops the caches, for `ftpfs drop-cache` and for names that change

pub(crate) mod access;
pub(crate) mod flush;
pub(crate) mod invalidate;
pub(crate) mod lookup;
pub(crate) mod mkdir;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod readdir;
pub(crate) mod rename;
pub(crate) mod setattr;
pub(crate) mod statfs;
pub(crate) mod status;
pub(crate) mod symlink;
pub(crate) mod unlink;
pub(crate) mod write;
