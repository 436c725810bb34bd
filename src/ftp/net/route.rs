//! Implements the route to the server: directly to an address, or through a proxy to a name.
//!
//! The control connection and its data connections take the same route to the same host, and only the port differs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::ftp::net::proxy::Proxy;
use crate::ftp::net::stream::{Bind, Stream, blame};
use crate::remote::{Deadline, Error, Result};

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where connections go out from.
    pub bind: Option<Bind>,
    /// Where they go to.
    pub target: Target,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub enum Target {
    /// At an address.
    Address(SocketAddr),
    /// Where a proxy finds it.
    Proxied(Arc<Proxy>, String, u16),
}

impl Route {
    /// Connects to the control port.
    pub fn connect(&self, deadline: &Deadline) -> Result<Stream> {
        self.go(&self.target, deadline)
    }

    /// The same from a local address; an error where that cannot be: through a proxy, or where it is in use.
    pub fn connect_from(&self, local: SocketAddr, deadline: &Deadline) -> Result<Stream> {
        let tried = || format!("connecting to {self} from {local}");
        match &self.target {
            Target::Address(address) => {
                Stream::connect_from(local, *address, self.bind.as_ref(), deadline)
                    .map_err(|error| blame(tried(), &error))
            }
            Target::Proxied(..) => Err(Error::lost(tried(), "it goes through a proxy")),
        }
    }

    /// Connects to a data port; `named` is an address that takes the place of the server's.
    pub fn connect_to(
        &self,
        port: u16,
        named: Option<Ipv4Addr>,
        deadline: &Deadline,
    ) -> Result<Stream> {
        self.go(&self.data_target(port, named), deadline)
    }

    /// Begins to connect to a data port; its user waits for it then. A proxy has to be
    /// spoken to first, so that there the connection is whole when this returns.
    pub fn begin_to(
        &self,
        port: u16,
        named: Option<Ipv4Addr>,
        deadline: &Deadline,
    ) -> Result<Stream> {
        match self.data_target(port, named) {
            Target::Address(address) => Stream::begin(address, self.bind.as_ref())
                .map_err(|error| blame(format!("connecting to {address}"), &error)),
            target => self.go(&target, deadline),
        }
    }

    fn data_target(&self, port: u16, named: Option<Ipv4Addr>) -> Target {
        match (&self.target, named) {
            (Target::Address(_), Some(host)) => Target::Address((host, port).into()),
            (Target::Address(address), None) => {
                let mut address = *address;
                address.set_port(port);
                Target::Address(address)
            }
            (Target::Proxied(proxy, _, _), Some(host)) => {
                Target::Proxied(Arc::clone(proxy), host.to_string(), port)
            }
            (Target::Proxied(proxy, host, _), None) => {
                Target::Proxied(Arc::clone(proxy), host.clone(), port)
            }
        }
    }

    fn go(&self, target: &Target, deadline: &Deadline) -> Result<Stream> {
        let bind = self.bind.as_ref();
        match target {
            Target::Address(address) => Stream::connect(*address, bind, deadline)
                .map_err(|error| blame(format!("connecting to {address}"), &error)),
            Target::Proxied(proxy, host, port) => proxy.connect(host, *port, bind, deadline),
        }
    }

    /// The server's address, as far as we know it.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.target {
            Target::Address(address) => Some(address.ip()),
            Target::Proxied(_, host, _) => host.parse().ok(),
        }
    }

    /// Whether a proxy stands between: then the server can't connect to us.
    pub fn is_proxied(&self) -> bool {
        matches!(self.target, Target::Proxied(..))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Address(address) => write!(f, "{address}"),
            Target::Proxied(_, host, port) => write!(f, "{host}:{port}"),
        }
    }
}
