//! statfs: the space reported by the server, or `size=`, or a figure that is large enough for every program.

use crate::remote;
use crate::remote::Deadline;
use crate::vfs::Vfs;
use crate::vfs::inode::attr_view::Space;
use std::time::Instant;

/// Bytes of a server that does not report its space: programs refuse to save where nothing is free.
const UNKNOWN_SPACE: u64 = 1 << 50;
/// Files, for the same reason.
const UNKNOWN_FILES: u64 = 1 << 32;

impl Vfs {
    /// What there is of space, if the server need not be asked. While it is away, what it said last.
    pub fn statfs_cached(&self) -> Option<Space> {
        let is_away = self.remote.is_away();
        self.space
            .lock()
            .filter(|(at, _)| is_away || at.elapsed() < self.settings.lifetimes.known)
            .map(|(_, space)| space)
    }

    /// What there is of space: what the server says, or `size=`, or a figure on which no program
    /// stumbles.
    pub fn statfs(&self, deadline: &Deadline) -> Space {
        if let Some(space) = self.statfs_cached() {
            return space;
        }
        let ask = remote::Ask::caller(deadline);
        let said = match self.remote.space(&remote::RemotePath::root(), &ask) {
            Ok(said) => said,
            Err(error) => {
                log::info!("statfs: server did not report its free space: {error}");
                if let Some((_, known)) = *self.space.lock() {
                    return known;
                }
                None
            }
        };
        let given = self.settings.size.unwrap_or(UNKNOWN_SPACE);
        let free = said.map_or(given, |said| said.free);
        let total = said.and_then(|said| said.total).unwrap_or(given).max(free);
        let block = u64::from(Space::BLOCK);
        let space = Space {
            blocks: total / block,
            free: free / block,
            files: UNKNOWN_FILES,
            files_free: UNKNOWN_FILES,
            name_length: 255,
        };
        *self.space.lock() = Some((Instant::now(), space));
        space
    }
}
