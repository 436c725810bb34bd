//! Defines what is known of a remote file: kind, attributes, version.
//!
//! Any attribute may be unknown, and a time has a precision.

use std::ops::Deref;
use std::sync::Arc;

/// Kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a pipe: it is listed, but can't be opened.
    Special,
}

/// Precision of a time. `LIST` reports minutes, and days for old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// Not the server's word: when we changed it, by our own clock.
    Local,
    /// To the day.
    Day,
    /// To the minute.
    Minute,
    /// To the second: from facts (RFC 3659 section 7.5.3) or from `MDTM`.
    Second,
}

/// Time of the last modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modified {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// The precision that the server reported.
    pub precision: Precision,
}

/// What the user may do with a file or directory: the letters of the `perm` fact (RFC 3659 section
/// 7.5.5).
///
/// For files `a` append, `r` read, `w` write; for directories `c` create files, `e` enter, `l` list,
/// `m` make directories, `p` purge what it holds; for both `d` delete and `f` rename.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Perm(u16);

impl Perm {
    const LETTERS: &'static [u8] = b"acdeflmprw";

    /// Parses `letters`, in any case and order; unknown letters are skipped.
    pub fn of(letters: &[u8]) -> Self {
        Self(
            letters
                .iter()
                .fold(0, |bits, &letter| bits | Self::bit(letter)),
        )
    }

    /// Whether the permission of this letter is granted.
    pub fn has(self, letter: u8) -> bool {
        self.0 & Self::bit(letter) != 0
    }

    /// Returns the bit of a letter; 0 for an unknown one.
    fn bit(letter: u8) -> u16 {
        let letter = letter.to_ascii_lowercase();
        let place = Self::LETTERS.iter().position(|&known| known == letter);
        place.map_or(0, |place| 1 << place)
    }
}

/// The name of an owner or a group in the server's bytes. The entries of a listing share it.
///
/// The bytes are in a box of their own: so the pointer that each entry holds is thin, which saves 8 bytes in each of a
/// million.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerName(Arc<Box<[u8]>>);

impl Deref for OwnerName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for OwnerName {
    fn from(name: &[u8]) -> Self {
        Self(Arc::new(name.into()))
    }
}

/// What a server reports about a file, directory or link; `None` if it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The kind.
    pub kind: Kind,
    /// Size in bytes.
    pub size: Option<u64>,
    /// The last modification.
    pub modified: Option<Modified>,
    /// The permission bits, `0o7777` at most.
    pub mode: Option<u32>,
    /// The owner as the server reports it: a name or a number.
    pub owner: Option<OwnerName>,
    /// The group as the server reports it: a name or a number.
    pub group: Option<OwnerName>,
    /// Target of a symbolic link, as the server reports it.
    pub target: Option<Box<[u8]>>,
    /// Permissions of the user who is logged in.
    pub perm: Option<Perm>,
}

impl Attributes {
    /// Returns attributes of which only the kind is known.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            size: None,
            modified: None,
            mode: None,
            owner: None,
            group: None,
            target: None,
            perm: None,
        }
    }

    /// Returns the version of the file with these attributes.
    pub fn version(&self) -> Version {
        Version {
            size: self.size,
            modified: self
                .modified
                .filter(|modified| modified.precision == Precision::Second)
                .map(|modified| modified.seconds),
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as the server sent it, never trimmed; [`is_name`](crate::remote::is_name) holds.
    pub name: Vec<u8>,
    /// Its attributes.
    pub attributes: Attributes,
}

/// Entries that [`pass_on`] passes on before it gives back their memory.
const PASSED_ON: usize = 10_000;

/// Passes on each entry in its order. The memory of the first is given back before the last is passed on: a receiver
/// needs some for its own copies.
pub fn pass_on(mut entries: Vec<Entry>, mut each: impl FnMut(Entry)) {
    entries.reverse();
    while let Some(entry) = entries.pop() {
        each(entry);
        if entries.len().is_multiple_of(PASSED_ON) {
            entries.shrink_to_fit();
        }
    }
}

/// Version of a file's content: size and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Size in bytes.
    pub size: Option<u64>,
    /// Seconds since 1970, UTC; only with a precision of seconds.
    pub modified: Option<i64>,
}

impl Version {
    /// Whether `self` and `other` may be the same content: no value known in both differs.
    pub fn may_be(&self, other: &Version) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            }
        }
        agree(self.size, other.size) && agree(self.modified, other.modified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perm_has_the_letters_parsed() {
        let perm = Perm::of(b"RdX f");
        for letter in b"acdeflmprw" {
            assert_eq!(perm.has(*letter), b"rdf".contains(letter));
        }
        assert!(perm.has(b'R') && !perm.has(b'x') && !perm.has(b' '));
        assert_eq!(Perm::of(b""), Perm::default());
    }

    #[test]
    fn versions_differ_only_in_values_known_in_both() {
        let known = Version {
            size: Some(1),
            modified: Some(2),
        };
        assert!(known.may_be(&Version {
            size: Some(1),
            modified: None
        }));
        assert!(!known.may_be(&Version {
            size: Some(1),
            modified: Some(3)
        }));
        assert!(known.may_be(&Version::default()));
    }
}
