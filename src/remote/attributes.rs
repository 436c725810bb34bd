//! The attributes of a file as the server reports them: kind, times, permissions, version.
//!
//! Every attribute may be unknown, and times carry their precision. Times are seconds since 1970 in UTC.

/// The kind of an entry.
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

/// The precision of a time. `LIST` shows minutes, and days for old files.
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
    /// The precision of [`Self::seconds`].
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

/// The attributes of one file, directory or link. Those that the server did not report are `None`.
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
    /// The owner as the server names it: a name or a number.
    pub owner: Option<Box<[u8]>>,
    /// The group as the server names it: a name or a number.
    pub group: Option<Box<[u8]>>,
    /// The target of a symbolic link, as the server wrote it.
    pub target: Option<Box<[u8]>>,
    /// What the user may do with it.
    pub perm: Option<Perm>,
}

impl Attributes {
    /// Attributes with nothing but a kind.
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

    /// The version in these attributes.
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
    /// Its attributes.
    pub attributes: Attributes,
}

/// Identifies one content of a file: its size and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Size in bytes.
    pub size: Option<u64>,
    /// Seconds since 1970, UTC; only where the server reports seconds.
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
