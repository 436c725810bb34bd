//! Opening and making files.
//!
//! The one idea: an open is answered by what is known, once that is young enough; a name that must be new is made on
//! the server before its open returns.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::remote::{Ask, Attributes, Deadline, Kind, RemotePath, Sink, Urgency, Version, Why};
use crate::vfs::core::{Handle, Vfs, check_name};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::now;
use crate::vfs::readahead::Reader;
use crate::vfs::writeback::order::Reach;

/// A file was opened.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// The handle.
    pub handle: u64,
    /// The pages that the kernel has of the file are still right.
    pub keep_pages: bool,
    /// The size is not known: the kernel must not rely on it.
    pub sizeless: bool,
    /// Size or time were found to be others than what was known: those that the kernel has are wrong.
    pub changed: bool,
}

/// What an opener wants, from the flags of open(2).
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// To write.
    pub write: bool,
    /// To begin with an empty file.
    pub truncate: bool,
    /// That the name is not there yet.
    pub exclusive: bool,
    /// Who opens it; 0 where that is not known.
    pub process: u32,
}

impl Wants {
    /// Reads the flags of an open(2) by `process`.
    pub fn from_flags(flags: i32, process: u32) -> Self {
        Self {
            write: flags & libc::O_ACCMODE != libc::O_RDONLY,
            truncate: flags & libc::O_TRUNC != 0,
            exclusive: flags & libc::O_EXCL != 0,
            process,
        }
    }
}

impl Vfs {
    /// Opens a file.
    pub fn open(&self, ino: u64, wants: Wants, deadline: &Deadline) -> Result<Open> {
        match self.kind(ino) {
            Some(Kind::File) => {}
            Some(Kind::Directory) => return Err(Error::IsDirectory),
            Some(_) => return Err(Error::NotAFile),
            None => return Err(Error::Stale),
        }
        if wants.write || wants.truncate {
            self.writable()?;
        }
        if let Ok(path) = self.path(ino) {
            self.tell_refused(&path)?;
        }
        let reads = !wants.write && !wants.truncate;
        let known = self.version(ino);
        self.await_fetched(ino, deadline);
        if reads {
            self.opened_to_read(ino);
            self.ride_along(ino, self.checked_for(), deadline);
        }
        self.revalidate(ino, deadline)?;
        let is_gone = self.tree.lock().get(ino).is_none_or(|node| node.removed);
        if is_gone && !self.opened.lock().files.contains_key(&ino) {
            // The kernel looks the name up again.
            return Err(Error::Stale);
        }
        let changed = self.version(ino) != known;
        let open = self.open_known(ino, wants)?;
        Ok(Open { changed, ..open })
    }

    fn version(&self, ino: u64) -> Option<Version> {
        let tree = self.tree.lock();
        tree.get(ino).map(|node| node.attributes.version())
    }

    /// Makes a file and opens it. The server hears of it with the first data, unless the name must be
    /// new.
    pub fn create(
        &self,
        parent: u64,
        name: &[u8],
        mode: u32,
        wants: Wants,
        deadline: &Deadline,
    ) -> Result<(Attr, Open)> {
        self.writable()?;
        check_name(name)?;
        // What is to be emptied may be emptied unseen; everything else must not be taken for new because
        // it was not there some seconds ago.
        // With write-back, what is known counts: the server hears of nothing before the close.
        // So it does for one of a copy.
        let copies = wants.exclusive && self.copies(wants.process, parent);
        let must_be_new = wants.exclusive && !self.is_write_back() && !copies;
        let makes = must_be_new && !self.is_atomic_in(parent);
        if wants.exclusive {
            let path = self.path(parent)?.join(name).ok_or(Error::Invalid)?;
            self.after_others(&path, Reach::Itself, deadline)?;
        }
        let there = if makes {
            let tree = self.tree.lock();
            let local = |ino: &u64| tree.get(*ino).is_some_and(|node| node.local);
            tree.child(parent, name).filter(local)
        } else if !wants.truncate && !wants.exclusive || must_be_new {
            self.ask_file(parent, name, deadline)?
        } else {
            match self.find(parent, name, deadline) {
                Ok(ino) => Some(ino),
                Err(Error::NotFound) => None,
                Err(error) => return Err(error),
            }
        };
        if let Some(ino) = there {
            if wants.exclusive {
                return Err(Error::Exists);
            }
            let open = self.open(ino, wants, deadline)?;
            return Ok((self.remembered_attr(ino)?, open));
        }
        let mode = mode & 0o7777;
        let path = self.path(parent)?.join(name).ok_or(Error::Invalid)?;
        self.remote.check_name(&path)?;
        self.tell_refused(&path)?;
        let sink = match makes {
            true => self.make(parent, &path, deadline)?,
            false => None,
        };
        let ino = {
            let mut tree = self.tree.lock();
            let there = tree.child(parent, name);
            if there.is_some() && wants.exclusive && !makes {
                return Err(Error::Exists);
            }
            // What the server has just made new is no old acquaintance.
            if let Some(old) = there.filter(|_| makes) {
                tree.remove_own(old);
            }
            if let Some(ino) = there.filter(|_| !makes) {
                ino
            } else {
                let attributes = Attributes {
                    size: Some(0),
                    modified: Some(now()),
                    mode: Some(mode),
                    ..Attributes::of(Kind::File)
                };
                let ino = tree.add_own(parent, name, attributes);
                if let Some(node) = tree.get_mut(ino) {
                    node.local = true;
                }
                ino
            }
        };
        let open = self.open_known(ino, wants)?;
        if let Ok(handle) = self.file(open.handle) {
            let mut body = handle.file.body.lock();
            body.mode = Some((mode, false));
            // Of a copy the habit alone: see `copying.rs`.
            body.exclusive = wants.exclusive && self.is_write_back() && !copies;
            if let Some(sink) = sink {
                body.spool(&self.spool)?;
                self.streams.start_over(&handle.file, &mut body, path, sink);
            } else if must_be_new {
                drop(body);
                let made = self.upload(&handle.file, deadline);
                if let Err(error) = made {
                    handle.file.body.lock().removed = true;
                    self.tree.lock().remove_own(ino);
                    self.release(open.handle, deadline);
                    return Err(error);
                }
            }
        }
        Ok((self.remembered_attr(ino)?, open))
    }

    /// Makes a file on the server that must be new; `None` where it is to be made like any other, since the server
    /// can't tell in time whether it is, and a listing does not have it.
    fn make(
        &self,
        parent: u64,
        path: &RemotePath,
        deadline: &Deadline,
    ) -> Result<Option<Box<dyn Sink>>> {
        let ask = Ask {
            urgency: Urgency::Caller,
            deadline,
        };
        let error = match self.remote.create(path, &|| {}, &ask) {
            Ok(sink) => return Ok(Some(sink)),
            Err(error) => error,
        };
        Err(match error.why() {
            Some(Why::Unsupported) => match self.ask_again(parent, path.name(), deadline)? {
                Some(_) => Error::Exists,
                None => return Ok(None),
            },
            Some(Why::Exists) => {
                // The tree learns what it is.
                let _ = self.ask_file(parent, path.name(), deadline);
                Error::Exists
            }
            // A directory is refused in many words.
            Some(Why::Unsaid | Why::Denied | Why::IsDirectory) => {
                match self.ask_again(parent, path.name(), deadline) {
                    Ok(Some(_)) => Error::Exists,
                    _ => error.into(),
                }
            }
            _ => error.into(),
        })
    }

    fn open_known(&self, ino: u64, wants: Wants) -> Result<Open> {
        let mut opened = self.opened.lock();
        let (version, generation, is_new) = {
            let tree = self.tree.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            (node.attributes.version(), node.generation, node.local)
        };
        let (file, handles) = opened.files.entry(ino).or_insert_with(|| {
            let reader = Reader::new(self.shared.clone(), ino, generation);
            (
                File::new(ino, reader, (!is_new).then_some(version), generation),
                0,
            )
        });
        *handles += 1;
        let file = Arc::clone(file);
        let handle = self.handle();
        opened.handles.insert(
            handle,
            Handle {
                file: Arc::clone(&file),
                writes: wants.write,
                seen: Arc::default(),
                wrote: Arc::new(AtomicBool::new(wants.truncate)),
            },
        );
        drop(opened);
        self.tree.lock().open(ino);
        let sizeless = match self.begin(&file, wants) {
            Ok(sizeless) => sizeless,
            Err(error) => {
                self.release(handle, &self.deadline());
                return Err(error);
            }
        };
        let mut tree = self.tree.lock();
        let keep_pages = tree.get_mut(ino).is_some_and(|node| {
            let known = version.size.is_some() && version.modified.is_some();
            let keep = node.local || (known && node.pages == Some(version));
            node.pages = known.then_some(version);
            keep
        });
        Ok(Open {
            handle,
            keep_pages,
            sizeless,
            changed: false,
        })
    }

    /// Prepares the body for a new handle; returns whether the size is unknown.
    fn begin(&self, file: &File, wants: Wants) -> Result<bool> {
        if !wants.truncate {
            let mut body = file.body.lock();
            self.follow(file, &mut body);
            // What is there can't be told from what is not: only a new beginning can be written.
            return if body.sizeless && wants.write {
                Err(Error::Unsupported)
            } else {
                Ok(body.sizeless)
            };
        }
        let mut body = self.rested(file, &self.deadline())?;
        self.follow(file, &mut body);
        if body.size > 0 || body.sizeless || body.base.is_some() {
            self.journal_cut(file, &mut body, 0)?;
            body.truncate(&self.spool, 0)?;
            body.waited = false;
            self.publish(file, &body);
        }
        Ok(false)
    }

    fn remembered_attr(&self, ino: u64) -> Result<Attr> {
        let mut tree = self.tree.lock();
        tree.remember(ino);
        tree.get(ino)
            .map(|node| self.attr(node))
            .ok_or(Error::Stale)
    }
}
