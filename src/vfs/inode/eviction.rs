//! Evicts what nothing needs from the tree.
//!
//! What the kernel knows, what is open and what is not on the server yet stays, however much it is. For the rest there is
//! a budget: the least recently used listings go first.

use std::sync::Arc;

use crate::vfs::inode::node::Node;
use crate::vfs::inode::{ROOT, Tree};

/// Nodes that are kept although nothing needs them: some 200 bytes each.
const NODE_BUDGET: usize = 500_000;

impl Tree {
    /// The kernel has one more lookup of the node.
    pub fn remember(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.holders.lookups += 1;
        }
    }

    /// The kernel has forgotten `lookups` of its lookups.
    pub fn forget(&mut self, ino: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&ino)
            && ino != ROOT
        {
            node.holders.lookups = node.holders.lookups.saturating_sub(lookups);
        }
        self.drop_unneeded(ino);
    }

    /// A handle was opened.
    pub fn open(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.holders.opens += 1;
        }
    }

    /// A handle was closed, or news of it were passed on.
    pub fn close(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.holders.opens = node.holders.opens.saturating_sub(1);
        }
        self.drop_unneeded(ino);
    }

    pub(crate) fn drop_unneeded(&mut self, ino: u64) {
        let unneeded =
            |node: &Node| node.removed && node.holders.lookups == 0 && node.holders.opens == 0;
        if self.nodes.get(&ino).is_some_and(unneeded) {
            if let Some(node) = self.nodes.remove(&ino) {
                self.drop_entry(&node);
            }
            self.listings.pop(&ino);
        }
    }

    /// Drops the listings that were not used for longest, as far as nothing needs their nodes.
    pub(crate) fn keep_budget(&mut self) {
        while self.nodes.len() > NODE_BUDGET && self.listings.len() > 1 {
            let Some((directory, ())) = self.listings.pop_lru() else {
                return;
            };
            if self.drop_children(directory)
                && let Some(node) = self.nodes.get_mut(&directory)
            {
                node.directory.listed = None;
            }
        }
    }

    /// Drops what nothing needs in a directory, unless it is being read.
    pub(crate) fn drop_children(&mut self, directory: u64) -> bool {
        let is_read = |node: &Node| node.holders.opens > 0;
        if self.nodes.get(&directory).is_none_or(is_read) {
            return false;
        }
        for (_, ino) in self.children(directory) {
            self.drop_child(directory, ino);
        }
        true
    }

    fn drop_child(&mut self, directory: u64, ino: u64) {
        let unneeded = |node: &Node| {
            node.holders.lookups == 0
                && node.holders.opens == 0
                && !node.local
                && node.directory.children.is_empty()
        };
        let Some(node) = self.nodes.get(&ino).filter(|node| unneeded(node)) else {
            return;
        };
        if self.is_entry_noted(ino) {
            return;
        }
        let name = Arc::clone(&node.name);
        let path = node.entry.as_ref().and_then(|_| self.path(ino));
        if let Some(node) = self.nodes.remove(&ino) {
            self.leave_entry(node, path.map(|path| path.as_bytes().to_vec()));
        }
        self.listings.pop(&ino);
        if let Some(parent) = self.nodes.get_mut(&directory) {
            parent.directory.children.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, listed};
    use super::*;

    #[test]
    fn a_removed_node_stays_as_long_as_the_kernel_knows_it() {
        let mut tree = listed(vec![entry(b"a", 1)]);
        let a = tree.child(ROOT, b"a").expect("a");
        tree.remember(a);
        tree.remove_own(a);
        assert!(tree.get(a).is_some() && tree.path(a).is_none());
        tree.forget(a, 1);
        assert!(tree.get(a).is_none());
    }
}
