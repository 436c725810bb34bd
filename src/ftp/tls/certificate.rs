//! A certificate: its fingerprint.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;

/// The SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
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
