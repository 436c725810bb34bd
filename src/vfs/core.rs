//! The file system's state, and how it is kept fresh.
//!
//! The one idea: what the tree knows and is young enough is answered at once; everything else asks
//! the server, merges the answer into the tree and looks again. What was learned is never older than
//! what was changed here (see `inode.rs`).
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
    self, Ask, Attributes, Completeness, Deadline, Done, Kind, Modified, Precision, Remote,
    RemotePath, Step, Urgency, Version, Why, perform_one,
};
use crate::vfs::blocks::Blocks;
use crate::vfs::disk::{Disk, DiskCache};
use crate::vfs::error::{Error, Result};
use crate::vfs::fetching::Fetching;
use crate::vfs::file::File;
use crate::vfs::inode::{Known, Node, ROOT, Tree, now};
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

/// An open asks the server again when what is known of the file is older.
pub(super) const REVALIDATE: Duration = Duration::from_secs(5);
/// Permission bits that links have. ProFTPD's MLST takes a link for what it points to, but with these bits and
/// the link's size: only a listing tells.
const LINK: u32 = 0o777;
/// A second name that is asked for within so short a time makes a listing worth its price.
const SOON: Duration = Duration::from_secs(1);
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

    /// The attributes, if they are known and young enough.
    pub fn getattr_cached(&self, ino: u64) -> Option<Result<Attr>> {
        let tree = self.tree.lock();
        let Some(node) = tree.get(ino) else {
            return Some(Err(Error::Stale));
        };
        node.is_fresh(self.settings.cache_timeout)
            .then(|| Ok(self.attr(node)))
    }

    /// The attributes.
    pub fn getattr(&self, ino: u64, deadline: &Deadline) -> Result<Attr> {
        if let Some(known) = self.getattr_cached(ino) {
            return known;
        }
        self.refresh(ino, deadline)?;
        let tree = self.tree.lock();
        tree.get(ino)
            .map(|node| self.attr(node))
            .ok_or(Error::Stale)
    }

    pub(super) fn attr(&self, node: &Node) -> Attr {
        self.settings.shown.attr(node, self.settings.cache_timeout)
    }

    /// What is known of a name without asking.
    pub(super) fn known(&self, directory: u64, name: &[u8]) -> Known {
        self.tree
            .lock()
            .known(directory, name, self.settings.cache_timeout)
    }

    /// Asks the server for a name.
    pub(super) fn find(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<u64> {
        match self.known(directory, name) {
            Known::Inode(ino) => return Ok(ino),
            Known::Absent => return Err(Error::NotFound),
            Known::Unknown => {}
        }
        let alone = self.remote.traits().stats && !self.tree.lock().asked_alone(directory, SOON);
        if alone {
            return self.ask_name(directory, name, deadline);
        }
        let completeness = self.list(directory, deadline)?;
        match self.tree.lock().child(directory, name) {
            Some(ino) => return Ok(ino),
            None if completeness == Completeness::Whole => return Err(Error::NotFound),
            None => {}
        }
        self.ask_name(directory, name, deadline)
    }

    /// Asks the server for a name, whatever is known of it.
    pub(super) fn ask_name(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<u64> {
        let asked = self.tree.lock().now();
        let path = self.path(directory)?.join(name).ok_or(Error::Invalid)?;
        let child = self.tree.lock().child(directory, name);
        if child.is_some_and(|ino| self.kind(ino) == Some(Kind::Symlink)) {
            // MLST and SIZE answer for what a link points to (ProFTPD); listings know the link itself.
            self.list(directory, deadline)?;
            return self
                .tree
                .lock()
                .child(directory, name)
                .ok_or(Error::NotFound);
        }
        let stats = self.remote.traits().stats;
        let step = if stats {
            Step::Stat(&path)
        } else {
            Step::Version(&path)
        };
        let answer = self.step(step, deadline);
        if !self.tree.lock().stands(directory, asked) && deadline.remaining().is_some() {
            // It is of what has the directory's former name now.
            return self.ask_name(directory, name, deadline);
        }
        let attributes = match answer {
            Ok(Done::Attributes(attributes)) if attributes.mode == Some(LINK) => {
                self.list(directory, deadline)?;
                return self
                    .tree
                    .lock()
                    .child(directory, name)
                    .ok_or(Error::NotFound);
            }
            Ok(Done::Attributes(attributes)) => attributes,
            Ok(Done::Version(version)) => {
                let mut tree = self.tree.lock();
                if let Some(ino) = tree.child(directory, name) {
                    tree.merge_version(ino, version, asked);
                    return Ok(ino);
                }
                file_of(version)
            }
            Ok(Done::Changed) => return Err(Error::NotFound),
            Err(error) if error.why() == Some(Why::NotFound) => {
                self.tree.lock().merge_absence(directory, name, asked);
                return Err(Error::NotFound);
            }
            Err(error) => return Err(error.into()),
        };
        let mut tree = self.tree.lock();
        tree.merge_entry(directory, name, attributes, asked)
            .ok_or(Error::NotFound)
    }

    /// Asks the server for the attributes of `ino`.
    pub(super) fn refresh(&self, ino: u64, deadline: &Deadline) -> Result<()> {
        let (parent, name) = {
            let tree = self.tree.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            if node.removed {
                return Ok(());
            }
            (node.parent, Arc::clone(&node.name))
        };
        if ino == ROOT {
            return self.refresh_root(deadline);
        }
        if self.remote.traits().stats {
            self.ask_name(parent, &name, deadline)?;
        } else {
            self.list(parent, deadline)?;
        }
        let tree = self.tree.lock();
        match tree.get(ino) {
            Some(node) if !node.removed => Ok(()),
            _ => Err(Error::Stale),
        }
    }

    fn refresh_root(&self, deadline: &Deadline) -> Result<()> {
        let root = RemotePath::root();
        let answer = if self.remote.traits().stats {
            self.step(Step::Stat(&root), deadline)
        } else {
            Ok(Done::Changed)
        };
        let mut tree = self.tree.lock();
        let Some(node) = tree.get_mut(ROOT) else {
            return Ok(());
        };
        match answer {
            Ok(Done::Attributes(attributes)) if attributes.kind == Kind::Directory => {
                // Whoever asks for it is told; nobody asks for it before.
                node.refresh(attributes);
            }
            // Not every server answers for its own root; what was known stays.
            Ok(_) | Err(remote::Error::Refused { .. }) => node.fetched = Some(Instant::now()),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// How long an open relies on what is known of a file.
    pub(super) fn checked_for(&self) -> Duration {
        REVALIDATE.min(self.settings.cache_timeout)
    }

    /// Asks for size and time of an open file that is not being written, if what is known is old.
    pub(super) fn revalidate(&self, ino: u64, deadline: &Deadline) -> Result<()> {
        let age = self.checked_for();
        let (path, asked) = {
            let tree = self.tree.lock();
            match tree.get(ino) {
                Some(node) if node.is_fresh(age) => return Ok(()),
                Some(_) => (tree.path(ino).ok_or(Error::Stale)?, tree.now()),
                None => return Err(Error::Stale),
            }
        };
        let answer = self.step(Step::Version(&path), deadline);
        let mut tree = self.tree.lock();
        match answer {
            Ok(Done::Version(version)) => {
                tree.merge_version(ino, version, asked);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) if error.why() == Some(Why::NotFound) => {
                if let Some(parent) = tree.get(ino).map(|node| node.parent) {
                    tree.merge_absence(parent, path.name(), asked);
                }
                // The kernel looks the name up again.
                Err(Error::Stale)
            }
            Err(error) => Err(error.into()),
        }
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

/// The attributes of a file of which just size and time are known.
fn file_of(version: Version) -> Attributes {
    Attributes {
        size: version.size,
        modified: version.modified.map(|seconds| Modified {
            seconds,
            precision: Precision::Second,
        }),
        ..Attributes::of(Kind::File)
    }
}
