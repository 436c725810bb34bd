//! Reads certificates and keys from PEM files.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::process::regular_file;

/// Above any file of certificates: all authorities of a system are a quarter of a MiB.
const PEM_LIMIT: u64 = 16 << 20;

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

impl Identity {
    /// The certificates and the key; the error is one line for the user.
    pub fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let certificates = certificates(&self.certificates)
            .map_err(|error| format!("cert={}: {error}", self.certificates.display()))?;
        let wrong = |error: &dyn fmt::Display| format!("key={}: {error}", self.key.display());
        let text =
            regular_file::read_to_string(&self.key, PEM_LIMIT).map_err(|error| wrong(&error))?;
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

/// The certificates in a file, or in the files of a directory.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    let mut files = vec![path.to_path_buf()];
    let is_directory = path.is_dir();
    if is_directory {
        let entries = std::fs::read_dir(path).map_err(|error| error.to_string())?;
        files = entries.flatten().map(|entry| entry.path()).collect();
    }
    for file in files {
        let parts = match regular_file::read(&file, PEM_LIMIT) {
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
