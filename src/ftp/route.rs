//! The way to the server: straight to an address, or by way of a proxy to a name.
//!
//! The one idea: the control connection and its data connections go the same way, to the same place,
//! and only the port differs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::ftp::proxy::Proxy;
use crate::ftp::stream::{Bind, Stream, blame};
use crate::remote::{Deadline, Result};

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where connections go out from.
    pub bind: Option<Bind>,
    /// Where they go to.
    pub place: Place,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub enum Place {
    /// At an address.
    Address(SocketAddr),
    /// Where a proxy finds it.
    Behind(Arc<Proxy>, String, u16),
}

impl Route {
    /// Connects to the control port.
    pub fn connect(&self, deadline: &Deadline) -> Result<Stream> {
        self.go(&self.place, deadline)
    }

    /// Connects to a data port; `named` is an address that takes the place of the server's.
    pub fn connect_to(
        &self,
        port: u16,
        named: Option<Ipv4Addr>,
        deadline: &Deadline,
    ) -> Result<Stream> {
        let place = match (&self.place, named) {
            (Place::Address(_), Some(host)) => Place::Address((host, port).into()),
            (Place::Address(address), None) => {
                let mut address = *address;
                address.set_port(port);
                Place::Address(address)
            }
            (Place::Behind(proxy, _, _), Some(host)) => {
                Place::Behind(Arc::clone(proxy), host.to_string(), port)
            }
            (Place::Behind(proxy, host, _), None) => {
                Place::Behind(Arc::clone(proxy), host.clone(), port)
            }
        };
        self.go(&place, deadline)
    }

    fn go(&self, place: &Place, deadline: &Deadline) -> Result<Stream> {
        let bind = self.bind.as_ref();
        match place {
            Place::Address(address) => Stream::connect(*address, bind, deadline)
                .map_err(|error| blame(format!("connecting to {address}"), &error)),
            Place::Behind(proxy, host, port) => proxy.connect(host, *port, bind, deadline),
        }
    }

    /// The server's address, as far as we know it.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.place {
            Place::Address(address) => Some(address.ip()),
            Place::Behind(_, host, _) => host.parse().ok(),
        }
    }

    /// Whether a proxy stands between: then nobody can connect to us.
    pub fn is_proxied(&self) -> bool {
        matches!(self.place, Place::Behind(..))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Address(address) => write!(f, "{address}"),
            Place::Behind(_, host, port) => write!(f, "{host}:{port}"),
        }
    }
}
