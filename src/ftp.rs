//! Implements the FTP client behind the trait `Remote`: sockets, RFC 959, 2228, 2389, 2428, 3659, 4217, and the quirks
//! of servers. Knows nothing of inodes, caches and FUSE.
//!
//! A module uses only those below it; `tests/layers.rs` checks the order:
//!
//! * `probe`: the questions of `ftpfs probe`
//! * `client`: `Remote`: the commands of each operation, and what their replies mean
//! * `transfer`: `RETR`, `STOR`, `APPE` and listings, from the command to the final reply
//! * `pool`: control connections: leases, their number, and the search for a server that is away
//! * `config`: the server, and how it is used; makes the first connection and takes the greeting of each
//! * `data`: data connections, passive, active and preconnected
//! * `control`: control connections, login, `AUTH TLS`
//! * `tls`: trust, certificates and sessions
//! * `net`: sockets with deadlines, routes and proxies
//! * `profile`: what was learned of the server, and its file
//! * `listing`: parsers of listings
//! * `protocol`: commands, replies, paths and times as bytes

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
pub use crate::ftp::net::local_address::{External, local_end};
pub use crate::ftp::net::proxy::Proxy;
pub use crate::ftp::net::stream::Bind;
pub use crate::ftp::pool::traffic::Moved;
pub use crate::ftp::pool::{Connections, Sessions, Transport};
pub use crate::ftp::probe::{
    Answer, Encryption, Fault, Inspection, Listed, Named, PatchOutcome, Prelogin, Remembered,
    Restart, Scratch, Server, StoredFile, Trial, Writing, look_before_login,
};
pub use crate::ftp::profile::DataMode;
pub use crate::ftp::profile::format::{How, KeptFact, names as kept_fact_names};
pub use crate::ftp::protocol::charset::Charset;
pub use crate::ftp::tls::{Certificate, Identity, Policy as TlsPolicy, Tls, When};
