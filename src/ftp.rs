//! The engine: a file server that is spoken to by FTP.
//!
//! Knows sockets, RFC 959, 2228, 2389, 2428, 3659, 4217 and the servers' quirks; knows nothing of inodes,
//! caches and FUSE. Each file uses only what stands to its right:
//!
//! ```text
//! inspect -> client -> directory -> transfer -> pool -> login     data -> control -> tls -> known
//!           recheck -> pool -> doubtful_paths
//!           update -> upload -> transfer                    route -> proxy -> stream
//!           steps -> rename, views
//!           place, charset, zone, profile, features, listing, command, reply, time
//! ```

mod appending;
mod begin;
mod behind;
mod charset;
mod client;
mod command;
mod control;
mod data;
mod directory;
mod doubtful_paths;
mod early;
mod ending;
mod endpoint;
mod exact;
mod features;
mod follow;
mod glance;
mod inspect;
mod kept;
mod known;
mod lines;
pub mod listing;
mod login;
mod modes;
mod parts;
mod place;
mod pool;
mod profile;
mod proxy;
mod recheck;
mod rehearsal;
mod rename;
pub mod reply;
mod restart;
mod route;
mod sealed;
mod steps;
mod stream;
pub mod time;
mod tls;
mod together;
mod transfer;
mod untold;
mod update;
mod upload;
mod views;
mod zone;

pub use charset::Charset;
pub use client::Client;
pub use data::{Mode, Policy as DataPolicy};
pub use endpoint::{Endpoint, Family, Manner};
pub use inspect::{
    Answer, Beginning, Door, Encryption, Fault, Inspection, Listed, Named, Remembered, Restart,
    Scratch, Server, Trial, Writing, look,
};
pub use login::Login;
pub use pool::Connections;
pub use profile::Way;
pub use proxy::Proxy;
pub use stream::Bind;
pub use tls::{Certificate, Identity, Policy as TlsPolicy, Tls, When};
pub use zone::Zone;
