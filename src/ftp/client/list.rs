//! Lists one directory by `MLSD` or `LIST`, and completes what `LIST` leaves out.
//!
//! `MLSD` reports all facts exactly. `LIST` reports some of them, in a format of the server's own. What is missing is asked for
//! in pipelined flights after it, before any entry is shown: hidden files by `-a` where the server honours that, exact times
//! by `MDTM`, and the targets of links where they are to be followed.
//!
//! Names stay in the server's charset until they are handed out.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::ftp::client::mdtm_batch;
use crate::ftp::control::Names;
use crate::ftp::listing::{Line, Parser};
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::evidence::{Capability, Verdict};
use crate::ftp::profile::{Learned, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::below;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::entry_collector::{EntryCollector, Listed};
use crate::ftp::transfer::listing_stream;
use crate::remote::{
    Attributes, Completeness, Deadline, Entry, Error, Kind, Modified, Precision, Result, Why,
    is_name, pass_on,
};

/// Names of a listing that are kept to compare it with another one.
const COMPARED_NAMES_LIMIT: usize = 20_000;

/// Lists one directory over one lease.
pub struct Lister<'a> {
    /// The pool of the lease.
    pub pool: &'a Pool,
    /// The connection.
    pub lease: &'a mut Lease,
    /// The directory: absolute, in the server's bytes.
    pub directory: &'a [u8],
    /// The deadline.
    pub deadline: &'a Deadline,
    /// `MLSD` was not answered in the first try: `LIST` is sent.
    pub without_facts: bool,
}

impl Lister<'_> {
    /// Hands out every entry but `.` and `..`.
    pub fn list(mut self, each: &mut dyn FnMut(Entry)) -> Result<Completeness> {
        let (mut entries, completeness) = self.entries()?;
        if self.pool.endpoint().manner.follow_links {
            self.follow_links(&mut entries)?;
        }
        Ok(hand_out(self.pool, entries, completeness, each))
    }

    /// The names that begin with `start`, in the server's bytes.
    pub fn names_from(mut self, start: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (entries, _) = self.entries()?;
        let names = entries.into_iter().map(|entry| entry.name);
        Ok(names.filter(|name| name.starts_with(start)).collect())
    }

    /// The target of the link `name` (in the server's bytes). Only `LIST` shows it: `MLSD` of Pure-FTPd and ProFTPD
    /// leaves it out.
    pub fn target(mut self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let (entries, _) = self.list_hidden(false)?.listed;
        let link = entries.into_iter().find(|entry| entry.name == name);
        let target = link.and_then(|entry| entry.attributes.target);
        Ok(target.map(|target| self.pool.root().decode(&target)))
    }

    /// The line of `name` (in the server's bytes) in the listing, as the server wrote it.
    pub fn raw(mut self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let facts = self.pool.profile().ask(|learned| learned.features.mlst());
        let all = self.pool.profile().ask(|learned| learned.listing.list_all) != Support::No;
        let late_cwd = self.pool.profile().ask(|learned| learned.listing.late_cwd);
        if late_cwd != Support::Yes && !matches!(self.names_elsewhere()?, Elsewhere::Nothing) {
            drop(self.lease.take_preconnected());
        }
        let command = match (facts, all) {
            (true, _) => Command::Mlsd,
            (false, all) => Command::List(if all { "-a" } else { "" }),
        };
        let mut parser = if facts {
            Parser::facts()
        } else {
            Parser::list(mdtm_batch::clock(self.pool))
        };
        let mut found = None;
        let mut take = |line: &[u8]| {
            if matches!(parser.line(line), Line::Entry(entry) if entry.name == name) {
                found = Some(line.trim_ascii_end().to_vec());
            }
            true
        };
        listing_stream::listing(
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
        let facts = self.pool.profile().ask(|learned| learned.features.mlst());
        let mut refusal = None;
        if facts && !self.without_facts {
            match self.receive_entered(&Parser::facts, Command::Mlsd, false) {
                Err(error) if is_mlsd_refused(&error) => {
                    log::info!("list: {error}; using LIST");
                    let listed = below(self.directory, b"");
                    let profile = self.pool.profile();
                    profile.note_refusal(Capability::Mlsd, &listed, &error);
                    refusal = (error.why() != Some(Why::Unsupported)).then_some(error);
                }
                Ok(taken) if lacks_sizes(&taken.listed.0) => {
                    log::info!("list: MLSD tells no sizes; using LIST");
                    self.pool.profile().note_silence(Capability::Mlsd);
                }
                taken => {
                    let profile = self.pool.profile();
                    if taken.is_ok() && profile.ask(|learned| learned.listing.mlsd.is_unknown()) {
                        profile.learn(|learned| learned.listing.mlsd = Support::Yes);
                    }
                    return taken.map(|taken| taken.listed);
                }
            }
        }
        let Received {
            listed: (mut entries, completeness),
            times,
            ..
        } = self.list_hidden(true)?;
        if entries.is_empty()
            && let Some(refusal) = refusal
        {
            // ProFTPD's LIST shows nothing of a directory that MLSD may not list.
            return Err(refusal);
        }
        let mut listings = [mdtm_batch::Listing {
            directory: self.directory,
            entries: &mut entries,
        }];
        mdtm_batch::ask_exact_times(
            self.pool,
            self.lease.control()?,
            &mut listings,
            times,
            self.deadline,
        )?;
        Ok((entries, completeness))
    }

    /// Sends `LIST` in the form that shows hidden files on this server. With `times`, asks for the first exact times of its files
    /// before its final reply, if possible.
    fn list_hidden(&mut self, times: bool) -> Result<Received> {
        match self.pool.profile().ask(|learned| learned.listing.list_all) {
            Support::Yes => self.list_entered("-a", times),
            Support::No => self.list_entered("", times),
            Support::Unknown => self.probe_list_all(),
        }
    }

    fn list_entered(&mut self, switches: &'static str, times: bool) -> Result<Received> {
        let clock = mdtm_batch::clock(self.pool);
        let parser = || Parser::list(clock);
        self.receive_entered(&parser, Command::List(switches), times)
    }

    /// Lists the directory after `CWD`. A server may list the directory that was current when the data connection was made
    /// (libunftp), which shows only where the two hold other names: where that is not known, the listing is taken over a data
    /// connection that was made after `CWD`, or compared with such a one.
    fn receive_entered(
        &mut self,
        parser: &dyn Fn() -> Parser,
        command: Command<'_>,
        times: bool,
    ) -> Result<Received> {
        let profile = self.pool.profile();
        let late_cwd = profile.ask(|learned| learned.listing.late_cwd);
        let others = self.names_elsewhere()?;
        match (&others, late_cwd) {
            (Elsewhere::Nothing, _)
            | (_, Support::Yes)
            | (Elsewhere::Names(_), Support::Unknown) => {}
            _ => drop(self.lease.take_preconnected()),
        }
        let first = self.receive(parser(), command, times)?;
        if late_cwd.is_known() {
            return Ok(first);
        }
        let doubted = match others {
            Elsewhere::Names(others) if self.lease.began_over_spare() => others,
            _ => return Ok(first),
        };
        let names = names_of(&first.listed.0);
        // Names that were added, removed or renamed meanwhile leave others.
        let is_other = names.as_ref().is_some_and(|names| {
            !names.is_empty() && !doubted.is_empty() && names.is_disjoint(&doubted)
        });
        if is_other {
            log::debug!("list: the server lists the directory that CWD entered");
            profile.learn(|learned| learned.listing.late_cwd = Support::Yes);
            return Ok(first);
        }
        let second = self.receive(parser(), command, times)?;
        let seen = names_of(&second.listed.0);
        let verdict = match (seen == names, seen.as_ref() == Some(&doubted)) {
            (false, _) => Support::No,
            (true, false) if seen.is_some() => Support::Yes,
            _ => Support::Unknown,
        };
        log::debug!("list: the server lists the directory that CWD entered: {verdict:?}");
        if verdict.is_known() {
            profile.learn(|learned| learned.listing.late_cwd = verdict);
        }
        Ok(second)
    }

    /// What the directory holds in which the data connection for the next transfer was made.
    fn names_elsewhere(&mut self) -> Result<Elsewhere> {
        let Some(preconnected) = self.lease.preconnected() else {
            return Ok(Elsewhere::Nothing);
        };
        let made_in = preconnected.made_in().map(<[u8]>::to_vec);
        if made_in.as_deref() == Some(self.directory) {
            return Ok(Elsewhere::Nothing);
        }
        let control = self.lease.control()?;
        let is_current =
            made_in.is_some() && control.directory().map(AsRef::as_ref) == made_in.as_deref();
        Ok(match control.names().filter(|_| is_current) {
            Some(names) => Elsewhere::Names(names.clone()),
            None => Elsewhere::Unknown,
        })
    }

    /// Learns whether `LIST -a` shows hidden files on this server. Strict servers take `-a` for a name.
    fn probe_list_all(&mut self) -> Result<Received> {
        let profile = self.pool.profile();
        let learn = |all| profile.learn(|learned| learned.listing.list_all = Support::from(all));
        let with_all = match self.list_entered("-a", false) {
            Err(error @ Error::Refused { .. }) => {
                let listed = below(self.directory, b"");
                let verdict = profile.note_refusal(Capability::ListAll, &listed, &error);
                if verdict == Verdict::Nothing {
                    // For now only: without the switch the listing would hide files.
                    return Err(error);
                }
                return self.list_once("", false);
            }
            Err(error) => return Err(error),
            // Only a listing that honours the switch shows the directory itself.
            Ok(taken) if taken.names_itself => {
                learn(true);
                return Ok(taken);
            }
            Ok(taken) => Some(taken),
        };
        let plain = self.list_once("", false)?;
        let count = |taken: &Received| taken.listed.0.len();
        let honours = with_all
            .as_ref()
            .is_some_and(|all| count(all) >= count(&plain));
        // Two empty listings prove nothing; the next directory will.
        if count(&plain) > 0 {
            learn(honours);
        }
        Ok(with_all.filter(|_| honours).unwrap_or(plain))
    }

    /// Sends one `LIST`. Its times are those of the server's clock.
    fn list_once(&mut self, switches: &'static str, times: bool) -> Result<Received> {
        let parser = Parser::list(mdtm_batch::clock(self.pool));
        self.receive(parser, Command::List(switches), times)
    }

    fn receive(&mut self, parser: Parser, command: Command<'_>, times: bool) -> Result<Received> {
        let mut collector = EntryCollector::new(parser, self.directory);
        let mut names_itself = false;
        let mut take = |line: &[u8]| {
            names_itself |= line.trim_ascii_end().ends_with(b" .");
            collector.line(line)
        };
        let (lease, deadline) = (&mut *self.lease, self.deadline);
        let mut listing =
            listing_stream::listing(lease, self.directory, command, deadline, &mut take)?;
        if times {
            let wanted = mdtm_batch::wanted_paths(self.pool, self.directory, &collector.entries);
            let commands: Vec<_> = wanted.iter().map(|path| Command::Mdtm(path)).collect();
            listing.ask(lease, &commands, deadline)?;
        }
        let (received, times) = listing.conclude(lease, deadline)?;
        let hides = self
            .pool
            .profile()
            .ask(|learned| learned.listing.hides_directories);
        if collector.is_of_windows() && !hides {
            let learn = |learned: &mut Learned| learned.listing.hides_directories = true;
            self.pool.profile().learn(learn);
        }
        let listed = collector.finish(self.directory, received);
        let late_cwd = self.pool.profile().ask(|learned| learned.listing.late_cwd);
        if late_cwd.is_unknown() {
            lease.control()?.note_names(names_of(&listed.0));
        }
        Ok(Received {
            listed,
            names_itself,
            times,
        })
    }

    /// Replaces links by the attributes of their targets; a broken link stays a link.
    fn follow_links(&mut self, entries: &mut [Entry]) -> Result<()> {
        const COMMANDS: usize = 3;
        let links: Vec<usize> = (0..entries.len())
            .filter(|&at| entries[at].attributes.kind == Kind::Symlink)
            .filter(|&at| {
                let path = below(self.directory, &entries[at].name);
                self.pool.root().takes(&path)
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

/// What is known of the directory that a server would list by mistake.
enum Elsewhere {
    /// There is none.
    Nothing,
    /// Nothing.
    Unknown,
    /// Its names.
    Names(Names),
}

/// Whether there are files, and no sizes of them (RFC 3659 section 7.5 requires no fact): nothing can be appended to such.
fn lacks_sizes(entries: &[Entry]) -> bool {
    let mut files = entries
        .iter()
        .filter(|entry| entry.attributes.kind == Kind::File)
        .peekable();
    files.peek().is_some() && files.all(|file| file.attributes.size.is_none())
}

/// Whether `MLSD` was refused, for no cause that `LIST` would have too.
fn is_mlsd_refused(error: &Error) -> bool {
    match error {
        Error::Refused { why, tried, .. } => {
            let may_list = matches!(
                why,
                Why::Unsupported | Why::Unsaid | Why::Busy | Why::Failed
            );
            may_list && *tried == Command::Mlsd.to_string()
        }
        _ => false,
    }
}

/// The names in a listing; `None` of a long one.
fn names_of(entries: &[Entry]) -> Option<Names> {
    let hash = |entry: &Entry| {
        let mut hasher = DefaultHasher::new();
        entry.name.hash(&mut hasher);
        hasher.finish()
    };
    (entries.len() <= COMPARED_NAMES_LIMIT).then(|| entries.iter().map(hash).collect())
}

/// A listing as received.
struct Received {
    listed: Listed,
    /// Whether it shows the directory itself.
    names_itself: bool,
    /// The replies to `MDTM` for the first files whose times it rounds.
    times: Vec<Reply>,
}

/// Passes entries on in the charset of the mount; returns whether they are all.
pub fn hand_out(
    pool: &Pool,
    entries: Vec<Entry>,
    mut completeness: Completeness,
    each: &mut dyn FnMut(Entry),
) -> Completeness {
    let root = pool.root();
    pass_on(entries, |mut entry| {
        entry.name = root.decode(&entry.name);
        entry.attributes.target = entry
            .attributes
            .target
            .map(|target| root.decode(&target).into());
        if is_name(&entry.name) {
            each(entry);
        } else if completeness == Completeness::Whole {
            completeness = Completeness::Partial;
        }
    });
    completeness
}
