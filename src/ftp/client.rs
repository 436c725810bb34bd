//! Implements [`Remote`] for an FTP server, over the connection pool.
//!
//! Each operation chooses its lease, its commands, and which of them may be repeated: what is safe to repeat is repeated once
//! on a new connection when the first one broke. Differences between servers are looked up in the profile.
//!
//! * `list`: lists one directory by `MLSD` or `LIST`
//! * `mdtm_batch`: asks for exact times by pipelined `MDTM` where a listing rounds them
//! * `stat_list`: lists many directories in one flight, by `STAT`
//! * `stat_by_list`: asks for one name without `MLST`, by `STAT` of its directory or a listing
//! * `step_flight`: performs a list of `Step`s as one flight
//! * `update`: plans and stores a change (append, patch, whole), and checks the result
//! * `patch_probe`: probes `APPE`, and `REST` before `STOR`, on a temporary file
//! * `after_store`: prepares the commands that are pipelined after an upload
//! * `confirm`: asks for the version of a stored file until the server shows it
//! * `rename`: renames as rename(2) does, also where `RNTO` does not replace
//! * `retry`: repeats what failed, on a new connection, by a name, or after a pause
//! * `set_attributes`: sets permission bits and times, and finds the paths for which `SITE CHMOD` is unsafe
//! * `space`: asks for the free space
//! * `describe`: asks for the facts of a name and for checksums, in the server's own words

pub(crate) mod after_store;
pub(crate) mod confirm;
pub(crate) mod describe;
pub(crate) mod list;
pub(crate) mod mdtm_batch;
pub(crate) mod patch_probe;
pub(crate) mod rename;
pub(crate) mod retry;
pub(crate) mod set_attributes;
pub(crate) mod space;
pub(crate) mod stat_by_list;
pub(crate) mod stat_list;
pub(crate) mod step_flight;
pub(crate) mod update;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ftp::client::confirm::Unseen;
use crate::ftp::client::list::Lister;
use crate::ftp::client::patch_probe::odd_names;
use crate::ftp::client::patch_probe::odd_names::NameTrials;
use crate::ftp::client::retry::{NameTries, changes_name, made_name};
use crate::ftp::client::stat_by_list::Outcome;
use crate::ftp::client::update::Update;
use crate::ftp::config::Endpoint;
use crate::ftp::pool::{Lease, Pool, Purpose};
use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::partial_store;
use crate::ftp::profile::{Learned, Part, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::download::Download;
use crate::ftp::transfer::early_data::{EARLY_DATA_LIMIT, Early};
use crate::ftp::transfer::followup::UploadFollowup;
use crate::ftp::transfer::upload::{Lesson, Store, Upload};
use crate::remote::{
    Ask, Change, Completeness, Deadline, Done, Entry, Error, NameStatus, Plan, ReadAt, Reading,
    Remote, RemotePath, Result, Room, Sink, Source, Step, Then, Traits, Updated, Urgency, View,
    Why,
};

/// An FTP server.
#[derive(Debug)]
pub struct Client {
    pool: Arc<Pool>,
    stat_listing: Mutex<Option<StatListing>>,
    unseen: Unseen,
    name_tries: NameTries,
    name_trials: NameTrials,
}

/// The reply to `STAT` of a directory, to be compared with its next listing.
#[derive(Debug)]
struct StatListing {
    /// The absolute path in the server's bytes.
    directory: Vec<u8>,
    reply: Reply,
    at: Instant,
}

/// The share of the deadline that a command gets of which it is not known that it works: half, since a slow server needs time,
/// and so does the command that replaces it.
const UNTESTED_SHARE: u32 = 2;

/// What earlier tries of an operation have shown.
#[derive(Debug, Default)]
struct Tries {
    /// `MLSD` was not answered.
    mlsd_is_silent: bool,
}

/// The most steps in one flight.
const FLIGHT_STEPS: usize = 1000;
/// Time within which a listing is compared with an earlier `STAT`. Later the directory may have changed, and a server that
/// lists alike by both would be remembered as one that does not.
const STAT_COMPARE_WINDOW: Duration = Duration::from_secs(1);

impl Client {
    /// Connects and logs in.
    pub fn connect(endpoint: Endpoint, deadline: &Deadline) -> Result<Self> {
        Ok(Self {
            pool: Pool::connect(endpoint, deadline)?,
            stat_listing: Mutex::default(),
            unseen: Unseen::default(),
            name_tries: NameTries::default(),
            name_trials: NameTrials::default(),
        })
    }

    /// The mounted directory: absolute, without a trailing `/`.
    pub fn root(&self) -> Vec<u8> {
        self.pool.root().shown()
    }

    /// The connections.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Starts to read a file, without checking that the server starts at the offset.
    pub fn begin(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Download> {
        let path = self.absolute(file)?;
        self.repeat(Purpose::Transfer, &[], ask, |lease, _| {
            Download::open(lease, &path, reading, ask.deadline)
        })
    }

    /// The size of a file in bytes, if the server reports it.
    fn size(&self, file: &RemotePath, ask: &Ask<'_>) -> Result<Option<u64>> {
        match self.perform(&[Step::Version(file)], ask).pop() {
            Some(Ok(Done::Version(version))) => Ok(version.size),
            Some(Err(error)) if error.why() != Some(Why::Unsupported) => Err(error),
            _ => Ok(None),
        }
    }

    fn absolute(&self, path: &RemotePath) -> Result<Vec<u8>> {
        self.pool.root().absolute(path)
    }

    /// Lists those directories that can be listed in one flight.
    fn list_by_stat(
        &self,
        directories: &[RemotePath],
        ask: &Ask<'_>,
        each: &mut dyn FnMut(usize, Entry),
    ) -> Result<Vec<Option<Completeness>>> {
        let paths: Result<Vec<_>> = directories.iter().map(|path| self.absolute(path)).collect();
        let paths = paths?;
        let mut lease = self.pool.lease(Purpose::Metadata, false, ask)?;
        let listed = stat_list::list(&self.pool, &mut lease, &paths, ask.deadline, each);
        self.report_failure(listed, ask).inspect_err(|error| {
            self.note_stat(paths.first().map_or(&b"/"[..], Vec::as_slice), error)
        })
    }

    /// Remembers a server that does not answer `STAT` properly; only for this mount where no reply came at all, since that may
    /// have been the network.
    fn note_stat(&self, directory: &[u8], error: &Error) {
        let profile = self.pool.profile();
        match error {
            Error::Misbehaved { .. } => profile.note_useless(Capability::StatLists, directory),
            Error::TimedOut { .. } => {
                profile.learn(|learned| learned.this_mount.silent_stat = true)
            }
            _ => {}
        }
    }

    /// Lists one directory, and learns whether it could have been listed in one flight with others.
    fn list_and_compare(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let path = self.absolute(directory)?;
        let mut tries = Tries::default();
        self.repeat(Purpose::Listing, &[], ask, |mut lease, again| {
            let mut names = BTreeSet::new();
            let completeness =
                self.list_over(&mut lease, &path, (again, &mut tries), ask, &mut |entry| {
                    names.extend(self.pool.root().encode(&entry.name));
                    each(entry);
                })?;
            // On the same connection: with a limit of one or two, no second one would be free, and the server would never be
            // compared.
            let compared = stat_list::compare(&self.pool, &mut lease, &path, &names, ask.deadline);
            if let Err(error) = &compared {
                log::debug!("list: comparison with STAT failed: {error}; the listing is used");
                self.note_stat(&path, error);
            }
            Ok(completeness)
        })
    }

    /// Lists one directory over a lease; `again` marks a retry. Where `MLSD` was not answered, the retry sends `LIST`, and
    /// its success shows that the network is not to blame.
    fn list_over(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        (again, tries): (bool, &mut Tries),
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let is_untested = self
            .pool
            .profile()
            .ask(|learned| learned.features.mlst() && learned.listing.mlsd.is_unknown());
        let first_try = (is_untested && !again).then(|| share_of(ask, UNTESTED_SHARE));
        let lister = Lister {
            pool: &self.pool,
            lease,
            directory,
            deadline: first_try.as_ref().unwrap_or(ask.deadline),
            without_facts: tries.mlsd_is_silent,
        };
        let listed = lister.list(each);
        match &listed {
            Err(Error::TimedOut { tried }) if *tried == Command::Mlsd.to_string() => {
                tries.mlsd_is_silent = true;
            }
            Ok(_) if tries.mlsd_is_silent => {
                log::info!("list: MLSD is not answered; using LIST");
                self.pool.profile().note_silence(Capability::Mlsd);
            }
            _ => {}
        }
        listed
    }

    /// Forgets what was learned of the server, here and for later mounts.
    pub fn forget_server(&self) {
        self.unseen.forget_all();
        self.name_tries.forget();
        self.name_trials.forget();
        self.pool.forget_server();
    }

    /// The absolute paths that must be at rest before `steps`: those that the steps change, and those whose version they ask
    /// for, since the version decides what to send.
    fn paths_to_recheck(&self, steps: &[Step<'_>], urgency: Urgency) -> Vec<Vec<u8>> {
        let paths = steps.iter().flat_map(|step| match step {
            Step::Stat(_) => [None, None],
            // An upload relies on the version; a reader must not wait for a path to come to rest.
            Step::Version(_) if urgency != Urgency::Flush => [None, None],
            Step::Version(path)
            | Step::Remove(path)
            | Step::RemoveDirectory(path)
            | Step::MakeDirectory(path)
            | Step::MakeLink { link: path, .. }
            | Step::SetMode(path, _)
            | Step::SetModified(path, _) => [Some(*path), None],
            Step::Rename { from, to } => [Some(*from), Some(*to)],
        });
        // A path that the server's charset cannot express is refused later.
        let absolute = paths.flatten().map(|path| self.absolute(path));
        absolute.flatten().collect()
    }

    /// The commands that follow the upload of `file` in the same write.
    fn upload_followup(&self, file: &RemotePath, then: Then) -> Option<UploadFollowup> {
        after_store::followup(&self.pool, file, then)
    }

    /// Checks the name of a file that is to be stored.
    fn check_stored(&self, file: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        self.check_name(file)?;
        odd_names::check(&self.pool, &self.name_trials, file, ask)
    }

    fn steps(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Result<Vec<Result<Done>>> {
        for name in steps.iter().filter_map(made_name) {
            odd_names::check(&self.pool, &self.name_trials, name, ask)?;
        }
        let writes = self.paths_to_recheck(steps, ask.urgency);
        self.repeat(Purpose::Metadata, &writes, ask, |mut lease, again| {
            let pool = &self.pool;
            let (profile, root) = (pool.profile(), pool.root());
            step_flight::perform(lease.control()?, profile, root, steps, again, ask.deadline)
        })
    }
}

impl Remote for Client {
    fn traits(&self) -> Traits {
        self.pool.profile().ask(|learned| Traits {
            stats: learned.stats(),
            seeks: learned.partial.rest_retr != Support::No,
            stats_without_mlst: stat_by_list::is_possible(learned),
            lists_together: stat_list::is_possible(learned),
            hides_directories: learned.listing.hides_directories && !learned.stats(),
            appends: learned.partial.appe != Support::No
                || learned.partial.rest_stor == Support::Yes,
            makes_holes: learned.makes_holes(),
            sets_modes: (learned.features.mff_mode || learned.attributes.chmod != Support::No)
                && !Capability::Chmod.is_doubted(learned),
            sets_times: learned.attributes.time_setter != Some(None),
        })
    }

    fn room(&self, urgency: Urgency) -> usize {
        self.pool.room(urgency)
    }

    fn is_away(&self) -> bool {
        self.pool.is_away()
    }

    fn waits_out(&self, error: &Error) -> bool {
        let waits = match error {
            Error::TimedOut { .. } => true,
            Error::Lost { .. } => self.pool.is_away(),
            _ => false,
        };
        waits && self.pool.is_hard()
    }

    fn soften(&self) {
        self.pool.soften();
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
            self.repeat_refused(step, result, ask);
            if changes_name(step) && !self.is_taken(step, result, ask) {
                let mut first = Some(std::mem::replace(result, Err(Error::Closed)));
                let work = || match first.take() {
                    Some(first) => first,
                    None => (self.steps(std::slice::from_ref(step), ask)?)
                        .pop()
                        .unwrap_or(Err(Error::Closed)),
                };
                *result = self.by_path_or_name(|_| true, work);
            }
            let Err(error) = result else {
                continue;
            };
            match step {
                Step::Version(file) if stat_by_list::proves_nothing(error) => {
                    *result = stat_by_list::version(self, file, ask).map(Done::Version);
                }
                Step::Stat(path) if error.why() == Some(Why::Unsupported) || error.is_for_now() => {
                    *result = stat_by_list::attributes(self, path, ask).map(Done::Attributes);
                }
                _ => {}
            }
        }
        results
    }

    fn stat_without_mlst(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<Option<NameStatus>> {
        if !self.pool.profile().ask(stat_by_list::is_possible) {
            return Ok(None);
        }
        let directory = self.absolute(&path.parent().unwrap_or_default())?;
        let name = stat_by_list::Name {
            directory: &directory,
            path: &self.absolute(path)?,
            name: &self.pool.root().encode(path.name())?,
        };
        let mut lease = self.pool.lease(Purpose::Metadata, false, ask)?;
        // Time must remain for the listing that answers instead.
        let first_try = share(ask);
        Ok(
            match stat_by_list::stat(&self.pool, &mut lease, &name, &first_try)? {
                Outcome::Known(status) => Some(status),
                Outcome::Listing(reply) => {
                    *self.stat_listing.lock() = reply.map(|reply| StatListing {
                        directory,
                        reply,
                        at: Instant::now(),
                    });
                    None
                }
            },
        )
    }

    fn enters(&self, path: &RemotePath, ask: &Ask<'_>) -> Result<bool> {
        let absolute = self.absolute(path)?;
        let command = Command::Cwd(&absolute);
        let reply = self.repeat(Purpose::Metadata, &[], ask, |mut lease, _| {
            lease.control()?.command(command, ask.deadline)
        })?;
        match reply.code {
            200..=299 => {
                let profile = self.pool.profile();
                if !profile.ask(|learned| learned.listing.hides_directories) {
                    log::info!(
                        "list: CWD enters {path}, which no listing has; absent names are asked for by CWD"
                    );
                    profile.learn(|learned| learned.listing.hides_directories = true);
                }
                Ok(true)
            }
            500..=599 => Ok(false),
            _ => Err(reply.refusal(command)),
        }
    }

    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let directory = &self.absolute(directory)?;
        let stat_listing = (self.stat_listing.lock())
            .take_if(|stat| stat.directory == *directory)
            .filter(|stat| stat.at.elapsed() < STAT_COMPARE_WINDOW);
        let mut names = BTreeSet::new();
        let mut tries = Tries::default();
        let completeness = self.repeat(Purpose::Listing, &[], ask, |mut lease, again| {
            self.list_over(
                &mut lease,
                directory,
                (again, &mut tries),
                ask,
                &mut |entry| {
                    if stat_listing.is_some() {
                        names.extend(self.pool.root().encode(&entry.name));
                    }
                    each(entry);
                },
            )
        })?;
        if let Some(stat) = stat_listing {
            stat_list::judge(&self.pool, directory, &names, &stat.reply);
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
        if self.pool.profile().ask(stat_list::is_possible) {
            match self.list_by_stat(directories, ask, each) {
                Ok(by_stat) => listed = by_stat,
                // No connection was free, or the server is slow: one by one they would fare no better.
                Err(error @ Error::TimedOut { .. }) => return vec![Err(error); directories.len()],
                Err(error) => log::info!("list: {error}; listing directories one by one"),
            }
        }
        let one_by_one = |(number, listed): (usize, Option<Completeness>)| match listed {
            Some(completeness) => Ok(completeness),
            None => {
                self.list_and_compare(&directories[number], ask, &mut |entry| each(number, entry))
            }
        };
        listed.into_iter().enumerate().map(one_by_one).collect()
    }

    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>> {
        let directory = &self.absolute(&link.parent().unwrap_or_default())?;
        let name = self.pool.root().encode(link.name())?;
        let target = self.repeat(Purpose::Listing, &[], ask, |mut lease, _| {
            let (pool, lease) = (&self.pool, &mut lease);
            Lister {
                pool,
                lease,
                directory,
                deadline: ask.deadline,
                without_facts: false,
            }
            .target(&name)
        })?;
        let tried = || format!("reading link {link}");
        target.ok_or_else(|| {
            Error::refused(Why::NotFound, tried(), "the listing shows no target for it")
        })
    }

    fn read(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Box<dyn Source>> {
        let is_known = |learned: &Learned| learned.knows_rest_at(reading.from);
        if reading.from > 0 && !self.pool.profile().ask(is_known) {
            return self.doubt(file, ask, |doubtful| doubtful.read(reading));
        }
        Ok(Box::new(self.begin(file, reading, ask)?))
    }

    fn write(
        &self,
        file: &RemotePath,
        append_at: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        ask: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)> {
        self.check_stored(file, ask)?;
        let path = self.absolute(file)?;
        let length = usize::try_from(EARLY_DATA_LIMIT)
            .unwrap_or(0)
            .min(first.len());
        // A whole file can be sent twice; appended bytes must not be.
        let early = append_at.is_none().then_some(Early {
            bytes: &first[..length],
            is_all: false,
        });
        let writes = [path.clone()];
        let begin = |command, from, part: Option<Part>| {
            let open = |lease, _| {
                let store = Store {
                    command,
                    from,
                    early,
                    taken: None,
                };
                begins();
                Upload::open(lease, store, self.upload_followup(file, then), ask.deadline)
            };
            let open = || self.repeat(Purpose::Transfer, &writes, ask, open);
            let mut upload = self.by_path_or_name(Upload::is_agreed, open)?;
            upload.learn(Lesson::Path);
            if let Some(part) = part {
                upload.learn(Lesson::Part(part));
            }
            let sent = upload.early();
            Ok((Box::new(upload) as Box<dyn Sink>, sent))
        };
        let Some(from) = append_at else {
            return begin(Command::Stor(&path), 0, None);
        };
        let profile = self.pool.profile();
        let appends = match from {
            // The file is empty: nothing can be lost.
            0 => profile.ask(|learned| learned.partial.appe) != Support::No,
            _ => patch_probe::appends(&self.pool, file, ask)?,
        };
        if appends {
            match begin(Command::Appe(&path), 0, Some(Part::Append)) {
                Ok(begun) => return Ok(begun),
                Err(error) => match partial_store::refused(profile, Part::Append, &path, error) {
                    error if error.why() == Some(Why::Unsupported) => {}
                    error => return Err(error),
                },
            }
        }
        // A server that was seen to write at the offset in the middle of a file does so at its end, too.
        match profile.ask(|learned| learned.partial.rest_stor) {
            Support::Yes if from > 0 => {
                self.check_far_part(file, from, from, ask)?;
                begin(Command::Stor(&path), from, None)
                    .map_err(|error| partial_store::refused(profile, Part::InPlace, &path, error))
            }
            _ => Err(Error::refused(
                Why::Unsupported,
                Command::Appe(&path).to_string(),
                "the server does not append",
            )),
        }
    }

    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>> {
        self.check_stored(file, ask)?;
        let path = self.absolute(file)?;
        let made = AtomicBool::new(false);
        let writes = [path.clone()];
        let create = |lease, _| {
            // An existing file must not be changed by pipelined commands.
            let followup = self.upload_followup(file, Then::default());
            begins();
            Upload::create(lease, &path, followup, &made, ask.deadline)
        };
        let create = || self.repeat(Purpose::Transfer, &writes, ask, create);
        let mut upload = self.by_path_or_name(Upload::is_agreed, create)?;
        upload.learn(Lesson::Path);
        Ok(Box::new(upload))
    }

    fn check_name(&self, path: &RemotePath) -> Result<()> {
        // Refuses what the charset cannot express.
        self.absolute(path)?;
        odd_names::refuse_known(&self.pool, path)?;
        let refusal = |learned: &_| step_flight::refuse_changed(learned, path);
        self.pool.profile().ask(refusal).map_or(Ok(()), Err)
    }

    fn plan(&self, change: &Change) -> Plan {
        update::plan(&self.pool.profile().get(), change)
    }

    fn probe_patch(&self, temp: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        patch_probe::probe_patch(&self.pool, &self.absolute(temp)?, ask)
    }

    fn probe_holes(&self, temp: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        patch_probe::probe_holes(&self.pool, &self.absolute(temp)?, ask)
    }

    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated> {
        odd_names::check(&self.pool, &self.name_trials, file, ask)?;
        if let Plan::Patch { ranges, .. } | Plan::Sparse(ranges) = plan
            && let Some(last) = ranges.last()
        {
            let size = change.base.and_then(|base| base.size).unwrap_or(0);
            self.check_far_part(file, last.start, size, ask)?;
        }
        let steps = &|steps: &[Step<'_>]| self.perform(steps, ask);
        let update = Update {
            pool: &self.pool,
            file,
            change,
            bytes,
            ask,
            steps,
            confirm: &|then| self.confirm(file, then, ask),
        };
        self.by_path_or_name(|_| true, || self.report_failure(update.run(plan), ask))
    }

    fn confirm(&self, file: &RemotePath, then: Then, ask: &Ask<'_>) -> Result<Updated> {
        let perform = |steps: &[Step<'_>]| self.perform(steps, ask);
        if self.pool.endpoint().manner.trusts_stores {
            return Ok(confirm::set_only(file, then, &perform));
        }
        confirm::confirm(&self.unseen, file, then, &perform, ask.deadline)
    }

    fn space(&self, directory: &RemotePath, ask: &Ask<'_>) -> Result<Option<Room>> {
        let path = self.absolute(directory)?;
        self.repeat(Purpose::Metadata, &[], ask, |mut lease, _| {
            space::space(lease.control()?, self.pool.profile(), &path, ask.deadline)
        })
    }

    fn describe(&self, path: &RemotePath, view: View, ask: &Ask<'_>) -> Result<Option<Vec<u8>>> {
        let absolute = self.absolute(path)?;
        let directory = &self.absolute(&path.parent().unwrap_or_default())?;
        let name = self.pool.root().encode(path.name())?;
        let profile = self.pool.profile();
        self.repeat(Purpose::Metadata, &[], ask, |mut lease, _| match view {
            View::Facts => describe::facts(lease.control()?, profile, &absolute, ask.deadline),
            View::Hash => describe::hash(lease.control()?, profile, &absolute, ask.deadline),
            View::Raw => {
                let (pool, lease) = (&self.pool, &mut lease);
                Lister {
                    pool,
                    lease,
                    directory,
                    deadline: ask.deadline,
                    without_facts: false,
                }
                .raw(&name)
            }
        })
    }

    fn close(&self) {
        self.pool.close();
    }
}

/// A deadline for a try after which there is an alternative.
fn share(ask: &Ask<'_>) -> Deadline {
    share_of(ask, 3)
}

fn share_of(ask: &Ask<'_>, share: u32) -> Deadline {
    let left = ask.deadline.remaining().unwrap_or(Duration::ZERO);
    ask.deadline.within(left / share)
}
