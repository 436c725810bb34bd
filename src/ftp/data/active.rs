//! Implements active mode: `EPRT` or `PORT` names a port of ours, and the server connects to it.
//!
//! The socket listens before the command goes out, and only the server's own address is accepted; other peers are
//! disconnected with a line in the log (RFC 2577 section 4: a port that waits for data is a way in). The control
//! connection is watched at the same time: a server that can't reach us says so there.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::poll::{PollFd, PollFlags};
use socket2::{Domain, Protocol, Socket, Type};

use crate::ftp::control::owed_replies::SURPLUS_REPLIES_LIMIT;
use crate::ftp::control::{Control, blame};
use crate::ftp::data::Policy;
use crate::ftp::net::local_address::is_ours;
use crate::ftp::net::stream::{Bind, Stream, wait_for};
use crate::ftp::profile::DataMode;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result, Why};

/// A socket that waits for the server.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    expected: IpAddr,
    /// The command that announces it.
    announcement: Command<'static>,
    /// A stranger has connected.
    has_warned: Cell<bool>,
}

/// Connections that may wait to be accepted: the server's, and a few to be turned away.
const BACKLOG: i32 = 8;

/// Listens. [`Listener::announcement`] is still to be sent.
pub fn listen(control: &Control, policy: &Policy, way: DataMode) -> Result<Listener> {
    let tried = || "listening for a data connection".to_string();
    let server = control
        .route()
        .ip()
        .filter(|_| !control.route().is_proxied());
    let server =
        server.ok_or_else(|| Error::barred(tried(), "no server connects through a proxy"))?;
    let local = control.local_address()?;
    let bind = control.route().bind.as_ref();
    let announced = announced(policy, local.ip())
        .map_err(|error| Error::barred(tried(), format!("external_ip=: {error}")))?;
    // An address that is not of this machine is that of a NAT, which forwards to ours.
    let end = match announced != local.ip() && is_ours(&announced) {
        true => SocketAddr::new(announced, 0),
        false => local,
    };
    let socket = listen_at(end, policy, bind).map_err(|error| {
        let mend = match &policy.ports {
            Some(ports) => format!(
                "{error}; make port_range={}-{} wider than the number of connections",
                ports.start(),
                ports.end()
            ),
            None => error.to_string(),
        };
        Error::barred(tried(), mend)
    })?;
    let port = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .map(|address| address.port())
        .ok_or_else(|| Error::barred(tried(), "the socket has no port"))?;
    let address = SocketAddr::new(plain(announced), port);
    let announcement = match way {
        DataMode::Port if address.is_ipv6() => {
            let cause = format!("PORT can't name {address}, an address of IPv6");
            return Err(Error::barred("PORT", cause));
        }
        DataMode::Port => Command::Port(address),
        _ => Command::Eprt(address),
    };
    Ok(Listener {
        socket,
        expected: plain(server),
        announcement,
        has_warned: Cell::new(false),
    })
}

/// The address that the server is to connect to: of those that were named, one of the family of the control connection.
fn announced(policy: &Policy, local: IpAddr) -> io::Result<IpAddr> {
    let Some(external) = &policy.external else {
        return Ok(local);
    };
    let named = external.addresses()?;
    let same = named
        .iter()
        .find(|address| address.is_ipv4() == plain(local).is_ipv4());
    Ok(same.or(named.first()).copied().unwrap_or(local))
}

/// The port of the range that is tried first next time, so that connections don't all compete for the
/// lowest.
static NEXT: AtomicU16 = AtomicU16::new(0);

fn listen_at(local: SocketAddr, policy: &Policy, bind: Option<&Bind>) -> io::Result<Socket> {
    let Some(ports) = &policy.ports else {
        return listen_on(local, 0, bind);
    };
    let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let count = last - first + 1;
    let start = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
    let mut error = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..count {
        let port = first + (start + step) % count;
        match listen_on(local, u16::try_from(port).unwrap_or_default(), bind) {
            Err(busy) if busy.kind() == io::ErrorKind::AddrInUse => error = busy,
            result => return result,
        }
    }
    Err(error)
}

fn listen_on(mut local: SocketAddr, port: u16, bind: Option<&Bind>) -> io::Result<Socket> {
    let domain = Domain::for_address(local);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connection has just ended is free for us.
    socket.set_reuse_address(true)?;
    if let Some(interface @ Bind::Interface(_)) = bind {
        interface.tie(&socket)?;
    }
    local.set_port(port);
    socket.bind(&local.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Listener {
    /// The `EPRT` or `PORT` that names the port.
    pub fn announcement(&self) -> Command<'static> {
        self.announcement
    }

    /// Accepts the server's connection; also returns its final reply if that came before the connection was accepted.
    pub fn accept(
        self,
        control: &mut Control,
        deadline: &Deadline,
    ) -> Result<(Stream, Option<Reply>)> {
        let mut surplus = 0;
        loop {
            if let Some(stream) = self.let_in()? {
                return Ok((stream, None));
            }
            if control.has_input() {
                let reply = control.reply(&self.announcement, deadline)?;
                if reply.is_preliminary() {
                    surplus += 1;
                    if surplus > SURPLUS_REPLIES_LIMIT {
                        return Err(control.endless_start(&self.announcement));
                    }
                    continue;
                }
                // It may have connected and finished since we looked: an empty file does.
                let stream = self.let_in()?;
                let refusal = reply.refusal(self.announcement);
                return match stream {
                    Some(stream) if reply.is_completion() => Ok((stream, Some(reply))),
                    // It had agreed to the transfer: what fails then without a reason is the data connection.
                    _ if reply.is_completion() || refusal.why() == Some(Why::Unsaid) => {
                        Err(Error::lost(
                            self.announcement.to_string(),
                            format!("the server did not connect, and says {reply}"),
                        ))
                    }
                    _ => Err(refusal),
                };
            }
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(control.as_fd(), PollFlags::POLLIN),
            ];
            wait_for(&mut fds, deadline).map_err(|error| {
                blame(
                    format!("{}: waiting for the server", self.announcement),
                    &error,
                )
            })?;
        }
    }

    /// The server's connection, if it is there. After a few strangers the caller looks at its deadline again.
    pub fn let_in(&self) -> Result<Option<Stream>> {
        for _ in 0..BACKLOG {
            let (socket, address) = match self.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // A connection that was closed before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(blame(self.announcement.to_string(), &error)),
            };
            let peer = address.as_socket().map(|address| plain(address.ip()));
            if peer == Some(self.expected) {
                let stream = Stream::over(socket);
                return stream
                    .map(Some)
                    .map_err(|error| blame(self.announcement.to_string(), &error));
            }
            let shown = peer.map_or_else(|| "another host".to_string(), |peer| peer.to_string());
            let message = format!(
                "{shown} connected to our data port in place of the server {}; turned away",
                self.expected
            );
            // Once a listener: a stranger that goes on connecting can't fill the log.
            let level = match self.has_warned.replace(true) {
                false => log::Level::Warn,
                true => log::Level::Debug,
            };
            log::log!(level, "{message}");
        }
        Ok(None)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An address of IPv4 as such, also where a socket of IPv6 shows it.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_stays_in_its_port_range() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let free = listen_on(local, 0, None).expect("a port");
        let port = |socket: &Socket| {
            let address = socket.local_addr().expect("an address");
            address.as_socket().expect("of IP").port()
        };
        let taken = port(&free);
        let policy = Policy {
            ports: Some(taken..=taken),
            ..Policy::default()
        };
        let error = listen_at(local, &policy, None).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(free);
        let socket = listen_at(local, &policy, None).expect("it is free again");
        assert_eq!(port(&socket), taken);
    }

    #[test]
    fn only_the_expected_address_is_accepted() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = listen_on(local, 0, None).expect("a port");
        let address = socket
            .local_addr()
            .expect("one")
            .as_socket()
            .expect("of IP");
        let listener = Listener {
            socket,
            expected: IpAddr::from([127, 0, 0, 3]),
            announcement: Command::Eprt(address),
            has_warned: Cell::new(false),
        };
        let patient = Deadline::after(std::time::Duration::from_secs(5));
        let from = |last: u8| {
            let bind = Bind::Address(IpAddr::from([127, 0, 0, last]));
            Stream::connect(address, Some(&bind), &patient).expect("a connection")
        };
        let mut stranger = from(2);
        assert!(listener.let_in().expect("no error").is_none());
        assert!(matches!(
            stranger.read(&mut [0; 1], &patient),
            Ok(0) | Err(_)
        ));
        let _server = from(3);
        assert!(listener.let_in().expect("no error").is_some());
    }
}
