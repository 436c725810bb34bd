//! Keeps track of sessions that the server may still count although their connections were given up here.
//!
//! A reset that was lost in an outage is not sent again. The server keeps such a session until its own timeout (300 s
//! for vsftpd), counts it against its limits, and answers 421 to new connections. Two things help:
//!
//! * While old sessions may be counted, a refusal for lack of room is waited out and teaches no lower limit.
//! * The next connection is made from the local port of a reset one. The server's kernel answers a SYN on a connection
//!   it believes established with a challenge ACK (RFC 5961 section 4), our kernel answers that with the lost reset, the
//!   old session ends, and the SYN is repeated.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Sessions that were given up.
#[derive(Debug, Default)]
pub struct OldSessions {
    /// Local addresses of connections that were reset, with the time of that.
    reset: Vec<(SocketAddr, Instant)>,
    /// Until when the server may count some.
    counted_until: Option<Instant>,
}

/// How long a server may count a session whose reset was lost.
const RESET_LIFE: Duration = Duration::from_secs(300);
/// How long it may count one whose FIN is repeated by the kernel until it arrives.
const CLOSED_LIFE: Duration = Duration::from_secs(60);
/// Local addresses that are kept at most.
const RESET_LIMIT: usize = 64;

impl OldSessions {
    /// Adds a connection that is reset; the local address is that of our end, where no proxy is on the way.
    pub fn add_reset(&mut self, local: Option<SocketAddr>) {
        self.extend(RESET_LIFE);
        self.reset.retain(|(_, since)| since.elapsed() < RESET_LIFE);
        if let Some(local) = local.filter(|_| self.reset.len() < RESET_LIMIT) {
            self.reset.push((local, Instant::now()));
        }
    }

    /// Adds a connection that is closed while the server may be unreachable.
    pub fn add_closed(&mut self) {
        self.extend(CLOSED_LIFE);
    }

    /// Whether the server may count sessions that have ended here.
    pub fn may_be_counted(&self) -> bool {
        self.counted_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// The local address from which the next connection is to be made.
    pub fn take_address(&mut self) -> Option<SocketAddr> {
        let (local, since) = self.reset.pop()?;
        (since.elapsed() < RESET_LIFE).then_some(local)
    }

    /// Keeps an address from which no connection could be made.
    pub fn put_back(&mut self, local: SocketAddr) {
        self.reset.push((local, Instant::now()));
    }

    fn extend(&mut self, life: Duration) {
        let until = Instant::now() + life;
        self.counted_until = Some(self.counted_until.map_or(until, |old| old.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_reset_session_is_used_once() {
        let mut sessions = OldSessions::default();
        assert!(!sessions.may_be_counted());
        let local: SocketAddr = "127.0.0.1:4000".parse().expect("an address");
        sessions.add_reset(Some(local));
        assert!(sessions.may_be_counted());
        assert_eq!(sessions.take_address(), Some(local));
        assert_eq!(sessions.take_address(), None);
        assert!(sessions.may_be_counted());
    }
}
