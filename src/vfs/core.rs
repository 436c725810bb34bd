//! The file system's state, and how it is set up.
//!
//! The one idea: there is one value, which all operations share. Each part of it stands behind a lock of its own, and
//! what an operation asks the server for, it asks with none of them held.
//!
//! **Lock order** of the whole file system, outermost first; none is held while the server is asked:
//! `opened` -> a file's `body` -> `tree` -> a reader's state -> the block cache. `listings` is alone; `walks` may be
//! held before `tree`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::remote;
use crate::remote::{
    Ask, Attributes, Deadline, Done, Kind, Remote, RemotePath, Step, Urgency, perform_one,
};
use crate::vfs::cache::disk::{Disk, DiskCache};
use crate::vfs::cache::memory::Blocks;
use crate::vfs::error::{Error, Result};
use crate::vfs::events::Listener;
use crate::vfs::file::open_file::File;
use crate::vfs::file::spool::Spool;
use crate::vfs::inode::attr_view::{Attr, Shown, Space};
use crate::vfs::inode::symlink_policy::Links;
use crate::vfs::inode::{Node, Tree, now};
use crate::vfs::metadata::single_flight::{Listings, Places};
use crate::vfs::ops::makers::Makers;
use crate::vfs::prefetch::fetching::Fetching;
use crate::vfs::prefetch::walk_detector::Walks;
use crate::vfs::readahead::Shared;
use crate::vfs::stats::tally::Tally;
use crate::vfs::stats::traffic::Traffic;
use crate::vfs::upload::stream::Streams;
use crate::vfs::writeback::queue::{Queue, WriteBack};

/// How the file system behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mounted directory on the server, absolute, without a `/` at its end: what absolute targets
    /// of links are seen from.
    pub root: Vec<u8>,
    /// Whose files are shown, and with which bits.
    pub shown: Shown,
    /// What the server has no means for succeeds, and is logged.
    pub lenient: bool,
    /// What becomes of links that leave the mount.
    pub links: Links,
    /// Bytes that the server is taken to have, where it does not say.
    pub size: Option<u64>,
    /// Nothing is changed on the server.
    pub read_only: bool,
    /// How long attributes and listings live.
    pub cache_timeout: Duration,
    /// How long an operation may make no progress.
    pub timeout: Duration,
    /// Where the spool files are.
    pub spool: PathBuf,
    /// Bytes of a file that is written in order that the spool holds at most.
    pub spool_size: u64,
    /// Files appear at once, by a rename.
    pub atomic: bool,
    /// What was stored is compared by its hash, where the server has one.
    pub verify_hash: bool,
    /// Closes that return before the server has the file, and what an earlier mount has left of them.
    pub write_back: Option<WriteBack>,
    /// Bytes of the block cache.
    pub cache_size: u64,
    /// The block cache on disk, if there is one; its source without the mounted directory.
    pub disk_cache: Option<DiskCache>,
}

/// The file system.
pub struct Vfs {
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) settings: Settings,
    pub(crate) tree: Mutex<Tree>,
    pub(crate) opened: Mutex<Opened>,
    pub(crate) shared: Shared,
    pub(crate) spool: Spool,
    pub(crate) streams: Arc<Streams>,
    /// The directories in which the server does not let a file take another one's place: there nothing can appear at
    /// once.
    pub(crate) stores_in_place: Mutex<HashSet<u64>>,
    pub(crate) queue: Queue,
    pub(crate) listings: Listings,
    /// Uploads that have begun before a flush.
    pub(crate) early: AtomicUsize,
    /// Who walks through the tree, and what was listed for that.
    pub(crate) walks: Mutex<Walks>,
    pub(crate) ahead_places: Places,
    pub(crate) fetching: Fetching,
    pub(crate) makers: Makers,
    /// By which threads that work beside find the file system.
    pub(crate) me: Weak<Vfs>,
    next_handle: AtomicU64,
    /// Whether questions for names and attributes waited for the server.
    pub names_tally: Tally,
    /// Whether reads of files did.
    pub reads_tally: Tally,
    /// What was passed over on a lenient mount.
    pub(crate) tolerated: Mutex<HashSet<&'static str>>,
    /// What the server last said of its space.
    pub(crate) space: Mutex<Option<(Instant, Space)>>,
}

/// Everything that is open.
#[derive(Default)]
pub(crate) struct Opened {
    /// By inode number, with the number of handles.
    pub(crate) files: HashMap<u64, (Arc<File>, u32)>,
    /// By handle.
    pub(crate) handles: HashMap<u64, Handle>,
    /// Snapshots of directories, by handle.
    pub(crate) directories: HashMap<u64, Listing>,
}

/// An open file, as one opener sees it.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) file: Arc<File>,
    pub(crate) writes: bool,
    /// What was read by it last.
    pub(crate) seen: Arc<Mutex<Seen>>,
    /// It has written something since a close of it failed.
    pub(crate) wrote: Arc<AtomicBool>,
}

/// What was read by a handle last.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The generation of it; 0 before the first read.
    pub(crate) generation: u64,
    /// The offset behind it.
    pub(crate) end: u64,
}

impl Handle {
    /// It is about to write something.
    pub(crate) fn write(&self) -> &Arc<File> {
        self.wrote.store(true, Ordering::Relaxed);
        &self.file
    }
}

/// A name and the inode that bears it.
pub(crate) type Name = (Arc<[u8]>, u64);

/// An open directory: what was there when it was read from its start.
pub(crate) struct Listing {
    pub(crate) ino: u64,
    pub(crate) names: Option<Arc<Vec<Name>>>,
}

/// Bytes of a name, as on every Linux file system.
pub(crate) const NAME_LENGTH: usize = 255;

impl Vfs {
    /// A file system over `remote`. The mounted directory must be there.
    pub fn new(remote: Arc<dyn Remote>, settings: Settings) -> Arc<Self> {
        let root = Attributes {
            modified: Some(now()),
            ..Attributes::of(Kind::Directory)
        };
        let traffic = Arc::<Traffic>::default();
        let queue = Queue::default();
        Arc::new_cyclic(|me| Self {
            shared: Shared {
                remote: Arc::clone(&remote),
                blocks: Arc::new(Blocks::new(settings.cache_size)),
                patience: settings.timeout,
                honesty: Arc::default(),
                traffic: Arc::clone(&traffic),
                disk: settings.disk_cache.clone().map(|mut disk| {
                    disk.source.extend_from_slice(&settings.root);
                    Arc::new(Disk::new(disk))
                }),
            },
            streams: Streams::new(
                Arc::clone(&remote),
                settings.timeout,
                settings.spool_size,
                traffic,
                Arc::clone(&queue.journal),
            ),
            stores_in_place: Mutex::default(),
            queue,
            remote,
            spool: Spool::new(settings.spool.clone()),
            settings,
            tree: Mutex::new(Tree::new(root)),
            opened: Mutex::default(),
            listings: Listings::default(),
            early: AtomicUsize::new(0),
            walks: Mutex::default(),
            ahead_places: Places::default(),
            fetching: Fetching::default(),
            makers: Makers::default(),
            me: me.clone(),
            next_handle: AtomicU64::new(1),
            names_tally: Tally::default(),
            reads_tally: Tally::default(),
            tolerated: Mutex::default(),
            space: Mutex::default(),
        })
    }

    /// A deadline for an operation that arrives now.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.settings.timeout)
    }

    /// From now on `listener` hears what others changed on the server; `None`: nobody does.
    pub fn tell(&self, listener: Option<Arc<dyn Listener>>) {
        self.tree.lock().tell(listener);
    }

    /// News of a name that is gone were passed on, or never will be.
    pub fn told(&self, ino: u64) {
        self.tree.lock().close(ino);
    }

    pub(crate) fn attr(&self, node: &Node) -> Attr {
        self.settings.shown.attr(node, self.settings.cache_timeout)
    }

    /// The file of a handle.
    pub(crate) fn file(&self, handle: u64) -> Result<Handle> {
        self.opened
            .lock()
            .handles
            .get(&handle)
            .cloned()
            .ok_or(Error::BadHandle)
    }

    /// The open file of a number, if it is open.
    pub(crate) fn opened_file(&self, ino: u64) -> Option<Arc<File>> {
        let opened = self.opened.lock();
        opened.files.get(&ino).map(|(file, _)| Arc::clone(file))
    }

    /// Everything that is open.
    pub(crate) fn opened_files(&self) -> Vec<Arc<File>> {
        let opened = self.opened.lock();
        opened
            .files
            .values()
            .map(|(file, _)| Arc::clone(file))
            .collect()
    }

    /// Where `ino` is now.
    pub(crate) fn path(&self, ino: u64) -> Result<RemotePath> {
        self.tree.lock().path(ino).ok_or(Error::Stale)
    }

    pub(crate) fn kind(&self, ino: u64) -> Option<Kind> {
        self.tree.lock().get(ino).map(|node| node.attributes.kind)
    }

    /// One step, for a caller who waits.
    pub(crate) fn step(&self, step: Step<'_>, deadline: &Deadline) -> remote::Result<Done> {
        let ask = Ask {
            urgency: Urgency::Caller,
            deadline,
        };
        perform_one(self.remote.as_ref(), step, &ask)
    }

    /// A number for a new handle.
    pub(crate) fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// Refuses what would change something, on a read-only mount.
    pub(crate) fn writable(&self) -> Result<()> {
        if self.settings.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }
}

/// Refuses names that no server can have.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_LENGTH {
        return Err(Error::NameTooLong);
    }
    if remote::is_name(name) {
        Ok(())
    } else {
        Err(Error::Invalid)
    }
}
