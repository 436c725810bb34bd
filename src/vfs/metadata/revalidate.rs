//! Answers for names and attributes: from memory while they are fresh, else from the server.
//!
//! What the tree knows and is recent enough is answered at once. Otherwise the server is asked, its answer merged into the
//! tree, and the tree asked again.

use std::time::{Duration, Instant};

use crate::remote;
use crate::remote::{
    Ask, Attributes, Completeness, Deadline, Done, Kind, Modified, NameStatus, Precision,
    RemotePath, Step, Version, Why,
};
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::{Known, MaxAges, ROOT, Tree};
use crate::vfs::metadata::Metadata;

/// An open asks the server again when what is known of the file is older than this.
const REVALIDATE_AGE: Duration = Duration::from_secs(5);
/// Permission bits of a symbolic link. ProFTPD's MLST reports a link as its target, but with these bits and the link's
/// size: only a listing shows that it is a link.
const LINK_MODE: u32 = 0o777;
/// A second name asked for in a directory within this time makes a listing worth its price.
const LISTING_INTERVAL: Duration = Duration::from_secs(1);

impl Metadata {
    /// The attributes, if they are known and young enough.
    pub fn getattr_cached(&self, ino: u64) -> Option<Result<Attr>> {
        let age = self.served_age();
        let tree = self.table.lock();
        let Some(node) = tree.get(ino) else {
            return Some(Err(Error::Stale));
        };
        // The mounted directory is there whatever happens: df(1) asks for it before the space.
        let is_served = node.is_fresh(age) || ino == ROOT && self.remote.is_away();
        is_served.then(|| Ok(self.table.attr(node)))
    }

    /// The attributes.
    pub fn getattr(&self, ino: u64, deadline: &Deadline) -> Result<Attr> {
        if let Some(known) = self.getattr_cached(ino) {
            return known;
        }
        self.refresh(ino, deadline)?;
        let tree = self.table.lock();
        tree.get(ino)
            .map(|node| self.table.attr(node))
            .ok_or(Error::Stale)
    }

    /// What is known of a name without asking.
    pub(crate) fn known(&self, directory: u64, name: &[u8]) -> Known {
        let absent = self.absence_age();
        let ages = MaxAges {
            known: self.served_age(),
            listed: match self.remote.traits().hides_directories {
                true => Duration::ZERO,
                false => absent,
            },
            absent,
        };
        self.table.lock().known(directory, name, ages)
    }

    /// Asks the server for a name.
    pub(crate) fn find(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<u64> {
        match self.known(directory, name) {
            Known::Inode(ino) => return Ok(ino),
            Known::Absent => return Err(Error::NotFound),
            Known::Unknown => {}
        }
        let traits = self.remote.traits();
        // Of a recent listing without the name, another one would say no more than an answer about the name.
        let lacks = self.lacks(directory, name);
        let alone = (traits.stats || traits.stats_without_mlst)
            && (lacks.is_some() || !self.is_to_list(directory));
        if alone && traits.stats {
            return self.ask_name(directory, name, deadline);
        }
        if alone && let Some(told) = self.stat_one(directory, name, deadline)? {
            return match told {
                Some(ino) => Ok(ino),
                None => self.enter(directory, name, deadline),
            };
        }
        if traits.hides_directories
            && self.is_listed(directory)
            && lacks == Some(Completeness::Whole)
        {
            return self.enter(directory, name, deadline);
        }
        if matches!(lacks, None | Some(Completeness::Whole)) {
            let look = |tree: &Tree| {
                let child = tree.child(directory, name);
                (child, tree.is_unlisted(directory, name))
            };
            let (completeness, (child, is_unlisted)) = self.list_for(directory, look, deadline)?;
            match child {
                // The listing says nothing of it.
                Some(_) if is_unlisted => return self.enter(directory, name, deadline),
                Some(ino) => return Ok(ino),
                None if completeness == Completeness::Whole => {
                    return self.enter(directory, name, deadline);
                }
                None => {}
            }
        }
        self.ask_name(directory, name, deadline)
    }

    /// Notes that a name in a directory is asked for, and returns whether a listing is the better question.
    fn is_to_list(&self, directory: u64) -> bool {
        let is_second = (self.table.lock()).asked_alone(directory, LISTING_INTERVAL);
        let mut walk = self.name_walk.lock();
        walk.is_to_list(!is_second, Instant::now())
    }

    /// Whether a listing is recent enough to say that a name is absent.
    fn is_listed(&self, directory: u64) -> bool {
        let tree = self.table.lock();
        tree.listing(directory, self.absence_age()).is_some()
    }

    /// A name that no listing has, as a directory if the server hides such and it can be entered. A similar name is the same
    /// directory's on such servers.
    fn enter(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<u64> {
        let (asked, is_other, child) = {
            let tree = self.table.lock();
            let child = tree.child(directory, name);
            (tree.now(), tree.has_similar(directory, name), child)
        };
        if let Some(file) = child.filter(|&ino| self.table.kind(ino) == Some(Kind::File)) {
            return Ok(file);
        }
        if !self.remote.traits().hides_directories {
            return Err(Error::NotFound);
        }
        let path = self.table.path_of(directory, name)?;
        let ask = Ask::caller(deadline);
        let enters = !is_other && self.remote.enters(&path, &ask)?;
        let mut tree = self.table.lock();
        if enters {
            return tree
                .merge_unlisted(directory, name, asked)
                .ok_or(Error::NotFound);
        }
        tree.merge_absence(directory, name, asked);
        Err(Error::NotFound)
    }

    /// The recent listing that lacks a name, if there is one.
    fn lacks(&self, directory: u64, name: &[u8]) -> Option<Completeness> {
        let tree = self.table.lock();
        let listing = tree.listing(directory, self.served_age());
        listing.filter(|_| tree.child(directory, name).is_none())
    }

    /// Asks for one name where the server has no MLST; the outer `None` means that a listing has to answer.
    fn stat_one(
        &self,
        directory: u64,
        name: &[u8],
        deadline: &Deadline,
    ) -> Result<Option<Option<u64>>> {
        let asked = self.table.lock().now();
        let path = self.table.path_of(directory, name)?;
        let ask = Ask::caller(deadline);
        let told = self
            .remote
            .stat_without_mlst(&path, &ask)
            .unwrap_or_else(|error| {
                log::info!("lookup: {error}; listing the directory instead");
                None
            });
        let told = match told {
            Some(NameStatus::Exists(attributes)) => Some(NameStatus::Exists(
                self.show_link(directory, &path, attributes, &ask),
            )),
            told => told,
        };
        let mut tree = self.table.lock();
        if !tree.stands(directory, asked) {
            // It is of what had the directory's former name.
            return Ok(None);
        }
        Ok(match told {
            Some(NameStatus::Exists(attributes)) => {
                Some(tree.merge_entry(directory, name, attributes, asked))
            }
            Some(NameStatus::Absent) => {
                tree.merge_absence(directory, name, asked);
                Some(None)
            }
            None => None,
        })
    }

    /// Asks the server for a name, whatever is known of it.
    pub(crate) fn ask_name(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<u64> {
        let asked = self.table.lock().now();
        let path = self.table.path_of(directory, name)?;
        let child = self.table.lock().child(directory, name);
        if child.is_some_and(|ino| self.table.kind(ino) == Some(Kind::Symlink)) {
            // MLST and SIZE answer for what a link points to (ProFTPD); listings know the link itself.
            let listed = self.ask_listing(directory, name, deadline)?;
            return listed.ok_or(Error::NotFound);
        }
        let stats = self.remote.traits().stats;
        let step = if stats {
            Step::Stat(&path)
        } else {
            Step::Version(&path)
        };
        let answer = self.remote.step(step, deadline);
        if !self.table.lock().stands(directory, asked) && deadline.remaining().is_some() {
            // It is of what has the directory's former name now.
            return self.ask_name(directory, name, deadline);
        }
        let attributes = match answer {
            Ok(Done::Attributes(attributes)) if attributes.mode == Some(LINK_MODE) => {
                let listed = self.ask_listing(directory, name, deadline)?;
                return listed.ok_or(Error::NotFound);
            }
            Ok(Done::Attributes(attributes)) => attributes,
            Ok(Done::Version(version)) => {
                let mut tree = self.table.lock();
                if let Some(ino) = tree.child(directory, name) {
                    tree.merge_version(ino, version, asked);
                    return Ok(ino);
                }
                file_of(version)
            }
            Ok(Done::Changed) => return Err(Error::NotFound),
            Err(error) if error.why() == Some(Why::NotFound) => {
                self.table.lock().merge_absence(directory, name, asked);
                return Err(Error::NotFound);
            }
            Err(error) => return Err(error.into()),
        };
        let ask = Ask::caller(deadline);
        let attributes = self.show_link(directory, &path, attributes, &ask);
        let mut tree = self.table.lock();
        tree.merge_entry(directory, name, attributes, asked)
            .ok_or(Error::NotFound)
    }

    /// Whether the server may have directories that its listings lack, and was not seen yet to have some.
    pub(crate) fn may_hide_directories(&self) -> bool {
        let traits = self.remote.traits();
        !traits.stats && !traits.hides_directories
    }

    /// Whether a path that the listing of its directory lacks can be entered: such names are asked for from then on.
    pub(crate) fn enters_absent(&self, path: &RemotePath, deadline: &Deadline) -> Result<bool> {
        Ok(self.may_hide_directories() && self.remote.enters(path, &Ask::caller(deadline))?)
    }

    /// Whether a name is on the server, asked now.
    pub(crate) fn ask_again(
        &self,
        parent: u64,
        name: &[u8],
        deadline: &Deadline,
    ) -> Result<Option<u64>> {
        let traits = self.remote.traits();
        if traits.stats_without_mlst
            && self.local(parent, name).is_none()
            && let Some(told) = self.stat_one(parent, name, deadline)?
        {
            return Ok(told);
        }
        let found = self.ask_file(parent, name, deadline)?;
        if found.is_some() || traits.stats {
            return Ok(found);
        }
        // Only a listing shows directories then.
        self.ask_listing(parent, name, deadline)
    }

    /// Lists a directory for one name.
    fn ask_listing(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<Option<u64>> {
        let look = |tree: &Tree| tree.child(directory, name);
        Ok(self.list_for(directory, look, deadline)?.1)
    }

    /// Lists a directory, and looks at the tree before anything of the listing can be evicted.
    fn list_for<T>(
        &self,
        directory: u64,
        look: impl FnOnce(&Tree) -> T,
        deadline: &Deadline,
    ) -> Result<(Completeness, T)> {
        self.table.lock().open(directory);
        let listed = self.list(directory, deadline);
        let mut tree = self.table.lock();
        let seen = look(&tree);
        tree.close(directory);
        Ok((listed?, seen))
    }

    /// Whether a name is that of a file on the server (or of anything, where any path can be asked
    /// for), asked now.
    pub(crate) fn ask_file(
        &self,
        parent: u64,
        name: &[u8],
        deadline: &Deadline,
    ) -> Result<Option<u64>> {
        if let Some(ino) = self.local(parent, name) {
            return Ok(Some(ino));
        }
        match self.ask_name(parent, name, deadline) {
            Ok(ino) => Ok(Some(ino)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What bears a name and is known here alone.
    fn local(&self, parent: u64, name: &[u8]) -> Option<u64> {
        let tree = self.table.lock();
        let child = tree.child(parent, name)?;
        tree.get(child)
            .is_some_and(|node| node.local)
            .then_some(child)
    }

    /// Asks the server for the attributes of `ino`.
    pub(crate) fn refresh(&self, ino: u64, deadline: &Deadline) -> Result<()> {
        let (parent, name) = {
            let tree = self.table.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            if node.removed {
                return Ok(());
            }
            (node.parent, node.name.clone())
        };
        if ino == ROOT {
            return self.refresh_root(deadline);
        }
        if self.remote.traits().stats {
            self.ask_name(parent, &name, deadline)?;
        } else {
            self.list(parent, deadline)?;
        }
        let tree = self.table.lock();
        match tree.get(ino) {
            Some(node) if !node.removed => Ok(()),
            _ => Err(Error::Stale),
        }
    }

    fn refresh_root(&self, deadline: &Deadline) -> Result<()> {
        let root = RemotePath::root();
        let answer = if self.remote.traits().stats {
            self.remote.step(Step::Stat(&root), deadline)
        } else {
            Ok(Done::Changed)
        };
        let mut tree = self.table.lock();
        let Some(node) = tree.get_mut(ROOT) else {
            return Ok(());
        };
        match answer {
            Ok(Done::Attributes(attributes)) if attributes.kind == Kind::Directory => {
                // The attributes of the root are shown when they are next asked for.
                let answer = attributes.clone();
                node.refresh(attributes);
                tree.compare_kept(ROOT, &answer);
            }
            // Not every server answers for its own root; what was known stays.
            Ok(_) | Err(remote::Error::Refused { .. }) => node.fetched = Some(Instant::now()),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Why a read of `ino` failed: where the server may have said that the name is gone, it is asked for, and the inode table
    /// learns of it.
    pub(crate) fn explain_read(&self, ino: u64, error: Error, deadline: &Deadline) -> Error {
        let Error::Remote(refusal) = &error else {
            return error;
        };
        if !matches!(refusal.why(), Some(Why::NotFound | Why::Unsaid)) {
            return error;
        }
        let place = {
            let tree = self.table.lock();
            tree.get(ino).map(|node| (node.parent, node.name.clone()))
        };
        let asked = place.map(|(parent, name)| self.ask_name(parent, &name, deadline));
        match asked {
            Some(Err(Error::NotFound)) => Error::Stale,
            _ => error,
        }
    }

    /// How long an open relies on what is known of a file.
    pub(crate) fn checked_for(&self) -> Duration {
        match self.remote.is_away() {
            true => self.served_age(),
            false => REVALIDATE_AGE.min(self.lifetimes.known),
        }
    }

    /// Asks for size and time of an open file that is not being written, if what is known is old.
    pub(crate) fn revalidate(&self, ino: u64, deadline: &Deadline) -> Result<()> {
        let age = self.checked_for();
        let (path, asked) = {
            let tree = self.table.lock();
            match tree.get(ino) {
                Some(node) if node.is_fresh(age) => return Ok(()),
                Some(_) => (tree.path(ino).ok_or(Error::Stale)?, tree.now()),
                None => return Err(Error::Stale),
            }
        };
        let answer = self.remote.step(Step::Version(&path), deadline);
        let mut tree = self.table.lock();
        match answer {
            Ok(Done::Version(version)) => {
                tree.merge_version(ino, version, asked);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) if error.why() == Some(Why::NotFound) => {
                if let Some(parent) = tree.get(ino).map(|node| node.parent) {
                    if tree.is_unlisted(parent, path.name()) {
                        // A listing has answered: only reading it tells.
                        tree.start_generation(ino);
                        return Ok(());
                    }
                    tree.merge_absence(parent, path.name(), asked);
                }
                Err(Error::Stale)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The attributes of a file of which just size and time are known.
fn file_of(version: Version) -> Attributes {
    Attributes {
        size: version.size,
        modified: version.modified.map(|seconds| Modified {
            seconds,
            precision: Precision::Second,
        }),
        ..Attributes::of(Kind::File)
    }
}
