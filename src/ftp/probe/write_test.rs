//! Tests what can be written to a server, in a temporary directory.
//!
//! A [`Scratch`] knows every name that it created. [`Scratch::remove`] removes them over any connection: also a new one,
//! after the connection that created them is gone.
//!
//! # Invariants
//! No command here changes anything outside that directory.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::ftp::client::patch_probe::{PatchOutcome, store, store_part};
use crate::ftp::profile::Support;
use crate::ftp::profile::partial_store;
use crate::ftp::profile::{Part, TimeSetter};
use crate::ftp::protocol::command::Command;
use crate::remote::{
    Deadline, Done, Error, Reading, Remote, RemotePath, Result, Step, Version, Why, make_temp_name,
    perform_one,
};

use crate::ftp::probe::{Answer, Inspection, Restart, caller, said};

/// A temporary directory on the server, or temporary files where none can be made.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// The path of the directory; the files begin with it.
    directory: RemotePath,
    files: Vec<RemotePath>,
    has_directory: bool,
}

/// Results of the write test.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Whether a file can be stored and read back unchanged.
    pub store: Answer,
    /// Results for the stored file; or why they are open: the server confirms files and does not show them.
    pub stored: Answer<StoredFile>,
}

/// Results about stored files.
#[derive(Clone, Debug)]
pub struct StoredFile {
    /// Whether `RETR` starts at the offset of `REST`.
    pub reading: Option<Restart>,
    /// What `REST` before `STOR` does.
    pub patch: PatchOutcome,
    /// Whether `STOR` replaces an existing file.
    pub overwrite: Answer,
    /// Whether `APPE` appends.
    pub append: Answer,
    /// Whether a rename replaces an existing file.
    pub replace: Answer,
    /// Whether permission bits can be set.
    pub chmod: Answer,
    /// Whether times of files can be set, and by which command.
    pub times: Answer<&'static str>,
    /// Whether times of directories can be set.
    pub directory_times: Answer,
}

/// The temporary files: each test makes one of its own, since servers may not store over a file.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Bytes of the file that is written: more than one packet.
const FILE_SIZE: usize = 8192;
/// The range that is overwritten.
const PATCH: std::ops::Range<usize> = 1000..1100;
/// A time that no new file has.
const TEST_TIME: i64 = 1_000_000_000;
/// Permission bits that no server gives a new file.
const TEST_MODE: u32 = 0o610;

impl Scratch {
    /// Chooses a temporary name in the mounted directory. Creates nothing yet.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = make_temp_name("probe", number);
        let directory = RemotePath::root().join(name.as_bytes())?;
        Some(Self {
            files: NAMES
                .iter()
                .filter_map(|name| directory.join(name.as_bytes()))
                .collect(),
            directory,
            has_directory: true,
        })
    }

    /// The same names without the directory.
    #[must_use]
    pub fn without_directory(&self) -> Self {
        let base = self.directory.name();
        let names = NAMES
            .iter()
            .map(|name| [base, b"-", name.as_bytes()].concat());
        Self {
            files: names
                .filter_map(|name| RemotePath::root().join(&name))
                .collect(),
            directory: self.directory.clone(),
            has_directory: false,
        }
    }

    /// The path, below the mounted directory.
    pub fn shown(&self) -> String {
        self.directory.to_string()
    }

    /// Creates the directory.
    pub fn make(&self, inspection: &Inspection, deadline: &Deadline) -> Result<()> {
        let step = Step::MakeDirectory(&self.directory);
        perform_one(&inspection.client, step, &caller(deadline)).map(drop)
    }

    /// Removes the directory and what is in it; an error names what is left.
    pub fn remove(&self, inspection: &Inspection, deadline: &Deadline) -> Result<()> {
        match self.remove_files(inspection, &self.files, deadline) {
            Err(error) if self.has_directory && matches!(error, Error::Refused { .. }) => {
                // A server that never replaces files stores them under other names.
                let mut others = Vec::new();
                let ask = caller(deadline);
                inspection
                    .client
                    .list(&self.directory, &ask, &mut |entry| {
                        others.extend(self.directory.join(&entry.name));
                    })?;
                self.remove_files(inspection, &others, deadline)
            }
            removed => removed,
        }
    }

    fn remove_files(
        &self,
        inspection: &Inspection,
        files: &[RemotePath],
        deadline: &Deadline,
    ) -> Result<()> {
        let mut steps: Vec<_> = files.iter().map(Step::Remove).collect();
        if self.has_directory {
            steps.push(Step::RemoveDirectory(&self.directory));
        }
        let mut results = inspection.client.perform(&steps, &caller(deadline));
        match self.has_directory {
            true => results.pop().unwrap_or(Err(Error::Closed)).map(drop),
            false => results.into_iter().try_for_each(|result| match result {
                Err(error) if error.why() != Some(Why::NotFound) => Err(error),
                _ => Ok(()),
            }),
        }
    }

    /// Runs all tests in it. The only error is [`Error::Closed`], when the client was closed meanwhile.
    pub fn explore(&self, inspection: &Inspection, deadline: &Deadline) -> Result<Writing> {
        let bytes: Vec<u8> = (0..FILE_SIZE)
            .map(|at| (at / 251) as u8 ^ at as u8)
            .collect();
        let test = WriteTest {
            inspection,
            deadline,
            bytes: &bytes,
        };
        let [file, ..] = &self.files[..] else {
            return Err(Error::Closed);
        };
        if let Err(why) = answer(test.put(file).map(Ok))? {
            return Ok(Writing {
                stored: Err("nothing was stored".to_string()),
                store: Err(why),
            });
        }
        let store = match test.content(file) {
            Ok(stored) => test.compare(&stored),
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) if matches!(error.why(), Some(Why::NotFound | Why::Denied)) => {
                return Ok(Writing {
                    store: Ok(()),
                    stored: Err(said(&error)),
                });
            }
            Err(error) => Err(said(&error)),
        };
        // A file created just now shows the time zone of a listing without facts.
        let listed = self.files.first().and_then(RemotePath::parent);
        answer(test.list(&listed.unwrap_or_default()).map(Ok))?.ok();
        Ok(Writing {
            store,
            stored: Ok(self.explore_stored(&test)?),
        })
    }

    fn explore_stored(&self, test: &WriteTest<'_>) -> Result<StoredFile> {
        let [first, second, from, to, last] = &self.files[..] else {
            return Err(Error::Closed);
        };
        let samples = std::slice::from_ref(first);
        let reading = test.inspection.reading(samples, test.deadline).map(Ok);
        let attributes = answer(test.put(last).map(Ok))?;
        let on_last = |result: &dyn Fn() -> Result<Answer>| match &attributes {
            Ok(()) => answer(result()),
            Err(why) => Ok(Err(why.clone())),
        };
        Ok(StoredFile {
            reading: answer(reading)?.unwrap_or_default(),
            patch: answer(test.patch(first).map(Ok))?.unwrap_or_else(PatchOutcome::Refused),
            overwrite: answer(test.overwrite(first))?,
            append: answer(test.append(second))?,
            replace: answer(test.replace(from, to))?,
            chmod: on_last(&|| test.chmod(last))?,
            times: match &attributes {
                Ok(()) => answer(test.times(last))?,
                Err(why) => Err(why.clone()),
            },
            directory_times: match self.has_directory {
                true => answer(test.set_time(&self.directory))?,
                false => Err("no directory can be made".to_string()),
            },
        })
    }
}

/// Turns an error into a failed answer, unless the client was closed.
fn answer<T>(result: Result<Answer<T>>) -> Result<Answer<T>> {
    match result {
        Err(Error::Closed) => Err(Error::Closed),
        Err(error) => Ok(Err(said(&error))),
        Ok(answer) => Ok(answer),
    }
}

struct WriteTest<'a> {
    inspection: &'a Inspection,
    deadline: &'a Deadline,
    bytes: &'a [u8],
}

impl WriteTest<'_> {
    /// Whether a file has the bytes that were stored.
    fn compare(&self, stored: &[u8]) -> Answer {
        match stored == self.bytes {
            true => Ok(()),
            false => Err(format!(
                "stored {} bytes and read back {} different ones",
                self.bytes.len(),
                stored.len()
            )),
        }
    }

    /// A mount replaces by renames what is not replaced so.
    fn overwrite(&self, file: &RemotePath) -> Result<Answer> {
        let path = self.absolute(file)?;
        let bytes = b"new content";
        self.send(Command::Stor(&path), bytes)?;
        Ok(match self.content(file)? == bytes {
            true => Ok(()),
            false => Err("confirmed, but the old content is still there".to_string()),
        })
    }

    /// Also remembers the outcome for the updates of mounts.
    fn patch(&self, file: &RemotePath) -> Result<PatchOutcome> {
        let path = self.absolute(file)?;
        let part = vec![b'*'; PATCH.len()];
        let profile = self.inspection.client.pool().profile();
        let lease = self.inspection.lease(self.deadline)?;
        let outcome = match store_part(
            lease,
            profile,
            &path,
            PATCH.start as u64,
            &part,
            self.deadline,
        ) {
            Err(error @ Error::Refused { .. }) => PatchOutcome::Refused(said(&error)),
            stored => {
                stored?;
                PatchOutcome::of(self.bytes, PATCH.start, &part, &self.content(file)?)
            }
        };
        outcome.learn(profile);
        Ok(outcome)
    }

    fn append(&self, file: &RemotePath) -> Result<Answer> {
        let path = self.absolute(file)?;
        self.put(file)?;
        let profile = self.inspection.client.pool().profile();
        if let Err(error) = self.send(Command::Appe(&path), b"more") {
            if partial_store::may_be_of_parts(&error) {
                // The whole file was accepted before.
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
            false => Err(format!("the file has {} bytes afterwards", now.len())),
        })
    }

    /// Uses the bare commands: a mount works around servers that do not replace.
    fn replace(&self, from: &RemotePath, to: &RemotePath) -> Result<Answer> {
        let paths = [self.absolute(from)?, self.absolute(to)?];
        self.put(from)?;
        self.send(Command::Stor(&paths[1]), b"old")?;
        let flight = [Command::Rnfr(&paths[0]), Command::Rnto(&paths[1])];
        let mut lease = self.inspection.lease(self.deadline)?;
        let replies = lease.control()?.flight(&flight, self.deadline)?;
        let mut failed = replies.iter();
        if let Some(refused) =
            failed.find(|reply| !reply.is_completion() && !reply.is_intermediate())
        {
            // The server may still wait for the new name on this connection.
            lease.control()?.give_up();
            return Ok(Err(refused.to_string()));
        }
        drop(lease);
        Ok(match self.content(to)? == self.bytes {
            true => Ok(()),
            false => Err("accepted, but the old content is still there".to_string()),
        })
    }

    fn chmod(&self, file: &RemotePath) -> Result<Answer> {
        self.step(Step::SetMode(file, TEST_MODE)).map(|_| Ok(()))
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
            }) if modified != TEST_TIME => {
                Err("accepted, but the old time is still there".to_string())
            }
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
        self.step(Step::SetModified(path, TEST_TIME))
            .map(|_| Ok(()))
    }

    fn step(&self, step: Step<'_>) -> Result<Done> {
        perform_one(&self.inspection.client, step, &caller(self.deadline))
    }

    fn absolute(&self, path: &RemotePath) -> Result<Vec<u8>> {
        self.inspection.client.pool().root().absolute(path)
    }

    /// Stores a file.
    fn put(&self, file: &RemotePath) -> Result<()> {
        self.send(Command::Stor(&self.absolute(file)?), self.bytes)
    }

    /// By its path, or by its name where the server takes no paths.
    fn send(&self, command: Command<'_>, bytes: &[u8]) -> Result<()> {
        let store = || {
            let lease = self.inspection.lease(self.deadline)?;
            store(lease, command, 0, bytes, self.deadline)
        };
        self.inspection.client.by_path_or_name(|()| true, store)
    }

    /// All bytes of a small file.
    fn content(&self, file: &RemotePath) -> Result<Vec<u8>> {
        let ask = caller(self.deadline);
        let mut source = self.inspection.client.read(file, &Reading::at(0), &ask)?;
        // More than the file can have.
        source.read_up_to(2 * FILE_SIZE + 1, self.deadline)
    }
}
