//! Order among mounts: what one mount has closed is not undone by what another one closed before.
//!
//! The one idea: whatever changes a path on the server waits first until the other mounts of the same server
//! and user have stored what they had closed there by then. The journal tells (`journal/neighbours.rs`);
//! where nobody else writes back, this is one look into a directory.
//!
//! Lock order: no lock is held, but a file's `body` where nothing is waited for.

use std::thread;
use std::time::Duration;

use crate::remote;
use crate::remote::{Deadline, RemotePath};
use crate::vfs::core::Vfs;
use crate::vfs::error::Result;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::journal::neighbours::Place;
use crate::vfs::journal::record::Record;

/// How often somebody who waits for another mount looks.
const LOOK: Duration = Duration::from_millis(20);

/// How far a change of a path reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What bears this name.
    Itself,
    /// Everything below it, too.
    Below,
}

impl Vfs {
    /// Waits until other mounts have stored what they have closed at a path.
    pub(crate) fn after_others(
        &self,
        path: &RemotePath,
        reach: Reach,
        deadline: &Deadline,
    ) -> Result<()> {
        let absolute = self.absolute_of(path);
        let place = Place {
            path: &absolute,
            below: reach == Reach::Below,
        };
        self.wait_for_others(place, None, deadline)
    }

    /// Waits until other mounts have stored what they have closed of a file that is to be stored now.
    pub(crate) fn in_turn(&self, file: &File, deadline: &Deadline) -> Result<()> {
        let absolute = self.absolute(file)?;
        let place = Place {
            path: &absolute,
            below: false,
        };
        if self.others_before(place, None).is_none() {
            return Ok(());
        }
        let own = {
            let body = self.settled(file, deadline)?;
            let own = self.number_of(&body);
            // What is stored now is newer than what was closed here and there: theirs must not wait for ours.
            if let (Some(journal), Some(id)) = (self.queue.journal.get(), own)
                && body.stream.is_none()
            {
                journal.replaced(id);
                None
            } else {
                own
            }
        };
        self.wait_for_others(place, own, deadline)
    }

    /// Whether other mounts have yet to store something of a file that was closed before it was here.
    pub(crate) fn is_behind_others(&self, file: &File) -> bool {
        let own = self.number_of(&file.body.lock());
        self.absolute(file).is_ok_and(|path| {
            let place = Place {
                path: &path,
                below: false,
            };
            self.others_before(place, own).is_some()
        })
    }

    /// The place of a file's last close among those of all mounts; none where it is the newest.
    fn number_of(&self, body: &Body) -> Option<u64> {
        let journal = self.queue.journal.get()?;
        body.journal.filter(|&id| !journal.is_replaced(id))
    }

    /// Whether other mounts have anything to store of a file that is being written here.
    pub(crate) fn is_behind_others_now(&self, file: &File) -> bool {
        self.absolute(file).is_ok_and(|path| {
            let place = Place {
                path: &path,
                below: false,
            };
            self.others_before(place, None).is_some()
        })
    }

    /// No other mount need wait for what a later close has taken the place of.
    pub(crate) fn journal_replaced(&self, body: &Body) {
        if let Some(journal) = self.queue.journal.get() {
            for &id in &body.superseded {
                journal.replaced(id);
            }
        }
    }

    fn wait_for_others(
        &self,
        place: Place<'_>,
        own: Option<u64>,
        deadline: &Deadline,
    ) -> Result<()> {
        self.overtake_stranded(place);
        let mut before = own;
        while let Some(newest) = self.others_before(place, before) {
            if deadline.remaining().is_none() {
                let what = format!(
                    "waiting for another mount to store {}",
                    place.path.escape_ascii()
                );
                return Err(remote::Error::timed_out(what).into());
            }
            // What they close from now on comes later.
            before = before.or(Some(newest + 1));
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn others_before(&self, place: Place<'_>, before: Option<u64>) -> Option<u64> {
        let neighbours = self.queue.neighbours.get()?;
        neighbours.before(place, before).unwrap_or_else(|error| {
            log::warn!("what other mounts still have to store is not known: {error}");
            None
        })
    }

    /// What an earlier mount has left here and could not be taken up is older than what comes now.
    fn overtake_stranded(&self, place: Place<'_>) {
        let mut stranded = self.queue.stranded.lock();
        let Some(journal) = self.queue.journal.get().filter(|_| !stranded.is_empty()) else {
            return;
        };
        stranded.retain(|path, numbers| {
            let is_in = place.contains(path);
            for &id in numbers.iter().filter(|_| is_in) {
                journal.note(&Record::Overtaken(id));
            }
            !is_in
        });
    }
}
