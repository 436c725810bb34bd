//! Defines the error of mounting: one line with cause and remedy.

use std::fmt;
use std::path::Path;

use nix::unistd::geteuid;

/// What failed, why, and the remedy, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub(crate) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.0
    }
}

/// Returns the command that unmounts, ready to be pasted.
pub fn unmount_hint(mountpoint: &Path) -> String {
    let command = if geteuid().is_root() {
        "umount"
    } else {
        "fusermount3 -u"
    };
    format!("{command} {}", quoted(mountpoint))
}

/// Quotes a path for the shell, if it needs to be.
pub fn quoted(path: &Path) -> String {
    let text = path.as_os_str().to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,=%".contains(c);
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_quoted_for_the_shell_if_needed() {
        assert_eq!(quoted(Path::new("/mnt/a-b")), "/mnt/a-b");
        assert_eq!(quoted(Path::new("/mnt/it's")), r"'/mnt/it'\''s'");
    }
}
