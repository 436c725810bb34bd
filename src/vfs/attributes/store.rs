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
use crate::vfs::attributes::database::{Database, Entry};
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
        let opened = Database::open(&place.directory, place.server).and_then(|mut database| {
            let entries = database.load(&root).map_err(|error| error.to_string())?;
            Ok((database, entries))
        });
        let (database, entries) = match opened {
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
        store.take(entries);
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

    /// Takes entries of the database over.
    fn take(&self, entries: Vec<Entry>) {
        let mut tree = self.table.lock();
        for (path, kept) in entries {
            let below = path.strip_prefix(self.root.as_slice()).unwrap_or_default();
            tree.load_entry(below.strip_prefix(b"/").unwrap_or(below), kept);
        }
    }

    /// Reads what other mounts have changed, at most once in [`BATCH_INTERVAL`].
    pub(crate) fn sync(&self) {
        let Some(mut state) = self.state.try_lock() else {
            return;
        };
        if state.checked.elapsed() < BATCH_INTERVAL {
            return;
        }
        state.checked = Instant::now();
        let Some(database) = &mut state.database else {
            return;
        };
        match database.news(&self.root) {
            Ok(entries) => self.take(entries),
            Err(error) => log::info!("attributes: what other mounts kept can't be read: {error}"),
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
        self.names.is_empty() && self.entries.is_empty()
    }

    fn len(&self) -> usize {
        self.names.len() + self.entries.len()
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
        Self {
            names: names.collect(),
            entries: entries.map(|(path, kept)| (absolute(path), kept)).collect(),
        }
    }
}
