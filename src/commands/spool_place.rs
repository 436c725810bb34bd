//! Determines the directory of the spool, and says at mount what its place will not allow.
//!
//! `spool_dir=` must be writable. Without it the first directory counts in which files can be made: the user's cache (for
//! root without a home of its own, that of the system), the runtime directory, a private one in the temporary directory.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::getuid;

use crate::cli::Settings;
use crate::commands::human::size;
use crate::process::private_dir::{self, PrivateDir};
use crate::process::xdg_dirs;

/// With less free space than a file needs from which an upload can resume, a line at mount says so.
const LITTLE_SPACE: u64 = 32 << 20;

/// The directory of the spool. An error if it was named and files can't be made in it, or if there is none at all.
pub fn spool_directory(settings: &Settings) -> Result<PathBuf, String> {
    let directory = match &settings.write.spool_dir {
        Some(directory) => writable(directory).map_err(|error| {
            format!(
                "spool_dir={}: {error}; name a directory that can be written",
                directory.display()
            )
        })?,
        None => default_directory(settings.mount.read_only)?,
    };
    if !settings.mount.read_only {
        warn_of_little_space(&directory);
    }
    Ok(directory)
}

/// The first directory of those that are tried without `spool_dir=` in which files can be made. A read-only mount makes none.
fn default_directory(read_only: bool) -> Result<PathBuf, String> {
    let candidates = candidates();
    if read_only {
        return Ok(candidates.into_iter().next().unwrap_or_default());
    }
    let mut failures = Vec::new();
    for candidate in candidates {
        match writable(&candidate) {
            Ok(directory) => {
                if !failures.is_empty() {
                    log::warn!(
                        "spool: {}; using {}: uploads that a crash or a reboot interrupts may be lost",
                        failures.join("; "),
                        directory.display()
                    );
                }
                return Ok(directory);
            }
            // The error of a directory that others can write names it.
            Err(error) if error.raw_os_error().is_none() => failures.push(error.to_string()),
            Err(error) => failures.push(format!("{}: {error}", candidate.display())),
        }
    }
    Err(format!(
        "no directory for pending uploads: {}; name one with -o spool_dir=DIRECTORY",
        failures.join("; ")
    ))
}

fn candidates() -> Vec<PathBuf> {
    let system = || PathBuf::from(xdg_dirs::SYSTEM_CACHE);
    let cache = xdg_dirs::cache();
    // sudo(8) can leave root with the home of another user.
    let of_system = (cache.is_none() || getuid().is_root()).then(system);
    let mut candidates: Vec<PathBuf> = cache.into_iter().chain(of_system).collect();
    candidates.extend(xdg_dirs::runtime());
    candidates.push(std::env::temp_dir().join(format!("ftpfs-{}", getuid())));
    candidates
}

/// Makes a directory, and checks that files can be made in it.
pub fn writable(directory: &Path) -> std::io::Result<PathBuf> {
    let path = private_dir::check(directory)?;
    match PrivateDir::make(&path)?.unnamed() {
        // A file system without O_TMPFILE.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(path),
        outcome => outcome.map(|_| path),
    }
}

fn warn_of_little_space(directory: &Path) {
    let Ok(there) = statvfs(directory) else {
        return;
    };
    let free = there.blocks_available() * there.fragment_size();
    if free < LITTLE_SPACE {
        log::warn!(
            "spool: {} has {} free: larger files can't be written; free space, or name another directory with -o spool_dir=",
            directory.display(),
            size(free)
        );
    }
}
