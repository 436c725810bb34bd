//! Listing a directory: which command, what its lines say, and the times that it rounds.
//!
//! The one idea: `MLSD` says everything exactly. `LIST` says some of it, in the server's own way, so
//! that what it leaves out is asked for behind it, in flights, before anything of it is shown:
//! hidden files by `-a` where the server honours that, exact times by `MDTM`, and what links lead to
//! where they are to be followed.
//!
//! Names stay in the server's charset until they are handed out.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ftp::command::Command;
use crate::ftp::listing::{Clock, Line, Reader};
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::transfer;
use crate::remote::{
    Attributes, Completeness, Deadline, Entry, Error, Kind, Modified, Precision, Result, Why,
    is_name,
};

/// Entries of one directory that we keep: a server can't fill our memory with more.
const ENTRY_LIMIT: usize = 2_000_000;
/// Commands whose replies are kept at once.
const FLIGHT: usize = 300;
/// Seconds by which a zone can differ from UTC.
const FARTHEST_ZONE: i64 = 14 * 3600;

/// Lists one directory over one lease.
pub struct Lister<'a> {
    /// The pool of the lease.
    pub pool: &'a Pool,
    /// The connection.
    pub lease: &'a mut Lease,
    /// The directory: absolute, in the server's bytes.
    pub directory: &'a [u8],
    /// Until when.
    pub deadline: &'a Deadline,
}

type Listed = (Vec<Entry>, Completeness);

impl Lister<'_> {
    /// Hands out every entry but `.` and `..`.
    pub fn list(mut self, each: &mut dyn FnMut(Entry)) -> Result<Completeness> {
        let (mut entries, mut completeness) = self.entries()?;
        if self.pool.endpoint().manner.follow_links {
            self.follow_links(&mut entries)?;
        }
        let place = self.pool.place();
        for mut entry in entries {
            entry.name = place.decode(&entry.name);
            entry.attributes.target = entry
                .attributes
                .target
                .map(|target| place.decode(&target).into());
            if is_name(&entry.name) {
                each(entry);
            } else {
                completeness = Completeness::Partial;
            }
        }
        Ok(completeness)
    }

    /// Where the link `name` (in the server's bytes) points. Only `LIST` tells: `MLSD` of Pure-FTPd and
    /// ProFTPD leaves the target out.
    pub fn target(mut self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let (entries, _) = self.plain()?;
        let link = entries.into_iter().find(|entry| entry.name == name);
        let target = link.and_then(|entry| entry.attributes.target);
        Ok(target.map(|target| self.pool.place().decode(&target)))
    }

    /// The line of `name` (in the server's bytes) in the listing, as the server wrote it.
    pub fn raw(self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let facts = self.pool.profile().ask(|learned| learned.features.mlst());
        let all = self.pool.profile().ask(|learned| learned.list_all) != Some(false);
        let command = match (facts, all) {
            (true, _) => Command::Mlsd,
            (false, all) => Command::List(if all { "-a" } else { "" }),
        };
        let clock = Clock {
            now: now(),
            zone: 0,
        };
        let mut reader = if facts {
            Reader::facts()
        } else {
            Reader::list(clock)
        };
        let mut found = None;
        transfer::listing(
            self.lease,
            self.directory,
            command,
            self.deadline,
            &mut |line| {
                if matches!(reader.line(line), Line::Entry(entry) if entry.name == name) {
                    found = Some(line.trim_ascii_end().to_vec());
                }
            },
        )?;
        Ok(found)
    }

    fn entries(&mut self) -> Result<Listed> {
        if self.pool.profile().ask(|learned| learned.features.mlst()) {
            match self.taken(Reader::facts(), Command::Mlsd) {
                Err(Error::Refused {
                    why: Why::Unsupported,
                    ..
                }) => {
                    log::info!("MLSD is offered but refused; going on with LIST");
                    self.pool.profile().learn(|learned| {
                        learned.features.facts = None;
                        learned.no_mlsd = true;
                    });
                }
                taken => return taken.map(|(listed, _)| listed),
            }
        }
        let (mut entries, completeness) = self.plain()?;
        self.settle_times(&mut entries)?;
        Ok((entries, completeness))
    }

    /// `LIST` in the form that shows hidden files here.
    fn plain(&mut self) -> Result<Listed> {
        match self.pool.profile().ask(|learned| learned.list_all) {
            Some(true) => Ok(self.with("-a")?.0),
            Some(false) => Ok(self.with("")?.0),
            None => self.both(),
        }
    }

    /// Finds out whether `LIST -a` shows hidden files here, or is taken for a name, as strict servers
    /// do.
    fn both(&mut self) -> Result<Listed> {
        let profile = self.pool.profile();
        let learn = |all| profile.learn(|learned| learned.list_all = Some(all));
        let with_all = match self.with("-a") {
            Err(Error::Refused { .. }) => None,
            Err(error) => return Err(error),
            // Only a listing that honours the switch names the directory itself.
            Ok((listed, true)) => {
                learn(true);
                return Ok(listed);
            }
            Ok((listed, false)) => Some(listed),
        };
        let (plain, _) = self.with("")?;
        let honours = with_all
            .as_ref()
            .is_some_and(|all| all.0.len() >= plain.0.len());
        // Two empty listings tell nothing; the next directory will.
        if !plain.0.is_empty() {
            learn(honours);
        }
        Ok(with_all.filter(|_| honours).unwrap_or(plain))
    }

    /// One `LIST`, its times as a clock on the server shows them; also whether it named the directory
    /// itself.
    fn with(&mut self, switches: &'static str) -> Result<(Listed, bool)> {
        let now = now();
        let clock = Clock {
            now: now + i64::from(self.offset(now)),
            zone: 0,
        };
        self.taken(Reader::list(clock), Command::List(switches))
    }

    fn taken(&mut self, reader: Reader, command: Command<'_>) -> Result<(Listed, bool)> {
        let mut taker = Taker {
            reader,
            entries: Vec::new(),
            unreadable: 0,
            first_unreadable: Vec::new(),
        };
        let mut names_itself = false;
        let all = transfer::listing(
            self.lease,
            self.directory,
            command,
            self.deadline,
            &mut |line| {
                names_itself |= line.trim_ascii_end().ends_with(b" .");
                taker.line(line);
            },
        )?;
        Ok((taker.finish(self.directory, all), names_itself))
    }

    /// Seconds by which the server's clock is shown east of UTC at `now`, as far as known.
    fn offset(&self, now: i64) -> i32 {
        match &self.pool.endpoint().manner.zone {
            Some(zone) => zone.offset(now),
            None => self.pool.profile().ask(|learned| learned.zone).unwrap_or(0),
        }
    }

    /// Asks for the exact times of files, as many as are wanted, learns the zone from the first, and
    /// makes UTC of all other times.
    fn settle_times(&mut self, entries: &mut [Entry]) -> Result<()> {
        let manner = &self.pool.endpoint().manner;
        let profile = self.pool.profile();
        let zone_known = manner.zone.is_some() || profile.ask(|learned| learned.zone_seen);
        let rounded = |entry: &Entry| {
            let exact = |modified: Modified| modified.precision == Precision::Second;
            entry.attributes.kind == Kind::File && !entry.attributes.modified.is_some_and(exact)
        };
        let wanted = match (manner.exact_times, zone_known) {
            (true, _) => usize::MAX,
            (false, true) => 0,
            (false, false) => 1,
        };
        let files: Vec<usize> = (0..entries.len())
            .filter(|&at| rounded(&entries[at]))
            .take(wanted)
            .collect();
        let exact = self.exact_times(entries, &files)?;
        if !zone_known {
            let listed = |at: usize| entries[at].attributes.modified;
            let offset = exact
                .iter()
                .find_map(|&(at, seconds)| offset_of(listed(at)?, seconds));
            profile.learn(|learned| {
                learned.zone = offset.or(learned.zone);
                learned.zone_seen = offset.is_some();
            });
        }
        let mut exact = exact;
        if let Some(zone) = manner
            .zone
            .as_ref()
            .filter(|_| self.mdtm_is_local(entries, &exact))
        {
            profile.learn(|learned| learned.mdtm_zone = Some(zone.clone()));
            for (_, seconds) in &mut exact {
                *seconds = zone.to_utc(*seconds);
            }
        }
        let learned = profile.ask(|learned| learned.zone).unwrap_or(0);
        for entry in entries.iter_mut() {
            if let Some(modified) = &mut entry.attributes.modified {
                modified.seconds = match &manner.zone {
                    Some(zone) => zone.to_utc(modified.seconds),
                    None => modified.seconds - i64::from(learned),
                };
            }
        }
        for (at, seconds) in exact {
            entries[at].attributes.modified = Some(Modified {
                seconds,
                precision: Precision::Second,
            });
        }
        Ok(())
    }

    /// Whether `MDTM` said what the listing says, in a zone where that can't be UTC.
    fn mdtm_is_local(&self, entries: &[Entry], exact: &[(usize, i64)]) -> bool {
        let unknown = self
            .pool
            .profile()
            .ask(|learned| learned.mdtm_zone.is_none());
        let as_listed = |&(at, seconds): &(usize, i64)| {
            let listed = entries[at].attributes.modified;
            listed.and_then(|listed| offset_of(listed, seconds)) == Some(0)
                && self.offset(seconds) != 0
        };
        unknown && exact.iter().any(as_listed)
    }

    /// The exact times of the files at those places, all in one flight; of some less when the server
    /// does not tell.
    fn exact_times(&mut self, entries: &[Entry], files: &[usize]) -> Result<Vec<(usize, i64)>> {
        let profile = self.pool.profile();
        let mut times = Vec::with_capacity(files.len());
        let paths: Vec<Vec<u8>> = files
            .iter()
            .map(|&at| below(self.directory, &entries[at].name))
            .collect();
        let mut done = 0;
        while done < paths.len() {
            let alone = match profile.ask(|learned| learned.mdtm) {
                Some(false) => break,
                // The first goes alone where MDTM was never tried: no flight of a thousand refusals.
                None => 1,
                Some(true) => FLIGHT,
            };
            let end = paths.len().min(done + alone);
            let flight: Vec<_> = paths[done..end]
                .iter()
                .map(|path| Command::Mdtm(path))
                .collect();
            let replies = self.lease.control()?.flight(&flight, self.deadline)?;
            for (reply, &at) in replies.iter().zip(&files[done..end]) {
                profile.learn(|learned| learned.mdtm = Some(!reply.is_unknown_command()));
                let time = profile.ask(|learned| learned.mdtm_time(reply));
                times.extend(time.map(|seconds| (at, seconds)));
            }
            done = end;
        }
        Ok(times)
    }

    /// Shows links as what they lead to; one that leads nowhere stays a link.
    fn follow_links(&mut self, entries: &mut [Entry]) -> Result<()> {
        const COMMANDS: usize = 3;
        let links: Vec<usize> = (0..entries.len())
            .filter(|&at| entries[at].attributes.kind == Kind::Symlink)
            .collect();
        let paths: Vec<Vec<u8>> = links
            .iter()
            .map(|&at| below(self.directory, &entries[at].name))
            .collect();
        let flight: Vec<_> = paths
            .iter()
            .flat_map(|path| [Command::Cwd(path), Command::Size(path), Command::Mdtm(path)])
            .collect();
        let replies = self.lease.control()?.flight(&flight, self.deadline)?;
        for (&at, replies) in links.iter().zip(replies.chunks(COMMANDS)) {
            let [directory, size, time] = replies else {
                break;
            };
            let attributes = &mut entries[at].attributes;
            if directory.is_completion() {
                *attributes = Attributes {
                    modified: attributes.modified,
                    ..Attributes::of(Kind::Directory)
                };
            } else if size.is_completion() {
                let exact = self.pool.profile().ask(|learned| learned.mdtm_time(time));
                let exact = exact.map(|seconds| Modified {
                    seconds,
                    precision: Precision::Second,
                });
                *attributes = Attributes {
                    size: size.text().trim().parse().ok(),
                    modified: exact.or(attributes.modified),
                    ..Attributes::of(Kind::File)
                };
            }
        }
        Ok(())
    }
}

/// Takes lines, keeps entries, and counts what can't be read.
struct Taker {
    reader: Reader,
    entries: Vec<Entry>,
    unreadable: usize,
    first_unreadable: Vec<u8>,
}

impl Taker {
    fn line(&mut self, line: &[u8]) {
        match self.reader.line(line) {
            Line::Entry(entry) if self.entries.len() < ENTRY_LIMIT => self.entries.push(entry),
            Line::Nothing => {}
            Line::Entry(_) | Line::Unreadable => {
                if self.unreadable == 0 {
                    self.first_unreadable = line.to_vec();
                }
                self.unreadable += 1;
            }
        }
    }

    fn finish(mut self, directory: &[u8], all: bool) -> Listed {
        self.entries.extend(self.reader.finish());
        if self.unreadable > 0 {
            log::warn!(
                "{} lines in the listing of {} can't be read, the first: {}",
                self.unreadable,
                directory.escape_ascii(),
                self.first_unreadable.escape_ascii()
            );
        }
        let whole = all && self.unreadable == 0;
        (
            self.entries,
            if whole {
                Completeness::Whole
            } else {
                Completeness::Partial
            },
        )
    }
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

/// Seconds east of UTC, when a listed time (read as UTC) and an exact one differ by a time zone: whole
/// quarters of an hour.
fn offset_of(listed: Modified, exact: i64) -> Option<i32> {
    const QUARTER: i64 = 900;
    if listed.precision != Precision::Minute {
        return None;
    }
    let difference = listed.seconds - (exact - exact.rem_euclid(60));
    let fits = difference % QUARTER == 0 && difference.abs() <= FARTHEST_ZONE;
    i32::try_from(difference).ok().filter(|_| fits)
}

/// Seconds since 1970.
pub fn now() -> i64 {
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
        assert_eq!(offset_of(listed(7200), 59), Some(7200));
        assert_eq!(offset_of(listed(0), 19_800), Some(-19_800));
        assert_eq!(offset_of(listed(120), 0), None);
        assert_eq!(offset_of(listed(90_000), 0), None);
        let day = Modified {
            seconds: 0,
            precision: Precision::Day,
        };
        assert_eq!(offset_of(day, 0), None);
    }

    #[test]
    fn paths_below_a_directory_have_one_slash() {
        assert_eq!(below(b"/", b"a"), b"/a");
        assert_eq!(below(b"/d", b" a"), b"/d/ a");
    }
}
