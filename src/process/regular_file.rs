//! Opens regular files, without blocking on other kinds.
//!
//! A FIFO or a device in place of `~/.netrc` or a profile would block the program, or supply bytes without
//! end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Flags with which open(2) neither blocks nor acquires a controlling terminal.
const OPEN_FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;

/// Opens a file with `options`; an error unless it is a regular file.
pub fn open_as(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(OPEN_FLAGS).open(path)?;
    check(&file)?;
    Ok(file)
}

/// Reads a whole file; an error if it has more than `limit` bytes, or is not a regular file.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_from(open_as(path, OpenOptions::new().read(true))?, limit)
}

/// Reads a whole open file; an error if it has more than `limit` bytes.
pub fn read_from(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::other(format!("is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads a whole text file; an error if it has more than `limit` bytes, or is not UTF-8.
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| io::Error::other("is not UTF-8"))
}

/// Checks that an open file is a regular file.
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
