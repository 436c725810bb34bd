//! Reads a certificate for display: subject, issuer, validity and fingerprint (X.509, RFC 5280 section 4.1).
//!
//! The verifier decides whether a certificate is trusted; this is for people. Pure functions on
//! untrusted bytes: what can't be parsed is left out.
//!
//! Why no crate: `x509-cert` 0.2 fails for the whole certificate if its serial number has more than
//! 20 octets or a date lies before 1970, and those are the certificates of old servers and devices
//! that `ftpfs probe` is run against. The names would still be formatted here (they are not escaped
//! as in RFC 4514, and a terminal control becomes U+FFFD), so that about 60 lines would be saved.
//! `x509-parser` 0.18 brings 23 more crates.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;

use crate::ftp::protocol::time_val::unix_seconds;
use crate::process::printable::{printable, printable_bytes};

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for, as `CN=host, O=name`; empty where only alternative names are given.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: Option<i64>,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: Option<i64>,
    /// Its SHA-256, as `fingerprint=` takes it.
    pub fingerprint: String,
}

impl Certificate {
    /// Reads a certificate.
    pub fn read(certificate: &CertificateDer<'_>) -> Self {
        Self {
            fingerprint: shown(&fingerprint(certificate)),
            ..body(certificate.as_ref()).unwrap_or_default()
        }
    }
}

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

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1E;
/// The tag of the version, which old certificates leave out.
const VERSION: u8 = 0xA0;

/// The parts of a `TBSCertificate`, in their order: version, serial, algorithm, issuer, validity, subject.
fn body(bytes: &[u8]) -> Option<Certificate> {
    let mut certificate = Values(Values(bytes).expect(SEQUENCE)?);
    let mut body = Values(certificate.expect(SEQUENCE)?);
    let (tag, _) = body.next()?;
    if tag == VERSION {
        body.next()?;
    }
    body.expect(SEQUENCE)?;
    let issuer = name(body.expect(SEQUENCE)?);
    let mut validity = Values(body.expect(SEQUENCE)?);
    let not_before = validity.next().and_then(time);
    let not_after = validity.next().and_then(time);
    let subject = name(body.expect(SEQUENCE)?);
    Some(Certificate {
        subject,
        issuer,
        not_before,
        not_after,
        fingerprint: String::new(),
    })
}

/// Values of DER, one after the other.
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // The long form; no certificate has more than three bytes of length.
            let digits = usize::from(first & 0x7F);
            let (digits, rest) = (1..=3)
                .contains(&digits)
                .then(|| rest.split_at_checked(digits))??;
            let length = digits
                .iter()
                .fold(0, |length, &digit| length << 8 | usize::from(digit));
            (length, rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|&(tag, _)| tag == expected)
            .map(|(_, content)| content)
    }
}

/// A distinguished name, its parts from the most particular to the most general.
fn name(bytes: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Values(bytes);
    while let Some(set) = sets.expect(SET) {
        let mut attributes = Values(set);
        while let Some(attribute) = attributes.expect(SEQUENCE) {
            let mut pair = Values(attribute);
            if let Some(kind) = pair.expect(OBJECT_IDENTIFIER)
                && let Some((tag, value)) = pair.next()
            {
                parts.push(format!("{}={}", label(kind), text(tag, value)));
            }
        }
    }
    parts.reverse();
    parts.join(", ")
}

/// The short name of an attribute (RFC 4519), or its number.
fn label(kind: &[u8]) -> String {
    let known = match kind {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1] => "email",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 25] => "DC",
        other => return other.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    known.to_string()
}

/// A string in whichever form.
fn text(tag: u8, value: &[u8]) -> String {
    if tag == BMP_STRING {
        let units: Vec<u16> = value
            .as_chunks()
            .0
            .iter()
            .map(|&pair| u16::from_be_bytes(pair))
            .collect();
        printable(&String::from_utf16_lossy(&units))
    } else {
        printable_bytes(value)
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time((tag, value): (u8, &[u8])) -> Option<i64> {
    let digits = value.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = digits.split_at_checked(match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    })?;
    let number = |digits: &[u8]| {
        digits
            .iter()
            .fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    let [month, day, hour, minute, second] = rest.as_chunks::<2>().0 else {
        return None;
    };
    let year = match (tag, number(year)) {
        (UTC_TIME, year @ 0..50) => 2000 + year,
        (UTC_TIME, year) => 1900 + year,
        (_, year) => year,
    };
    unix_seconds(
        i64::from(year),
        number(month),
        number(day),
        number(hour),
        number(minute),
        number(second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::pem::PemObject;

    const PEM: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIB3jCCAYOgAwIBAgIUB9IPF5tRr3LOyUGt6XnavVWD17IwCgYIKoZIzj0EAwIw\n\
QzELMAkGA1UEBhMCREUxGjAYBgNVBAoMEULDvGNoZXIgdW5kIFTDtm5lMRgwFgYD\n\
VQQDDA9mdHAuZXhhbXBsZS5vcmcwIBcNMjYxMTIzMTMyNzQ1WhgPMjA1NjExMTUx\n\
MzI3NDVaMEMxCzAJBgNVBAYTAkRFMRowGAYDVQQKDBFCw7xjaGVyIHVuZCBUw7Zu\n\
ZTEYMBYGA1UEAwwPZnRwLmV4YW1wbGUub3JnMFkwEwYHKoZIzj0CAQYIKoZIzj0D\n\
AQcDQgAEF0EHhdB+CgOVFnMbdq+ThCL3Qr8JGhDOotiseVaaICCMIMUQs371zPZf\n\
wAsJO971d5ZOTVV6J/J9WBZ5bKOi3KNTMFEwHQYDVR0OBBYEFLkZOT+AgBE1qlLE\n\
KmuDICEnIvEoMB8GA1UdIwQYMBaAFLkZOT+AgBE1qlLEKmuDICEnIvEoMA8GA1Ud\n\
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAKqvFiASyjFHYWXL3DY+JEYH\n\
LIMKicX6udA882/Szg2EAiEA4Szz1vBTzcWPoy9Cip1r8m9Fehaoc4shLt5zleEy\n\
/Sk=\n\
-----END CERTIFICATE-----\n\
";

    #[test]
    fn certificate_is_parsed_as_openssl_shows_it() {
        let certificate = CertificateDer::from_pem_slice(PEM.as_bytes()).expect("a certificate");
        let read = Certificate::read(&certificate);
        assert_eq!(read.subject, "CN=ftp.example.org, O=Bücher und Töne, C=DE");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.not_before, Some(1795440465));
        assert_eq!(read.not_after, Some(2741520465));
        assert_eq!(
            read.fingerprint,
            "sha256:758ee49aafe0212a92e77208ee633c992ac02539d994e2ba31f6010ecc4f2371"
        );
    }

    #[test]
    fn truncated_certificate_yields_nothing() {
        let certificate = CertificateDer::from_pem_slice(PEM.as_bytes()).expect("a certificate");
        for length in 0..certificate.len() {
            let cut = CertificateDer::from(certificate[..length].to_vec());
            assert_eq!(Certificate::read(&cut).subject, "");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            Certificate::read(&CertificateDer::from(bytes));
        }

        #[test]
        fn mutated_certificate_does_not_panic(at in 0_usize..300, byte in any::<u8>()) {
            let certificate = CertificateDer::from_pem_slice(PEM.as_bytes()).expect("one");
            let mut bytes = certificate.to_vec();
            bytes[at] = byte;
            Certificate::read(&CertificateDer::from(bytes));
        }
    }
}
