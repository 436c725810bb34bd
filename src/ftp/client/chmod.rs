//! Permission bits: what sets them on a server, and whose.
//!
//! The one idea: `MFF` takes a path as it is; `SITE CHMOD` may be taken for its words, and mean another file.

use crate::ftp::profile::{Learned, Support};
use crate::ftp::protocol::command::Command;

/// What sets permission bits on this server, if anything does.
pub fn set_mode<'a>(learned: &Learned, mode: u32, path: &'a [u8]) -> Option<Command<'a>> {
    if learned.features.mff_mode {
        return Some(Command::MffMode(mode, path));
    }
    (learned.attributes.chmod != Support::No).then_some(Command::SiteChmod(mode, path))
}

/// Whether a server may take the absolute path `path` for another one where it takes a line for its words.
pub fn is_folded(path: &[u8]) -> bool {
    folded(path) != path
}

/// A path as a server makes it of its words: whatever blanks part them, there is one between two then. ProFTPD does so with
/// what `SITE CHMOD` is told, and would change another file than one whose name has two blanks in a row, one at its end,
/// or a tab.
pub fn folded(path: &[u8]) -> Vec<u8> {
    let words = path.split(|byte| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}
