//! Symbolic links in regular files, as mount.cifs (`mfsymlinks`) and macOS store them where a server has no links.
//!
//! Such a file has 1,067 bytes: `XSym`, the length of the target in four digits, the MD5 of the target in hexadecimal
//! digits, each with a line feed behind it, then the target and a padding of blanks. A file of another size, or whose digest
//! does not fit, is a regular file.
//!
//! A file of that size is read once for each version, before its directory or its attributes are shown, so that its type is
//! right from the start.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use md5::{Digest, Md5};
use parking_lot::Mutex;

use crate::remote::{Ask, Attributes, Entry, Kind, Reading, RemotePath, Result};
use crate::vfs::metadata::Metadata;

/// Bytes of such a file.
pub(crate) const LINK_FILE_SIZE: u64 = 1067;
/// What it begins with.
const MAGIC: &[u8] = b"XSym\n";
/// Bytes of a target at most.
const TARGET_LIMIT: usize = 1024;
/// Regular files of that size that are remembered, so that they are not read again.
pub(crate) const REMEMBERED_FILES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
/// Files of one directory that are read at the same time.
const READERS: usize = 4;

/// The file of a link; `None` where the target is too long.
pub(crate) fn encode(target: &[u8]) -> Option<Vec<u8>> {
    if target.is_empty() || target.len() > TARGET_LIMIT {
        return None;
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(format!("{:04}\n{}\n", target.len(), digest(target)).as_bytes());
    bytes.extend_from_slice(target);
    if target.len() < TARGET_LIMIT {
        bytes.push(b'\n');
    }
    bytes.resize(usize::try_from(LINK_FILE_SIZE).ok()?, b' ');
    Some(bytes)
}

/// The target of the link that a file is; `None` where it is a regular file.
fn decode(bytes: &[u8]) -> Option<&[u8]> {
    if u64::try_from(bytes.len()) != Ok(LINK_FILE_SIZE) {
        return None;
    }
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_at_checked(4)?;
    let (sum, rest) = rest.strip_prefix(b"\n")?.split_at_checked(32)?;
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let target = rest.strip_prefix(b"\n")?.get(..length)?;
    (!target.is_empty() && digest(target).as_bytes() == sum).then_some(target)
}

fn digest(target: &[u8]) -> String {
    let mut digits = String::new();
    for byte in Md5::digest(target) {
        // Writing to a string can't fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Whether these attributes may be those of a link.
fn may_be_link(attributes: &Attributes) -> bool {
    attributes.kind == Kind::File && attributes.size == Some(LINK_FILE_SIZE)
}

impl Metadata {
    /// Shows the links among `entries` of a directory as such. What can't be read stays a file.
    pub(crate) fn show_links(
        &self,
        directory: u64,
        path: &RemotePath,
        entries: &mut [Entry],
        ask: &Ask<'_>,
    ) {
        if !self.has_link_files {
            return;
        }
        let mut unknown = Vec::new();
        for entry in entries {
            if may_be_link(&entry.attributes) && !self.show_known(directory, entry) {
                unknown.push(Mutex::new(entry));
            }
        }
        let next = AtomicUsize::new(0);
        let read_some = || {
            while let Some(entry) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                let entry = &mut *entry.lock();
                let file = path.join(&entry.name);
                let target = file.map(|file| self.read_link_file(&file, ask));
                match target {
                    Some(Ok(Some(target))) => show(&mut entry.attributes, target),
                    Some(Err(error)) => log::info!("symlink: {error}; shown as a file"),
                    Some(Ok(None)) => self.note_regular(directory, entry),
                    None => {}
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..READERS.min(unknown.len()) {
                let reader = std::thread::Builder::new().name("links".into());
                // Without a further thread it takes longer.
                let _ = reader.spawn_scoped(scope, read_some);
            }
            read_some();
        });
    }

    /// Shows one name as a link, if it is one.
    pub(crate) fn show_link(
        &self,
        directory: u64,
        path: &RemotePath,
        attributes: Attributes,
        ask: &Ask<'_>,
    ) -> Attributes {
        let mut entries = [Entry {
            name: path.name().to_vec(),
            attributes,
        }];
        if let Some(parent) = path.parent() {
            self.show_links(directory, &parent, &mut entries, ask);
        }
        let [entry] = entries;
        entry.attributes
    }

    /// Whether the content of this version was looked at before; shows the link that it was.
    fn show_known(&self, directory: u64, entry: &mut Entry) -> bool {
        let key = (directory, entry.name.clone());
        let version = entry.attributes.version();
        if self.regular.lock().get(&key) == Some(&version) {
            return true;
        }
        let tree = self.table.lock();
        let known = tree.child(directory, &entry.name);
        let Some(node) = known.and_then(|ino| tree.get(ino)) else {
            return false;
        };
        let old = node.attributes.version();
        if node.attributes.kind != Kind::Symlink
            || !old.may_be(&version)
            || old.size != version.size
        {
            return false;
        }
        let Some(target) = node.attributes.target.clone() else {
            return false;
        };
        show(&mut entry.attributes, target);
        true
    }

    /// The content of this version was read: it is no link.
    fn note_regular(&self, directory: u64, entry: &Entry) {
        let key = (directory, entry.name.clone());
        self.regular.lock().put(key, entry.attributes.version());
    }

    /// The target of the link that a file is, if it is one.
    fn read_link_file(&self, file: &RemotePath, ask: &Ask<'_>) -> Result<Option<Box<[u8]>>> {
        let reading = Reading {
            size: Some(LINK_FILE_SIZE),
            ..Reading::at(0)
        };
        let mut source = self.remote.read(file, &reading, ask)?;
        // One byte more, so that a longer file is seen.
        let mut buffer = vec![0; usize::try_from(LINK_FILE_SIZE).unwrap_or(0) + 1];
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match source.read(rest, ask.deadline)? {
                0 => break,
                read => filled += read,
            }
        }
        let bytes = buffer.get(..filled).unwrap_or_default();
        Ok(decode(bytes).map(Into::into))
    }
}

fn show(attributes: &mut Attributes, target: Box<[u8]>) {
    attributes.kind = Kind::Symlink;
    attributes.target = Some(target);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_file_has_the_form_of_other_programs() {
        let bytes = encode(b"a/target").expect("short enough");
        let head = b"XSym\n0008\n8183bb444395de5ae5371e671642f975\na/target\n  ";
        assert_eq!(bytes.len(), 1067);
        assert!(bytes.starts_with(head));
        assert_eq!(decode(&bytes), Some(&b"a/target"[..]));
    }

    #[test]
    fn targets_of_any_length_come_back_and_longer_ones_have_no_file() {
        for length in [1, 2, 1023, 1024] {
            let target = vec![b'x'; length];
            let bytes = encode(&target).expect("short enough");
            assert_eq!(bytes.len(), 1067);
            assert_eq!(decode(&bytes), Some(target.as_slice()));
        }
        assert_eq!(encode(&[b'x'; 1025]), None);
        assert_eq!(encode(b""), None);
    }

    #[test]
    fn what_is_damaged_is_a_regular_file() {
        let bytes = encode(b"target").expect("short enough");
        for at in [0, 4, 6, 9, 12, 42, 44] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "{at}");
        }
        assert_eq!(decode(&bytes[..1066]), None);
        assert_eq!(decode(&[&bytes[..], b" "].concat()), None);
        let mut huge = bytes;
        huge[5..9].copy_from_slice(b"9999");
        assert_eq!(decode(&huge), None);
    }
}
