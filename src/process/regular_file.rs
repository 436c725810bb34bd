//! Opens files at paths that anything may stand at: regular files only, and never with a wait.
//!
//! A FIFO, a device or a directory in place of `~/.netrc` or a profile would hang the program or give it
//! bytes without end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Flags with which opening anything returns at once, and takes no terminal over.
const FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;

/// Opens a file as `options` say; an error unless it is a regular file.
pub fn open_as(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(FLAGS).open(path)?;
    check(&file)?;
    Ok(file)
}

/// Reads all of a file of at most `limit` bytes; an error if it has more, or is no regular file.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_from(open_as(path, OpenOptions::new().read(true))?, limit)
}

/// Reads all of an open file of at most `limit` bytes; an error if it has more.
pub fn read_from(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::other(format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// The same for text.
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| io::Error::other("is not UTF-8"))
}

/// An error unless an open file is a regular one.
pub fn check(file: &File) -> io::Result<()> {
    match file.metadata()?.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_and_large_files_are_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        for path in [fifo.as_path(), directory.path(), Path::new("/dev/zero")] {
            let error = read(path, 10).expect_err("special");
            assert_eq!(error.to_string(), "is not a regular file");
        }
        let file = directory.path().join("file");
        std::fs::write(&file, "0123456789").expect("written");
        assert_eq!(read_to_string(&file, 10).expect("read"), "0123456789");
        let error = read(&file, 9).expect_err("large");
        assert_eq!(error.to_string(), "is larger than 9 bytes");
    }
}
