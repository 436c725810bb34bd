//! Computes checksums of what was stored, to compare with those of the server.

use std::io;

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use md5::{Digest, Md5};

use crate::remote::ReadAt;

/// Bytes read at once.
const READ_BUFFER: usize = 1 << 20;
/// Hexadecimal digits of a CRC-32; some servers leave out the first ones that are 0.
const CRC_DIGITS: usize = 8;

/// A checksum in progress, of a kind that servers offer (draft-bryan-ftpext-hash, and the X commands). MD5 and CRC-32
/// do not prevent forgery; they detect damage on the way.
enum Hasher {
    Sha(Context),
    Md5(Md5),
    Crc(crc32fast::Hasher),
}

impl Hasher {
    /// The one of this name, as servers write it; `None` where it is not known here.
    fn of(name: &str) -> Option<Self> {
        let sha = |algorithm: &'static Algorithm| Some(Self::Sha(Context::new(algorithm)));
        match name.replace('-', "").as_str() {
            "SHA1" | "SHA" => sha(&SHA1_FOR_LEGACY_USE_ONLY),
            "SHA256" => sha(&SHA256),
            "SHA384" => sha(&SHA384),
            "SHA512" => sha(&SHA512),
            "MD5" => Some(Self::Md5(Md5::new())),
            "CRC" | "CRC32" => Some(Self::Crc(crc32fast::Hasher::new())),
            _ => None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha(context) => context.update(bytes),
            Self::Md5(context) => context.update(bytes),
            Self::Crc(context) => context.update(bytes),
        }
    }

    /// Whether it is this one, in hexadecimal digits.
    fn is(self, theirs: &str) -> bool {
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02X}")).collect() };
        match self {
            Self::Sha(context) => hex(context.finish().as_ref()) == theirs,
            Self::Md5(context) => hex(&context.finalize()) == theirs,
            Self::Crc(context) => {
                format!("{:08X}", context.finalize()) == format!("{theirs:0>CRC_DIGITS$}")
            }
        }
    }
}

/// Whether the first `size` bytes have the hash that a server says, as `SHA-256:9f86…`; `None` where the
/// algorithm is not known here.
pub fn agrees(said: &[u8], bytes: &dyn ReadAt, size: u64) -> io::Result<Option<bool>> {
    let said = String::from_utf8_lossy(said).to_ascii_uppercase();
    let known = said
        .split_once(':')
        .and_then(|(name, theirs)| Some((Hasher::of(name)?, theirs)));
    let Some((mut hasher, theirs)) = known else {
        return Ok(None);
    };
    let mut piece = vec![0; READ_BUFFER];
    let mut at = 0;
    while at < size {
        let length = piece
            .len()
            .min(usize::try_from(size - at).unwrap_or(READ_BUFFER));
        bytes.read_exact_at(&mut piece[..length], at)?;
        hasher.update(&piece[..length]);
        at += length as u64;
    }
    Ok(Some(hasher.is(theirs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(&'static [u8]);

    impl ReadAt for Bytes {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let from = usize::try_from(offset).expect("small");
            buffer.copy_from_slice(&self.0[from..from + buffer.len()]);
            Ok(())
        }
    }

    #[test]
    fn known_hashes_agree_or_do_not() {
        let says = |said: &[u8]| agrees(said, &Bytes(b"abcdef"), 3).expect("read");
        let sha1 = b"SHA-1:a9993e364706816aba3e25717850c26c9cd0d89d";
        let sha256 = b"SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(says(sha1), Some(true));
        assert_eq!(says(sha256), Some(true));
        assert_eq!(says(b"SHA-256:ba7816bf"), Some(false));
        assert_eq!(says(b"MD5:900150983cd24fb0d6963f7d28e17f72"), Some(true));
        assert_eq!(says(b"MD5:900150983cd24fb0d6963f7d28e17f73"), Some(false));
        assert_eq!(says(b"CRC32:352441c2"), Some(true));
        assert_eq!(says(b"CRC:352441C3"), Some(false));
        assert_eq!(says(b"TIGER:352441c2"), None);
        assert_eq!(says(b"?"), None);
    }
}
