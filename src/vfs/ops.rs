//! The FUSE operations, one file for each group.

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
