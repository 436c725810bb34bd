//! The FTP server as the file system sees it: [`Remote`] over the pool.
//!
//! The one idea: here an operation chooses its lease, its commands and what may be repeated; what
//! is safe to repeat is repeated once when the connection broke. Everything that differs between
//! servers is looked up in the profile.

pub(crate) mod after_store;
pub(crate) mod append;
pub(crate) mod chmod;
pub(crate) mod list;
pub(crate) mod mdtm_batch;
pub(crate) mod patch_probe;
pub(crate) mod recheck;
pub(crate) mod rename;
pub(crate) mod stat_by_list;
pub(crate) mod stat_flight;
pub(crate) mod stat_from_listing;
pub(crate) mod stat_list;
pub(crate) mod steps;
pub(crate) mod update;
pub(crate) mod views;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ftp::client::list::Lister;
use crate::ftp::client::patch_probe as rehearsal;
use crate::ftp::client::stat_by_list as glance;
use crate::ftp::client::stat_by_list::Outcome;
use crate::ftp::client::stat_from_listing as untold;
use crate::ftp::client::stat_list as together;
use crate::ftp::client::update::Update;
use crate::ftp::config::Endpoint;
use crate::ftp::pool::{Lease, Pool, Purpose};
use crate::ftp::profile::partial_store as parts;
use crate::ftp::profile::{Learned, Part, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::download::Download;
use crate::ftp::transfer::early_data::{EARLY_DATA_LIMIT, Early};
use crate::ftp::transfer::followup::UploadFollowup;
use crate::ftp::transfer::rest_check::Doubtful;
use crate::ftp::transfer::upload::{Store, Upload};
use crate::remote::{
    Ask, Change, Completeness, Deadline, Done, Entry, Error, Glance, Plan, ReadAt, Reading, Remote,
    RemotePath, Result, Room, Sink, Source, Step, Then, Traits, Updated, Urgency, View, Why,
};

/// An FTP server.
#[derive(Debug)]
pub struct Client {
    pool: Arc<Pool>,
    glanced: Mutex<Option<Glanced>>,
}

/// What `STAT` says of a directory: to be compared with its listing.
#[derive(Debug)]
struct Glanced {
    /// Absolute and in the server's bytes.
    directory: Vec<u8>,
    reply: Reply,
    at: Instant,
}

/// Steps in one flight.
const FLIGHT_STEPS: usize = 1000;
/// A listing that begins so soon shows what `STAT` showed: later the directory may have changed, and a server that lists
/// alike by both would be taken for one that does not, for good.
const SOON: Duration = Duration::from_secs(1);

impl Client {
    /// Connects and logs in.
    pub fn connect(endpoint: Endpoint, deadline: &Deadline) -> Result<Self> {
        Ok(Self {
            pool: Pool::connect(endpoint, deadline)?,
            glanced: Mutex::default(),
        })
    }

    /// The mounted directory: absolute, without a `/` at its end.
    pub fn root(&self) -> Vec<u8> {
        self.pool.place().shown()
    }

    /// The connections.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Begins to read a file, wherever the server begins then.
    pub fn begin(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Download> {
        let path = self.absolute(file)?;
        self.repeat(Purpose::Transfer, &[], ask, |lease, _| {
            Download::open(lease, &path, reading, ask.deadline)
        })
    }

    /// Bytes of a file, if the server tells.
    fn size(&self, file: &RemotePath, ask: &Ask<'_>) -> Result<Option<u64>> {
        match self.perform(&[Step::Version(file)], ask).pop() {
            Some(Ok(Done::Version(version))) => Ok(version.size),
            Some(Err(error)) if error.why() != Some(Why::Unsupported) => Err(error),
            _ => Ok(None),
        }
    }

    fn absolute(&self, path: &RemotePath) -> Result<Vec<u8>> {
        self.pool.place().absolute(path)
    }

    /// Does `work` on a lease, and once more on a fresh connection when the first one broke.
    /// `work` is told whether it is the second time. Before each time, an earlier change of one of `writes`, which are
    /// absolute paths, comes to rest.
    fn repeat<T>(
        &self,
        purpose: Purpose,
        writes: &[Vec<u8>],
        ask: &Ask<'_>,
        mut work: impl FnMut(Lease, bool) -> Result<T>,
    ) -> Result<T> {
        recheck::settle(&self.pool, writes, ask)?;
        let lease = self.pool.lease(purpose, false, ask)?;
        match work(lease, false) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => {
                if ask.deadline.remaining().is_none() {
                    return Err(error);
                }
                log::info!("{error}; trying again on a fresh connection");
                recheck::settle(&self.pool, writes, ask)?;
                work(self.pool.lease(purpose, true, ask)?, true)
            }
            result => result,
        }
    }

    /// Lists what can be listed in one flight.
    fn together(
        &self,
        directories: &[RemotePath],
        ask: &Ask<'_>,
        each: &mut dyn FnMut(usize, Entry),
    ) -> Result<Vec<Option<Completeness>>> {
        let paths: Result<Vec<_>> = directories.iter().map(|path| self.absolute(path)).collect();
        let paths = paths?;
        let mut lease = self.pool.lease(Purpose::Metadata, false, ask)?;
        let listed = together::list(&self.pool, &mut lease, &paths, ask.deadline, each);
        listed.inspect_err(|error| self.note_stat(error))
    }

    /// A server that has no answer to `STAT` is asked no more; where nothing came at all, which may have been the
    /// network's doing, just in this mount.
    fn note_stat(&self, error: &Error) {
        let profile = self.pool.profile();
        match error {
            Error::Misbehaved { .. } => {
                profile.learn(|learned| learned.listing.stat_lists = Support::No)
            }
            Error::TimedOut { .. } => {
                profile.learn(|learned| learned.this_mount.silent_stat = true)
            }
            _ => {}
        }
    }

    /// Lists one directory, and finds out whether it could be listed together with others.
    fn compared(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let path = self.absolute(directory)?;
        self.repeat(Purpose::Listing, &[], ask, |mut lease, again| {
            let mut names = BTreeSet::new();
            let completeness = self.list_over(&mut lease, &path, again, ask, &mut |entry| {
                names.extend(self.pool.place().encode(&entry.name));
                each(entry);
            })?;
            // Over the same connection: where there are few, another one would not be had, and nothing ever found out.
            let compared = together::compare(&self.pool, &mut lease, &path, &names, ask.deadline);
            if let Err(error) = &compared {
                log::debug!("{error}; the listing itself is good");
                self.note_stat(error);
            }
            Ok(completeness)
        })
    }

    /// Lists one directory over a lease; `again` is for the second time.
    fn list_over(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        again: bool,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let first_try = first_patience(lease, again, ask);
        let lister = Lister {
            pool: &self.pool,
            lease,
            directory,
            deadline: first_try.as_ref().unwrap_or(ask.deadline),
        };
        lister.list(each)
    }

    /// The absolute paths that are to be at rest before `steps`: those that are changed, and those whose version is asked
    /// for, since that tells what to send.
    fn settled_before(&self, steps: &[Step<'_>]) -> Vec<Vec<u8>> {
        let paths = steps.iter().flat_map(|step| match step {
            Step::Stat(_) => [None, None],
            Step::Version(path)
            | Step::Remove(path)
            | Step::RemoveDirectory(path)
            | Step::MakeDirectory(path)
            | Step::MakeLink { link: path, .. }
            | Step::SetMode(path, _)
            | Step::SetModified(path, _) => [Some(*path), None],
            Step::Rename { from, to } => [Some(*from), Some(*to)],
        });
        // A path that the server's charset lacks is refused later.
        let absolute = paths.flatten().map(|path| self.absolute(path));
        absolute.flatten().collect()
    }

    fn behind(&self, file: &RemotePath, then: Then) -> Option<UploadFollowup> {
        after_store::followup(self.pool.profile(), self.pool.place(), file, then)
    }

    fn steps(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Result<Vec<Result<Done>>> {
        let writes = self.settled_before(steps);
        self.repeat(Purpose::Metadata, &writes, ask, |mut lease, again| {
            let first_try = first_patience(&lease, again, ask);
            let deadline = first_try.as_ref().unwrap_or(ask.deadline);
            let pool = &self.pool;
            let (profile, place) = (pool.profile(), pool.place());
            steps::perform(lease.control()?, profile, place, steps, again, deadline)
        })
    }
}

impl Remote for Client {
    fn traits(&self) -> Traits {
        self.pool.profile().ask(|learned| Traits {
            stats: learned.stats(),
            seeks: learned.partial.rest_retr != Support::No,
            glances: glance::is_possible(learned),
            lists_together: together::is_possible(learned),
            goes_on: learned.partial.appe != Support::No
                || learned.partial.rest_stor == Support::Yes,
            sets_modes: learned.features.mff_mode || learned.attributes.chmod != Support::No,
            sets_times: learned.attributes.time_setter != Some(None),
        })
    }

    fn room(&self, urgency: Urgency) -> usize {
        self.pool.room(urgency)
    }

    fn perform(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Vec<Result<Done>> {
        let mut results = Vec::with_capacity(steps.len());
        for steps in steps.chunks(FLIGHT_STEPS) {
            match self.steps(steps, ask) {
                Ok(done) => results.extend(done),
                Err(error) => results.extend(steps.iter().map(|_| Err(error.clone()))),
            }
        }
        for (step, result) in steps.iter().zip(&mut results) {
            let Err(error) = result else {
                continue;
            };
            match step {
                Step::Version(file) if untold::says_nothing(error) => {
                    *result = untold::version(self, file, ask).map(Done::Version);
                }
                Step::Stat(path) if error.why() == Some(Why::Unsupported) => {
                    *result = untold::attributes(self, path, ask).map(Done::Attributes);
                }
                _ => {}
            }
        }
        results
    }

    fn glance(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<Option<Glance>> {
        if !self.pool.profile().ask(glance::is_possible) {
            return Ok(None);
        }
        let directory = self.absolute(&path.parent().unwrap_or_default())?;
        let name = glance::Name {
            directory: &directory,
            path: &self.absolute(path)?,
            name: &self.pool.place().encode(path.name())?,
        };
        let mut lease = self.pool.lease(Purpose::Metadata, false, ask)?;
        // A listing that has to tell instead must still have its chance, however good the connection is.
        let first_try = share(ask);
        Ok(
            match glance::glance(&self.pool, &mut lease, &name, &first_try)? {
                Outcome::Told(glance) => Some(glance),
                Outcome::Listing(reply) => {
                    *self.glanced.lock() = reply.map(|reply| Glanced {
                        directory,
                        reply,
                        at: Instant::now(),
                    });
                    None
                }
            },
        )
    }

    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let directory = &self.absolute(directory)?;
        let glanced = (self.glanced.lock())
            .take_if(|glanced| glanced.directory == *directory)
            .filter(|glanced| glanced.at.elapsed() < SOON);
        let mut names = BTreeSet::new();
        let completeness = self.repeat(Purpose::Listing, &[], ask, |mut lease, again| {
            self.list_over(&mut lease, directory, again, ask, &mut |entry| {
                if glanced.is_some() {
                    names.extend(self.pool.place().encode(&entry.name));
                }
                each(entry);
            })
        })?;
        if let Some(glanced) = glanced {
            together::judge(&self.pool, directory, &names, &glanced.reply);
        }
        Ok(completeness)
    }

    fn list_many(
        &self,
        directories: &[RemotePath],
        ask: &Ask<'_>,
        each: &mut dyn FnMut(usize, Entry),
    ) -> Vec<Result<Completeness>> {
        let mut listed = vec![None; directories.len()];
        if self.pool.profile().ask(together::is_possible) {
            match self.together(directories, ask, each) {
                Ok(together) => listed = together,
                Err(error) => log::info!("{error}; listing one by one"),
            }
        }
        let one_by_one = |(number, listed): (usize, Option<Completeness>)| match listed {
            Some(completeness) => Ok(completeness),
            None => self.compared(&directories[number], ask, &mut |entry| each(number, entry)),
        };
        listed.into_iter().enumerate().map(one_by_one).collect()
    }

    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>> {
        let directory = &self.absolute(&link.parent().unwrap_or_default())?;
        let name = self.pool.place().encode(link.name())?;
        let target = self.repeat(Purpose::Listing, &[], ask, |mut lease, _| {
            let (pool, lease) = (&self.pool, &mut lease);
            Lister {
                pool,
                lease,
                directory,
                deadline: ask.deadline,
            }
            .target(&name)
        })?;
        let tried = || format!("reading the link {link}");
        target.ok_or_else(|| {
            Error::refused(Why::NotFound, tried(), "the listing has no target of it")
        })
    }

    fn read(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Box<dyn Source>> {
        let is_known = |learned: &Learned| learned.knows_rest_at(reading.from);
        if reading.from > 0 && !self.pool.profile().ask(is_known) {
            let doubtful = Doubtful {
                file,
                profile: self.pool.profile(),
                begin: &|reading| self.begin(file, reading, ask),
                size: &|| self.size(file, ask),
                deadline: ask.deadline,
            };
            return doubtful.read(reading);
        }
        Ok(Box::new(self.begin(file, reading, ask)?))
    }

    fn write(
        &self,
        file: &RemotePath,
        behind: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        ask: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)> {
        self.check_name(file)?;
        let path = self.absolute(file)?;
        let few = usize::try_from(EARLY_DATA_LIMIT)
            .unwrap_or(0)
            .min(first.len());
        // A file that is begun anew can be begun twice; what is appended must not be.
        let early = behind.is_none().then_some(Early {
            bytes: &first[..few],
            is_all: false,
        });
        let writes = [path.clone()];
        let begin = |command, from| {
            self.repeat(Purpose::Transfer, &writes, ask, |lease, _| {
                let store = Store {
                    command,
                    from,
                    early,
                    taken: None,
                };
                begins();
                let upload = Upload::open(lease, store, self.behind(file, then), ask.deadline)?;
                let sent = upload.early();
                Ok((Box::new(upload) as Box<dyn Sink>, sent))
            })
        };
        let Some(from) = behind else {
            return begin(Command::Stor(&path), 0);
        };
        let profile = self.pool.profile();
        let appends = match from {
            // Nothing is there that could be lost.
            0 => profile.ask(|learned| learned.partial.appe) != Support::No,
            _ => rehearsal::appends(&self.pool, file, ask)?,
        };
        if appends {
            match begin(Command::Appe(&path), 0) {
                Ok(begun) => {
                    parts::took(profile, Part::Append);
                    return Ok(begun);
                }
                Err(error) => match parts::refused(profile, Part::Append, &path, error) {
                    error if error.why() == Some(Why::Unsupported) => {}
                    error => return Err(error),
                },
            }
        }
        // Where it was seen to put a part into its place, it does so behind the end, too.
        match profile.ask(|learned| learned.partial.rest_stor) {
            Support::Yes if from > 0 => begin(Command::Stor(&path), from)
                .map_err(|error| parts::refused(profile, Part::InPlace, &path, error)),
            _ => Err(Error::refused(
                Why::Unsupported,
                Command::Appe(&path).to_string(),
                "the server does not append",
            )),
        }
    }

    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>> {
        self.check_name(file)?;
        let path = self.absolute(file)?;
        let made = AtomicBool::new(false);
        let writes = [path.clone()];
        self.repeat(Purpose::Transfer, &writes, ask, |lease, _| {
            // What is there already must not be changed by what flies behind.
            let behind = self.behind(file, Then::default());
            begins();
            let upload = Upload::create(lease, &path, behind, &made, ask.deadline)?;
            Ok(Box::new(upload) as Box<dyn Sink>)
        })
    }

    fn check_name(&self, path: &RemotePath) -> Result<()> {
        // Its charset may lack it.
        self.absolute(path)?;
        let refusal = |learned: &_| steps::refuse_changed(learned, path);
        self.pool.profile().ask(refusal).map_or(Ok(()), Err)
    }

    fn plan(&self, change: &Change) -> Plan {
        update::plan(&self.pool.profile().get(), change)
    }

    fn rehearse(&self, beside: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        rehearsal::rehearse(&self.pool, &self.absolute(beside)?, ask)
    }

    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated> {
        let steps = &|steps: &[Step<'_>]| self.perform(steps, ask);
        let update = Update {
            pool: &self.pool,
            file,
            change,
            bytes,
            ask,
            steps,
        };
        update.run(plan)
    }

    fn space(&self, directory: &RemotePath, ask: &Ask<'_>) -> Result<Option<Room>> {
        let path = self.absolute(directory)?;
        self.repeat(Purpose::Metadata, &[], ask, |mut lease, _| {
            views::space(lease.control()?, self.pool.profile(), &path, ask.deadline)
        })
    }

    fn describe(&self, path: &RemotePath, view: View, ask: &Ask<'_>) -> Result<Option<Vec<u8>>> {
        let absolute = self.absolute(path)?;
        let directory = &self.absolute(&path.parent().unwrap_or_default())?;
        let name = self.pool.place().encode(path.name())?;
        let profile = self.pool.profile();
        self.repeat(Purpose::Metadata, &[], ask, |mut lease, _| match view {
            View::Facts => steps::facts(lease.control()?, profile, &absolute, ask.deadline),
            View::Hash => views::hash(lease.control()?, profile, &absolute, ask.deadline),
            View::Raw => {
                let (pool, lease) = (&self.pool, &mut lease);
                Lister {
                    pool,
                    lease,
                    directory,
                    deadline: ask.deadline,
                }
                .raw(&name)
            }
        })
    }

    fn close(&self) {
        self.pool.close();
    }
}

/// A shorter deadline for the first try on a connection that had been idle: it may be dead without
/// a word, and a fresh one must still have its chance.
fn first_patience(lease: &Lease, again: bool, ask: &Ask<'_>) -> Option<Deadline> {
    (lease.was_idle() && !again).then(|| share(ask))
}

/// A deadline for what something else can be tried after.
fn share(ask: &Ask<'_>) -> Deadline {
    const SHARE: u32 = 3;
    let left = ask.deadline.remaining().unwrap_or(Duration::ZERO);
    Deadline::after(left / SHARE)
}
