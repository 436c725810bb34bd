//! Encrypts control and data connections (RFC 4217).
//!
//! One TLS session belongs to a control connection, and every data connection resumes it, showing the same certificate.
//! A failed handshake leaves the connection out of step.

use std::io;

use rustls::{CommonState, ProtocolVersion};

use crate::ftp::control::{Condition, Control, blame, is_end};
use crate::ftp::net::stream::Stream;
use crate::ftp::tls;
use crate::ftp::tls::{Session, Tls};
use crate::remote::{Deadline, Error, Result};

impl Control {
    /// Starts TLS. `judge` verifies the certificate; a probe that sends nothing secret needs none.
    pub fn encrypt(
        &mut self,
        judge: Option<&Tls>,
        mut session: Session,
        deadline: &Deadline,
    ) -> Result<()> {
        let connection = self.shake_hands(&mut session, deadline)?;
        if let Some(tls) = judge {
            tls.judge(connection)?;
        }
        self.session = Some(session);
        self.condition = Condition::InStep;
        Ok(())
    }

    fn shake_hands(&mut self, session: &mut Session, deadline: &Deadline) -> Result<&CommonState> {
        let tried = format!("encrypting the connection to {}", self.route);
        // What came before TLS may be anyone's (as with STARTTLS, CVE-2011-0411).
        if !self.reader.is_empty() {
            self.give_up();
            let saw = "plaintext bytes after the reply to AUTH TLS";
            return Err(Error::misbehaved(tried, saw));
        }
        self.give_up();
        let connection = self.stream.encrypt(session.begin()?, deadline);
        let connection = connection.map_err(|error| {
            if is_no_tls(&error) {
                self.condition = Condition::SpeaksNoTls;
            }
            handshake(&tried, &error)
        })?;
        session.of_control(connection);
        log::debug!("control connection: {:?}", connection.protocol_version());
        Ok(connection)
    }

    /// Encrypts a data connection, if that is agreed. To be done once the server has begun the
    /// transfer, also for an empty file.
    pub fn protect(&self, data: &mut Stream, deadline: &Deadline) -> Result<()> {
        let Some(session) = self.session.as_ref().filter(|_| self.protects_data) else {
            return Ok(());
        };
        let tried = "encrypting the data connection";
        let connection = data.encrypt(session.begin()?, deadline);
        let connection = connection.map_err(|error| handshake(tried, &error))?;
        if !session.owns(connection) {
            let cause =
                "it shows another certificate than the control connection (possible interception)";
            return Err(Error::barred(tried, cause));
        }
        if let Some((version, resumed)) = data.protection() {
            let how = if resumed { "resumed" } else { "full handshake" };
            log::debug!("data connection: {version:?}, {how}");
        }
        Ok(())
    }

    /// The TLS session, if there is one.
    pub fn session(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    /// Whether the handshake has shown that the server speaks no TLS, or ends the connection when it begins.
    pub fn speaks_no_tls(&self) -> bool {
        self.condition == Condition::SpeaksNoTls
    }

    /// Whether the control connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.session.is_some()
    }

    /// The version of TLS on the control connection; `None` without TLS.
    pub fn tls_version(&self) -> Option<&'static str> {
        let (version, _) = self.stream.protection()?;
        Some(match version {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        })
    }

    /// Whether the next data connection could not resume the TLS session, which some servers demand,
    /// and one of a new control connection could.
    pub fn is_used_up(&self) -> bool {
        let version = self.stream.protection().and_then(|(version, _)| version);
        let session = self.session.as_ref().filter(|_| self.protects_data);
        session.is_some_and(|session| session.is_used_up(version))
    }

    /// Whether data connections are encrypted.
    pub fn protects_data(&self) -> bool {
        self.protects_data
    }

    /// Data connections are encrypted from now on, or not: the server has agreed.
    pub fn set_protects_data(&mut self, protects: bool) {
        self.protects_data = protects;
    }
}

/// Whether a handshake failed since what came was not TLS, or was nothing but the end of the connection.
fn is_no_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => matches!(error, rustls::Error::InvalidMessage(_)),
        None => is_end(error),
    }
}

/// The error of a handshake.
fn handshake(tried: &str, error: &io::Error) -> Error {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => tls::explain(tried, error),
        None => blame(tried, error),
    }
}
