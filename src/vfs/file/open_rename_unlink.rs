//! Open files whose names change or go: nothing of them is lost, and no upload brings an old name back.
//!
//! A file whose name is about to change is claimed, so that no upload of it runs meanwhile. One whose name is about to go
//! is first made independent of it: the rest is fetched, or it gets a temporary name on the server.

use std::sync::Arc;

use crate::remote::{Deadline, RemotePath, Step, make_temp_name};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::file::open_files::PULL_LIMIT;
use crate::vfs::readahead::Hold;

/// What became of an open file whose name is about to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphan {
    /// The server never had it.
    NeverStored,
    /// All of it is here.
    Whole,
    /// It has another name on the server.
    Aside,
}

/// An open file that is not brought to the server while this lives.
pub(crate) struct Claim {
    pub(crate) file: Arc<File>,
    /// Keeps reads waiting, where the file gets another name.
    hold: Option<Hold>,
}

impl Claim {
    /// Claims a file at rest, whose `body` is locked by the caller.
    pub(crate) fn of(file: &Arc<File>, body: &mut Body, deadline: &Deadline) -> Self {
        body.upload.busy_until = Some(deadline.twin());
        Self {
            file: Arc::clone(file),
            hold: None,
        }
    }

    /// Ends the reading of the file, and keeps reads waiting as long as this lives.
    pub(crate) fn hold_reads(&mut self, deadline: &Deadline) {
        self.hold = Some(self.file.reader.hold(deadline));
    }
}

impl OpenFiles {
    /// Makes an open file independent of its name, before the name is removed: the rest is fetched, or it gets a
    /// temporary name.
    pub(crate) fn orphan(&self, file: &Arc<File>, deadline: &Deadline) -> Result<Orphan> {
        let (missing, sizeless) = {
            let mut body = file.body.lock();
            if let Some(temp) = body.name.temp.take() {
                // What was sent of it stays where it is until the last close.
                body.name.aside = Some(temp.path);
                return Ok(match temp.replaces {
                    None => Orphan::NeverStored,
                    Some(_) => Orphan::Whole,
                });
            }
            // After an upload that failed something of it may be there.
            if body.content.base.is_none()
                && !body.upload.state.is_failed()
                && !body.upload.may_have_arrived
            {
                return Ok(Orphan::NeverStored);
            }
            if body.upload.state.lost().is_some() {
                // What is missing is nowhere.
                return Ok(Orphan::Whole);
            }
            let missing: u64 = body.missing().iter().map(|gap| gap.end - gap.start).sum();
            (missing, body.content.sizeless)
        };
        if missing <= PULL_LIMIT && !sizeless {
            self.complete(file, deadline)?;
            file.reader.stop(deadline);
            return Ok(Orphan::Whole);
        }
        // Reads wait for the temporary name.
        let _hold = file.reader.hold(deadline);
        let path = self.table.path(file.ino)?;
        let name = make_temp_name("open", file.ino);
        let aside = path
            .parent()
            .and_then(|parent| parent.join(name.as_bytes()))
            .ok_or(Error::Invalid)?;
        self.remote.step(
            Step::Rename {
                from: &path,
                to: &aside,
            },
            deadline,
        )?;
        file.body.lock().name.aside = Some(aside);
        Ok(Orphan::Aside)
    }

    /// Keeps an open file from being brought to the server, as long as the claim lives: its name is
    /// about to change.
    pub(crate) fn claim(&self, ino: u64, deadline: &Deadline) -> Result<Option<Claim>> {
        let Some(file) = self.opened_file(ino) else {
            return Ok(None);
        };
        let mut body = self.lock_idle(&file, deadline)?;
        Ok(Some(Claim::of(&file, &mut body, deadline)))
    }

    /// Gives a name back that [`Self::orphan`] had moved away, since what was to replace it did not.
    pub(crate) fn restore_name(
        &self,
        ino: u64,
        parent: u64,
        path: &RemotePath,
        deadline: &Deadline,
    ) {
        let opened = self.opened_file(ino);
        let Some(aside) = opened.and_then(|file| file.body.lock().name.aside.take()) else {
            return;
        };
        if let Err(error) = self.remote.step(
            Step::Rename {
                from: &aside,
                to: path,
            },
            deadline,
        ) {
            log::error!("rename: {path}: not replaced, and left on the server as {aside}: {error}");
        }
        self.table.lock().doubt_listing(parent);
    }

    /// The name of an open file is gone: nothing of it goes to the server any more.
    pub(crate) fn discard_unlinked(&self, ino: u64) {
        let opened = self.opened_file(ino);
        if let Some(file) = opened {
            let mut body = file.body.lock();
            body.name.removed = true;
            self.journal_done(&mut body);
        }
        self.journal.sync_ended();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.file.body.lock().upload.busy_until = None;
        self.file.uploaded.notify_all();
    }
}
