//! The errors of a remote file server.
//!
//! An error contains the operation that was tried and what happened instead, as text. Its variant decides how the caller
//! reacts.

use std::fmt;

/// The result of an operation on a remote file server.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason of a refusal, as far as the reply shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no such file or directory.
    NotFound,
    /// The name exists.
    Exists,
    /// The user lacks the permission.
    Denied,
    /// The directory is not empty.
    NotEmpty,
    /// It is a directory.
    IsDirectory,
    /// It is not a directory.
    NotDirectory,
    /// No space is left on the server.
    NoSpace,
    /// The user's quota is used up.
    Quota,
    /// The file is in use.
    Busy,
    /// The name is too long for the server, or the path with the command.
    TooLong,
    /// The server does not support the operation.
    Unsupported,
    /// The server allows no more connections.
    TooMany,
    /// User or password are wrong.
    Login,
    /// The reply shows no reason.
    Unsaid,
    /// A question failed transiently, without a reason.
    Failed,
}

/// An error, classified by its origin.
#[derive(Clone, Debug)]
pub enum Error {
    /// The server refused.
    Refused {
        /// The reason, as far as the reply shows it.
        why: Why,
        /// The operation.
        tried: String,
        /// The server's reply.
        said: String,
    },
    /// The server violated the protocol.
    Misbehaved {
        /// The operation.
        tried: String,
        /// What the server sent instead.
        saw: String,
    },
    /// The connection failed or broke.
    Lost {
        /// The operation.
        tried: String,
        /// The cause, as the operating system reports it.
        cause: String,
    },
    /// The deadline passed without progress.
    TimedOut {
        /// The operation.
        tried: String,
    },
    /// A local rule or a firewall forbids it: a retry would fail too.
    Barred {
        /// The operation.
        tried: String,
        /// The cause, and the remedy.
        cause: String,
    },
    /// A local failure, such as of the disk of the spool.
    Local {
        /// The operation.
        tried: String,
        /// The operating system's error number.
        errno: i32,
    },
    /// The mount is ending.
    Closed,
}

impl Error {
    /// A refusal.
    pub fn refused(why: Why, tried: impl Into<String>, said: impl Into<String>) -> Self {
        Self::Refused {
            why,
            tried: tried.into(),
            said: said.into(),
        }
    }

    /// A violation of the protocol.
    pub fn misbehaved(tried: impl Into<String>, saw: impl Into<String>) -> Self {
        Self::Misbehaved {
            tried: tried.into(),
            saw: saw.into(),
        }
    }

    /// A broken connection.
    pub fn lost(tried: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::Lost {
            tried: tried.into(),
            cause: cause.to_string(),
        }
    }

    /// A deadline that has passed.
    pub fn timed_out(tried: impl Into<String>) -> Self {
        Self::TimedOut {
            tried: tried.into(),
        }
    }

    /// An operation that a local rule forbids.
    pub fn barred(tried: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::Barred {
            tried: tried.into(),
            cause: cause.into(),
        }
    }

    /// A failure of this machine.
    pub fn local(tried: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Local {
            tried: tried.into(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// The reason of a refusal; `None` for every other error.
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
            Self::Lost { tried, cause } => write!(f, "{tried}: connection lost: {cause}"),
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
