//! Holds what was learned of a server: what it supports and how it deviates from the RFCs.
//!
//! What `FEAT` does not tell is tried once, where it is needed, and the outcome is kept here for all connections, so
//! that nothing is tried twice and no option is needed. Every field is a fact about the server, not about a connection.
//!
//! * `evidence`: decides what a reply proves
//! * `partial_store`: decides whether a refused append or patch concerns the file, or all partial stores
//! * `store`: keeps profiles from one mount to the next
//! * `format`: the text format of a stored profile
//! * `file`: reads and writes the file of one profile
//!
//! # Lock order
//!
//! The lock is held for a moment only, and nothing is called under it.

pub mod evidence;
pub(crate) mod file;
pub mod format;
pub(crate) mod partial_store;
pub(crate) mod store;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ftp::listing::timezone::Zone;
use crate::ftp::profile::evidence::Refusal;
use crate::ftp::profile::evidence::order::ORDERS;
use crate::ftp::protocol::features::Features;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::parse_time_val;

/// What was learned of a server.
#[derive(Debug, Default)]
pub struct Profile {
    learned: Mutex<Learned>,
    revision: AtomicU64,
}

/// Whether the server supports something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Support {
    /// Not tried yet.
    #[default]
    Unknown,
    /// It worked.
    Yes,
    /// It was refused, or failed.
    No,
}

impl Support {
    /// Whether it was not tried yet.
    pub fn is_unknown(self) -> bool {
        self == Self::Unknown
    }

    /// Whether it was tried.
    pub fn is_known(self) -> bool {
        !self.is_unknown()
    }

    /// The answer; `None` where it was not tried yet.
    pub fn known(self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Yes => Some(true),
            Self::No => Some(false),
        }
    }

    /// This answer, or `other` where there is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Unknown => other,
            known => known,
        }
    }
}

impl From<bool> for Support {
    fn from(works: bool) -> Self {
        match works {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

impl From<Option<bool>> for Support {
    fn from(works: Option<bool>) -> Self {
        works.map_or(Self::Unknown, Self::from)
    }
}

/// The facts about a server, in groups. All but [`ThisMount`] are stored for later mounts, of the features only those that a
/// login needs.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// The reply to `FEAT`, which each mount asks for.
    pub features: Features,
    /// The same, as it was given: refusals take from [`Self::features`].
    pub offered: Features,
    /// Digest of the greeting and the features, which identifies the server of a stored profile.
    pub print: u64,
    /// Data connections.
    pub data: DataConnections,
    /// Commands and data that are sent before the replies to earlier commands.
    pub pipelining: PipeliningSupport,
    /// Listings.
    pub listing: ListingSupport,
    /// Transfers of parts of files.
    pub partial: PartialTransfers,
    /// Attributes of files, and the space that is left.
    pub attributes: AttributeSupport,
    /// `RNTO` refuses to replace a file, which is moved aside for it.
    pub moves_aside: bool,
    /// The server ends a session when another one logs in: one connection is made.
    pub one_session: bool,
    /// Commands that change something take paths; `No` where they take names in the working directory only.
    pub paths: Support,
    /// Names that are not UTF-8.
    pub names: NameSupport,
    /// What counts for this mount only.
    pub this_mount: ThisMount,
}

/// Which names the server stores as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameSupport {
    /// Names that are not UTF-8.
    pub raw: Support,
    /// Names with the byte 255 (IAC), which is sent twice (RFC 854).
    pub iac: Support,
}

/// How data connections are made.
#[derive(Clone, Debug, Default)]
pub struct DataConnections {
    /// The commands that were tried.
    pub modes: DataModes,
    /// Data connections resume their session only with TLS 1.2.
    pub tls12_only: bool,
    /// `EPRT` or `PORT` and the transfer's command may be sent in one write.
    pub active_pipelining: Support,
    /// A data connection for a later transfer may be requested only after the final reply: the server answered an
    /// earlier request before that reply.
    pub late_preconnect: bool,
    /// `PRET` must name the transfer before its data connection is requested.
    pub needs_pret: bool,
}

/// What may be sent before earlier commands are answered.
#[derive(Clone, Debug, Default)]
pub struct PipeliningSupport {
    /// Several commands in one write are all answered.
    pub commands: Support,
    /// A command in one write with `RETR` or a listing is answered after the final reply to it.
    pub after_download: Support,
    /// Commands in one write with `STOR` or `APPE` are answered after the final reply to it.
    pub after_upload: Support,
    /// The first bytes of an upload may arrive before the 150.
    pub early_data: Support,
    /// Some commands are answered twice: what comes after a reply, before the next command, is dropped.
    pub doubles: bool,
}

/// How directories and single names are listed.
#[derive(Clone, Debug, Default)]
pub struct ListingSupport {
    /// `MLSD` works. `No` where it is refused although the reply to `FEAT` has it.
    pub mlsd: Support,
    /// `MLST` is answered on the control connection. `No` where it is refused although the reply to `FEAT` has it, or
    /// answered over a data connection (uftpd).
    pub mlst: Support,
    /// `LIST -a` shows hidden files, and `-a` is not taken for a name.
    pub list_all: Support,
    /// A listing over a data connection that was made before `CWD` is of the directory which `CWD` entered.
    pub late_cwd: Support,
    /// Listings may lack directories that `CWD` enters (virtual directories of IIS).
    pub hides_directories: bool,
    /// `STAT -a` shows the same as `LIST -a`.
    pub stat_lists: Support,
}

/// Which parts of files can be transferred.
#[derive(Clone, Debug, Default)]
pub struct PartialTransfers {
    /// `APPE` works.
    pub appe: Support,
    /// `APPE` was seen to keep the bytes that were there; rclone's FTP server replaces the file.
    pub appe_keeps: bool,
    /// `STOR` after `REST` writes from that offset on.
    pub rest_stor: Support,
    /// Such a `STOR` keeps what lies after its last byte.
    pub rest_stor_keeps: Support,
    /// Such a `STOR` beyond the end of a file makes zeros of what lies between.
    pub rest_stor_beyond: Support,
    /// `RETR` after `REST` begins at that offset.
    pub rest_retr: Support,
}

/// Which attributes the server shows and sets.
#[derive(Clone, Debug, Default)]
pub struct AttributeSupport {
    /// Seconds east of UTC of the times in `LIST`.
    pub zone: Option<i32>,
    /// `MDTM` is answered.
    pub mdtm: Support,
    /// The command that sets times; `Some(None)` when none does.
    pub time_setter: Option<Option<TimeSetter>>,
    /// `SITE CHMOD` works.
    pub chmod: Support,
    /// `SITE QUOTA` shows what is left of a quota.
    pub site_quota: Support,
}

/// Faults of pipelining that this mount has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipeliningFaults {
    /// A login whose later commands were sent before the reply to `FEAT` has failed.
    pub early_login: bool,
    /// Logins in which the session has ended after the password was accepted.
    pub ended_logins: u32,
    /// Pipelining was disabled for these, on trial.
    pub suspended: bool,
    /// By [`Order`](evidence::order::Order): a reply did not fit its place.
    pub misfits: [bool; ORDERS],
    /// Pipelined commands that were lost in a row, on a server that had answered some.
    pub lost: u32,
}

/// Facts that are not stored: they may be accidents of this mount, or protect it only while the server keeps to them.
#[derive(Clone, Debug, Default)]
pub struct ThisMount {
    /// The server ends encrypted data connections with close_notify.
    pub tls_close_notify: bool,
    /// Faults of pipelining, until they end it.
    pub pipelining_faults: PipeliningFaults,
    /// How `AUTH TLS` fared.
    pub auth_tls: AuthTls,
    /// How transfers start.
    pub starts: TransferStarts,
    /// What a login leaves out.
    pub skips: SkippedCommands,
    /// Weight of the transfers that failed to start over a preconnected data connection, less those that started since.
    pub preconnect_debt: u32,
    /// `STAT` had no reply.
    pub silent_stat: bool,
    /// File names can look like replies to `STAT`, or to what is pipelined with it.
    pub ambiguous_stat: bool,
    /// Single names are not to be looked up by `STAT`: a directory was long, or the answer unusable.
    pub no_stat_by_list: bool,
    /// [`AttributeSupport::zone`] was seen in this mount, not only in an earlier one.
    pub zone_seen: bool,
    /// The time zone of `MDTM` where it is not UTC as RFC 3659 requires (vsftpd's `use_localtime`).
    pub mdtm_zone: Option<Zone>,
    /// The largest offset, in bytes, at which [`PartialTransfers::rest_retr`] was seen.
    pub rest_retr_reach: u64,
    /// Which parts of files were stored and refused.
    pub parts: PartsSeen,
    /// Ways to data connections that were refused for the moment.
    pub modes_refused_once: Vec<DataMode>,
    /// Where a capability was refused for a path since it last worked: the directory of the first such path.
    pub refused_in: Vec<Refusal>,
}

/// How `AUTH TLS` fared on a server that was never seen to encrypt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthTls {
    /// It was not refused.
    #[default]
    Possible,
    /// The server has agreed and then spoken no TLS, once: that may be an accident.
    Doubtful,
    /// It was refused, or the server has not kept to its consent again: the next connections go in clear.
    Refused,
}

/// Commands that are not sent at a login: more replies than commands came in a login with them, or the session ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct SkippedCommands {
    /// `OPTS` and `SYST`.
    pub opts: bool,
    /// `FEAT`.
    pub feat: bool,
}

/// How transfers start on this server.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransferStarts {
    /// `PROT P` holds for one transfer.
    pub forgets_prot: bool,
    /// Transfers in a row of which no preliminary reply came before the data.
    pub late: u32,
    /// The passive port that was named last.
    pub port: u16,
    /// How often in a row it was.
    pub same_port: u32,
}

/// Which parts of files were stored and refused.
#[derive(Clone, Debug, Default)]
pub struct PartsSeen {
    /// Those that were stored.
    pub taken: Vec<Part>,
    /// The one that was refused last, perhaps for being a part.
    pub refused: Option<RefusedPart>,
    /// One that was refused, without being said to be refused for that, where the whole file was stored afterwards.
    pub doubted: Option<Part>,
    /// One beyond the end, and beyond 4 GiB, has come to lie there.
    pub reaches_far: bool,
}

/// A part of a file that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPart {
    /// How it was to be stored.
    pub part: Part,
    /// The file's absolute path.
    pub path: Vec<u8>,
    /// The refusal says that it is one of parts.
    pub names_parts: bool,
}

/// How a part of a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// At the end, by `APPE`.
    Append,
    /// At its place, by `STOR` after `REST`.
    InPlace,
    /// Beyond the end, by `STOR` after `REST`.
    Beyond,
}

/// How data connections are made: what worked, and until then what failed.
#[derive(Clone, Debug, Default)]
pub struct DataModes {
    /// The way over which a transfer has started.
    pub works: Option<DataMode>,
    /// The way that worked in an earlier mount: to be tried first.
    pub before: Option<DataMode>,
    /// The ways that failed, and why.
    pub failed: Vec<FailedMode>,
    /// No other way takes the place of `works`: each is tested by itself (`ftpfs probe`).
    pub is_fixed: bool,
}

/// A way that failed.
#[derive(Clone, Debug)]
pub struct FailedMode {
    /// Which one.
    pub mode: DataMode,
    /// The error.
    pub cause: String,
    /// What the error is about.
    pub failure: ModeFailure,
}

/// What the failure of a way is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeFailure {
    /// The command: the server does not support it.
    Command,
    /// The data connection.
    Connection,
    /// This moment.
    Moment,
}

impl DataModes {
    /// The way to try first: one that works, or worked in an earlier mount and has not failed in this one.
    pub fn likely(&self) -> Option<DataMode> {
        let failed = |way: &DataMode| self.failed.iter().any(|failed| failed.mode == *way);
        self.works.or(self.before.filter(|way| !failed(way)))
    }
}

/// The commands that make a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataMode {
    /// We connect to a port that `EPSV` names (RFC 2428).
    Epsv,
    /// We connect to a port that `PASV` names (RFC 959).
    Pasv,
    /// The server connects to where `EPRT` says (RFC 2428).
    Eprt,
    /// The server connects to where `PORT` says (RFC 959).
    Port,
}

impl DataMode {
    /// Whether the server connects to us.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Eprt | Self::Port)
    }
}

impl std::fmt::Display for DataMode {
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
pub const WRAPS: [u64; 2] = [1 << 31, 1 << 32];

impl Learned {
    /// Whether `STAT` may be asked in this mount: `MLST` says more.
    pub fn asks_stat(&self) -> bool {
        !self.features.mlst() && !self.this_mount.silent_stat && !self.this_mount.ambiguous_stat
    }

    /// Whether the server was seen to make zeros of what lies between the end of a file and a part stored beyond it.
    pub fn makes_holes(&self) -> bool {
        let partial = &self.partial;
        partial.rest_stor_beyond == Support::Yes
            && partial.rest_stor != Support::No
            && partial.rest_retr != Support::No
    }

    /// The server stores no such parts of files.
    pub fn lacks(&mut self, part: Part) {
        match part {
            Part::Append => self.partial.appe = Support::No,
            Part::InPlace => self.partial.rest_stor = Support::No,
            Part::Beyond => self.partial.rest_stor_beyond = Support::No,
        }
    }

    /// Whether `MLST` answers for one name (RFC 3659 section 7).
    pub fn stats(&self) -> bool {
        self.features.mlst() && self.listing.mlst != Support::No
    }

    /// Whether it was seen that `REST` is obeyed, or not, at an offset that shows it for this one too.
    pub fn knows_rest_at(&self, offset: u64) -> bool {
        let wraps = |offset: u64| WRAPS.iter().filter(|&&wrap| offset >= wrap).count();
        match self.partial.rest_retr {
            Support::Yes => wraps(offset) <= wraps(self.this_mount.rest_retr_reach),
            Support::No => true,
            Support::Unknown => false,
        }
    }

    /// Whether a part stored at this offset may come to lie elsewhere: it begins beyond 2 GiB, and `REST` was not seen to be
    /// obeyed there.
    pub fn doubts_part_at(&self, offset: u64) -> bool {
        offset >= WRAPS[0] && !self.knows_rest_at(offset)
    }

    /// The time in a reply to `MDTM` (RFC 3659 section 3), in seconds since 1970, UTC.
    pub fn mdtm_time(&self, reply: &Reply) -> Option<i64> {
        let said = parse_time_val(reply.lines.first().filter(|_| reply.is_completion())?)?;
        Some(
            self.this_mount
                .mdtm_zone
                .as_ref()
                .map_or(said, |zone| zone.to_utc(said)),
        )
    }

    /// A time as this server's `MDTM` takes it.
    pub fn to_mdtm_time(&self, time: i64) -> i64 {
        self.this_mount
            .mdtm_zone
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

    /// Forgets all but what the server says of itself at a login, what a login leaves out, and what protects this mount.
    pub fn forget(&self) {
        self.learn(|learned| {
            let mut new = Learned {
                features: learned.offered.clone(),
                offered: learned.offered.clone(),
                print: learned.print,
                ..Learned::default()
            };
            new.listing.hides_directories = learned.listing.hides_directories;
            new.this_mount.tls_close_notify = learned.this_mount.tls_close_notify;
            new.this_mount.skips = learned.this_mount.skips;
            *learned = new;
        });
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
    fn rest_is_known_up_to_the_next_32_bit_wrap() {
        let known = |rest: Option<bool>, reach, offset| {
            let mut learned = Learned::default();
            learned.partial.rest_retr = rest.into();
            learned.this_mount.rest_retr_reach = reach;
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
        let doubted = |reach, offset| {
            let mut learned = Learned::default();
            learned.partial.rest_retr = Support::Yes;
            learned.this_mount.rest_retr_reach = reach;
            learned.doubts_part_at(offset)
        };
        assert!(!doubted(0, two - 1) && doubted(0, two) && !doubted(two, two));
        assert!(doubted(two, four) && !doubted(four, four));
    }
}
