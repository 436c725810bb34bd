//! What is known of a file: its kind, its attributes and its version.
//!
//! The one idea: everything may be unknown, and what is known says how exactly. Times are seconds since 1970 in UTC.

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a pipe: it can be seen, but not opened.
    Special,
}

/// How exact a time is. A listing by `LIST` has minutes, and days for what is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// To the day.
    Day,
    /// To the minute.
    Minute,
    /// To the second: from facts (RFC 3659 section 7.5.3) or from `MDTM`.
    Second,
}

/// When a file was last modified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modified {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// How much of [`Self::seconds`] the server really said.
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

    /// The rights that `letters` name, in any case and order; unknown letters are skipped.
    pub fn of(letters: &[u8]) -> Self {
        Self(
            letters
                .iter()
                .fold(0, |bits, &letter| bits | Self::bit(letter)),
        )
    }

    /// Whether the right of this letter is given.
    pub fn has(self, letter: u8) -> bool {
        self.0 & Self::bit(letter) != 0
    }

    /// The bit of a letter; none for an unknown one.
    fn bit(letter: u8) -> u16 {
        let letter = letter.to_ascii_lowercase();
        let place = Self::LETTERS.iter().position(|&known| known == letter);
        place.map_or(0, |place| 1 << place)
    }
}

/// What a server says of one file, directory or link. What it did not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: Option<u64>,
    /// The last modification.
    pub modified: Option<Modified>,
    /// The permission bits, `0o7777` at most.
    pub mode: Option<u32>,
    /// The owner as the server names it: a name or a number.
    pub owner: Option<Box<[u8]>>,
    /// The group as the server names it: a name or a number.
    pub group: Option<Box<[u8]>>,
    /// Where a symbolic link points, as the server wrote it.
    pub target: Option<Box<[u8]>>,
    /// What the user may do with it.
    pub perm: Option<Perm>,
}

impl Attributes {
    /// Attributes of which nothing but the kind is known.
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

    /// The version that these attributes tell of.
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
    /// The name as the server wrote it, never trimmed; [`is_name`] holds.
    pub name: Vec<u8>,
    /// What the server said of it.
    pub attributes: Attributes,
}

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Bytes.
    pub size: Option<u64>,
    /// Seconds since 1970, UTC; only where the server says seconds.
    pub modified: Option<i64>,
}

impl Version {
    /// Whether `self` and `other` can be the same content: nothing that both know differs.
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
    fn a_perm_has_the_letters_that_it_was_made_of() {
        let perm = Perm::of(b"RdX f");
        for letter in b"acdeflmprw" {
            assert_eq!(perm.has(*letter), b"rdf".contains(letter));
        }
        assert!(perm.has(b'R') && !perm.has(b'x') && !perm.has(b' '));
        assert_eq!(Perm::of(b""), Perm::default());
    }

    #[test]
    fn a_version_differs_only_in_what_both_know() {
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
