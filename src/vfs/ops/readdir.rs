//! opendir, readdirplus and releasedir: each handle has a snapshot of its directory, so that seekdir is stable.
//!
//! A listing in which entries are missing ends in an error after those that came, and is asked for again the next time.
//!
//! Lock order: the table of open files before the inode table.

use crate::remote::{Completeness, Deadline};
use crate::vfs::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_files::Listing;
use crate::vfs::inode::Node;
use crate::vfs::inode::attr_view::Attr;
use std::sync::Arc;

/// One entry of a directory, with the attributes that the kernel takes along.
pub struct Listed {
    /// Where the next one begins.
    pub next: u64,
    /// The name.
    pub name: Box<[u8]>,
    /// The attributes.
    pub attr: Attr,
}

/// Where a listing is read on.
pub struct Start {
    /// The open directory.
    pub handle: u64,
    /// The offset of the last entry that was taken; 0 is the start.
    pub offset: u64,
    /// Whether each entry counts a lookup.
    pub counts: bool,
}

impl Vfs {
    /// Opens a directory.
    pub fn opendir(&self, ino: u64) -> u64 {
        self.table.lock().open(ino);
        let handle = self.files.handle();
        self.files.opened.lock().directories.insert(
            handle,
            Listing {
                ino,
                entries: None,
                is_cut: false,
            },
        );
        handle
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: u64) {
        let listing = self.files.opened.lock().directories.remove(&handle);
        if let Some(listing) = listing {
            self.table.lock().close(listing.ino);
        }
    }

    /// The entries of an open directory, if the server need not be asked. `each` takes one and says whether it had room
    /// for it.
    pub fn readdir_cached(
        &self,
        from: &Start,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Option<Result<()>> {
        let mut looked_at = None;
        let age = self.metadata.served_age();
        let (directory, entries, is_cut) = {
            let mut opened = self.files.opened.lock();
            let Some(listing) = opened.directories.get_mut(&from.handle) else {
                return Some(Err(Error::BadHandle));
            };
            if from.offset == 0 {
                listing.entries = None;
            }
            if listing.entries.is_none() {
                let tree = self.table.lock();
                tree.listing(listing.ino, age)
                    .filter(|completeness| *completeness != Completeness::Cut)?;
                listing.is_cut = false;
                listing.entries = Some(Arc::new(tree.children(listing.ino)));
                looked_at = Some(listing.ino);
            }
            let entries = listing.entries.clone().unwrap_or_default();
            (listing.ino, entries, listing.is_cut)
        };
        if let Some(ino) = looked_at {
            self.prefetch.visited(ino);
        }
        Some(self.hand_out(directory, (&entries, is_cut), from, each))
    }

    /// The entries of an open directory.
    pub fn readdir(
        &self,
        from: &Start,
        deadline: &Deadline,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<()> {
        if let Some(done) = self.readdir_cached(from, each) {
            return done;
        }
        let ino = self
            .files
            .opened
            .lock()
            .directories
            .get(&from.handle)
            .map(|listing| listing.ino);
        let ino = ino.ok_or(Error::BadHandle)?;
        self.attributes.sync();
        let is_cut = self.metadata.list(ino, deadline)? == Completeness::Cut;
        self.prefetch.visited(ino);
        let entries = Arc::new(self.table.lock().children(ino));
        if let Some(listing) = self.files.opened.lock().directories.get_mut(&from.handle) {
            listing.entries = Some(Arc::clone(&entries));
            listing.is_cut = is_cut;
        }
        self.hand_out(ino, (&entries, is_cut), from, each)
    }

    fn hand_out(
        &self,
        directory: u64,
        (entries, is_cut): (&[u64], bool),
        from: &Start,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<()> {
        let first = usize::try_from(from.offset).unwrap_or(usize::MAX);
        let mut tree = self.table.lock();
        let mut is_at_end = true;
        for (at, ino) in entries.iter().enumerate().skip(first) {
            // One that was removed or moved since the snapshot is no entry any more.
            let is_here = |node: &&Node| !node.removed && node.parent == directory;
            let Some(node) = tree.get(*ino).filter(is_here) else {
                continue;
            };
            let attr = self.table.attr(node);
            let listed = Listed {
                next: at as u64 + 1,
                name: node.name.clone(),
                attr,
            };
            if !each(listed) {
                return Ok(());
            }
            if from.counts {
                tree.count_lookup(*ino);
            }
            is_at_end = false;
        }
        match is_cut && is_at_end {
            true => Err(Error::IncompleteListing),
            false => Ok(()),
        }
    }
}
