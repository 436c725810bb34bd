//! Decides what the kernel is shown of an inode: owner, mode, size and time.
//!
//! The server enforces permissions, for the user that is logged in. So by default the mounting user is shown as the owner
//! of everything, with the server's bits; options show other values, and change nothing on the server.

use std::collections::HashMap;
use std::time::Duration;

use crate::remote::{Attributes, Kind};
use crate::vfs::inode::Node;

/// Attributes of an inode, as shown to the kernel.
#[derive(Clone, Debug)]
pub struct Attr {
    /// The inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// The last modification, seconds since 1970 in UTC.
    pub modified: i64,
    /// Permission bits.
    pub mode: u32,
    /// Names that it has.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How long the kernel may rely on this.
    pub ttl: Duration,
}

/// Answer to statfs(2), in blocks of [`Space::BLOCK`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// All files.
    pub files: u64,
    /// Files that can still be made.
    pub files_free: u64,
    /// Bytes of a name.
    pub name_length: u32,
}

impl Space {
    /// Bytes of a block.
    pub const BLOCK: u32 = 4096;
}

/// Whose files are shown, and with which bits.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Permission bits that are never shown.
    pub umask: u32,
    /// The bits of all files, whatever the server says.
    pub file_mode: Option<u32>,
    /// The bits of all directories, whatever the server says.
    pub dir_mode: Option<u32>,
    /// Show the owners and groups of the server, where they are known here.
    pub owners: Option<Names>,
}

/// The numbers of users and groups that have a name here.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Users.
    pub users: HashMap<Vec<u8>, u32>,
    /// Groups.
    pub groups: HashMap<Vec<u8>, u32>,
}

/// How long the kernel may use attributes. Asking again costs little, and invalidations may be dropped (`fuse`); an
/// open asks anyway.
const KERNEL_TIME: Duration = Duration::from_secs(1);
/// The bits of a directory of which the server says none.
const DIRECTORY: u32 = 0o755;
/// The bits of a file of which the server says none.
const FILE: u32 = 0o644;

impl Shown {
    /// The attributes of `node`, to be relied on no longer than `age`.
    pub fn attr(&self, node: &Node, age: Duration) -> Attr {
        let attributes = &node.attributes;
        let size = match attributes.kind {
            Kind::Symlink => attributes.target.as_ref().map(|target| target.len() as u64),
            _ => attributes.size,
        };
        let (uid, gid) = self.owner(attributes);
        Attr {
            ino: node.ino,
            kind: attributes.kind,
            size: size.unwrap_or(0),
            modified: attributes.modified.map_or(0, |modified| modified.seconds),
            mode: self.mode(attributes),
            // One, also for directories, is what file systems say that count no subdirectories: find(1)
            // would take 2 for "none".
            links: u32::from(!node.removed),
            uid,
            gid,
            // What is not on the server yet gets another time when it is.
            ttl: if node.local {
                Duration::ZERO
            } else {
                KERNEL_TIME.min(age)
            },
        }
    }

    /// The owner and the group.
    pub fn owner(&self, attributes: &Attributes) -> (u32, u32) {
        let Some(names) = &self.owners else {
            return (self.uid, self.gid);
        };
        let number = |name: &Option<Box<[u8]>>, known: &HashMap<Vec<u8>, u32>| {
            let name = name.as_deref()?;
            let number = std::str::from_utf8(name)
                .ok()
                .and_then(|text| text.parse().ok());
            number.or_else(|| known.get(name).copied())
        };
        (
            number(&attributes.owner, &names.users).unwrap_or(self.uid),
            number(&attributes.group, &names.groups).unwrap_or(self.gid),
        )
    }

    /// Whether the kernel would start it as a program, by the bits that it is shown. A directory may be
    /// searched whatever they are, unless the kernel is to judge by them, and then it does not ask.
    pub fn can_be_started(&self, attributes: &Attributes) -> bool {
        attributes.kind == Kind::Directory || self.mode(attributes) & 0o111 != 0
    }

    fn mode(&self, attributes: &Attributes) -> u32 {
        let (forced, unsaid) = match attributes.kind {
            Kind::Directory => (self.dir_mode, DIRECTORY),
            // As everywhere on Linux: what counts are the bits of what it leads to.
            Kind::Symlink => return 0o777,
            Kind::File | Kind::Special => (self.file_mode, FILE),
        };
        forced.or(attributes.mode).unwrap_or(unsaid) & !self.umask
    }
}

impl Names {
    /// Reads the text of `/etc/passwd` and `/etc/group`.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: numbers(passwd),
            groups: numbers(group),
        }
    }
}

/// The first and the third field of each line.
fn numbers(text: &[u8]) -> HashMap<Vec<u8>, u32> {
    let entry = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?.to_vec();
        let number = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        Some((name, number))
    };
    text.split(|&byte| byte == b'\n')
        .filter_map(entry)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(owner: &[u8], group: &[u8]) -> Attributes {
        Attributes {
            owner: Some(owner.into()),
            group: Some(group.into()),
            mode: Some(0o640),
            ..Attributes::of(Kind::File)
        }
    }

    #[test]
    fn owner_is_the_mounting_user_unless_configured() {
        let mut shown = Shown {
            uid: 1000,
            gid: 1000,
            ..Shown::default()
        };
        assert_eq!(shown.owner(&owned(b"bin", b"7")), (1000, 1000));
        shown.owners = Some(Names::parse(
            b"root:x:0:0:::\nbin:x:2:2:::\n",
            b"bin:x:2:\n",
        ));
        assert_eq!(shown.owner(&owned(b"bin", b"7")), (2, 7));
        assert_eq!(shown.owner(&owned(b"no such user", b"bin")), (1000, 2));
    }

    #[test]
    fn given_modes_come_before_the_servers_and_the_umask_before_all() {
        let mut shown = Shown::default();
        assert_eq!(shown.mode(&owned(b"", b"")), 0o640);
        assert_eq!(shown.mode(&Attributes::of(Kind::Directory)), 0o755);
        shown.umask = 0o027;
        assert_eq!(shown.mode(&owned(b"", b"")), 0o640);
        shown.file_mode = Some(0o666);
        assert_eq!(shown.mode(&owned(b"", b"")), 0o640);
    }

    #[test]
    fn a_program_is_what_is_shown_as_one() {
        let mut shown = Shown::default();
        assert!(!shown.can_be_started(&owned(b"", b"")));
        assert!(shown.can_be_started(&Attributes::of(Kind::Directory)));
        shown.file_mode = Some(0o750);
        assert!(shown.can_be_started(&owned(b"", b"")));
        shown.umask = 0o111;
        assert!(!shown.can_be_started(&owned(b"", b"")));
    }
}
