//! What was learned of a server in use: what it can and how it differs.
//!
//! The one idea: whatever can't be known from `FEAT` is tried once, where it is needed, and the
//! outcome is kept here for all connections, so that nothing is tried twice and no option is
//! needed. `kept.rs` keeps it for the next mount. Every field is a fact about the server, not about a connection.
//!
//! Lock order: the lock here is held for a moment only and nothing is called under it.

pub(crate) mod file;
pub mod format;
pub(crate) mod partial_store;
pub(crate) mod store;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ftp::listing::timezone::Zone;
use crate::ftp::protocol::features::Features;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::parse_time_val;

/// What is known of a server.
#[derive(Debug, Default)]
pub struct Profile {
    learned: Mutex<Learned>,
    revision: AtomicU64,
}

/// The facts; `None` is "not tried yet".
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// The reply to `FEAT`.
    pub features: Features,
    /// A digest of the greeting and the features, by which the server is known again.
    pub print: u64,
    /// How data connections come about here.
    pub ways: Ways,
    /// Data connections resume their session only with TLS 1.2.
    pub steps_back: bool,
    /// The server says when an encrypted data connection is at its end.
    pub ends_in_full: bool,
    /// A transfer's command may fly with the `EPRT` or `PORT` before it.
    pub active_flights: Option<bool>,
    /// Several commands that come at once are all answered.
    pub flights: Option<bool>,
    /// Flights that were lost one after the other, on a server that had answered some.
    pub flights_lost: u32,
    /// `AUTH TLS` was refused in this mount.
    pub no_auth: bool,
    /// A spare data connection is to be asked for only behind the final reply: what came before it was
    /// answered first.
    pub late_spares: bool,
    /// What transfers that could not begin over a spare data connection weigh, less those that did so since.
    pub spare_debt: u32,
    /// `PRET` must say what a data connection is for.
    pub pret: bool,
    /// `MLSD` is offered but refused.
    pub no_mlsd: bool,
    /// `MLST` answers; where not, it is offered but refused, or answered over a data connection (uftpd).
    pub mlst: Option<bool>,
    /// `LIST -a` shows the hidden files and is not taken for a name.
    pub list_all: Option<bool>,
    /// A listing over a data connection that was made before its directory was entered is of that directory.
    pub lists_entered: Option<bool>,
    /// `STAT -a` shows what `LIST -a` does.
    pub stat_lists: Option<bool>,
    /// `STAT` had no answer in this mount.
    pub silent_stat: bool,
    /// The replies to `STAT`, and those that come with them, can't be told from what names say, in this mount.
    pub unsealed: bool,
    /// Names are not to be asked for by `STAT` in this mount: a directory was long, or the answer none.
    pub no_glances: bool,
    /// Seconds east of UTC of the times in `LIST`.
    pub zone: Option<i32>,
    /// The zone was seen in this mount, not only in an earlier one.
    pub zone_seen: bool,
    /// `MDTM` answers.
    pub mdtm: Option<bool>,
    /// The zone in which `MDTM` speaks, in this mount, where that is not UTC as it should be (vsftpd's `use_localtime`).
    pub mdtm_zone: Option<Zone>,
    /// `SITE CHMOD` works.
    pub chmod: Option<bool>,
    /// What sets times; `Some(None)` when nothing does.
    pub sets_times: Option<Option<TimeSetter>>,
    /// `APPE` works.
    pub appe: Option<bool>,
    /// `APPE` was seen to keep the bytes that were there; rclone's FTP server replaces the file.
    pub appends: bool,
    /// `REST` before `STOR` writes from there on.
    pub stor_at: Option<bool>,
    /// What lies behind the last byte of such a `STOR` stays.
    pub stor_keeps: Option<bool>,
    /// A command that comes in one write with a listing's is answered behind its final reply.
    pub follows: Option<bool>,
    /// Commands that come in one write with an upload's are answered behind its final reply.
    pub answers_behind: Option<bool>,
    /// The bytes of an upload may come before the server has said yes to it.
    pub early_data: Option<bool>,
    /// `SITE QUOTA` tells what is left of a quota.
    pub site_quota: Option<bool>,
    /// `REST` before `RETR` works.
    pub rest: Option<bool>,
    /// The largest offset at which that was seen in this mount.
    pub rest_reach: u64,
    /// Parts of files that were taken in this mount.
    pub taken_parts: Vec<Part>,
    /// The part that was refused last, in this mount, perhaps for being one.
    pub refused_part: Option<RefusedPart>,
    /// The part that was refused for now (4xx) where the whole file was then taken, in this mount.
    pub doubted_part: Option<Part>,
}

/// A part of a file that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPart {
    /// How it was to be stored.
    pub part: Part,
    /// The file's absolute path.
    pub path: Vec<u8>,
    /// Refused for good (5xx, or in words of rights), and not just for now (4xx, RFC 959 section 4.2.1).
    pub is_lasting: bool,
}

/// How a part of a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// At the end, by `APPE`.
    Behind,
    /// At its place, by `STOR` behind `REST`.
    Within,
}

/// How data connections come about: what worked, and before that what was tried in vain.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// What brought a transfer.
    pub works: Option<Way>,
    /// What did so in an earlier mount: to be tried first.
    pub before: Option<Way>,
    /// What did not, and why.
    pub failed: Vec<(Way, String)>,
}

impl Ways {
    /// The one to go first: what works, or did so in an earlier mount and was not seen to fail in this one.
    pub fn likely(&self) -> Option<Way> {
        let failed = |way: &Way| self.failed.iter().any(|(failed, _)| failed == way);
        self.works.or(self.before.filter(|way| !failed(way)))
    }
}

/// The four ways to a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// We connect to a port that `EPSV` names (RFC 2428).
    Epsv,
    /// We connect to a port that `PASV` names (RFC 959).
    Pasv,
    /// The server connects to where `EPRT` says (RFC 2428).
    Eprt,
    /// The server connects to where `PORT` says (RFC 959).
    Port,
}

impl Way {
    /// Whether the server connects to us.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Eprt | Self::Port)
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Epsv => "EPSV",
            Self::Pasv => "PASV",
            Self::Eprt => "EPRT",
            Self::Port => "PORT",
        })
    }
}

/// The commands by which servers set the time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSetter {
    /// `MFMT time path` (draft-somers-ftp-mfxx).
    Mfmt,
    /// `MDTM time path` (vsftpd and others).
    Mdtm,
    /// `SITE UTIME time path`.
    SiteUtime,
    /// `SITE UTIME path atime mtime ctime UTC`.
    SiteUtimeLong,
}

/// Offsets from which on servers that count in 32 bits, with a sign or without, begin elsewhere.
const WRAPS: [u64; 2] = [1 << 31, 1 << 32];

impl Learned {
    /// Whether `STAT` may be asked in this mount: `MLST` says more.
    pub fn asks_stat(&self) -> bool {
        !self.features.mlst() && !self.silent_stat && !self.unsealed
    }

    /// The server takes no such parts of files.
    pub fn lacks(&mut self, part: Part) {
        match part {
            Part::Behind => self.appe = Some(false),
            Part::Within => self.stor_at = Some(false),
        }
    }

    /// Whether `MLST` tells of one name (RFC 3659 section 7).
    pub fn stats(&self) -> bool {
        self.features.mlst() && self.mlst != Some(false)
    }

    /// Whether `REST` was seen to be obeyed, or not, in a place that tells of this offset too.
    pub fn knows_rest_at(&self, offset: u64) -> bool {
        let wraps = |offset: u64| WRAPS.iter().filter(|&&wrap| offset >= wrap).count();
        match self.rest {
            Some(true) => wraps(offset) <= wraps(self.rest_reach),
            Some(false) => true,
            None => false,
        }
    }

    /// The time in a reply to `MDTM` (RFC 3659 section 3), in seconds since 1970, UTC.
    pub fn mdtm_time(&self, reply: &Reply) -> Option<i64> {
        let said = parse_time_val(reply.lines.first().filter(|_| reply.is_completion())?)?;
        Some(
            self.mdtm_zone
                .as_ref()
                .map_or(said, |zone| zone.to_utc(said)),
        )
    }

    /// A time as this server's `MDTM` is to be told it.
    pub fn told_to_mdtm(&self, time: i64) -> i64 {
        self.mdtm_zone
            .as_ref()
            .map_or(time, |zone| zone.to_local(time))
    }
}

impl Profile {
    /// What is known now.
    pub fn get(&self) -> Learned {
        self.learned.lock().clone()
    }

    /// One fact.
    pub fn ask<T>(&self, fact: impl FnOnce(&Learned) -> T) -> T {
        fact(&self.learned.lock())
    }

    /// Notes a fact.
    pub fn learn(&self, change: impl FnOnce(&mut Learned)) {
        change(&mut self.learned.lock());
        self.revision.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that changes whenever something was learned.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_known_as_far_as_a_server_that_counts_in_32_bits_would_show_it() {
        let known = |rest, rest_reach, offset| {
            let learned = Learned {
                rest,
                rest_reach,
                ..Learned::default()
            };
            learned.knows_rest_at(offset)
        };
        let (two, four) = (1 << 31, 1 << 32);
        assert!(!known(None, 0, 1));
        assert!(known(Some(true), 0, two - 1));
        assert!(!known(Some(true), 0, two));
        assert!(known(Some(true), two, four - 1));
        assert!(!known(Some(true), two, four));
        assert!(known(Some(true), four, u64::MAX));
        assert!(known(Some(false), 0, u64::MAX));
    }
}
