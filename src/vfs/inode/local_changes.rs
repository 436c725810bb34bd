//! Applies local changes of names: created, removed, renamed.
//!
//! Each has a stamp, so that answers to earlier questions do not undo it (`server_merge`). A removed name is remembered
//! with its stamp until a later listing has come.

use std::time::Instant;

use crate::remote::{Attributes, Completeness, Modified, Precision};
use crate::vfs::inode::node::now;
use crate::vfs::inode::{CLOCK_DIFFERENCE_LIMIT, CLOCK_TOLERANCE, ROOT, Tree};

/// Names removed here that a directory remembers: no answer is so late that more have gone since it was asked for.
const GONE_LIMIT: usize = 10_000;

impl Tree {
    /// The server gave a content that it has stored now this time, in seconds since 1970.
    pub fn note_server_time(&mut self, seconds: i64) {
        let difference = seconds.saturating_sub(now().seconds);
        match difference.saturating_abs() {
            0..=CLOCK_TOLERANCE => self.clock_difference = 0,
            ..=CLOCK_DIFFERENCE_LIMIT => self.clock_difference = difference,
            _ => {}
        }
    }

    /// This moment by the server's clock, as far as its difference is known.
    pub fn server_now(&self) -> Modified {
        let now = now();
        Modified {
            seconds: now.seconds.saturating_add(self.clock_difference),
            ..now
        }
    }

    /// The same, as the time of a change that we made on the server, which it has not told yet.
    pub fn own_change(&self) -> Modified {
        Modified {
            precision: Precision::Local,
            ..self.server_now()
        }
    }

    /// A name that we made. One of the same name must have been removed before.
    pub fn add_own(&mut self, directory: u64, name: &[u8], attributes: Attributes) -> u64 {
        if let Some(path) = self.path(directory).and_then(|path| path.join(name)) {
            self.forget_stale(path.as_bytes());
        }
        let ino = self.add(directory, name, attributes);
        self.touch(ino);
        self.touch_directory(directory);
        if let Some(node) = self.nodes.get_mut(directory) {
            node.directory_mut().gone.remove(name);
        }
        ino
    }

    /// A name of which an earlier mount has written a closed file down: what was kept of it still holds.
    pub fn add_recovered(&mut self, directory: u64, name: &[u8], attributes: Attributes) -> u64 {
        let ino = self.add(directory, name, attributes);
        self.touch(ino);
        ino
    }

    /// An empty directory that we made: its listing is known.
    pub fn add_own_directory(
        &mut self,
        directory: u64,
        name: &[u8],
        attributes: Attributes,
    ) -> u64 {
        let ino = self.add_own(directory, name, attributes);
        if let Some(node) = self.nodes.get_mut(ino) {
            node.directory_mut().listed = Some((Instant::now(), Completeness::Whole));
        }
        self.listings.put(ino, ());
        self.changed_inside(ino);
        ino
    }

    /// We removed the name of `ino`. The node stays as long as something holds it.
    pub fn remove_own(&mut self, ino: u64) {
        let Some(node) = self.nodes.get(ino) else {
            return;
        };
        let (parent, name) = (node.parent, node.name.clone());
        self.stamp += 1;
        self.detach(ino);
        self.note_gone(parent, name);
        self.touch_directory(parent);
    }

    /// We gave `ino` another name. One that bore it must have been removed before.
    pub fn rename_own(&mut self, ino: u64, directory: u64, name: &[u8]) {
        let Some(node) = self.nodes.get(ino) else {
            return;
        };
        let (old_parent, old_name) = (node.parent, node.name.clone());
        let from = self.path(ino);
        self.touch(ino);
        let stamp = self.stamp;
        self.nodes.unlink(ino);
        if let Some(node) = self.nodes.get_mut(ino) {
            (node.parent, node.name) = (directory, Box::from(name));
            node.stamps.moved = stamp;
        }
        self.nodes.link(ino);
        let mut is_unlisted = false;
        if let Some(parent) = self.nodes.get_mut(old_parent) {
            let known = parent.directory_mut();
            is_unlisted = known.unlisted.remove(&old_name);
        }
        self.note_gone(old_parent, old_name);
        if let Some(parent) = self.nodes.get_mut(directory) {
            let known = parent.directory_mut();
            known.gone.remove(name);
            known.absent.remove(name);
        }
        if let (Some(from), Some(to)) = (from, self.path(ino)) {
            self.rename_entries(from.as_bytes(), to.as_bytes());
            self.note_entries_below(ino);
        }
        if is_unlisted {
            self.note_stored_unseen(ino);
        }
        self.touch_directory(old_parent);
        self.touch_directory(directory);
    }

    /// A name is gone from `directory` as of now. Where it is never listed again, the oldest of them are forgotten.
    fn note_gone(&mut self, directory: u64, name: Box<[u8]>) {
        let stamp = self.stamp;
        let Some(node) = self.nodes.get_mut(directory) else {
            return;
        };
        let gone = &mut node.directory_mut().gone;
        gone.insert(name, stamp);
        if gone.len() > GONE_LIMIT {
            // Each has a stamp of its own, so that half of them stay at most.
            let oldest = stamp.saturating_sub(GONE_LIMIT as u64 / 2);
            gone.retain(|_, stamp| *stamp > oldest);
        }
    }

    /// A local change of `ino`: whatever was asked before is late news.
    pub fn touch(&mut self, ino: u64) {
        self.stamp += 1;
        if let Some(node) = self.nodes.get_mut(ino) {
            node.stamps.changed = self.stamp;
        }
    }

    /// Whether `ino` still has the path that it had at the stamp `asked`: nothing on the way to it was removed or
    /// renamed since. Otherwise an answer for that path may be about something else.
    pub fn stands(&self, ino: u64, asked: u64) -> bool {
        let mut at = ino;
        while at != ROOT {
            match self.nodes.get(at) {
                Some(node) if !node.removed && node.stamps.moved <= asked => at = node.parent,
                _ => return false,
            }
        }
        true
    }

    /// Our own change made the directory's time now; the server's own says so to the second.
    fn touch_directory(&mut self, directory: u64) {
        let own = self.own_change();
        self.hold_accessed(directory);
        if let Some(node) = self.nodes.get_mut(directory) {
            node.attributes.modified = Some(own);
        }
        self.changed_inside(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, file, listed};
    use super::*;

    #[test]
    fn numbers_are_the_same_after_a_remount_and_kept_over_a_rename() {
        let mut one = listed(vec![entry(b"a", 1)]);
        let other = listed(vec![entry(b"b", 1), entry(b"a", 1)]);
        let a = one.child(ROOT, b"a").expect("a");
        assert_eq!(Some(a), other.child(ROOT, b"a"));
        one.rename_own(a, ROOT, b"z");
        assert_eq!(one.child(ROOT, b"z"), Some(a));
        let again = one.add_own(ROOT, b"a", file(0));
        assert_ne!(again, a);
        assert_eq!(one.path(again).expect("a path").as_bytes(), b"a");
    }

    #[test]
    fn names_that_went_are_remembered_within_a_limit() {
        let mut tree = listed(vec![]);
        let asked = tree.now();
        for number in 0..=GONE_LIMIT {
            let ino = tree.add_own(ROOT, format!("temporary {number}").as_bytes(), file(0));
            tree.remove_own(ino);
        }
        let root = tree.get(ROOT).and_then(|root| root.directory());
        assert!(root.expect("names").gone.len() <= GONE_LIMIT);
        // A late answer does not bring the last ones back.
        let last = format!("temporary {GONE_LIMIT}");
        tree.merge_listing(
            ROOT,
            vec![entry(last.as_bytes(), 0)],
            Completeness::Whole,
            asked,
        );
        assert_eq!(tree.child(ROOT, last.as_bytes()), None);
    }

    #[test]
    fn a_number_that_comes_back_is_of_another_generation() {
        let mut tree = listed(vec![entry(b"a", 1)]);
        let a = tree.child(ROOT, b"a").expect("a");
        let generation = tree.get(a).expect("a").generation;
        tree.remove_own(a);
        assert_eq!(tree.add_own(ROOT, b"a", file(1)), a);
        assert_ne!(tree.get(a).expect("a").generation, generation);
    }
}
