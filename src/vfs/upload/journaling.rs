//! What the journal is told of a file: what was closed, what is cut off or set later, and that it has ended.
//!
//! The one idea: a close is written down as what the server lacks by then, under a number that stays until the server has it,
//! or, once that may have begun to arrive, until a later one has.

use std::sync::Arc;

use crate::remote::RemotePath;
use crate::vfs::core::Vfs;
use crate::vfs::error::Result;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::journal::record::{Intent, Record};
use crate::vfs::journal::{Journal, RANGES};

impl Vfs {
    /// Writes a file down in the journal; false where what is here does not tell what it is.
    pub(crate) fn commit(&self, journal: &Journal, file: &File) -> Result<bool> {
        let path = self.absolute(file)?;
        let mut body = file.body.lock();
        // Of two closes at once the later one must not be written down first.
        while body.committing {
            file.uploaded.wait(&mut body);
        }
        let known = body.hopeless.is_none() && body.broken.is_none();
        if !known || body.removed || body.sizeless {
            return Ok(false);
        }
        body.committing = true;
        let before = body.number();
        drop(body);
        let committed = self.write_down(journal, file, (path, before));
        let mut body = file.body.lock();
        body.committing = false;
        file.uploaded.notify_all();
        let Some(id) = committed? else {
            return Ok(false);
        };
        self.supersede(journal, &mut body, id);
        if !body.is_dirty() && !body.uploading {
            // An upload has brought it about meanwhile, and left the journal to us.
            self.journal_done(&mut body);
        }
        Ok(true)
    }

    /// From now on the journal has the file under this number.
    fn supersede(&self, journal: &Journal, body: &mut Body, id: u64) {
        if let Some(before) = body.journal.replace(id).filter(|&before| before != id) {
            body.superseded.push(before);
            if !body.uploading && body.stream.is_none() {
                journal.replaced(before);
            }
        }
        if body.begun {
            // Perhaps just since it was written down.
            journal.note(&Record::Begun(id));
        }
    }

    /// The number under which the journal has the file as it is now.
    fn write_down(
        &self,
        journal: &Journal,
        file: &File,
        (path, before): (Vec<u8>, Option<u64>),
    ) -> Result<Option<u64>> {
        let id = journal.claim(&path, before)?;
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
        if !matches!(committed, Ok(true)) && before != Some(id) {
            journal.done(id);
        }
        committed.map(|is| is.then_some(id))
    }

    /// The journal hears of a change that is made to a file which lies in it, before it is made.
    pub(crate) fn journal_cut(&self, file: &File, body: &mut Body, size: u64) -> Result<()> {
        let (Some(journal), Some(id)) = (self.queue.journal.get(), body.journal) else {
            return Ok(());
        };
        if size == 0 {
            // What was closed stays as it is until something takes its place.
            body.superseded.push(id);
            journal.replaced(id);
            body.journal = None;
            body.spool = None;
            return Ok(());
        }
        let Some(mut intent) = body.intent(id, self.absolute(file)?) else {
            return Ok(());
        };
        if size >= body.size {
            return Ok(());
        }
        intent.size = size;
        intent.kept = intent.kept.min(size);
        intent.dirty.retain(|range| range.start < size);
        for range in &mut intent.dirty {
            range.end = range.end.min(size);
        }
        let mut spool = body.spool(&self.spool)?;
        let is_new = body.number().is_none();
        if is_new && body.stream.is_none() {
            // What may have begun to arrive is to be known again.
            let rest = Arc::new(self.spool.create()?);
            // Zeros at its end are not copied.
            rest.set_size(size)?;
            for part in body.present.within(0..size) {
                spool.copy_part(&rest, part)?;
            }
            spool = rest;
        }
        if is_new {
            intent.id = journal.claim(&intent.path, None)?;
        }
        let id = intent.id;
        if let Err(error) = journal.commit(intent, &spool) {
            if is_new {
                journal.done(id);
            }
            return Err(error.into());
        }
        body.spool = Some(spool);
        self.supersede(journal, body, id);
        Ok(())
    }

    /// Rights or a time that are to be set on a file in the journal.
    pub(crate) fn journal_rights(&self, body: &Body) {
        if let (Some(journal), Some(id)) = (self.queue.journal.get(), body.journal) {
            journal.note(&Record::Rights {
                id,
                mode: body.mode.map(|(mode, _)| mode),
                modified: body.modified,
            });
        }
    }

    /// Nothing of the file is to be brought to the server any more, or all of it is there.
    pub(crate) fn journal_done(&self, body: &mut Body) {
        let journal = self.queue.journal.get();
        // What is being written down would come behind this.
        let Some(journal) = journal.filter(|_| !body.committing) else {
            return;
        };
        for id in body.superseded.drain(..).chain(body.journal.take()) {
            journal.done(id);
        }
    }

    /// A name has changed on the server: nothing that was stored under it before comes back, not even after a power cut.
    pub(crate) fn journal_settle(&self) {
        if let Some(journal) = self.queue.journal.get() {
            journal.settle();
        }
    }

    /// What the journal has of the file stays there for the next mount, unless something comes there later.
    pub(crate) fn journal_leave(&self, path: &RemotePath, body: &mut Body) {
        let numbers = body.superseded.drain(..).chain(body.journal.take());
        let mut stranded = self.queue.stranded.lock();
        let left = stranded.entry(self.absolute_of(path)).or_default();
        left.extend(numbers);
    }
}

impl Body {
    /// What the server can't be said to have yet: what is dirty, and what is on its way.
    pub(crate) fn unsent(&self) -> Vec<std::ops::Range<u64>> {
        let mut unsent = self.dirty.clone();
        unsent.extend(&self.flying);
        if let Some(stream) = &self.stream {
            unsent.insert(stream.confirmed..stream.sent);
        }
        unsent.iter().collect()
    }

    /// What is to be done for the file, as it is now; `None` when that can't be told from what is here.
    fn intent(&self, id: u64, path: Vec<u8>) -> Option<Intent> {
        let mut dirty = self.unsent();
        if self.beside.is_some() {
            // What was sent has no name that counts after a crash.
            dirty = std::iter::once(0..self.size).collect();
            dirty.retain(|range| !range.is_empty());
        }
        if dirty.len() > RANGES {
            let (first, last) = (dirty.first()?.start, dirty.last()?.end);
            dirty = std::iter::once(first..last).collect();
        }
        if !dirty
            .iter()
            .all(|range| self.present.contains(range.clone()))
        {
            return None;
        }
        Some(Intent {
            id,
            path,
            base: (self.beside.as_ref()).map_or(self.base, |beside| beside.replaces),
            kept: self.beside.as_ref().map_or(self.kept, |_| 0),
            size: self.size,
            mode: self.mode.map(|(mode, _)| mode),
            modified: self.modified,
            begun: self.begun,
            overtaken: false,
            exclusive: self.exclusive,
            dirty,
            bytes: None,
        })
    }
}
