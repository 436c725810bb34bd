//! Waits for changes of links, addresses and routes, which the kernel reports by rtnetlink(7).

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// A socket that receives the reports.
#[derive(Debug)]
pub struct RouteChanges(OwnedFd);

/// Groups of reports: links, and addresses and routes of IPv4 and IPv6 (linux/rtnetlink.h, RTMGRP).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

impl RouteChanges {
    /// Reports from now on; `None` where the kernel refuses the socket.
    pub fn watch() -> Option<Self> {
        let made = Self::open();
        made.inspect_err(|error| log::debug!("network: no reports of changed routes: {error}"))
            .ok()
    }

    fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Waits for a change, for `patience` at most; returns whether there was one.
    pub fn await_change(&self, patience: Duration) -> bool {
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, patience), Ok(1..)) {
            return false;
        }
        // What was reported does not matter. An overflow (ENOBUFS) is cleared by being read, too.
        let mut report = [0; 4096];
        while recv(self.0.as_raw_fd(), &mut report, MsgFlags::empty()).is_ok() {}
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_network_ends_no_pause() {
        let changes = RouteChanges::watch().expect("a netlink socket");
        // Reports of earlier changes may still come in.
        while changes.await_change(Duration::from_millis(50)) {}
        assert!(!changes.await_change(Duration::from_millis(1)));
    }
}
