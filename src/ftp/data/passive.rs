//! Implements passive mode: the server names a port in its reply to `EPSV` or `PASV`, and we connect to it.
//!
//! The server only ever chooses the *port*. The address is always that of the control connection, whatever a 227 says
//! (RFC 2577 section 3: a hostile server must not make us connect elsewhere; and servers behind NAT name addresses that
//! can't be reached). `pasv_ip=server` is for the few that really listen elsewhere; even then an address that no server
//! of its kind could have is not taken.

use std::net::{IpAddr, Ipv4Addr};

use crate::ftp::control::Control;
use crate::ftp::data::{LeadingCommands, Policy, Preconnected};
use crate::ftp::net::stream::Stream;
use crate::ftp::profile::{DataMode, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::data_address;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

/// The port on which the server listens.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    mode: Command<'static>,
    named: Option<Ipv4Addr>,
    port: u16,
}

/// The command of a way.
pub fn command(way: DataMode) -> Command<'static> {
    match way {
        DataMode::Pasv => Command::Pasv,
        _ => Command::Epsv,
    }
}

/// Asks the server to listen. What is to be sent before the transfer goes in the same flight.
pub fn listen(
    control: &mut Control,
    profile: &Profile,
    policy: &Policy,
    way: DataMode,
    transfer: Command<'_>,
    leading: &mut LeadingCommands<'_>,
    deadline: &Deadline,
) -> Result<Port> {
    let mode = command(way);
    let mut reply = ask(control, profile, mode, transfer, leading, deadline)?;
    let wants_pret = || reply.text().to_ascii_uppercase().contains("PRET");
    if !reply.is_completion() && !profile.ask(|learned| learned.data.needs_pret) && wants_pret() {
        profile.learn(|learned| learned.data.needs_pret = true);
        reply = ask(control, profile, mode, transfer, leading, deadline)?;
    }
    port_in(&reply, mode, control, profile, policy)
}

/// The port in a reply to `EPSV` or `PASV`.
pub fn port_in(
    reply: &Reply,
    mode: Command<'static>,
    control: &mut Control,
    profile: &Profile,
    policy: &Policy,
) -> Result<Port> {
    if !reply.is_completion() {
        return Err(reply.refusal(mode));
    }
    if !matches!(reply.code, 227 | 229) {
        // It is the reply to another command, and that to this one is still to come.
        control.give_up();
        let cause = format!("the server said {reply}");
        return Err(Error::lost(mode.to_string(), cause));
    }
    let said = match mode {
        Command::Epsv => data_address::extended_port(reply).map(|port| (None, port)),
        _ => data_address::passive_address(reply).map(|(host, port)| (Some(host), port)),
    };
    let (host, port) = said
        .filter(|&(_, port)| port != 0)
        .ok_or_else(|| Error::misbehaved(mode.to_string(), reply.to_string()))?;
    Preconnected::note_port(profile, port);
    let route = control.route();
    let named = host.filter(|&host| {
        let taken = policy.trusts_pasv && may_be(host, route.ip());
        if policy.trusts_pasv && !taken {
            log::info!("{mode}: {host} can't be reached from here; going to {route} instead");
        }
        taken
    });
    Ok(Port { mode, named, port })
}

impl Port {
    /// Connects to it.
    pub fn connect(self, control: &Control, deadline: &Deadline) -> Result<Stream> {
        let connected = control.route().connect_to(self.port, self.named, deadline);
        connected.map_err(|error| self.blame(error))
    }

    /// Starts to connect to it.
    pub fn begin(self, control: &Control, deadline: &Deadline) -> Result<Stream> {
        let begun = control.route().begin_to(self.port, self.named, deadline);
        begun.map_err(|error| self.blame(error))
    }

    fn blame(self, error: Error) -> Error {
        let mode = self.mode;
        match error {
            Error::Lost {
                tried,
                cause,
                unreachable,
            } => Error::Lost {
                tried: format!("{mode}: {tried}"),
                cause,
                unreachable,
            },
            Error::TimedOut { tried } => Error::timed_out(format!("{mode}: {tried}")),
            error => error,
        }
    }
}

/// `EPSV` or `PASV`, with `PRET` before it where the server wants to know what for.
fn ask(
    control: &mut Control,
    profile: &Profile,
    mode: Command<'_>,
    transfer: Command<'_>,
    leading: &mut LeadingCommands<'_>,
    deadline: &Deadline,
) -> Result<Reply> {
    let announced = transfer.announced();
    let pret = profile.ask(|learned| learned.data.needs_pret);
    let mut flight = leading.due().to_vec();
    let first = flight.len();
    flight.extend(pret.then_some(announced));
    flight.push(mode);
    let mut replies = control.flight(&flight, deadline)?;
    let mut own = replies.split_off(first).into_iter();
    leading.take_replies(replies);
    if pret && let Some(refused) = own.next().filter(|reply| !reply.is_completion()) {
        // It has no path of its own to fail on: a permanent refusal is about the command.
        let is_missing = (500..=599).contains(&refused.code);
        match own.next() {
            Some(reply) if is_missing && reply.is_completion() => {
                log::info!("data: {announced}: {refused}; transfers are announced no more");
                profile.learn(|learned| learned.data.needs_pret = false);
                return Ok(reply);
            }
            _ => return Err(refused.refusal(announced)),
        }
    }
    own.next()
        .ok_or_else(|| Error::misbehaved(mode.to_string(), "no reply"))
}

/// Whether a server that we reach at `peer` can be reached at `named` too.
fn may_be(named: Ipv4Addr, peer: Option<IpAddr>) -> bool {
    let peer_is_private = match peer {
        Some(IpAddr::V4(peer)) => is_private(peer),
        _ => false,
    };
    !named.is_unspecified() && (peer_is_private || !is_private(named))
}

/// Addresses that have no meaning in the internet, those of carriers' NAT among them (RFC 6598).
pub fn is_private(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || first == 0
        || first == 100 && second & 0xC0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_address_counts_only_from_a_private_peer() {
        let may = |named: [u8; 4], peer: [u8; 4]| may_be(named.into(), Some(IpAddr::from(peer)));
        assert!(may([203, 0, 113, 9], [203, 0, 113, 1]));
        assert!(may([10, 0, 0, 9], [10, 0, 0, 1]));
        assert!(may([203, 0, 113, 9], [10, 0, 0, 1]));
        for named in [[10, 0, 0, 1], [127, 0, 0, 1], [100, 64, 0, 1], [0, 0, 0, 0]] {
            assert!(!may(named, [203, 0, 113, 1]), "{named:?}");
        }
        assert!(!may([0, 0, 0, 0], [10, 0, 0, 1]));
        assert!(!may_be(
            [10, 0, 0, 1].into(),
            Some(IpAddr::from([0x2001, 0, 0, 0, 0, 0, 0, 1]))
        ));
    }
}
