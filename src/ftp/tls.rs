//! TLS: whom we trust, and the sessions by which data connections belong to their control connection.
//!
//! The one idea: every control connection has a [`Session`] with a store of its own, and its data
//! connections resume what lies in it. Servers that demand that (vsftpd, ProFTPD, FileZilla Server)
//! want the session of this very control connection: a store that several share would offer them
//! another's. The certificate of a data connection must be the control connection's.
//!
//! A certificate is trusted by the first of these that applies: its fingerprint is pinned; nothing
//! is checked (`no_verify_peer`); it stands in `cacert=` itself; authorities that we know vouch for
//! it, its dates and its name; it was seen on this host before (only `tls=try`, see `known.rs`).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier, verify_server_name,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup,
    ProtocolVersion, RootCertStore, SignatureScheme, SupportedProtocolVersion, version,
};

use crate::ftp::known::{Known, Seen};
use crate::remote::{Error, Result};

/// When connections are encrypted, and who is trusted.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// When.
    pub when: When,
    /// Only the control connection is.
    pub clear_data: bool,
    /// TLS 1.3 is the least.
    pub min_13: bool,
    /// TLS 1.2 is the most.
    pub max_12: bool,
    /// A file or a directory of certificates to trust in place of the system's.
    pub authorities: Option<PathBuf>,
    /// Who we are: a file of certificates and one with the key.
    pub identity: Option<Identity>,
    /// The SHA-256 of the one certificate that is taken.
    pub fingerprint: Option<[u8; 32]>,
    /// Any certificate is taken.
    pub trusts_anyone: bool,
    /// A certificate may be for another name.
    pub trusts_any_name: bool,
    /// Where the certificates of `tls=try` are kept.
    pub known_hosts: Option<PathBuf>,
}

/// When connections are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Never.
    #[default]
    Off,
    /// Where the server offers it.
    Try,
    /// Always, after `AUTH TLS` (RFC 4217).
    Explicit,
    /// Always, from the first byte on.
    Implicit,
}

/// A client's certificate and key.
#[derive(Clone)]
pub struct Identity {
    /// The certificates, ours first.
    pub certificates: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// What the key is encrypted with.
    pub passphrase: Option<Vec<u8>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, hidden)", self.certificates.display())
    }
}

/// TLS for one server.
#[derive(Debug)]
pub struct Tls {
    policy: Policy,
    host: String,
    name: ServerName<'static>,
    newest: Option<ClientConfig>,
    tls12: Option<ClientConfig>,
    verifier: Arc<Verifier>,
    known: Known,
}

/// Tickets of one control connection: a server hands out two, and one more with every resumption.
const TICKETS: usize = 8;

impl Tls {
    /// Reads what the policy names; the error is one line for whoever named it.
    pub fn new(policy: Policy, host: &str, port: u16) -> std::result::Result<Self, String> {
        // A zone (fe80::1%eth0) is ours, not the certificate's.
        let bare = host.split('%').next().unwrap_or(host);
        let name = ServerName::try_from(bare.to_string())
            .map_err(|_| format!("{host}: no certificate can be for a name like this"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier::new(&policy, &provider)?);
        let config = |versions: &[&'static SupportedProtocolVersion]| {
            if versions.is_empty() {
                return Ok(None);
            }
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(|error| error.to_string())?
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>);
            let config = match &policy.identity {
                None => builder.with_no_client_auth(),
                Some(identity) => {
                    let (certificates, key) = identity.read()?;
                    builder
                        .with_client_auth_cert(certificates, key)
                        .map_err(|error| {
                            format!(
                                "cert={}: {error}; cert= and key= must belong together",
                                identity.certificates.display()
                            )
                        })?
                }
            };
            Ok::<_, String>(Some(config))
        };
        let (v12, v13) = (&version::TLS12, &version::TLS13);
        let versions = match (policy.min_13, policy.max_12) {
            (true, true) => {
                return Err("tls_min=1.3 is above tls_max=1.2; leave one of them out".to_string());
            }
            (true, false) => vec![v13],
            (false, true) => vec![v12],
            (false, false) => vec![v13, v12],
        };
        Ok(Self {
            newest: config(&versions)?,
            tls12: if policy.min_13 { None } else { config(&[v12])? },
            known: Known::new(policy.known_hosts.clone(), host, port),
            host: host.to_string(),
            name,
            verifier,
            policy,
        })
    }

    /// When connections are encrypted.
    pub fn when(&self) -> When {
        self.policy.when
    }

    /// Whether data connections are left in clear.
    pub fn clear_data(&self) -> bool {
        self.policy.clear_data
    }

    /// Whether this host had TLS before: then it is never spoken to in clear.
    pub fn was_seen(&self) -> bool {
        self.known.seen().is_some()
    }

    /// Whether TLS 1.2 may be used in place of 1.3.
    pub fn can_step_back(&self) -> bool {
        self.tls12.is_some() && !self.policy.max_12
    }

    /// A session for a new control connection; `step_back` is whether it keeps to TLS 1.2.
    pub fn session(&self, step_back: bool) -> Result<Session> {
        let stepped = self.tls12.as_ref().filter(|_| step_back);
        let mut config = stepped
            .or(self.newest.as_ref())
            .cloned()
            .ok_or_else(|| Error::barred("TLS", "no version is allowed"))?;
        let tickets = Arc::new(Tickets {
            store: ClientSessionMemoryCache::new(TICKETS),
            left: AtomicUsize::new(0),
            were_any: AtomicBool::new(false),
        });
        config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<_>);
        Ok(Session {
            config: Arc::new(config),
            tickets,
            can_step_back: self.can_step_back() && !step_back,
            name: self.name.clone(),
            certificate: None,
        })
    }

    /// Judges the certificate of a control connection where the handshake let every one pass, and
    /// keeps what it saw for the next time.
    pub fn judge(&self, connection: &ClientConnection) -> Result<()> {
        if self.policy.when != When::Try || !self.verifier.takes_unknown {
            return Ok(());
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        let Some((own, between)) = chain.split_first() else {
            return Err(Error::barred(&self.host, "it shows no certificate"));
        };
        let print = fingerprint(own);
        let verdict = self
            .verifier
            .judge(own, between, &self.name, &[], UnixTime::now());
        let remove = || {
            format!(
                "if you know why, remove the line of {} from {}",
                self.host,
                self.known.shown()
            )
        };
        match (self.known.seen(), verdict) {
            (_, Ok(())) => self.known.keep(Seen::Verified),
            (Some(Seen::Fingerprint(before)), Err(_)) if before == print => {}
            (Some(Seen::Fingerprint(before)), Err(_)) => {
                return Err(Error::barred(
                    &self.host,
                    format!(
                        "its certificate is not the one that was first seen: fingerprint {} in place of {}; somebody \
                         may stand between; {}",
                        shown(&print),
                        shown(&before),
                        remove()
                    ),
                ));
            }
            (Some(Seen::Verified), Err(why)) => {
                return Err(Error::barred(
                    &self.host,
                    format!(
                        "its certificate was good before, and now {why}; {}",
                        remove()
                    ),
                ));
            }
            (None, Err(why)) => {
                log::warn!(
                    "{}: {why}; taken on first use, and from now on only this one",
                    self.host
                );
                self.known.keep(Seen::Fingerprint(print));
            }
        }
        Ok(())
    }
}

impl Identity {
    fn read(
        &self,
    ) -> std::result::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let certificates = certificates(&self.certificates)
            .map_err(|error| format!("cert={}: {error}", self.certificates.display()))?;
        let wrong = |error: &dyn fmt::Display| format!("key={}: {error}", self.key.display());
        let text = std::fs::read_to_string(&self.key).map_err(|error| wrong(&error))?;
        if let Some(start) = text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            let passphrase = self.passphrase.as_deref().ok_or_else(|| {
                wrong(&"it is encrypted; say its passphrase by pass=, or where you can be asked")
            })?;
            let (_, document) =
                pkcs8::SecretDocument::from_pem(&text[start..]).map_err(|error| wrong(&error))?;
            let key = pkcs8::EncryptedPrivateKeyInfo::try_from(document.as_bytes())
                .and_then(|info| info.decrypt(passphrase))
                .map_err(|error| wrong(&format!("{error}; check its passphrase")))?;
            let key = PrivatePkcs8KeyDer::from(key.as_bytes().to_vec());
            return Ok((certificates, key.into()));
        }
        if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(wrong(
                &"an old form of encryption; openssl pkcs8 -topk8 makes a new one of it",
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| wrong(&format!("no private key in PEM: {error}")))?;
        Ok((certificates, key))
    }
}

/// What data connections have from their control connection.
#[derive(Clone, Debug)]
pub struct Session {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    certificate: Option<CertificateDer<'static>>,
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
        self.left.store((left + 1).min(TICKETS), Ordering::Relaxed);
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
    /// Whether the next data connection could resume nothing, and a new control connection would
    /// mend that: by fresh tickets, or by a step back to TLS 1.2.
    pub fn is_used_up(&self, connection: Option<ProtocolVersion>) -> bool {
        connection == Some(ProtocolVersion::TLSv1_3)
            && self.tickets.left.load(Ordering::Relaxed) == 0
            && (self.can_step_back || self.tickets.were_any.load(Ordering::Relaxed))
    }

    /// A new connection of this session, before its handshake.
    pub fn begin(&self) -> Result<ClientConnection> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| Error::barred("TLS", error.to_string()))
    }

    /// The control connection's handshake is done.
    pub fn of_control(&mut self, connection: &ClientConnection) {
        let chain = connection.peer_certificates().unwrap_or_default();
        self.certificate = chain.first().map(|own| own.clone().into_owned());
    }

    /// Whether a data connection shows the control connection's certificate.
    pub fn owns(&self, connection: &ClientConnection) -> bool {
        let chain = connection.peer_certificates().unwrap_or_default();
        chain.first() == self.certificate.as_ref()
    }
}

/// What is wrong with a handshake, and what mends it.
pub fn explain(tried: &str, error: &rustls::Error) -> Error {
    use rustls::AlertDescription as Alert;
    let cause = match error {
        // The verifier's own words.
        rustls::Error::General(words) => words.clone(),
        rustls::Error::AlertReceived(Alert::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => format!(
            "no version or cipher of TLS in common ({error}); ftpfs has TLS 1.2 and 1.3, see tls_min= and tls_max="
        ),
        rustls::Error::AlertReceived(
            Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA,
        ) => format!(
            "the server does not take our certificate ({error}); name one that it knows by cert= and key="
        ),
        rustls::Error::InvalidMessage(_) => {
            format!(
                "the server speaks no TLS here ({error}); ftps:// is for port 990, ftpes:// for 21"
            )
        }
        error => return Error::lost(tried, format!("TLS: {error}")),
    };
    Error::barred(tried, cause)
}

/// Checks certificates.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// None where nobody is trusted: an empty store has no verifier.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are trusted as they are.
    named: Vec<CertificateDer<'static>>,
    fingerprint: Option<[u8; 32]>,
    trusts_anyone: bool,
    trusts_any_name: bool,
    /// Whether unknown ones pass the handshake, to be judged behind it.
    takes_unknown: bool,
}

impl Verifier {
    fn new(policy: &Policy, provider: &Arc<CryptoProvider>) -> std::result::Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let mut named = Vec::new();
        if let Some(path) = &policy.authorities {
            let wrong = |error: &str| format!("cacert={}: {error}", path.display());
            named = certificates(path).map_err(|error| wrong(&error))?;
            for certificate in &named {
                roots
                    .add(certificate.clone())
                    .map_err(|error| wrong(&error.to_string()))?;
            }
        } else if policy.when != When::Off && policy.fingerprint.is_none() && !policy.trusts_anyone
        {
            // What can't be read is what nobody vouches with; the message then names cacert=.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let authorities = (!roots.is_empty())
            .then(|| {
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                    .build()
            })
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            provider: Arc::clone(provider),
            authorities,
            named,
            fingerprint: policy.fingerprint,
            trusts_anyone: policy.trusts_anyone,
            trusts_any_name: policy.trusts_any_name,
            takes_unknown: policy.when == When::Try
                && policy.fingerprint.is_none()
                && policy.authorities.is_none(),
        })
    }

    /// What is wrong with a certificate, in words that name the check and the option that mends it.
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<(), String> {
        let print = fingerprint(own);
        if let Some(pinned) = self.fingerprint {
            return if pinned == print {
                Ok(())
            } else {
                Err(format!(
                    "its certificate has the fingerprint {}, not the one of fingerprint=; somebody may stand between, \
                     or it was renewed",
                    shown(&print)
                ))
            };
        }
        if self.trusts_anyone {
            return Ok(());
        }
        let verdict = if self
            .named
            .iter()
            .any(|named| named.as_ref() == own.as_ref())
        {
            ParsedCertificate::try_from(own).and_then(|parsed| verify_server_name(&parsed, name))
        } else {
            match &self.authorities {
                Some(authorities) => authorities
                    .verify_server_cert(own, between, name, ocsp, now)
                    .map(drop),
                None => Err(CertificateError::UnknownIssuer.into()),
            }
        };
        use CertificateError as Fault;
        let fault = match verdict {
            Ok(()) => return Ok(()),
            Err(rustls::Error::InvalidCertificate(fault)) => fault,
            Err(error) => return Err(format!("its certificate can't be checked: {error}")),
        };
        let pin = format!("fingerprint={}", shown(&print));
        Err(match fault {
            Fault::NotValidForName | Fault::NotValidForNameContext { .. }
                if self.trusts_any_name =>
            {
                return Ok(());
            }
            Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
                let names = match &fault {
                    Fault::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                        format!(", but for {}", presented.join(", "))
                    }
                    _ => String::new(),
                };
                format!(
                    "its certificate is not for the name {}{names}; mount it by that name, or pin it by {pin}, or allow \
                     any name by no_verify_hostname",
                    name.to_str()
                )
            }
            Fault::Expired | Fault::ExpiredContext { .. } => {
                format!("its certificate has expired; have it renewed, or pin it by {pin}")
            }
            Fault::NotValidYet | Fault::NotValidYetContext { .. } => format!(
                "its certificate is not valid yet; check the clock of this machine, or pin it by {pin}"
            ),
            Fault::UnknownIssuer | Fault::BadSignature => format!(
                "no authority (CA) that is trusted here vouches for its certificate; name the right one by \
                 cacert=FILE, or pin it by {pin}"
            ),
            Fault::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => format!(
                "its certificate is signed by itself; name it by cacert=FILE, or pin it by {pin}"
            ),
            fault => format!("its certificate does not pass ({fault}); pin it by {pin}"),
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if !self.takes_unknown {
            self.judge(own, between, name, ocsp, now)
                .map_err(rustls::Error::General)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// The certificates in a file, or in the files of a directory.
fn certificates(
    path: &std::path::Path,
) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    let mut files = vec![path.to_path_buf()];
    let is_directory = path.is_dir();
    if is_directory {
        let entries = std::fs::read_dir(path).map_err(|error| error.to_string())?;
        files = entries.flatten().map(|entry| entry.path()).collect();
    }
    for file in files {
        let parts = match std::fs::read(&file) {
            Ok(bytes) => CertificateDer::pem_slice_iter(&bytes).collect::<Vec<_>>(),
            // Directories hold all sorts of things.
            Err(_) if is_directory => continue,
            Err(error) => return Err(error.to_string()),
        };
        for part in parts {
            match part {
                Ok(certificate) => found.push(certificate),
                Err(_) if is_directory => {}
                Err(error) => return Err(format!("no certificate in PEM: {error}")),
            }
        }
    }
    if found.is_empty() {
        return Err("it holds no certificate in PEM".to_string());
    }
    Ok(found)
}

/// The SHA-256 of a certificate.
fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let mut print = [0; 32];
    if let Some(suite) = suite.tls13() {
        let hash = suite.common.hash_provider.hash(certificate.as_ref());
        print.copy_from_slice(hash.as_ref());
    }
    print
}

/// A fingerprint as `fingerprint=` takes it.
pub fn shown(fingerprint: &[u8; 32]) -> String {
    let digits: String = fingerprint
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}
