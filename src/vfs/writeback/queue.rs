//! The queue of what waits to be uploaded: plain data, which `writeback.rs` works on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::remote::RemotePath;
use crate::vfs::error::Error;
use crate::vfs::file::open_file::File;
use crate::vfs::journal::Journal;
use crate::vfs::journal::neighbours::Neighbours;

/// How closes are to return early.
#[derive(Clone, Debug)]
pub struct WriteBack {
    /// Whether they do; otherwise the journal is only looked into.
    pub on: bool,
    /// Where the journals of this server and user lie.
    pub journal: PathBuf,
}

/// What waits to be uploaded.
#[derive(Default)]
pub struct Queue {
    /// What survives us.
    pub journal: Arc<OnceLock<Journal>>,
    /// Other mounts of the same server and user, and what they have closed.
    pub neighbours: OnceLock<Arc<Neighbours>>,
    /// What an earlier mount has left and could not be taken up: numbers, by the absolute path.
    pub stranded: Mutex<HashMap<Vec<u8>, Vec<u64>>>,
    /// The files.
    pub state: Mutex<State>,
    /// Something of that has changed.
    pub changed: Condvar,
    /// So many files the server refused for good.
    pub refusals: AtomicU64,
    /// Paths of what the server refused for good, until somebody who uses them was told.
    pub refused: Mutex<HashMap<RemotePath, Error>>,
}

/// The files that wait.
#[derive(Default)]
pub struct State {
    /// By inode number.
    pub jobs: HashMap<u64, Job>,
    /// Threads that upload.
    pub threads: usize,
    /// Of these, who waits for work.
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
    /// When it is to be uploaded.
    pub due: Instant,
    /// How often that has failed.
    pub failures: u32,
    /// It is being uploaded.
    pub running: bool,
    /// It was closed once more since that began.
    pub again: bool,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Files.
    pub files: usize,
    /// Bytes of them that are dirty.
    pub bytes: u64,
}
