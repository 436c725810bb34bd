//! The file in which it is kept what was learned of one server: read with a bound, replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::ftp::profile::format as written;
use crate::ftp::profile::format::Head;
use crate::ftp::protocol::time_val::now;

/// How long what was learned is believed: a server that has been taught more shows it after that at
/// the latest.
const EXPIRY: Duration = Duration::from_secs(3 * 24 * 3600);
/// Bytes of a file: above any that we write.
const FILE_LIMIT: u64 = 4096;
/// Files in the directory: the oldest give way.
const FILES_LIMIT: usize = 200;

/// What a file says, if it can be read.
pub fn load(path: &Path) -> Option<String> {
    let read = || {
        let mut text = String::new();
        let read = File::open(path)?
            .take(FILE_LIMIT + 1)
            .read_to_string(&mut text)?;
        if read as u64 > FILE_LIMIT {
            return Err(io::Error::other("it is too large"));
        }
        Ok(text)
    };
    read()
        .inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                log::info!("{}: ignored: {error}", path.display());
            }
        })
        .ok()
}

/// Replaces the file as a whole, with what others know of the same server.
pub fn write(path: &Path, mut text: String, head: &Head, ways: bool) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if let Some(others) = load(path)
        && let Ok((their_head, _)) = written::read(&others)
        && their_head.print == head.print
        && is_fresh(their_head.since)
    {
        let same_place = their_head.network == head.network;
        written::complete(&mut text, &others, same_place && !ways);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    prune(directory);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut half = path.as_os_str().to_owned();
    half.push(format!(".{}-{number}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&half)?;
    let moved = file
        .write_all(text.as_bytes())
        .and_then(|()| fs::rename(&half, path));
    if moved.is_err() {
        let _ = fs::remove_file(&half);
    }
    moved
}

/// Removes what has expired, and the oldest where there are too many.
fn prune(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let too_many = files.len().saturating_sub(FILES_LIMIT);
    for (at, (modified, path)) in files.iter().enumerate() {
        let is_old = modified.elapsed().is_ok_and(|age| age > EXPIRY);
        if at < too_many || is_old {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether what was learned then still counts; what comes from the future does not.
pub fn is_fresh(since: i64) -> bool {
    let age = now().saturating_sub(since);
    (0..=i64::try_from(EXPIRY.as_secs()).unwrap_or(i64::MAX)).contains(&age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_go_and_many_are_too_many() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..FILES_LIMIT + 5 {
            fs::write(directory.path().join(format!("f{number}")), "").expect("a file");
        }
        let old = File::create(directory.path().join("old")).expect("a file");
        old.set_modified(SystemTime::now() - 2 * EXPIRY)
            .expect("set");
        prune(directory.path());
        let left = fs::read_dir(directory.path()).expect("it").count();
        assert!(left <= FILES_LIMIT, "{left}");
        assert!(!directory.path().join("old").exists());
    }
}
