//! A connection: bytes over TCP, perhaps within TLS, with a deadline on every wait.
//!
//! The one idea: the socket never blocks; what would wait polls the socket with what the
//! deadline has left, so that no thread waits for a server longer than its operation may.
//! Every byte that passes is progress. TLS is a filter over the same socket (`stream/protected.rs`).

pub(crate) mod tls_stream;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::ftp::net::stream::tls_stream::Protected;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::client::UnbufferedClientConnection;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::remote::{Deadline, Error};

/// A TCP connection to a server.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<Protected>>,
}

/// How long a server may take to end a data connection when we have: what it still says are tickets
/// for the next one, and to close before it is read resets the connection under the upload's end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Idle seconds before TCP asks whether the peer still lives: below what NAT boxes remember.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Where connections go out from, and where active ones come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// From this address of ours.
    Address(IpAddr),
    /// Through this network interface.
    Interface(String),
}

impl Bind {
    /// Ties a socket that is about to connect, or to listen.
    pub fn tie(&self, socket: &Socket) -> io::Result<()> {
        match self {
            Self::Address(address) => socket.bind(&SocketAddr::new(*address, 0).into()),
            Self::Interface(name) => socket.bind_device(Some(name.as_bytes())),
        }
        .map_err(|error| {
            let shown = match self {
                Self::Address(address) => address.to_string(),
                Self::Interface(name) => name.clone(),
            };
            let cause = format!("bind={shown}: {error}; name an address or interface of this host");
            io::Error::new(error.kind(), cause)
        })
    }
}

impl Stream {
    /// Connects to `address`.
    pub fn connect(
        address: SocketAddr,
        bind: Option<&Bind>,
        deadline: &Deadline,
    ) -> io::Result<Self> {
        let stream = Self::begin(address, bind)?;
        stream.established(deadline)?;
        Ok(stream)
    }

    /// Begins to connect to `address`; [`Self::established`] waits for it.
    pub fn begin(address: SocketAddr, bind: Option<&Bind>) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if let Some(bind) = bind {
            bind.tie(&socket)?;
        }
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            result => result?,
        }
        Self::over(socket)
    }

    /// Waits until a connection that was begun is there.
    pub fn established(&self, deadline: &Deadline) -> io::Result<()> {
        let mut over = false;
        loop {
            if let Some(error) = self.tcp.take_error()? {
                return Err(error);
            }
            match self.tcp.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected && !over => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    deadline.progress();
                    return Ok(());
                }
            }
            let mut fds = [PollFd::new(self.tcp.as_fd(), PollFlags::POLLOUT)];
            wait_for(&mut fds, deadline)?;
            // Cut while it was being made.
            let events = fds[0].revents().unwrap_or(PollFlags::empty());
            over = events.contains(PollFlags::POLLHUP);
        }
    }

    /// A connection that was accepted.
    pub fn over(socket: Socket) -> io::Result<Self> {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            tcp: socket.into(),
            tls: None,
        })
    }

    /// Goes over to TLS and shakes hands. The error holds that of TLS, if it is one.
    pub fn encrypt(
        &mut self,
        connection: UnbufferedClientConnection,
        deadline: &Deadline,
    ) -> io::Result<&CommonState> {
        let tls = Protected::begin(connection, &self.tcp, deadline)?;
        Ok(self.tls.insert(Box::new(tls)).state())
    }

    /// The version of TLS, and whether the session was resumed; `None` in clear.
    pub fn protection(&self) -> Option<(Option<ProtocolVersion>, bool)> {
        let state = self.tls.as_ref()?.state();
        let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
        Some((state.protocol_version(), resumed))
    }

    /// Whether the end that was read is one that the peer has said. In clear there is no telling.
    pub fn ended_in_full(&self) -> Option<bool> {
        self.tls.as_ref().map(|tls| tls.ended_in_full())
    }

    /// Reads what is there, waiting for the first byte; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> io::Result<usize> {
        if let Some(tls) = &mut self.tls {
            return tls.read(&self.tcp, buffer, deadline);
        }
        loop {
            match self.tcp.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLIN, deadline)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length) => {
                    deadline.progress();
                    return Ok(length);
                }
                error => return error,
            }
        }
    }

    /// Tells the peer at once that what it sent has come, and what comes next likewise.
    pub fn acknowledge(&self) {
        // Where that can't be said, it is said a little later.
        let _ = socket2::SockRef::from(&self.tcp).set_tcp_quickack(true);
    }

    /// Writes all of `bytes`.
    pub fn write_all(&mut self, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return tls.write_all(&self.tcp, bytes, deadline);
        }
        while !bytes.is_empty() {
            match self.tcp.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLOUT, deadline)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    deadline.progress();
                    bytes = &bytes[length..];
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`, and that nothing more will be written.
    pub fn write_last(&mut self, bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
        if self.tls.is_none() {
            // The end rides on the last packet: alone it would wait for an acknowledgement where the bytes just fill
            // the window of a fresh connection (ten packets), and an upload of 13 KB cost one more round trip.
            socket2::SockRef::from(&self.tcp).set_tcp_cork(true)?;
        }
        self.write_all(bytes, deadline)?;
        self.finish_writing(deadline)
    }

    /// Tells the peer that nothing more will be written. Under TLS, waits for the peer's own end.
    pub fn finish_writing(&mut self, deadline: &Deadline) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.tcp.shutdown(Shutdown::Write);
        };
        tls.finish_writing(&self.tcp, deadline)?;
        self.tcp.shutdown(Shutdown::Write)?;
        let patience = Deadline::after(CLOSE_PATIENCE.min(deadline.patience()));
        let mut rest = [0; 1024];
        // The server's own word on the upload is its reply; nothing here can spoil it.
        while matches!(tls.read(&self.tcp, &mut rest, &patience), Ok(1..)) {}
        Ok(())
    }

    /// Ends a connection whose end was read, also for those who hold a [`Cutter`]: ProFTPD and vsftpd
    /// wait for that before they say how the transfer went.
    pub fn end(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&self.tcp);
        }
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    /// Breaks a connection off by a reset: an end would be taken for the end of the file.
    pub fn abort(self) {
        // Where the option can't be set, the missing end of TLS or the server's wits must do.
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
    }

    /// Whether bytes or an end wait to be read. On a connection that should be silent that is a
    /// good bye. What TLS has to say to itself is none.
    pub fn has_news(&mut self) -> bool {
        match &mut self.tls {
            Some(tls) => tls.has_news(&self.tcp),
            None => is_readable(&self.tcp),
        }
    }

    /// A second handle by which another thread can cut this connection.
    pub fn cutter(&self) -> io::Result<Cutter> {
        Ok(Cutter {
            tcp: self.tcp.try_clone()?,
        })
    }

    /// The address of our end.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    fn wait(&self, events: PollFlags, deadline: &Deadline) -> io::Result<()> {
        wait_for(&mut [PollFd::new(self.tcp.as_fd(), events)], deadline)
    }
}

/// Whether bytes, or an end, wait on a socket.
fn is_readable(tcp: &TcpStream) -> bool {
    let mut fds = [PollFd::new(tcp.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

/// Waits until one of `fds` has what is asked for, or for a moment less; the caller looks again.
pub fn wait_for(fds: &mut [PollFd<'_>], deadline: &Deadline) -> io::Result<()> {
    let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
    // One more millisecond, lest a rest below one be rounded to a busy loop.
    let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(fds, left) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Cuts a connection from outside: whoever waits on it wakes up with its end.
#[derive(Debug)]
pub struct Cutter {
    tcp: TcpStream,
}

impl Cutter {
    /// Ends the connection both ways.
    pub fn cut(&self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

/// The error of a connection, with what was tried on it.
pub fn blame(tried: impl Into<String>, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::timed_out(tried),
        _ => Error::lost(tried, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_silent_peer_costs_a_time_out_and_a_cut_wakes_the_reader() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let patient = Deadline::after(Duration::from_secs(20));
        let mut stream = Stream::connect(address, None, &patient).expect("a connection");
        let (_peer, _) = listener.accept().expect("a peer");

        let hasty = Deadline::after(Duration::from_millis(20));
        let error = stream.read(&mut [0; 8], &hasty).expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        stream.cutter().expect("a cutter").cut();
        assert_eq!(stream.read(&mut [0; 8], &patient).expect("an end"), 0);
    }
}
