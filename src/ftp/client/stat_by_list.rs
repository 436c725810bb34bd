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

use crate::ftp::client::list::hand_out;
use crate::ftp::client::mdtm_batch;
use crate::ftp::client::stat_list;
use crate::ftp::client::stat_list::STAT_ALL;
use crate::ftp::control::version_query::number;
use crate::ftp::listing::Parser;
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::{Learned, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::below;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::entry_collector::{EntryCollector, Listed};
use crate::remote::{
    Ask, Attributes, Completeness, Deadline, Entry, Error, Kind, NameStatus, Remote, RemotePath,
    Result, Version, Why,
};

/// The name that is asked for.
pub struct Name<'a> {
    /// The absolute path of its directory, in the server's bytes.
    pub directory: &'a [u8],
    /// The absolute path, in the server's bytes.
    pub path: &'a [u8],
    /// The name alone, in the server's bytes.
    pub name: &'a [u8],
}

/// Whether [`stat`] is worth a try: not where `MLST` works, nor after a long directory.
pub fn is_possible(learned: &Learned) -> bool {
    let lists =
        learned.listing.stat_lists != Support::No && learned.listing.list_all != Support::No;
    lists && learned.asks_stat() && !learned.this_mount.no_stat_by_list
}

/// The result of [`stat`].
pub enum Outcome {
    /// The answer is certain.
    Known(NameStatus),
    /// A listing is needed. With the reply to `STAT` where it can be compared with that listing ([`stat_list::judge`]).
    Listing(Option<Reply>),
}

/// Asks for `name` by `STAT` of its directory, `SIZE` and `MDTM`, in one flight.
pub fn stat(
    pool: &Pool,
    lease: &mut Lease,
    name: &Name<'_>,
    deadline: &Deadline,
) -> Result<Outcome> {
    let profile = pool.profile();
    let doubtful = Ok(Outcome::Listing(None));
    if !may_list(profile, name.directory) {
        return doubtful;
    }
    let times = profile.ask(|learned| learned.attributes.mdtm != Support::No)
        && mdtm_batch::is_wanted(pool);
    let mut flight = vec![
        Command::Stat(STAT_ALL, name.directory),
        Command::Size(name.path),
    ];
    flight.extend(times.then_some(Command::Mdtm(name.path)));
    let replies = stat_list::flight_with_nonce(lease.control()?, profile, &flight, deadline);
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
        // Ambiguous: the directory itself may have the same name as an entry.
        (_, Some(_)) => return doubtful,
    };
    let bytes = number(&size).filter(|_| size.is_completion());
    let kind = found.as_ref().map(|entry| entry.attributes.kind);
    let is_certain = match &found {
        None => completeness == Completeness::Whole && is_absent(&size),
        Some(entry) => match entry.attributes.kind {
            Kind::File => {
                let is_same = bytes.is_some() && entry.attributes.size == bytes;
                is_same && mdtm_batch::is_interpretable(pool, entry)
            }
            Kind::Directory => is_absent(&size),
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
        return Ok(Outcome::Known(NameStatus::Absent));
    };
    let early: Vec<Reply> = match found.attributes.kind {
        Kind::File => replies.collect(),
        _ => Vec::new(),
    };
    // While the zone is unknown, a file in the same directory reveals it.
    let zone_sample = entries.into_iter().find(|entry| {
        found.attributes.kind == Kind::Directory && entry.attributes.kind == Kind::File
    });
    let mut entries: Vec<Entry> = [found].into_iter().chain(zone_sample).collect();
    entries.truncate(if mdtm_batch::is_zone_known(pool) {
        1
    } else {
        2
    });
    let mut listings = [mdtm_batch::Listing {
        directory: name.directory,
        entries: &mut entries,
    }];
    mdtm_batch::ask_exact_times(pool, lease.control()?, &mut listings, early, deadline)?;
    entries.truncate(1);
    let mut seen: Option<Attributes> = None;
    hand_out(pool, entries, completeness, &mut |entry| {
        seen = Some(entry.attributes);
    });
    Ok(seen.map_or(Outcome::Listing(None), |attributes| {
        Outcome::Known(NameStatus::Exists(attributes))
    }))
}

/// Whether `STAT` of this directory may be of use: it was not of none before.
fn may_list(profile: &Profile, directory: &[u8]) -> bool {
    stat_list::is_plain(directory) && !profile.is_refused_in(Capability::StatLists, directory)
}

/// The entries in a reply to `STAT`, if it is a listing that shows its directory; incomplete where it may be cut off. Learns
/// whether the server's `STAT` is usable.
fn listed(pool: &Pool, directory: &[u8], reply: &Reply) -> Option<Listed> {
    let profile = pool.profile();
    if !reply.is_completion() {
        profile.note(Capability::StatLists, &below(directory, b""), reply);
    }
    let lines = stat_list::listed_lines(reply).filter(|lines| !lines.is_empty())?;
    if !stat_list::names_itself(lines) {
        // After a success it may be about this path, which may no longer be a directory.
        if profile.ask(|learned| learned.listing.stat_lists.is_unknown()) {
            profile.note_useless(Capability::StatLists, directory);
        }
        return None;
    }
    let mut collector = EntryCollector::new(Parser::list(mdtm_batch::clock(pool)), directory);
    for line in lines {
        // A reply is bounded.
        let _ = collector.line(line);
    }
    let is_long = stat_list::is_long(reply);
    if is_long {
        profile.learn(|learned| learned.this_mount.no_stat_by_list = true);
    }
    let received = match is_long {
        true => Completeness::Partial,
        false => Completeness::Whole,
    };
    Some(collector.finish(directory, received))
}

/// Whether `SIZE` refuses permanently: there is no such file.
fn is_absent(size: &Reply) -> bool {
    size.code >= 500 && !size.is_unknown_command()
}

/// Whether a refusal of `SIZE` proves nothing about the file:
/// * there is no such command (RFC 3659 has it, RFC 959 not);
/// * it is transient (RFC 959 section 4.2.1), as nodeftpd's is for a missing file;
/// * it mentions directories, as BSD's ftpd and uftpd do for a missing file ("No such file, or argument is a directory");
/// * it mentions permissions, as vsftpd does with `cmds_denied=SIZE`.
pub fn proves_nothing(error: &Error) -> bool {
    match error {
        Error::Refused { why, .. } => {
            let of_all = matches!(why, Why::Unsupported | Why::IsDirectory | Why::Denied);
            of_all || error.is_for_now()
        }
        _ => false,
    }
}

/// The version of a file from its directory's listing. Refuses what [`attributes`] refuses, and what is no file.
pub fn version(remote: &dyn Remote, file: &RemotePath, ask: &Ask<'_>) -> Result<Version> {
    match attributes(remote, file, ask)? {
        found if found.kind == Kind::File => Ok(found.version()),
        _ => Err(refused(file, Why::IsDirectory, "it is no file")),
    }
}

/// The attributes of a name from its directory's listing. Refuses a name that is missing, or that an incomplete listing does
/// not show.
pub fn attributes(remote: &dyn Remote, path: &RemotePath, ask: &Ask<'_>) -> Result<Attributes> {
    let Some(directory) = path.parent() else {
        return Err(refused(path, Why::Unsupported, "no directory lists it"));
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
        (None, Completeness::Partial | Completeness::Cut) => {
            let said = "the listing of its directory was cut off";
            Err(refused(path, Why::Failed, said))
        }
    }
}

fn refused(path: &RemotePath, why: Why, said: &str) -> Error {
    Error::refused(why, format!("looking for {path}"), said)
}
