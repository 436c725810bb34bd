//! The file system: inodes, attributes, listings, reading, writing.
//!
//! Knows the trait [`crate::remote::Remote`], and neither sockets nor FUSE. [`Vfs`] is a facade: its operations are those of
//! FUSE, in two forms where it matters: `x_cached` answers from memory or not at all, and `x` may ask the server. Each
//! component owns its state and its lock. From top to bottom; each uses only those below it (`tests/layers.rs`):
//!
//! | module | what it does |
//! | --- | --- |
//! | `ops` | the operations of FUSE and of the commands, methods of [`Vfs`] |
//! | `prefetch` | lists the next directories and fetches the next small files before they are asked for; a small file with its open |
//! | `writeback` | the last close of each file; closes that return early: queue, recovery |
//! | `upload` | brings written data to the server: streaming, plans, atomic replacement, lost+found |
//! | `metadata` | names, attributes, listings: from memory while fresh, else from the server; links in regular files |
//! | `attributes` | changes of modes, times and owners: stored on the server, or kept here where it has no place for them |
//! | `file` | open files: content, spool, upload state, journal state |
//! | `settings` | how the file system behaves |
//! | `readahead` | readers: streams ahead of sequential reads, segments in parallel, random reads |
//! | `inode` | the inode table: numbers, names, attributes as last known, lookup counts |
//! | `cache` | blocks in memory and on disk |
//! | `journal` | the log of closed files on the local disk |
//! | `spool` | local files that hold what was written |
//! | `stats` | counters, and which directions of the line are busy |
//! | `error` | errors, and the one function that makes an errno |
//!
//! # Where an operation goes
//!
//! * **read**: `ops/open` asks for the version of the file unless it is known well enough (`metadata/revalidate`). `ops/read`
//!   takes each piece from the spool or from the server (`file/open_files`): there the file's reader (`readahead`) finds it in
//!   `cache/memory`, or waits for a stream, which `readahead/scheduler` starts and `readahead/fetcher` runs.
//! * **write**: `ops/write` puts the bytes into the spool, and `upload/stream` sends them while they are written in order.
//! * **close**: `ops/flush` has `upload/uploader` send what the server lacks, between the checks of `upload/preconditions`.
//!   `upload/commit` takes over the outcome: what was not stored is dirty again, and close reports the error. After the last
//!   close such data goes to lost+found (`writeback/last_close`). With `-o writeback` the file goes to the journal and the
//!   queue instead (`writeback/worker`).
//! * **lookup, readdir**: `metadata` answers while its answer is fresh; else it asks for a name (`metadata/revalidate`) or a
//!   listing (`metadata/list`), and merges what comes into the tree (`inode/server_merge`).
//!
//! # Lock order
//!
//! A thread takes locks in the order of their ranks ([`lock_rank`]), outermost first:
//!
//! | rank | lock | component |
//! | --- | --- | --- |
//! | `SEQUENCES` | detector of file sequences | `prefetch` |
//! | `OPEN_FILES` | table of open files and handles | `file` |
//! | `FILE` | one open file: content, upload state, journal state | `file` |
//! | `HANDLE` | what was last read by one handle | `file` |
//! | `TABLE` | inode table | `inode` |
//! | `SORTED` | sorted directories | `prefetch` |
//! | `READER` | streams of one reader | `readahead` |
//! | `BLOCKS` | block cache in memory | `cache` |
//! | `MOUNT` | what this mount has learned of refusals | `attributes`, `upload` |
//!
//! Taken alone (`ALONE`): no lock with a rank is held meanwhile, and none is taken under them.
//!
//! | lock | component |
//! | --- | --- |
//! | queue of files that wait for upload | `writeback` |
//! | paths that the server refused for good | `writeback` |
//! | closed files that are not on the server for good | `writeback` |
//! | running listings | `metadata` |
//! | files that were read and are no link files | `metadata` |
//! | programs that ask for names one by one | `metadata` |
//! | temporary files of other mounts that were named | `metadata` |
//! | detector of walks | `prefetch` |
//! | what the disk has of a reader's file | `readahead` |
//! | free space | `ops` |
//!
//! These have no rank, so that debug builds do not check them:
//!
//! * `journal.rs` and `cache/disk.rs`: leaves; no other lock is taken under them.
//! * `attributes/store.rs`: the database of kept attributes, taken before `TABLE`. A caller only tries it; the writing
//!   thread and the end of the mount wait for it.
//! * `fuse/kernel_notify.rs`: the queue of notifications, taken under `TABLE`; nothing is called under it.
//! * `metadata/link_files.rs`: one for each entry of a listing, which only one thread takes.
//!
//! **Nothing blocks under a lock.** No lock is held while the server, an fsync, a journal commit or a look-up in the disk
//! cache is waited for. `pread` and `pwrite` on a spool file are allowed under the file's lock, and so is an append to the
//! journal without a sync. What must keep others out while it blocks marks the file instead: `Upload::busy_until` for an
//! upload or a claim, `JournalState::commit` for a commit; others wait for `File::uploaded`.
//!
//! Exceptions: an append to the journal waits while its log is compacted, which is once for several MiB. The lock of
//! `attributes/store.rs` is held while its database is read and written.
//!
//! Debug builds check both rules (`process/lock_order.rs`).

pub(crate) mod attributes;
pub(crate) mod cache;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod metadata;
pub(crate) mod ops;
pub(crate) mod prefetch;
pub(crate) mod readahead;
pub(crate) mod settings;
pub(crate) mod spool;
pub(crate) mod stats;
pub(crate) mod upload;
pub(crate) mod writeback;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[cfg(debug_assertions)]
use crate::process::lock_order::assert_none_held;
use crate::process::lock_order::{ALONE, OrderedMutex};
#[cfg(debug_assertions)]
use crate::remote::checked::Checked;
use crate::remote::{self, Deadline, Remote};
use crate::vfs::attributes::AttributeOverlay;
use crate::vfs::cache::disk::Disk;
use crate::vfs::cache::memory::Blocks;
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::inode::table::Table;
use crate::vfs::journal::JournalHandle;
use crate::vfs::metadata::Metadata;
use crate::vfs::prefetch::Prefetcher;
use crate::vfs::readahead::ReadContext;
use crate::vfs::spool::Spool;
use crate::vfs::stats::Tallies;
use crate::vfs::upload::Uploader;

pub use crate::vfs::attributes::extended::Before;
pub use crate::vfs::attributes::ownership::{Caller, Creator};
pub use crate::vfs::cache::Bytes;
pub use crate::vfs::cache::disk::DiskCache;
pub use crate::vfs::error::{Error, Result};
pub use crate::vfs::file::append::Spot;
pub use crate::vfs::inode::ROOT;
pub use crate::vfs::inode::attr_view::{Attr, Names, Shown, Space};
pub use crate::vfs::inode::events::{Listener, News};
pub use crate::vfs::inode::kept::Timestamp;
pub use crate::vfs::inode::symlink_policy::Links;
pub use crate::vfs::journal::takeover::Outside;
pub use crate::vfs::ops::open::{Open, Wants};
pub use crate::vfs::ops::readdir::{Listed, Start};
pub use crate::vfs::ops::setattr::{Changes, NewTime};
pub use crate::vfs::settings::{
    AttributeSettings, Lifetimes, LinkSettings, Memory, Policy, Settings, StorePlace, WriteBack,
    WriteLimits,
};
pub use crate::vfs::stats::{Figures, Unsent};
pub use crate::vfs::writeback::queue::Pending;

/// Parts that `benches/criterion` measures alone.
#[doc(hidden)]
pub mod measured {
    pub use crate::process::allocator::trim_free_memory;
    pub use crate::vfs::cache::memory::{Blocks, Key};
    pub use crate::vfs::cache::{BLOCK, BLOCK_LENGTH, Block};
    pub use crate::vfs::file::range_set::RangeSet;
    pub use crate::vfs::inode::{ROOT, Tree};
}

/// Ranks of locks, outermost first (see the [lock order](self)).
pub(crate) mod lock_rank {
    pub(crate) const SEQUENCES: u8 = 1;
    pub(crate) const OPEN_FILES: u8 = 2;
    pub(crate) const FILE: u8 = 3;
    pub(crate) const HANDLE: u8 = 4;
    pub(crate) const TABLE: u8 = 5;
    pub(crate) const SORTED: u8 = 6;
    pub(crate) const READER: u8 = 7;
    pub(crate) const BLOCKS: u8 = 8;
    pub(crate) const MOUNT: u8 = 9;
}

/// The file system.
pub struct Vfs {
    settings: Arc<Settings>,
    /// Nothing is changed on the server.
    read_only: AtomicBool,
    /// The mount ends by force.
    is_abandoned: AtomicBool,
    remote: Arc<dyn Remote>,
    table: Arc<Table>,
    metadata: Arc<Metadata>,
    attributes: Arc<AttributeOverlay>,
    files: Arc<OpenFiles>,
    uploader: Arc<Uploader>,
    writeback: Arc<writeback::WriteBack>,
    prefetch: Arc<Prefetcher>,
    readers: ReadContext,
    /// The space of the server, and when it was asked for.
    space: OrderedMutex<Option<(Instant, Space)>, ALONE>,
    /// How often memory had the answer.
    pub tallies: Tallies,
}

impl Vfs {
    /// A file system over `remote`. The mounted directory must be there.
    pub fn new(remote: Arc<dyn Remote>, settings: Settings) -> Arc<Self> {
        #[cfg(debug_assertions)]
        let remote: Arc<dyn Remote> = {
            let check = || assert_none_held("a request to the server");
            Arc::new(Checked::new(remote, check))
        };
        let settings = Arc::new(settings);
        let lifetime = settings.lifetimes.known;
        let readers = ReadContext {
            remote: Arc::clone(&remote),
            blocks: Arc::new(Blocks::new(settings.memory.blocks)),
            patience: settings.timeout,
            rest_check: Arc::default(),
            traffic: Arc::default(),
            disk: settings.disk_cache.clone().map(|mut disk| {
                disk.source.extend_from_slice(&settings.root);
                Arc::new(Disk::new(disk))
            }),
        };
        let table = Table::new(settings.shown.clone(), lifetime, settings.memory.metadata);
        let is_write_back = settings.write_back.as_ref().is_some_and(|back| back.on);
        let journal = Arc::new(JournalHandle::new(is_write_back, settings.root.clone()));
        let spool = Spool::new(settings.spool.clone());
        let files = OpenFiles::new(
            Arc::clone(&remote),
            Arc::clone(&table),
            readers.clone(),
            journal,
            spool,
        );
        let attributes = AttributeOverlay::new(Arc::clone(&remote), Arc::clone(&table), &settings);
        let metadata = Metadata::new(Arc::clone(&remote), Arc::clone(&table), &settings);
        let uploader = Uploader::new(
            Arc::clone(&settings),
            Arc::clone(&metadata),
            Arc::clone(&attributes),
            Arc::clone(&files),
        );
        let writeback = writeback::WriteBack::new(
            Arc::clone(&settings),
            Arc::clone(&metadata),
            Arc::clone(&attributes),
            Arc::clone(&files),
            Arc::clone(&uploader),
        );
        let prefetch = Prefetcher::new(
            Arc::clone(&metadata),
            Arc::clone(&table),
            readers.clone(),
            lifetime,
            settings.timeout,
        );
        Arc::new(Self {
            read_only: AtomicBool::new(settings.read_only),
            is_abandoned: AtomicBool::new(false),
            settings,
            remote,
            table,
            metadata,
            attributes,
            files,
            uploader,
            writeback,
            prefetch,
            readers,
            space: OrderedMutex::default(),
            tallies: Tallies::default(),
        })
    }

    /// A deadline for an operation that arrives now.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.settings.timeout)
    }

    /// Sets the listener to changes of other clients; `None`: there is none from now on.
    pub fn set_listener(&self, listener: Option<Arc<dyn Listener>>) {
        self.table.lock().set_listener(listener);
    }

    /// Releases an inode that [`News::Gone`] has kept: the news were passed on, or never will be.
    pub fn release_gone(&self, ino: u64) {
        self.table.lock().close(ino);
    }

    /// Whether nothing may be changed on the server.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Refuses what would change something, on a read-only mount and after its forced end.
    fn writable(&self) -> Result<()> {
        if self.is_read_only() {
            Err(Error::ReadOnly)
        } else if self.is_abandoned.load(Ordering::Acquire) {
            Err(remote::Error::Closed.into())
        } else {
            Ok(())
        }
    }
}
