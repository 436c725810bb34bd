//! Many directories in one flight: listings by `STAT`, over the control connection.
//!
//! The one idea: `STAT path` answers with a listing (RFC 959 section 4.1.3), needs no data connection
//! and flies, so that a hundred directories cost one round trip. No server is trusted with it before
//! one directory was seen to look the same by `LIST`; and since some answer for a missing directory
//! with an empty success, and cut long listings off, only what names itself (`.`) and is not long is
//! taken. Everything else is left to `LIST`.

use std::collections::BTreeSet;

use crate::ftp::client::list::{Listed, Taker, hand_out};
use crate::ftp::client::mdtm_batch as exact;
use crate::ftp::client::stat_flight as sealed;
use crate::ftp::listing::Reader;
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::{Learned, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::listing_stream::says_cut_off;
use crate::remote::{Completeness, Deadline, Entry, Result};

/// Entries from which on a listing may have been cut off (Pure-FTPd's default limit is 10,000, others
/// have 2,000 and more).
const LONG: usize = 1000;

/// Whether this server's directories may be asked for together: by `LIST` alone they would have to be
/// listed one by one, and `MLSD` says more.
pub fn is_possible(learned: &Learned) -> bool {
    learned.listing.stat_lists == Support::Yes && may_be_possible(learned)
}

/// Whether it is worth finding out whether [`is_possible`] holds.
pub fn is_unknown(learned: &Learned) -> bool {
    learned.listing.stat_lists.is_unknown() && may_be_possible(learned)
}

fn may_be_possible(learned: &Learned) -> bool {
    learned.asks_stat() && learned.listing.list_all == Support::Yes
}

/// Lists the absolute paths `directories` in one flight. `None` stands for those that have to be listed
/// one by one.
pub fn list(
    pool: &Pool,
    lease: &mut Lease,
    directories: &[Vec<u8>],
    deadline: &Deadline,
    each: &mut dyn FnMut(usize, Entry),
) -> Result<Vec<Option<Completeness>>> {
    let flight: Vec<_> = directories
        .iter()
        .map(|path| Command::Stat(STAT_ALL, path))
        .collect();
    let replies = sealed::flight(lease.control()?, pool.profile(), &flight, deadline)?;
    let mut listed: Vec<Option<Listed>> = directories
        .iter()
        .zip(&replies)
        .map(|(directory, reply)| taken(pool, directory, reply))
        .collect();
    let mut listings: Vec<_> = directories
        .iter()
        .zip(&mut listed)
        .filter_map(|(directory, listed)| {
            let entries = &mut listed.as_mut()?.0;
            Some(exact::Listing { directory, entries })
        })
        .collect();
    exact::settle(pool, lease.control()?, &mut listings, Vec::new(), deadline)?;
    let handed = listed.into_iter().enumerate().map(|(number, listed)| {
        let (entries, completeness) = listed?;
        Some(hand_out(pool, entries, completeness, &mut |entry| {
            each(number, entry);
        }))
    });
    Ok(handed.collect())
}

/// Finds out whether `STAT` shows what `LIST` showed, `names`, of the absolute path `directory`.
pub fn compare(
    pool: &Pool,
    lease: &mut Lease,
    directory: &[u8],
    names: &BTreeSet<Vec<u8>>,
    deadline: &Deadline,
) -> Result<()> {
    if !is_comparable(directory, names) || !pool.profile().ask(is_unknown) {
        return Ok(());
    }
    let command = Command::Stat(STAT_ALL, directory);
    let control = lease.control()?;
    for reply in sealed::flight(control, pool.profile(), &[command], deadline)? {
        judge(pool, directory, names, &reply);
    }
    Ok(())
}

/// The same by a reply to `STAT` that is there.
pub fn judge(pool: &Pool, directory: &[u8], names: &BTreeSet<Vec<u8>>, reply: &Reply) {
    if !is_comparable(directory, names) || !pool.profile().ask(is_unknown) {
        return;
    }
    let same = taken(pool, directory, reply).is_some_and(|(entries, _)| {
        let stat: BTreeSet<_> = entries.into_iter().map(|entry| entry.name).collect();
        stat == *names
    });
    log::debug!("STAT lists as LIST does: {same}");
    pool.profile()
        .learn(|learned| learned.listing.stat_lists = Support::from(same));
}

fn is_comparable(directory: &[u8], names: &BTreeSet<Vec<u8>>) -> bool {
    is_plain(directory) && !names.is_empty() && names.len() < LONG
}

/// The switch that shows hidden files, for servers on which it was seen to work with `LIST`.
pub const STAT_ALL: &str = "-a";

/// What a reply lists, if it is certain to be the whole directory.
fn taken(pool: &Pool, directory: &[u8], reply: &Reply) -> Option<Listed> {
    let inner = listed_lines(reply)?;
    if !is_plain(directory) || !names_itself(inner) || is_long(reply) {
        return None;
    }
    let mut taker = Taker::new(Reader::list(exact::clock(pool)));
    for line in inner {
        taker.line(line);
    }
    let listed = taker.finish(directory, true);
    (listed.1 == Completeness::Whole).then_some(listed)
}

/// The lines between the first and the last of a reply, which are a listing's, if it is a good one.
pub fn listed_lines(reply: &Reply) -> Option<&[Vec<u8>]> {
    let inner = reply.lines.get(1..reply.lines.len().checked_sub(1)?)?;
    reply.is_completion().then_some(inner)
}

/// Whether a listing shows the directory itself.
pub fn names_itself(lines: &[Vec<u8>]) -> bool {
    lines
        .iter()
        .any(|line| line.trim_ascii_end().ends_with(b" ."))
}

/// Whether a reply may not show all that there is.
pub fn is_long(reply: &Reply) -> bool {
    reply.lines.len() > LONG || reply.lines.last().is_some_and(|line| says_cut_off(line))
}

/// Whether no server takes the path for a pattern or for switches.
pub fn is_plain(path: &[u8]) -> bool {
    !path.iter().any(|byte| b"*?[]{}~\\".contains(byte)) && path.trim_ascii() == path
}
