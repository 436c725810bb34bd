//! The engine: a file server that is spoken to by FTP.
//!
//! Knows sockets, RFC 959, 2228, 2389, 2428, 3659, 4217 and the servers' quirks; knows nothing of inodes,
//! caches and FUSE. Each file uses only what stands to its right:
//!
//! ```text
//! client -> transfer -> pool -> login     data -> control -> tls -> known
//!           steps -> rename                      route -> proxy -> stream
//!                                         command, reply, features, profile, listing, time
//! ```

mod client;
mod command;
mod control;
mod data;
mod features;
mod known;
pub mod listing;
mod login;
mod pool;
mod profile;
mod proxy;
mod rename;
mod reply;
mod route;
mod steps;
mod stream;
pub mod time;
mod tls;
mod transfer;

pub use client::Client;
pub use data::{Mode, Policy as DataPolicy};
pub use login::Login;
pub use pool::{Endpoint, Family};
pub use proxy::Proxy;
pub use stream::Bind;
pub use tls::{Identity, Policy as TlsPolicy, Tls, When};
