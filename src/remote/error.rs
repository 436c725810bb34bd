//! Defines the errors of a remote file server.
//!
//! An error names the command, the reply or event, and by its kind what may be done about it.

use std::fmt;

/// Result of a request to a remote file server.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server refused, as far as its reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No such file or directory.
    NotFound,
    /// The name exists.
    Exists,
    /// Permission denied.
    Denied,
    /// The directory is not empty.
    NotEmpty,
    /// It is a directory.
    IsDirectory,
    /// It is not a directory.
    NotDirectory,
    /// No space left on the server.
    NoSpace,
    /// The user's quota is exceeded.
    Quota,
    /// The file is in use.
    Busy,
    /// The name, or the command with the path, is too long for the server.
    TooLong,
    /// The server does not support it.
    Unsupported,
    /// The server accepts no more connections.
    TooMany,
    /// Wrong user or password.
    Login,
    /// The reply shows no reason.
    Unsaid,
    /// A query failed, temporarily, and the reply does not say why.
    Failed,
}

/// Error by its origin, with the command or operation.
#[derive(Clone, Debug)]
pub enum Error {
    /// The server refused.
    Refused {
        /// The reason, as far as the reply says.
        why: Why,
        /// The command or operation.
        tried: String,
        /// The server's reply.
        said: String,
    },
    /// The server violated the protocol.
    Misbehaved {
        /// The command or operation.
        tried: String,
        /// What was received instead of a reply.
        saw: String,
    },
    /// Another client has changed the file meanwhile.
    Conflict {
        /// The operation.
        tried: String,
        /// What was done to the file.
        what: String,
    },
    /// The connection could not be opened, or was lost.
    Lost {
        /// The command or operation.
        tried: String,
        /// The error of the operating system.
        cause: String,
        /// There is no route to the server's host or network.
        unreachable: bool,
    },
    /// The deadline passed without progress.
    TimedOut {
        /// The command or operation.
        tried: String,
    },
    /// The connection is blocked, by a firewall or by our own rules: a retry is useless.
    Barred {
        /// The operation.
        tried: String,
        /// The cause, with the remedy.
        cause: String,
    },
    /// A local failure, such as of the disk with the spool.
    Local {
        /// The operation.
        tried: String,
        /// The error number.
        errno: i32,
    },
    /// The mount is being unmounted.
    Closed,
}

impl Error {
    /// The operation ended in a panic: a bug, which is logged where it was caught.
    pub fn panicked(tried: impl Into<String>) -> Self {
        Self::Local {
            tried: tried.into(),
            errno: libc::EIO,
        }
    }

    /// Creates [`Self::Refused`].
    pub fn refused(why: Why, tried: impl Into<String>, said: impl Into<String>) -> Self {
        Self::Refused {
            why,
            tried: tried.into(),
            said: said.into(),
        }
    }

    /// Creates [`Self::Misbehaved`].
    pub fn misbehaved(tried: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::Misbehaved {
            tried: tried.into(),
            saw: saw.into(),
        }
    }

    /// Creates [`Self::Conflict`].
    pub fn conflict(tried: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Conflict {
            tried: tried.into(),
            what: what.into(),
        }
    }

    /// Creates [`Self::Lost`].
    pub fn lost(tried: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::Lost {
            tried: tried.into(),
            cause: cause.to_string(),
            unreachable: false,
        }
    }

    /// Creates [`Self::Lost`] for a host or network to which there is no route.
    pub fn unreachable(tried: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::Lost {
            tried: tried.into(),
            cause: cause.to_string(),
            unreachable: true,
        }
    }

    /// Creates [`Self::TimedOut`].
    pub fn timed_out(tried: impl Into<String>) -> Self {
        Self::TimedOut {
            tried: tried.into(),
        }
    }

    /// Creates [`Self::Barred`].
    pub fn barred(tried: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::Barred {
            tried: tried.into(),
            cause: cause.into(),
        }
    }

    /// Creates [`Self::Local`].
    pub fn local(tried: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Local {
            tried: tried.into(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// Whether the server refused to store over a file that exists ("Overwrite permission denied", ProFTPD with
    /// `AllowOverwrite off`). The names that it repeats do not count. Where the permission for one file is missing, a rename
    /// over it would get around that.
    pub fn refuses_to_replace(&self) -> bool {
        let Self::Refused { why, tried, said } = self else {
            return false;
        };
        let (_, path) = tried.split_once(' ').unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let mut words = said.to_ascii_lowercase();
        for repeated in [path, name].map(str::to_ascii_lowercase) {
            if !repeated.is_empty() {
                words = words.replace(&repeated, "");
            }
        }
        let is_denied = words.contains("permission") || words.contains("denied");
        let is_rule = words.contains("overwrite permission denied");
        *why == Why::Exists || is_rule || words.contains("overwrit") && !is_denied
    }

    /// Whether it is a refusal that is about now, and proves nothing (RFC 959 section 4.2.1: codes from 400 to 499).
    pub fn is_for_now(&self) -> bool {
        matches!(self, Self::Refused { said, .. } if said.starts_with('4'))
    }

    /// Returns the reason of a refusal; `None` for other errors.
    pub fn why(&self) -> Option<Why> {
        match self {
            Self::Refused { why, .. } => Some(*why),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { tried, said, .. } => write!(f, "{tried}: the server refused: {said}"),
            Self::Misbehaved { tried, saw } => write!(f, "{tried}: the server misbehaved: {saw}"),
            Self::Conflict { tried, what } => write!(f, "{tried}: {what}"),
            Self::Lost { tried, cause, .. } => write!(f, "{tried}: connection lost: {cause}"),
            Self::TimedOut { tried } => write!(f, "{tried}: timed out"),
            Self::Barred { tried, cause } => write!(f, "{tried}: {cause}"),
            Self::Local { tried, errno } => {
                write!(f, "{tried}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Closed => f.write_str("the mount is ending"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_to_replace_is_told_by_words_that_are_no_names() {
        let refused =
            |tried: &str, said: &str| Error::refused(Why::Denied, tried, said).refuses_to_replace();
        assert!(refused("STOR /f", "550 f: Overwrite permission denied"));
        assert!(refused("STOR /f", "553 Overwriting is not allowed"));
        assert!(!refused("STOR /f", "550 f: Permission denied"));
        let denied = "550 Cannot overwrite: permission denied";
        assert!(!refused("STOR /f", denied));
        assert!(!refused(
            "STOR /d/overwrite",
            "550 overwrite: Permission denied"
        ));
        let path = "STOR /overwrite/f";
        assert!(!refused(path, "550 /overwrite/f: Permission denied"));
        let exists = Error::refused(Why::Exists, "STOR /f", "553 File exists");
        assert!(exists.refuses_to_replace());
    }
}
