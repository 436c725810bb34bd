//! The network below FTP: sockets with deadlines, the TLS record layer, routes and proxies.

pub(crate) mod proxy;
pub(crate) mod route;
pub(crate) mod route_changes;
pub(crate) mod stream;
