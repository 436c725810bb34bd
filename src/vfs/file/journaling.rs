//! What the journal is told of a file: what was closed, what is cut off or set later, and that it has ended.
//!
//! The one idea: a close is written down as what the server lacks by then, under a number that stays until the server has it,
//! or, once that may have begun to arrive, until a later one has.

use std::sync::Arc;

use crate::vfs::error::Result;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::journal::record::{Intent, Record};
use crate::vfs::journal::{Journal, RANGES};

impl OpenFiles {
    /// Writes a file down in the journal; false where what is here does not tell what it is.
    pub(crate) fn commit(&self, journal: &Journal, file: &File) -> Result<bool> {
        let path = self.journal.absolute(&self.table.path(file.ino)?);
        let mut body = file.body.lock();
        // Of two closes at once the later one must not be written down first.
        while body.journal.committing {
            file.uploaded.wait(&mut body);
        }
        let known = body.upload.state.lost().is_none() && body.upload.state.to_report().is_none();
        if !known || body.name.removed || body.content.sizeless {
            return Ok(false);
        }
        body.journal.committing = true;
        drop(body);
        let committed = self.write_down(journal, file, path);
        let mut body = file.body.lock();
        body.journal.committing = false;
        file.uploaded.notify_all();
        let Some(id) = committed? else {
            return Ok(false);
        };
        self.supersede(journal, &mut body, id);
        if !body.is_dirty() && body.upload.busy_until.is_none() {
            // An upload has brought it about meanwhile, and left the journal to us.
            self.journal_done(&mut body);
        }
        Ok(true)
    }

    /// From now on the journal has the file under this number. The close before it is kept only if something of it may have
    /// begun to arrive.
    fn supersede(&self, journal: &Journal, body: &mut Body, id: u64) {
        let unsent = body.reusable_id();
        if let Some(before) = body.journal.id.replace(id).filter(|&before| before != id) {
            match unsent {
                Some(_) => journal.done(before),
                None => body.journal.superseded.push(before),
            }
        }
        if body.journal.upload_begun {
            // Perhaps just since it was written down.
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
                (intent, body.spool(&self.spool)?)
            };
            journal.commit(intent, &spool)?;
            Ok(true)
        })();
        if !matches!(committed, Ok(true)) {
            journal.done(id);
        }
        committed.map(|is| is.then_some(id))
    }

    /// The journal hears of a change that is made to a file which lies in it, before it is made.
    pub(crate) fn journal_cut(&self, file: &File, body: &mut Body, size: u64) -> Result<()> {
        let (Some(journal), Some(id)) = (self.journal.get(), body.journal.id) else {
            return Ok(());
        };
        if size == 0 {
            // What was closed stays as it is until something takes its place.
            body.journal.superseded.push(id);
            body.journal.id = None;
            body.content.spool = None;
            return Ok(());
        }
        let Some(mut intent) = body.intent(id, self.journal.absolute(&self.table.path(file.ino)?))
        else {
            return Ok(());
        };
        if size >= body.content.size {
            return Ok(());
        }
        intent.size = size;
        intent.kept = intent.kept.min(size);
        intent.dirty.retain(|range| range.start < size);
        for range in &mut intent.dirty {
            range.end = range.end.min(size);
        }
        let mut spool = body.spool(&self.spool)?;
        let is_new = body.reusable_id().is_none();
        if is_new && body.upload.stream.is_none() {
            // What may have begun to arrive is to be known again.
            let rest = Arc::new(self.spool.create()?);
            // Zeros at its end are not copied.
            rest.set_size(size)?;
            for part in body.content.present.within(0..size) {
                spool.copy_part(&rest, part)?;
            }
            spool = rest;
        }
        if is_new {
            intent.id = journal.next_id();
        }
        let id = intent.id;
        if let Err(error) = journal.commit(intent, &spool) {
            if is_new {
                journal.done(id);
            }
            return Err(error.into());
        }
        body.content.spool = Some(spool);
        self.supersede(journal, body, id);
        Ok(())
    }

    /// Rights or a time that are to be set on a file in the journal.
    pub(crate) fn journal_rights(&self, body: &Body) {
        if let (Some(journal), Some(id)) = (self.journal.get(), body.journal.id) {
            journal.note(&Record::Rights {
                id,
                mode: body.attributes.mode.map(|(mode, _)| mode),
                modified: body.attributes.modified,
            });
        }
    }

    /// Nothing of the file is to be brought to the server any more, or all of it is there.
    pub(crate) fn journal_done(&self, body: &mut Body) {
        let journal = self.journal.get();
        // What is being written down would come behind this.
        let Some(journal) = journal.filter(|_| !body.journal.committing) else {
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

    /// What the journal has of the file stays there for the next mount.
    pub(crate) fn journal_leave(&self, body: &mut Body) {
        body.journal.superseded.clear();
        body.journal.id = None;
    }
}

impl Body {
    /// What the server can't be said to have yet: what is dirty, and what is on its way.
    pub(crate) fn unsent(&self) -> Vec<std::ops::Range<u64>> {
        let mut unsent = self.content.dirty.clone();
        unsent.extend(&self.upload.in_flight);
        if let Some(stream) = &self.upload.stream {
            unsent.insert(stream.confirmed..stream.sent);
        }
        unsent.iter().collect()
    }

    /// What is to be done for the file, as it is now; `None` when that can't be told from what is here.
    fn intent(&self, id: u64, path: Vec<u8>) -> Option<Intent> {
        let mut dirty = self.unsent();
        if self.name.beside.is_some() {
            // What was sent has no name that counts after a crash.
            dirty = std::iter::once(0..self.content.size).collect();
            dirty.retain(|range| !range.is_empty());
        }
        if dirty.len() > RANGES {
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
            base: (self.name.beside.as_ref()).map_or(self.content.base, |beside| beside.replaces),
            kept: self.name.beside.as_ref().map_or(self.content.kept, |_| 0),
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
