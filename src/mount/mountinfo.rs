//! Parses the mount table, `/proc/self/mountinfo` (proc(5)), without asking any file system.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::mount::error::Error;

/// The mount table of this process.
pub const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Identifies a mount among those at the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The number of the mount.
    pub mount_id: u64,
    /// The device, as `major:minor`.
    pub device: String,
}

/// A line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Identity of the mount.
    pub identity: Identity,
    /// The mountpoint.
    pub mountpoint: PathBuf,
    /// The type, such as `fuse.ftpfs`.
    pub kind: String,
    /// The source.
    pub source: String,
    /// User and group that made a FUSE mount.
    pub owner: Option<(u32, u32)>,
    /// Options of this mount (`nosuid`), and of its file system (`allow_other`).
    pub options: Vec<String>,
}

impl Entry {
    /// Whether the mount has this option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|there| there == option)
    }
}

impl Entry {
    /// Whether ftpfs mounted it, by its type in the mount table.
    pub fn is_ours(&self, subtype: &str) -> bool {
        self.kind == "fuse.ftpfs" || self.kind.strip_prefix("fuse.") == Some(subtype)
    }

    /// Whether a FUSE file system is mounted there.
    pub fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind.starts_with("fuse.")
    }
}

/// Returns the visible mount at `mountpoint`: the last one there.
pub fn top_mount(mountpoint: &Path) -> Result<Option<Entry>, Error> {
    let mut mounts = mounts()?;
    mounts.retain(|entry| entry.mountpoint == mountpoint);
    Ok(mounts.pop())
}

/// Returns all mounts, each after those that it covers.
pub fn mounts() -> Result<Vec<Entry>, Error> {
    let text = fs::read(MOUNTINFO).map_err(|error| {
        Error(format!(
            "{MOUNTINFO} can't be read: {error}; mount it with: mount -t proc proc /proc"
        ))
    })?;
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(entry)
        .collect())
}

/// Parses `36 35 98:0 /root /mountpoint options fields... - type source super`, see proc(5).
fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mount_id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
    let mountpoint = PathBuf::from(unescape(fields.nth(1)?));
    let mut options = words(fields.next()?);
    let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    let source = unescape(rest.next()?).to_string_lossy().into_owned();
    let file_system = rest.next();
    options.extend(words(file_system.unwrap_or_default()));
    let owner = file_system.and_then(|options| {
        let number = |name: &str| {
            let mut options = options.split(|&byte| byte == b',');
            let value = options.find_map(|option| option.strip_prefix(name.as_bytes()))?;
            std::str::from_utf8(value).ok()?.parse().ok()
        };
        Some((number("user_id=")?, number("group_id=")?))
    });
    Some(Entry {
        identity: Identity { mount_id, device },
        mountpoint,
        kind,
        source,
        owner,
        options,
    })
}

/// The words of a comma-separated list.
fn words(list: &[u8]) -> Vec<String> {
    let words = list.split(|&byte| byte == b',');
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Decodes blanks, tabs, line ends and backslashes, which the kernel writes as `\` and three octal
/// digits.
pub fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_line_is_parsed_with_escapes() {
        let line = br"71 28 0:53 / /mnt/a\040b\134c rw,nosuid shared:1 master:2 - fuse.ftpfs ftp://h/\040 rw,user_id=7,group_id=9,allow_other";
        let entry = entry(line).expect("a good line");
        assert_eq!(entry.identity.mount_id, 71);
        assert_eq!(entry.identity.device, "0:53");
        assert_eq!(entry.mountpoint, Path::new(r"/mnt/a b\c"));
        assert_eq!(entry.kind, "fuse.ftpfs");
        assert_eq!(entry.source, "ftp://h/ ");
        assert_eq!(entry.owner, Some((7, 9)));
        assert!(entry.has("nosuid") && entry.has("allow_other") && !entry.has("nodev"));
        assert!(super::entry(b"").is_none() && super::entry(b"71 28").is_none());
    }

    #[test]
    fn root_directory_is_in_the_mount_table() {
        assert!(top_mount(Path::new("/")).expect("a table").is_some());
    }
}
