//! Implements the TLS sessions that data connections resume from their control connection.
//!
//! A session's store belongs to one control connection. Servers that demand a resumed session (vsftpd, ProFTPD,
//! FileZilla Server) want that of this very connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, UnbufferedClientConnection,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};

use crate::remote::{Error, Result};

/// Tickets of one control connection: a server hands out two, and one more with every resumption.
const TICKETS_LIMIT: usize = 8;

/// The TLS session that data connections resume from their control connection.
#[derive(Clone, Debug)]
pub struct Session {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// The control connection's certificate, and its chain.
    chain: Vec<CertificateDer<'static>>,
    version: Option<ProtocolVersion>,
    cipher: Option<CipherSuite>,
    tally: Arc<Tally>,
    tickets: Arc<Tickets>,
    can_step_back: bool,
}

/// A store that knows how many tickets of TLS 1.3 it holds: each serves one connection, and not every
/// server hands out another in exchange (ProFTPD does not for an upload, Pure-FTPd never does).
#[derive(Debug)]
struct Tickets {
    store: ClientSessionMemoryCache,
    left: AtomicUsize,
    were_any: AtomicBool,
}

/// How the handshakes of data connections went.
#[derive(Debug, Default)]
struct Tally {
    resumed: AtomicUsize,
    full: AtomicUsize,
}

impl Tickets {
    fn new() -> Self {
        Self {
            store: ClientSessionMemoryCache::new(TICKETS_LIMIT),
            left: AtomicUsize::new(0),
            were_any: AtomicBool::new(false),
        }
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.store.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.store.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.store.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.store.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.store.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.store.insert_tls13_ticket(name, value);
        // Of more than the store holds it drops the oldest.
        let left = self.left.load(Ordering::Relaxed);
        self.left
            .store((left + 1).min(TICKETS_LIMIT), Ordering::Relaxed);
        self.were_any.store(true, Ordering::Relaxed);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self.store.take_tls13_ticket(name)?;
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        Some(ticket)
    }
}

impl Session {
    /// A session of a new control connection; `can_step_back` is whether TLS 1.2 may be tried next.
    pub fn new(mut config: ClientConfig, name: ServerName<'static>, can_step_back: bool) -> Self {
        let tickets = Arc::new(Tickets::new());
        config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<_>);
        Self {
            config: Arc::new(config),
            tickets,
            can_step_back,
            name,
            chain: Vec::new(),
            version: None,
            cipher: None,
            tally: Arc::default(),
        }
    }

    /// Whether the next data connection could resume nothing, and a new control connection would
    /// help: by new tickets, or by a fallback to TLS 1.2.
    pub fn is_used_up(&self, connection: Option<ProtocolVersion>) -> bool {
        connection == Some(ProtocolVersion::TLSv1_3)
            && self.tickets.left.load(Ordering::Relaxed) == 0
            && (self.can_step_back || self.tickets.were_any.load(Ordering::Relaxed))
    }

    /// A new connection of this session, before its handshake.
    pub fn begin(&self) -> Result<UnbufferedClientConnection> {
        UnbufferedClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| Error::barred("TLS", error.to_string()))
    }

    /// The control connection's handshake is done.
    pub fn of_control(&mut self, connection: &CommonState) {
        let chain = connection.peer_certificates().unwrap_or_default();
        self.chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        self.version = connection.protocol_version();
        self.cipher = connection
            .negotiated_cipher_suite()
            .map(|suite| suite.suite());
    }

    /// The certificate that the control connection showed, and its chain.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The version and the cipher of the control connection, for people.
    pub fn shown(&self) -> (String, String) {
        let version = match self.version {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_string(),
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_string(),
            other => format!("{other:?}"),
        };
        let cipher = self.cipher.map(|cipher| format!("{cipher:?}"));
        (version, cipher.unwrap_or_default())
    }

    /// Data connections that resumed this session, and those that shook hands in full.
    pub fn tally(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.tally.resumed), count(&self.tally.full))
    }

    /// Verifies certificates with `verifier` from now on.
    pub fn believe(&mut self, verifier: Arc<dyn ServerCertVerifier>) {
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(verifier);
        self.config = Arc::new(config);
    }

    /// Disables resumption: the probe tests whether the server demands it.
    pub fn forget(&mut self) {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::disabled();
        self.config = Arc::new(config);
        self.tickets = Arc::new(Tickets::new());
        self.can_step_back = false;
    }

    /// Whether a data connection shows the control connection's certificate.
    pub fn owns(&self, connection: &CommonState) -> bool {
        let counter = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => &self.tally.resumed,
            _ => &self.tally.full,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let chain = connection.peer_certificates().unwrap_or_default();
        chain.first() == self.chain.first()
    }
}
