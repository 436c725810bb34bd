//! The engine: a file server that is spoken to by FTP.
//!
//! Knows sockets, RFC 959, 2389, 2428, 3659 and the servers' quirks; knows nothing of inodes,
//! caches and FUSE. Each file uses only what stands to its right:
//!
//! ```text
//! client -> transfer -> pool -> login     data -> control -> stream
//!           steps -> rename               command, reply, features, profile, listing, time
//! ```

mod client;
mod command;
mod control;
mod data;
mod features;
pub mod listing;
mod login;
mod pool;
mod profile;
mod rename;
mod reply;
mod steps;
mod stream;
pub mod time;
mod transfer;

pub use client::Client;
pub use data::{Mode, Policy as DataPolicy};
pub use login::Login;
pub use pool::{Endpoint, Family};
pub use stream::Bind;
