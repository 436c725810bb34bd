//! A node: what is known of one file, directory or link, and what an answer of the server changes.
//!
//! A rounded time never replaces an exact one of the same file, and only a difference is an event.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroI64;
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use crate::remote::{Attributes, Completeness, Kind, Modified, Precision, Version};
use crate::vfs::inode::kept::{Kept, KeptTime, NodeEntry, Timestamp};

/// What is known of one file, directory or link.
#[derive(Debug)]
pub struct Node {
    /// The number.
    pub ino: u64,
    /// The directory that holds it.
    pub parent: u64,
    /// Its name there.
    pub name: Box<[u8]>,
    /// What the server says, with our own changes applied.
    pub attributes: Attributes,
    /// What the server has no place for (`overlay`).
    pub(crate) entry: Option<Box<NodeEntry>>,
    /// When the server said it; `None` when it must be asked again.
    pub fetched: Option<Instant>,
    /// When it was changed here.
    pub(crate) stamps: Stamps,
    /// The last access, in seconds since 1970, where our own change has moved the modification alone. In the very second
    /// of 1970 it is not known: a million nodes take 8 bytes less each.
    pub(crate) accessed: Option<NonZeroI64>,
    /// Something is not on the server yet: its word about size and time does not count.
    pub local: bool,
    /// Changes with the content.
    pub generation: u64,
    /// What the kernel may still have of it.
    pub(crate) kernel: InKernel,
    /// It has no name any more.
    pub removed: bool,
    /// The log has a line about where it leads.
    pub told: bool,
    /// What needs the node.
    pub(crate) holders: Holders,
    /// What is known of its names, if it is a directory of which something is.
    directory: Option<Box<Directory>>,
}

/// When a node was last changed here, as stamps of the tree; 0: never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamps {
    /// Anything of it.
    pub(crate) changed: u64,
    /// Its name or its directory.
    pub(crate) moved: u64,
}

/// What the kernel may still have of a node.
#[derive(Debug, Default)]
pub struct InKernel {
    /// The version of which it may have pages.
    pub pages: Option<Box<Version>>,
    /// The server has cut the file since the kernel was last shown its size, which it pads the file to with zeros.
    pub(crate) is_cut: Cell<bool>,
}

/// What needs a node.
#[derive(Debug, Default)]
pub struct Holders {
    /// What the kernel holds, in lookups.
    pub(crate) lookups: u64,
    /// Open handles, and events about it that are being passed on.
    pub(crate) opens: u32,
}

/// What is known of the names in a directory.
#[derive(Debug, Default)]
pub struct Directory {
    /// The numbers of those that are there, an index by their names (`nodes`).
    pub(super) children: HashTable<u64>,
    /// When they were listed last.
    pub(crate) listed: Option<(Instant, Completeness)>,
    /// Names that we removed, with the stamps.
    pub(crate) gone: HashMap<Box<[u8]>, u64>,
    /// Names that were asked for alone and are not there.
    pub(crate) absent: HashMap<Box<[u8]>, Instant>,
    /// Names that are there although no listing has them: directories that can be entered, and stored files whose names
    /// begin with a dot.
    pub(crate) unlisted: HashSet<Box<[u8]>>,
    /// When a name was last asked for alone.
    pub(crate) asked_alone: Option<Instant>,
}

impl Directory {
    /// Whether nothing would be lost with it.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.children.is_empty() && self.unlisted.is_empty()
    }
}

/// How the server's word differs from what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Not at all.
    Nothing,
    /// In what is shown.
    Shown,
    /// It is another content.
    Content,
}

impl Node {
    /// A node of which `attributes` are known now.
    pub(super) fn new(
        (ino, generation): (u64, u64),
        parent: u64,
        name: Box<[u8]>,
        attributes: Attributes,
    ) -> Box<Self> {
        Box::new(Self {
            ino,
            parent,
            name,
            attributes,
            entry: None,
            fetched: Some(Instant::now()),
            stamps: Stamps::default(),
            accessed: None,
            local: false,
            generation,
            kernel: InKernel::default(),
            removed: false,
            told: false,
            holders: Holders::default(),
            directory: None,
        })
    }

    /// What is known of its names; `None` is nothing.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_deref()
    }

    /// What is known of its names, to be changed.
    pub(crate) fn directory_mut(&mut self) -> &mut Directory {
        self.directory.get_or_insert_default()
    }

    /// The numbers of its names, in no order.
    pub(crate) fn children(&self) -> impl Iterator<Item = u64> {
        let children = self.directory().map(|known| &known.children);
        children.into_iter().flatten().copied()
    }

    /// Nothing is known of its names for certain any more.
    pub(crate) fn doubt_names(&mut self) {
        if let Some(known) = &mut self.directory {
            known.listed = None;
            known.absent.clear();
        }
    }

    /// What is kept of its attributes.
    pub fn kept(&self) -> Option<&Kept> {
        self.entry.as_ref().map(|entry| &entry.kept)
    }

    /// The last modification, as it is shown; 1970 where the server does not say it.
    pub(crate) fn modified(&self) -> Timestamp {
        let kept = self.kept().and_then(|kept| kept.modified);
        let server = self.attributes.modified;
        kept.map_or_else(
            || Timestamp::of_seconds(server.map_or(0, |modified| modified.seconds)),
            KeptTime::moment,
        )
    }

    /// Whether the kernel or a handle holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.holders.lookups > 0 || self.holders.opens > 0
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.holders.opens > 0
    }

    /// Whether the attributes may be shown without asking the server.
    pub fn is_fresh(&self, age: Duration) -> bool {
        self.local || self.removed || self.fetched.is_some_and(|at| at.elapsed() < age)
    }

    /// The server's word: a content of another version is another generation.
    pub fn refresh(&mut self, mut attributes: Attributes) -> Difference {
        let (old, new) = (self.attributes.version(), attributes.version());
        let is_same = old.may_be(&new);
        if !is_same {
            self.generation += 1;
        }
        if let (Some(old), Some(new)) = (self.attributes.modified, attributes.modified)
            && (old.precision > new.precision
                || old.precision == Precision::Local && new.precision < Precision::Second)
            && self.attributes.size == attributes.size
            && old.seconds.abs_diff(new.seconds) < COARSE_SECONDS
        {
            // A rounded time never replaces an exact one of the same file, nor that of our own change.
            attributes.modified = Some(old);
        }
        if attributes.mode.is_none() {
            attributes.mode = self.attributes.mode;
        }
        if attributes.target.is_none() && is_same {
            attributes.target = self.attributes.target.clone();
        }
        // What other clients do in a directory is no other directory.
        if !is_same && attributes.kind != Kind::Directory {
            self.accessed = None;
        }
        let leads_elsewhere = matches!(
            (&self.attributes.target, &attributes.target),
            (Some(old), Some(new)) if old != new
        );
        let difference = if !is_same || leads_elsewhere {
            Difference::Content
        } else if attributes != self.attributes {
            Difference::Shown
        } else {
            Difference::Nothing
        };
        if attributes.size < self.attributes.size {
            self.kernel.is_cut.set(true);
        }
        self.attributes = attributes;
        self.fetched = Some(Instant::now());
        difference
    }

    /// The server's word about size and time alone.
    pub fn refresh_version(&mut self, version: Version) -> Difference {
        let mut attributes = self.attributes.clone();
        attributes.size = version.size.or(attributes.size);
        if let Some(seconds) = version.modified {
            attributes.modified = Some(Modified {
                seconds,
                precision: Precision::Second,
            });
        }
        self.refresh(attributes)
    }

    /// The same about what we have stored.
    pub(crate) fn refresh_own_version(&mut self, version: Version) {
        let accessed = self.accessed;
        self.refresh_version(version);
        self.accessed = accessed;
    }
}

/// Seconds by which a listing's time may differ from the exact one through rounding alone.
const COARSE_SECONDS: u64 = 60;

/// This moment by our clock, as a time of modification.
pub fn now() -> Modified {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Modified {
        seconds: since.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        }),
        precision: Precision::Second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::inode::{ROOT, Tree};

    #[test]
    fn a_link_that_was_replaced_has_no_target_left() {
        let link = |target: Option<&[u8]>, seconds| Attributes {
            target: target.map(Into::into),
            modified: Some(Modified {
                seconds,
                precision: Precision::Second,
            }),
            ..Attributes::of(Kind::Symlink)
        };
        let mut tree = Tree::new(Attributes::of(Kind::Directory), u64::MAX);
        let l = tree.add_own(ROOT, b"l", link(Some(b"a"), 1));
        let node = tree.get_mut(l).expect("l");
        assert_eq!(node.refresh(link(None, 1)), Difference::Nothing);
        assert_eq!(node.refresh(link(Some(b"b"), 1)), Difference::Content);
        assert_eq!(node.refresh(link(None, 2)), Difference::Content);
        assert_eq!(node.attributes.target, None);
    }
}
