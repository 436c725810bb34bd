//! Prepares what follows an upload in the same write: the steps that set mode and time of the stored file, and the
//! question for its version.
//!
//! `transfer` sends these commands and takes their replies; what they are and what their replies mean is known here.

use crate::ftp::client::set_attributes;
use crate::ftp::client::step_flight::Prepared;
use crate::ftp::control::Control;
use crate::ftp::pool::Pool;
use crate::ftp::profile::{Learned, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::RemoteRoot;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::followup::{StoredSteps, UploadFollowup};
use crate::remote::{Deadline, RemotePath, Result, Then, Updated};

/// The commands that may follow an upload to `file`; `None` where none may.
pub fn followup(pool: &Pool, file: &RemotePath, then: Then) -> Option<UploadFollowup> {
    if pool.endpoint().manner.trusts_stores {
        return None;
    }
    let (profile, root) = (pool.profile(), pool.root());
    let path = root.absolute(file).ok()?;
    // SITE CHMOD takes more than a command there.
    if set_attributes::is_folded(&path) {
        return None;
    }
    UploadFollowup::of(profile, path, |learned| {
        let steps = Steps::of(learned, root, file, then);
        steps.map(|steps| Box::new(steps) as Box<dyn StoredSteps>)
    })
}

/// The steps on one stored file.
#[derive(Debug)]
struct Steps {
    file: RemotePath,
    then: Then,
    prepared: Prepared,
}

impl Steps {
    fn of(learned: Learned, place: &RemoteRoot, file: &RemotePath, then: Then) -> Option<Self> {
        let prepared = Prepared::of(place, learned, &then.steps(file)).ok()?;
        Some(Self {
            file: file.clone(),
            then,
            prepared,
        })
    }
}

impl StoredSteps for Steps {
    fn commands(&self) -> Vec<Command<'_>> {
        self.prepared.commands(&self.then.steps(&self.file))
    }

    fn outcome(
        &self,
        control: &mut Control,
        profile: &Profile,
        replies: Vec<Reply>,
        deadline: &Deadline,
    ) -> Result<Updated> {
        let steps = self.then.steps(&self.file);
        let results = self
            .prepared
            .outcomes(&steps, control, profile, replies, false, deadline)?;
        self.then.updated(results)
    }
}
