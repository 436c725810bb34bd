//! Keeps the hosts that were seen with TLS, for `tls=try`: one line each, in a file of the user.
//!
//! Trust on first use (TOFU), as in ssh: the certificate that is seen first is trusted, and later ones must be the
//! same. A line is `HOST:PORT sha256:HEX`, or `HOST:PORT verified` where an authority signed it. Lines are only added;
//! the last one of a host counts. Without a file it is kept in memory, for the mount.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::process::regular_file;

/// What was seen of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An authority vouched for its certificate.
    Verified,
    /// The SHA-256 of a certificate that no known authority signed.
    Fingerprint([u8; 32]),
}

/// What is known of one host.
#[derive(Debug)]
pub struct Known {
    path: Option<PathBuf>,
    host: String,
    kept: Mutex<Option<Seen>>,
}

/// Above any list that a person gathers.
const FILE_LIMIT: u64 = 1 << 20;

impl Known {
    /// What the file at `path` says of a host.
    pub fn new(path: Option<PathBuf>, host: &str, port: u16) -> Self {
        let host = format!("{}:{port}", host.to_ascii_lowercase());
        let text = path.as_ref().map_or_else(String::new, |path| {
            let text = regular_file::read_to_string(path, FILE_LIMIT);
            text.unwrap_or_else(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("tls: {}: can't be read: {error}", path.display());
                }
                String::new()
            })
        });
        let kept = text.lines().rev().find_map(|line| read(line, &host));
        Self {
            path,
            host,
            kept: Mutex::new(kept),
        }
    }

    /// What was seen of the host, if anything.
    pub fn seen(&self) -> Option<Seen> {
        *self.kept.lock()
    }

    /// Keeps what is seen now.
    pub fn keep(&self, seen: Seen) {
        let mut kept = self.kept.lock();
        if *kept == Some(seen) {
            return;
        }
        *kept = Some(seen);
        drop(kept);
        let shown = match &seen {
            Seen::Verified => "verified".to_string(),
            Seen::Fingerprint(print) => {
                let digits: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("sha256:{digits}")
            }
        };
        if let Some(path) = &self.path
            && let Err(error) = add(path, &format!("{} {shown}\n", self.host))
        {
            log::warn!(
                "tls: {}: can't be written ({error}): the certificate of {} is known to this mount only",
                path.display(),
                self.host
            );
        }
    }

    /// Where it stands, for messages.
    pub fn shown(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "memory: mount again".to_string(),
        }
    }
}

fn add(path: &Path, line: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700).create(directory)?;
    }
    let mut options = OpenOptions::new();
    let options = options.append(true).create(true).mode(0o600);
    let mut file = regular_file::open_as(path, options)?;
    // It tells which servers this user goes to; earlier versions let others read it.
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    // One write: lines of several mounts don't mix.
    file.write_all(line.as_bytes())
}

fn read(line: &str, host: &str) -> Option<Seen> {
    let seen = line.strip_prefix(host)?.strip_prefix(' ')?.trim();
    if seen == "verified" {
        return Some(Seen::Verified);
    }
    let digits = seen.strip_prefix("sha256:")?.as_bytes();
    let mut print = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in print.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Seen::Fingerprint(print))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_of_a_host_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/known_hosts");
        let known = || Known::new(Some(path.clone()), "Host", 21);
        assert_eq!(known().seen(), None);
        known().keep(Seen::Fingerprint([7; 32]));
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("one")), 0o700);
        assert_eq!(known().seen(), Some(Seen::Fingerprint([7; 32])));
        Known::new(Some(path.clone()), "host", 2121).keep(Seen::Verified);
        assert_eq!(known().seen(), Some(Seen::Fingerprint([7; 32])));
        known().keep(Seen::Verified);
        assert_eq!(known().seen(), Some(Seen::Verified));
        assert_eq!(read("host:21 sha256:12", "host:21"), None);
        assert_eq!(read("ghost:21 verified", "host:21"), None);
    }
}
