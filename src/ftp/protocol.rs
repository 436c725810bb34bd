//! The FTP protocol as pure functions on bytes.
//!
//! * `command`: commands as they are sent; refuses arguments that would smuggle another command
//! * `reply`: replies, and the reason of a refusal
//! * `features`: the reply to `FEAT`
//! * `data_address`: addresses of data connections in replies
//! * `time_val`: times (RFC 3659), and the calendar
//! * `charset`: names that are not UTF-8
//! * `remote_root`: absolute paths below the mounted directory

pub(crate) mod charset;
pub(crate) mod command;
pub(crate) mod data_address;
pub(crate) mod features;
pub(crate) mod remote_root;
pub mod reply;
pub mod time_val;
