//! Decides whether a certificate is trusted, and if not, what is wrong with it and which option accepts it.
//!
//! A certificate is trusted by the first of these that applies: its fingerprint is pinned; nothing is checked
//! (`no_verify_peer`); it is in `cacert=` itself; a known authority signed it, with valid dates and name. What was seen
//! on a host before (`tls=try`) is judged by the caller.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::ftp::tls::certificate::{fingerprint, shown};
use crate::ftp::tls::pem::certificates;
use crate::ftp::tls::{Policy, When};

/// Checks certificates.
#[derive(Clone, Debug)]
pub struct Verifier {
    provider: Arc<CryptoProvider>,
    /// None where no authority is trusted: an empty store has no verifier.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are trusted as they are.
    named: Vec<CertificateDer<'static>>,
    fingerprint: Option<[u8; 32]>,
    trusts_anyone: bool,
    trusts_any_name: bool,
    /// Whether unknown ones pass the handshake, to be judged after it.
    pub takes_unknown: bool,
}

impl Verifier {
    /// What a policy says.
    pub fn new(
        policy: &Policy,
        provider: &Arc<CryptoProvider>,
    ) -> std::result::Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let mut named = Vec::new();
        if let Some(path) = &policy.authorities {
            let wrong = |error: &str| {
                let path = path.display();
                format!("cacert={path}: {error}; name a file or directory of certificates in PEM")
            };
            named = certificates(path).map_err(|error| wrong(&error))?;
            for certificate in &named {
                roots
                    .add(certificate.clone())
                    .map_err(|error| wrong(&error.to_string()))?;
            }
        } else if policy.when != When::Off && policy.fingerprint.is_none() && !policy.trusts_anyone
        {
            // An authority that can't be read signs nothing; the message then names cacert=.
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

    /// One that lets every certificate pass the handshake.
    pub fn believing(&self) -> Self {
        Self {
            takes_unknown: true,
            ..self.clone()
        }
    }

    /// What is wrong with a certificate, in words that name the check and the option that mends it.
    pub fn judge(
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
                    "its certificate has the fingerprint {}, not the one of fingerprint= (possible \
                     interception, or it was renewed)",
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
                    "its certificate is not for the name {}{names}; mount it by that name, or accept it with -o {pin}, or \
                     accept any name with -o no_verify_hostname",
                    name.to_str()
                )
            }
            Fault::Expired | Fault::ExpiredContext { .. } => {
                format!("its certificate has expired; renew it, or accept it with -o {pin}")
            }
            Fault::NotValidYet | Fault::NotValidYetContext { .. } => format!(
                "its certificate is not valid yet; check the clock of this machine, or accept it with -o {pin}"
            ),
            Fault::UnknownIssuer | Fault::BadSignature => format!(
                "no authority (CA) that is trusted here has signed its certificate; add the right one with -o cacert=FILE, or accept it \
                 with -o {pin}"
            ),
            Fault::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => format!(
                "its certificate is signed by itself; add it with -o cacert=FILE, or accept it with -o {pin}"
            ),
            fault => {
                format!("certificate verification failed: {fault}; to accept it, add -o {pin}")
            }
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
