//! Figures: what the file system has and did, for whoever asks how it is (`ftpfs status`).
//!
//! The one idea: numbers that are there anyway, read without waiting. A file that is just busy is told of
//! without its figures.

pub(crate) mod tally;
pub(crate) mod traffic;

use crate::remote::RemotePath;
use crate::vfs::core::Vfs;

/// How the file system is.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Questions for names and attributes: from memory, and those that waited.
    pub names: (u64, u64),
    /// Reads of files, alike.
    pub reads: (u64, u64),
    /// Bytes of files that are in memory, and at most.
    pub blocks: (u64, u64),
    /// Bytes that the cache on disk may take, if there is one.
    pub disk: Option<u64>,
    /// Names that are known, and listed directories among them.
    pub known: (usize, usize),
    /// Files and directories that are open.
    pub open: usize,
    /// Directories listed ahead: looked at then, and in vain.
    pub listed_ahead: (u64, u64),
    /// Files fetched ahead: read then, and in vain.
    pub fetched_ahead: (u64, u64),
    /// What the server lacks, by path.
    pub unsent: Vec<Unsent>,
}

/// A file that is not on the server as it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Where it is to be.
    pub path: RemotePath,
    /// Bytes that are still to be sent; `None` when it is just being worked on.
    pub bytes: Option<u64>,
    /// It was closed, and waits for its turn (`writeback`).
    pub closed: bool,
    /// Tries that failed.
    pub failures: u32,
}

impl Vfs {
    /// How it is. Waits for nothing but locks that are held for moments.
    pub fn figures(&self) -> Figures {
        let (open, known) = {
            let opened = self.opened.lock();
            let open = opened.files.len() + opened.directories.len();
            (open, self.tree.lock().counts())
        };
        let listed_ahead = {
            let walks = self.walks.lock();
            (walks.hits, walks.wasted)
        };
        Figures {
            names: self.names_tally.counts(),
            reads: self.reads_tally.counts(),
            blocks: (self.shared.blocks.bytes(), self.shared.blocks.budget()),
            disk: self.shared.disk.as_ref().map(|disk| disk.size()),
            known,
            open,
            listed_ahead,
            fetched_ahead: self.fetched_ahead(),
            unsent: self.unsent(),
        }
    }

    fn unsent(&self) -> Vec<Unsent> {
        let mut unsent = Vec::new();
        for file in self.opened_files() {
            let bytes = match file.body.try_lock() {
                Some(body) if body.is_settled() => continue,
                Some(body) => Some(body.unsent().iter().map(|part| part.end - part.start).sum()),
                None => None,
            };
            let failures = {
                let state = self.queue.state.lock();
                state.jobs.get(&file.ino).map(|job| job.failures)
            };
            if bytes.is_none() && failures.is_none() && !self.tree.lock().is_local(file.ino) {
                continue;
            }
            if let Ok(path) = self.path(file.ino) {
                unsent.push(Unsent {
                    path,
                    bytes,
                    closed: failures.is_some(),
                    failures: failures.unwrap_or(0),
                });
            }
        }
        unsent.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        unsent
    }
}
