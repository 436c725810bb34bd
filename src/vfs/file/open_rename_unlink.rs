//! Open files whose names go or change: nothing of them is lost, and nothing brings an old name back.
//!
//! The one idea: a file whose name is about to change is claimed, so that no upload of it is under
//! way meanwhile; one whose name is about to go is made independent of it first.

use std::sync::Arc;

use crate::remote::{Deadline, RemotePath, Step, name_aside};
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::ops::read::PULL_LIMIT;
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
    /// Nor is it read meanwhile, where it is to be read under another name then.
    _hold: Option<Hold>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.file.body.lock().uploading = false;
        self.file.uploaded.notify_all();
    }
}

impl Vfs {
    /// Makes what is open under a name independent of it, before the name is removed: the rest is
    /// fetched, or it gets another name.
    pub(crate) fn orphan(&self, file: &Arc<File>, deadline: &Deadline) -> Result<Orphan> {
        let (missing, sizeless) = {
            let mut body = file.body.lock();
            if let Some(beside) = body.beside.take() {
                // What was sent of it stays where it is until the last close.
                body.aside = Some(beside.path);
                return Ok(match beside.replaces {
                    None => Orphan::NeverStored,
                    Some(_) => Orphan::Whole,
                });
            }
            // After an upload that failed something of it may be there.
            if body.base.is_none() && !body.failed && !body.touched {
                return Ok(Orphan::NeverStored);
            }
            if body.hopeless.is_some() {
                // What is missing is nowhere.
                return Ok(Orphan::Whole);
            }
            let missing: u64 = body.missing().iter().map(|gap| gap.end - gap.start).sum();
            (missing, body.sizeless)
        };
        if missing <= PULL_LIMIT && !sizeless {
            self.complete(file, deadline)?;
            file.reader.stop(deadline);
            return Ok(Orphan::Whole);
        }
        // Who reads on waits for the other name.
        let _hold = file.reader.hold(deadline);
        let path = self.path(file.ino)?;
        let name = name_aside("open", file.ino);
        let aside = path
            .parent()
            .and_then(|parent| parent.join(name.as_bytes()))
            .ok_or(Error::Invalid)?;
        self.step(
            Step::Rename {
                from: &path,
                to: &aside,
            },
            deadline,
        )?;
        file.body.lock().aside = Some(aside);
        Ok(Orphan::Aside)
    }

    /// Keeps an open file from being brought to the server, as long as the claim lives: its name is
    /// about to change.
    pub(crate) fn claim(&self, ino: u64, deadline: &Deadline) -> Result<Option<Claim>> {
        let Some(file) = self.opened_file(ino) else {
            return Ok(None);
        };
        {
            let mut body = self.rested(&file, deadline)?;
            body.uploading = true;
            body.until = Some(deadline.twin());
        }
        Ok(Some(Claim { file, _hold: None }))
    }

    /// Gives a name back that [`Self::orphan`] had moved away, since what was to replace it did not.
    pub(crate) fn bring_back(&self, ino: u64, parent: u64, path: &RemotePath, deadline: &Deadline) {
        let opened = self.opened_file(ino);
        let Some(aside) = opened.and_then(|file| file.body.lock().aside.take()) else {
            return;
        };
        if let Err(error) = self.step(
            Step::Rename {
                from: &aside,
                to: path,
            },
            deadline,
        ) {
            log::error!("{path} could not be replaced and is now called {aside}: {error}");
        }
        self.tree.lock().doubt_listing(parent);
    }

    /// The name of an open file is gone: nothing of it goes to the server any more.
    pub(crate) fn forsake(&self, ino: u64) {
        let opened = self.opened_file(ino);
        if let Some(file) = opened {
            let mut body = file.body.lock();
            body.removed = true;
            self.journal_done(&mut body);
        }
        self.journal_settle();
    }

    /// What was written to claimed files meanwhile, and closed, lies in the journal under the old name.
    pub(crate) fn rename_journaled(&self, claims: Vec<Claim>) {
        let written = |claim: &Claim| {
            let body = claim.file.body.lock();
            (body.is_dirty() && body.journal.is_some()).then(|| Arc::clone(&claim.file))
        };
        let files: Vec<_> = claims.iter().filter_map(written).collect();
        drop(claims);
        for file in files {
            self.defer(&file);
        }
    }

    /// Brings what was written at or below `ino` to the server, ends the reading of it, and claims it until the name
    /// has changed: what is written from now on goes to the new one.
    pub(crate) fn settle_below(&self, ino: u64, deadline: &Deadline) -> Result<Vec<Claim>> {
        let mut files: Vec<Arc<File>> = self.opened_files();
        // Always in the same order, so that two who claim never wait for each other.
        files.sort_unstable_by_key(|file| file.ino);
        let mut claims = Vec::new();
        for file in files {
            if !self.tree.lock().is_within(file.ino, ino) {
                continue;
            }
            loop {
                self.upload(&file, deadline)?;
                let mut body = self.rested(&file, deadline)?;
                // Whoever goes on writing meanwhile need not be waited for: the rest goes to the new name. But what
                // was begun beside the old name must not be left there.
                if body.beside.is_none() {
                    body.uploading = true;
                    body.until = Some(deadline.twin());
                    break;
                }
            }
            let mut claim = Claim {
                file: Arc::clone(&file),
                _hold: None,
            };
            claim._hold = Some(file.reader.hold(deadline));
            claims.push(claim);
        }
        Ok(claims)
    }
}
