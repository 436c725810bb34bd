//! Defines steps: small commands and queries that can be pipelined.

use crate::remote::attributes::{Attributes, Version};
use crate::remote::path::RemotePath;

/// A small, independent command or query; several can be pipelined.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// Query the attributes of any path. Fails with [`Why::Unsupported`](crate::remote::Why) without `Traits::stats`.
    Stat(&'a RemotePath),
    /// Query size and time of a path that is known to be a file.
    Version(&'a RemotePath),
    /// Delete a file or a link.
    Remove(&'a RemotePath),
    /// Delete an empty directory.
    RemoveDirectory(&'a RemotePath),
    /// Create a directory.
    MakeDirectory(&'a RemotePath),
    /// Rename a file or directory; an existing target is replaced, as with rename(2).
    Rename {
        /// The old path.
        from: &'a RemotePath,
        /// The new path.
        to: &'a RemotePath,
    },
    /// Create a symbolic link.
    MakeLink {
        /// The new name.
        link: &'a RemotePath,
        /// The target as passed to symlink(2).
        target: &'a [u8],
    },
    /// Set the permission bits (`0o7777` at most).
    SetMode(&'a RemotePath, u32),
    /// Set the time of the last modification, seconds since 1970 in UTC.
    SetModified(&'a RemotePath, i64),
}

/// Result of a [`Step`].
#[derive(Clone, Debug)]
pub enum Done {
    /// The change was made.
    Changed,
    /// Result of [`Step::Stat`].
    Attributes(Attributes),
    /// Result of [`Step::Version`].
    Version(Version),
}
