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

pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod data;
pub mod listing;
pub(crate) mod net;
pub(crate) mod pool;
pub(crate) mod probe;
pub(crate) mod profile;
pub mod protocol;
pub(crate) mod tls;
pub(crate) mod transfer;

pub use crate::ftp::client::Client;
pub use crate::ftp::config::{Endpoint, Family, Manner};
pub use crate::ftp::control::login::Login;
pub use crate::ftp::data::{Mode, Policy as DataPolicy};
pub use crate::ftp::listing::timezone::Zone;
pub use crate::ftp::net::proxy::Proxy;
pub use crate::ftp::net::stream::Bind;
pub use crate::ftp::pool::Connections;
pub use crate::ftp::probe::{
    Answer, Encryption, Fault, Inspection, Listed, Named, PatchOutcome, Prelogin, Remembered,
    Restart, Scratch, Server, Trial, Writing, look_before_login,
};
pub use crate::ftp::profile::Way;
pub use crate::ftp::protocol::charset::Charset;
pub use crate::ftp::tls::{Certificate, Identity, Policy as TlsPolicy, Tls, When};
