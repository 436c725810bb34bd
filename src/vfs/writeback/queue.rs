//! The queue of files that wait to be uploaded: plain data, which `worker` works on.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::process::lock_order::{ALONE, OrderedCondvar, OrderedMutex};
use crate::remote::RemotePath;
use crate::vfs::error::Error;
use crate::vfs::file::open_file::File;

/// What waits to be uploaded.
#[derive(Default)]
pub struct Queue {
    /// The files.
    pub state: OrderedMutex<State, ALONE>,
    /// Something of that has changed.
    pub changed: OrderedCondvar,
    /// The closed files that are not on the server for good, without those that are still open.
    pub refusals: OrderedMutex<Refusals, ALONE>,
    /// Paths that the server refused for good, until a caller that uses them got the error.
    pub refused: OrderedMutex<HashMap<RemotePath, Error>, ALONE>,
}

/// The files that wait.
#[derive(Default)]
pub struct State {
    /// By inode number.
    pub jobs: HashMap<u64, Job>,
    /// Threads that upload.
    pub threads: usize,
    /// Of these, those that wait for work.
    pub idle: usize,
    /// Uploads that have ended well.
    pub ended: u64,
    /// Threads that let go of a file whose upload has ended: it may be its last close.
    pub releasing: usize,
    /// No new turn begins.
    pub stopped: bool,
}

/// One of them.
pub struct Job {
    /// The file.
    pub file: Arc<File>,
    /// When its upload is due.
    pub due: Instant,
    /// How often that has failed.
    pub failures: u32,
    /// It is being uploaded.
    pub running: bool,
    /// It was closed once more since that began.
    pub again: bool,
}

/// Files that are named; the log names all.
const NAMED_LIMIT: usize = 8;

/// Closed files that are not on the server for good.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Their number.
    pub files: u64,
    /// Of these, those whose content is in lost+found.
    pub kept: u64,
    /// The first of them.
    pub named: Vec<RefusedFile>,
    /// lost+found.
    pub directory: PathBuf,
    /// Files that are being given up, by inode number: lost+found is being written.
    pub giving_up: HashMap<u64, RemotePath>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct RefusedFile {
    /// Its path.
    pub path: RemotePath,
    /// The file in lost+found that has its content.
    pub kept_as: Option<PathBuf>,
}

impl Refusals {
    /// Adds a file; `is_kept` is whether lost+found has its content, or will have it at its last close.
    pub fn add(&mut self, file: RefusedFile, is_kept: bool) {
        self.files += 1;
        self.kept += u64::from(is_kept);
        if self.named.len() < NAMED_LIMIT {
            self.named.push(file);
        }
    }
}

impl fmt::Display for RefusedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept_as = self.kept_as.as_ref().and_then(|path| path.file_name());
        match kept_as {
            Some(name) => write!(f, "{} (kept as {})", self.path, name.display()),
            None => write!(f, "{}", self.path),
        }
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Files.
    pub files: usize,
    /// Bytes of them that are dirty.
    pub bytes: u64,
    /// Bytes that uploads have moved since the mount began: it grows also while one file is being sent.
    pub moved: u64,
}
