//! Exact times, where a listing rounds them.
//!
//! The one idea: `LIST` shows minutes, or days, of a clock in the server's zone. `MDTM` tells seconds in
//! UTC; those of all files fly together, one round trip for a directory or for many, before anything is
//! shown, so that a file never shows one time and then another. The first file that has both tells
//! the zone of all others.

use crate::ftp::control::{Control, FEW_COMMANDS};
use crate::ftp::listing::Clock;
use crate::ftp::pool::Pool;
use crate::ftp::profile::Support;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::below;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::now;
use crate::remote::{Deadline, Entry, Kind, Modified, Precision, Result};

/// A directory's entries, with the times that a clock on the server shows.
pub struct Listing<'a> {
    /// The directory: absolute, in the server's bytes.
    pub directory: &'a [u8],
    /// The entries, with names in the server's bytes.
    pub entries: &'a mut [Entry],
}

/// Commands whose replies are kept at once.
const FLIGHT: usize = 1000;
/// Seconds by which a zone can differ from UTC.
const FARTHEST_ZONE: i64 = 14 * 3600;

/// The clock by which the server's listings are to be read.
pub fn clock(pool: &Pool) -> Clock {
    let now = now();
    Clock {
        now: now + i64::from(offset(pool, now)),
        zone: 0,
    }
}

/// Seconds by which the server's clock is shown east of UTC at `now`, as far as known.
fn offset(pool: &Pool, now: i64) -> i32 {
    match &pool.endpoint().manner.zone {
        Some(zone) => zone.offset(now),
        None => pool
            .profile()
            .ask(|learned| learned.attributes.zone)
            .unwrap_or(0),
    }
}

/// Whether `MDTM` said what the listing says, in a zone where that can't be UTC.
fn mdtm_is_local(pool: &Pool, listings: &[Listing<'_>], exact: &[(Place, i64)]) -> bool {
    let unknown = pool
        .profile()
        .ask(|learned| learned.this_mount.mdtm_zone.is_none());
    let as_listed = |&((number, at), seconds): &(Place, i64)| {
        let listed = listings[number].entries[at].attributes.modified;
        listed.and_then(|listed| offset_of(listed, seconds)) == Some(0)
            && offset(pool, seconds) != 0
    };
    unknown && exact.iter().any(as_listed)
}

/// The absolute paths of the first files of which [`settle`] will want the exact time, in that order; none of a server of
/// which it is not known yet that it tells.
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

/// Asks for the exact times of files, as many as are wanted, learns the zone from the first, and
/// makes UTC of all other times. `early` are the replies for the first of them, where those were asked for before.
pub fn settle(
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
    let mut exact = said(pool, &early, answered);
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

/// How many exact times are wanted: of all files, or of one that tells the zone.
fn wanted(pool: &Pool) -> usize {
    match (pool.endpoint().manner.exact_times, is_zone_known(pool)) {
        (true, _) => usize::MAX,
        (false, true) => 0,
        (false, false) => 1,
    }
}

/// Whether the exact time of a file is wanted at all.
pub fn is_wanted(pool: &Pool) -> bool {
    wanted(pool) > 0
}

/// Whether the exact time of this one file would be understood: where the server's zone was told, its own `MDTM` shows
/// whether that speaks in it, unless the listing has but a day to compare with.
pub fn is_understood(pool: &Pool, entry: &Entry) -> bool {
    let unknown = pool
        .profile()
        .ask(|learned| learned.this_mount.mdtm_zone.is_none());
    let has_minutes = |modified: Modified| modified.precision != Precision::Day;
    pool.endpoint().manner.zone.is_none()
        || !unknown
        || entry.attributes.modified.is_some_and(has_minutes)
}

/// Whether it is known in which zone listings tell the time.
pub fn is_zone_known(pool: &Pool) -> bool {
    pool.endpoint().manner.zone.is_some()
        || pool.profile().ask(|learned| learned.this_mount.zone_seen)
}

/// Whether the exact time of a file is to be asked for, and can be.
fn is_asked(pool: &Pool, directory: &[u8], entry: &Entry) -> bool {
    let exact = |modified: Modified| modified.precision == Precision::Second;
    let is_rounded =
        entry.attributes.kind == Kind::File && !entry.attributes.modified.is_some_and(exact);
    is_rounded && pool.place().takes(&below(directory, &entry.name))
}

/// Which entry: the number of its listing, and its place there.
type Place = (usize, usize);

/// The exact times of the files at those places, in as few flights as can be; of some less when the
/// server does not tell.
fn ask(
    pool: &Pool,
    control: &mut Control,
    listings: &[Listing<'_>],
    files: &[Place],
    deadline: &Deadline,
) -> Result<Vec<(Place, i64)>> {
    let profile = pool.profile();
    let mut times = Vec::with_capacity(files.len());
    let mut left = files;
    while !left.is_empty() {
        let alone = match profile.ask(|learned| learned.attributes.mdtm) {
            Support::No => break,
            // The first goes alone where MDTM was never tried: no flight of a thousand refusals.
            Support::Unknown => 1,
            Support::Yes => FLIGHT,
        };
        let (now, later) = left.split_at(left.len().min(alone));
        left = later;
        let path = |&(number, at): &Place| {
            let listing = &listings[number];
            below(listing.directory, &listing.entries[at].name)
        };
        let paths: Vec<Vec<u8>> = now.iter().map(path).collect();
        let flight: Vec<_> = paths.iter().map(|path| Command::Mdtm(path)).collect();
        let replies = control.flight(&flight, deadline)?;
        times.extend(said(pool, &replies, now));
    }
    Ok(times)
}

/// What the replies to `MDTM` say of the files at those places.
fn said(pool: &Pool, replies: &[Reply], files: &[Place]) -> Vec<(Place, i64)> {
    let profile = pool.profile();
    let mut times = Vec::with_capacity(files.len());
    for (reply, &place) in replies.iter().zip(files) {
        profile
            .learn(|learned| learned.attributes.mdtm = Support::from(!reply.is_unknown_command()));
        let time = profile.ask(|learned| learned.mdtm_time(reply));
        times.extend(time.map(|seconds| (place, seconds)));
    }
    times
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
