//! Listing a directory: which command, what its lines say, and the times that it rounds.
//!
//! The one idea: `MLSD` says everything exactly. `LIST` says some of it, in the server's own way, so
//! that what it leaves out is asked for behind it, in flights, before anything of it is shown:
//! hidden files by `-a` where the server honours that, exact times by `MDTM`, and what links lead to
//! where they are to be followed.
//!
//! Names stay in the server's charset until they are handed out.

use crate::ftp::client::mdtm_batch as exact;
use crate::ftp::listing::{Line, Reader};
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::Support;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::below;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::listing_stream as lines;
use crate::remote::{
    Attributes, Completeness, Deadline, Entry, Error, Kind, Modified, Precision, Result, Why,
    is_name,
};

/// Entries of one directory that we keep: a server can't fill our memory with more.
const ENTRY_LIMIT: usize = 2_000_000;

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

/// Entries in the server's bytes, and what may be concluded from them.
pub type Listed = (Vec<Entry>, Completeness);

impl Lister<'_> {
    /// Hands out every entry but `.` and `..`.
    pub fn list(mut self, each: &mut dyn FnMut(Entry)) -> Result<Completeness> {
        let (mut entries, completeness) = self.entries()?;
        if self.pool.endpoint().manner.follow_links {
            self.follow_links(&mut entries)?;
        }
        Ok(hand_out(self.pool, entries, completeness, each))
    }

    /// Where the link `name` (in the server's bytes) points. Only `LIST` tells: `MLSD` of Pure-FTPd and
    /// ProFTPD leaves the target out.
    pub fn target(mut self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let (entries, _) = self.plain(false)?.listed;
        let link = entries.into_iter().find(|entry| entry.name == name);
        let target = link.and_then(|entry| entry.attributes.target);
        Ok(target.map(|target| self.pool.place().decode(&target)))
    }

    /// The line of `name` (in the server's bytes) in the listing, as the server wrote it.
    pub fn raw(self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let facts = self.pool.profile().ask(|learned| learned.features.mlst());
        let all = self.pool.profile().ask(|learned| learned.listing.list_all) != Support::No;
        if !facts && self.pool.profile().ask(|learned| learned.listing.late_cwd) == Support::No {
            drop(self.lease.take_spare());
        }
        let command = match (facts, all) {
            (true, _) => Command::Mlsd,
            (false, all) => Command::List(if all { "-a" } else { "" }),
        };
        let mut reader = if facts {
            Reader::facts()
        } else {
            Reader::list(exact::clock(self.pool))
        };
        let mut found = None;
        let mut take = |line: &[u8]| {
            if matches!(reader.line(line), Line::Entry(entry) if entry.name == name) {
                found = Some(line.trim_ascii_end().to_vec());
            }
        };
        lines::listing(
            self.lease,
            self.directory,
            command,
            self.deadline,
            &mut take,
        )?
        .conclude(self.lease, self.deadline)?;
        Ok(found)
    }

    fn entries(&mut self) -> Result<Listed> {
        if self.pool.profile().ask(|learned| learned.features.mlst()) {
            match self.taken(Reader::facts(), Command::Mlsd, false) {
                Err(Error::Refused {
                    why: Why::Unsupported,
                    ..
                }) => {
                    log::info!("MLSD is offered but refused; going on with LIST");
                    self.pool.profile().learn(|learned| {
                        learned.features.facts = None;
                        learned.listing.refuses_mlsd = true;
                    });
                }
                taken => return taken.map(|taken| taken.listed),
            }
        }
        let Taken {
            listed: (mut entries, completeness),
            times,
            ..
        } = self.plain(true)?;
        let mut listings = [exact::Listing {
            directory: self.directory,
            entries: &mut entries,
        }];
        exact::settle(
            self.pool,
            self.lease.control()?,
            &mut listings,
            times,
            self.deadline,
        )?;
        Ok((entries, completeness))
    }

    /// `LIST` in the form that shows hidden files here, and with `times` the first exact times of its files, if those
    /// could be asked for before its end.
    fn plain(&mut self, times: bool) -> Result<Taken> {
        match self.pool.profile().ask(|learned| learned.listing.list_all) {
            Support::Yes => self.entered("-a", times),
            Support::No => self.entered("", times),
            Support::Unknown => self.both(),
        }
    }

    /// `LIST` of the directory that was entered. A server that asks no `ls`, whose `-a` shows the directory itself, may
    /// list the one in which it was when the data connection was made (libunftp): listing it again shows that.
    fn entered(&mut self, switches: &'static str, times: bool) -> Result<Taken> {
        let profile = self.pool.profile();
        let lists_entered = profile.ask(|learned| learned.listing.late_cwd);
        let made_in = self.lease.spare().map(|spare| spare.made_in());
        let (is_here, is_known) = match made_in {
            Some(made_in) => (made_in == Some(self.directory), made_in.is_some()),
            None => (false, false),
        };
        if !is_here && lists_entered == Support::No {
            drop(self.lease.take_spare());
        }
        let first = self.with(switches, times)?;
        let is_certain = is_here || first.names_itself || !self.lease.began_over_spare();
        if is_certain || lists_entered.is_known() {
            return Ok(first);
        }
        let second = self.with(switches, times)?;
        let is_same = first.listed == second.listed;
        // Two empty ones tell nothing, nor do two of where the login left us: that may be this directory.
        let tells = !is_same || is_known && !second.listed.0.is_empty();
        if tells {
            log::debug!("it lists what was entered behind the data connection: {is_same}");
            profile.learn(|learned| learned.listing.late_cwd = Support::from(is_same));
        }
        Ok(second)
    }

    /// Finds out whether `LIST -a` shows hidden files here, or is taken for a name, as strict servers
    /// do.
    fn both(&mut self) -> Result<Taken> {
        let profile = self.pool.profile();
        let learn = |all| profile.learn(|learned| learned.listing.list_all = Support::from(all));
        let with_all = match self.entered("-a", false) {
            Err(Error::Refused { .. }) => None,
            Err(error) => return Err(error),
            // Only a listing that honours the switch names the directory itself.
            Ok(taken) if taken.names_itself => {
                learn(true);
                return Ok(taken);
            }
            Ok(taken) => Some(taken),
        };
        let plain = self.with("", false)?;
        let count = |taken: &Taken| taken.listed.0.len();
        let honours = with_all
            .as_ref()
            .is_some_and(|all| count(all) >= count(&plain));
        // Two empty listings tell nothing; the next directory will.
        if count(&plain) > 0 {
            learn(honours);
        }
        Ok(with_all.filter(|_| honours).unwrap_or(plain))
    }

    /// One `LIST`, its times as a clock on the server shows them.
    fn with(&mut self, switches: &'static str, times: bool) -> Result<Taken> {
        let reader = Reader::list(exact::clock(self.pool));
        self.taken(reader, Command::List(switches), times)
    }

    fn taken(&mut self, reader: Reader, command: Command<'_>, times: bool) -> Result<Taken> {
        let mut taker = Taker::new(reader);
        let mut names_itself = false;
        let mut take = |line: &[u8]| {
            names_itself |= line.trim_ascii_end().ends_with(b" .");
            taker.line(line);
        };
        let (lease, deadline) = (&mut *self.lease, self.deadline);
        let mut listing = lines::listing(lease, self.directory, command, deadline, &mut take)?;
        if times {
            let wanted = exact::wanted_paths(self.pool, self.directory, &taker.entries);
            let commands: Vec<_> = wanted.iter().map(|path| Command::Mdtm(path)).collect();
            listing.ask(lease, &commands, deadline)?;
        }
        let (all, times) = listing.conclude(lease, deadline)?;
        Ok(Taken {
            listed: taker.finish(self.directory, all),
            names_itself,
            times,
        })
    }

    /// Shows links as what they lead to; one that leads nowhere stays a link.
    fn follow_links(&mut self, entries: &mut [Entry]) -> Result<()> {
        const COMMANDS: usize = 3;
        let links: Vec<usize> = (0..entries.len())
            .filter(|&at| entries[at].attributes.kind == Kind::Symlink)
            .filter(|&at| {
                let path = below(self.directory, &entries[at].name);
                self.pool.place().takes(&path)
            })
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

/// A listing as it came.
struct Taken {
    listed: Listed,
    /// Whether it named the directory itself.
    names_itself: bool,
    /// The replies to `MDTM` of the first files whose times it rounds.
    times: Vec<Reply>,
}

/// Hands out entries as their readers know them; returns what may be concluded then.
pub fn hand_out(
    pool: &Pool,
    entries: Vec<Entry>,
    mut completeness: Completeness,
    each: &mut dyn FnMut(Entry),
) -> Completeness {
    let place = pool.place();
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
    completeness
}

/// Takes lines, keeps entries, and counts what can't be read.
pub struct Taker {
    reader: Reader,
    entries: Vec<Entry>,
    unreadable: usize,
    first_unreadable: Vec<u8>,
}

impl Taker {
    /// Takes lines that `reader` reads.
    pub fn new(reader: Reader) -> Self {
        Self {
            reader,
            entries: Vec::new(),
            unreadable: 0,
            first_unreadable: Vec::new(),
        }
    }

    /// Takes a line.
    pub fn line(&mut self, line: &[u8]) {
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

    /// What there was; `all` is whether the listing came to its end.
    pub fn finish(mut self, directory: &[u8], all: bool) -> Listed {
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
