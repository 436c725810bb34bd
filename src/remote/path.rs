//! Defines paths and names below the mounted directory.
//!
//! Invariant: a [`RemotePath`] holds neither empty names nor `.` and `..`, and no byte that could end a
//! command.

use std::fmt;

/// A pathname below the mounted directory: names joined with `/`, without one at either end.
///
/// The empty path is the mounted directory itself. Bytes, as RFC 3659 section 2.2 has them; a
/// name never holds `/`, NUL, CR or LF.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RemotePath(Vec<u8>);

impl RemotePath {
    /// The mounted directory.
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the path of `name` in this directory, or `None` if `name` can't be a name on a server:
    /// empty, `.`, `..`, or holding `/`, NUL, CR or LF (which would smuggle a second command).
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        if !is_name(name) {
            return None;
        }
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Some(Self(path))
    }

    /// Returns the parent directory; `None` for the mounted directory.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// Returns the last name; empty for the mounted directory.
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// Whether this is the mounted directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes, without a leading `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this path is `other` or below it.
    pub fn is_within(&self, other: &RemotePath) -> bool {
        other.is_root()
            || self.0 == other.0
            || (self.0.starts_with(&other.0) && self.0.get(other.0.len()) == Some(&b'/'))
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `name` can be the name of a file on a server (see [`RemotePath::join`]).
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name != b"."
        && name != b".."
        && !name
            .iter()
            .any(|&byte| matches!(byte, b'/' | 0 | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_joins_and_splits_names() {
        let path = RemotePath::root()
            .join(b"a b")
            .and_then(|path| path.join(b" c"));
        let path = path.expect("good names");
        assert_eq!(path.as_bytes(), b"a b/ c");
        assert_eq!(path.name(), b" c");
        assert_eq!(path.parent().expect("a parent").as_bytes(), b"a b");
        assert!(RemotePath::root().parent().is_none());
    }

    #[test]
    fn name_with_line_end_or_dots_is_refused() {
        for name in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a\0b",
            b"a\rb",
            b"a\nDELE b",
        ] {
            assert!(RemotePath::root().join(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn is_within_compares_whole_names() {
        let a = RemotePath::root().join(b"a").expect("a name");
        let ab = RemotePath::root().join(b"ab").expect("a name");
        let below = a.join(b"b").expect("a name");
        assert!(below.is_within(&a) && a.is_within(&a) && a.is_within(&RemotePath::root()));
        assert!(!ab.is_within(&a));
    }
}
