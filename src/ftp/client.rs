//! The FTP server as the file system sees it: [`Remote`] over the pool.
//!
//! The one idea: here an operation chooses its lease, its commands and what may be repeated; what
//! is safe to repeat is repeated once when the connection broke. Everything that differs between
//! servers is looked up in the profile.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ftp::command::Command;
use crate::ftp::listing::{Clock, Line, Reader};
use crate::ftp::pool::{Endpoint, Lease, Pool, Purpose};
use crate::ftp::steps::{self, absolute, time_val};
use crate::ftp::transfer::{self, Download};
use crate::remote::{
    Ask, Change, Completeness, Deadline, Done, Entry, Error, Kind, Modified, Plan, Precision,
    ReadAt, Remote, RemotePath, Result, Source, Step, Traits, Updated, Version, Why,
};

/// An FTP server.
#[derive(Debug)]
pub struct Client {
    pool: Arc<Pool>,
}

/// Entries of one directory that we keep: a server can't fill our memory with more.
const ENTRY_LIMIT: usize = 2_000_000;
/// Unreadable lines of a listing that are logged.
const LOGGED_LINES: usize = 1;
/// Steps in one flight.
const FLIGHT_STEPS: usize = 1000;

impl Client {
    /// Connects and logs in.
    pub fn connect(endpoint: Endpoint, deadline: &Deadline) -> Result<Self> {
        Ok(Self {
            pool: Pool::connect(endpoint, deadline)?,
        })
    }

    /// The mounted directory: absolute, without a `/` at its end.
    pub fn base(&self) -> &[u8] {
        self.pool.base()
    }

    fn absolute(&self, path: &RemotePath) -> Vec<u8> {
        absolute(self.pool.base(), path)
    }

    /// Does `work` on a lease, and once more on a fresh connection when the first one broke.
    /// `work` is told whether it is the second time.
    fn repeat<T>(
        &self,
        purpose: Purpose,
        ask: &Ask<'_>,
        mut work: impl FnMut(Lease, bool) -> Result<T>,
    ) -> Result<T> {
        let lease = self.pool.lease(purpose, false, ask)?;
        match work(lease, false) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. })) => {
                if ask.deadline.remaining().is_none() {
                    return Err(error);
                }
                log::info!("{error}; trying again on a fresh connection");
                work(self.pool.lease(purpose, true, ask)?, true)
            }
            result => result,
        }
    }

    fn steps(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Result<Vec<Result<Done>>> {
        self.repeat(Purpose::Metadata, ask, |mut lease, again| {
            let first_try = first_patience(&lease, again, ask);
            let deadline = first_try.as_ref().unwrap_or(ask.deadline);
            let pool = &self.pool;
            let (profile, base) = (pool.profile(), pool.base());
            steps::perform(lease.control()?, profile, base, steps, again, deadline)
        })
    }

    fn list_facts(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        deadline: &Deadline,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let mut taker = Taker::new(Reader::facts(), each);
        let all = transfer::listing(lease, directory, Command::Mlsd, deadline, &mut |line| {
            taker.line(line)
        })?;
        Ok(taker.finish(directory, all))
    }

    /// `LIST`, and behind it the exact times, before any time is shown.
    fn list_plain(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        deadline: &Deadline,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let (mut entries, completeness) = self.list_known(lease, directory, deadline)?;
        self.exact_times(lease, directory, &mut entries, deadline)?;
        entries.into_iter().for_each(each);
        Ok(completeness)
    }

    /// `LIST` in the form that shows hidden files here.
    fn list_known(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        deadline: &Deadline,
    ) -> Result<Listed> {
        match self.pool.profile().ask(|learned| learned.list_all) {
            Some(true) => Ok(self.list_with(lease, directory, "-a", deadline)?.0),
            Some(false) => Ok(self.list_with(lease, directory, "", deadline)?.0),
            None => self.list_both(lease, directory, deadline),
        }
    }

    /// Finds out whether `LIST -a` shows hidden files here, or is taken for a name (pyftpdlib and
    /// other strict servers).
    fn list_both(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        deadline: &Deadline,
    ) -> Result<Listed> {
        let learn = |all| {
            self.pool
                .profile()
                .learn(|learned| learned.list_all = Some(all))
        };
        let with_all = match self.list_with(lease, directory, "-a", deadline) {
            Err(Error::Refused { .. }) => None,
            Err(error) => return Err(error),
            // Only a listing that honours the switch names the directory itself.
            Ok((listed, true)) => {
                learn(true);
                return Ok(listed);
            }
            Ok((listed, false)) => Some(listed),
        };
        let (plain, _) = self.list_with(lease, directory, "", deadline)?;
        match with_all {
            Some(all) if all.0.len() >= plain.0.len() => {
                if !plain.0.is_empty() {
                    learn(true);
                }
                Ok(all)
            }
            _ => {
                if !plain.0.is_empty() {
                    learn(false);
                }
                Ok(plain)
            }
        }
    }

    /// One `LIST`; also whether it named the directory itself.
    fn list_with(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        switches: &'static str,
        deadline: &Deadline,
    ) -> Result<(Listed, bool)> {
        let zone = self.pool.profile().ask(|learned| learned.zone).unwrap_or(0);
        let clock = Clock { now: now(), zone };
        let mut entries = Vec::new();
        let mut names_itself = false;
        let mut each = |entry| entries.push(entry);
        let mut taker = Taker::new(Reader::list(clock), &mut each);
        let command = Command::List(switches);
        let all = transfer::listing(lease, directory, command, deadline, &mut |line| {
            names_itself |= line.trim_ascii_end().ends_with(b" .");
            taker.line(line);
        })?;
        let completeness = taker.finish(directory, all);
        Ok(((entries, completeness), names_itself))
    }

    /// Asks for the exact time of every file whose time the listing rounds, all in one flight, and
    /// learns the server's zone from the first.
    fn exact_times(
        &self,
        lease: &mut Lease,
        directory: &[u8],
        entries: &mut [Entry],
        deadline: &Deadline,
    ) -> Result<()> {
        let profile = self.pool.profile();
        let rounded = |entry: &&mut Entry| {
            entry.attributes.kind == Kind::File
                && entry
                    .attributes
                    .modified
                    .is_none_or(|modified| modified.precision < Precision::Second)
        };
        if profile.ask(|learned| learned.mdtm) == Some(false) {
            return Ok(());
        }
        let mut zone = profile.ask(|learned| learned.zone);
        let mut shift = 0;
        let mut files: Vec<&mut Entry> = entries.iter_mut().filter(rounded).collect();
        let paths: Vec<Vec<u8>> = files
            .iter()
            .map(|entry| below(directory, &entry.name))
            .collect();
        let mut rest = &paths[..];
        let mut done = 0;
        while !rest.is_empty() {
            // The first goes alone where MDTM was never tried: no flight of a thousand refusals.
            let tried = profile.ask(|learned| learned.mdtm).is_some();
            let (now, later) = rest.split_at(if tried { rest.len() } else { 1 });
            rest = later;
            let flight: Vec<_> = now.iter().map(|path| Command::Mdtm(path)).collect();
            for reply in lease.control()?.flight(&flight, deadline)? {
                profile.learn(|learned| learned.mdtm = Some(!reply.is_unknown_command()));
                if reply.is_unknown_command() {
                    return Ok(());
                }
                let file = &mut files[done].attributes;
                done += 1;
                let Some(seconds) = time_val(&reply).filter(|_| reply.is_completion()) else {
                    continue;
                };
                if zone.is_none()
                    && let Some(offset) = file.modified.and_then(|listed| offset(listed, seconds))
                {
                    zone = Some(offset);
                    shift = i64::from(offset);
                }
                file.modified = Some(Modified {
                    seconds,
                    precision: Precision::Second,
                });
            }
        }
        if profile.ask(|learned| learned.zone) != zone {
            profile.learn(|learned| learned.zone = zone);
            for entry in entries {
                match &mut entry.attributes.modified {
                    Some(modified) if modified.precision < Precision::Second => {
                        modified.seconds -= shift
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether the bytes of an append that broke off are on the server: all, none, or some.
    fn appended(
        &self,
        file: &RemotePath,
        change: &Change,
        base: u64,
        ask: &Ask<'_>,
    ) -> Option<bool> {
        let version = self.perform(&[Step::Version(file)], ask).pop()?.ok()?;
        match version {
            Done::Version(Version {
                size: Some(size), ..
            }) if size == change.size => Some(true),
            Done::Version(Version {
                size: Some(size), ..
            }) if size == base => Some(false),
            _ => None,
        }
    }

    fn append(
        &self,
        file: &RemotePath,
        change: &Change,
        base: u64,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<()> {
        let path = self.absolute(file);
        let once = |fresh| {
            let mut lease = self.pool.lease(Purpose::Transfer, fresh, ask)?;
            transfer::upload(
                &mut lease,
                Command::Appe(&path),
                bytes,
                base,
                change.size,
                ask.deadline,
            )
        };
        let result = match once(false) {
            Err(error @ Error::Lost { .. }) => match self.appended(file, change, base, ask) {
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

    fn store(
        &self,
        file: &RemotePath,
        change: &Change,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<()> {
        let path = self.absolute(file);
        self.repeat(Purpose::Transfer, ask, |mut lease, _| {
            transfer::upload(
                &mut lease,
                Command::Stor(&path),
                bytes,
                0,
                change.size,
                ask.deadline,
            )
        })
    }
}

impl Remote for Client {
    fn traits(&self) -> Traits {
        self.pool.profile().ask(|learned| Traits {
            stats: learned.features.mlst(),
            seeks: learned.rest != Some(false),
        })
    }

    fn perform(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Vec<Result<Done>> {
        let mut results = Vec::with_capacity(steps.len());
        for steps in steps.chunks(FLIGHT_STEPS) {
            match self.steps(steps, ask) {
                Ok(done) => results.extend(done),
                Err(error) => results.extend(steps.iter().map(|_| Err(error.clone()))),
            }
        }
        results
    }

    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let path = self.absolute(directory);
        self.repeat(Purpose::Metadata, ask, |mut lease, _| {
            let first_try = first_patience(&lease, false, ask);
            let deadline = first_try.as_ref().unwrap_or(ask.deadline);
            if self.pool.profile().ask(|learned| learned.features.mlst()) {
                let listed = self.list_facts(&mut lease, &path, deadline, each);
                if !matches!(
                    listed,
                    Err(Error::Refused {
                        why: Why::Unsupported,
                        ..
                    })
                ) {
                    return listed;
                }
                log::info!("MLSD is offered but refused; going on with LIST");
                self.pool
                    .profile()
                    .learn(|learned| learned.features.facts = None);
            }
            self.list_plain(&mut lease, &path, deadline, each)
        })
    }

    /// Only `LIST` tells, after the name (`MLSD` of Pure-FTPd and ProFTPD leaves the target out).
    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>> {
        let path = self.absolute(&link.parent().unwrap_or_default());
        let (entries, _) = self.repeat(Purpose::Metadata, ask, |mut lease, _| {
            self.list_known(&mut lease, &path, ask.deadline)
        })?;
        entries
            .into_iter()
            .find(|entry| entry.name == link.name())
            .and_then(|entry| entry.attributes.target)
            .map(<[u8]>::into_vec)
            .ok_or_else(|| {
                Error::refused(
                    Why::NotFound,
                    format!("reading the link {link}"),
                    "it is not in the listing",
                )
            })
    }

    fn read(&self, file: &RemotePath, from: u64, ask: &Ask<'_>) -> Result<Box<dyn Source>> {
        let path = self.absolute(file);
        self.repeat(Purpose::Transfer, ask, |lease, _| {
            let download = Download::open(lease, &path, from, ask.deadline)?;
            Ok(Box::new(download) as Box<dyn Source>)
        })
    }

    fn plan(&self, change: &Change) -> Plan {
        let base = change.base.and_then(|base| base.size);
        let appe = self.pool.profile().ask(|learned| learned.appe);
        match base {
            Some(base)
                if base > 0
                    && change.kept == base
                    && change.first_dirty >= base
                    && appe != Some(false) =>
            {
                Plan::Append(base)
            }
            _ => Plan::Whole,
        }
    }

    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated> {
        if let Some(refusal) = self
            .pool
            .profile()
            .ask(|learned| steps::refuse_changed(learned, file))
        {
            return Err(refusal);
        }
        match plan {
            Plan::Append(base) => self.append(file, change, base, bytes, ask)?,
            Plan::Whole => self.store(file, change, bytes, ask)?,
        }
        let mut steps = Vec::new();
        let chmod = self.pool.profile().ask(|learned| learned.chmod);
        let mode = change.mode.filter(|_| chmod != Some(false));
        steps.extend(mode.map(|mode| Step::SetMode(file, mode)));
        steps.extend(change.modified.map(|time| Step::SetModified(file, time)));
        steps.push(Step::Version(file));
        let mut results = self.perform(&steps, ask);
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

    fn close(&self) {
        self.pool.close();
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

type Listed = (Vec<Entry>, Completeness);

/// Takes lines, hands out entries, and counts what can't be read.
struct Taker<'a> {
    reader: Reader,
    each: &'a mut dyn FnMut(Entry),
    entries: usize,
    unreadable: usize,
    first_unreadable: Vec<u8>,
}

impl<'a> Taker<'a> {
    fn new(reader: Reader, each: &'a mut dyn FnMut(Entry)) -> Self {
        Self {
            reader,
            each,
            entries: 0,
            unreadable: 0,
            first_unreadable: Vec::new(),
        }
    }

    fn line(&mut self, line: &[u8]) {
        match self.reader.line(line) {
            Line::Entry(entry) if self.entries < ENTRY_LIMIT => {
                self.entries += 1;
                (self.each)(entry);
            }
            Line::Entry(_) => self.unreadable += 1,
            Line::Nothing => {}
            Line::Unreadable => {
                if self.unreadable < LOGGED_LINES {
                    self.first_unreadable = line.to_vec();
                }
                self.unreadable += 1;
            }
        }
    }

    fn finish(mut self, directory: &[u8], all: bool) -> Completeness {
        if let Some(entry) = self.reader.finish() {
            (self.each)(entry);
        }
        if self.unreadable > 0 {
            log::warn!(
                "{} lines in the listing of {} can't be read, the first: {}",
                self.unreadable,
                directory.escape_ascii(),
                self.first_unreadable.escape_ascii()
            );
        }
        if all && self.unreadable == 0 {
            Completeness::Whole
        } else {
            Completeness::Partial
        }
    }
}

/// A shorter deadline for the first try on a connection that had been idle: it may be dead without
/// a word, and a fresh one must still have its chance.
fn first_patience(lease: &Lease, again: bool, ask: &Ask<'_>) -> Option<Deadline> {
    const SHARE: u32 = 3;
    let left = ask.deadline.remaining().unwrap_or(Duration::ZERO);
    (lease.was_idle() && !again).then(|| Deadline::after(left / SHARE))
}

/// The absolute path of `name` in the absolute path `directory`.
fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Seconds east of UTC, when a listed time (read as UTC) and an exact one differ by a time zone:
/// whole quarters of an hour, up to a day's worth.
fn offset(listed: Modified, exact: i64) -> Option<i32> {
    const QUARTER: i64 = 900;
    const FARTHEST: i64 = 14 * 3600;
    if listed.precision != Precision::Minute {
        return None;
    }
    let difference = listed.seconds - (exact - exact.rem_euclid(60));
    (difference % QUARTER == 0 && difference.abs() <= FARTHEST)
        .then(|| i32::try_from(difference).ok())?
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_whole_number_of_quarters() {
        let listed = |seconds| Modified {
            seconds,
            precision: Precision::Minute,
        };
        assert_eq!(offset(listed(7200), 59), Some(7200));
        assert_eq!(offset(listed(0), 19_800), Some(-19_800));
        assert_eq!(offset(listed(120), 0), None);
        assert_eq!(offset(listed(90_000), 0), None);
        let day = Modified {
            seconds: 0,
            precision: Precision::Day,
        };
        assert_eq!(offset(day, 0), None);
    }

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

    #[test]
    fn paths_below_a_directory_have_one_slash() {
        assert_eq!(below(b"/", b"a"), b"/a");
        assert_eq!(below(b"/d", b" a"), b"/d/ a");
    }
}
