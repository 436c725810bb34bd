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

use crate::remote::{
    self, Ask, Attributes, Deadline, Done, Kind, Remote, RemotePath, Step, Urgency, perform_one,
};
use crate::vfs::blocks::Blocks;
use crate::vfs::disk::{Disk, DiskCache};
use crate::vfs::error::{Error, Result};
use crate::vfs::fetching::Fetching;
use crate::vfs::file::File;
use crate::vfs::inode::{Node, Tree, now};
use crate::vfs::links::Links;
use crate::vfs::makers::Makers;
use crate::vfs::news::Listener;
use crate::vfs::queue::{Queue, WriteBack};
use crate::vfs::readahead::Shared;
use crate::vfs::shown::{Attr, Shown, Space};
use crate::vfs::spool::Spool;
use crate::vfs::streaming::Streams;
use crate::vfs::tally::Tally;
use crate::vfs::traffic::Traffic;
use crate::vfs::under_way::{Listings, Places};
use crate::vfs::walk::Walks;

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
    pub(super) remote: Arc<dyn Remote>,
    pub(super) settings: Settings,
    pub(super) tree: Mutex<Tree>,
    pub(super) opened: Mutex<Opened>,
    pub(super) shared: Shared,
    pub(super) spool: Spool,
    pub(super) streams: Arc<Streams>,
    /// The directories in which the server does not let a file take another one's place: there nothing can appear at
    /// once.
    pub(super) stores_in_place: Mutex<HashSet<u64>>,
    pub(super) queue: Queue,
    pub(super) listings: Listings,
    /// Uploads that have begun before a flush.
    pub(super) early: AtomicUsize,
    /// Who walks through the tree, and what was listed for that.
    pub(super) walks: Mutex<Walks>,
    pub(super) ahead_places: Places,
    pub(super) fetching: Fetching,
    pub(super) makers: Makers,
    /// By which threads that work beside find the file system.
    pub(super) me: Weak<Vfs>,
    next_handle: AtomicU64,
    /// Whether questions for names and attributes waited for the server.
    pub names_tally: Tally,
    /// Whether reads of files did.
    pub reads_tally: Tally,
    /// What was passed over on a lenient mount.
    pub(super) tolerated: Mutex<HashSet<&'static str>>,
    /// What the server last said of its space.
    pub(super) space: Mutex<Option<(Instant, Space)>>,
}

/// Everything that is open.
#[derive(Default)]
pub(super) struct Opened {
    /// By inode number, with the number of handles.
    pub(super) files: HashMap<u64, (Arc<File>, u32)>,
    /// By handle.
    pub(super) handles: HashMap<u64, Handle>,
    /// Snapshots of directories, by handle.
    pub(super) directories: HashMap<u64, Listing>,
}

/// An open file, as one opener sees it.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) file: Arc<File>,
    pub(super) writes: bool,
    /// What was read by it last.
    pub(super) seen: Arc<Mutex<Seen>>,
    /// It has written something since a close of it failed.
    pub(super) wrote: Arc<AtomicBool>,
}

/// What was read by a handle last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The generation of it; 0 before the first read.
    pub(super) generation: u64,
    /// The offset behind it.
    pub(super) end: u64,
}

impl Handle {
    /// It is about to write something.
    pub(super) fn write(&self) -> &Arc<File> {
        self.wrote.store(true, Ordering::Relaxed);
        &self.file
    }
}

/// A name and the inode that bears it.
pub(super) type Name = (Arc<[u8]>, u64);

/// An open directory: what was there when it was read from its start.
pub(super) struct Listing {
    pub(super) ino: u64,
    pub(super) names: Option<Arc<Vec<Name>>>,
}

/// Bytes of a name, as on every Linux file system.
pub(super) const NAME_LENGTH: usize = 255;

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

    pub(super) fn attr(&self, node: &Node) -> Attr {
        self.settings.shown.attr(node, self.settings.cache_timeout)
    }

    /// The file of a handle.
    pub(super) fn file(&self, handle: u64) -> Result<Handle> {
        self.opened
            .lock()
            .handles
            .get(&handle)
            .cloned()
            .ok_or(Error::BadHandle)
    }

    /// The open file of a number, if it is open.
    pub(super) fn opened_file(&self, ino: u64) -> Option<Arc<File>> {
        let opened = self.opened.lock();
        opened.files.get(&ino).map(|(file, _)| Arc::clone(file))
    }

    /// Everything that is open.
    pub(super) fn opened_files(&self) -> Vec<Arc<File>> {
        let opened = self.opened.lock();
        opened
            .files
            .values()
            .map(|(file, _)| Arc::clone(file))
            .collect()
    }

    /// Where `ino` is now.
    pub(super) fn path(&self, ino: u64) -> Result<RemotePath> {
        self.tree.lock().path(ino).ok_or(Error::Stale)
    }

    pub(super) fn kind(&self, ino: u64) -> Option<Kind> {
        self.tree.lock().get(ino).map(|node| node.attributes.kind)
    }

    /// One step, for a caller who waits.
    pub(super) fn step(&self, step: Step<'_>, deadline: &Deadline) -> remote::Result<Done> {
        let ask = Ask {
            urgency: Urgency::Caller,
            deadline,
        };
        perform_one(self.remote.as_ref(), step, &ask)
    }

    /// A number for a new handle.
    pub(super) fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// Refuses what would change something, on a read-only mount.
    pub(super) fn writable(&self) -> Result<()> {
        if self.settings.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }
}

/// Refuses names that no server can have.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_LENGTH {
        return Err(Error::NameTooLong);
    }
    if remote::is_name(name) {
        Ok(())
    } else {
        Err(Error::Invalid)
    }
}
