//! The queue of files that wait to be uploaded: plain data, which `worker` works on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
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
    /// Number of closed files that are not on the server for good.
    pub refusals: AtomicU64,
    /// Of these, those whose content is in lost+found.
    pub kept: AtomicU64,
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

/// Closed files that are not on the server for good.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// Their number.
    pub files: u64,
    /// Of these, those whose content is in lost+found.
    pub kept: u64,
    /// lost+found.
    pub directory: PathBuf,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Files.
    pub files: usize,
    /// Bytes of them that are dirty.
    pub bytes: u64,
}
