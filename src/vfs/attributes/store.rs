//! Brings what is kept to the database and back.
//!
//! A thread writes what has changed, some time after the first change, and the end of the mount writes the rest: no caller
//! waits for it. What other mounts have written is read when the server is asked, at most once a second. Where there is no
//! database, what is kept lasts as long as the mount.
//!
//! # Lock order
//!
//! The database before the inode table, whose lock is held for a moment only. A caller that finds the database busy goes
//! on without it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::process::thread::spawn_thread;
use crate::vfs::attributes::database::Database;
use crate::vfs::inode::overlay::{Changes, NameChange};
use crate::vfs::inode::table::Table;
use crate::vfs::settings::StorePlace;

/// Time in which changes are gathered.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Changes that wait for a database which can't be written; beyond them it is given up.
const MAX_WAITING: usize = 100_000;

/// The database of a mount.
pub(crate) struct Store {
    table: Arc<Table>,
    /// The mounted directory on the server, absolute, without a `/` at its end.
    root: Vec<u8>,
    state: Mutex<StoreState>,
    ended: SyncSender<()>,
}

struct StoreState {
    database: Option<Database>,
    /// What could not be written yet.
    waiting: VecDeque<Changes>,
    checked: Instant,
}

impl Store {
    /// Opens the database and reads what is kept below `root`; `None` where there is none.
    pub(crate) fn open(place: StorePlace, root: Vec<u8>, table: Arc<Table>) -> Option<Arc<Self>> {
        let take = |path: Vec<u8>, kept| table.lock().load_entry(below(&root, &path), kept);
        let opened = Database::open(&place.directory, place.server).and_then(|mut database| {
            let loaded = database.load(&root, &mut |path, kept| take(path, kept));
            loaded.map_err(|error| error.to_string())?;
            Ok(database)
        });
        let database = match opened {
            Ok(opened) => opened,
            Err(error) => {
                log::warn!(
                    "attributes: {}: {error}; what the server can't store is kept until the mount ends",
                    place.directory.display()
                );
                return None;
            }
        };
        let (ended, end) = sync_channel(1);
        let store = Arc::new(Self {
            table,
            root,
            state: Mutex::new(StoreState {
                database: Some(database),
                waiting: VecDeque::new(),
                checked: Instant::now(),
            }),
            ended,
        });
        let (wake, changed) = sync_channel(1);
        store.table.lock().note_changes(wake);
        let writer = Arc::downgrade(&store);
        // Without the thread the end of the mount writes.
        let _ = spawn_thread("attributes", move || {
            while wait(&changed, &end) {
                match writer.upgrade() {
                    Some(store) => store.flush(),
                    None => return,
                }
            }
        });
        Some(store)
    }

    /// Reads what other mounts have changed, at most once in [`BATCH_INTERVAL`].
    pub(crate) fn sync(&self) {
        let Some(mut state) = self.state.try_lock() else {
            return;
        };
        if state.checked.elapsed() < BATCH_INTERVAL {
            return;
        }
        // What this mount has not written yet is newer.
        if !state.waiting.is_empty() || self.table.lock().has_changes() {
            return;
        }
        state.checked = Instant::now();
        let Some(database) = &mut state.database else {
            return;
        };
        let mut take = |path: Vec<u8>, kept| {
            self.table.lock().load_entry(below(&self.root, &path), kept);
            true
        };
        if let Err(error) = database.news(&self.root, &mut take) {
            log::info!("attributes: what other mounts kept can't be read: {error}");
        }
    }

    /// Writes what has changed.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock();
        let changes = self.table.lock().take_changes().below(&self.root);
        if !changes.is_empty() {
            state.waiting.push_back(changes);
        }
        let StoreState {
            database, waiting, ..
        } = &mut *state;
        let Some(open) = database else {
            waiting.clear();
            return;
        };
        while let Some(changes) = waiting.front() {
            if let Err(error) = open.write(changes) {
                log::info!("attributes: not written yet: {error}");
                break;
            }
            waiting.pop_front();
        }
        if waiting.iter().map(Changes::len).sum::<usize>() > MAX_WAITING {
            log::warn!(
                "attributes: the database can't be written; what is kept from now on ends with the mount"
            );
            *database = None;
            waiting.clear();
        }
    }

    /// Writes what is left. Nothing is written afterwards.
    pub(crate) fn end(&self) {
        let _ = self.ended.try_send(());
        self.flush();
    }
}

/// The path below the mounted directory.
fn below<'a>(root: &[u8], path: &'a [u8]) -> &'a [u8] {
    let below = path.strip_prefix(root).unwrap_or_default();
    below.strip_prefix(b"/").unwrap_or(below)
}

/// Waits for a change and gathers more; false at the end.
fn wait(changed: &Receiver<()>, end: &Receiver<()>) -> bool {
    changed.recv().is_ok()
        && matches!(
            end.recv_timeout(BATCH_INTERVAL),
            Err(RecvTimeoutError::Timeout)
        )
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.names.len() + self.entries.len() + self.seen.len()
    }

    /// The same with absolute paths.
    fn below(self, root: &[u8]) -> Self {
        let absolute = |path: Vec<u8>| match path.is_empty() {
            true => root.to_vec(),
            false => [root, b"/", &path].concat(),
        };
        let names = self.names.into_iter().map(|change| match change {
            NameChange::Removed(path) => NameChange::Removed(absolute(path)),
            NameChange::Renamed(from, to) => NameChange::Renamed(absolute(from), absolute(to)),
        });
        let entries = self.entries.into_iter();
        let seen = self.seen.into_iter();
        Self {
            names: names.collect(),
            entries: entries.map(|(path, kept)| (absolute(path), kept)).collect(),
            seen: seen.map(|(path, kept)| (absolute(path), kept)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::remote::{Attributes, Completeness, Entry as Listed, Kind, Modified, Precision};
    use crate::vfs::inode::ROOT;
    use crate::vfs::inode::attr_view::Shown;

    /// One step on names `0` to `2` in the root and in the directories there, named by path.
    #[derive(Clone, Debug)]
    enum Operation {
        Make(String, bool),
        Keep(String, u32),
        Remove(String),
        Rename(String, String),
        /// The tree forgets all that nothing needs, and lists again.
        Evict,
        Flush,
        Remount,
    }

    fn path() -> impl Strategy<Value = String> {
        (0..3u8, prop::option::of(0..3u8)).prop_map(|(first, second)| match second {
            Some(second) => format!("{first}/{second}"),
            None => first.to_string(),
        })
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => (path(), any::<bool>()).prop_map(|(path, dir)| Operation::Make(path, dir)),
            5 => (path(), 1..9u32).prop_map(|(path, uid)| Operation::Keep(path, uid)),
            2 => path().prop_map(Operation::Remove),
            4 => (path(), path()).prop_map(|(from, to)| Operation::Rename(from, to)),
            2 => Just(Operation::Evict),
            2 => Just(Operation::Flush),
            1 => Just(Operation::Remount),
        ]
    }

    /// What is on the server, by path, and the owner that was kept for it.
    type Model = BTreeMap<String, (Kind, Option<u32>)>;

    struct Run {
        directory: TempDir,
        table: Arc<Table>,
        store: Arc<Store>,
        model: Model,
    }

    fn attributes(kind: Kind) -> Attributes {
        Attributes {
            size: Some(7),
            modified: Some(Modified {
                seconds: 1000,
                precision: Precision::Second,
            }),
            ..Attributes::of(kind)
        }
    }

    fn mount(directory: &TempDir) -> (Arc<Table>, Arc<Store>) {
        let table = Table::new(Shown::default(), Duration::from_secs(30), u64::MAX);
        let place = StorePlace {
            directory: directory.path().to_path_buf(),
            server: b"server".to_vec(),
        };
        let store = Store::open(place, b"/mounted".to_vec(), Arc::clone(&table));
        (table, store.expect("a database"))
    }

    impl Run {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let (table, store) = mount(&directory);
            let mut run = Self {
                directory,
                table,
                store,
                model: Model::new(),
            };
            run.list();
            run
        }

        fn ino(&self, path: &str) -> Option<u64> {
            let tree = self.table.lock();
            let names = path.split('/').filter(|name| !name.is_empty());
            names
                .into_iter()
                .try_fold(ROOT, |ino, name| tree.child(ino, name.as_bytes()))
        }

        /// Lists all directories, from the root down.
        fn list(&mut self) {
            for parent in ["", "0", "1", "2"] {
                let Some(ino) = self.ino(parent) else {
                    continue;
                };
                let prefix = match parent {
                    "" => String::new(),
                    _ => format!("{parent}/"),
                };
                let inside = self.model.iter().filter_map(|(path, (kind, _))| {
                    let name = path
                        .strip_prefix(&prefix)
                        .filter(|name| !name.contains('/'))?;
                    Some(Listed {
                        name: name.as_bytes().to_vec(),
                        attributes: attributes(*kind),
                    })
                });
                let mut tree = self.table.lock();
                let now = tree.now();
                tree.merge_listing(ino, inside.collect(), Completeness::Whole, now);
            }
        }

        fn remove(&mut self, path: &str) {
            if let Some(ino) = self.ino(path) {
                self.table.lock().remove_own(ino);
            }
            let below = format!("{path}/");
            self.model
                .retain(|known, _| known != path && !known.starts_with(&below));
        }

        fn parent(path: &str) -> (&str, &str) {
            path.rsplit_once('/').unwrap_or(("", path))
        }

        fn is_directory(&self, path: &str) -> bool {
            path.is_empty() || matches!(self.model.get(path), Some((Kind::Directory, _)))
        }

        fn apply(&mut self, operation: &Operation) {
            match operation {
                Operation::Make(path, is_directory) => {
                    let (parent, name) = Self::parent(path);
                    if self.model.contains_key(path) || !self.is_directory(parent) {
                        return;
                    }
                    let Some(parent) = self.ino(parent) else {
                        return;
                    };
                    let kind = match *is_directory && !path.contains('/') {
                        true => Kind::Directory,
                        false => Kind::File,
                    };
                    let mut tree = self.table.lock();
                    match kind {
                        Kind::Directory => {
                            tree.add_own_directory(parent, name.as_bytes(), attributes(kind))
                        }
                        _ => tree.add_own(parent, name.as_bytes(), attributes(kind)),
                    };
                    drop(tree);
                    self.model.insert(path.clone(), (kind, None));
                }
                Operation::Keep(path, uid) => {
                    let Some(ino) = self.ino(path) else {
                        return;
                    };
                    let mut tree = self.table.lock();
                    tree.keep(ino, |kept| kept.uid = Some(*uid)).expect("room");
                    drop(tree);
                    if let Some((_, kept)) = self.model.get_mut(path) {
                        *kept = Some(*uid);
                    }
                }
                Operation::Remove(path) => self.remove(path),
                Operation::Rename(from, to) => self.rename(from, to),
                Operation::Evict => {
                    self.table.lock().doubt_all();
                    self.list();
                }
                Operation::Flush => self.store.flush(),
                Operation::Remount => {
                    self.store.end();
                    (self.table, self.store) = mount(&self.directory);
                    self.list();
                }
            }
        }

        fn rename(&mut self, from: &str, to: &str) {
            let (parent, name) = Self::parent(to);
            let is_deep = self.is_directory(from) && to.contains('/');
            if from == to || !self.model.contains_key(from) || is_deep || !self.is_directory(parent)
            {
                return;
            }
            if to.starts_with(&format!("{from}/")) || from.starts_with(&format!("{to}/")) {
                return;
            }
            self.remove(to);
            let (Some(ino), Some(parent)) = (self.ino(from), self.ino(parent)) else {
                return;
            };
            let mut tree = self.table.lock();
            tree.rename_own(ino, parent, name.as_bytes());
            drop(tree);
            let below = format!("{from}/");
            let moved = |path: &String| path == from || path.starts_with(&below);
            let paths: Vec<String> = self
                .model
                .keys()
                .filter(|path| moved(path))
                .cloned()
                .collect();
            for path in paths {
                let rest = path.get(from.len()..).unwrap_or_default();
                if let Some(value) = self.model.remove(&path) {
                    self.model.insert(format!("{to}{rest}"), value);
                }
            }
        }

        fn check(&mut self) {
            self.list();
            for (path, (_, expected)) in &self.model {
                let ino = self.ino(path).expect("listed");
                let tree = self.table.lock();
                let kept = tree.get(ino).and_then(|node| node.kept()?.uid);
                assert_eq!(kept, *expected, "{path}");
            }
            assert!(self.table.lock().has_right_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn entries_stay_with_their_files(operations in prop::collection::vec(operation(), 1..40)) {
            let mut run = Run::new();
            for operation in &operations {
                run.apply(operation);
                assert!(run.table.lock().has_right_bytes(), "{operation:?}");
            }
            run.check();
            run.apply(&Operation::Remount);
            run.check();
        }
    }
}
