//! Writes open files to the journal: closes, cuts, later changes of mode and time, and the end of an entry.
//!
//! A close is written as what the server lacks by then, under a number that stays until the server has it, or, once that
//! may have begun to arrive, until a later close is stored.
//!
//! # Two moments of an upload
//!
//! * It *begins* (`ReadAt::begins`; streams hear it from `Remote::write` and `Remote::create`): the server is connected
//!   and is about to get the command. After a crash nothing can tell what has arrived, so the journal knows it before a
//!   byte is sent (`JournalState::upload_begun` and `begun_id`).
//! * It is *taken* (`Change::taken`, `Stream::taken`): the server has not refused it, so that a part may have arrived. If
//!   it fails, `Upload::may_have_arrived` remembers that when the server's file is compared with ours.
//!
//! An upload that has begun and was refused has changed nothing: what other clients wrote there is theirs.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::process::lock_order::OrderedGuard;
use crate::vfs::error::Result;
use crate::vfs::file::open_file::{Body, Commit, File};
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::journal::record::{Intent, Record};
use crate::vfs::journal::{Journal, MAX_RANGES};
use crate::vfs::spool::SpoolFile;

impl OpenFiles {
    /// Commits a file to the journal; false where its content cannot be told from what is here.
    pub(crate) fn commit(&self, journal: &Journal, file: &File) -> Result<bool> {
        let mut body = file.body.lock();
        body.fail_unwritten();
        // Of two closes at once the later one must not be written down first.
        while body.journal.is_committing() {
            file.uploaded.wait(&mut body);
        }
        let known = body.upload.state.lost().is_none() && body.upload.state.to_report().is_none();
        if !known || body.name.removed || body.content.sizeless {
            return Ok(false);
        }
        // Under the lock: a rename that changes the path after this finds the commit, and writes the file down again.
        let path = self.journal.absolute(&self.table.path(file.ino)?);
        body.journal.commit = Some(Commit::Close);
        drop(body);
        let committed = self.write_down(journal, file, path);
        let mut body = file.body.lock();
        body.journal.commit = None;
        file.uploaded.notify_all();
        let Some(id) = committed? else {
            return Ok(false);
        };
        self.supersede(journal, &mut body, id);
        self.journal_rights(&body);
        let is_removed = body.name.removed;
        if is_removed || !body.is_dirty() && body.upload.busy_until.is_none() {
            // An unlink or an upload has come to its end meanwhile, and left the journal to us.
            self.journal_done(&mut body);
        }
        drop(body);
        if is_removed {
            // The unlink may have returned before the entry was written down.
            self.journal.sync_ended();
        }
        Ok(true)
    }

    /// The journal has the file under this number now. The entry before it is kept only if a part of it may have begun
    /// to arrive.
    fn supersede(&self, journal: &Journal, body: &mut Body, id: u64) {
        let unsent = body.reusable_id();
        if let Some(before) = body.journal.id.replace(id).filter(|&before| before != id) {
            match unsent {
                Some(_) => journal.done(before),
                None => body.journal.superseded.push(before),
            }
        }
        if body.journal.upload_begun {
            // The upload may have begun since the entry was written.
            journal.note(&Record::Begun(id));
        }
    }

    /// The number under which the journal has the file as it is now.
    fn write_down(&self, journal: &Journal, file: &File, path: Vec<u8>) -> Result<Option<u64>> {
        let id = journal.next_id();
        let committed = (|| {
            let (intent, spool) = {
                let mut body = file.body.lock();
                let Some(intent) = body.intent(id, path) else {
                    return Ok(false);
                };
                body.journal.is_behind = false;
                (intent, body.spool(&self.spool)?)
            };
            journal.commit(intent, &spool)?;
            Ok(true)
        })();
        if !matches!(committed, Ok(true)) {
            file.body.lock().journal.is_behind = true;
            journal.done(id);
        }
        committed.map(|is| is.then_some(id))
    }

    /// Writes a cut to `size` bytes down in the journal, before it is made, if the file is in it. Returns the file's lock,
    /// which is given back while the disk is waited for.
    pub(crate) fn journal_cut<'a>(
        &self,
        file: &'a File,
        mut body: OrderedGuard<'a, Body>,
        size: u64,
    ) -> Result<OrderedGuard<'a, Body>> {
        let (Some(journal), Some(id)) = (self.journal.get(), body.journal.id) else {
            return Ok(body);
        };
        if size == 0 {
            // The entry of the last close stays as it is until a later one takes its place.
            body.journal.superseded.push(id);
            body.journal.id = None;
            body.content.spool = None;
            return Ok(body);
        }
        let path = self.journal.absolute(&self.table.path(file.ino)?);
        let Some(mut intent) = body.intent(id, path).filter(|_| size < body.content.size) else {
            return Ok(body);
        };
        intent.cut(size);
        let is_new = body.reusable_id().is_none();
        if is_new {
            intent.id = journal.next_id();
        }
        let id = intent.id;
        let mut spool = body.spool(&self.spool)?;
        let present = match is_new && body.upload.stream.is_none() {
            true => body.content.present.within(0..size),
            false => Vec::new(),
        };
        let is_copied = is_new && body.upload.stream.is_none();
        body.journal.commit = Some(Commit::Cut);
        drop(body);
        let committed = (|| {
            if is_copied {
                // The old entry's bytes must stay as they are: recovery compares them with what may have arrived.
                spool = self.copy_spool(&spool, &present, size)?;
            }
            journal.commit(intent, &spool)
        })();
        let mut body = file.body.lock();
        body.journal.commit = None;
        file.uploaded.notify_all();
        if let Err(error) = committed {
            if is_new {
                journal.done(id);
            }
            return Err(error.into());
        }
        body.content.spool = Some(spool);
        self.supersede(journal, &mut body, id);
        self.journal_rights(&body);
        if body.name.removed {
            // The name went meanwhile, and left the journal to this commit.
            self.journal_done(&mut body);
        }
        Ok(body)
    }

    /// A spool file of `size` bytes with the same content in these ranges, and zeros elsewhere.
    pub(crate) fn copy_spool(
        &self,
        spool: &SpoolFile,
        ranges: &[Range<u64>],
        size: u64,
    ) -> io::Result<Arc<SpoolFile>> {
        let copy = Arc::new(self.spool.create()?);
        // Zeros at its end are not copied.
        copy.set_size(size)?;
        for range in ranges {
            spool.copy_part(&copy, range.clone())?;
        }
        Ok(copy)
    }

    /// Records a new mode or time of a file in the journal.
    pub(crate) fn journal_rights(&self, body: &Body) {
        if let (Some(journal), Some(id)) = (self.journal.get(), body.journal.id) {
            journal.note(&Record::Rights {
                id,
                mode: body.attributes.mode.map(|(mode, _)| mode),
                modified: body.attributes.modified,
            });
        }
    }

    /// Removes the entries of a file from the journal: all of it is stored, or nothing of it is to be.
    pub(crate) fn journal_done(&self, body: &mut Body) {
        // A commit in progress would write its entry after this; it does this itself.
        if body.journal.is_committing() {
            return;
        }
        body.owes = false;
        let Some(journal) = self.journal.get() else {
            return;
        };
        for id in body
            .journal
            .superseded
            .drain(..)
            .chain(body.journal.id.take())
        {
            journal.done(id);
        }
    }
}

impl Intent {
    /// Cuts the entry to `size` bytes.
    fn cut(&mut self, size: u64) {
        self.size = size;
        self.kept = self.kept.min(size);
        self.dirty.retain(|range| range.start < size);
        for range in &mut self.dirty {
            range.end = range.end.min(size);
        }
    }
}

impl Body {
    /// The server is about to take something of the file; returns the number by which the journal is to hear of it, if it
    /// has not.
    pub(crate) fn mark_upload_begun(&mut self) -> Option<u64> {
        self.journal.upload_begun = true;
        let before = std::mem::replace(&mut self.journal.begun_id, self.journal.id);
        self.journal.id.filter(|_| before != self.journal.id)
    }

    /// The number under which the next close may replace the entry of the last one; `None` if it needs a new one: what
    /// may have arrived is recognised by the old entry, which must not be overwritten. What a stream has sent is the
    /// beginning of the later file, too.
    pub(crate) fn reusable_id(&self) -> Option<u64> {
        let may = self.journal.begun_id != self.journal.id || self.upload.stream.is_some();
        self.journal.id.filter(|_| may)
    }

    /// Ranges that the server may not have yet: dirty ones, and those being sent.
    pub(crate) fn unsent(&self) -> Vec<Range<u64>> {
        let mut unsent = self.content.dirty.clone();
        unsent.extend(&self.upload.in_flight);
        if let Some(stream) = &self.upload.stream {
            unsent.insert(stream.confirmed..stream.sent);
        }
        unsent.iter().collect()
    }

    /// The entry that stores the file as it is now; `None` where its content cannot be told from what is here.
    fn intent(&self, id: u64, path: Vec<u8>) -> Option<Intent> {
        let mut dirty = self.unsent();
        if self.name.temp.is_some() {
            // The temporary file does not count after a crash.
            dirty = std::iter::once(0..self.content.size).collect();
            dirty.retain(|range| !range.is_empty());
        }
        if dirty.len() > MAX_RANGES {
            let (first, last) = (dirty.first()?.start, dirty.last()?.end);
            dirty = std::iter::once(first..last).collect();
        }
        if !dirty
            .iter()
            .all(|range| self.content.present.contains(range.clone()))
        {
            return None;
        }
        Some(Intent {
            id,
            path,
            base: (self.name.temp.as_ref()).map_or(self.content.base, |temp| temp.replaces),
            kept: self.name.temp.as_ref().map_or(self.content.kept, |_| 0),
            size: self.content.size,
            mode: self.attributes.mode.map(|(mode, _)| mode),
            modified: self.attributes.modified,
            begun: self.journal.upload_begun,
            overtaken: false,
            exclusive: self.upload.exclusive,
            dirty,
            bytes: None,
        })
    }
}
