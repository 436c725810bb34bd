//! Steps: small operations on names, many of which can be performed in one flight.

use crate::remote::attributes::{Attributes, Version};
use crate::remote::path::RemotePath;

/// A small independent operation; several can be performed at once.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The attributes of any path. Refused with [`Why::Unsupported`] where [`Traits::stats`] is not.
    Stat(&'a RemotePath),
    /// Size and time of a path that is known to be a file.
    Version(&'a RemotePath),
    /// Delete a file or a link.
    Remove(&'a RemotePath),
    /// Delete an empty directory.
    RemoveDirectory(&'a RemotePath),
    /// Create a directory.
    MakeDirectory(&'a RemotePath),
    /// Rename a file or directory; an existing target is replaced, as by rename(2).
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
        /// The target: the bytes that were given to symlink(2).
        target: &'a [u8],
    },
    /// Set the permission bits (`0o7777` at most).
    SetMode(&'a RemotePath, u32),
    /// Set the time of the last modification, seconds since 1970 in UTC.
    SetModified(&'a RemotePath, i64),
}

/// The result of a [`Step`].
#[derive(Clone, Debug)]
pub enum Done {
    /// The change was made.
    Changed,
    /// The answer to [`Step::Stat`].
    Attributes(Attributes),
    /// The answer to [`Step::Version`].
    Version(Version),
}
