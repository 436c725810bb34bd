//! The network below FTP: sockets with deadlines, the TLS record layer, routes and proxies.
//!
//! * `stream`: a TCP connection, perhaps within TLS, with a deadline on every wait
//! * `route`: the way to the server: directly to an address, or through a proxy to a name
//! * `route_changes`: waits for changes of links, addresses and routes
//! * `local_address`: resolves what names an address of ours
//! * `proxy`: connects through proxies: HTTP `CONNECT` and SOCKS5

pub(crate) mod local_address;
pub(crate) mod proxy;
pub(crate) mod route;
pub(crate) mod route_changes;
pub(crate) mod stream;
