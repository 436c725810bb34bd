//! Implements a connection: bytes over TCP, perhaps within TLS, with a deadline on every wait.
//!
//! The socket is non-blocking; what would wait polls it for what the deadline has left, so that no thread waits for a
//! server longer than its operation may. A peer that acknowledges what was sent is waited for; one that does not is given
//! up sooner ([`silence_limit`]), so that time is left for another connection. TLS is a filter over the same socket.
//!
//! * `tls_stream`: the TLS record layer of a connection
//!
//! # Closing
//!
//! SO_LINGER: a close resets the connection and drops what was not sent yet (`l_linger` 0), unless
//! [`Stream::finish_writing`], [`Stream::end`] or [`Stream::deliver_on_close`] was called before. Otherwise the kernel
//! goes on retransmitting after a timeout, a cancelled mount or a SIGKILL, and the server executes a command, or takes
//! a cut file for a whole one, long after the caller was told that it failed.

pub(crate) mod tls_stream;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::ftp::net::stream::tls_stream::Protected;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::client::UnbufferedClientConnection;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::remote::{Deadline, Error};

/// A TCP connection to a server.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<Protected>>,
}

/// What a data connection shows before anything was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataState {
    /// The server has not connected yet.
    Awaited,
    /// It is open, and nothing has come.
    Silent,
    /// Bytes have come.
    Bytes,
    /// It has ended.
    Ended,
}

/// How long a server may take to end a data connection when we have: what it still says are tickets
/// for the next one, and to close before it is read resets the connection under the upload's end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Idle seconds before TCP asks whether the peer still lives: below what NAT boxes remember.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The local end of connections: where they go out from, and where active ones come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A local address.
    Address(IpAddr),
    /// A network interface.
    Interface(String),
}

impl Bind {
    /// Binds a socket that is about to connect, or to listen.
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

    /// Connects to `address` from the local address `local`.
    pub fn connect_from(
        local: SocketAddr,
        address: SocketAddr,
        bind: Option<&Bind>,
        deadline: &Deadline,
    ) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if let Some(interface @ Bind::Interface(_)) = bind {
            interface.tie(&socket)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
        let stream = Self::begin_over(socket, address)?;
        stream.established(deadline)?;
        Ok(stream)
    }

    /// Starts to connect to `address`; [`Self::established`] waits for it.
    pub fn begin(address: SocketAddr, bind: Option<&Bind>) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if let Some(bind) = bind {
            bind.tie(&socket)?;
        }
        Self::begin_over(socket, address)
    }

    fn begin_over(socket: Socket, address: SocketAddr) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            result => result?,
        }
        Self::over(socket)
    }

    /// Waits until a connection that was started is established.
    pub fn established(&self, deadline: &Deadline) -> io::Result<()> {
        let mut over = false;
        loop {
            if let Some(error) = self.tcp.take_error()? {
                return Err(error);
            }
            match self.tcp.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected && !over => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
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
        socket.set_linger(Some(Duration::ZERO))?;
        Ok(Self {
            tcp: socket.into(),
            tls: None,
        })
    }

    /// Starts TLS and completes the handshake. The error holds that of TLS, if it is one.
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

    /// Whether the peer has ended its data with close_notify; `None` in clear.
    pub fn ended_in_full(&self) -> Option<bool> {
        self.tls.as_ref().map(|tls| tls.ended_in_full())
    }

    /// Reads available bytes, waiting for the first; 0 at the end.
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
                    deadline.moved(length as u64);
                    return Ok(length);
                }
                error => return error,
            }
        }
    }

    /// Acknowledges received data at once, and the next data too (TCP_QUICKACK).
    pub fn acknowledge(&self) {
        // Without the option the acknowledgement is only delayed.
        let _ = SockRef::from(&self.tcp).set_tcp_quickack(true);
    }

    /// Bounds the bytes that the peer may have under way to us, until we have read as many: then the kernel grows the
    /// window as it likes. Without a bound a socket that is not read takes some megabytes (tcp_rmem).
    pub fn bound_window(&self, bytes: libc::c_int) {
        let length = libc::socklen_t::try_from(size_of_val(&bytes)).unwrap_or_default();
        // SAFETY: setsockopt(2) reads `length` bytes, the size of `bytes`, and the descriptor lives until it returns.
        let done = unsafe {
            libc::setsockopt(
                self.tcp.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_WINDOW_CLAMP,
                (&raw const bytes).cast(),
                length,
            )
        };
        if done != 0 {
            // Without it more bytes come than are wanted.
            let error = io::Error::last_os_error();
            log::debug!("connection: TCP_WINDOW_CLAMP: {error}");
        }
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
                    deadline.moved(length as u64);
                    bytes = &bytes[length..];
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until there is room for more bytes.
    pub fn await_room(&self, deadline: &Deadline) -> io::Result<()> {
        self.wait(PollFlags::POLLOUT, deadline)
    }

    /// Writes all of `bytes`, and the end of the data.
    pub fn write_last(&mut self, bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
        if self.tls.is_none() {
            // The end rides on the last packet: alone it would wait for an acknowledgement where the bytes just fill
            // the window of a fresh connection (ten packets), and an upload of 13 KB cost one more round trip.
            SockRef::from(&self.tcp).set_tcp_cork(true)?;
        }
        self.write_all(bytes, deadline)?;
        self.finish_writing(deadline)
    }

    /// Ends our data. Under TLS, waits for the peer's end, too.
    pub fn finish_writing(&mut self, deadline: &Deadline) -> io::Result<()> {
        // The end, and the bytes before it, are to arrive also when the socket is closed soon after.
        self.deliver_on_close();
        let Some(tls) = &mut self.tls else {
            return self.tcp.shutdown(Shutdown::Write);
        };
        tls.finish_writing(&self.tcp, deadline)?;
        self.tcp.shutdown(Shutdown::Write)?;
        let patience = Deadline::after(CLOSE_PATIENCE.min(deadline.patience()));
        let mut rest = [0; 1024];
        // The reply decides about the upload; an error here does not matter.
        while matches!(tls.read(&self.tcp, &mut rest, &patience), Ok(1..)) {}
        Ok(())
    }

    /// Ends a connection whose end was read, also for holders of a [`Cutter`]: ProFTPD and vsftpd
    /// wait for that before their final reply.
    pub fn end(mut self) {
        self.deliver_on_close();
        if let Some(tls) = &mut self.tls {
            tls.close(&self.tcp);
        }
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    /// Resets a connection: an end would be taken for the end of the file.
    pub fn abort(self) {
        // Where the option can't be set, only the missing close_notify shows it to the server.
        let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
    }

    /// Has a close deliver what was written, and then the end of the connection.
    pub fn deliver_on_close(&self) {
        if let Err(error) = SockRef::from(&self.tcp).set_linger(None) {
            log::warn!(
                "connection: SO_LINGER cannot be cleared: {error}; its last bytes may be lost"
            );
        }
    }

    /// Bytes that were written and that the peer's kernel has not acknowledged, sent or not.
    pub fn unacknowledged(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: SIOCOUTQ (tcp(7); TIOCOUTQ is the same number) stores one int, and the descriptor lives until it returns.
        let done = unsafe { libc::ioctl(self.tcp.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
        match done {
            0 => usize::try_from(bytes).unwrap_or(0),
            _ => 0,
        }
    }

    /// The round-trip time, as the kernel estimates it (`tcpi_rtt` of tcp(7)); `None` before the first.
    pub fn round_trip(&self) -> Option<Duration> {
        // SAFETY: every field of `tcp_info` is an integer, for which zero is a value.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `info`, which lives until the call returns.
        let done = unsafe {
            libc::getsockopt(
                self.tcp.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &mut length,
            )
        };
        let micros = (done == 0).then_some(info.tcpi_rtt);
        micros
            .filter(|&micros| micros > 0)
            .map(|micros| Duration::from_micros(micros.into()))
    }

    /// Whether bytes or an end wait to be read. On a connection that should be silent the server is
    /// about to close it. TLS records without data do not count.
    pub fn has_news(&mut self) -> bool {
        match &mut self.tls {
            Some(tls) => tls.has_news(&self.tcp),
            None => is_readable(&self.tcp),
        }
    }

    /// Whether the server ends a connection that has news: by its end, or by 421 before that. Bytes of TLS do not tell, and
    /// count as an end.
    pub fn is_ending(&self) -> bool {
        let mut start = [0; 3];
        match self.tcp.peek(&mut start) {
            _ if self.tls.is_some() => true,
            Ok(0) => true,
            Ok(length) => start[..length].starts_with(b"421"),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// What a data connection that nothing was taken from yet shows.
    pub fn data_state(&self) -> DataState {
        match self.tcp.peek(&mut [0]) {
            Ok(0) => DataState::Ended,
            Ok(_) => DataState::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => DataState::Silent,
            Err(_) => DataState::Ended,
        }
    }

    /// Waits until this connection or `other` has something to read, or for `slice`, or a little less; the caller checks again.
    /// `since` is when it began to wait.
    pub fn await_either(
        &self,
        other: Option<BorrowedFd<'_>>,
        since: Instant,
        slice: Duration,
        deadline: &Deadline,
    ) -> io::Result<()> {
        let own = self.tcp.as_fd();
        let mut fds = [own, other.unwrap_or(own)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll_for(
            &mut fds,
            deadline,
            slice.min(ACKNOWLEDGEMENT_CHECK_INTERVAL),
        )?;
        check_acknowledged(&self.tcp, since, silence_limit(deadline))
    }

    /// A second handle by which another thread can cut this connection.
    pub fn cutter(&self) -> io::Result<Cutter> {
        Ok(Cutter {
            tcp: self.tcp.try_clone()?,
            resets: false,
        })
    }

    /// The same for a connection whose end would be taken for the end of the file: it is cut by a reset.
    pub fn resetting_cutter(&self) -> io::Result<Cutter> {
        Ok(Cutter {
            resets: true,
            ..self.cutter()?
        })
    }

    /// The address of our end.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    fn wait(&self, events: PollFlags, deadline: &Deadline) -> io::Result<()> {
        await_peer(&self.tcp, events, deadline)
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

/// Interval at which a waiting thread checks whether the peer has acknowledged what was sent.
const ACKNOWLEDGEMENT_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a peer may leave bytes unacknowledged before the connection is given up: a tenth of the timeout. At least two
/// seconds, in which TCP repeats a lost packet three times.
fn silence_limit(deadline: &Deadline) -> Duration {
    (deadline.patience() / 10).max(Duration::from_secs(2))
}

/// Waits until a socket has what is asked for, or a little less; the caller checks again.
pub(crate) fn await_peer(
    tcp: &TcpStream,
    events: PollFlags,
    deadline: &Deadline,
) -> io::Result<()> {
    let (since, limit) = (Instant::now(), silence_limit(deadline));
    loop {
        let mut fds = [PollFd::new(tcp.as_fd(), events)];
        if poll_for(&mut fds, deadline, ACKNOWLEDGEMENT_CHECK_INTERVAL)? {
            return Ok(());
        }
        check_acknowledged(tcp, since, limit)?;
    }
}

/// An error where the peer has acknowledged nothing for `limit` since the wait began.
fn check_acknowledged(tcp: &TcpStream, since: Instant, limit: Duration) -> io::Result<()> {
    match since.elapsed() >= limit && is_unacknowledged_for(tcp, limit) {
        true => Err(io::Error::other(format!(
            "nothing was acknowledged for {} s",
            limit.as_secs()
        ))),
        false => Ok(()),
    }
}

/// Whether packets are under way, and the peer's kernel has sent nothing for `limit`. One whose window is full answers
/// probes.
fn is_unacknowledged_for(tcp: &TcpStream, limit: Duration) -> bool {
    // SAFETY: all fields are integers, of which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or_default();
    // SAFETY: getsockopt(2) stores at most `length` bytes, the size of `info`, and the descriptor lives until it returns.
    let done = unsafe {
        libc::getsockopt(
            tcp.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &mut length,
        )
    };
    let silence = Duration::from_millis(info.tcpi_last_ack_recv.into());
    done == 0 && info.tcpi_unacked > 0 && silence >= limit
}

/// Waits until one of `fds` has what is asked for, or a little less; the caller checks again.
pub fn wait_for(fds: &mut [PollFd<'_>], deadline: &Deadline) -> io::Result<()> {
    poll_for(fds, deadline, Duration::MAX).map(drop)
}

/// The same, no longer than `slice`; false where nothing happened by then.
fn poll_for(fds: &mut [PollFd<'_>], deadline: &Deadline, slice: Duration) -> io::Result<bool> {
    let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
    // One more millisecond, lest a rest below one be rounded to a busy loop.
    let left = left.min(slice).saturating_add(Duration::from_millis(1));
    match poll(fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::Error::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Cuts a connection from another thread: a thread that waits on it wakes up with its end.
#[derive(Debug)]
pub struct Cutter {
    tcp: TcpStream,
    resets: bool,
}

impl Cutter {
    /// Ends the connection both ways.
    pub fn cut(&self) {
        if !self.resets || self.reset().is_err() {
            let _ = self.tcp.shutdown(Shutdown::Both);
        }
    }

    /// Resets the connection and drops what was not sent, also while other threads hold the socket: close would wait for them.
    fn reset(&self) -> io::Result<()> {
        let none = libc::sockaddr {
            sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or_default(),
            sa_data: [0; 14],
        };
        let length = libc::socklen_t::try_from(size_of_val(&none)).unwrap_or_default();
        // SAFETY: connect(2) reads `length` bytes of an address that lives until it returns; AF_UNSPEC dissolves the
        // association of the socket.
        match unsafe { libc::connect(self.tcp.as_raw_fd(), &none, length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The error of a connection, with what was tried on it.
pub fn blame(tried: impl Into<String>, error: &io::Error) -> Error {
    // What this machine lacks says nothing of the server.
    if let Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) = error.raw_os_error() {
        return Error::local(tried, error);
    }
    match error.kind() {
        io::ErrorKind::TimedOut => Error::timed_out(tried),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Error::unreachable(tried, error),
        _ => Error::lost(tried, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn silent_peer_times_out_and_cut_wakes_the_reader() {
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

    /// A connection, and the socket of its peer, which reads nothing by itself.
    fn connected() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let patient = Deadline::after(Duration::from_secs(20));
        let stream = Stream::connect(address, None, &patient).expect("a connection");
        let (peer, _) = listener.accept().expect("a peer");
        (stream, peer)
    }

    #[test]
    fn window_is_bounded_by_the_kernel() {
        let (stream, _peer) = connected();
        stream.bound_window(32 * 1024);
        let (mut bytes, mut length) = (0, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: getsockopt(2) stores at most `length` bytes, the size of `bytes`.
        let done = unsafe {
            libc::getsockopt(
                stream.tcp.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_WINDOW_CLAMP,
                (&raw mut bytes).cast::<libc::c_void>(),
                &mut length,
            )
        };
        assert_eq!((done, bytes), (0, 32 * 1024));
    }

    #[test]
    fn close_without_an_end_resets() {
        let (stream, mut peer) = connected();
        drop(stream);
        let error = peer.read(&mut [0; 1]).expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn close_after_the_end_delivers_all_bytes() {
        let (mut stream, mut peer) = connected();
        let patient = Deadline::after(Duration::from_secs(20));
        // More than the peer's socket takes at once.
        let sent = vec![7; 8 << 20];
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got.len())
        });
        stream.write_all(&sent, &patient).expect("written");
        stream.finish_writing(&patient).expect("an end");
        drop(stream);
        let got = reader.join().expect("a reader").expect("no reset");
        assert_eq!(got, sent.len());
    }

    #[test]
    fn resetting_cutter_wakes_the_writer_and_resets() {
        let (mut stream, mut peer) = connected();
        let cutter = stream.resetting_cutter().expect("a cutter");
        let patient = Deadline::after(Duration::from_secs(20));
        let writer = std::thread::spawn(move || {
            let written = stream.write_all(&vec![0; 64 << 20], &patient);
            (stream, written)
        });
        std::thread::sleep(Duration::from_millis(50));
        cutter.cut();
        let (_stream, written) = writer.join().expect("a writer");
        let error = written.expect_err("it was cut");
        assert_ne!(error.kind(), io::ErrorKind::TimedOut);
        let error = peer.read_to_end(&mut Vec::new()).expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn acknowledged_bytes_leave_the_send_queue() {
        let (mut stream, _peer) = connected();
        let patient = Deadline::after(Duration::from_secs(20));
        stream.write_all(b"NOOP\r\n", &patient).expect("written");
        while stream.unacknowledged() > 0 {
            std::thread::yield_now();
        }
        let hasty = Deadline::after(Duration::from_millis(20));
        // The peer reads nothing: its socket fills up, and the rest stays here.
        stream
            .write_all(&vec![0; 64 << 20], &hasty)
            .expect_err("no room");
        assert!(stream.unacknowledged() > 0);
    }
}
