//! Lists many directories in one flight, by `STAT` over the control connection.
//!
//! `STAT path` answers with a listing (RFC 959 section 4.1.3), needs no data connection and can be pipelined, so that a hundred
//! directories cost one round trip. It is used after one directory was seen to look the same by `LIST`. Some servers answer for
//! a missing directory with an empty success, and cut long listings off: so only replies that list the directory itself (`.`)
//! and are not long are accepted. Everything else is left to `LIST`.
//!
//! A flight with `STAT` ends with a nonce: vsftpd shows names in its reply to `STAT` as they are, so that a name with line
//! breaks can end that reply and forge those to the commands that follow. Servers repeat the offset of a `REST`
//! ("350 Restart position accepted (4711)."), and ours is drawn for each flight, so that no name can contain it. If it does
//! not come in its place, no reply of the flight is believed.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use crate::ftp::client::list::hand_out;
use crate::ftp::client::mdtm_batch;
use crate::ftp::control::Control;
use crate::ftp::listing::Parser;
use crate::ftp::pool::{Lease, Pool};
use crate::ftp::profile::Support;
use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::evidence::order::{Misfit, Order};
use crate::ftp::profile::{Learned, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::transfer::entry_collector::{EntryCollector, Listed};
use crate::ftp::transfer::listing_stream::says_cut_off;
use crate::remote::{Completeness, Deadline, Entry, Error, Result};

/// Lines from which on a listing may have been cut off (Pure-FTPd's default limit is 10,000, others have 2,000 and more).
const TRUSTED_LINES: usize = 1000;

/// Whether directories of this server are listed in one flight: not where `MLSD` works, which reports more.
pub fn is_possible(learned: &Learned) -> bool {
    learned.listing.stat_lists == Support::Yes && may_be_possible(learned)
}

/// Whether [`is_possible`] has yet to be learned.
pub fn is_unknown(learned: &Learned) -> bool {
    learned.listing.stat_lists.is_unknown() && may_be_possible(learned)
}

fn may_be_possible(learned: &Learned) -> bool {
    learned.asks_stat() && learned.listing.list_all == Support::Yes
}

/// Lists the absolute paths `directories` in one flight. `None` marks those that have to be listed one by one.
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
    let replies = flight_with_nonce(lease.control()?, pool.profile(), &flight, deadline)?;
    let mut listed: Vec<Option<Listed>> = directories
        .iter()
        .zip(&replies)
        .map(|(directory, reply)| whole_listing(pool, directory, reply))
        .collect();
    let mut listings: Vec<_> = directories
        .iter()
        .zip(&mut listed)
        .filter_map(|(directory, listed)| {
            let entries = &mut listed.as_mut()?.0;
            Some(mdtm_batch::Listing { directory, entries })
        })
        .collect();
    mdtm_batch::ask_exact_times(pool, lease.control()?, &mut listings, Vec::new(), deadline)?;
    let handed = listed.into_iter().enumerate().map(|(number, listed)| {
        let (entries, completeness) = listed?;
        Some(hand_out(pool, entries, completeness, &mut |entry| {
            each(number, entry);
        }))
    });
    Ok(handed.collect())
}

/// Learns whether `STAT` of the absolute path `directory` shows the same `names` as `LIST`.
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
    for reply in flight_with_nonce(control, pool.profile(), &[command], deadline)? {
        judge(pool, directory, names, &reply);
    }
    Ok(())
}

/// Like [`compare`], from a reply to `STAT` that was received before.
pub fn judge(pool: &Pool, directory: &[u8], names: &BTreeSet<Vec<u8>>, reply: &Reply) {
    if !is_comparable(directory, names) || !pool.profile().ask(is_unknown) {
        return;
    }
    let same = whole_listing(pool, directory, reply).is_some_and(|(entries, _)| {
        let stat: BTreeSet<_> = entries.into_iter().map(|entry| entry.name).collect();
        stat == *names
    });
    log::debug!("list: STAT shows the same names as LIST: {same}");
    let profile = pool.profile();
    match same {
        true => {
            profile.learn(|learned| learned.listing.stat_lists = Support::Yes);
            profile.note_success(Capability::StatLists);
        }
        // Another client may have changed the directory between.
        false => profile.note_useless(Capability::StatLists, directory),
    }
}

fn is_comparable(directory: &[u8], names: &BTreeSet<Vec<u8>>) -> bool {
    is_plain(directory) && !names.is_empty() && names.len() < TRUSTED_LINES
}

/// The switch that shows hidden files, for servers on which it was seen to work with `LIST`.
pub const STAT_ALL: &str = "-a";

/// The entries in a reply, if it is certain to list the whole directory.
fn whole_listing(pool: &Pool, directory: &[u8], reply: &Reply) -> Option<Listed> {
    let inner = listed_lines(reply)?;
    if !is_plain(directory) || !names_itself(inner) || is_long(reply) {
        return None;
    }
    let mut collector = EntryCollector::new(Parser::list(mdtm_batch::clock(pool)), directory);
    for line in inner {
        // A reply is bounded.
        let _ = collector.line(line);
    }
    let listed = collector.finish(directory, Completeness::Whole);
    (listed.1 == Completeness::Whole).then_some(listed)
}

/// The lines of the listing in a successful reply: those between its first and its last.
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

/// Whether a reply may be cut off.
pub fn is_long(reply: &Reply) -> bool {
    reply.lines.len() > TRUSTED_LINES || reply.lines.last().is_some_and(|line| says_cut_off(line))
}

/// Whether no server takes the path for a pattern or for switches.
pub fn is_plain(path: &[u8]) -> bool {
    !path.iter().any(|byte| b"*?[]{}~\\".contains(byte)) && path.trim_ascii() == path
}

/// Limit of the nonce: offsets below it are accepted by every server, also by one that counts in 31 bits.
const NONCE_LIMIT: u64 = 1 << 31;

/// A number that the server has to repeat behind a listing, so that no name in it can be taken for a reply.
#[derive(Clone, Copy, Debug)]
pub struct Nonce(u64);

impl Nonce {
    /// A random one.
    pub fn new() -> Self {
        // The keys of `RandomState` are random, and so is its hash of nothing.
        Self(RandomState::new().hash_one(()) % NONCE_LIMIT)
    }

    /// The commands that ask for it. The second `REST` resets the first: it would be the offset of the next transfer.
    pub fn commands(self) -> [Command<'static>; 2] {
        [Command::Rest(self.0), Command::Rest(0)]
    }

    /// Whether `reply`, to the first of the commands, repeats it. If not, the connection is closed; the second time `STAT`
    /// is not used in this mount any more.
    pub fn is_repeated(
        self,
        reply: Option<&Reply>,
        control: &mut Control,
        profile: &Profile,
    ) -> bool {
        let is_genuine = reply.is_some_and(|reply| {
            let text = reply.text();
            let mut numbers = text.split(|c: char| !c.is_ascii_digit());
            reply.is_intermediate() && numbers.any(|number| number == self.0.to_string())
        });
        if !is_genuine {
            control.give_up();
            let is_second = profile.note_misfit(Order::StatMark) == Misfit::Mount;
            if is_second {
                profile.learn(|learned| learned.this_mount.ambiguous_stat = true);
            }
            log::info!(
                "list: replies cannot be distinguished from file names with line breaks{}",
                if is_second {
                    "; STAT disabled in this mount"
                } else {
                    ""
                }
            );
        }
        is_genuine
    }
}

/// Sends the commands as one flight that ends with a nonce, and returns the final reply to each. If the nonce does not come
/// back, the connection is closed.
pub fn flight_with_nonce(
    control: &mut Control,
    profile: &Profile,
    commands: &[Command<'_>],
    deadline: &Deadline,
) -> Result<Vec<Reply>> {
    let nonce = Nonce::new();
    let mut replies = control.flight(&[commands, &nonce.commands()].concat(), deadline)?;
    if !nonce.is_repeated(replies.get(commands.len()), control, profile) {
        let tried = commands.first().map(ToString::to_string);
        let cause = "replies cannot be distinguished from file names with line breaks";
        return Err(Error::lost(tried.unwrap_or_default(), cause));
    }
    replies.truncate(commands.len());
    Ok(replies)
}
