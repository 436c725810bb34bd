//! Chooses the cipher suites to offer.
//!
//! With TLS 1.2 many servers go by their own order, and some (Pure-FTPd) put ChaCha20 first, for the sake of clients
//! without AES instructions. On a processor that has these AES is twice as fast, and every server has it: ChaCha20 is
//! not offered there. With TLS 1.3 servers choose AES on their own.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite};

/// The functions of TLS, with the ciphers that this processor does well.
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if has_aes() {
        provider.cipher_suites.retain(|suite| !is_slow(suite));
    }
    provider
}

/// Whether it is one of TLS 1.2 without AES.
fn is_slow(suite: &SupportedCipherSuite) -> bool {
    matches!(
        suite.suite(),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Whether the processor has instructions for AES in Galois/counter mode.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[allow(unreachable_code)]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_1_3_keeps_all_suites_and_1_2_keeps_aes() {
        let left: Vec<_> = provider().cipher_suites;
        let all = aws_lc_rs::default_provider().cipher_suites;
        let of_12 = |suites: &[SupportedCipherSuite]| {
            suites.iter().filter(|one| one.tls13().is_none()).count()
        };
        assert_eq!(left.len() - of_12(&left), all.len() - of_12(&all));
        assert_eq!(of_12(&left), of_12(&all) - if has_aes() { 2 } else { 0 });
        assert!(of_12(&left) >= 4);
    }
}
