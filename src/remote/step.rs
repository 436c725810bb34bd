//! Steps: small changes and questions, many of which can be taken at once.

use crate::remote::attributes::{Attributes, Version};
use crate::remote::path::RemotePath;

/// A small change or question that stands on its own; several can be asked for at once.
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
    /// Make a directory.
    MakeDirectory(&'a RemotePath),
    /// Give a file or directory another name; what bears that name is replaced, as by rename(2).
    Rename {
        /// The old path.
        from: &'a RemotePath,
        /// The new path.
        to: &'a RemotePath,
    },
    /// Make a symbolic link.
    MakeLink {
        /// The new name.
        link: &'a RemotePath,
        /// Where it points: bytes, as the caller of symlink(2) gave them.
        target: &'a [u8],
    },
    /// Set the permission bits (`0o7777` at most).
    SetMode(&'a RemotePath, u32),
    /// Set the time of the last modification, seconds since 1970 in UTC.
    SetModified(&'a RemotePath, i64),
}

/// What a [`Step`] brought.
#[derive(Clone, Debug)]
pub enum Done {
    /// It happened.
    Changed,
    /// The answer to [`Step::Stat`].
    Attributes(Attributes),
    /// The answer to [`Step::Version`].
    Version(Version),
}
