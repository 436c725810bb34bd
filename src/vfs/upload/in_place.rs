//! Remembers where the server refuses to let one file replace another: such files are stored in place.
//!
//! One refusal is about that file. After two in a directory without a success between, files of the whole directory are
//! stored in place.

use std::collections::{HashMap, HashSet};

/// Files that are remembered at most.
const FILES_LIMIT: usize = 1024;

/// Files and directories in which files are stored in place, by inode number.
#[derive(Debug, Default)]
pub(crate) struct InPlace {
    /// Files that could not be replaced, with their directories.
    files: HashMap<u64, u64>,
    directories: HashSet<u64>,
}

impl InPlace {
    /// Whether the file `ino` of `directory` is stored in place.
    pub(crate) fn has(&self, ino: u64, directory: u64) -> bool {
        self.files.contains_key(&ino) || self.has_all_of(directory)
    }

    /// Whether all files of `directory` are.
    pub(crate) fn has_all_of(&self, directory: u64) -> bool {
        self.directories.contains(&directory)
    }

    /// The server has refused to replace `ino` in `directory`; true where this ends it for the directory.
    pub(crate) fn note_refusal(&mut self, ino: u64, directory: u64) -> bool {
        let mut others = self.files.iter();
        if others.any(|(&other, &parent)| other != ino && parent == directory) {
            return self.directories.insert(directory);
        }
        if self.files.len() >= FILES_LIMIT {
            self.files.clear();
        }
        self.files.insert(ino, directory);
        false
    }

    /// A file in `directory` was replaced.
    pub(crate) fn note_success(&mut self, directory: u64) {
        self.files.retain(|_, parent| *parent != directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_refused_files_without_a_success_between_end_it_for_the_directory() {
        let mut in_place = InPlace::default();
        assert!(!in_place.note_refusal(11, 1) && !in_place.note_refusal(11, 1));
        assert!(in_place.has(11, 1) && !in_place.has(12, 1));
        in_place.note_success(1);
        assert!(!in_place.note_refusal(12, 1) && !in_place.note_refusal(21, 2));
        assert!(in_place.note_refusal(13, 1));
        assert!(in_place.has(14, 1) && in_place.has_all_of(1) && !in_place.has(22, 2));
    }
}
