//! The FTP protocol as pure functions on bytes: commands, replies, features, times, pathnames.

pub(crate) mod charset;
pub(crate) mod command;
pub(crate) mod features;
pub(crate) mod remote_root;
pub mod reply;
pub mod time_val;
