//! Evicts what nothing needs from the tree.
//!
//! What the kernel knows, what is open and what is not on the server yet stays, however much it is. The rest stays within a
//! budget (`metadata_cache_size=`): beyond it what the kernel forgets goes at once, and with each new listing the least
//! recently used ones go. The newest stays: a program that has read a directory looks at its files next.

use crate::process::allocator;
use crate::vfs::inode::node::{Directory, Node};
use crate::vfs::inode::{ROOT, Tree};

/// Bytes that a node takes with its name and its places in two tables, as measured with 1,000,000 names of 20 bytes.
const NODE_SIZE: u64 = 300;
/// Nodes that are dropped until their memory goes back to the system: some 15 MB.
const RETURNED_NODES: usize = 50_000;

/// The nodes that may be kept although nothing needs them, in so many bytes.
pub(super) fn budget(bytes: u64) -> usize {
    usize::try_from(bytes / NODE_SIZE).unwrap_or(usize::MAX)
}

impl Tree {
    /// The kernel has one more lookup of the node.
    pub fn count_lookup(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(ino) {
            node.holders.lookups += 1;
        }
    }

    /// The kernel has forgotten `lookups` of its lookups.
    pub fn forget(&mut self, ino: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(ino)
            && ino != ROOT
        {
            node.holders.lookups = node.holders.lookups.saturating_sub(lookups);
        }
        self.drop_unneeded(ino);
        if self.nodes.len() > self.budget && !self.is_held(ino) {
            self.drop_children(ino);
            self.drop_surplus(ino);
        }
    }

    /// A handle was opened.
    pub fn open(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(ino) {
            node.holders.opens += 1;
        }
    }

    /// A handle was closed, or news of it were passed on.
    pub fn close(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(ino) {
            node.holders.opens = node.holders.opens.saturating_sub(1);
        }
        self.drop_unneeded(ino);
    }

    /// Drops a node whose name is gone once neither the kernel nor a handle holds it.
    pub(crate) fn drop_unneeded(&mut self, ino: u64) {
        let unneeded = |node: &Node| node.removed && !node.is_held();
        if self.get(ino).is_some_and(unneeded) {
            if let Some(node) = self.nodes.remove(ino) {
                self.drop_entry(&node);
            }
            self.listings.pop(&ino);
        }
    }

    /// Beyond the budget, drops a node that nothing needs any more, and the directories that were kept for it.
    fn drop_surplus(&mut self, mut ino: u64) {
        while self.nodes.len() > self.budget
            && let Some(parent) = self.get(ino).map(|node| node.parent)
            && !self.is_read(parent)
            && self.drop_child(parent, ino)
        {
            ino = parent;
        }
    }

    /// Drops the listings that were not used for longest, as far as nothing needs their nodes. That of `newest` stays.
    pub(crate) fn keep_budget(&mut self, newest: u64) {
        let mut stay = Vec::new();
        while self.nodes.len() > self.budget
            && let Some((directory, ())) = self.listings.pop_lru()
        {
            if directory == newest || self.is_read(directory) {
                stay.push(directory);
            } else {
                self.drop_children(directory);
            }
        }
        for directory in stay {
            self.listings.put(directory, ());
        }
    }

    fn is_held(&self, ino: u64) -> bool {
        self.get(ino).is_some_and(Node::is_held)
    }

    /// Whether a handle reads the directory: it goes on with the numbers that it began with.
    fn is_read(&self, directory: u64) -> bool {
        let node = self.nodes.get(directory);
        node.is_some_and(|node| node.holders.opens > 0)
    }

    /// Drops what nothing needs in a directory, unless it is being read.
    pub(crate) fn drop_children(&mut self, directory: u64) {
        let Some(node) = self.nodes.get(directory) else {
            return;
        };
        if node.is_open() {
            return;
        }
        let children: Vec<u64> = node.children().collect();
        for ino in children {
            self.drop_child(directory, ino);
        }
    }

    /// Drops what nothing needs; returns whether it did.
    fn drop_child(&mut self, directory: u64, ino: u64) -> bool {
        let unneeded = |node: &Node| {
            let is_bare = node.directory().is_none_or(Directory::holds_nothing);
            !node.is_held() && !node.local && is_bare
        };
        let Some(node) = self.get(ino).filter(|node| unneeded(node)) else {
            return false;
        };
        // What no listing has can't be learned again.
        let is_unlisted = self.is_unlisted(directory, &node.name);
        if ino == ROOT || is_unlisted || self.is_entry_noted(ino) {
            return false;
        }
        let path = node.entry.as_ref().and_then(|_| self.path(ino));
        if let Some(node) = self.nodes.remove(ino) {
            self.leave_entry(*node, path.map(|path| path.as_bytes().to_vec()));
        }
        self.listings.pop(&ino);
        if let Some(parent) = self.nodes.get_mut(directory) {
            parent.directory_mut().listed = None;
        }
        self.dropped += 1;
        if self.dropped >= RETURNED_NODES {
            self.dropped = 0;
            allocator::note_freed();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{entry, listed};
    use super::*;
    use crate::remote::{Attributes, Completeness, Entry, Kind};

    #[test]
    fn a_removed_node_stays_as_long_as_the_kernel_knows_it() {
        let mut tree = listed(vec![entry(b"a", 1)]);
        let a = tree.child(ROOT, b"a").expect("a");
        tree.count_lookup(a);
        tree.remove_own(a);
        assert!(tree.get(a).is_some() && tree.path(a).is_none());
        tree.forget(a, 1);
        assert!(tree.get(a).is_none());
    }

    #[test]
    fn beyond_the_budget_what_the_kernel_forgets_goes() {
        let directory = |name: &[u8]| Entry {
            name: name.to_vec(),
            attributes: Attributes::of(Kind::Directory),
        };
        let mut tree = listed(vec![directory(b"d")]);
        tree.budget = 3;
        let d = tree.child(ROOT, b"d").expect("d");
        tree.count_lookup(d);
        tree.open(d);
        let names = (b'a'..=b'h').map(|letter| entry(&[letter], 1)).collect();
        tree.merge_listing(d, names, Completeness::Whole, tree.now());
        let a = tree.child(d, b"a").expect("a");
        tree.count_lookup(a);
        // A directory that is being read keeps all of its names.
        assert_eq!(tree.children(d).len(), 8);
        tree.forget(a, 1);
        assert_eq!(tree.children(d).len(), 8);
        tree.count_lookup(a);
        tree.close(d);
        // The newest listing stays until there is another one.
        assert_eq!(tree.children(d).len(), 8);
        tree.merge_listing(ROOT, vec![directory(b"d")], Completeness::Whole, tree.now());
        assert_eq!(tree.children(d), [a]);
        assert_eq!(tree.listing(d, Duration::from_secs(60)), None);
        // Within the budget it stays.
        tree.forget(a, 1);
        assert!(tree.get(a).is_some());
        tree.budget = 0;
        tree.forget(d, 1);
        assert!(tree.get(a).is_none() && tree.get(d).is_none());
    }
}
