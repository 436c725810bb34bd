//! Attributes that the mount keeps for one inode, since the server has no place for them.
//!
//! An entry has what a program set and the server did not store, or stored only partly. It holds as long as the file is
//! the one that was seen when it was kept: [`Seen`] recognises another client's change.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::remote::{Attributes, Kind, Modified, Precision};

/// Nanoseconds of a second.
const NANOS: u32 = 1_000_000_000;
/// Set-user-ID and set-group-ID.
pub(crate) const SET_ID_BITS: u32 = 0o6000;
/// Bytes of one entry without its extended attributes: the entry, its place in a map and its path, rounded up.
const ENTRY_BYTES: usize = 320;
/// Bytes of an extended attribute besides its name and value.
const EXTENDED_BYTES: usize = 64;

/// A moment: seconds since 1970 in UTC, rounded down, and the nanoseconds after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970 in UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds after these seconds, less than a second.
    pub nanos: u32,
}

impl Timestamp {
    /// A whole second.
    pub fn of_seconds(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// This moment.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self {
                seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanos: since.subsec_nanos(),
            },
            Err(before) => {
                let until = before.duration();
                let seconds = -i64::try_from(until.as_secs()).unwrap_or(i64::MAX);
                match until.subsec_nanos() {
                    0 => Self { seconds, nanos: 0 },
                    nanos => Self {
                        seconds: seconds.saturating_sub(1),
                        nanos: NANOS - nanos,
                    },
                }
            }
        }
    }
}

/// Permission bits that were set here, and what the server said to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptMode {
    /// The server accepted them. Whether it has them, or masks some, shows its next answer.
    Accepted(u32),
    /// The server does not have them.
    Refused(u32),
}

impl KeptMode {
    /// The bits, `0o7777` at most.
    pub fn bits(self) -> u32 {
        match self {
            Self::Accepted(bits) | Self::Refused(bits) => bits,
        }
    }
}

/// A time of modification, and why the server's is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptTime {
    /// A program set it.
    Set(Timestamp),
    /// When we changed the directory, by our own clock: until the server says it to the second.
    Local(Timestamp),
}

impl KeptTime {
    /// The moment.
    pub fn moment(self) -> Timestamp {
        match self {
            Self::Set(at) | Self::Local(at) => at,
        }
    }

    /// The moment, if a program set it.
    pub fn if_set(self) -> Option<Timestamp> {
        match self {
            Self::Set(at) => Some(at),
            Self::Local(_) => None,
        }
    }

    /// Whether it outlives the server's word about a directory whose time was `seen` before.
    fn holds(self, seen: &Seen, answer: &Attributes) -> bool {
        let Self::Local(at) = self else {
            return seen.may_be(answer);
        };
        let own = Modified {
            seconds: at.seconds,
            precision: Precision::Second,
        };
        answer.modified.is_none_or(|answer| {
            answer.precision < Precision::Second && may_be_same_time(Some(own), Some(answer))
        })
    }
}

/// Size and time that the server had when an entry was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes.
    pub size: Option<u64>,
    /// The last modification by the server's word; `None` while only our own change is known.
    pub modified: Option<Modified>,
}

impl Seen {
    /// What `attributes` show.
    pub fn of(attributes: &Attributes) -> Self {
        Self {
            // The size of a directory says nothing.
            size: attributes.size.filter(|_| attributes.kind == Kind::File),
            modified: attributes
                .modified
                .filter(|modified| modified.precision > Precision::Local),
        }
    }

    /// Whether `attributes` may be those of the same content: no value known in both differs, as far as its precision
    /// goes.
    pub fn may_be(&self, attributes: &Attributes) -> bool {
        let other = Self::of(attributes);
        let is_same_size = match (self.size, other.size) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        is_same_size && may_be_same_time(self.modified, other.modified)
    }
}

/// Whether two times may be of the same moment, as far as the coarser one tells.
pub(crate) fn may_be_same_time(one: Option<Modified>, other: Option<Modified>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return true;
    };
    let tolerance: u64 = match one.precision.min(other.precision) {
        Precision::Local => return true,
        Precision::Second => 0,
        Precision::Minute => 60,
        Precision::Day => 86_400,
    };
    one.seconds.abs_diff(other.seconds) <= tolerance
}

/// What is kept for one inode. `None`: the server's value, or the default, is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Permission bits.
    pub mode: Option<KeptMode>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The last modification.
    pub modified: Option<KeptTime>,
    /// The last access, as a program set it.
    pub accessed: Option<Timestamp>,
    /// The last change of attributes or name that we made.
    pub changed: Option<Timestamp>,
    /// Extended attributes, `user.*` by name.
    pub extended: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// What the server had.
    pub seen: Seen,
}

/// The entry of a node.
#[derive(Debug)]
pub(crate) struct NodeEntry {
    pub(crate) kept: Kept,
    /// When it was used last, by the overlay's clock.
    pub(crate) used: u64,
}

impl Kept {
    /// Whether it keeps nothing.
    pub fn is_empty(&self) -> bool {
        let Self {
            mode,
            uid,
            gid,
            modified,
            accessed,
            changed,
            extended,
            seen: _,
        } = self;
        let has_number = mode.is_some() || uid.is_some() || gid.is_some();
        let has_time = modified.is_some() || accessed.is_some() || changed.is_some();
        !has_number && !has_time && extended.is_empty()
    }

    /// Whether it narrows permissions: who may do what would be shown wrongly without it.
    pub fn is_protective(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.mode.is_some()
    }

    /// Bytes of memory, roughly.
    pub fn bytes(&self) -> usize {
        let extended = self.extended.iter();
        ENTRY_BYTES
            + extended
                .map(|(name, value)| name.len() + value.len() + EXTENDED_BYTES)
                .sum::<usize>()
    }

    /// The server's word about what this belongs to. Another client's change ends the entry; what the server turns out
    /// to have exactly is not kept twice.
    pub(crate) fn compare(&mut self, attributes: &Attributes) {
        if attributes.kind == Kind::Directory {
            // What is in a directory moves its time alone.
            self.modified = self
                .modified
                .filter(|kept| kept.holds(&self.seen, attributes));
        } else if !self.seen.may_be(attributes) {
            *self = Self::default();
            return;
        }
        if is_finer(self.seen.modified, attributes.modified) || !self.seen.may_be(attributes) {
            self.seen = Seen::of(attributes);
        }
        let Some(mode) = attributes.mode else {
            return;
        };
        self.mode = match self.mode {
            // Those of the server are never shown, and stay in the entry.
            Some(kept) if (kept.bits() ^ mode) & !SET_ID_BITS == 0 => {
                Some(kept).filter(|kept| kept.bits() & SET_ID_BITS != 0)
            }
            Some(KeptMode::Refused(bits)) => Some(KeptMode::Refused(bits)),
            // The server masks some bits; with others, another client has changed them.
            Some(KeptMode::Accepted(bits)) if bits & mode == mode => Some(KeptMode::Refused(bits)),
            Some(KeptMode::Accepted(_)) | None => None,
        };
    }
}

/// Whether `new` tells more than `old`.
fn is_finer(old: Option<Modified>, new: Option<Modified>) -> bool {
    match (old, new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => new.precision > old.precision,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen(kind: Kind, size: u64, seconds: i64, mode: Option<u32>) -> Attributes {
        Attributes {
            size: Some(size),
            mode,
            modified: Some(Modified {
                seconds,
                precision: Precision::Second,
            }),
            ..Attributes::of(kind)
        }
    }

    #[test]
    fn moments_before_1970_round_down() {
        let before = |nanos| Timestamp::from(UNIX_EPOCH - Duration::new(1, nanos));
        assert_eq!(before(0), Timestamp::of_seconds(-1));
        let expected = Timestamp {
            seconds: -2,
            nanos: 750_000_000,
        };
        assert_eq!(before(250_000_000), expected);
    }

    #[test]
    fn another_version_of_a_file_ends_its_entry() {
        let first = seen(Kind::File, 1, 10, None);
        let kept = Kept {
            uid: Some(7),
            seen: Seen::of(&first),
            ..Kept::default()
        };
        let after = |attributes: &Attributes| {
            let mut kept = kept.clone();
            kept.compare(attributes);
            kept.uid
        };
        assert_eq!(after(&first), Some(7));
        assert_eq!(after(&seen(Kind::File, 2, 10, None)), None);
        assert_eq!(after(&seen(Kind::File, 1, 11, None)), None);
        let minutes = Attributes {
            modified: Some(Modified {
                seconds: 0,
                precision: Precision::Minute,
            }),
            ..first.clone()
        };
        assert_eq!(after(&minutes), Some(7));
        assert_eq!(after(&Attributes::of(Kind::File)), Some(7));
    }

    #[test]
    fn another_time_of_a_directory_ends_its_time_alone() {
        let mut kept = Kept {
            uid: Some(7),
            modified: Some(KeptTime::Set(Timestamp::of_seconds(5))),
            ..Kept::default()
        };
        let set = kept.modified;
        // The first answer shows what the server has.
        kept.compare(&seen(Kind::Directory, 4096, 10, None));
        assert_eq!(kept.modified, set);
        kept.compare(&seen(Kind::Directory, 8192, 10, None));
        assert_eq!(kept.modified, set);
        kept.compare(&seen(Kind::Directory, 8192, 11, None));
        assert_eq!((kept.modified, kept.uid), (None, Some(7)));
    }

    #[test]
    fn time_of_our_own_change_stays_until_the_server_says_it_to_the_second() {
        let own = Some(KeptTime::Local(Timestamp::of_seconds(119)));
        let after = |seconds, precision| {
            let mut kept = Kept {
                modified: own,
                ..Kept::default()
            };
            kept.compare(&Attributes {
                modified: Some(Modified { seconds, precision }),
                ..Attributes::of(Kind::Directory)
            });
            kept.modified
        };
        assert_eq!(after(60, Precision::Minute), own);
        assert_eq!(after(600, Precision::Minute), None);
        assert_eq!(after(119, Precision::Second), None);
    }

    #[test]
    fn mode_is_kept_unless_the_server_has_it_or_another_client_changed_it() {
        use KeptMode::{Accepted, Refused};
        let cases = [
            (Accepted(0o644), 0o644, None),
            (Accepted(0o755), 0o644, Some(Refused(0o755))),
            (Accepted(0o644), 0o755, None),
            (Refused(0o644), 0o755, Some(Refused(0o644))),
            (Refused(0o644), 0o644, None),
            (Accepted(0o4755), 0o4755, Some(Accepted(0o4755))),
            (Accepted(0o4755), 0o755, Some(Accepted(0o4755))),
            (Accepted(0o4755), 0o777, None),
        ];
        for (set, server, left) in cases {
            let mut kept = Kept {
                mode: Some(set),
                ..Kept::default()
            };
            kept.compare(&seen(Kind::File, 1, 10, Some(server)));
            assert_eq!(kept.mode, left, "{set:?} over {server:o}");
        }
    }
}
