//! Errors of the file system, and the one function that turns them into an errno.

use std::fmt;

use crate::remote;
use crate::remote::Why;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed.
#[derive(Clone, Debug)]
pub enum Error {
    /// The server, or the way to it.
    Remote(remote::Error),
    /// A change of rights or times that the server refused or has no means for.
    NotPermitted(remote::Error),
    /// The disk under the spool.
    Spool(i32),
    /// No such name.
    NotFound,
    /// The name is taken.
    Exists,
    /// The directory holds something.
    NotEmpty,
    /// The server says that it would refuse.
    Denied,
    /// It is a directory.
    IsDirectory,
    /// It is not a directory.
    NotDirectory,
    /// It can't be opened: a device, a socket.
    NotAFile,
    /// A name with `/`, CR, LF or NUL, an argument without sense.
    Invalid,
    /// A name of more than 255 bytes.
    NameTooLong,
    /// The mount is read-only.
    ReadOnly,
    /// What FTP has no way to do: links, devices; what only root may do: change owners.
    Impossible,
    /// A variant of an operation that can't be done honestly.
    Unsupported,
    /// The server has no command to rename: `mv` copies then, as between file systems.
    NeverRenames,
    /// A symbolic link that leads out of the mount.
    LeadsOut,
    /// The file was replaced or removed on the server.
    Stale,
    /// Entries of a directory are missing in its listing.
    IncompleteListing,
    /// No such open file.
    BadHandle,
    /// The file is larger than can be.
    TooBig,
    /// No extended attribute of that name.
    NoData,
}

impl Error {
    /// The error number that the kernel is told.
    pub fn to_errno(&self) -> i32 {
        match self {
            Self::Remote(error) => remote_errno(error),
            Self::NotPermitted(error) => match remote_errno(error) {
                // chmod(1) of coreutils 9.6 and later takes EOPNOTSUPP for a success.
                libc::EACCES | libc::EIO | libc::EOPNOTSUPP => libc::EPERM,
                errno => errno,
            },
            Self::Spool(errno) => *errno,
            Self::NotFound => libc::ENOENT,
            Self::Exists => libc::EEXIST,
            Self::Denied => libc::EACCES,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::IsDirectory => libc::EISDIR,
            Self::NotDirectory => libc::ENOTDIR,
            Self::NotAFile => libc::ENXIO,
            Self::Invalid => libc::EINVAL,
            Self::NameTooLong => libc::ENAMETOOLONG,
            Self::ReadOnly => libc::EROFS,
            Self::Impossible | Self::LeadsOut => libc::EPERM,
            Self::Unsupported => libc::EOPNOTSUPP,
            Self::NeverRenames => libc::EXDEV,
            Self::Stale => libc::ESTALE,
            Self::IncompleteListing => libc::EIO,
            Self::BadHandle => libc::EBADF,
            Self::TooBig => libc::EFBIG,
            Self::NoData => libc::ENODATA,
        }
    }

    /// Whether the log should name it: the user can't find out otherwise what happened.
    pub fn is_worth_a_line(&self) -> bool {
        match self {
            // These say of what is there what the errno says.
            Self::Remote(error) => !matches!(
                error.why(),
                Some(
                    Why::NotFound
                        | Why::Exists
                        | Why::NotEmpty
                        | Why::IsDirectory
                        | Why::NotDirectory
                )
            ),
            Self::NotPermitted(_) | Self::Spool(_) | Self::Stale => true,
            _ => false,
        }
    }
}

fn remote_errno(error: &remote::Error) -> i32 {
    match error {
        // The server could not do it now, which says nothing of rights.
        remote::Error::Refused {
            why: Why::Unsaid, ..
        } if error.is_for_now() => libc::EIO,
        remote::Error::Refused { why, .. } => match why {
            Why::NotFound => libc::ENOENT,
            Why::Exists => libc::EEXIST,
            // 550 is "file not found, no access" (RFC 959 section 4.2.2), and a missing file has been
            // looked for by then.
            Why::Denied | Why::Login | Why::Unsaid => libc::EACCES,
            Why::NotEmpty => libc::ENOTEMPTY,
            Why::IsDirectory => libc::EISDIR,
            Why::NotDirectory => libc::ENOTDIR,
            Why::NoSpace => libc::ENOSPC,
            Why::Quota => libc::EDQUOT,
            Why::Busy => libc::EBUSY,
            Why::TooLong => libc::ENAMETOOLONG,
            Why::Unsupported => libc::EOPNOTSUPP,
            Why::TooMany => libc::EAGAIN,
            Why::Failed => libc::EIO,
        },
        remote::Error::Misbehaved { .. } | remote::Error::Conflict { .. } => libc::EIO,
        remote::Error::Lost {
            unreachable: true, ..
        } => libc::EHOSTUNREACH,
        remote::Error::Lost { .. } | remote::Error::Barred { .. } => libc::EIO,
        remote::Error::TimedOut { .. } => libc::ETIMEDOUT,
        remote::Error::Local { errno, .. } => *errno,
        remote::Error::Closed => libc::ENOTCONN,
    }
}

impl From<remote::Error> for Error {
    fn from(error: remote::Error) -> Self {
        Self::Remote(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error().unwrap_or(libc::EIO) {
            // That is no fault of the disk, and any other would say so at another size.
            libc::EFBIG => Self::TooBig,
            // A caller would take these for words of the server about its file.
            libc::EACCES | libc::EPERM | libc::ENOENT | libc::ENOTDIR | libc::EROFS => {
                Self::Spool(libc::EIO)
            }
            errno => Self::Spool(errno),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted(error @ remote::Error::Refused { .. }) => {
                write!(
                    f,
                    "{error} (-o attributes=keep keeps such changes in the mount)"
                )
            }
            Self::Remote(error) | Self::NotPermitted(error) => error.fmt(f),
            Self::Spool(errno) => {
                write!(
                    f,
                    "the spool: {}",
                    std::io::Error::from_raw_os_error(*errno)
                )
            }
            Self::LeadsOut => f.write_str("the link leads out of the mount"),
            Self::IncompleteListing => f.write_str("entries are missing in the server's listing"),
            Self::Stale => f.write_str("the file was replaced or removed on the server"),
            other => std::io::Error::from_raw_os_error(other.to_errno()).fmt(f),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks_and_quotas_reach_the_caller_as_such() {
        let refused = |why| Error::from(remote::Error::refused(why, "STOR /a", "552"));
        let for_now = remote::Error::refused(Why::Unsaid, "STOR /a", "451 Local error");
        assert_eq!(Error::from(for_now).to_errno(), libc::EIO);
        assert_eq!(refused(Why::NoSpace).to_errno(), libc::ENOSPC);
        assert_eq!(refused(Why::Quota).to_errno(), libc::EDQUOT);
        assert_eq!(refused(Why::Unsaid).to_errno(), libc::EACCES);
    }

    #[test]
    fn error_explained_by_its_errno_is_not_logged() {
        let refused = |why| Error::from(remote::Error::refused(why, "RMD /a", "550"));
        assert!(!refused(Why::NotEmpty).is_worth_a_line());
        assert!(refused(Why::Unsaid).is_worth_a_line());
        let of_disk = |errno| Error::from(std::io::Error::from_raw_os_error(errno));
        assert_eq!(of_disk(libc::EFBIG).to_errno(), libc::EFBIG);
        assert!(!of_disk(libc::EFBIG).is_worth_a_line());
        assert!(of_disk(libc::ENOSPC).is_worth_a_line());
    }

    #[test]
    fn a_refused_change_of_rights_is_a_lack_of_permission() {
        for why in [Why::Denied, Why::Unsupported] {
            let error = remote::Error::refused(why, "SITE CHMOD", "5xx");
            assert_eq!(Error::NotPermitted(error).to_errno(), libc::EPERM);
        }
    }
}
