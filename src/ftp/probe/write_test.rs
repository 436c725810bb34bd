//! Writing, tried in a directory of our own.
//!
//! The one idea: a [`Scratch`] knows every name that it ever made, and [`Scratch::remove`] takes them away
//! again, over any connection: also a fresh one, after the one that it was made by has gone.
//!
//! Invariant: no command here changes anything outside that directory.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::ftp::profile::Support;
use crate::ftp::profile::partial_store as parts;
use crate::ftp::profile::{Part, TimeSetter};
use crate::ftp::protocol::command::Command;
use crate::ftp::transfer::upload::upload;
use crate::remote::{
    Deadline, Done, Error, Reading, Remote, RemotePath, Result, Step, Version, name_aside,
    perform_one,
};

use crate::ftp::probe::{Answer, Inspection, Restart, caller, said};

/// A directory on the server that is ours.
#[derive(Clone, Debug)]
pub struct Scratch {
    directory: RemotePath,
    files: Vec<RemotePath>,
}

/// What writing shows.
#[derive(Clone, Debug)]
pub struct Writing {
    /// A file can be stored, and has the bytes that it should have.
    pub store: Answer,
    /// Whether reading begins where it is told to.
    pub reading: Option<Restart>,
    /// What `REST` before `STOR` does.
    pub beginning: Beginning,
    /// `APPE` appends.
    pub append: Answer,
    /// A rename replaces the file that bears the new name.
    pub replace: Answer,
    /// Permission bits can be set.
    pub chmod: Answer,
    /// Times of files can be set, and by what.
    pub times: Answer<&'static str>,
    /// Times of directories can be set.
    pub directory_times: Answer,
}

/// What `REST n` before `STOR` does to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The bytes go to their place, and what lies behind them stays.
    Keeps,
    /// The bytes go to their place, and the file ends behind them.
    Cuts,
    /// They are appended at the end.
    Appends,
    /// They become the whole file.
    Replaces,
    /// They are somewhere else.
    Wrong,
    /// The server refuses; its words.
    Refused(String),
}

/// Bytes of the file that is written: more than one packet.
const SIZE: usize = 8192;
/// Where it is written to again, and how many bytes.
const PATCH: std::ops::Range<usize> = 1000..1100;
/// A time that no new file has.
const SOME_TIME: i64 = 1_000_000_000;
/// Permission bits that no server gives by itself.
const SOME_MODE: u32 = 0o610;

impl Scratch {
    /// A name that nobody else uses, in the mounted directory. Nothing is made yet.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = name_aside("probe", number);
        let directory = RemotePath::root().join(name.as_bytes())?;
        Some(Self {
            files: ["a", "b"]
                .iter()
                .filter_map(|name| directory.join(name.as_bytes()))
                .collect(),
            directory,
        })
    }

    /// Where it is, below the mounted directory.
    pub fn shown(&self) -> String {
        self.directory.to_string()
    }

    /// Makes the directory.
    pub fn make(&self, inspection: &Inspection, deadline: &Deadline) -> Result<()> {
        let step = Step::MakeDirectory(&self.directory);
        perform_one(&inspection.client, step, &caller(deadline)).map(drop)
    }

    /// Removes all that was made; an error says what is left.
    pub fn remove(&self, inspection: &Inspection, deadline: &Deadline) -> Result<()> {
        let mut steps: Vec<_> = self.files.iter().map(Step::Remove).collect();
        steps.push(Step::RemoveDirectory(&self.directory));
        let mut results = inspection.client.perform(&steps, &caller(deadline));
        results.pop().unwrap_or(Err(Error::Closed)).map(drop)
    }

    /// Tries everything in it. An error is the end of the connection by ourselves.
    pub fn explore(&self, inspection: &Inspection, deadline: &Deadline) -> Result<Writing> {
        let [first, second] = &self.files[..] else {
            return Err(Error::Closed);
        };
        let bytes: Vec<u8> = (0..SIZE).map(|at| (at / 251) as u8 ^ at as u8).collect();
        let trying = Trying {
            inspection,
            deadline,
            bytes: &bytes,
        };
        let store = open(trying.store(first))?;
        // A file of now tells the zone of a listing that has no facts.
        open(trying.list(&self.directory).map(Ok))?.ok();
        Ok(Writing {
            store,
            reading: open(
                inspection
                    .reading(std::slice::from_ref(first), deadline)
                    .map(Ok),
            )?
            .unwrap_or_default(),
            beginning: open(trying.beginning(first).map(Ok))?.unwrap_or_else(Beginning::Refused),
            append: open(trying.append(first))?,
            replace: open(trying.replace(first, second))?,
            chmod: open(trying.chmod(second))?,
            times: open(trying.times(second))?,
            directory_times: open(trying.set_time(&self.directory))?,
        })
    }
}

/// What is tried is done by the server's refusal, not by our own end.
fn open<T>(result: Result<Answer<T>>) -> Result<Answer<T>> {
    match result {
        Err(Error::Closed) => Err(Error::Closed),
        Err(error) => Ok(Err(said(&error))),
        Ok(answer) => Ok(answer),
    }
}

struct Trying<'a> {
    inspection: &'a Inspection,
    deadline: &'a Deadline,
    bytes: &'a [u8],
}

impl Trying<'_> {
    fn store(&self, file: &RemotePath) -> Result<Answer> {
        self.put(Command::Stor(&self.absolute(file)?), self.bytes)?;
        let stored = self.content(file)?;
        Ok(match stored == self.bytes {
            true => Ok(()),
            false => Err(format!(
                "stored {} bytes and read back {} others",
                self.bytes.len(),
                stored.len()
            )),
        })
    }

    /// Also notes it for the updates of mounts.
    fn beginning(&self, file: &RemotePath) -> Result<Beginning> {
        let beginning = self.begins_at(file)?;
        let (at, keeps) = match &beginning {
            Beginning::Keeps => (true, Some(true)),
            Beginning::Cuts => (true, Some(false)),
            _ => (false, None),
        };
        let profile = self.inspection.client.pool().profile();
        profile.learn(|learned| {
            (learned.partial.rest_stor, learned.partial.rest_stor_keeps) =
                (Support::from(at), keeps.into())
        });
        Ok(beginning)
    }

    fn begins_at(&self, file: &RemotePath) -> Result<Beginning> {
        let path = self.absolute(file)?;
        let patch = vec![b'*'; PATCH.len()];
        let profile = self.inspection.client.pool().profile();
        let before = profile.ask(|learned| learned.partial.rest_retr);
        let stored = self.put_at(PATCH.start as u64, Command::Stor(&path), &patch);
        // A refusal here says nothing of reading.
        profile.learn(|learned| learned.partial.rest_retr = before);
        match stored {
            Err(error @ Error::Refused { .. }) => return Ok(Beginning::Refused(said(&error))),
            stored => stored?,
        }
        let now = self.content(file)?;
        let mut kept = self.bytes.to_vec();
        kept[PATCH].copy_from_slice(&patch);
        Ok(if now == kept {
            Beginning::Keeps
        } else if now == kept[..PATCH.end] {
            Beginning::Cuts
        } else if now == [self.bytes, &patch].concat() {
            Beginning::Appends
        } else if now == patch {
            Beginning::Replaces
        } else {
            Beginning::Wrong
        })
    }

    fn append(&self, file: &RemotePath) -> Result<Answer> {
        let path = self.absolute(file)?;
        self.put(Command::Stor(&path), self.bytes)?;
        let profile = self.inspection.client.pool().profile();
        if let Err(error) = self.put(Command::Appe(&path), b"more") {
            if parts::may_be_of_parts(&error) {
                // All of it was taken before.
                profile.learn(|learned| learned.lacks(Part::Append));
            }
            return Err(error);
        }
        let now = self.content(file)?;
        let appends = now == [self.bytes, b"more"].concat();
        profile.learn(|learned| {
            (learned.partial.appe, learned.partial.appe_keeps) = (Support::from(appends), appends)
        });
        Ok(match appends {
            true => Ok(()),
            false => Err(format!("the file then has {} bytes", now.len())),
        })
    }

    /// By the bare commands: a mount would help where the server does not replace.
    fn replace(&self, from: &RemotePath, to: &RemotePath) -> Result<Answer> {
        let paths = [self.absolute(from)?, self.absolute(to)?];
        self.put(Command::Stor(&paths[0]), self.bytes)?;
        self.put(Command::Stor(&paths[1]), b"old")?;
        let flight = [Command::Rnfr(&paths[0]), Command::Rnto(&paths[1])];
        let mut lease = self.inspection.lease(self.deadline)?;
        let replies = lease.control()?.flight(&flight, self.deadline)?;
        drop(lease);
        if let Some(refused) = replies
            .iter()
            .find(|reply| !reply.is_completion() && !reply.is_intermediate())
        {
            return Ok(Err(refused.to_string()));
        }
        Ok(match self.content(to)? == self.bytes {
            true => Ok(()),
            false => Err("it said yes and kept the old content".to_string()),
        })
    }

    fn chmod(&self, file: &RemotePath) -> Result<Answer> {
        self.step(Step::SetMode(file, SOME_MODE)).map(|_| Ok(()))
    }

    fn times(&self, file: &RemotePath) -> Result<Answer<&'static str>> {
        if let Err(why) = self.set_time(file)? {
            return Ok(Err(why));
        }
        let learned = self.inspection.client.pool().profile().get();
        let said = learned.attributes.time_setter.flatten();
        Ok(match self.step(Step::Version(file))? {
            Done::Version(Version {
                modified: Some(modified),
                ..
            }) if modified != SOME_TIME => Err("it said yes and kept the old time".to_string()),
            _ => Ok(match said {
                Some(TimeSetter::Mdtm) => "MDTM",
                Some(TimeSetter::SiteUtime | TimeSetter::SiteUtimeLong) => "SITE UTIME",
                _ => "MFMT",
            }),
        })
    }

    fn list(&self, directory: &RemotePath) -> Result<()> {
        let client = &self.inspection.client;
        client
            .list(directory, &caller(self.deadline), &mut |_| {})
            .map(drop)
    }

    fn set_time(&self, path: &RemotePath) -> Result<Answer> {
        self.step(Step::SetModified(path, SOME_TIME))
            .map(|_| Ok(()))
    }

    fn step(&self, step: Step<'_>) -> Result<Done> {
        perform_one(&self.inspection.client, step, &caller(self.deadline))
    }

    fn absolute(&self, path: &RemotePath) -> Result<Vec<u8>> {
        self.inspection.client.pool().place().absolute(path)
    }

    fn put(&self, command: Command<'_>, bytes: &[u8]) -> Result<()> {
        self.put_at(0, command, bytes)
    }

    fn put_at(&self, at: u64, command: Command<'_>, bytes: &[u8]) -> Result<()> {
        let lease = self.inspection.lease(self.deadline)?;
        let all = 0..bytes.len() as u64;
        upload(
            lease,
            (command, at),
            (&bytes, all),
            None,
            &AtomicBool::default(),
            self.deadline,
        )?;
        Ok(())
    }

    /// All bytes of a small file.
    fn content(&self, file: &RemotePath) -> Result<Vec<u8>> {
        let ask = caller(self.deadline);
        let mut source = self.inspection.client.read(file, &Reading::at(0), &ask)?;
        // One more than can be there.
        let mut bytes = vec![0; 2 * SIZE + 1];
        let mut filled = 0;
        while filled < bytes.len() {
            match source.read(&mut bytes[filled..], self.deadline)? {
                0 => break,
                length => filled += length,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}
