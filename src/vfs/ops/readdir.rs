//! opendir, readdirplus and releasedir: each handle has a snapshot of its directory, so that seekdir is stable.
//!
//! A listing in which entries are missing ends in an error after those that came, and is asked for again the next time.
//!
//! Lock order: the table of open files before the inode table.

use crate::remote::{Completeness, Deadline};
use crate::vfs::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_files::{Listing, Name};
use crate::vfs::inode::attr_view::Attr;
use std::sync::Arc;

/// One entry of a directory, with the attributes that the kernel takes along.
pub struct Listed {
    /// Where the next one begins.
    pub next: u64,
    /// The name.
    pub name: Arc<[u8]>,
    /// The attributes.
    pub attr: Attr,
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
                names: None,
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

    /// The entries of an open directory from `offset` on, if the server need not be asked. `each` takes
    /// one and says whether it has room for more; every entry that it takes counts a lookup.
    pub fn readdir_cached(
        &self,
        handle: u64,
        offset: u64,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Option<Result<()>> {
        let mut looked_at = None;
        let age = self.metadata.served_age();
        let (names, is_cut) = {
            let mut opened = self.files.opened.lock();
            let Some(listing) = opened.directories.get_mut(&handle) else {
                return Some(Err(Error::BadHandle));
            };
            if offset == 0 {
                listing.names = None;
            }
            if listing.names.is_none() {
                let tree = self.table.lock();
                tree.listing(listing.ino, age)
                    .filter(|completeness| *completeness != Completeness::Cut)?;
                listing.is_cut = false;
                listing.names = Some(Arc::new(tree.children(listing.ino)));
                looked_at = Some(listing.ino);
            }
            (listing.names.clone(), listing.is_cut)
        };
        if let Some(ino) = looked_at {
            self.prefetch.visited(ino);
        }
        let names = names.as_deref().map_or(&[][..], Vec::as_slice);
        Some(self.hand_out((names, is_cut), offset, each))
    }

    /// The entries of an open directory from `offset` on.
    pub fn readdir(
        &self,
        handle: u64,
        offset: u64,
        deadline: &Deadline,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<()> {
        if let Some(done) = self.readdir_cached(handle, offset, each) {
            return done;
        }
        let ino = self
            .files
            .opened
            .lock()
            .directories
            .get(&handle)
            .map(|listing| listing.ino);
        let ino = ino.ok_or(Error::BadHandle)?;
        self.attributes.sync();
        let is_cut = self.metadata.list(ino, deadline)? == Completeness::Cut;
        self.prefetch.visited(ino);
        let names = Arc::new(self.table.lock().children(ino));
        if let Some(listing) = self.files.opened.lock().directories.get_mut(&handle) {
            listing.names = Some(Arc::clone(&names));
            listing.is_cut = is_cut;
        }
        self.hand_out((&names, is_cut), offset, each)
    }

    fn hand_out(
        &self,
        (names, is_cut): (&[Name], bool),
        offset: u64,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<()> {
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut tree = self.table.lock();
        let mut is_at_end = true;
        for (at, (name, ino)) in names.iter().enumerate().skip(first) {
            // One that was removed since the snapshot is no entry any more.
            let Some(node) = tree.get(*ino).filter(|node| !node.removed) else {
                continue;
            };
            let attr = self.table.attr(node);
            let listed = Listed {
                next: at as u64 + 1,
                name: Arc::clone(name),
                attr,
            };
            if !each(listed) {
                return Ok(());
            }
            tree.remember(*ino);
            is_at_end = false;
        }
        match is_cut && is_at_end {
            true => Err(Error::IncompleteListing),
            false => Ok(()),
        }
    }
}
