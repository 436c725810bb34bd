//! Lists directories before they are asked for, where a program walks a tree.
//!
//! `walk_detector` says which directories come next. They are listed on connections that no caller waits for, and merged
//! like every other listing; a caller that asks for one meanwhile shares it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::process::thread::spawn_thread;
use crate::remote::{Ask, Completeness, Deadline, Entry, Error, Kind, RemotePath, Result, Urgency};
use crate::vfs::metadata::list::Claim;
use crate::vfs::metadata::list::is_nameable;
use crate::vfs::prefetch::Prefetcher;
use crate::vfs::prefetch::walk_detector::Directory;

/// Directories in one flight: few enough that the first listing comes soon after the round trip.
const MAX_FLIGHT: usize = 32;
/// Flights, or single listings, in progress at once.
const MAX_LISTINGS: usize = 8;

impl Prefetcher {
    /// A program looks at a directory that is listed.
    pub(crate) fn visited(&self, ino: u64) {
        let below = self.directories_in(ino).unwrap_or_default();
        let age = self.lifetime;
        let wanted = self.walks.lock().visit(ino, below, age);
        self.list_ahead(wanted);
    }

    /// What was gained and lost by listing ahead: directories that were looked at, and those that were not.
    pub(crate) fn listed_ahead(&self) -> (u64, u64) {
        let walks = self.walks.lock();
        (walks.hits, walks.wasted)
    }

    /// Logs the hits and the waste of speculative work.
    pub fn log_ahead(&self) {
        let (listed, listed_wasted) = self.listed_ahead();
        let (fetched, fetched_wasted) = self.fetched_ahead();
        log::info!(
            "prefetch: {listed} directory listings used, {listed_wasted} wasted; \
             {fetched} files used, {fetched_wasted} wasted"
        );
    }

    fn list_ahead(&self, mut wanted: Vec<u64>) {
        let together = self.remote.traits().lists_together;
        let mut room = self.remote.room(Urgency::Ahead);
        while !wanted.is_empty() && room > 0 {
            room -= 1;
            let Some(place) = self.listing_permits.take(MAX_LISTINGS) else {
                return;
            };
            let rest = wanted.split_off(wanted.len().min(if together { MAX_FLIGHT } else { 1 }));
            let now = std::mem::replace(&mut wanted, rest);
            let Some(prefetcher) = self.me.upgrade() else {
                return;
            };
            self.walks.lock().begin(&now);
            let job = move || {
                let were_listed = prefetcher.list_batch(&now);
                drop(place);
                // Otherwise the next look at a directory shows whether there is a connection again.
                if were_listed {
                    let more = prefetcher.walks.lock().wanted();
                    prefetcher.list_ahead(more);
                }
            };
            if spawn_thread("ahead", job).is_err() {
                return;
            }
        }
    }

    /// Lists directories in one go, and says of each how that went. Returns whether the server has answered for each.
    fn list_batch(self: &Arc<Self>, directories: &[u64]) -> bool {
        let deadline = Deadline::after(self.timeout);
        // A listing in progress will be there sooner.
        let claims: Vec<_> = directories
            .iter()
            .filter_map(|&ino| self.metadata.listings.claim(ino, &deadline))
            .collect();
        let ask = Ask::ahead(&deadline);
        let (asked, paths) = {
            let tree = self.table.lock();
            let there =
                |claim: &Claim<'_>| Some((claim.directory(), tree.path(claim.directory())?));
            (
                tree.now(),
                claims.iter().filter_map(there).collect::<Vec<_>>(),
            )
        };
        let (known, paths): (Vec<u64>, Vec<RemotePath>) = paths.into_iter().unzip();
        let mut entries: Vec<Vec<Entry>> = vec![Vec::new(); paths.len()];
        let results = self.remote.list_many(&paths, &ask, &mut |at, entry| {
            entries[at].push(entry);
        });
        let mut postponed = HashSet::new();
        for (((&ino, path), mut entries), result) in
            known.iter().zip(&paths).zip(entries).zip(results)
        {
            if matches!(result, Err(Error::TimedOut { .. })) {
                postponed.insert(ino);
            }
            self.metadata.show_links(ino, path, &mut entries, &ask);
            self.take_listing(ino, entries, result, asked);
        }
        drop(claims);
        for &ino in directories {
            if postponed.contains(&ino) {
                self.walks.lock().postpone(ino);
                continue;
            }
            let below = self.directories_in(ino);
            self.walks.lock().end(ino, below);
        }
        postponed.is_empty()
    }

    fn take_listing(
        &self,
        ino: u64,
        entries: Vec<Entry>,
        listed: Result<Completeness>,
        asked: u64,
    ) {
        match listed {
            Ok(completeness) => {
                let entries = entries.into_iter().filter(is_nameable).collect();
                let mut tree = self.table.lock();
                tree.merge_listing(ino, entries, completeness, asked);
            }
            // A caller that wants it gets the error itself.
            Err(error) => log::debug!("prefetch: listing failed: {error}"),
        }
    }

    /// The directories in a directory by name, as far as it was listed lately.
    fn directories_in(&self, ino: u64) -> Option<Vec<Directory>> {
        let tree = self.table.lock();
        let age = self.lifetime;
        tree.listing(ino, age)?;
        let below = tree.children_of(ino, Kind::Directory);
        let directory = |ino| Directory {
            ino,
            below: tree.listing(ino, age).map(|_| Vec::new()),
        };
        Some(below.into_iter().map(directory).collect())
    }
}
