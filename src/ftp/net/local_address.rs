//! Resolves what names an address of ours: an address, a network interface, or a host name.
//!
//! An interface precedes a host of the same name, as in curl's `--ftp-port` and `--interface`. Host names are resolved once,
//! before the mount. The addresses of an interface are looked up for each connection: DHCP and a redial of PPP change them.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use nix::ifaddrs::{InterfaceAddress, InterfaceAddressIterator, getifaddrs};
use nix::net::if_::if_nametoindex;

use crate::ftp::net::stream::Bind;

/// The address that the server is told to connect to, in active mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// Those that this network interface has.
    Interface(String),
}

impl External {
    /// Returns what `place` names; an error if it has no address.
    pub fn named(place: &str) -> io::Result<Self> {
        if let Ok(address) = place.parse() {
            return Ok(Self::Addresses(vec![address]));
        }
        if if_nametoindex(place).is_ok() {
            let interface = Self::Interface(place.to_string());
            return interface.addresses().map(|_| interface);
        }
        host_addresses(place).map(Self::Addresses)
    }

    /// Returns the addresses of now; an error if there are none.
    pub fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let addresses = match self {
            Self::Addresses(addresses) => addresses.clone(),
            Self::Interface(name) => interface_addresses(name)?,
        };
        match addresses.is_empty() {
            true => Err(io::Error::other("this interface has no address")),
            false => Ok(addresses),
        }
    }
}

/// Returns the addresses of a host.
fn host_addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs().map_err(|error| {
        io::Error::other(format!(
            "no interface of this machine, and no host ({error}); name an address, an interface or a host"
        ))
    })?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The addresses of an interface that other networks can reach.
fn interface_addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let is_wide = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let all = getifaddrs()?.filter(|one| one.interface_name == name);
    Ok(all.filter_map(|one| ip(&one)).filter(is_wide).collect())
}

/// Whether an address is one of this machine. To bind to it shows less: `ip_nonlocal_bind` allows any.
pub fn is_ours(address: &IpAddr) -> bool {
    let address = address.to_canonical();
    let is_listed = |mut all: InterfaceAddressIterator| all.any(|one| ip(&one) == Some(address));
    address.is_loopback() || getifaddrs().is_ok_and(is_listed)
}

fn ip(one: &InterfaceAddress) -> Option<IpAddr> {
    let address = one.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
    v4.or_else(v6)
}

/// Returns the local end that `place` names; of a host, an address that is wanted. An interface need not be there yet.
pub fn local_end(place: &str, is_wanted: &dyn Fn(&IpAddr) -> bool) -> io::Result<Bind> {
    if let Ok(address) = place.parse() {
        return Ok(Bind::Address(address));
    }
    if if_nametoindex(place).is_ok() {
        return Ok(Bind::Interface(place.to_string()));
    }
    match host_addresses(place) {
        Ok(found) => {
            let ours = found
                .into_iter()
                .find(|address| is_wanted(address) && is_ours(address));
            ours.map(Bind::Address)
                .ok_or_else(|| io::Error::other("this host has no address of this machine"))
        }
        Err(_) if place.len() < libc::IFNAMSIZ => Ok(Bind::Interface(place.to_string())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_interfaces_and_hosts_are_resolved() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let addresses = |place: &str| External::named(place).and_then(|named| named.addresses());
        assert_eq!(addresses("192.0.2.1").expect("an address").len(), 1);
        assert!(addresses("lo").expect("an interface").contains(&loopback));
        assert!(addresses("localhost").is_ok_and(|found| !found.is_empty()));
        let error = addresses("no.such.host.invalid").expect_err("nothing");
        assert!(error.to_string().contains("no interface"), "{error}");
        let gone = External::Interface("eth77".to_string()).addresses();
        assert!(gone.is_err_and(|error| error.to_string().contains("no address")));
    }

    #[test]
    fn local_end_is_an_interface_or_an_address_of_this_machine() {
        let interface = |name: &str| Bind::Interface(name.to_string());
        let end = |place: &str| local_end(place, &IpAddr::is_ipv4).ok();
        assert_eq!(end("lo"), Some(interface("lo")));
        assert_eq!(end("eth77"), Some(interface("eth77")));
        assert_eq!(end("localhost"), Some(Bind::Address([127, 0, 0, 1].into())));
        assert_eq!(end("no.such.host.invalid"), None);
    }
}
