//! Reports the state of a service to systemd (sd_notify(3)).
//!
//! A report is one datagram to the socket in `NOTIFY_SOCKET`. Without that variable nothing is sent, and neither in the
//! background: the socket belongs to the service that started the mount, and the mount is not its main process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Nothing is sent from now on: the process goes into the background.
pub fn silence() {
    IS_SILENT.store(true, Ordering::Release);
}

static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// Whether the program runs as a service that systemd waits for (`Type=notify`).
pub fn is_awaited() -> bool {
    socket().is_some()
}

fn socket() -> Option<OsString> {
    std::env::var_os(SOCKET).filter(|_| !IS_SILENT.load(Ordering::Acquire))
}

/// The service works.
pub fn ready() {
    send("READY=1\nSTATUS=mounted");
}

/// The service ends.
pub fn stopping() {
    send("STOPPING=1");
}

/// The service needs `time` more from now on, for what `status` says.
pub fn extend(time: Duration, status: &str) {
    send(&format!(
        "EXTEND_TIMEOUT_USEC={}\nSTATUS={status}",
        time.as_micros()
    ));
}

/// The environment variable with the socket's path, or its abstract name after `@`.
const SOCKET: &str = "NOTIFY_SOCKET";

fn send(text: &str) {
    let Some(socket) = socket() else {
        return;
    };
    if let Err(error) = send_to(&socket, text) {
        log::debug!("sd_notify: {}: {error}", socket.display());
    }
}

fn send_to(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(text.as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_reaches_a_socket_of_either_kind() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let name = format!("@ftpfs-test-{}", std::process::id());
        let abstract_address =
            SocketAddr::from_abstract_name(&name.as_bytes()[1..]).expect("a name");
        for (socket, bound) in [
            (path.as_os_str(), UnixDatagram::bind(&path)),
            (
                OsStr::new(&name),
                UnixDatagram::bind_addr(&abstract_address),
            ),
        ] {
            let bound = bound.expect("a socket");
            send_to(socket, "READY=1").expect("sent");
            let mut bytes = [0; 16];
            let length = bound.recv(&mut bytes).expect("received");
            assert_eq!(&bytes[..length], b"READY=1");
        }
    }
}
