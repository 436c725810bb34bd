//! The overlay of attributes: what is kept for inodes, in memory.
//!
//! An entry lies in its node while the tree has one (`Node::kept`), and by its path ([`Overlay::dormant`]) while it has
//! none: a node takes its entry when it is made, and leaves it when it is evicted. Entries follow renames and go with the
//! name.
//!
//! The overlay has a budget. What was used longest ago goes first; entries that narrow a mode or change an owner stay, and
//! where only these are left, new ones are refused.
//!
//! With a database (`attributes::store`) every change of an entry is noted, to be taken by [`Tree::take_changes`]: first
//! what happened to names, in order, then the entries as they are by then.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroI64;
use std::ops::Bound;
use std::sync::mpsc::SyncSender;

use crate::remote::{Attributes, Kind, Version};
use crate::vfs::inode::kept::{Kept, KeptTime, NodeEntry, Seen, Timestamp};
use crate::vfs::inode::node::Node;
use crate::vfs::inode::{ROOT, Tree};

/// Bytes that all entries may take: some 200,000 without extended attributes.
const BUDGET: usize = 64 << 20;
/// The part of the entries that goes when the budget is reached, so that a look for the oldest is rare.
const EVICTED_PART: usize = 8;

/// The overlay is full with entries that must not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What happened to names that have entries, by paths relative to the mounted directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// The path and all below it are gone.
    Removed(Vec<u8>),
    /// The path and all below it are elsewhere.
    Renamed(Vec<u8>, Vec<u8>),
}

/// Changes of the overlay since they were last taken.
#[derive(Debug, Default)]
pub struct Changes {
    /// Names, in order.
    pub names: Vec<NameChange>,
    /// Entries after that; `None` where nothing is kept any more.
    pub entries: Vec<(Vec<u8>, Option<Kept>)>,
    /// Entries of which the server's answer has told more: written where no other mount has changed them.
    pub seen: Vec<(Vec<u8>, Kept)>,
}

/// The overlay.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// Entries of paths that the tree has no node for.
    dormant: BTreeMap<Vec<u8>, (u64, Kept)>,
    /// Bytes of all entries, dormant or not.
    bytes: usize,
    /// Counts uses, so that the oldest is known.
    clock: u64,
    /// The times of our own changes of directories are kept.
    keeps_local_times: bool,
    /// Is woken by the first change after [`Tree::take_changes`]; without it no change is noted.
    wake: Option<SyncSender<()>>,
    names: Vec<NameChange>,
    /// Nodes whose entries have changed.
    changed: HashSet<u64>,
    /// Nodes with an entry of which the server's first answer after a change was seen.
    seen: HashSet<u64>,
    /// Paths without a node whose entries are gone.
    gone: Vec<Vec<u8>>,
}

impl Overlay {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The paths at and below `path` that have dormant entries.
    fn dormant_below(&self, path: &[u8]) -> Vec<Vec<u8>> {
        if path.is_empty() {
            return self.dormant.keys().cloned().collect();
        }
        let below = [path, b"/"].concat();
        let beyond = [path, b"0"].concat();
        let range = (Bound::Included(below), Bound::Excluded(beyond));
        let own = self.dormant.get_key_value(path).map(|(path, _)| path);
        let below = self.dormant.range::<Vec<u8>, _>(range);
        own.into_iter()
            .chain(below.map(|(path, _)| path))
            .cloned()
            .collect()
    }

    fn take_dormant(&mut self, path: &[u8]) -> Option<Kept> {
        if self.dormant.is_empty() {
            return None;
        }
        self.dormant.remove(path).map(|(_, kept)| kept)
    }

    fn note_name(&mut self, change: NameChange) {
        if self.wake() {
            self.names.push(change);
        }
    }

    /// Whether changes are noted; wakes who writes them.
    fn wake(&self) -> bool {
        if let Some(wake) = &self.wake {
            // One that was not received yet does.
            let _ = wake.try_send(());
        }
        self.wake.is_some()
    }
}

impl Tree {
    /// Changes what is kept for `ino`. What the entry holds for afterwards is the file as it is now.
    pub(crate) fn keep(&mut self, ino: u64, change: impl FnOnce(&mut Kept)) -> Result<(), Full> {
        let Some(node) = self.nodes.get(ino) else {
            return Ok(());
        };
        let before = node.entry.as_ref().map(|entry| &entry.kept);
        let mut kept = before.cloned().unwrap_or_default();
        change(&mut kept);
        kept.seen = match node.attributes.kind {
            // Our own changes in it may have moved its time after the last answer: the next one shows it.
            Kind::Directory => Seen::default(),
            // It is seen when it is stored.
            _ if node.local => Seen::default(),
            _ => Seen::of(&node.attributes),
        };
        if before == Some(&kept) || before.is_none() && kept.is_empty() {
            return Ok(());
        }
        let growth = kept.bytes().saturating_sub(before.map_or(0, Kept::bytes));
        if self.overlay.bytes + growth > BUDGET {
            self.evict_entries();
            if self.overlay.bytes + growth > BUDGET {
                return Err(Full);
            }
        }
        self.put(ino, kept);
        // What was asked before shows what the server had before.
        self.touch(ino);
        Ok(())
    }

    /// The server has `version` of `ino` after our own change: what is kept goes on to hold.
    pub(crate) fn saw_own_version(&mut self, ino: u64, version: Version) {
        let Some(node) = self.nodes.get(ino) else {
            return;
        };
        let Some(entry) = &node.entry else {
            return;
        };
        let attributes = Attributes {
            size: version.size,
            modified: version.modified.map(|seconds| crate::remote::Modified {
                seconds,
                precision: crate::remote::Precision::Second,
            }),
            ..Attributes::of(node.attributes.kind)
        };
        let mut kept = entry.kept.clone();
        kept.seen = Seen::of(&attributes);
        self.put(ino, kept);
    }

    /// Our own change is about to move the modification of `ino`, which is on the server: that is no access.
    pub(crate) fn hold_accessed(&mut self, ino: u64) {
        let Some(node) = self.nodes.get_mut(ino).filter(|node| !node.local) else {
            return;
        };
        let shown = node.modified();
        if shown.nanos != 0 {
            // A program set it, so that there is an entry.
            self.update(ino, |kept| {
                kept.accessed.get_or_insert(shown);
            });
        } else if node.attributes.modified.is_some() {
            node.accessed = node.accessed.or(NonZeroI64::new(shown.seconds));
        }
    }

    /// The content of `ino` was changed here: its time is that of the change.
    pub(crate) fn wrote(&mut self, ino: u64) {
        self.update(ino, |kept| {
            kept.modified = None;
            if kept.changed.is_some() {
                kept.changed = Some(Timestamp::now());
            }
        });
    }

    /// Our own change of a name in the directory has moved its time on the server.
    pub(crate) fn changed_inside(&mut self, directory: u64) {
        if self.overlay.keeps_local_times {
            let own = KeptTime::Local(Timestamp::of_seconds(self.server_now().seconds));
            // Without room the server's time is shown, rounded.
            let _ = self.keep(directory, |kept| {
                (kept.modified, kept.changed) = (Some(own), None);
            });
            return;
        }
        self.update(directory, |kept| {
            kept.modified = None;
            kept.changed = None;
            kept.seen = Seen::default();
        });
    }

    /// The server rounds the times of directories: those of our own changes are kept.
    pub(crate) fn keep_local_times(&mut self) {
        self.overlay.keeps_local_times = true;
    }

    /// An upload has made a name in the directory, behind what is shown of it.
    pub(crate) fn stored_inside(&mut self, directory: u64) {
        if self
            .nodes
            .get(directory)
            .is_some_and(|node| node.entry.is_some())
        {
            self.touch(directory);
            self.update(directory, |kept| kept.seen = Seen::default());
        }
    }

    /// The server's word about `ino` has come.
    pub(crate) fn compare_kept(&mut self, ino: u64, answer: &Attributes) {
        let Some(node) = self.nodes.get(ino) else {
            return;
        };
        if node.entry.is_none() || node.local || node.removed {
            return;
        }
        let Some(entry) = &node.entry else {
            return;
        };
        let mut kept = entry.kept.clone();
        kept.compare(answer);
        if kept == entry.kept {
            return;
        }
        // Another client's change may be that of a mount whose entry in the database is newer than what is known here.
        // Every mount sees it for itself, so that it need not be written.
        let is_first_look = entry.kept.seen.modified.is_none();
        if kept.mode != entry.kept.mode && !kept.is_empty() {
            return self.put(ino, kept);
        }
        let is_seen = is_first_look && !kept.is_empty();
        self.replace_kept(ino, kept);
        if is_seen && self.overlay.wake() {
            self.overlay.seen.insert(ino);
        }
    }

    fn update(&mut self, ino: u64, change: impl FnOnce(&mut Kept)) {
        let entry = self.nodes.get(ino).and_then(|node| node.entry.as_ref());
        let Some(before) = entry.map(|entry| &entry.kept) else {
            return;
        };
        let mut kept = before.clone();
        change(&mut kept);
        if *before != kept {
            self.put(ino, kept);
        }
    }

    fn put(&mut self, ino: u64, kept: Kept) {
        self.replace_kept(ino, kept);
        let has_path = self.nodes.get(ino).is_some_and(|node| !node.removed);
        if has_path && self.overlay.wake() {
            self.overlay.changed.insert(ino);
        }
    }

    fn replace_kept(&mut self, ino: u64, kept: Kept) {
        let used = self.overlay.tick();
        let Some(node) = self.nodes.get_mut(ino) else {
            return;
        };
        let before = node.entry.take();
        self.overlay.bytes -= before.map_or(0, |entry| entry.kept.bytes());
        if !kept.is_empty() {
            self.overlay.bytes += kept.bytes();
            node.entry = Some(Box::new(NodeEntry { kept, used }));
        }
    }

    /// A node was made at `path`: it takes what is kept there.
    pub(crate) fn attach_entry(&mut self, ino: u64, path: &[u8]) {
        let Some(kept) = self.overlay.take_dormant(path) else {
            return;
        };
        let used = self.overlay.tick();
        if let Some(node) = self.nodes.get_mut(ino) {
            node.entry = Some(Box::new(NodeEntry { kept, used }));
        }
        let answer = self.nodes.get(ino).map(|node| node.attributes.clone());
        if let Some(answer) = answer {
            self.compare_kept(ino, &answer);
        }
    }

    /// Whether the node has a change that was not taken yet, and can't be evicted.
    pub(crate) fn is_entry_noted(&self, ino: u64) -> bool {
        self.overlay.changed.contains(&ino)
    }

    /// The node is evicted: its entry stays, by its path.
    pub(crate) fn leave_entry(&mut self, node: Node, path: Option<Vec<u8>>) {
        if let (Some(entry), Some(path)) = (node.entry, path) {
            self.overlay.dormant.insert(path, (entry.used, entry.kept));
        }
    }

    /// A name is made at `path`: what is kept there was of something that is gone.
    pub(crate) fn forget_stale(&mut self, path: &[u8]) {
        if !self.overlay.dormant_below(path).is_empty() {
            self.forget_entries(path);
        }
    }

    /// The name is gone, and all below it. What is still open keeps its entry until it is closed.
    pub(crate) fn forget_entries(&mut self, path: &[u8]) {
        if self.overlay.bytes == 0 {
            return;
        }
        for path in self.overlay.dormant_below(path) {
            self.drop_dormant(&path);
        }
        self.overlay.note_name(NameChange::Removed(path.to_vec()));
    }

    /// The node is gone for good.
    pub(crate) fn drop_entry(&mut self, node: &Node) {
        let bytes = node.entry.as_ref().map_or(0, |entry| entry.kept.bytes());
        self.overlay.bytes -= bytes;
        self.overlay.changed.remove(&node.ino);
        self.overlay.seen.remove(&node.ino);
    }

    /// What was at `from` is at `to`.
    pub(crate) fn rename_entries(&mut self, from: &[u8], to: &[u8]) {
        self.forget_stale(to);
        if self.overlay.bytes == 0 {
            return;
        }
        for path in self.overlay.dormant_below(from) {
            let moved = [to, path.get(from.len()..).unwrap_or_default()].concat();
            if let Some(entry) = self.overlay.dormant.remove(&path) {
                self.overlay.dormant.insert(moved, entry);
            }
        }
        let change = NameChange::Renamed(from.to_vec(), to.to_vec());
        self.overlay.note_name(change);
    }

    /// Notes the entries of `ino` and of all below it: another mount may have taken the old names for removed meanwhile.
    pub(crate) fn note_entries_below(&mut self, ino: u64) {
        if self.overlay.bytes == 0 || !self.overlay.wake() {
            return;
        }
        let mut left = vec![ino];
        while let Some(ino) = left.pop() {
            if let Some(node) = self.nodes.get(ino) {
                left.extend(node.children());
                if node.entry.is_some() {
                    self.overlay.changed.insert(ino);
                }
            }
        }
    }

    /// A whole listing of the directory has come: what is kept of names that it lacks was of something that is gone.
    pub(crate) fn forget_unlisted(&mut self, directory: u64) {
        if self.overlay.dormant.is_empty() {
            return;
        }
        let Some(path) = self.path(directory) else {
            return;
        };
        let below = match path.is_root() {
            true => Vec::new(),
            false => [path.as_bytes(), b"/"].concat(),
        };
        let mut gone = HashSet::new();
        for entry in self.overlay.dormant_below(path.as_bytes()) {
            let rest = entry.strip_prefix(below.as_slice()).unwrap_or_default();
            let name = rest.split(|&byte| byte == b'/').next().unwrap_or_default();
            if !name.is_empty() && self.child(directory, name).is_none() {
                gone.insert([below.as_slice(), name].concat());
            }
        }
        for path in gone {
            self.forget_entries(&path);
        }
    }

    /// Whether changes were not taken yet.
    pub(crate) fn has_changes(&self) -> bool {
        let overlay = &self.overlay;
        let is_changed = !(overlay.changed.is_empty() && overlay.seen.is_empty());
        is_changed || !(overlay.names.is_empty() && overlay.gone.is_empty())
    }

    /// Takes an entry from the database; `None`: nothing is kept there any more.
    /// Returns whether there was room for it.
    pub(crate) fn load_entry(&mut self, path: &[u8], kept: Option<Kept>) -> bool {
        let names = path.split(|&byte| byte == b'/');
        let ino = names
            .filter(|name| !name.is_empty())
            .try_fold(ROOT, |ino, name| self.child(ino, name));
        self.drop_dormant(path);
        let kept = kept.unwrap_or_default();
        if !kept.is_empty() && self.overlay.bytes + kept.bytes() > BUDGET {
            return false;
        }
        if let Some(ino) = ino.filter(|ino| !self.overlay.changed.contains(ino)) {
            self.replace_kept(ino, kept);
        } else if ino.is_none() && !kept.is_empty() {
            let used = self.overlay.tick();
            self.overlay.bytes += kept.bytes();
            self.overlay.dormant.insert(path.to_vec(), (used, kept));
        }
        true
    }

    fn drop_dormant(&mut self, path: &[u8]) {
        if let Some((_, kept)) = self.overlay.dormant.remove(path) {
            self.overlay.bytes -= kept.bytes();
        }
    }

    /// From now on changes are noted, and `wake` hears of them.
    pub(crate) fn note_changes(&mut self, wake: SyncSender<()>) {
        self.overlay.wake = Some(wake);
    }

    /// What has changed since the last time.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let names = std::mem::take(&mut self.overlay.names);
        let mut entries: Vec<_> = std::mem::take(&mut self.overlay.gone)
            .into_iter()
            .map(|path| (path, None))
            .collect();
        let changed = std::mem::take(&mut self.overlay.changed);
        let mut seen = Vec::new();
        for ino in std::mem::take(&mut self.overlay.seen) {
            let entry = self.nodes.get(ino).and_then(|node| node.entry.as_ref());
            let entry = entry.filter(|_| !changed.contains(&ino));
            if let (Some(path), Some(entry)) = (self.path(ino), entry) {
                seen.push((path.as_bytes().to_vec(), entry.kept.clone()));
            }
        }
        for ino in changed {
            if let (Some(path), Some(node)) = (self.path(ino), self.nodes.get(ino)) {
                let kept = node.entry.as_ref().map(|entry| entry.kept.clone());
                entries.push((path.as_bytes().to_vec(), kept));
            }
        }
        Changes {
            names,
            entries,
            seen,
        }
    }

    /// Drops the entries that were used longest ago, but none that is protective.
    fn evict_entries(&mut self) {
        let of_nodes = self.nodes.iter().filter_map(|node| {
            let entry = node
                .entry
                .as_ref()
                .filter(|entry| !entry.kept.is_protective());
            entry.map(|entry| entry.used)
        });
        let dormant = self.overlay.dormant.values();
        let dormant = dormant.filter(|(_, kept)| !kept.is_protective());
        let mut used: Vec<u64> = of_nodes.chain(dormant.map(|(used, _)| *used)).collect();
        used.sort_unstable();
        let Some(&limit) = used.get(used.len() / EVICTED_PART) else {
            return;
        };
        let is_old = |used: u64, kept: &Kept| used <= limit && !kept.is_protective();
        let nodes = self.nodes.iter().filter(|node| {
            let entry = node.entry.as_ref();
            entry.is_some_and(|entry| is_old(entry.used, &entry.kept))
        });
        for ino in nodes.map(|node| node.ino).collect::<Vec<_>>() {
            self.put(ino, Kept::default());
        }
        let dormant = self.overlay.dormant.iter();
        let paths = dormant.filter(|(_, (used, kept))| is_old(*used, kept));
        for path in paths.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.drop_dormant(&path);
            if self.overlay.wake() {
                self.overlay.gone.push(path);
            }
        }
        log::info!(
            "attributes: the oldest of what is kept here are dropped: {BUDGET} bytes are in use"
        );
    }
}

#[cfg(test)]
impl Tree {
    /// Whether the bytes are those of all entries.
    pub(crate) fn has_right_bytes(&self) -> bool {
        let of_nodes = self
            .nodes
            .iter()
            .filter_map(|node| node.kept())
            .map(Kept::bytes);
        let dormant = self.overlay.dormant.values();
        let all: usize = of_nodes.chain(dormant.map(|(_, kept)| kept.bytes())).sum();
        all == self.overlay.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, listed};
    use super::*;
    use crate::remote::{Completeness, Entry, Modified, Precision};
    use crate::vfs::inode::kept::KeptMode;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::of_seconds(seconds)
    }

    fn set(seconds: i64) -> Option<KeptTime> {
        Some(KeptTime::Set(at(seconds)))
    }

    fn directory(name: &[u8], seconds: i64) -> Entry {
        Entry {
            name: name.to_vec(),
            attributes: Attributes {
                modified: Some(Modified {
                    seconds,
                    precision: Precision::Second,
                }),
                ..Attributes::of(Kind::Directory)
            },
        }
    }

    fn kept_of(tree: &Tree, ino: u64) -> Kept {
        tree.get(ino)
            .and_then(Node::kept)
            .cloned()
            .unwrap_or_default()
    }

    #[test]
    fn listing_asked_before_does_not_show_what_a_directory_was() {
        let mut tree = listed(vec![directory(b"d", 10)]);
        let d = tree.child(ROOT, b"d").expect("d");
        let before = tree.now();
        tree.keep(d, |kept| kept.modified = set(5)).expect("room");
        // Its time on the server moved between the question and what was kept.
        let late = vec![directory(b"d", 10)];
        tree.merge_listing(ROOT, late, Completeness::Whole, before);
        let now = tree.now();
        let answer = vec![directory(b"d", 20)];
        tree.merge_listing(ROOT, answer, Completeness::Whole, now);
        assert_eq!(kept_of(&tree, d).modified, set(5));
    }

    #[test]
    fn entries_outlive_their_nodes_and_follow_renames() {
        let mut tree = listed(vec![directory(b"d", 10)]);
        let d = tree.child(ROOT, b"d").expect("d");
        let inner = vec![entry(b"a", 1)];
        tree.merge_listing(d, inner.clone(), Completeness::Whole, tree.now());
        let a = tree.child(d, b"a").expect("a");
        tree.keep(a, |kept| kept.uid = Some(7)).expect("room");
        tree.drop_children(d);
        assert_eq!(tree.child(d, b"a"), None);
        tree.rename_own(d, ROOT, b"e");
        tree.merge_listing(d, inner, Completeness::Whole, tree.now());
        let again = tree.child(d, b"a").expect("a");
        assert_eq!(kept_of(&tree, again).uid, Some(7));
        tree.remove_own(again);
        let new = tree.add_own(d, b"a", super::super::tests::file(1));
        assert_eq!(kept_of(&tree, new), Kept::default());
    }

    #[test]
    fn full_overlay_drops_the_oldest_but_no_mode_and_no_owner() {
        let mut tree = listed(vec![entry(b"first", 1), entry(b"mode", 1)]);
        let child = |tree: &Tree, name: &[u8]| tree.child(ROOT, name).expect("there");
        let first = child(&tree, b"first");
        tree.keep(first, |kept| kept.changed = Some(at(1)))
            .expect("room");
        let mode = child(&tree, b"mode");
        tree.keep(mode, |kept| kept.mode = Some(KeptMode::Refused(0o600)))
            .expect("room");
        let value: Box<[u8]> = vec![0; 60_000].into();
        let add = |tree: &mut Tree, name: String, is_protective: bool| {
            let ino = tree.add_own(ROOT, name.as_bytes(), super::super::tests::file(1));
            let value = value.clone();
            tree.keep(ino, |kept| {
                kept.extended.insert(b"user.a"[..].into(), value);
                kept.uid = is_protective.then_some(7);
            })
        };
        let entries = BUDGET / 60_000;
        for number in 0..2 * entries {
            add(&mut tree, format!("f{number}"), false).expect("the oldest goes");
        }
        assert!(tree.overlay.bytes <= BUDGET);
        assert_eq!(kept_of(&tree, first), Kept::default());
        assert_eq!(kept_of(&tree, mode).mode, Some(KeptMode::Refused(0o600)));
        let mut full = Ok(());
        for number in 0..=entries {
            full = full.and_then(|()| add(&mut tree, format!("g{number}"), true));
        }
        assert_eq!(full, Err(Full));
        assert!(tree.overlay.bytes <= BUDGET);
    }
}
