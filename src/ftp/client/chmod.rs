//! Chooses the command that sets permission bits, `MFF` or `SITE CHMOD`, and finds the paths for which that is unsafe.
//!
//! `MFF` takes a path as it is. ProFTPD splits the arguments of `SITE CHMOD` at blanks and joins them with one, so that it
//! may change another file.

use crate::ftp::profile::{Learned, Support};
use crate::ftp::protocol::command::Command;

/// The command that sets permission bits on this server; `None` where it has none.
pub fn set_mode<'a>(learned: &Learned, mode: u32, path: &'a [u8]) -> Option<Command<'a>> {
    if learned.features.mff_mode {
        return Some(Command::MffMode(mode, path));
    }
    (learned.attributes.chmod != Support::No).then_some(Command::SiteChmod(mode, path))
}

/// Whether a server that splits its arguments at blanks takes the absolute path `path` for another one.
pub fn is_folded(path: &[u8]) -> bool {
    folded(path) != path
}

/// A path as a server sees it that splits its arguments at blanks and joins them with one. ProFTPD does so with those of
/// `SITE CHMOD`, and would change another file than one whose name has two blanks in a row, one at its end, or a tab.
pub fn folded(path: &[u8]) -> Vec<u8> {
    let words = path.split(|byte| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}
