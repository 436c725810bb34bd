//! A glance: what one name is, on a server where only listings tell.
//!
//! The one idea: `STAT` of the directory lists it over the control connection (RFC 959 section 4.1.3), and what else is to
//! be known of the one name, `SIZE` and `MDTM`, flies with it: one round trip, and the spare data connection stays for
//! the file itself. By `LIST` it is two and the data connection, and each further directory of a path as much again.
//!
//! A server whose `STAT` was not compared with its `LIST` yet (`together.rs`) may mean another directory by it, or show
//! less. Of that one just files are believed, which two commands tell the same of: the size. For all else it is listed, and
//! the answers are compared then. Links are always left to a listing, since `SIZE` follows them.

use crate::ftp::client::list::{Listed, Taker, hand_out};
use crate::ftp::client::mdtm_batch as exact;
use crate::ftp::client::stat_flight as sealed;
use crate::ftp::client::stat_list as together;
use crate::ftp::client::stat_list::STAT_ALL;
use crate::ftp::control::version_query::number;
use crate::ftp::listing::Reader;
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::{Learned, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Attributes, Completeness, Deadline, Entry, Error, Glance, Kind, Result};

/// A name of which something is to be known.
pub struct Name<'a> {
    /// Its directory: absolute, in the server's bytes.
    pub directory: &'a [u8],
    /// The absolute path, in the server's bytes.
    pub path: &'a [u8],
    /// The name alone, likewise.
    pub name: &'a [u8],
}

/// Whether it is worth a try: `MLST` says more, and one long directory was enough.
pub fn is_possible(learned: &Learned) -> bool {
    let lists =
        learned.listing.stat_lists != Support::No && learned.listing.list_all != Support::No;
    lists && learned.asks_stat() && !learned.this_mount.no_stat_by_list
}

/// What came of a glance.
pub enum Outcome {
    /// It is certain.
    Told(Glance),
    /// A listing has to tell. With the reply to `STAT` where that can be compared with it ([`together::judge`]).
    Listing(Option<Reply>),
}

/// What `name` is.
pub fn glance(
    pool: &Pool,
    lease: &mut Lease,
    name: &Name<'_>,
    deadline: &Deadline,
) -> Result<Outcome> {
    let profile = pool.profile();
    let doubtful = Ok(Outcome::Listing(None));
    if !together::is_plain(name.directory) {
        return doubtful;
    }
    let times =
        profile.ask(|learned| learned.attributes.mdtm != Support::No) && exact::is_wanted(pool);
    let mut flight = vec![
        Command::Stat(STAT_ALL, name.directory),
        Command::Size(name.path),
    ];
    flight.extend(times.then_some(Command::Mdtm(name.path)));
    let replies = sealed::flight(lease.control()?, profile, &flight, deadline);
    if let Err(Error::Misbehaved { .. } | Error::TimedOut { .. }) = &replies {
        profile.learn(|learned| learned.this_mount.no_stat_by_list = true);
    }
    let mut replies = replies?.into_iter();
    let (Some(stat), Some(size)) = (replies.next(), replies.next()) else {
        return doubtful;
    };
    let Some((entries, completeness)) = listed(pool, name.directory, &stat) else {
        return doubtful;
    };
    let mut named = entries.iter().filter(|entry| entry.name == name.name);
    let found = match (named.next(), named.next()) {
        (found, None) => found.cloned(),
        // One is a directory that the other lies in, or what else there may be.
        (_, Some(_)) => return doubtful,
    };
    let bytes = number(&size).filter(|_| size.is_completion());
    let kind = found.as_ref().map(|entry| entry.attributes.kind);
    let is_certain = match &found {
        None => completeness == Completeness::Whole && says_nothing(&size),
        Some(entry) => match entry.attributes.kind {
            Kind::File => {
                let is_same = bytes.is_some() && entry.attributes.size == bytes;
                is_same && exact::is_understood(pool, entry)
            }
            Kind::Directory => says_nothing(&size),
            Kind::Symlink | Kind::Special => false,
        },
    };
    let is_proven = profile.ask(|learned| learned.listing.stat_lists) == Support::Yes;
    if !is_certain {
        return doubtful;
    }
    if !is_proven && kind != Some(Kind::File) {
        return Ok(Outcome::Listing(Some(stat)));
    }
    let Some(found) = found else {
        return Ok(Outcome::Told(Glance::Absent));
    };
    let early: Vec<Reply> = match found.attributes.kind {
        Kind::File => replies.collect(),
        _ => Vec::new(),
    };
    // Where the zone is not known yet, a file beside a directory tells it.
    let witness = entries.into_iter().find(|entry| {
        found.attributes.kind == Kind::Directory && entry.attributes.kind == Kind::File
    });
    let mut entries: Vec<Entry> = [found].into_iter().chain(witness).collect();
    entries.truncate(if exact::is_zone_known(pool) { 1 } else { 2 });
    let mut listings = [exact::Listing {
        directory: name.directory,
        entries: &mut entries,
    }];
    exact::settle(pool, lease.control()?, &mut listings, early, deadline)?;
    entries.truncate(1);
    let mut seen: Option<Attributes> = None;
    hand_out(pool, entries, completeness, &mut |entry| {
        seen = Some(entry.attributes);
    });
    Ok(seen.map_or(Outcome::Listing(None), |attributes| {
        Outcome::Told(Glance::There(attributes))
    }))
}

/// What a reply to `STAT` lists, where it is a listing that names its directory: nothing may be concluded from an
/// absence where that may be a part only. What the server's answers are good for is noted.
fn listed(pool: &Pool, directory: &[u8], reply: &Reply) -> Option<Listed> {
    let profile = pool.profile();
    if reply.is_unknown_command() {
        profile.learn(|learned| learned.listing.stat_lists = Support::No);
    }
    let lines = together::listed_lines(reply).filter(|lines| !lines.is_empty())?;
    if !together::names_itself(lines) {
        // Where it was seen to list, that is of this one: it may have become something else.
        if profile.ask(|learned| learned.listing.stat_lists.is_unknown()) {
            profile.learn(|learned| learned.listing.stat_lists = Support::No);
        }
        return None;
    }
    let mut taker = Taker::new(Reader::list(exact::clock(pool)));
    for line in lines {
        taker.line(line);
    }
    let is_long = together::is_long(reply);
    if is_long {
        profile.learn(|learned| learned.this_mount.no_stat_by_list = true);
    }
    Some(taker.finish(directory, !is_long))
}

/// Whether `SIZE` refuses for good: there is no such file.
fn says_nothing(size: &Reply) -> bool {
    size.code >= 500 && !size.is_unknown_command()
}
