//! Holds the configuration of one server, and makes the first connection to it.
//!
//! The first connection tries the addresses of the host in turn; every later one goes to the address of the first.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use crate::ftp::control::Control;
use crate::ftp::control::foreign::check_silent;
use crate::ftp::control::login::Login;
use crate::ftp::data;
use crate::ftp::listing::timezone::Zone;
use crate::ftp::net::proxy;
use crate::ftp::net::proxy::Proxy;
use crate::ftp::net::route::{Route, Target};
use crate::ftp::net::stream::{Bind, Stream};
use crate::ftp::profile::{Profile, Support};
use crate::ftp::protocol::charset::Charset;
use crate::ftp::tls::{Tls, When};
use crate::remote::{Deadline, Error, Result};

/// The server, and how it is to be used.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// The port of the control connection.
    pub port: u16,
    /// User and password.
    pub login: Login,
    /// The directory to mount, for `CWD`; `None` stays where the login is.
    pub directory: Option<Vec<u8>>,
    /// Control connections at most, at least one.
    pub max_conns: usize,
    /// Whether several commands may be under way at once.
    pub pipelining: bool,
    /// Whether callers wait for a server that is away, however long.
    pub hard: bool,
    /// When and how connections are encrypted.
    pub tls: Arc<Tls>,
    /// Which data connections are made.
    pub data: data::Policy,
    /// The local address or interface of connections.
    pub bind: Option<Bind>,
    /// The proxy that connections go through.
    pub proxy: Option<Arc<Proxy>>,
    /// The one family of addresses that is used; both by default.
    pub family: Option<Family>,
    /// The charset of names, where it is not UTF-8.
    pub charset: Option<Charset>,
    /// How listings are read.
    pub manner: Manner,
    /// The directory of stored profiles.
    pub profiles: Option<PathBuf>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How listings are read.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Files are asked for their exact times where the listing rounds them.
    pub exact_times: bool,
    /// Links are shown as their targets.
    pub follow_links: bool,
    /// The zone of the listing's times; learned from one file where it is not given.
    pub zone: Option<Zone>,
    /// A file that the server has confirmed is not asked for.
    pub trusts_stores: bool,
}

impl Endpoint {
    /// The server's host and port, for people.
    pub fn authority(&self) -> String {
        proxy::authority(&self.host, self.port)
    }

    /// Connects by `route` and takes the greeting.
    pub fn connect(
        &self,
        route: &Route,
        profile: &Profile,
        deadline: &Deadline,
    ) -> Result<Control> {
        self.greet(route, route.connect(deadline)?, profile, deadline)
    }

    /// The same for the first connection: a server that does not greet is examined for another protocol.
    pub fn connect_first(
        &self,
        route: &Route,
        profile: &Profile,
        deadline: &Deadline,
    ) -> Result<Control> {
        self.greet(
            route,
            self.first_stream(route, deadline)?,
            profile,
            deadline,
        )
    }

    /// The first connection, once the server speaks, or is known to speak no other protocol.
    pub fn first_stream(&self, route: &Route, deadline: &Deadline) -> Result<Stream> {
        let mut stream = route.connect(deadline)?;
        if self.tls.when() != When::Implicit {
            check_silent(route, &mut stream, deadline)?;
        }
        Ok(stream)
    }

    /// Takes the greeting over a connection that goes by `route`.
    pub fn greet(
        &self,
        route: &Route,
        stream: Stream,
        profile: &Profile,
        deadline: &Deadline,
    ) -> Result<Control> {
        let implicit = if self.tls.when() == When::Implicit {
            let session = self
                .tls
                .session(profile.ask(|learned| learned.data.tls12_only))?;
            Some((Some(&*self.tls), session))
        } else {
            None
        };
        let flights = profile.ask(|learned| learned.pipelining.commands) != Support::No;
        let pipelines = self.pipelining && flights;
        let mut control = Control::greeted(route, stream, implicit, pipelines, deadline)?;
        if profile.ask(|learned| learned.pipelining.doubles) {
            control.expect_surplus();
        }
        Ok(control)
    }

    /// Whether an address may be connected to, by `ipv4`, `ipv6` and `bind=`.
    fn allows(&self, address: &SocketAddr) -> bool {
        let is_wanted = match self.family {
            Some(Family::V4) => address.is_ipv4(),
            Some(Family::V6) => address.is_ipv6(),
            None => true,
        };
        let is_bound = match &self.bind {
            Some(Bind::Address(ours)) => ours.is_ipv4() == address.is_ipv4(),
            _ => true,
        };
        is_wanted && is_bound
    }

    /// Connects, by `connect`, to the first of the host's addresses that answers.
    pub fn first_control(&self, connect: &dyn Fn(&Route) -> Result<Control>) -> Result<Control> {
        let to = |target| Route {
            bind: self.bind.clone(),
            target,
        };
        if let Some(proxy) = &self.proxy {
            let target = Target::Proxied(Arc::clone(proxy), self.host.clone(), self.port);
            return connect(&to(target));
        }
        let tried = || format!("finding {}", self.host);
        let addresses: Vec<_> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| Error::lost(tried(), error))?
            .collect();
        let mut last = match addresses.first() {
            None => Error::lost(tried(), "the name has no address"),
            Some(other) => Error::barred(
                self.host.clone(),
                format!(
                    "it has no address of the family that ipv4, ipv6 or bind= asks for, but {}",
                    other.ip()
                ),
            ),
        };
        for address in addresses {
            if !self.allows(&address) {
                continue;
            }
            match connect(&to(Target::Address(address))) {
                Ok(control) => return Ok(control),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
