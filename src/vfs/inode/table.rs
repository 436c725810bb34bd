//! The inode table: the tree of names under its lock, and how it is shown to the kernel.
//!
//! # Lock order
//!
//! Before a reader's state and the block cache, after all others; no request to the server under it.

use std::sync::Arc;
use std::time::Duration;

use crate::process::lock_order::{OrderedGuard, OrderedMutex};
use crate::remote::{Attributes, Kind, Modified, Precision, RemotePath};
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::attr_view::{Attr, Shown};
use crate::vfs::inode::node::now;
use crate::vfs::inode::{Node, Tree};
use crate::vfs::lock_rank;

/// The inode table.
#[derive(Debug)]
pub struct Table {
    tree: OrderedMutex<Tree, { lock_rank::TABLE }>,
    shown: Shown,
    /// How long attributes and listings live.
    lifetime: Duration,
}

impl Table {
    /// A table that knows the mounted directory alone, and keeps `budget` bytes of what nothing needs.
    pub(crate) fn new(shown: Shown, lifetime: Duration, budget: u64) -> Arc<Self> {
        let root = Attributes {
            modified: Some(Modified {
                precision: Precision::Local,
                ..now()
            }),
            ..Attributes::of(Kind::Directory)
        };
        Arc::new(Self {
            tree: OrderedMutex::new(Tree::new(root, budget)),
            shown,
            lifetime,
        })
    }

    /// The tree, locked.
    pub(crate) fn lock(&self) -> OrderedGuard<'_, Tree> {
        self.tree.lock()
    }

    /// Where `ino` is now.
    pub(crate) fn path(&self, ino: u64) -> Result<RemotePath> {
        self.lock().path(ino).ok_or(Error::Stale)
    }

    /// The path of a name in a directory.
    pub(crate) fn path_of(&self, directory: u64, name: &[u8]) -> Result<RemotePath> {
        self.path(directory)?.join(name).ok_or(Error::Invalid)
    }

    /// The type of `ino`, if it is there.
    pub(crate) fn kind(&self, ino: u64) -> Option<Kind> {
        self.lock().get(ino).map(|node| node.attributes.kind)
    }

    /// Whose files are shown, and with which bits.
    pub(crate) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// The attributes of a node, which the kernel is shown now.
    pub(crate) fn attr(&self, node: &Node) -> Attr {
        node.kernel.is_cut.set(false);
        self.shown.attr(node, self.lifetime)
    }

    /// Counts a lookup by the kernel, and returns the attributes for its reply.
    pub(crate) fn count_lookup(&self, ino: u64) -> Result<Attr> {
        let mut tree = self.lock();
        tree.count_lookup(ino);
        tree.get(ino)
            .map(|node| self.attr(node))
            .ok_or(Error::Stale)
    }
}
