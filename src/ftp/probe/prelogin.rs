//! Examines what a server shows before login: its greeting and its certificate.
//!
//! The connection switches to TLS where that is offered, whatever the certificate, judges the certificate by the rules of the
//! mount, and closes without having sent any secret. So a certificate that a mount would refuse can be shown, and pinned.

use std::time::{Duration, Instant};

use crate::ftp::config::Endpoint;
use crate::ftp::control::Control;
use crate::ftp::net::route::Route;
use crate::ftp::protocol::command::Command;
use crate::ftp::tls::{Certificate, Tls, When};
use crate::process::printable::printable_bytes;
use crate::remote::{Deadline, Error, Result};

use crate::ftp::probe::Answer;

/// How long a server may take to answer after `AUTH TLS`.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// The server before login.
#[derive(Clone, Debug)]
pub struct Prelogin {
    /// The address and port, or the name at a proxy.
    pub place: String,
    /// The lines of the greeting.
    pub greeting: Vec<String>,
    /// Time from the first packet to the end of the greeting.
    pub took: Duration,
    /// The encryption, or the cause why there is none.
    pub encryption: Answer<Encryption>,
    /// `AUTH TLS` was not answered, or ended the session.
    pub fails_at_auth: bool,
}

/// The encryption of a control connection.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// `TLS 1.3`.
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// The server's certificate.
    pub certificate: Certificate,
    /// Whether the rules of the mount accept the certificate, or the cause why not.
    pub verdict: Answer,
}

/// Connects to a server and examines it without logging in.
pub fn look_before_login(endpoint: &Endpoint, deadline: &Deadline) -> Result<Prelogin> {
    let tls = &*endpoint.tls;
    let is_implicit = tls.when() == When::Implicit;
    let since = Instant::now();
    let connect = |route: &Route| {
        let session = is_implicit.then(|| tls.onlooker()).transpose()?;
        let session = session.map(|session| (None, session));
        let stream = endpoint.first_stream(route, deadline)?;
        Control::greeted(route, stream, session, false, deadline)
    };
    let mut control = endpoint.first_control(&connect)?;
    let took = since.elapsed();
    let encryption = match is_implicit {
        true => shown(tls, &mut control),
        false => upgrade(tls, &mut control, deadline),
    };
    let fails_at_auth = !is_implicit && encryption.is_err() && ends(&mut control);
    let greeting = control.greeting();
    Ok(Prelogin {
        place: control.route().to_string(),
        greeting: greeting
            .lines
            .iter()
            .map(|line| without_code(line))
            .collect(),
        took,
        encryption,
        fails_at_auth,
    })
}

/// Whether the session has ended, or ends within a moment: further replies to `AUTH TLS` may come before.
fn ends(control: &mut Control) -> bool {
    let deadline = Deadline::after(END_PATIENCE);
    (0..3).any(|_| {
        let noop = control.command(Command::Noop, &deadline);
        matches!(noop, Err(Error::Lost { .. } | Error::TimedOut { .. }))
    })
}

/// A line of a greeting without the code, which lines in the middle may have too (RFC 959 section 4.2).
fn without_code(line: &[u8]) -> String {
    let line = line.strip_prefix(b"220").unwrap_or(line);
    printable_bytes(line.strip_prefix(b"-").unwrap_or(line).trim_ascii())
}

/// Switches to TLS by `AUTH TLS`.
fn upgrade(tls: &Tls, control: &mut Control, deadline: &Deadline) -> Answer<Encryption> {
    let reply = control
        .command(Command::AuthTls, deadline)
        .map_err(|error| error.to_string())?;
    if !reply.is_completion() {
        return Err(reply.to_string());
    }
    tls.onlooker()
        .and_then(|session| control.encrypt(None, session, deadline))
        .map_err(|error| match error {
            Error::Barred { cause, .. } => cause,
            other => other.to_string(),
        })?;
    shown(tls, control)
}

fn shown(tls: &Tls, control: &mut Control) -> Answer<Encryption> {
    let session = control.session().ok_or("there is no session")?;
    let (version, cipher) = session.shown();
    let own = session.chain().first();
    Ok(Encryption {
        version,
        cipher,
        certificate: own.map(Certificate::read).unwrap_or_default(),
        verdict: tls.verdict(session),
    })
}
