//! Uploads that appear at once: under a name of their own first, then renamed over the old file.
//!
//! The one idea: nobody ever sees half a file, at the price that every change sends all of it. Where the
//! server does not let the new file take the old one's place, it is stored in place from then on, and
//! the log says so.

use std::sync::atomic::Ordering;

use crate::remote::{
    self, Ask, Change, Done, Plan, ReadAt, RemotePath, Result, Step, Then, Updated, Version,
    perform_one,
};
use crate::vfs::core::Vfs;
use crate::vfs::inode::OURS;

impl Vfs {
    /// Whether the next upload is to appear at once.
    pub(super) fn is_atomic(&self) -> bool {
        self.settings.atomic && !self.stores_in_place.load(Ordering::Relaxed)
    }

    /// Stores all of a file beside its place and has it take that. `None` where the server lets it not.
    pub(super) fn replace(
        &self,
        (ino, path): (u64, &RemotePath),
        change: &Change,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Option<Updated>> {
        let name = format!("{OURS}new-{}-{ino:x}", std::process::id());
        let parent = path.parent().unwrap_or_default();
        let Some(beside) = parent.join(name.as_bytes()) else {
            return Ok(None);
        };
        let known = self
            .tree
            .lock()
            .get(ino)
            .and_then(|node| node.attributes.mode);
        let change = Change {
            base: None,
            // The one that it replaces had some, which the new one is to have.
            then: Then {
                mode: change.then.mode.or(known.filter(|_| change.base.is_some())),
                ..change.then
            },
            ..change.clone()
        };
        let remote = self.remote.as_ref();
        let stored = remote.update(&beside, &change, &Plan::Whole, bytes, ask);
        let updated = match stored {
            Ok(updated) => updated,
            Err(error) => {
                // Whatever came of it is of no use; the error is the upload's.
                let _ = perform_one(remote, Step::Remove(&beside), ask);
                return Err(error);
            }
        };
        let steps = [
            Step::Rename {
                from: &beside,
                to: path,
            },
            Step::Version(path),
        ];
        let mut results = remote.perform(&steps, ask).into_iter();
        let renamed = results.next().unwrap_or(Err(remote::Error::Closed));
        match renamed {
            Ok(_) => {
                let version = match results.next() {
                    Some(Ok(Done::Version(version))) => version,
                    _ => Version::default(),
                };
                if let Some(size) = version.size.filter(|&size| size != change.size) {
                    return Err(remote::Error::misbehaved(
                        format!("storing {path}"),
                        format!("it confirmed {} bytes and now has {size}", change.size),
                    ));
                }
                Ok(Some(Updated { version, ..updated }))
            }
            Err(error @ remote::Error::Refused { .. }) => {
                let _ = perform_one(remote, Step::Remove(&beside), ask);
                if !self.stores_in_place.swap(true, Ordering::Relaxed) {
                    log::warn!("{error}; from now on files are written in place, for all to see");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
