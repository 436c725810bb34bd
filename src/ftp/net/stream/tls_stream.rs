//! Implements the TLS record layer of a connection.
//!
//! rustls works on our own buffers: one large read is decrypted record by record where it lies, and goes straight to
//! the reader. rustls' own buffering would take 4 KiB at a time.
//!
//! # Invariants
//!
//! All that TLS has to send is in `output`, and is sent before anything is waited for.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use nix::poll::PollFlags;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};

use crate::ftp::net::stream::{await_peer, is_readable};
use crate::remote::Deadline;

/// Bytes read from the socket at once. A message of a handshake, which rustls wants whole, is shorter.
const READ_SIZE: usize = 128 * 1024;
/// Bytes encrypted at once: four records.
const WRITE_SIZE: usize = 64 * 1024;

/// The TLS state of a connection.
pub(crate) struct Protected {
    connection: UnbufferedClientConnection,
    /// Received bytes that are not decrypted yet.
    input: Buffer,
    /// Decrypted bytes that did not fit the reader's buffer.
    plain: Buffer,
    /// Encrypted bytes that are not sent yet.
    output: Buffer,
    /// The peer sent close_notify. An attacker can cut a connection, but can't forge that.
    ended: bool,
}

impl fmt::Debug for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.connection.protocol_version();
        write!(f, "Protected({version:?}, ended: {})", self.ended)
    }
}

/// The purpose of one turn.
enum Wish<'a> {
    /// Decrypt into this buffer.
    Read(&'a mut [u8]),
    /// Encrypt these bytes.
    Write(&'a [u8]),
    /// Send close_notify.
    Close,
}

/// The result of one turn.
enum Turn {
    /// A record of its own, or this number of decrypted bytes in the buffer.
    Came(usize),
    /// All was written to the output.
    Said,
    /// More input is needed.
    Starved,
}

impl Protected {
    /// Completes the handshake.
    pub(crate) fn begin(
        connection: UnbufferedClientConnection,
        tcp: &TcpStream,
        deadline: &Deadline,
    ) -> io::Result<Self> {
        let mut tls = Self {
            connection,
            input: Buffer::default(),
            plain: Buffer::default(),
            output: Buffer::default(),
            ended: false,
        };
        loop {
            while !matches!(tls.step(tcp, Wish::Read(&mut []))?, Turn::Starved) {}
            tls.flush(tcp, deadline)?;
            if !tls.connection.is_handshaking() {
                return Ok(tls);
            }
            if !tls.fill(tcp, Some(deadline))? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The negotiated parameters.
    pub(crate) fn state(&self) -> &CommonState {
        &self.connection
    }

    /// Whether the peer has sent close_notify.
    pub(crate) fn ended_in_full(&self) -> bool {
        self.ended
    }

    /// Reads available bytes, waiting for the first; 0 at the end.
    pub(crate) fn read(
        &mut self,
        tcp: &TcpStream,
        buffer: &mut [u8],
        deadline: &Deadline,
    ) -> io::Result<usize> {
        let mut length = self.plain.give(buffer);
        while length < buffer.len() {
            match self.step(tcp, Wish::Read(&mut buffer[length..]))? {
                Turn::Came(more) => length += more,
                Turn::Said => {}
                Turn::Starved if length > 0 || self.ended => break,
                Turn::Starved => {
                    self.flush(tcp, deadline)?;
                    // Many servers just hang up; whether that is an end is for the reply to say.
                    if !self.fill(tcp, Some(deadline))? {
                        break;
                    }
                }
            }
        }
        Ok(length)
    }

    /// Writes all of `bytes`.
    pub(crate) fn write_all(
        &mut self,
        tcp: &TcpStream,
        bytes: &[u8],
        deadline: &Deadline,
    ) -> io::Result<()> {
        for bytes in bytes.chunks(WRITE_SIZE) {
            self.say(tcp, || Wish::Write(bytes))?;
            self.flush(tcp, deadline)?;
        }
        Ok(())
    }

    /// Sends close_notify, as far as that can be done without waiting.
    pub(crate) fn close(&mut self, mut tcp: &TcpStream) {
        if self.say(tcp, || Wish::Close).is_ok() {
            let _ = tcp.write(self.output.bytes());
        }
    }

    /// Sends close_notify.
    pub(crate) fn finish_writing(
        &mut self,
        tcp: &TcpStream,
        deadline: &Deadline,
    ) -> io::Result<()> {
        self.say(tcp, || Wish::Close)?;
        self.flush(tcp, deadline)
    }

    /// Whether bytes or an end wait to be read; records without data are taken.
    pub(crate) fn has_news(&mut self, tcp: &TcpStream) -> bool {
        loop {
            match self.step(tcp, Wish::Read(&mut [])) {
                _ if self.ended || self.plain.length() > 0 => return true,
                Err(_) => return true,
                Ok(Turn::Starved) if !is_readable(tcp) => return false,
                Ok(Turn::Starved) if !matches!(self.fill(tcp, None), Ok(true)) => return true,
                Ok(_) => {}
            }
        }
    }

    fn say<'a>(&mut self, tcp: &TcpStream, wish: impl Fn() -> Wish<'a>) -> io::Result<()> {
        loop {
            match self.step(tcp, wish())? {
                Turn::Came(_) => {}
                Turn::Said => return Ok(()),
                // Neither side may write any more.
                Turn::Starved => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// One turn of rustls; an alert is sent to the peer where its records are wrong.
    fn step(&mut self, mut tcp: &TcpStream, wish: Wish<'_>) -> io::Result<Turn> {
        self.turn(wish).map_err(|error| {
            let _ = self.turn(Wish::Read(&mut []));
            let _ = tcp.write(self.output.bytes());
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    fn turn(&mut self, wish: Wish<'_>) -> Result<Turn, Error> {
        let Self {
            connection,
            input,
            plain,
            output,
            ended,
        } = self;
        let UnbufferedStatus { mut discard, state } = connection.process_tls_records(input.bytes());
        let turn = match state {
            Err(error) => Err(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut rest = match wish {
                    Wish::Read(buffer) => buffer,
                    _ => &mut [],
                };
                let mut copied = 0;
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    let fits = rest.len().min(record.payload.len());
                    let (now, later) = record.payload.split_at(fits);
                    rest[..fits].copy_from_slice(now);
                    rest = &mut rest[fits..];
                    copied += fits;
                    plain.put(later);
                }
                Ok(Turn::Came(copied))
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => output
                .write(|room| {
                    data.encode(room).map_err(|error| match error {
                        EncodeError::InsufficientSize(size) => Tight::Room(size),
                        error => Tight::Other(Error::General(error.to_string())),
                    })
                })
                .map(|()| Turn::Came(0)),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Turn::Came(0))
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => match wish {
                Wish::Read(_) => Ok(Turn::Starved),
                Wish::Write(bytes) => output
                    .write(|room| traffic.encrypt(bytes, room).map_err(Tight::from))
                    .map(|()| Turn::Said),
                Wish::Close => output
                    .write(|room| traffic.queue_close_notify(room).map_err(Tight::from))
                    .map(|()| Turn::Said),
            },
            Ok(ConnectionState::PeerClosed) => {
                *ended = true;
                Ok(Turn::Came(0))
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(Turn::Starved),
            Ok(other) => Err(Error::General(format!("{other:?} is not for clients"))),
        };
        input.drop_first(discard);
        turn
    }

    /// Receives more bytes, waiting for them unless there is no `deadline`; false at the end.
    fn fill(&mut self, mut tcp: &TcpStream, deadline: Option<&Deadline>) -> io::Result<bool> {
        let least = READ_SIZE - self.input.length();
        if least == 0 {
            let what = "a message of TLS is too long";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        loop {
            match tcp.read(self.input.room(least)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match deadline {
                    Some(deadline) => {
                        await_peer(tcp, PollFlags::POLLIN, deadline)?;
                    }
                    None => return Ok(true),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length) => {
                    self.input.add(length);
                    if let Some(deadline) = deadline {
                        deadline.moved(length as u64);
                    }
                    return Ok(length > 0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self, mut tcp: &TcpStream, deadline: &Deadline) -> io::Result<()> {
        while self.output.length() > 0 {
            match tcp.write(self.output.bytes()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    await_peer(tcp, PollFlags::POLLOUT, deadline)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.output.drop_first(length);
                    deadline.moved(length as u64);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Why something was not put into a buffer.
enum Tight {
    Room(InsufficientSizeError),
    Other(Error),
}

impl From<EncryptError> for Tight {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::Room(size),
            EncryptError::EncryptExhausted => Self::Other(Error::EncryptError),
        }
    }
}

/// A FIFO buffer of bytes.
#[derive(Debug, Default)]
struct Buffer {
    memory: Vec<u8>,
    from: usize,
    to: usize,
}

impl Buffer {
    fn length(&self) -> usize {
        self.to - self.from
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.to]
    }

    fn drop_first(&mut self, length: usize) {
        self.from += length;
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
    }

    /// Free space after the last byte, for `least` bytes or more. Bytes put there count with [`Self::add`].
    fn room(&mut self, least: usize) -> &mut [u8] {
        if self.memory.len() - self.to < least {
            self.memory.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.length());
            let needed = self.memory.len().max(self.to + least);
            self.memory.resize(needed, 0);
        }
        &mut self.memory[self.to..]
    }

    fn add(&mut self, length: usize) {
        self.to += length;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.add(bytes.len());
    }

    /// Moves the first bytes to `target`; returns how many.
    fn give(&mut self, target: &mut [u8]) -> usize {
        let length = target.len().min(self.length());
        target[..length].copy_from_slice(&self.bytes()[..length]);
        self.drop_first(length);
        length
    }

    /// Has something written into it that knows how much room it needs only when there is too little.
    fn write(&mut self, put: impl FnMut(&mut [u8]) -> Result<usize, Tight>) -> Result<(), Error> {
        let mut put = put;
        let mut least = 0;
        loop {
            match put(self.room(least)) {
                Ok(length) => {
                    self.add(length);
                    return Ok(());
                }
                Err(Tight::Room(size)) if size.required_size > least => least = size.required_size,
                Err(Tight::Room(_)) => return Err(Error::EncryptError),
                Err(Tight::Other(error)) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_keeps_order_and_reuses_memory() {
        let mut buffer = Buffer::default();
        let mut out = Vec::new();
        for round in 0..100_u8 {
            buffer.put(&[round; 10]);
            let mut some = [0; 7];
            let length = buffer.give(&mut some);
            out.extend_from_slice(&some[..length]);
        }
        while buffer.length() > 0 {
            let mut some = [0; 64];
            let length = buffer.give(&mut some);
            out.extend_from_slice(&some[..length]);
        }
        let expected: Vec<u8> = (0..100).flat_map(|round| [round; 10]).collect();
        assert_eq!(out, expected);
        let memory = buffer.memory.len();
        buffer.put(&vec![1; memory]);
        assert_eq!(buffer.memory.len(), memory);
    }
}
