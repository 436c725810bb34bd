//! Implements TLS: the trust policy, and the sessions that bind data connections to their control connection.
//!
//! Every control connection has a [`Session`] with a store of its own, and its data connections resume what lies in it.
//! Servers that demand that (vsftpd, ProFTPD, FileZilla Server) want the session of this very control connection: a
//! shared store would offer them that of another one. The certificate of a data connection must be the control
//! connection's.
//!
//! With `tls=try` the certificate that was first seen on a host is trusted, too (TOFU).
//!
//! * `verifier`: decides whether a certificate is trusted
//! * `known_hosts`: keeps the hosts that were seen with TLS, for `tls=try`
//! * `session`: TLS sessions that data connections resume
//! * `cipher_suites`: chooses the cipher suites to offer
//! * `certificate`: reads a certificate for display
//! * `pem`: reads certificates and keys from PEM files

pub(crate) mod certificate;
pub(crate) mod cipher_suites;
pub(crate) mod known_hosts;
pub(crate) mod pem;
pub(crate) mod session;
pub(crate) mod verifier;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, CommonState, SupportedProtocolVersion, version};

pub use crate::ftp::tls::certificate::Certificate;
use crate::ftp::tls::certificate::{fingerprint, shown};
use crate::ftp::tls::known_hosts::{Known, Seen};
pub use crate::ftp::tls::pem::Identity;
pub use crate::ftp::tls::session::Session;
use crate::ftp::tls::verifier::Verifier;
use crate::remote::{Error, Result};

/// When connections are encrypted, and which certificates are trusted.
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
    /// A control connection was encrypted, whether or not that is kept.
    encrypted: AtomicBool,
}

impl Tls {
    /// Reads what the policy names; the error is one line for the user.
    pub fn new(policy: Policy, host: &str, port: u16) -> std::result::Result<Self, String> {
        // A zone (fe80::1%eth0) is ours, not the certificate's.
        let bare = host.split('%').next().unwrap_or(host);
        let name = ServerName::try_from(bare.to_string())
            .map_err(|_| format!("{host}: no certificate can be for a name like this"))?;
        let provider = Arc::new(cipher_suites::provider());
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
            encrypted: AtomicBool::new(false),
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
        self.known.seen().is_some() || self.encrypted.load(Ordering::Relaxed)
    }

    /// Whether TLS 1.2 may be used in place of 1.3.
    pub fn can_step_back(&self) -> bool {
        self.tls12.is_some() && !self.policy.max_12
    }

    /// A session for a new control connection; `step_back` is whether it keeps to TLS 1.2.
    pub fn session(&self, step_back: bool) -> Result<Session> {
        let stepped = self.tls12.as_ref().filter(|_| step_back);
        let config = stepped
            .or(self.newest.as_ref())
            .cloned()
            .ok_or_else(|| Error::barred("TLS", "no version is allowed"))?;
        let can_step_back = self.can_step_back() && !step_back;
        Ok(Session::new(config, self.name.clone(), can_step_back))
    }

    /// A session that looks only, and lets every certificate pass: nothing secret may be sent in it.
    pub fn onlooker(&self) -> Result<Session> {
        let mut session = self.session(false)?;
        session.believe(Arc::new(self.verifier.believing()));
        Ok(session)
    }

    /// What is wrong with the certificate that a control connection showed, by the rules of this server.
    pub fn verdict(&self, session: &Session) -> std::result::Result<(), String> {
        match session.chain().split_first() {
            None => Err("it shows no certificate".to_string()),
            Some((own, between)) => {
                self.verifier
                    .judge(own, between, &self.name, &[], UnixTime::now())
            }
        }
    }

    /// Judges the certificate of a control connection where the handshake let every one pass, and
    /// keeps what it saw for the next time.
    pub fn judge(&self, connection: &CommonState) -> Result<()> {
        self.encrypted.store(true, Ordering::Relaxed);
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
                        "its certificate is not the one that was first seen: fingerprint {} in place of {} (possible \
                         interception); {}",
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
