//! The inode table: numbers, names, attributes as last known, lookup counts.
//!
//! A node stands for a name that is in a listing, known to the kernel, or open; its attributes are in one place, whatever
//! answer brought them. Nodes that nothing needs (no lookup, no handle, nothing local) are evicted by directory when the
//! tree grows too large (`eviction`).
//!
//! Inode numbers are a hash of the first path, so that they are the same after a forget and after a remount; a rename
//! keeps them. A collision takes the next free number.
//!
//! **No late news.** Every local change has a stamp. An answer to what was asked before a change is not believed about the
//! names that the change touched (`server_merge`).
//!
//! What other clients changed, and the kernel may still have in its old form, goes to a listener (`events`).
//!
//! Plain data without locks; `table::Table` keeps it under one.
//!
//! * `table`: the tree under its lock
//! * `node`: what is known of one file, directory or link
//! * `nodes`: all nodes, by number and by name
//! * `server_merge`: merges answers of the server into the tree
//! * `local_changes`: applies local changes of names
//! * `eviction`: evicts what nothing needs
//! * `events`: what other clients changed, for the kernel
//! * `attr_view`: decides what the kernel is shown of an inode
//! * `kept`: attributes that the mount keeps for one inode
//! * `overlay`: the kept attributes of all inodes
//! * `symlink_policy`: decides what symbolic links show

pub(crate) mod attr_view;
pub(crate) mod events;
pub(crate) mod eviction;
pub(crate) mod kept;
pub(crate) mod local_changes;
pub(crate) mod node;
mod nodes;
pub(crate) mod overlay;
pub(crate) mod server_merge;
pub(crate) mod symlink_policy;
pub(crate) mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::remote::{self, Attributes, Completeness, Kind, RemotePath};
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::events::Listener;

pub use crate::vfs::inode::node::{Node, now};
use crate::vfs::inode::nodes::Nodes;
use crate::vfs::inode::overlay::Overlay;

/// The mounted directory.
pub const ROOT: u64 = 1;

/// Bits of a generation that count the contents of one node; those above tell the nodes apart.
const GENERATIONS: u32 = 32;

/// Bytes of a name, as on every Linux file system.
pub(crate) const NAME_LENGTH: usize = 255;

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

/// What the tree knows of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is there.
    Inode(u64),
    /// It is not there.
    Absent,
    /// The server must be asked.
    Unknown,
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    nodes: Nodes,
    /// Nodes made so far.
    births: u64,
    /// Directories with listings, the least recently used first to go.
    listings: LruCache<u64, ()>,
    /// Nodes that may be kept although nothing needs them.
    budget: usize,
    /// Nodes dropped since memory was last given back.
    dropped: usize,
    stamp: u64,
    listener: Option<Arc<dyn Listener>>,
    /// What is kept of attributes that the server does not store.
    overlay: Overlay,
    /// Seconds by which the server's clock is ahead of ours, as its time of a new content has last shown.
    clock_difference: i64,
}

/// Seconds that a reply takes, and that a time of whole seconds lacks: a smaller difference of clocks is none.
const CLOCK_TOLERANCE: i64 = 2;
/// Seconds beyond which a time is no clock's, but wrong: zones differ by less.
const CLOCK_DIFFERENCE_LIMIT: i64 = 26 * 3600;

/// How old an answer may be that counts.
#[derive(Clone, Copy, Debug)]
pub struct MaxAges {
    /// About a name that is there.
    pub known: Duration,
    /// A whole listing, that a name is absent.
    pub listed: Duration,
    /// About a name, that it is absent.
    pub absent: Duration,
}

impl Tree {
    /// A tree that knows the mounted directory alone, and keeps `budget` bytes of what nothing needs.
    pub fn new(root: Attributes, budget: u64) -> Self {
        let mut tree = Self {
            nodes: Nodes::default(),
            births: 0,
            listings: LruCache::unbounded(),
            budget: eviction::budget(budget),
            dropped: 0,
            stamp: 0,
            listener: None,
            overlay: Overlay::default(),
            clock_difference: 0,
        };
        let mut node = tree.node(ROOT, ROOT, Box::default(), root);
        node.holders.lookups = 1;
        tree.nodes.insert(node);
        tree
    }

    /// Sets the listener to changes of other clients; `None`: there is none from now on.
    pub fn set_listener(&mut self, listener: Option<Arc<dyn Listener>>) {
        self.listener = listener;
    }

    /// The node of `ino`.
    pub fn get(&self, ino: u64) -> Option<&Node> {
        self.nodes.get(ino)
    }

    /// The node of `ino`.
    pub fn get_mut(&mut self, ino: u64) -> Option<&mut Node> {
        self.nodes.get_mut(ino)
    }

    /// Where `ino` is now; `None` when it has no name any more.
    pub fn path(&self, ino: u64) -> Option<RemotePath> {
        let mut names = Vec::new();
        let mut node = self.nodes.get(ino)?;
        while node.ino != ROOT {
            if node.removed {
                return None;
            }
            names.push(&node.name);
            node = self.nodes.get(node.parent)?;
        }
        names
            .iter()
            .rev()
            .try_fold(RemotePath::root(), |path, name| path.join(name))
    }

    /// What is known of `name` in `parent`, from what is not older than `ages`.
    pub fn known(&self, parent: u64, name: &[u8], ages: MaxAges) -> Known {
        let Some(node) = self.nodes.get(parent) else {
            return Known::Unknown;
        };
        let directory = node.directory();
        if let Some(ino) = self.nodes.child(parent, name) {
            let fresh = self
                .nodes
                .get(ino)
                .is_some_and(|child| child.is_fresh(ages.known));
            return if fresh {
                Known::Inode(ino)
            } else {
                Known::Unknown
            };
        }
        let whole = self.listing(parent, ages.listed) == Some(Completeness::Whole);
        let absent = directory
            .and_then(|known| known.absent.get(name))
            .is_some_and(|at| at.elapsed() < ages.absent);
        if whole || absent {
            Known::Absent
        } else {
            Known::Unknown
        }
    }

    /// Whether a name is there although no listing has it.
    pub fn is_unlisted(&self, parent: u64, name: &[u8]) -> bool {
        let node = self.nodes.get(parent);
        node.and_then(|node| node.directory())
            .is_some_and(|known| known.unlisted.contains(name))
    }

    /// Whether another child has this name but for the case of its letters, or dots and blanks at its end.
    pub fn has_similar(&self, parent: u64, name: &[u8]) -> bool {
        let fold = |name: &[u8]| {
            let name = String::from_utf8_lossy(name).to_lowercase();
            name.trim_end_matches(['.', ' ']).to_owned()
        };
        let folded = fold(name);
        let mut children = self.child_nodes(parent);
        children.any(|child| *child.name != *name && fold(&child.name) == folded)
    }

    /// The child of that name, however old.
    pub fn child(&self, parent: u64, name: &[u8]) -> Option<u64> {
        self.nodes.child(parent, name)
    }

    /// The listing of `directory`, if there is one not older than `age`.
    pub fn listing(&self, directory: u64, age: Duration) -> Option<Completeness> {
        let (at, completeness) = self.nodes.get(directory)?.directory()?.listed?;
        (at.elapsed() < age).then_some(completeness)
    }

    /// When a directory was listed.
    pub fn listed_at(&self, directory: u64) -> Option<Instant> {
        self.nodes
            .get(directory)?
            .directory()?
            .listed
            .map(|(at, _)| at)
    }

    /// What is known of the names in `directory` may be wrong.
    pub fn doubt_listing(&mut self, directory: u64) {
        if let Some(node) = self.nodes.get_mut(directory) {
            node.doubt_names();
        }
    }

    /// The numbers of all in a directory, in the order of the names.
    pub fn children(&self, directory: u64) -> Vec<u64> {
        let mut children: Vec<&Node> = self.child_nodes(directory).collect();
        children.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        children.into_iter().map(|child| child.ino).collect()
    }

    /// The nodes in a directory, in no order.
    fn child_nodes(&self, directory: u64) -> impl Iterator<Item = &Node> {
        let node = self.nodes.get(directory).into_iter();
        let children = node.flat_map(Node::children);
        children.filter_map(|ino| self.nodes.get(ino))
    }

    /// The numbers of what is of this kind in a directory, in the order of the names.
    pub fn children_of(&self, directory: u64, kind: Kind) -> Vec<u64> {
        let mut children = self.children(directory);
        children.retain(|ino| {
            let child = self.nodes.get(*ino);
            child.is_some_and(|child| child.attributes.kind == kind)
        });
        children
    }

    /// Whether something in `directory` is known, local things too.
    pub fn has_children(&self, directory: u64) -> bool {
        self.nodes
            .get(directory)
            .is_some_and(|node| node.children().next().is_some())
    }

    /// Notes that a name in `directory` is being asked for alone; true when another one was within
    /// `lately`, so that a listing is the better question.
    pub fn asked_alone(&mut self, directory: u64, lately: Duration) -> bool {
        let Some(node) = self.nodes.get_mut(directory) else {
            return false;
        };
        let before = node.directory_mut().asked_alone.replace(Instant::now());
        before.is_some_and(|at| at.elapsed() < lately)
    }

    /// The stamp of this moment: what is asked of the server now is older than any later change.
    pub fn now(&self) -> u64 {
        self.stamp
    }

    /// Expires everything that the server said, and drops what nothing needs. Returns the numbers of what the kernel
    /// knows.
    pub fn doubt_all(&mut self) -> Vec<u64> {
        for node in self.nodes.iter_mut() {
            node.doubt_names();
            if !node.local {
                node.fetched = None;
                node.kernel.pages = None;
                node.generation += 1;
            }
        }
        // Those that were listed last lie deepest, as a rule: then what holds them can go as well.
        let listed: Vec<u64> = self.listings.iter().map(|(ino, ())| *ino).collect();
        self.listings.clear();
        for directory in listed {
            self.drop_children(directory);
        }
        let known = self.nodes.iter().filter(|node| node.holders.lookups > 0);
        known.map(|node| node.ino).collect()
    }

    /// Names that are known, and listed directories among them.
    pub fn counts(&self) -> (usize, usize) {
        (self.nodes.len(), self.listings.len())
    }

    /// Whether something of `ino` is not on the server yet.
    pub fn is_local(&self, ino: u64) -> bool {
        self.nodes.get(ino).is_some_and(|node| node.local)
    }

    /// Whether `inner` is `outer` or lies below it.
    pub fn is_within(&self, inner: u64, outer: u64) -> bool {
        let mut at = inner;
        while at != outer && at != ROOT {
            match self.nodes.get(at) {
                Some(node) => at = node.parent,
                None => return false,
            }
        }
        at == outer
    }

    /// A new node. A number can come back after a forget, the blocks of its former content must not: each node has
    /// generations of its own.
    fn node(
        &mut self,
        ino: u64,
        parent: u64,
        name: Box<[u8]>,
        attributes: Attributes,
    ) -> Box<Node> {
        self.births += 1;
        Node::new((ino, self.births << GENERATIONS), parent, name, attributes)
    }

    fn add(&mut self, directory: u64, name: &[u8], attributes: Attributes) -> u64 {
        let path = self
            .path(directory)
            .and_then(|path| path.join(name))
            .unwrap_or_default();
        let mut ino = hash(path.as_bytes());
        while ino <= ROOT || self.nodes.get(ino).is_some() {
            ino = ino.wrapping_add(1);
        }
        let mut node = self.node(ino, directory, Box::from(name), attributes);
        if self.nodes.len() > self.budget {
            // It may have been dropped, and with it what was changed here: earlier questions are not believed.
            (node.stamps.changed, node.stamps.moved) = (self.stamp, self.stamp);
        }
        self.nodes.insert(node);
        self.nodes.link(ino);
        if let Some(parent) = self.nodes.get_mut(directory) {
            parent.directory_mut().absent.remove(name);
        }
        self.attach_entry(ino, path.as_bytes());
        ino
    }

    /// Takes the name away; what lies below a directory goes with it.
    fn detach(&mut self, ino: u64) {
        if let Some(path) = self.path(ino) {
            self.forget_entries(path.as_bytes());
        }
        self.detach_node(ino);
    }

    fn detach_node(&mut self, ino: u64) {
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        node.removed = true;
        let (parent, name) = (node.parent, node.name.clone());
        let below: Vec<u64> = node.children().collect();
        for child in below {
            self.detach_node(child);
        }
        self.nodes.unlink(ino);
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.directory_mut().unlisted.remove(&name);
        }
        self.drop_unneeded(ino);
    }
}

/// FNV-1a: the same for the same bytes on every machine and in every version, which the standard
/// library's hashes don't promise.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Entry, Kind};

    const LONG: Duration = Duration::from_secs(3600);

    pub(crate) fn file(size: u64) -> Attributes {
        Attributes {
            size: Some(size),
            ..Attributes::of(Kind::File)
        }
    }

    pub(crate) fn entry(name: &[u8], size: u64) -> Entry {
        Entry {
            name: name.to_vec(),
            attributes: file(size),
        }
    }

    pub(crate) fn listed(entries: Vec<Entry>) -> Tree {
        let mut tree = Tree::new(Attributes::of(Kind::Directory), u64::MAX);
        tree.merge_listing(ROOT, entries, Completeness::Whole, 0);
        tree
    }

    fn ages(absent: Duration) -> MaxAges {
        MaxAges {
            known: LONG,
            listed: absent,
            absent,
        }
    }

    #[test]
    fn a_whole_listing_answers_absences_and_a_partial_one_does_not() {
        let mut tree = listed(vec![entry(b"a", 1)]);
        assert_eq!(tree.known(ROOT, b"b", ages(LONG)), Known::Absent);
        assert_eq!(tree.known(ROOT, b"b", ages(Duration::ZERO)), Known::Unknown);
        tree.merge_listing(ROOT, vec![], Completeness::Partial, 0);
        assert_eq!(tree.known(ROOT, b"b", ages(LONG)), Known::Unknown);
        assert!(tree.child(ROOT, b"a").is_some());
    }
}
