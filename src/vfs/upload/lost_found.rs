//! Keeping: what can't be brought to the server stays on this machine, under `lost+found`.
//!
//! The one idea: whatever was written here is kept where it was written, whether all of the file is here or not. What was
//! never here is a hole, and the reason beside it says which parts count.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::remote::RemotePath;
use crate::vfs::core::Vfs;
use crate::vfs::file::spool::SpoolFile;

/// So many parts are named; who wrote more finds them by what is no hole.
const NAMED: usize = 100;

impl Vfs {
    /// Keeps the `parts` of a file of `size` bytes; `None` where nothing of it was written here.
    pub(crate) fn keep(
        &self,
        path: &RemotePath,
        spool: &SpoolFile,
        (size, parts): (u64, &[Range<u64>]),
        reason: &str,
    ) -> io::Result<Option<PathBuf>> {
        if parts.is_empty() && size > 0 {
            return Ok(None);
        }
        let reason = match parts {
            [] => reason.to_string(),
            [all] if *all == (0..size) => reason.to_string(),
            parts => format!(
                "{reason}\nof its {size} bytes these were written here, and the others are holes: {}",
                named(parts)
            ),
        };
        let kept = self.spool.keep(spool, size, path.as_bytes(), &reason)?;
        Ok(Some(kept))
    }
}

fn named(parts: &[Range<u64>]) -> String {
    let name = |part: &Range<u64>| format!("{}-{}", part.start, part.end.saturating_sub(1));
    let mut names: Vec<String> = parts.iter().take(NAMED).map(name).collect();
    if parts.len() > NAMED {
        names.push(format!("and {} more", parts.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_their_first_and_last_byte() {
        assert_eq!(named(&[0..1, 5..9]), "0-0, 5-8");
        let many: Vec<_> = (0..102).map(|at| at * 10..at * 10 + 1).collect();
        assert!(named(&many).ends_with("990-990, and 2 more"));
    }
}
