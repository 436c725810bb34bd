//! Hashes of what was stored, to compare with what the server says.

use std::io;

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};

use crate::remote::ReadAt;

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Whether the first `size` bytes have the hash that a server says, as `SHA-256:9f86…`; `None` where the
/// algorithm is not known here.
pub fn agrees(said: &[u8], bytes: &dyn ReadAt, size: u64) -> io::Result<Option<bool>> {
    let said = String::from_utf8_lossy(said).to_ascii_uppercase();
    let Some((name, theirs)) = said.split_once(':') else {
        return Ok(None);
    };
    let algorithm: &'static Algorithm = match name.replace('-', "").as_str() {
        "SHA1" | "SHA" => &SHA1_FOR_LEGACY_USE_ONLY,
        "SHA256" => &SHA256,
        "SHA384" => &SHA384,
        "SHA512" => &SHA512,
        _ => return Ok(None),
    };
    let mut context = Context::new(algorithm);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let length = piece.len().min(usize::try_from(size - at).unwrap_or(PIECE));
        bytes.read_exact_at(&mut piece[..length], at)?;
        context.update(&piece[..length]);
        at += length as u64;
    }
    let ours: String = context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    Ok(Some(ours == theirs))
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
        assert_eq!(says(b"MD5:900150983cd24fb0d6963f7d28e17f72"), None);
        assert_eq!(says(b"?"), None);
    }
}
