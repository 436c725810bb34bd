//! Metadata: names, attributes and listings, from memory while they are fresh, else from the server.
//!
//! A directory is listed by one caller at a time, and the others share that listing (single-flight). What was asked for
//! before a local change never overwrites it (see `inode.rs`). Absent names are remembered, too (negative caching).
//!
//! * `revalidate`: answers for names and attributes
//! * `list`: lists directories into the tree, each by one caller at a time (single-flight)
//! * `name_walk`: detects programs that ask for names one by one, directory after directory
//! * `link_files`: symbolic links that are stored in regular files
//!
//! Lock order: the inode table's lock, that of the running listings, that of the files that are no link files, that of the
//! walk by names, and that of the leftovers. Each is taken alone, and none is held while the server is asked.

pub(crate) mod link_files;
pub(crate) mod list;
mod name_walk;
pub(crate) mod revalidate;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::process::lock_order::{ALONE, OrderedMutex};
use crate::remote::{Remote, RemotePath, Version};
use crate::vfs::inode::table::Table;
use crate::vfs::metadata::link_files::REMEMBERED_FILES;
use crate::vfs::metadata::list::Listings;
use crate::vfs::metadata::name_walk::NameWalk;
use crate::vfs::settings::{Lifetimes, Settings};

/// What is known of names and attributes, and how it is learned.
pub struct Metadata {
    remote: Arc<dyn Remote>,
    table: Arc<Table>,
    /// The listings that are running.
    pub(crate) listings: Listings,
    /// How long attributes and listings live.
    lifetimes: Lifetimes,
    /// Whether regular files may be symbolic links.
    has_link_files: bool,
    /// Files of the size of a link file that are none, by directory and name, in the version that was read.
    regular: OrderedMutex<LruCache<(u64, Vec<u8>), Version>, ALONE>,
    /// Programs that ask for names one by one.
    name_walk: OrderedMutex<NameWalk, ALONE>,
    /// Temporary files of other mounts that were named in the log.
    leftovers: OrderedMutex<HashSet<RemotePath>, ALONE>,
}

impl Metadata {
    /// Nothing is known yet.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        table: Arc<Table>,
        settings: &Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            remote,
            table,
            listings: Listings::default(),
            lifetimes: settings.lifetimes,
            has_link_files: settings.links.files,
            regular: OrderedMutex::new(LruCache::new(REMEMBERED_FILES)),
            name_walk: OrderedMutex::default(),
            leftovers: OrderedMutex::default(),
        })
    }

    /// The age up to which what is known is served now.
    pub(crate) fn served_age(&self) -> Duration {
        self.lifetimes.known + self.grace()
    }

    /// The age up to which an absence is believed now.
    pub(crate) fn absence_age(&self) -> Duration {
        self.lifetimes.absent + self.grace()
    }

    /// How much longer things are served now.
    fn grace(&self) -> Duration {
        match self.remote.is_away() {
            true => self.lifetimes.stale,
            false => Duration::ZERO,
        }
    }
}
