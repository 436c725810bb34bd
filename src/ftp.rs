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
//!
//! # Where a request goes
//!
//! * **A file**: `client` takes a connection (`pool/lease`), and a new one once after a loss (`client/retry`). `client/update`
//!   plans how a change is stored. `transfer/start` sends `RETR`, `STOR` or `APPE` over a preconnected data connection, or has
//!   one made (`data`). `transfer/download` and `transfer/upload` move the bytes. `transfer/replies` takes the replies, and
//!   `transfer/followup` those to what was pipelined after the transfer (`client/after_store`).
//! * **Attributes and names**: `client/step_flight` sends the commands of all steps as one flight (`control`).
//! * **A listing**: `client/list` sends `MLSD` or `LIST`, and `listing/parser` parses the lines.
//! * **A reply**: `control/reply_reader` reads it, `protocol/reply` gives it a meaning, and `profile/evidence` decides what it
//!   proves about the server.
//!
//! # Lock order
//!
//! Each lock is taken alone, and none while the server is waited for. Exception: under the `state` of `pool.rs` the
//! meters of `pool/traffic.rs` are read.

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
