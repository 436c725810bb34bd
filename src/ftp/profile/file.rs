//! Reads and writes the file of one profile: reads are bounded, writes replace the file atomically.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::ftp::profile::format;
use crate::ftp::profile::format::Head;
use crate::ftp::protocol::time_val::now;
use crate::process::private_dir::PrivateDir;
use crate::process::regular_file;

/// How long a profile counts: a server that was upgraded or reconfigured shows it after that at the latest.
const EXPIRY: Duration = Duration::from_secs(3 * 24 * 3600);
/// Bytes of a file: above any that we write.
const FILE_LIMIT: u64 = 4096;
/// Files in the directory: the oldest are removed.
const FILES_LIMIT: usize = 200;

/// The text of a file, if it can be read.
pub fn load(path: &Path) -> Option<String> {
    let read = || {
        let (directory, name) = parts(path)?;
        let file = PrivateDir::find(directory)?.open(name, OFlag::O_RDONLY)?;
        let bytes = regular_file::read_from(file, FILE_LIMIT)?;
        String::from_utf8(bytes).map_err(|_| io::Error::other("is not UTF-8"))
    };
    read()
        .inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                log::info!("profile: {}: ignored: {error}", path.display());
            }
        })
        .ok()
}

/// The directory of a file, and its name there.
fn parts(path: &Path) -> io::Result<(&Path, OsString)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok((path.parent().unwrap_or(Path::new("/")), name.to_os_string()))
}

/// Replaces the file atomically, with the facts that other mounts have stored of the same server.
pub fn write(path: &Path, mut text: String, head: &Head, ways: bool) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if let Some(others) = load(path)
        && let Ok((their_head, _)) = format::read(&others)
        && their_head.print == head.print
        && is_fresh(their_head.since)
    {
        let same_place = their_head.network == head.network;
        format::complete(&mut text, &others, same_place && !ways);
    }
    let (directory, name) = parts(path)?;
    let directory = PrivateDir::make(directory)?;
    prune(&directory);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut half = name.clone();
    half.push(format!(".{}-{number}", std::process::id()));
    let moved = directory
        .create_new(&half)?
        .write_all(text.as_bytes())
        .and_then(|()| directory.rename(&half, &name));
    if moved.is_err() {
        let _ = directory.remove(&half);
    }
    moved
}

/// Removes the file, if there is one.
pub fn remove(path: &Path) -> io::Result<()> {
    let (directory, name) = parts(path)?;
    match PrivateDir::find(directory).and_then(|directory| directory.remove(&name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes expired files, and the oldest where there are too many.
fn prune(directory: &PrivateDir) {
    let names = directory.names().into_iter().flatten();
    let mut files: Vec<(i64, OsString)> = names
        .filter_map(|name| Some((directory.stat(&name).ok()?.st_mtime, name)))
        .collect();
    files.sort();
    let too_many = files.len().saturating_sub(FILES_LIMIT);
    let oldest = now() - i64::try_from(EXPIRY.as_secs()).unwrap_or(i64::MAX);
    for (at, (modified, name)) in files.iter().enumerate() {
        if at < too_many || *modified < oldest {
            let _ = directory.remove(name);
        }
    }
}

/// Whether a profile of that time still counts; one from the future does not.
pub fn is_fresh(since: i64) -> bool {
    let age = now().saturating_sub(since);
    (0..=i64::try_from(EXPIRY.as_secs()).unwrap_or(i64::MAX)).contains(&age)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn fifo_in_place_of_a_profile_is_ignored() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("server");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        assert_eq!(load(&fifo), None);
    }

    #[test]
    fn expired_and_surplus_files_are_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..FILES_LIMIT + 5 {
            fs::write(directory.path().join(format!("f{number}")), "").expect("a file");
        }
        let old = File::create(directory.path().join("old")).expect("a file");
        old.set_modified(SystemTime::now() - 2 * EXPIRY)
            .expect("set");
        prune(&PrivateDir::make(directory.path()).expect("it"));
        let left = fs::read_dir(directory.path()).expect("it").count();
        assert!(left <= FILES_LIMIT, "{left}");
        assert!(!directory.path().join("old").exists());
    }
}
