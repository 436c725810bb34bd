//! What goes wrong with a remote file server.
//!
//! The one idea: an error says what was tried and what was seen instead, in words for people, and by its kind what
//! may be done about it.

use std::fmt;

/// The result of anything that a remote file server is asked for.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server said no, as far as its reply tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no such file or directory.
    NotFound,
    /// The name is taken.
    Exists,
    /// The user may not do that.
    Denied,
    /// The directory holds something.
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
    /// The server can't do that at all.
    Unsupported,
    /// The server has no more connections for us.
    TooMany,
    /// User or password are wrong.
    Login,
    /// The reply does not say.
    Unsaid,
    /// It failed over a question, for now, and does not say why.
    Failed,
}

/// What went wrong, by who is to blame. Each tells what was tried.
#[derive(Clone, Debug)]
pub enum Error {
    /// The server said no.
    Refused {
        /// The reason, as far as the reply tells.
        why: Why,
        /// What was asked.
        tried: String,
        /// The server's words.
        said: String,
    },
    /// The server broke the protocol.
    Misbehaved {
        /// What was asked.
        tried: String,
        /// What came instead of an answer.
        saw: String,
    },
    /// The connection could not be made, or broke.
    Lost {
        /// What was asked.
        tried: String,
        /// What the operating system said.
        cause: String,
    },
    /// The deadline passed without progress.
    TimedOut {
        /// What was asked.
        tried: String,
    },
    /// The way is barred, by a firewall or by our own rules: to try again changes nothing.
    Barred {
        /// What was tried.
        tried: String,
        /// What is in the way, and what mends it.
        cause: String,
    },
    /// Something here failed: the disk under the spool, for one.
    Local {
        /// What was tried.
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

    /// A breach of the protocol.
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

    /// A way that is barred.
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
