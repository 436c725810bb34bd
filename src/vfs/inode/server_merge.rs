//! Merges answers of the server into the tree.
//!
//! An answer counts as of the stamp at which it was asked for: it says nothing about names that were changed here since,
//! nor about what is not on the server yet. What it changes of what the kernel knows goes to the listener.

use std::time::Instant;

use crate::remote::{self, Attributes, Completeness, Entry, Kind, Version};
use crate::vfs::inode::Tree;
use crate::vfs::inode::events::News;
use crate::vfs::inode::node::Difference;

/// Absent names of one directory that are remembered: beyond it they are forgotten together, and asked for again.
const ABSENT_LIMIT: usize = 10_000;

/// Directories of one directory that no listing has and that are remembered: a server that lets every name be entered
/// can't fill the memory with them.
const UNLISTED_LIMIT: usize = 10_000;

impl Tree {
    /// A listing that was asked for at the stamp `asked` has come.
    pub fn merge_listing(
        &mut self,
        directory: u64,
        entries: Vec<Entry>,
        completeness: Completeness,
        asked: u64,
    ) {
        if !self.stands(directory, asked) {
            return;
        }
        self.nodes.reserve(directory, entries.len());
        let mut seen = Vec::with_capacity(entries.len());
        remote::pass_on(entries, |entry| {
            if let Some(ino) = self.merge_entry(directory, &entry.name, entry.attributes, asked) {
                seen.push(ino);
                self.note_listed(directory, &entry.name);
            }
        });
        if completeness == Completeness::Whole {
            seen.sort_unstable();
            for ino in self.missing(directory, &seen, asked) {
                self.remove_vanished(ino);
            }
            self.forget_unlisted(directory);
        }
        if let Some(node) = self.nodes.get_mut(directory) {
            let known = node.directory_mut();
            known.listed = Some((Instant::now(), completeness));
            known.gone.retain(|_, stamp| *stamp > asked);
            known.absent.clear();
        }
        self.listings.put(directory, ());
        self.keep_budget(directory);
    }

    /// What a listing, asked for at the stamp `asked`, should have had next to what was `seen` in it, in the order of the
    /// numbers.
    fn missing(&self, directory: u64, seen: &[u64], asked: u64) -> Vec<u64> {
        let Some(node) = self.nodes.get(directory) else {
            return Vec::new();
        };
        let is_unlisted = |name: &[u8]| {
            let known = node.directory();
            known.is_some_and(|known| known.unlisted.contains(name))
        };
        let is_missed = |ino: &u64| {
            let child = self.nodes.get(*ino);
            child.is_some_and(|child| {
                !child.local && child.stamps.changed <= asked && !is_unlisted(&child.name)
            })
        };
        let unseen = node
            .children()
            .filter(|ino| seen.binary_search(ino).is_err());
        unseen.filter(is_missed).collect()
    }

    /// The server's answer about one name, asked for at the stamp `asked`. Returns the number, unless
    /// the name was removed since, or the directory has another one.
    pub fn merge_entry(
        &mut self,
        directory: u64,
        name: &[u8],
        attributes: Attributes,
        asked: u64,
    ) -> Option<u64> {
        let known = self.nodes.get(directory)?.directory();
        let gone = known.and_then(|known| known.gone.get(name));
        if !self.stands(directory, asked) || gone.is_some_and(|stamp| *stamp > asked) {
            return None;
        }
        if let Some(ino) = self.child(directory, name) {
            let node = self.nodes.get_mut(ino)?;
            if node.stamps.changed > asked || node.local {
                return Some(ino);
            }
            if node.attributes.kind == attributes.kind {
                let answer = node.kept().map(|_| attributes.clone());
                let difference = node.refresh(attributes);
                if let Some(answer) = answer {
                    self.compare_kept(ino, &answer);
                }
                self.notify_listener(ino, difference);
                return Some(ino);
            }
            self.remove_vanished(ino);
        }
        Some(self.add(directory, name, attributes))
    }

    /// A directory can be entered though no listing has it; asked for at the stamp `asked`. Listings leave it there.
    pub fn merge_unlisted(&mut self, directory: u64, name: &[u8], asked: u64) -> Option<u64> {
        let ino = self.merge_entry(directory, name, Attributes::of(Kind::Directory), asked)?;
        if let Some(node) = self.nodes.get_mut(directory) {
            let unlisted = &mut node.directory_mut().unlisted;
            if unlisted.len() < UNLISTED_LIMIT {
                unlisted.insert(Box::from(name));
            }
        }
        Some(ino)
    }

    /// The server has confirmed the content of `ino` and does not show it. Where the name begins with a dot, listings may
    /// leave it out.
    pub fn note_stored_unseen(&mut self, ino: u64) {
        let Some(node) = self.nodes.get(ino).filter(|node| !node.removed) else {
            return;
        };
        let (parent, name) = (node.parent, node.name.clone());
        if name.starts_with(b".")
            && let Some(parent) = self.nodes.get_mut(parent)
        {
            parent.directory_mut().unlisted.insert(name);
        }
    }

    /// A listing has the name.
    fn note_listed(&mut self, directory: u64, name: &[u8]) {
        if let Some(node) = self.nodes.get_mut(directory) {
            node.directory_mut().unlisted.remove(name);
        }
    }

    /// The server's answer about size and time of `ino`, asked for at the stamp `asked`.
    pub fn merge_version(&mut self, ino: u64, version: Version, asked: u64) {
        let stands = self.stands(ino, asked);
        if let Some(node) = self.nodes.get_mut(ino).filter(|_| stands)
            && node.stamps.changed <= asked
            && !node.local
        {
            let difference = node.refresh_version(version);
            let answer = node.kept().map(|_| node.attributes.clone());
            if let Some(answer) = answer {
                self.compare_kept(ino, &answer);
            }
            self.notify_listener(ino, difference);
        }
    }

    /// Another client changed the content of `ino` together with this mount, or may have.
    pub fn start_generation(&mut self, ino: u64) -> Option<u64> {
        let node = self.nodes.get_mut(ino)?;
        node.generation += 1;
        let generation = node.generation;
        self.notify_listener(ino, Difference::Content);
        Some(generation)
    }

    /// The listener hears what is different now, if the kernel knows the node.
    fn notify_listener(&self, ino: u64, difference: Difference) {
        let (Some(listener), Some(node)) = (&self.listener, self.nodes.get(ino)) else {
            return;
        };
        if difference == Difference::Nothing || node.holders.lookups == 0 {
            return;
        }
        // Of a directory the kernel keeps no content.
        let content = difference == Difference::Content && node.attributes.kind != Kind::Directory;
        listener.hear(News::Changed { ino, content });
    }

    /// Another client removed the name of `ino`.
    fn remove_vanished(&mut self, ino: u64) {
        if let (Some(listener), Some(node)) = (&self.listener, self.nodes.get_mut(ino))
            && node.holders.lookups > 0
        {
            let news = News::Gone {
                parent: node.parent,
                name: node.name.clone(),
                ino,
            };
            // The number is not reused before the kernel got the event.
            node.holders.opens += u32::from(listener.hear(news));
        }
        self.detach(ino);
    }

    /// The server says that the name is not there; asked for at the stamp `asked`.
    pub fn merge_absence(&mut self, directory: u64, name: &[u8], asked: u64) {
        if !self.stands(directory, asked) {
            return;
        }
        if let Some(ino) = self.child(directory, name) {
            let node = self.nodes.get(ino);
            if node.is_some_and(|node| node.local || node.stamps.changed > asked) {
                return;
            }
            self.remove_vanished(ino);
        }
        if let Some(node) = self.nodes.get_mut(directory) {
            let known = node.directory_mut();
            known.unlisted.remove(name);
            if known.absent.len() >= ABSENT_LIMIT {
                known.absent.clear();
            }
            known.absent.insert(Box::from(name), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{entry, file, listed};
    use super::*;
    use crate::vfs::inode::ROOT;
    use crate::vfs::inode::events::Listener;

    /// Keeps what it hears.
    #[derive(Debug, Default)]
    struct Heard(parking_lot::Mutex<Vec<News>>);

    impl Listener for Heard {
        fn hear(&self, news: News) -> bool {
            self.0.lock().push(news);
            true
        }
    }

    #[test]
    fn a_listing_asked_before_a_change_does_not_undo_it() {
        let mut tree = listed(vec![entry(b"a", 1), entry(b"b", 1)]);
        let asked = tree.now();
        let a = tree.child(ROOT, b"a").expect("a");
        let b = tree.child(ROOT, b"b").expect("b");
        tree.remove_own(a);
        tree.rename_own(b, ROOT, b"c");
        let d = tree.add_own(ROOT, b"d", file(4));
        tree.merge_listing(
            ROOT,
            vec![entry(b"a", 1), entry(b"b", 1)],
            Completeness::Whole,
            asked,
        );
        assert_eq!(tree.children(ROOT), [b, d]);
        assert_eq!(tree.child(ROOT, b"c"), Some(b));
    }

    #[test]
    fn answer_for_a_former_path_is_ignored() {
        let directory = |name: &[u8]| Entry {
            name: name.to_vec(),
            attributes: Attributes::of(Kind::Directory),
        };
        let mut tree = listed(vec![directory(b"d")]);
        let d = tree.child(ROOT, b"d").expect("d");
        tree.merge_listing(d, vec![entry(b"a", 1)], Completeness::Whole, tree.now());
        let a = tree.child(d, b"a").expect("a");
        let asked = tree.now();
        tree.rename_own(d, ROOT, b"old");
        let new = tree.add_own_directory(ROOT, b"d", Attributes::of(Kind::Directory));
        assert!(!tree.stands(a, asked) && tree.stands(a, tree.now()));
        // All of these are of the new directory.
        tree.merge_listing(d, vec![], Completeness::Whole, asked);
        tree.merge_absence(d, b"a", asked);
        assert_eq!(tree.merge_entry(d, b"b", file(1), asked), None);
        let version = file(7).version();
        tree.merge_version(a, version, asked);
        assert_eq!(tree.child(d, b"a"), Some(a));
        assert_eq!(tree.get(a).expect("a").attributes.size, Some(1));
        assert!(tree.stands(new, tree.now()));
    }

    #[test]
    fn local_file_ignores_answers_of_the_server() {
        let mut tree = listed(vec![entry(b"a", 1)]);
        let a = tree.child(ROOT, b"a").expect("a");
        tree.get_mut(a).expect("a").local = true;
        tree.merge_listing(ROOT, vec![entry(b"a", 7)], Completeness::Whole, tree.now());
        assert_eq!(tree.get(a).expect("a").attributes.size, Some(1));
        tree.merge_listing(ROOT, vec![], Completeness::Whole, tree.now());
        assert!(tree.child(ROOT, b"a").is_some());
    }

    #[test]
    fn a_file_that_became_a_directory_is_another_inode() {
        let mut tree = listed(vec![entry(b"a", 1)]);
        let a = tree.child(ROOT, b"a").expect("a");
        tree.count_lookup(a);
        let directory = Entry {
            name: b"a".to_vec(),
            attributes: Attributes::of(Kind::Directory),
        };
        tree.merge_listing(ROOT, vec![directory], Completeness::Whole, tree.now());
        assert_ne!(tree.child(ROOT, b"a"), Some(a));
        assert!(tree.get(a).expect("still known").removed);
    }

    #[test]
    fn remote_change_of_a_known_inode_is_an_event() {
        let mut tree = listed(vec![entry(b"a", 1), entry(b"b", 1), entry(b"c", 1)]);
        let heard = Arc::new(Heard::default());
        tree.set_listener(Some(heard.clone()));
        let number = |name: &[u8]| tree.child(ROOT, name).expect("listed");
        let (a, b, c) = (number(b"a"), number(b"b"), number(b"c"));
        tree.count_lookup(a);
        tree.count_lookup(b);
        let mut mode = entry(b"b", 1);
        mode.attributes.mode = Some(0o600);
        // The kernel does not know c.
        let now = vec![entry(b"a", 2), mode.clone()];
        tree.merge_listing(ROOT, now, Completeness::Whole, tree.now());
        let changed = |ino, content| News::Changed { ino, content };
        let told = || std::mem::take(&mut *heard.0.lock());
        assert!(tree.get(c).is_none());
        assert_eq!(told(), [changed(a, true), changed(b, false)]);
        // The same again is no news, nor what we did ourselves.
        tree.remove_own(a);
        tree.merge_listing(ROOT, vec![mode], Completeness::Whole, tree.now());
        assert_eq!(told(), []);
        tree.merge_listing(ROOT, vec![], Completeness::Whole, tree.now());
        let (parent, name) = (ROOT, Box::from(&b"b"[..]));
        let gone = News::Gone {
            parent,
            name,
            ino: b,
        };
        assert_eq!(told(), [gone]);
        // Until it is passed on the number is not given to another file.
        tree.forget(b, 1);
        assert_ne!(tree.add_own(ROOT, b"b", file(1)), b);
        tree.close(b);
        assert!(tree.get(b).is_none());
    }

    #[test]
    fn a_changed_version_is_a_new_generation() {
        let mut tree = listed(vec![entry(b"a", 1)]);
        let a = tree.child(ROOT, b"a").expect("a");
        let first = tree.get(a).expect("a").generation;
        tree.merge_listing(ROOT, vec![entry(b"a", 1)], Completeness::Whole, tree.now());
        assert_eq!(tree.get(a).expect("a").generation, first);
        tree.merge_listing(ROOT, vec![entry(b"a", 2)], Completeness::Whole, tree.now());
        assert_eq!(tree.get(a).expect("a").generation, first + 1);
    }
}
