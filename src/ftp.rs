//! The engine: a file server that is spoken to by FTP.
//!
//! Knows sockets, RFC 959, 2389, 2428, 3659 and the servers' quirks; knows nothing of inodes,
//! caches and FUSE. Each file uses only what stands to its right:
//!
//! ```text
//! client -> directory -> transfer -> pool -> login     data -> control -> stream
//!           steps -> rename, views        place, charset, zone, profile, features, listing, command, reply, time
//! ```

mod charset;
mod client;
mod command;
mod control;
mod data;
mod directory;
mod features;
pub mod listing;
mod login;
mod place;
mod pool;
mod profile;
mod rename;
pub mod reply;
mod steps;
mod stream;
pub mod time;
mod transfer;
mod views;
mod zone;

pub use charset::Charset;
pub use client::Client;
pub use login::Login;
pub use pool::{Endpoint, Manner};
pub use zone::Zone;
