//! Copies: new files that the server need not hear of before they have bytes.
//!
//! The one idea: `O_EXCL` is a lock to some programs, and to cp and tar a mere habit. For a lock the server must
//! have made the file before open(2) returns, which costs a round trip of its own; a copy may be spared it. For
//! one of a copy (see `makers.rs`) an absence that a listing has shown within the last second is enough, and the
//! file reaches the server with its bytes, like any other new one. The listing is renewed beside, while the
//! copy goes on.

use std::thread;
use std::time::Duration;

use crate::remote::{Completeness, Urgency};
use crate::vfs::core::Vfs;

/// An absence that was seen so lately is believed.
const FRESH: Duration = Duration::from_secs(1);
/// The listing is renewed once it is so old: in time for being believed on.
const RENEWED: Duration = Duration::from_millis(500);
/// A directory with more names is not listed every second.
const NAMES: usize = 1000;
/// Listings that are renewed at once.
const AT_ONCE: usize = 6;

impl Vfs {
    /// Whether the file that `process` makes in `directory`, where nothing of that name is known, need not be made
    /// on the server at once to be new.
    pub(crate) fn copies(&self, process: u32, directory: u64) -> bool {
        if !self.makers.copies((process, directory)) {
            return false;
        }
        let (listed, names) = {
            let tree = self.tree.lock();
            let whole = tree.listing(directory, FRESH) == Some(Completeness::Whole);
            let listed = tree.listed_at(directory).filter(|_| whole);
            (listed, tree.count_children(directory))
        };
        if names > NAMES {
            return false;
        }
        if listed.is_none_or(|at| at.elapsed() > RENEWED) {
            self.renew_listing(directory);
        }
        listed.is_some()
    }

    fn renew_listing(&self, directory: u64) {
        let (Some(place), Some(vfs)) = (self.ahead_places.take(AT_ONCE), self.me.upgrade()) else {
            return;
        };
        if self.remote.room(Urgency::Ahead) == 0 {
            return;
        }
        let job = move || {
            if let Err(error) = vfs.renew(directory, &vfs.deadline()) {
                log::debug!("listing a directory that is copied to: {error}");
            }
            drop(place);
        };
        if let Err(error) = thread::Builder::new().name("renew".into()).spawn(job) {
            log::error!("no thread can be started: {error}");
        }
    }
}
