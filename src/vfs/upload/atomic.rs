//! Atomic replacement (`-o atomic`): uploads go to a temporary name and are then renamed over the old file.
//!
//! Other clients never see half a file; the price is that every change sends the whole file. A new or rewritten file
//! streams to the temporary name while it is written; until it is closed that is its *base*, and where it is read. Where
//! the server does not let a rename replace a file, it is stored in place from then on ([`InPlace`]), and the log says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::remote;
use crate::remote::{
    Ask, Change, Deadline, Done, Plan, ReadAt, RemotePath, Result, Step, Then, Updated, Version,
    Why, perform_one,
};
use crate::vfs::error as vfs;
use crate::vfs::file::open_file::{Body, File, TempFile};
use crate::vfs::file::open_files::PULL_LIMIT;
use crate::vfs::upload::Uploader;
use crate::vfs::upload::replacement::Replacing;

/// Looks whether what was stored under a name is right, before it takes another one's place.
pub(crate) type Check<'a> = &'a dyn Fn(&RemotePath) -> Result<()>;

impl Uploader {
    /// Whether the next upload of a file goes to a temporary name, to replace the old file atomically.
    pub(crate) fn is_atomic(&self, ino: u64) -> bool {
        let is_wanted = self.settings.atomic || *self.replacing.lock() == Replacing::No;
        is_wanted
            && self
                .parent(ino)
                .is_none_or(|parent| !self.in_place.lock().has(ino, parent))
    }

    /// Whether new files in a directory are made under a temporary name.
    pub(crate) fn is_atomic_in(&self, directory: u64) -> bool {
        self.settings.atomic && !self.in_place.lock().has_all_of(directory)
    }

    /// The path to which sequential writes from the offset `first` on may be streamed: that of the file, or a temporary one
    /// where the file is replaced atomically. `None` where they can't: a temporary file starts at offset 0.
    pub(crate) fn stream_to(
        &self,
        file: &File,
        body: &mut Body,
        first: u64,
    ) -> vfs::Result<Option<RemotePath>> {
        if let Some(temp) = &body.name.temp {
            return Ok(Some(temp.path.clone()));
        }
        let path = self.table.path(file.ino)?;
        if !self.is_atomic(file.ino) {
            return Ok(Some(path));
        }
        let Some(temp) = temp_path(&path, file.ino).filter(|_| first == 0) else {
            return Ok(None);
        };
        body.name.temp = Some(TempFile {
            path: temp.clone(),
            replaces: body.content.base,
        });
        Ok(Some(temp))
    }

    /// Stores a file by `plan` under a temporary name and renames it over the old one. `None` where the server refuses to
    /// replace.
    pub(crate) fn replace(
        &self,
        (ino, path): (u64, &RemotePath),
        (change, plan): (&Change, Option<&Plan>),
        bytes: &dyn ReadAt,
        check: Check<'_>,
        ask: &Ask<'_>,
    ) -> Result<Option<Updated>> {
        let Some(temp) = temp_path(path, ino) else {
            return Ok(None);
        };
        // Nothing is under the file's own name before the rename.
        let temp_change = Change {
            base: None,
            then: self.temp_attributes(ino, change, change.base),
            taken: Arc::default(),
            ..change.clone()
        };
        let remote = self.remote.as_ref();
        let plan = match plan {
            Some(plan @ Plan::Sparse(_)) => plan,
            _ => &Plan::Whole,
        };
        let stored = remote.update(&temp, &temp_change, plan, bytes, ask);
        let mut is_unknown = false;
        let placed = stored.and_then(|updated| {
            check(&temp)?;
            let renamed = self.rename_over((ino, &temp), path, &temp_change, updated, ask);
            is_unknown = matches!(
                renamed,
                Err(remote::Error::Lost { .. } | remote::Error::TimedOut { .. })
            );
            change.taken.fetch_or(is_unknown, Ordering::Relaxed);
            renamed
        });
        if is_unknown {
            // The old file may lie aside already: then this is the only one that is whole.
            log::warn!("upload: {path}: it is not known whether {temp} was renamed to it");
        } else if !matches!(placed, Ok(Some(_))) {
            // Whatever came of it is of no use; the error is the upload's.
            let _ = perform_one(remote, Step::Remove(&temp), ask);
        }
        placed
    }

    /// Attributes of a file that replaces `replaced`: the mode of the old one, if no other.
    pub(crate) fn temp_attributes(
        &self,
        ino: u64,
        change: &Change,
        replaced: Option<Version>,
    ) -> Then {
        let tree = self.table.lock();
        let known = tree.get(ino).and_then(|node| node.attributes.mode);
        Then {
            mode: change.then.mode.or(known.filter(|_| replaced.is_some())),
            ..change.then
        }
    }

    /// Renames a temporary file over the old one. `None` where the server refuses to replace.
    pub(crate) fn rename_over(
        &self,
        (ino, temp): (u64, &RemotePath),
        path: &RemotePath,
        change: &Change,
        updated: Updated,
        ask: &Ask<'_>,
    ) -> Result<Option<Updated>> {
        let steps = [
            Step::Rename {
                from: temp,
                to: path,
            },
            Step::Version(path),
        ];
        let mut results = self.remote.perform(&steps, ask).into_iter();
        let renamed = results.next().unwrap_or(Err(remote::Error::Closed));
        match renamed {
            Ok(_) => {
                if let Some(parent) = self.parent(ino) {
                    self.in_place.lock().note_success(parent);
                }
                let known = |result| match result {
                    Some(Ok(Done::Version(version))) => version,
                    _ => Version::default(),
                };
                let mut version = known(results.next());
                if version != updated.version && updated.version != Version::default() {
                    // It may be that of the old file, which was moved aside only then.
                    version = known(Some(perform_one(
                        self.remote.as_ref(),
                        Step::Version(path),
                        ask,
                    )));
                }
                if let Some(size) = version.size.filter(|&size| size != change.size) {
                    return Err(remote::Error::misbehaved(
                        format!("storing {path}"),
                        format!("it confirmed {} bytes and now has {size}", change.size),
                    ));
                }
                Ok(Some(Updated { version, ..updated }))
            }
            // A transient refusal may pass (RFC 959 section 4.2.1), and other clients must not see half a file.
            Err(error) if error.is_for_now() => Err(error),
            Err(error @ remote::Error::Refused { .. }) => {
                let whose = match self.note_refused_replacement(ino) {
                    true => "files in this directory",
                    false => "it",
                };
                log::warn!(
                    "atomic: server refused to replace a file; writing {whose} in place from now on: {error}"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn parent(&self, ino: u64) -> Option<u64> {
        self.table.lock().get(ino).map(|node| node.parent)
    }

    /// The server has refused to replace `ino`; true where this ends it for the directory.
    fn note_refused_replacement(&self, ino: u64) -> bool {
        let parent = self.parent(ino);
        parent.is_some_and(|parent| self.in_place.lock().note_refusal(ino, parent))
    }

    /// Renames a streamed temporary file, whose version is in `updated`, over the old one. `None` where the server
    /// refuses to replace: then all of the file is here, and still to be stored.
    pub(crate) fn place_streamed(
        &self,
        file: &Arc<File>,
        temp: &TempFile,
        change: &Change,
        updated: Updated,
        check: Check<'_>,
        ask: &Ask<'_>,
    ) -> vfs::Result<Option<Updated>> {
        let path = self.table.path(file.ino)?;
        let stored = updated.version;
        check(&temp.path)?;
        if let Some(updated) =
            self.rename_over((file.ino, &temp.path), &path, change, updated, ask)?
        {
            file.body.lock().name.temp = None;
            return Ok(Some(updated));
        }
        {
            let mut body = file.body.lock();
            body.content.base = Some(stored);
            body.merged.reader_is_stale = true;
        }
        self.files.complete(file, ask.deadline)?;
        file.reader.stop(ask.deadline);
        self.remove_temp_file(&temp.path, ask.deadline);
        let mut body = file.body.lock();
        (body.name.temp, body.content.base) = (None, temp.replaces);
        body.lost_base(0);
        Ok(None)
    }

    /// Before a streamed file is given up: fetches what only the temporary file has, if it is not much, since no user
    /// looks for it there.
    pub(crate) fn fetch_back(&self, file: &Arc<File>, deadline: &Deadline) {
        let missing: u64 = {
            let body = file.body.lock();
            let there = body.name.temp.as_ref().map(|_| body.missing());
            there
                .into_iter()
                .flatten()
                .map(|gap| gap.end - gap.start)
                .sum()
        };
        if missing == 0 || missing > PULL_LIMIT {
            return;
        }
        if let Err(error) = self.files.complete(file, deadline) {
            log::warn!("atomic: not fetched back from the temporary file: {error}");
        }
        file.reader.stop(deadline);
    }

    /// Removes a temporary file that is no longer needed.
    pub(crate) fn remove_temp_file(&self, temp: &RemotePath, deadline: &Deadline) {
        if let Err(error) = self.remote.step(Step::Remove(temp), deadline)
            && error.why() != Some(Why::NotFound)
        {
            log::error!("atomic: temporary file {temp} is left on the server: {error}");
        }
    }
}

/// The name that a file bears until it is whole.
fn temp_path(path: &RemotePath, ino: u64) -> Option<RemotePath> {
    let name = remote::make_temp_name("new", ino);
    let parent = path.parent().unwrap_or_default();
    parent.join(name.as_bytes())
}

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
