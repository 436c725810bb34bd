//! All nodes, by number and by the names in their directories.
//!
//! A million names are held in memory while a program reads a directory of so many, so that each table holds as little
//! as it can: the index of a directory's names holds numbers, and what it compares stands in the nodes.
//!
//! Invariants: each number in a directory's index is that of a node; the node's own `parent` and `name` say where it
//! stands there. Neither is changed between [`link`](Nodes::link) and [`unlink`](Nodes::unlink).
//!
//! The hashes are seeded at random: a server can't choose names that fall together.

use std::hash::BuildHasher;
use std::mem;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::vfs::inode::node::Node;

/// Factor of places over members from which on a table gives places back.
const SPARE_FACTOR: usize = 4;
/// Places of a table that is not worth shrinking.
const SMALL_TABLE: usize = 1024;

/// The nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// In boxes: a table has up to twice as many places as members.
    by_number: HashTable<Box<Node>>,
    hasher: DefaultHashBuilder,
}

impl Nodes {
    /// The node of `ino`.
    pub(super) fn get(&self, ino: u64) -> Option<&Node> {
        let hash = self.hasher.hash_one(ino);
        let node = self.by_number.find(hash, |node| node.ino == ino);
        node.map(AsRef::as_ref)
    }

    /// The node of `ino`, to be changed.
    pub(super) fn get_mut(&mut self, ino: u64) -> Option<&mut Node> {
        let hash = self.hasher.hash_one(ino);
        let node = self.by_number.find_mut(hash, |node| node.ino == ino);
        node.map(AsMut::as_mut)
    }

    /// Adds a node of a number that no other has. It stands in no directory yet.
    pub(super) fn insert(&mut self, node: Box<Node>) {
        let Self { by_number, hasher } = self;
        let hash = hasher.hash_one(node.ino);
        by_number.insert_unique(hash, node, |node| hasher.hash_one(node.ino));
    }

    /// Takes a node out, and its name out of its directory.
    pub(super) fn remove(&mut self, ino: u64) -> Option<Box<Node>> {
        self.unlink(ino);
        let Self { by_number, hasher } = self;
        let found = by_number.find_entry(hasher.hash_one(ino), |node| node.ino == ino);
        let (node, _) = found.ok()?.remove();
        shrink(by_number, |node| hasher.hash_one(node.ino));
        Some(node)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.by_number.iter().map(AsRef::as_ref)
    }

    /// All of them, to be changed, in no order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.by_number.iter_mut().map(AsMut::as_mut)
    }

    /// The node of that name in `directory`.
    pub(super) fn child(&self, directory: u64, name: &[u8]) -> Option<u64> {
        let index = &self.get(directory)?.directory()?.children;
        index
            .find(self.hash_name(name), self.has_name(name))
            .copied()
    }

    /// Makes room for `names` names in `directory` at once: a table that grows looks at each of its members again.
    pub(super) fn reserve(&mut self, directory: u64, names: usize) {
        let Some(mut index) = self.take_index(directory) else {
            return;
        };
        let added = names.saturating_sub(index.len());
        index.reserve(added, |ino| self.hash_of(*ino));
        self.put_index(directory, index);
        let Self { by_number, hasher } = self;
        by_number.reserve(added, |node| hasher.hash_one(node.ino));
    }

    /// Enters a node into the index of its directory, in place of one of the same name.
    pub(super) fn link(&mut self, ino: u64) {
        let Some(directory) = self.get(ino).map(|node| node.parent) else {
            return;
        };
        let Some(mut index) = self.take_index(directory) else {
            return;
        };
        if let Some(node) = self.get(ino) {
            let hash = self.hash_name(&node.name);
            match index.find_mut(hash, self.has_name(&node.name)) {
                Some(place) => *place = ino,
                None => drop(index.insert_unique(hash, ino, |ino| self.hash_of(*ino))),
            }
        }
        self.put_index(directory, index);
    }

    /// Takes a node out of the index of its directory.
    pub(super) fn unlink(&mut self, ino: u64) {
        let Some(node) = self.get(ino) else {
            return;
        };
        let (directory, hash) = (node.parent, self.hash_name(&node.name));
        let Some(parent) = self
            .get_mut(directory)
            .filter(|node| node.directory().is_some())
        else {
            return;
        };
        let index = &mut parent.directory_mut().children;
        if let Ok(entry) = index.find_entry(hash, |child| *child == ino) {
            entry.remove();
        }
        if is_sparse(index) {
            let mut index = mem::take(index);
            shrink(&mut index, |ino| self.hash_of(*ino));
            self.put_index(directory, index);
        }
    }

    fn take_index(&mut self, directory: u64) -> Option<HashTable<u64>> {
        let node = self.get_mut(directory)?;
        Some(mem::take(&mut node.directory_mut().children))
    }

    fn put_index(&mut self, directory: u64, index: HashTable<u64>) {
        if let Some(node) = self.get_mut(directory) {
            node.directory_mut().children = index;
        }
    }

    fn hash_name(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    /// The hash of the name of `ino`.
    fn hash_of(&self, ino: u64) -> u64 {
        self.get(ino).map_or(0, |node| self.hash_name(&node.name))
    }

    fn has_name(&self, name: &[u8]) -> impl Fn(&u64) -> bool {
        move |ino| self.get(*ino).is_some_and(|node| *node.name == *name)
    }
}

fn is_sparse<T>(table: &HashTable<T>) -> bool {
    table.capacity() > SMALL_TABLE.max(SPARE_FACTOR * table.len())
}

/// Gives back the places of a table that has lost most of its members.
fn shrink<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if is_sparse(table) {
        table.shrink_to_fit(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Attributes, Kind};

    fn add(nodes: &mut Nodes, ino: u64, parent: u64, name: &str) {
        let attributes = Attributes::of(Kind::Directory);
        nodes.insert(Node::new(
            (ino, 0),
            parent,
            name.as_bytes().into(),
            attributes,
        ));
        nodes.link(ino);
    }

    #[test]
    fn names_are_found_after_growth_renames_and_removals() {
        let mut nodes = Nodes::default();
        nodes.insert(Node::new(
            (1, 0),
            1,
            Box::default(),
            Attributes::of(Kind::Directory),
        ));
        let name = |ino: u64| format!("name {ino}");
        let numbers = 2..20_000;
        numbers
            .clone()
            .for_each(|ino| add(&mut nodes, ino, 1, &name(ino)));
        for ino in numbers.clone() {
            assert_eq!(nodes.child(1, name(ino).as_bytes()), Some(ino));
        }
        // Another node takes the name over: the first is found no more, and does not take the name along.
        add(&mut nodes, 20_000, 1, &name(2));
        assert_eq!(nodes.child(1, name(2).as_bytes()), Some(20_000));
        nodes.remove(2);
        assert_eq!(nodes.child(1, name(2).as_bytes()), Some(20_000));
        for ino in numbers.clone().skip(1) {
            assert!(nodes.remove(ino).is_some());
        }
        assert_eq!((nodes.len(), nodes.child(1, name(3).as_bytes())), (2, None));
        assert_eq!(nodes.child(1, name(2).as_bytes()), Some(20_000));
        let root = nodes.get(1).and_then(Node::directory).expect("names");
        assert!(
            root.children.capacity() <= SMALL_TABLE && nodes.by_number.capacity() <= SMALL_TABLE
        );
    }
}
