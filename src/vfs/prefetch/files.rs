//! Fetches small files before they are asked for, where a program reads one after the other.
//!
//! `file_sequence` says which files come next. They are fetched whole into the block cache, on connections that no caller
//! waits for. Size and time come in the same flight, so that the open need not ask for them either. In the same way the
//! bytes of a small file come with the revalidation of its open.
//!
//! # Lock order
//!
//! `sequences` before the inode table, before `orders` and the block cache; none while the server is asked.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::process::lock_order::{OrderedCondvar, OrderedGuard, OrderedMutex};
use crate::process::thread::spawn_thread;
use crate::remote::{Ask, Deadline, Kind, Reading, RemotePath, Result, Urgency, Version};
use crate::vfs::cache::memory::Key;
use crate::vfs::cache::{BLOCK_LENGTH, Block};
use crate::vfs::inode::{Node, ROOT, Tree};
use crate::vfs::lock_rank;
use crate::vfs::prefetch::Permits;
use crate::vfs::prefetch::Prefetcher;
use crate::vfs::prefetch::file_sequence::{Order, Sequences, Stage};

/// Bytes of the largest file fetched ahead: larger ones have the window of their reader.
const MAX_FETCH_SIZE: u64 = 256 * 1024;
/// Bytes of the largest file fetched together with the revalidation of its open, which waits for all of it.
const MAX_OPEN_FETCH_SIZE: usize = 64 * 1024;
/// Files fetched at once, if there are connections.
const MAX_FETCHES: usize = 8;
/// Entries examined to find the next files.
const MAX_SEARCH_STEPS: usize = 2000;
/// Divisor of a caller's patience: how long it waits for a fetch that makes no progress, before it reads the file
/// itself.
const PATIENCE_SHARE: u32 = 3;
/// Interval at which a waiting caller checks whether the fetch makes progress.
const PROGRESS_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A file is asked about again with its fetch when what is known of it is older than this: it must be fresh when it is
/// opened.
const FRESH_AGE: Duration = Duration::from_secs(2);

/// Directories whose sorted children are cached.
const SORTED_DIRECTORIES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// State of the fetching of small files.
#[derive(Debug)]
pub struct Fetching {
    /// Which files come next, and how far their fetching is.
    pub sequences: OrderedMutex<Sequences, { lock_rank::SEQUENCES }>,
    /// A file is at its next stage.
    pub moved: OrderedCondvar,
    /// Permits for threads.
    pub places: Permits,
    /// The orders of directories that were looked at.
    pub orders: OrderedMutex<LruCache<(u64, bool), Sorted>, { lock_rank::SORTED }>,
}

/// The numbers in a directory, in some order, and the time of the listing that they are from.
pub type Sorted = (Instant, Arc<Vec<u64>>);

impl Default for Fetching {
    fn default() -> Self {
        Self {
            sequences: OrderedMutex::default(),
            moved: OrderedCondvar::new(),
            places: Permits::default(),
            orders: OrderedMutex::new(LruCache::new(SORTED_DIRECTORIES)),
        }
    }
}

/// Outcome of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is there.
    There,
    /// It is not what it was taken for.
    Other,
    /// Another caller wanted the connection.
    Yielded,
}

/// A file to fetch.
struct Wanted {
    ino: u64,
    path: RemotePath,
    version: Version,
    generation: u64,
    size: usize,
    verify: bool,
    /// The stamp at which it had this path.
    asked: u64,
}

struct Search {
    by_number: bool,
    count: usize,
    steps: usize,
    found: Vec<u64>,
}

impl Prefetcher {
    /// A program opens a file to read it.
    pub(crate) fn opened_to_read(&self, ino: u64) {
        let more = {
            let mut sequences = self.fetching.sequences.lock();
            sequences.open(ino, self);
            sequences.has_more()
        };
        if more {
            self.fetch_more();
        }
    }

    /// Waits for a file that is just coming, and takes one off the list that is still to be asked for.
    pub(crate) fn await_fetched(&self, ino: u64, deadline: &Deadline) {
        let mut sequences = self.fetching.sequences.lock();
        if sequences.stage(ino) == Some(Stage::Queued) {
            return sequences.drop_file(ino);
        }
        self.await_stage(sequences, ino, &[Stage::Coming], deadline);
    }

    /// Waits as long as a file is at one of these stages and gets on.
    fn await_stage(
        &self,
        mut sequences: OrderedGuard<'_, Sequences>,
        ino: u64,
        stages: &[Stage],
        deadline: &Deadline,
    ) {
        let mut seen = None;
        while let Some(since) = sequences.since(ino, stages) {
            if seen.replace(since).is_some_and(|before| before != since) {
                deadline.progress();
            }
            if since.elapsed() > deadline.patience() / PATIENCE_SHARE
                || deadline.remaining().is_none()
            {
                return;
            }
            self.fetching
                .moved
                .wait_for(&mut sequences, PROGRESS_POLL_INTERVAL);
        }
    }

    /// A program opens a file to read it, whose attributes are older than `age`. A small file without cached bytes is
    /// fetched in the flight of the revalidation. Returns once that is answered and the bytes are there, or if it
    /// cannot be done: then the revalidation is still to be made.
    pub(crate) fn fetch_with_revalidation(&self, ino: u64, age: Duration, deadline: &Deadline) {
        // What the disk has, or the kernel, need not come: the question alone will do.
        let comes = |node: &Node| {
            let version = node.attributes.version();
            !node.is_fresh(age)
                && version.modified.is_some()
                && node.kernel.pages.as_deref() != Some(&version)
        };
        let asks = self.readers.disk.is_none() && self.table.lock().get(ino).is_some_and(comes);
        if !asks || self.remote.room(Urgency::Caller) == 0 {
            return;
        }
        let wanted = self
            .wanted(ino)
            .filter(|wanted| wanted.size <= MAX_OPEN_FETCH_SIZE);
        let (Some(mut wanted), Some(prefetcher)) = (wanted, self.me.upgrade()) else {
            return;
        };
        wanted.verify = true;
        let mut sequences = self.fetching.sequences.lock();
        if sequences.stage(ino).is_some() {
            // Another caller fetches it already.
            return;
        }
        sequences.set(ino, Stage::Asked);
        // On a thread of its own, since the server's last word is not worth a wait.
        let job = move || {
            if let Err(error) = prefetcher.fetch_whole(&wanted, Urgency::Caller) {
                log::debug!("prefetch: fetch with an open failed: {error}");
            }
            // Not speculative: neither a hit nor waste.
            prefetcher.fetching.sequences.lock().drop_file(ino);
            prefetcher.fetching.moved.notify_all();
        };
        if spawn_thread("fetch", job).is_err() {
            return sequences.drop_file(ino);
        }
        self.await_stage(sequences, ino, &[Stage::Asked, Stage::Coming], deadline);
        self.fetching.sequences.lock().drop_file(ino);
    }

    /// What was gained and lost by fetching ahead: files that were read, and those that were not.
    pub(crate) fn fetched_ahead(&self) -> (u64, u64) {
        let sequences = self.fetching.sequences.lock();
        (sequences.hits, sequences.wasted)
    }

    /// Puts more threads to work, if there is room for what they do.
    fn fetch_more(&self) {
        let mut room = self.remote.room(Urgency::Ahead);
        while room > 0 {
            room -= 1;
            let (Some(place), Some(prefetcher)) =
                (self.fetching.places.take(MAX_FETCHES), self.me.upgrade())
            else {
                return;
            };
            let job = move || {
                let _place = place;
                prefetcher.fetch_on();
            };
            if spawn_thread("fetch", job).is_err() {
                return;
            }
        }
    }

    /// Fetches what is queued, until the queue is empty or other callers want the connections.
    fn fetch_on(&self) {
        loop {
            let Some(ino) = self.fetching.sequences.lock().next() else {
                return;
            };
            if self.remote.room(Urgency::Ahead) == 0 {
                return self.fetching.sequences.lock().put_back(ino);
            }
            let fetched = self.wanted(ino).map_or(Ok(Outcome::Other), |wanted| {
                self.fetch_whole(&wanted, Urgency::Ahead)
            });
            if let Err(error) = &fetched {
                log::debug!("prefetch: fetch failed: {error}");
            }
            let mut sequences = self.fetching.sequences.lock();
            match fetched {
                Ok(Outcome::There) => sequences.set(ino, Stage::There),
                Ok(Outcome::Yielded) => sequences.put_back(ino),
                // A reader will see what it is.
                _ => sequences.set(ino, Stage::Skipped),
            }
            drop(sequences);
            self.fetching.moved.notify_all();
        }
    }

    fn wanted(&self, ino: u64) -> Option<Wanted> {
        let tree = self.table.lock();
        let node = tree.get(ino)?;
        let version = node.attributes.version();
        let wanted = Wanted {
            ino,
            path: tree.path(ino)?,
            version,
            generation: node.generation,
            size: usize::try_from(version.size?).ok()?,
            verify: !node.is_fresh(FRESH_AGE),
            asked: tree.now(),
        };
        let content = (ino, node.generation);
        let is_there = self
            .readers
            .blocks
            .collect(content, 0, version.size?)
            .is_ok();
        (!is_there && is_small(&tree, ino)).then_some(wanted)
    }

    /// Fetches a file.
    fn fetch_whole(&self, wanted: &Wanted, urgency: Urgency) -> Result<Outcome> {
        let deadline = Deadline::after(self.timeout);
        let ask = Ask {
            urgency,
            deadline: &deadline,
        };
        let reading = Reading {
            verify: wanted.verify,
            size: Some(wanted.size as u64),
            ..Reading::default()
        };
        let mut source = self.remote.read(&wanted.path, &reading, &ask)?;
        if let Some(version) = source.version() {
            let mut tree = self.table.lock();
            tree.merge_version(wanted.ino, version, wanted.asked);
            drop(tree);
            if version.size != wanted.version.size || !version.may_be(&wanted.version) {
                // A waiting caller need not wait for the end of the transfer.
                self.fetching
                    .sequences
                    .lock()
                    .set(wanted.ino, Stage::Skipped);
                self.fetching.moved.notify_all();
                return Ok(Outcome::Other);
            }
        }
        let mut bytes = vec![0; wanted.size + 1];
        let mut filled = 0;
        let mut shown = false;
        loop {
            if filled == wanted.size && !shown {
                if !self.show(wanted, &bytes[..filled]) {
                    return Ok(Outcome::Other);
                }
                shown = true;
                self.fetching.sequences.lock().set(wanted.ino, Stage::There);
                self.fetching.moved.notify_all();
            }
            if !shown {
                // The time of this stage is that of the last piece.
                let mut sequences = self.fetching.sequences.lock();
                sequences.set(wanted.ino, Stage::Coming);
                drop(sequences);
                if urgency == Urgency::Ahead && source.wanted() {
                    return Ok(Outcome::Yielded);
                }
            }
            let outcome = source.read(&mut bytes[filled..], &deadline);
            match outcome {
                Ok(0) if shown && filled == wanted.size && self.stands(wanted) => {
                    return Ok(Outcome::There);
                }
                Ok(length) if length > 0 && filled + length <= wanted.size => filled += length,
                // Longer or shorter than reported, or broken off: a reader will see.
                outcome => {
                    if shown {
                        self.set_blocks(wanted, &bytes[..wanted.size], false);
                    }
                    return outcome.map(|_| Outcome::Other);
                }
            }
        }
    }

    /// Whether the path by which a file was asked for is still its own.
    fn stands(&self, wanted: &Wanted) -> bool {
        self.table.lock().stands(wanted.ino, wanted.asked)
    }

    /// Puts the blocks of a file into the cache; false where its path may have become that of another one since it was
    /// asked for.
    fn show(&self, wanted: &Wanted, bytes: &[u8]) -> bool {
        let tree = self.table.lock();
        let stands = tree.stands(wanted.ino, wanted.asked);
        if stands {
            self.set_blocks(wanted, bytes, true);
        }
        stands
    }

    /// Puts the blocks of a file into the cache, or takes them out again.
    fn set_blocks(&self, wanted: &Wanted, bytes: &[u8], there: bool) {
        for (index, piece) in bytes.chunks(BLOCK_LENGTH).enumerate() {
            let key = Key {
                ino: wanted.ino,
                generation: wanted.generation,
                index: index as u64,
            };
            if !there {
                self.readers.blocks.remove(key);
                continue;
            }
            let block = Block {
                from: 0,
                bytes: piece.to_vec(),
                ends: (index + 1) * BLOCK_LENGTH >= bytes.len(),
            };
            self.readers.blocks.put(key, block);
        }
    }

    /// The numbers in a directory in one of the orders, if it was listed lately.
    fn sorted(&self, tree: &Tree, directory: u64, by_number: bool) -> Option<Arc<Vec<u64>>> {
        tree.listing(directory, self.lifetime)?;
        let listed = tree.listed_at(directory)?;
        let mut orders = self.fetching.orders.lock();
        if let Some((from, sorted)) = orders.get(&(directory, by_number))
            && *from == listed
        {
            return Some(Arc::clone(sorted));
        }
        let mut numbers = tree.children(directory);
        if by_number {
            numbers.sort_unstable();
        }
        let sorted = Arc::new(numbers);
        orders.put((directory, by_number), (listed, Arc::clone(&sorted)));
        Some(sorted)
    }

    /// Adds the files at and below `ino`, depth first.
    fn collect(&self, tree: &Tree, ino: u64, search: &mut Search) {
        let Some(node) = tree.get(ino) else {
            return;
        };
        if node.attributes.kind != Kind::Directory {
            if is_small(tree, ino) {
                search.found.push(ino);
            }
            return;
        }
        let sorted = self.sorted(tree, ino, search.by_number);
        for &child in sorted.iter().flat_map(|sorted| sorted.iter()) {
            if search.is_over() {
                return;
            }
            self.collect(tree, child, search);
        }
    }
}

impl Search {
    fn is_over(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps == 0 || self.found.len() >= self.count
    }
}

impl Order for Prefetcher {
    fn after(&self, file: u64, by_number: bool, count: usize) -> Vec<u64> {
        let tree = self.table.lock();
        let mut search = Search {
            by_number,
            count,
            steps: MAX_SEARCH_STEPS,
            found: Vec::new(),
        };
        let mut at = file;
        while at != ROOT && !search.is_over() {
            let Some(parent) = tree.get(at).map(|node| node.parent) else {
                break;
            };
            let sorted = self.sorted(&tree, parent, by_number);
            let after = sorted.iter().flat_map(|sorted| sorted.iter());
            for &next in after.skip_while(|&&ino| ino != at).skip(1) {
                if search.is_over() {
                    break;
                }
                self.collect(&tree, next, &mut search);
            }
            at = parent;
        }
        search.found
    }
}

/// Whether a file is worth fetching whole, and is not open here.
fn is_small(tree: &Tree, ino: u64) -> bool {
    tree.get(ino).is_some_and(|node| {
        let size = node.attributes.size;
        node.attributes.kind == Kind::File
            && size.is_some_and(|size| size > 0 && size <= MAX_FETCH_SIZE)
            && !node.local
            && !node.is_open()
    })
}
