//! Data connections of the scripted server: transfers, and what goes wrong with them.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::session::{Ended, Outcome, Session};
use super::tree::MISSING;
use super::{Act, Gate, Hurry, WAIT_LIMIT};

const CHUNK_SIZE: usize = 64 * 1024;
const SMALL_SEND_BUFFER: usize = 16 * 1024;
/// Pieces a second of a transfer that is slow.
const SLOW_PIECES_PER_SECOND: usize = 100;
/// How often something that stalls looks whether the client is still there.
const STALL_POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Session {
    pub(super) fn retrieve(&mut self, path: &[u8], act: &Act) -> Outcome {
        let from = std::mem::take(&mut self.restart);
        let bytes = self
            .shared
            .tree
            .lock()
            .unwrap()
            .bytes(path)
            .map(<[u8]>::to_vec);
        let Some(bytes) = bytes else {
            return self.say(MISSING);
        };
        let rest = &bytes[from.min(bytes.len())..];
        let Some(mut data) = self.begin()? else {
            return Ok(());
        };
        if matches!(act, Act::Unbuffered) {
            let socket = socket2::SockRef::from(&data);
            socket.set_send_buffer_size(SMALL_SEND_BUFFER).unwrap();
        }
        // What is shorter than the limit comes whole.
        let act = if odd_limit(act).is_some_and(|limit| limit >= rest.len() && limit > 0) {
            &Act::Well
        } else {
            act
        };
        let limit = odd_limit(act).unwrap_or(rest.len());
        let (piece, pause) = match act {
            Act::Pace(rate) => (
                rate / SLOW_PIECES_PER_SECOND,
                Duration::from_secs(1) / SLOW_PIECES_PER_SECOND as u32,
            ),
            Act::Steps(first, _) => (*first, Duration::ZERO),
            _ => (CHUNK_SIZE, Duration::ZERO),
        };
        let mut gates = match act {
            Act::Steps(_, gates) => gates.iter(),
            _ => [].iter(),
        };
        let sent = rest[..limit].chunks(piece).all(|piece| {
            sleep(pause);
            gates.by_ref().take(1).for_each(Gate::pass);
            let is_sent = data.write_all(piece).is_ok();
            let length = if is_sent { piece.len() } else { 0 };
            self.shared.sent.fetch_add(length, Ordering::Relaxed);
            is_sent
        });
        self.end(data, sent, act)
    }

    pub(super) fn list(&mut self, listing: Vec<u8>, act: &Act) -> Outcome {
        let Some(mut data) = self.begin()? else {
            return Ok(());
        };
        let sent = match act {
            Act::Endless(line) => {
                let many = line.repeat(1 + CHUNK_SIZE / line.len());
                while !self.shared.is_stopped() && data.write_all(&many).is_ok() {}
                false
            }
            Act::Listing(lines) => data.write_all(lines).is_ok(),
            Act::Drip => {
                self.drip(&data);
                false
            }
            _ => {
                let limit = odd_limit(act).unwrap_or(listing.len()).min(listing.len());
                data.write_all(&listing[..limit]).is_ok()
            }
        };
        self.end(data, sent, act)
    }

    pub(super) fn store(&mut self, path: &[u8], append: bool, act: &Act) -> Outcome {
        let restart = std::mem::take(&mut self.restart);
        let append = append && !self.shared.script.appe_replaces;
        let is_there = self.tree().bytes(path).is_some();
        let beside = [path, b".1"].concat();
        let path = match self.shared.script.never_replaces && is_there && !append {
            true => &beside,
            false => path,
        };
        if self.shared.script.refuses_to_replace && is_there && !append && restart == 0 {
            return self.say("550 Overwrite permission denied");
        }
        if let Some(words) = self.shared.script.no_parts
            && is_there
            && (append || restart > 0)
        {
            return self.say(words);
        }
        let opened = self
            .shared
            .tree
            .lock()
            .unwrap()
            .open(path, append || restart > 0);
        if let Err(words) = opened {
            return self.say(words);
        }
        let length = self
            .shared
            .tree
            .lock()
            .unwrap()
            .bytes(path)
            .map_or(0, <[u8]>::len);
        let start = if append { length } else { restart };
        if self.shared.script.drops_early && self.came_early() {
            self.say("150 Here it comes")?;
            return self.silence();
        }
        if matches!(act, Act::LoseEarly(_)) {
            self.lose_early();
        }
        let Some(mut data) = self.begin()? else {
            return Ok(());
        };
        if self.shared.script.eager {
            self.hurry()?;
        }
        let limit = odd_limit(act).unwrap_or(usize::MAX);
        // One that is said to be short takes all and keeps less.
        let takes_all = matches!(act, Act::Short(_));
        let mut buffer = vec![0; CHUNK_SIZE];
        let mut taken = 0;
        let whole = loop {
            let room = if takes_all {
                CHUNK_SIZE
            } else {
                CHUNK_SIZE.min(limit - taken)
            };
            if room == 0 {
                break false;
            }
            match data.read(&mut buffer[..room]) {
                Ok(0) => break true,
                Ok(length) => {
                    let kept = length.min(limit.saturating_sub(taken));
                    self.shared
                        .tree
                        .lock()
                        .unwrap()
                        .write(path, start + taken, &buffer[..kept]);
                    taken += length;
                }
                Err(_) => break false,
            }
        };
        self.end(data, whole, act)
    }

    /// Whether bytes wait already; they are lost then.
    fn came_early(&mut self) -> bool {
        const EARLY_DATA_DELAY: Duration = Duration::from_millis(100);
        let Some(listener) = &self.passive else {
            return false;
        };
        sleep(EARLY_DATA_DELAY);
        listener.set_nonblocking(true).unwrap();
        let Ok((data, _)) = listener.accept() else {
            return false;
        };
        data.set_nonblocking(true).unwrap();
        if data.peek(&mut [0]).is_ok() {
            return true;
        }
        self.accepted = Some(data);
        false
    }

    /// Takes what has come over a data connection already, and keeps nothing of it.
    fn lose_early(&mut self) {
        const EARLY_DATA_DELAY: Duration = Duration::from_millis(100);
        let Some(listener) = &self.passive else {
            return;
        };
        sleep(EARLY_DATA_DELAY);
        listener.set_nonblocking(true).unwrap();
        let Ok((mut data, _)) = listener.accept() else {
            return;
        };
        data.set_nonblocking(true).unwrap();
        while data
            .read(&mut [0; CHUNK_SIZE])
            .is_ok_and(|length| length > 0)
        {}
        self.accepted = Some(data);
    }

    /// Takes the data connection and announces the transfer.
    fn begin(&mut self) -> Result<Option<TcpStream>, Ended> {
        let Some(listener) = self.passive.take() else {
            if self.shared.script.forgets_ports {
                self.say("150 Here it comes")?;
            }
            self.say("425 No data connection")?;
            return Ok(None);
        };
        if self.shared.hurries(Hurry::First) {
            self.hurry()?;
        }
        let data = self.accept(&listener)?;
        if data.is_some() && self.shared.hurries(Hurry::Second) {
            self.hurry()?;
        }
        if data.is_some() && self.shared.hurries(Hurry::Dropped) {
            self.drop_pipelined()?;
        }
        Ok(data)
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<Option<TcpStream>, Ended> {
        if !self.is_late {
            self.say("150 Here it comes")?;
        }
        if let Some(data) = self.accepted.take() {
            self.shared.transfers.fetch_add(1, Ordering::Relaxed);
            data.set_nonblocking(false).unwrap();
            return Ok(Some(data));
        }
        listener.set_nonblocking(true).unwrap();
        let until = Instant::now() + WAIT_LIMIT / 2;
        loop {
            match listener.accept() {
                Ok((data, _)) => {
                    self.shared.transfers.fetch_add(1, Ordering::Relaxed);
                    data.set_nonblocking(false).unwrap();
                    return Ok(Some(data));
                }
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && Instant::now() < until
                        && !self.shared.is_stopped() =>
                {
                    sleep(Duration::from_micros(200));
                }
                Err(_) => {
                    self.say("425 No connection came")?;
                    return Ok(None);
                }
            }
        }
    }

    /// The end of a transfer that went well, or as the act has it.
    fn end(&mut self, data: TcpStream, well: bool, act: &Act) -> Outcome {
        match act {
            Act::Stall(_) => {
                self.stall(&data);
                return self.say("426 Stalled");
            }
            Act::Abandon(_) => {
                self.say("426 Abandoned")?;
                self.stall(&data);
                return Ok(());
            }
            Act::Cut(_) => {
                drop(data);
                return self.say("426 Cut");
            }
            Act::CutBoth(_) => {
                reset(data);
                return Err(Ended);
            }
            Act::Refuse(_, words) => {
                drop(data);
                return self.say(words);
            }
            _ => drop(data),
        }
        if self.is_late && !matches!(act, Act::FinalFirst | Act::NoStart) {
            self.say("150 Here it came")?;
        }
        match act {
            Act::TwoStarts => {
                self.say("110 MARK 1 = 1")?;
                self.say("150 On it goes")?;
                self.say("226 All of it")
            }
            Act::FinalFirst => {
                self.say("226 All of it")?;
                self.say("150 Here it came")
            }
            Act::EndSession => {
                self.say("226 All of it")?;
                Err(Ended)
            }
            Act::NoFinal => self.silence(),
            Act::Drip if well => {
                self.say("226-All of it, and:")?;
                self.drip(&self.socket);
                Err(Ended)
            }
            Act::AwaitNext => {
                self.await_next();
                self.say("226 All of it")
            }
            Act::BrokenOff(words) if !well => self.say(words),
            _ if well => self.say("226 All of it"),
            _ => self.say("426 Broken off"),
        }
    }

    /// Sends two bytes a second until the client goes.
    fn drip(&self, mut to: &TcpStream) {
        let until = Instant::now() + WAIT_LIMIT;
        while Instant::now() < until && !self.shared.is_stopped() && to.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(500));
        }
    }

    /// Until the client closes the data connection.
    fn stall(&self, data: &TcpStream) {
        data.set_nonblocking(true).unwrap();
        let until = Instant::now() + WAIT_LIMIT;
        while !self.shared.is_stopped() && Instant::now() < until {
            match data.peek(&mut [0]) {
                Ok(length) if length > 0 => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return,
            }
            sleep(STALL_POLL_INTERVAL);
        }
    }
}

/// After how many bytes a transfer ends oddly.
fn odd_limit(act: &Act) -> Option<usize> {
    match act {
        Act::Stall(limit)
        | Act::Abandon(limit)
        | Act::Cut(limit)
        | Act::CutBoth(limit)
        | Act::Short(limit)
        | Act::LoseEarly(limit)
        | Act::Refuse(limit, _) => Some(*limit),
        _ => None,
    }
}

fn reset(data: TcpStream) {
    let _ = socket2::SockRef::from(&data).set_linger(Some(Duration::ZERO));
}
