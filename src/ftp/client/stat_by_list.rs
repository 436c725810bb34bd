//! Asks for one name on servers without `MLST`: by `STAT` of its directory, or else by a listing.
//!
//! `STAT` of the directory lists it over the control connection (RFC 959 section 4.1.3). `SIZE` and `MDTM` of the name are
//! pipelined with it: one round trip, and the preconnected data connection stays for the file itself. `LIST` costs two round
//! trips and the data connection, and as much again for each further directory of a path.
//!
//! A server whose `STAT` was not compared with its `LIST` yet (`stat_list.rs`) may take the path for another directory, or
//! show less. From such a server only files are accepted for which `STAT` and `SIZE` report the same size. Everything else is
//! listed, and the answers are compared then. Links are always left to a listing, since `SIZE` follows them.
//!
//! A refusal that reports nothing about the file is not taken for its absence, nor does it keep the file from being stored:
//! [`version`] and [`attributes`] look the name up in a listing then.

use crate::ftp::client::list::{Listed, Taker, hand_out};
use crate::ftp::client::mdtm_batch;
use crate::ftp::client::stat::number;
use crate::ftp::client::stat_list;
use crate::ftp::client::stat_list::STAT_ALL;
use crate::ftp::listing::Parser;
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::Learned;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{
    Ask, Attributes, Completeness, Deadline, Entry, Error, Kind, NameStatus, Remote, RemotePath,
    Result, Version, Why,
};

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
    let lists = learned.stat_lists != Some(false) && learned.list_all != Some(false);
    lists && learned.asks_stat() && !learned.no_glances
}

/// What came of a glance.
pub enum Outcome {
    /// It is certain.
    Known(NameStatus),
    /// A listing has to tell. With the reply to `STAT` where that can be compared with it ([`stat_list::judge`]).
    Listing(Option<Reply>),
}

/// What `name` is.
pub fn stat(
    pool: &Pool,
    lease: &mut Lease,
    name: &Name<'_>,
    deadline: &Deadline,
) -> Result<Outcome> {
    let profile = pool.profile();
    let doubtful = Ok(Outcome::Listing(None));
    if !stat_list::is_plain(name.directory) {
        return doubtful;
    }
    let times = profile.ask(|learned| learned.mdtm != Some(false)) && mdtm_batch::is_wanted(pool);
    let mut flight = vec![
        Command::Stat(STAT_ALL, name.directory),
        Command::Size(name.path),
    ];
    flight.extend(times.then_some(Command::Mdtm(name.path)));
    let replies = stat_list::flight_with_nonce(lease.control()?, profile, &flight, deadline);
    if let Err(Error::Misbehaved { .. } | Error::TimedOut { .. }) = &replies {
        profile.learn(|learned| learned.no_glances = true);
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
        None => completeness == Completeness::Whole && is_absent(&size),
        Some(entry) => match entry.attributes.kind {
            Kind::File => {
                let is_same = bytes.is_some() && entry.attributes.size == bytes;
                is_same && mdtm_batch::is_understood(pool, entry)
            }
            Kind::Directory => is_absent(&size),
            Kind::Symlink | Kind::Special => false,
        },
    };
    let is_proven = profile.ask(|learned| learned.stat_lists) == Some(true);
    if !is_certain {
        return doubtful;
    }
    if !is_proven && kind != Some(Kind::File) {
        return Ok(Outcome::Listing(Some(stat)));
    }
    let Some(found) = found else {
        return Ok(Outcome::Known(NameStatus::Absent));
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
    entries.truncate(if mdtm_batch::is_zone_known(pool) {
        1
    } else {
        2
    });
    let mut listings = [mdtm_batch::Listing {
        directory: name.directory,
        entries: &mut entries,
    }];
    mdtm_batch::settle(pool, lease.control()?, &mut listings, early, deadline)?;
    entries.truncate(1);
    let mut seen: Option<Attributes> = None;
    hand_out(pool, entries, completeness, &mut |entry| {
        seen = Some(entry.attributes);
    });
    Ok(seen.map_or(Outcome::Listing(None), |attributes| {
        Outcome::Known(NameStatus::Exists(attributes))
    }))
}

/// What a reply to `STAT` lists, where it is a listing that names its directory: nothing may be concluded from an
/// absence where that may be a part only. What the server's answers are good for is noted.
fn listed(pool: &Pool, directory: &[u8], reply: &Reply) -> Option<Listed> {
    let profile = pool.profile();
    if reply.is_unknown_command() {
        profile.learn(|learned| learned.stat_lists = Some(false));
    }
    let lines = stat_list::listed_lines(reply).filter(|lines| !lines.is_empty())?;
    if !stat_list::names_itself(lines) {
        // Where it was seen to list, that is of this one: it may have become something else.
        if profile.ask(|learned| learned.stat_lists.is_none()) {
            profile.learn(|learned| learned.stat_lists = Some(false));
        }
        return None;
    }
    let mut taker = Taker::new(Parser::list(mdtm_batch::clock(pool)));
    for line in lines {
        taker.line(line);
    }
    let is_long = stat_list::is_long(reply);
    if is_long {
        profile.learn(|learned| learned.no_glances = true);
    }
    Some(taker.finish(directory, !is_long))
}

/// Whether `SIZE` refuses for good: there is no such file.
fn is_absent(size: &Reply) -> bool {
    size.code >= 500 && !size.is_unknown_command()
}

/// Whether a refusal of `SIZE` says nothing of the file: there is no such command (RFC 3659 has it, RFC 959 not), it is for
/// now only (RFC 959 section 4.2.1), as nodeftpd's is of what is not there, or it speaks of directories, as that of BSD's
/// ftpd and uftpd's does of what is not there ("No such file, or argument is a directory"), or of rights, as vsftpd's does
/// with `cmds_denied=SIZE`.
pub fn proves_nothing(error: &Error) -> bool {
    match error {
        Error::Refused { why, said, .. } => {
            let of_all = matches!(why, Why::Unsupported | Why::IsDirectory | Why::Denied);
            of_all || said.starts_with('4')
        }
        _ => false,
    }
}

/// The version of a file, by its directory's listing. Refuses what [`attributes`] refuses, and what is no file.
pub fn version(remote: &dyn Remote, file: &RemotePath, ask: &Ask<'_>) -> Result<Version> {
    match attributes(remote, file, ask)? {
        found if found.kind == Kind::File => Ok(found.version()),
        _ => Err(refused(file, Why::IsDirectory, "it is no file")),
    }
}

/// The attributes of a name, by its directory's listing. Refuses what is not there, and what a listing that was cut off
/// does not show.
pub fn attributes(remote: &dyn Remote, path: &RemotePath, ask: &Ask<'_>) -> Result<Attributes> {
    let Some(directory) = path.parent() else {
        return Err(refused(path, Why::Unsupported, "nothing lists it"));
    };
    let mut found = None;
    let completeness = remote.list(&directory, ask, &mut |entry| {
        if entry.name == path.name() {
            found = Some(entry.attributes);
        }
    })?;
    match (found, completeness) {
        (Some(found), _) => Ok(found),
        (None, Completeness::Whole) => {
            let said = "its directory does not list it";
            Err(refused(path, Why::NotFound, said))
        }
        (None, Completeness::Partial) => {
            let said = "the listing of its directory was cut off";
            Err(refused(path, Why::Failed, said))
        }
    }
}

fn refused(path: &RemotePath, why: Why, said: &str) -> Error {
    Error::refused(why, format!("looking for {path}"), said)
}
