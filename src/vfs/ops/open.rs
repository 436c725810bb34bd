//! open and create.
//!
//! An open is answered from what is known if that is recent enough (`metadata`). With O_EXCL the server has made the name
//! before open returns. Where a small file that is opened to be read has to be asked for again, its `RETR` may start at
//! once, in the flight of that question (`prefetch/files.rs`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::remote::{Ask, Attributes, Deadline, Kind, RemotePath, Sink, Version, Why};
use crate::vfs::Vfs;
use crate::vfs::attributes::ownership::Creator;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::file::open_files::Handle;
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::check_name;
use crate::vfs::readahead::Reader;

/// A file was opened.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// The handle.
    pub handle: u64,
    /// The pages that the kernel has of the file are still right.
    pub keep_pages: bool,
    /// The size is not known: the kernel must not rely on it.
    pub sizeless: bool,
    /// Size or time differ from what was known: those that the kernel has are stale.
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
}

impl Vfs {
    /// Opens a file.
    pub fn open(&self, ino: u64, wants: Wants, deadline: &Deadline) -> Result<Open> {
        match self.table.kind(ino) {
            Some(Kind::File) => {}
            Some(Kind::Directory) => return Err(Error::IsDirectory),
            Some(_) => return Err(Error::NotAFile),
            None => return Err(Error::Stale),
        }
        if wants.write || wants.truncate {
            self.writable()?;
        }
        if let Ok(path) = self.table.path(ino) {
            self.writeback.report_refusal(&path)?;
        }
        let reads = !wants.write && !wants.truncate;
        let known = self.version(ino);
        self.prefetch.await_fetched(ino, deadline);
        if reads {
            self.prefetch.opened_to_read(ino);
            self.prefetch
                .fetch_with_revalidation(ino, self.metadata.checked_for(), deadline);
        }
        if let Err(error) = self.metadata.revalidate(ino, deadline) {
            return Err(match error {
                Error::Stale => self.gone(ino),
                error => error,
            });
        }
        let is_gone = self.table.lock().get(ino).is_none_or(|node| node.removed);
        if is_gone && !self.files.opened.lock().files.contains_key(&ino) {
            return Err(self.gone(ino));
        }
        let changed = self.version(ino) != known;
        let open = self.open_inode(ino, wants)?;
        Ok(Open { changed, ..open })
    }

    /// Why a file that was removed on the server cannot be opened. ESTALE has the kernel look its name up once more, which
    /// helps where that is another file's now.
    fn gone(&self, ino: u64) -> Error {
        let tree = self.table.lock();
        let successor = tree
            .get(ino)
            .and_then(|node| tree.child(node.parent, &node.name));
        match successor.is_some_and(|successor| successor != ino) {
            true => Error::Stale,
            false => Error::NotFound,
        }
    }

    fn version(&self, ino: u64) -> Option<Version> {
        let tree = self.table.lock();
        tree.get(ino).map(|node| node.attributes.version())
    }

    /// Makes a file and opens it. The server hears of it with the first data, unless the name must be
    /// new.
    pub fn create(
        &self,
        parent: u64,
        name: &[u8],
        creator: Creator,
        wants: Wants,
        deadline: &Deadline,
    ) -> Result<(Attr, Open)> {
        self.writable()?;
        check_name(name)?;
        // With write-back the name is checked when the file is stored: the server is told nothing before the close.
        let must_be_new = wants.exclusive && !self.files.journal.is_write_back();
        let makes = must_be_new && !self.uploader.is_atomic_in(parent);
        if let Some((ino, open)) = self.open_existing(parent, name, wants, deadline)? {
            return Ok((self.table.count_lookup(ino)?, open));
        }
        let mode = creator.mode & 0o7777;
        let creator = Creator { mode, ..creator };
        let path = self.table.path_of(parent, name)?;
        self.remote.check_name(&path)?;
        self.writeback.report_refusal(&path)?;
        // What fails on the local disk leaves nothing on the server.
        let spool = makes.then(|| self.files.spool.create()).transpose()?;
        let sink = match makes {
            true => self.create_on_server(parent, &path, deadline)?,
            false => None,
        };
        let (ino, is_new) = self.add_created(parent, name, mode, (wants.exclusive, makes))?;
        if is_new {
            self.attributes.keep_new(ino, parent, creator);
        }
        let open = self.open_inode(ino, wants)?;
        if let Ok(handle) = self.files.file(open.handle) {
            let mut body = handle.file.body.lock();
            if is_new {
                body.attributes.mode = Some((mode, false));
            }
            body.upload.exclusive = wants.exclusive && self.files.journal.is_write_back();
            if let Some(sink) = sink {
                body.content.spool = spool.map(Arc::new);
                self.uploader
                    .streams
                    .start_over(&handle.file, &mut body, path, sink);
            } else if must_be_new {
                drop(body);
                self.store_created(&handle.file, open.handle, deadline)?;
            }
        }
        Ok((self.table.count_lookup(ino)?, open))
    }

    /// Opens the file that a create finds instead of making one. One that is given up meanwhile is looked for once more.
    fn open_existing(
        &self,
        parent: u64,
        name: &[u8],
        wants: Wants,
        deadline: &Deadline,
    ) -> Result<Option<(u64, Open)>> {
        let mut is_second = false;
        loop {
            let Some(ino) = self.find_existing(parent, name, wants, deadline)? else {
                return Ok(None);
            };
            if wants.exclusive {
                return Err(Error::Exists);
            }
            match self.open(ino, wants, deadline) {
                Err(Error::Stale) if !is_second => is_second = true,
                open => return open.map(|open| Some((ino, open))),
            }
        }
    }

    /// The file that a create would open instead of making one.
    fn find_existing(
        &self,
        parent: u64,
        name: &[u8],
        wants: Wants,
        deadline: &Deadline,
    ) -> Result<Option<u64>> {
        let must_be_new = wants.exclusive && !self.files.journal.is_write_back();
        if must_be_new && !self.uploader.is_atomic_in(parent) {
            // The server decides when it makes the file; only a local file is known better here.
            let tree = self.table.lock();
            let local = |ino: &u64| tree.get(*ino).is_some_and(|node| node.local);
            return Ok(tree.child(parent, name).filter(local));
        }
        // With O_TRUNC the old content does not matter, so a cached answer will do. Otherwise a cached absence would hide
        // the content of a file that another client made a moment ago.
        if !wants.truncate && !wants.exclusive || must_be_new {
            return self.metadata.ask_file(parent, name, deadline);
        }
        match self.metadata.find(parent, name, deadline) {
            Ok(ino) => Ok(Some(ino)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The inode of a file that is being created, and whether it is a new one. `exclusive` is whether its name must be new, `was_made` whether the
    /// server has made it already.
    fn add_created(
        &self,
        parent: u64,
        name: &[u8],
        mode: u32,
        (exclusive, was_made): (bool, bool),
    ) -> Result<(u64, bool)> {
        let mut tree = self.table.lock();
        if let Some(old) = tree.child(parent, name) {
            if !was_made {
                return if exclusive {
                    Err(Error::Exists)
                } else {
                    Ok((old, false))
                };
            }
            // The server just created this name, so a cached inode for it is stale.
            tree.remove_own(old);
        }
        let attributes = Attributes {
            size: Some(0),
            modified: Some(tree.server_now()),
            mode: Some(mode),
            ..Attributes::of(Kind::File)
        };
        let ino = tree.add_own(parent, name, attributes);
        if let Some(node) = tree.get_mut(ino) {
            node.local = true;
        }
        Ok((ino, true))
    }

    /// Stores an empty file whose name must be new; where that fails the file is closed and has no name any more.
    fn store_created(&self, file: &Arc<File>, handle: u64, deadline: &Deadline) -> Result<()> {
        let stored = self.uploader.upload(file, deadline);
        if stored.is_err() {
            file.body.lock().name.removed = true;
            self.table.lock().remove_own(file.ino);
            self.release(handle, deadline);
        }
        stored
    }

    /// Makes a file on the server that must be new; `None` where it is made by its first upload like any other, since
    /// the server cannot tell in time whether it is new, and a listing does not have it.
    pub(crate) fn create_on_server(
        &self,
        parent: u64,
        path: &RemotePath,
        deadline: &Deadline,
    ) -> Result<Option<Box<dyn Sink>>> {
        let ask = Ask::caller(deadline);
        let error = match self.remote.create(path, &|| {}, &ask) {
            Ok(sink) => return Ok(Some(sink)),
            Err(error) => error,
        };
        Err(match error.why() {
            Some(Why::Unsupported) => {
                match self.metadata.ask_again(parent, path.name(), deadline)? {
                    Some(_) => Error::Exists,
                    None => return Ok(None),
                }
            }
            Some(Why::Exists) => {
                // The tree learns what it is.
                let _ = self.metadata.ask_file(parent, path.name(), deadline);
                Error::Exists
            }
            // A directory is refused in many words.
            Some(Why::Unsaid | Why::Denied | Why::IsDirectory) => {
                match self.metadata.ask_again(parent, path.name(), deadline) {
                    Ok(Some(_)) => Error::Exists,
                    _ => error.into(),
                }
            }
            _ => error.into(),
        })
    }

    fn open_inode(&self, ino: u64, wants: Wants) -> Result<Open> {
        let mut opened = self.files.opened.lock();
        let (version, generation, is_new) = {
            let tree = self.table.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            (node.attributes.version(), node.generation, node.local)
        };
        let (file, handles) = opened.files.entry(ino).or_insert_with(|| {
            let reader = Reader::new(self.readers.clone(), ino, generation);
            (
                File::new(ino, reader, (!is_new).then_some(version), generation),
                0,
            )
        });
        *handles += 1;
        let file = Arc::clone(file);
        let handle = self.files.handle();
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
        self.table.lock().open(ino);
        let sizeless = match self.prepare_body(&file, wants) {
            Ok(sizeless) => sizeless,
            Err(error) => {
                self.release(handle, &self.deadline());
                return Err(error);
            }
        };
        let mut tree = self.table.lock();
        let keep_pages = tree.get_mut(ino).is_some_and(|node| {
            let known = version.size.is_some() && version.modified.is_some();
            let keep = node.local || (known && node.kernel.pages.as_deref() == Some(&version));
            node.kernel.pages = known.then(|| Box::new(version));
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
    fn prepare_body(&self, file: &File, wants: Wants) -> Result<bool> {
        if file.body.lock().name.given_up {
            // What is written to it would never be stored.
            return Err(Error::Stale);
        }
        if !wants.truncate {
            let mut body = file.body.lock();
            self.files.follow_server(file, &mut body);
            // Without a size, existing content cannot be told from a hole: only a truncated file can be written.
            return if body.content.sizeless && wants.write {
                Err(Error::Unsupported)
            } else {
                Ok(body.content.sizeless)
            };
        }
        let mut body = self.files.lock_idle(file, &self.deadline())?;
        self.files.follow_server(file, &mut body);
        if body.content.size > 0 || body.content.sizeless || body.content.base.is_some() {
            body = self.files.journal_cut(file, body, 0)?;
            body.truncate(&self.files.spool, 0)?;
            body.upload.waited = false;
            self.files.publish(file, &body);
        }
        Ok(false)
    }
}

impl Wants {
    /// Reads the flags of an open(2).
    pub fn from_flags(flags: i32) -> Self {
        Self {
            write: flags & libc::O_ACCMODE != libc::O_RDONLY,
            truncate: flags & libc::O_TRUNC != 0,
            exclusive: flags & libc::O_EXCL != 0,
        }
    }
}
