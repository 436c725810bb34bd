//! The journal as the rest of a mount sees it: whether there is one, whether closes rely on it, and its paths.
//!
//! Paths in the journal are absolute on the server, since mounts of other directories may take it over.

use std::sync::OnceLock;

use crate::remote::RemotePath;
use crate::vfs::journal::Journal;

/// The journal of a mount, once it is open.
#[derive(Debug)]
pub struct JournalHandle {
    journal: OnceLock<Journal>,
    /// Whether closes return before the server has the file.
    write_back: bool,
    /// The mounted directory on the server, absolute, without a `/` at its end.
    root: Vec<u8>,
}

impl JournalHandle {
    /// No journal yet.
    pub(crate) fn new(write_back: bool, root: Vec<u8>) -> Self {
        Self {
            journal: OnceLock::new(),
            write_back,
            root,
        }
    }

    /// The journal, if there is one.
    pub(crate) fn get(&self) -> Option<&Journal> {
        self.journal.get()
    }

    /// From now on this is the journal. The first one stays.
    pub(crate) fn set(&self, journal: Journal) {
        let _ = self.journal.set(journal);
    }

    /// Whether closes return before the server has the file.
    pub(crate) fn is_write_back(&self) -> bool {
        self.write_back && self.get().is_some()
    }

    /// The absolute path on the server of a path in the mount.
    pub(crate) fn absolute(&self, path: &RemotePath) -> Vec<u8> {
        [&self.root[..], b"/", path.as_bytes()].concat()
    }

    /// The path in the mount of an absolute path on the server; `None` where it lies outside.
    pub(crate) fn inside(&self, path: &[u8]) -> Option<RemotePath> {
        let rest = path.strip_prefix(&self.root[..])?.strip_prefix(b"/")?;
        rest.split(|&byte| byte == b'/')
            .try_fold(RemotePath::root(), |path, name| path.join(name))
    }

    /// A name has changed on the server: nothing that was stored under it before comes back, not even after a power cut.
    pub(crate) fn sync_ended(&self) {
        if let Some(journal) = self.get() {
            journal.sync_ended();
        }
    }
}
