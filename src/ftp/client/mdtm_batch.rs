//! Asks for exact times by pipelined `MDTM` where a listing rounds them.
//!
//! `LIST` shows minutes, or days, of a clock in the server's time zone; `MDTM` reports seconds in UTC. The commands for all files
//! of a directory, or of many, are pipelined in one round trip before any entry is shown, so that a file never shows one time
//! and then another. The first file that has both times reveals the zone of all others.

use crate::ftp::control::{Control, FEW_COMMANDS};
use crate::ftp::listing::Clock;
use crate::ftp::pool::Pool;
use crate::ftp::profile::Support;
use crate::ftp::profile::evidence::Capability;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::below;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::now;
use crate::remote::{Deadline, Entry, Kind, Modified, Precision, Result};

/// A directory's entries, with times of the server's clock.
pub struct Listing<'a> {
    /// The directory: absolute, in the server's bytes.
    pub directory: &'a [u8],
    /// The entries, with names in the server's bytes.
    pub entries: &'a mut [Entry],
}

/// The most commands in one flight.
const MDTM_PER_FLIGHT: usize = 1000;
/// By how much a flight may be larger than the one before it, while no reply has shown that the server has `MDTM`.
const FLIGHT_GROWTH: usize = 8;
/// The largest offset of a time zone from UTC, in seconds.
const MAX_ZONE_OFFSET: i64 = 14 * 3600;

/// The clock by which the server's listings are parsed.
pub fn clock(pool: &Pool) -> Clock {
    let now = now();
    Clock {
        now: now + i64::from(offset(pool, now)),
        zone: 0,
    }
}

/// The offset of the server's clock at `now` in seconds east of UTC, as far as known.
fn offset(pool: &Pool, now: i64) -> i32 {
    match &pool.endpoint().manner.zone {
        Some(zone) => zone.offset(now),
        None => pool
            .profile()
            .ask(|learned| learned.attributes.zone)
            .unwrap_or(0),
    }
}

/// Whether `MDTM` reported the local time that the listing shows, in a zone other than UTC.
fn mdtm_is_local(pool: &Pool, listings: &[Listing<'_>], exact: &[(EntryIndex, i64)]) -> bool {
    let unknown = pool
        .profile()
        .ask(|learned| learned.this_mount.mdtm_zone.is_none());
    let as_listed = |&((number, at), seconds): &(EntryIndex, i64)| {
        let listed = listings[number].entries[at].attributes.modified;
        listed.and_then(|listed| offset_of(listed, seconds)) == Some(0)
            && offset(pool, seconds) != 0
    };
    unknown && exact.iter().any(as_listed)
}

/// The absolute paths of the first files whose exact time [`ask_exact_times`] will ask for, in that order; none while it is unknown
/// whether the server has `MDTM`.
pub fn wanted_paths(pool: &Pool, directory: &[u8], entries: &[Entry]) -> Vec<Vec<u8>> {
    if pool.profile().ask(|learned| learned.attributes.mdtm) != Support::Yes {
        return Vec::new();
    }
    let asks = entries
        .iter()
        .filter(|entry| is_asked(pool, directory, entry));
    let wanted = asks.take(wanted(pool).min(FEW_COMMANDS));
    wanted.map(|entry| below(directory, &entry.name)).collect()
}

/// Asks for the exact times of the files that need one, learns the zone from the first, and converts all other times to UTC.
/// `early` are the replies for the first files, where those were asked for before.
pub fn ask_exact_times(
    pool: &Pool,
    control: &mut Control,
    listings: &mut [Listing<'_>],
    early: Vec<Reply>,
    deadline: &Deadline,
) -> Result<()> {
    let (manner, profile) = (&pool.endpoint().manner, pool.profile());
    let mut files = Vec::new();
    for (number, listing) in listings.iter().enumerate() {
        let asks = |at: &usize| is_asked(pool, listing.directory, &listing.entries[*at]);
        files.extend(
            (0..listing.entries.len())
                .filter(asks)
                .map(|at| (number, at)),
        );
    }
    files.truncate(wanted(pool));
    let (answered, left) = files.split_at(early.len().min(files.len()));
    let path = |&(number, at): &EntryIndex| {
        let listing = &listings[number];
        below(listing.directory, &listing.entries[at].name)
    };
    let paths: Vec<Vec<u8>> = answered.iter().map(path).collect();
    let mut exact = parse_replies(pool, &paths, &early, answered);
    exact.extend(ask(pool, control, listings, left, deadline)?);
    let zone_known = is_zone_known(pool);
    if !zone_known {
        let offset = exact.iter().find_map(|&((number, at), seconds)| {
            offset_of(listings[number].entries[at].attributes.modified?, seconds)
        });
        profile.learn(|learned| {
            learned.attributes.zone = offset.or(learned.attributes.zone);
            learned.this_mount.zone_seen = offset.is_some();
        });
    }
    if let Some(zone) = &manner.zone
        && mdtm_is_local(pool, listings, &exact)
    {
        profile.learn(|learned| learned.this_mount.mdtm_zone = Some(zone.clone()));
        for (_, seconds) in &mut exact {
            *seconds = zone.to_utc(*seconds);
        }
    }
    let learned = profile.ask(|learned| learned.attributes.zone).unwrap_or(0);
    for entry in listings
        .iter_mut()
        .flat_map(|listing| listing.entries.iter_mut())
    {
        if let Some(modified) = &mut entry.attributes.modified {
            modified.seconds = match &manner.zone {
                Some(zone) => zone.to_utc(modified.seconds),
                None => modified.seconds - i64::from(learned),
            };
        }
    }
    for ((number, at), seconds) in exact {
        listings[number].entries[at].attributes.modified = Some(Modified {
            seconds,
            precision: Precision::Second,
        });
    }
    Ok(())
}

/// The number of exact times to ask for: of all files, or of one that reveals the zone.
fn wanted(pool: &Pool) -> usize {
    match (pool.endpoint().manner.exact_times, is_zone_known(pool)) {
        (true, _) => usize::MAX,
        (false, true) => 0,
        (false, false) => 1,
    }
}

/// Whether exact times are asked for at all.
pub fn is_wanted(pool: &Pool) -> bool {
    wanted(pool) > 0
}

/// Whether the reply to `MDTM` of this one file could be interpreted. Where `timezone=` is set, comparing it with the listing
/// shows whether `MDTM` is local or UTC, unless the listing shows only a day.
pub fn is_interpretable(pool: &Pool, entry: &Entry) -> bool {
    let unknown = pool
        .profile()
        .ask(|learned| learned.this_mount.mdtm_zone.is_none());
    let has_minutes = |modified: Modified| modified.precision != Precision::Day;
    pool.endpoint().manner.zone.is_none()
        || !unknown
        || entry.attributes.modified.is_some_and(has_minutes)
}

/// Whether the time zone of listings is known.
pub fn is_zone_known(pool: &Pool) -> bool {
    pool.endpoint().manner.zone.is_some()
        || pool.profile().ask(|learned| learned.this_mount.zone_seen)
}

/// Whether to ask for the exact time of an entry.
fn is_asked(pool: &Pool, directory: &[u8], entry: &Entry) -> bool {
    let exact = |modified: Modified| modified.precision == Precision::Second;
    let is_rounded =
        entry.attributes.kind == Kind::File && !entry.attributes.modified.is_some_and(exact);
    is_rounded && pool.root().takes(&below(directory, &entry.name))
}

/// The index of a listing, and of an entry in it.
type EntryIndex = (usize, usize);

/// Asks for the exact times of these files in as few flights as possible; files that the server has no time for are left
/// out.
fn ask(
    pool: &Pool,
    control: &mut Control,
    listings: &[Listing<'_>],
    files: &[EntryIndex],
    deadline: &Deadline,
) -> Result<Vec<(EntryIndex, i64)>> {
    let profile = pool.profile();
    let mut times = Vec::with_capacity(files.len());
    let mut left = files;
    // The first goes alone where MDTM was never tried: no flight of a thousand refusals.
    let mut alone = 1;
    while !left.is_empty() {
        let number = match profile.ask(|learned| learned.attributes.mdtm) {
            Support::No => break,
            Support::Unknown => alone,
            Support::Yes => MDTM_PER_FLIGHT,
        };
        let (now, later) = left.split_at(left.len().min(number));
        left = later;
        let path = |&(number, at): &EntryIndex| {
            let listing = &listings[number];
            below(listing.directory, &listing.entries[at].name)
        };
        let paths: Vec<Vec<u8>> = now.iter().map(path).collect();
        let flight: Vec<_> = paths.iter().map(|path| Command::Mdtm(path)).collect();
        let replies = control.flight(&flight, deadline)?;
        times.extend(parse_replies(pool, &paths, &replies, now));
        alone = alone.saturating_mul(FLIGHT_GROWTH).min(MDTM_PER_FLIGHT);
    }
    Ok(times)
}

/// The times in the replies to `MDTM` for these files.
fn parse_replies(
    pool: &Pool,
    paths: &[Vec<u8>],
    replies: &[Reply],
    files: &[EntryIndex],
) -> Vec<(EntryIndex, i64)> {
    let profile = pool.profile();
    let mut times = Vec::with_capacity(files.len());
    for ((path, reply), &place) in paths.iter().zip(replies).zip(files) {
        profile.note(Capability::Mdtm, path, reply);
        let time = profile.ask(|learned| learned.mdtm_time(reply));
        times.extend(time.map(|seconds| (place, seconds)));
    }
    times
}

/// The zone's offset in seconds east of UTC, if a listed time (parsed as UTC) and an exact one differ by whole quarters of an
/// hour.
fn offset_of(listed: Modified, exact: i64) -> Option<i32> {
    const QUARTER: i64 = 900;
    if listed.precision != Precision::Minute {
        return None;
    }
    let difference = listed.seconds - (exact - exact.rem_euclid(60));
    let fits = difference % QUARTER == 0 && difference.abs() <= MAX_ZONE_OFFSET;
    i32::try_from(difference).ok().filter(|_| fits)
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
}
