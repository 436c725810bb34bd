//! Looking names up, and listing them.
//!
//! The one idea: what is shown to the kernel is a lookup that it holds until it forgets it. A directory is listed as it
//! was when it was read from its start: each handle has its snapshot.
//!
//! Lock order: `opened` before `tree`.

use std::sync::Arc;

use crate::remote;
use crate::remote::{Deadline, Kind};
use crate::vfs::core::{Listing, Vfs, check_name};
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::Known;
use crate::vfs::inode::attr_view::Attr;

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
    /// The name, if it can be answered without asking the server. Counts a lookup when it is there.
    pub fn lookup_cached(&self, directory: u64, name: &[u8]) -> Option<Result<Attr>> {
        if let Err(error) = check_name(name) {
            return Some(Err(error));
        }
        match self.known(directory, name) {
            Known::Inode(ino) => Some(self.remembered(ino)),
            Known::Absent => Some(Err(Error::NotFound)),
            Known::Unknown => None,
        }
    }

    /// The name. Counts a lookup when it is there.
    pub fn lookup(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<Attr> {
        check_name(name)?;
        let ino = self.find(directory, name, deadline)?;
        self.remembered(ino)
    }

    /// The kernel has forgotten lookups.
    pub fn forget(&self, ino: u64, lookups: u64) {
        self.tree.lock().forget(ino, lookups);
    }

    /// Opens a directory.
    pub fn opendir(&self, ino: u64) -> u64 {
        self.tree.lock().open(ino);
        let handle = self.handle();
        self.opened
            .lock()
            .directories
            .insert(handle, Listing { ino, names: None });
        handle
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: u64) {
        let listing = self.opened.lock().directories.remove(&handle);
        if let Some(listing) = listing {
            self.tree.lock().close(listing.ino);
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
        let names = {
            let mut opened = self.opened.lock();
            let Some(listing) = opened.directories.get_mut(&handle) else {
                return Some(Err(Error::BadHandle));
            };
            if offset == 0 {
                listing.names = None;
            }
            if listing.names.is_none() {
                let tree = self.tree.lock();
                tree.listing(listing.ino, self.settings.cache_timeout)?;
                listing.names = Some(Arc::new(tree.children(listing.ino)));
                looked_at = Some(listing.ino);
            }
            listing.names.clone()
        };
        if let Some(ino) = looked_at {
            self.visited(ino);
        }
        Some(self.hand_out(names.as_deref().map_or(&[], Vec::as_slice), offset, each))
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
            .opened
            .lock()
            .directories
            .get(&handle)
            .map(|listing| listing.ino);
        let ino = ino.ok_or(Error::BadHandle)?;
        self.list(ino, deadline)?;
        self.visited(ino);
        let names = Arc::new(self.tree.lock().children(ino));
        if let Some(listing) = self.opened.lock().directories.get_mut(&handle) {
            listing.names = Some(Arc::clone(&names));
        }
        self.hand_out(&names, offset, each)
    }

    /// Where a symbolic link points, seen from inside the mount.
    pub fn readlink(&self, ino: u64, deadline: &Deadline) -> Result<Vec<u8>> {
        let (path, target) = {
            let tree = self.tree.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            if node.attributes.kind != Kind::Symlink {
                return Err(Error::Invalid);
            }
            (
                tree.path(ino).ok_or(Error::Stale)?,
                node.attributes.target.clone(),
            )
        };
        let target = match target {
            Some(target) => target,
            None => {
                let ask = remote::Ask {
                    urgency: remote::Urgency::Caller,
                    deadline,
                };
                let target = self.remote.read_link(&path, &ask)?.into_boxed_slice();
                if let Some(node) = self.tree.lock().get_mut(ino) {
                    node.attributes.target = Some(target.clone());
                }
                target
            }
        };
        self.settings
            .links
            .shown(&self.settings.root, &path, &target)
            .ok_or_else(|| {
                let mut tree = self.tree.lock();
                // Once for each link: whoever lists its directory asks each time.
                let told = tree
                    .get_mut(ino)
                    .is_some_and(|node| std::mem::replace(&mut node.told, true));
                if !told {
                    log::warn!(
                        "{path}: its target {} leads out of the mount",
                        target.escape_ascii()
                    );
                }
                Error::LeadsOut
            })
    }

    pub(crate) fn remembered(&self, ino: u64) -> Result<Attr> {
        let mut tree = self.tree.lock();
        tree.remember(ino);
        tree.get(ino)
            .map(|node| self.attr(node))
            .ok_or(Error::Stale)
    }

    fn hand_out(
        &self,
        names: &[(Arc<[u8]>, u64)],
        offset: u64,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<()> {
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut tree = self.tree.lock();
        for (at, (name, ino)) in names.iter().enumerate().skip(first) {
            // One that was removed since the snapshot is no entry any more.
            let Some(node) = tree.get(*ino).filter(|node| !node.removed) else {
                continue;
            };
            let attr = self.attr(node);
            let listed = Listed {
                next: at as u64 + 1,
                name: Arc::clone(name),
                attr,
            };
            if !each(listed) {
                return Ok(());
            }
            tree.remember(*ino);
        }
        Ok(())
    }
}
