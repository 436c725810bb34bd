//! Remembers the paths whose last change on the server may still run.
//!
//! A command whose bytes the server's kernel has acknowledged, and whose reply has not come when its connection is given
//! up, cannot be taken back: the server may execute it at any later time. A `DELE` that runs after the file was stored
//! again removes the new file. So the path of such a command is kept here until `client/retry.rs` has seen it at rest.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Paths, and since when each is doubtful.
#[derive(Debug, Default)]
pub struct DoubtfulPaths {
    /// Absolute paths in the server's bytes.
    since: Mutex<HashMap<Vec<u8>, Instant>>,
}

/// Paths that are kept at most.
const PATHS_LIMIT: usize = 4096;
/// How long a path is doubtful at most: servers give up a transfer or an idle session after 300 s (vsftpd), 600 s
/// (ProFTPD) and 900 s (Pure-FTPd).
const MAX_AGE: Duration = Duration::from_secs(900);

impl DoubtfulPaths {
    /// Adds paths whose last change may still run.
    pub fn add(&self, paths: &[Vec<u8>]) {
        if paths.is_empty() {
            return;
        }
        let mut since = self.since.lock();
        for path in paths {
            since.insert(path.clone(), Instant::now());
        }
        since.retain(|_, since| since.elapsed() < MAX_AGE);
        while since.len() > PATHS_LIMIT {
            let oldest = since.iter().min_by_key(|(_, since)| **since);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else {
                return;
            };
            since.remove(&oldest);
        }
    }

    /// The doubtful paths on which a change of one of `paths` depends: the same, what lies below, and what it lies in.
    pub fn related_to(&self, paths: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let since = self.since.lock();
        if since.is_empty() {
            return Vec::new();
        }
        let is_related = |doubtful: &[u8]| {
            let mut paths = paths.iter();
            paths.any(|path| is_within(doubtful, path) || is_within(path, doubtful))
        };
        let related = since
            .iter()
            .filter(|(path, since)| since.elapsed() < MAX_AGE && is_related(path));
        related.map(|(path, _)| path.clone()).collect()
    }

    /// Removes a path that was at rest from `seen` on.
    pub fn remove(&self, path: &[u8], seen: Instant) {
        let mut paths = self.since.lock();
        if paths.get(path).is_some_and(|&since| since <= seen) {
            paths.remove(path);
        }
    }
}

/// Whether `path` is `directory` or lies below it.
fn is_within(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || directory.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<Vec<u8>> {
        paths.iter().map(|path| path.as_bytes().to_vec()).collect()
    }

    #[test]
    fn doubt_covers_ancestors_and_descendants() {
        let doubtful = DoubtfulPaths::default();
        doubtful.add(&paths(&["/a/b"]));
        for related in ["/a/b", "/a", "/a/b/c"] {
            assert_eq!(doubtful.related_to(&paths(&[related])), paths(&["/a/b"]));
        }
        for other in ["/a/bc", "/a/c", "/b", "/a/b.txt"] {
            assert!(doubtful.related_to(&paths(&[other])).is_empty());
        }
    }

    #[test]
    fn doubt_added_again_outlives_an_older_settlement() {
        let doubtful = DoubtfulPaths::default();
        let before = Instant::now();
        doubtful.add(&paths(&["/a"]));
        doubtful.remove(b"/a", before);
        assert_eq!(doubtful.related_to(&paths(&["/a"])).len(), 1);
        doubtful.remove(b"/a", Instant::now());
        assert!(doubtful.related_to(&paths(&["/a"])).is_empty());
    }

    #[test]
    fn number_of_doubtful_paths_is_bounded() {
        let doubtful = DoubtfulPaths::default();
        let all: Vec<_> = (0..PATHS_LIMIT + 10)
            .map(|number| format!("/{number}").into_bytes())
            .collect();
        doubtful.add(&all);
        assert_eq!(doubtful.since.lock().len(), PATHS_LIMIT);
    }
}
