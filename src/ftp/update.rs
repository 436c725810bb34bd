//! Updates: which commands bring a changed file to the server, and whether they did.
//!
//! The one idea: an update is tried by what is least to send, and is done when the server's own word
//! about the file's size fits.

use std::sync::Arc;

use crate::ftp::command::Command;
use crate::ftp::pool::{Lease, Pool, Purpose};
use crate::ftp::profile::Learned;
use crate::ftp::steps;
use crate::ftp::upload;
use crate::remote::{
    Ask, Change, Done, Error, Plan, ReadAt, RemotePath, Result, Step, Updated, Version, Why,
};

/// The plan by which `change` would be brought about on a server of which this was learned.
pub fn plan(learned: &Learned, change: &Change) -> Plan {
    match change.base.and_then(|base| base.size) {
        Some(base)
            if base > 0
                && change.kept == base
                && change.first_dirty >= base
                && learned.appe != Some(false) =>
        {
            Plan::Append(base)
        }
        _ => Plan::Whole,
    }
}

/// Steps that are taken on whatever connection is free.
type Steps<'a> = &'a dyn Fn(&[Step<'_>]) -> Vec<Result<Done>>;

/// One update of one file.
pub struct Update<'a> {
    /// The connections.
    pub pool: &'a Arc<Pool>,
    /// The file.
    pub file: &'a RemotePath,
    /// What became of it.
    pub change: &'a Change,
    /// Its bytes.
    pub bytes: &'a dyn ReadAt,
    /// Who waits.
    pub ask: &'a Ask<'a>,
    /// Takes steps.
    pub steps: Steps<'a>,
}

impl Update<'_> {
    /// Brings the change about.
    pub fn run(&self, plan: Plan) -> Result<Updated> {
        let (file, change) = (self.file, self.change);
        let profile = self.pool.profile();
        if let Some(refusal) = profile.ask(|learned| steps::refuse_changed(learned, file)) {
            return Err(refusal);
        }
        match plan {
            Plan::Append(base) => self.append(base)?,
            Plan::Whole => self.store()?,
        }
        let mut steps = Vec::new();
        let chmod = profile.ask(|learned| learned.chmod);
        let mode = change.mode.filter(|_| chmod != Some(false));
        steps.extend(mode.map(|mode| Step::SetMode(file, mode)));
        steps.extend(change.modified.map(|time| Step::SetModified(file, time)));
        steps.push(Step::Version(file));
        let mut results = (self.steps)(&steps);
        let version = match results.pop() {
            Some(Ok(Done::Version(version))) => version,
            Some(Err(error)) => return Err(error),
            _ => Version::default(),
        };
        check_size(file, change, plan, version)?;
        let mut results = results.into_iter().map(|result| result.map(|_| ()));
        let mode = mode.and_then(|_| results.next());
        let modified = change.modified.and_then(|_| results.next());
        Ok(Updated {
            version,
            mode,
            modified,
        })
    }

    /// Whether the bytes of an append that broke off are on the server: all, none, or some.
    fn appended(&self, base: u64) -> Option<bool> {
        let version = (self.steps)(&[Step::Version(self.file)]).pop()?.ok()?;
        match version {
            Done::Version(Version {
                size: Some(size), ..
            }) if size == self.change.size => Some(true),
            Done::Version(Version {
                size: Some(size), ..
            }) if size == base => Some(false),
            _ => None,
        }
    }

    fn append(&self, base: u64) -> Result<()> {
        let path = self.pool.place().absolute(self.file)?;
        let once = |fresh| self.send(fresh, Command::Appe(&path), base);
        let result = match once(false) {
            Err(error @ Error::Lost { .. }) => match self.appended(base) {
                Some(true) => Ok(()),
                Some(false) => once(true),
                None => Err(error),
            },
            result => result,
        };
        let known = !matches!(
            result,
            Err(Error::Refused {
                why: Why::Unsupported,
                ..
            })
        );
        self.pool
            .profile()
            .learn(|learned| learned.appe = Some(known));
        result
    }

    /// What is stored whole can be stored again, where the first connection broke.
    fn store(&self) -> Result<()> {
        let path = self.pool.place().absolute(self.file)?;
        match self.send(false, Command::Stor(&path), 0) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. }))
                if self.ask.deadline.remaining().is_some() =>
            {
                log::info!("{error}; trying again on a fresh connection");
                self.send(true, Command::Stor(&path), 0)
            }
            result => result,
        }
    }

    fn send(&self, fresh: bool, command: Command<'_>, from: u64) -> Result<()> {
        let mut lease: Lease = self.pool.lease(Purpose::Transfer, fresh, self.ask)?;
        let size = self.change.size;
        upload::upload(
            &mut lease,
            command,
            self.bytes,
            from,
            size,
            self.ask.deadline,
        )
    }
}

/// After an append others may have appended too; otherwise the size must be what was sent.
fn check_size(file: &RemotePath, change: &Change, plan: Plan, version: Version) -> Result<()> {
    let fits = |size: u64| match plan {
        Plan::Append(_) => size >= change.size,
        Plan::Whole => size == change.size,
    };
    match version.size {
        Some(size) if !fits(size) => Err(Error::misbehaved(
            format!("storing {file}"),
            format!("it confirmed {} bytes and now has {size}", change.size),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_of_another_size_is_no_success() {
        let file = RemotePath::root();
        let change = Change {
            size: 5,
            ..Change::default()
        };
        let size = |size| Version {
            size: Some(size),
            modified: None,
        };
        assert!(check_size(&file, &change, Plan::Whole, size(5)).is_ok());
        assert!(check_size(&file, &change, Plan::Whole, size(6)).is_err());
        assert!(check_size(&file, &change, Plan::Append(2), size(6)).is_ok());
        assert!(check_size(&file, &change, Plan::Append(2), size(4)).is_err());
        assert!(check_size(&file, &change, Plan::Whole, Version::default()).is_ok());
    }
}
