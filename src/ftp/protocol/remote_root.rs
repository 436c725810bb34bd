//! Maps paths of the mount to absolute paths on the server: below the mounted directory, in the server's charset.

use crate::ftp::protocol::charset::Charset;
use crate::ftp::protocol::command::{Lines, too_long};
use crate::remote::{Error, RemotePath, Result, TEMP_NAME_LIMIT, is_temp_name};

/// The mounted directory on the server, and the encoding of names there.
#[derive(Clone, Debug)]
pub struct RemoteRoot {
    /// The absolute path without a trailing `/`, in the server's bytes.
    base: Vec<u8>,
    charset: Option<Charset>,
    /// How the server parses the lines that contain absolute paths.
    lines: Lines,
}

impl RemoteRoot {
    /// The directory `base` on a server that parses lines in this way.
    pub fn new(base: Vec<u8>, charset: Option<Charset>, lines: Lines) -> Self {
        Self {
            base,
            charset,
            lines,
        }
    }

    /// Whether the absolute path is short enough for a command.
    pub fn takes(&self, path: &[u8]) -> bool {
        self.lines.length(path) <= self.longest(path)
    }

    /// The longest path in bytes on the wire. Every directory leaves room for a temporary name, which a file has while it is
    /// uploaded, or when it was removed while open.
    fn longest(&self, path: &[u8]) -> usize {
        let name = path.rsplit(|&byte| byte == b'/').next();
        let reserved = match name.is_some_and(is_temp_name) {
            true => 0,
            false => TEMP_NAME_LIMIT,
        };
        self.lines.longest_path() - reserved
    }

    /// Converts `path` to an absolute path in the server's bytes. A name that its charset cannot express is EILSEQ, a path that is
    /// too long for one command ENAMETOOLONG.
    pub fn absolute(&self, path: &RemotePath) -> Result<Vec<u8>> {
        let below = self.encode(path.as_bytes())?;
        let mut absolute = self.base.clone();
        if !below.is_empty() || absolute.is_empty() {
            absolute.push(b'/');
        }
        absolute.extend(below);
        if !self.takes(&absolute) {
            let (length, longest) = (self.lines.length(&absolute), self.longest(&absolute));
            return Err(too_long("a path", length, longest));
        }
        Ok(absolute)
    }

    /// Converts names of the mount to the server's bytes.
    pub fn encode(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        match self.charset {
            None => Ok(bytes.to_vec()),
            Some(charset) => charset.encode(bytes).ok_or_else(|| Error::Local {
                tried: format!(
                    "{}: not in the charset that codepage= names",
                    bytes.escape_ascii()
                ),
                errno: libc::EILSEQ,
            }),
        }
    }

    /// Converts the server's bytes to names of the mount.
    pub fn decode(&self, bytes: &[u8]) -> Vec<u8> {
        match self.charset {
            None => bytes.to_vec(),
            Some(charset) => charset.decode(bytes),
        }
    }

    /// The mounted directory in the charset of the mount.
    pub fn shown(&self) -> Vec<u8> {
        self.decode(&self.base)
    }
}

/// The absolute path of `name` in the absolute path `directory`.
pub fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// The directory and the name in an absolute path; `None` for the root.
pub fn parent_and_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let (parent, name) = (&path[..slash.max(1)], &path[slash + 1..]);
    (path.starts_with(b"/") && !name.is_empty()).then_some((parent, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_in_the_servers_charset() {
        let path = RemotePath::root().join("ж".as_bytes()).expect("a name");
        let cyrillic = Charset::named("cp1251").expect("known");
        let root = RemoteRoot::new(b"/home".to_vec(), cyrillic, Lines::of("here"));
        assert_eq!(
            root.absolute(&path).ok().as_deref(),
            Some(&b"/home/\xE6"[..])
        );
        assert_eq!(
            root.absolute(&RemotePath::root()).ok().as_deref(),
            Some(&b"/home"[..])
        );
        let top = RemoteRoot::new(Vec::new(), None, Lines::of("here"));
        assert_eq!(
            top.absolute(&RemotePath::root()).ok().as_deref(),
            Some(&b"/"[..])
        );
        let longest = Lines::of("here").longest_path() - TEMP_NAME_LIMIT;
        let of = |byte: u8, length| RemotePath::root().join(&vec![byte; length]);
        let fits = |path: Option<RemotePath>| top.absolute(&path.expect("a name")).is_ok();
        assert!(fits(of(b'n', longest - 1)) && !fits(of(b'n', longest)));
        // IAC is sent twice.
        assert!(fits(of(0xFF, longest / 2 - 1)) && !fits(of(0xFF, longest / 2)));
        assert!(cyrillic.is_some_and(|_| root.encode("你".as_bytes()).is_err()));
    }

    #[test]
    fn paths_below_a_directory_have_one_slash() {
        assert_eq!(below(b"/", b"a"), b"/a");
        assert_eq!(below(b"/d", b" a"), b"/d/ a");
    }
}
