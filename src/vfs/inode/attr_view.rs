//! Decides what the kernel is shown of an inode: owner, mode, size and times.
//!
//! The server enforces permissions, for the user that is logged in. So by default the mounting user is shown as the owner
//! of everything, with the server's bits; options show other values, and change nothing on the server.
//!
//! The order of precedence: a mode that an option forces, what is kept here (`kept`), what the server says, the defaults.
//! Set-user-ID and set-group-ID bits of the server are never shown: it would choose whose rights a program runs with.

use std::collections::HashMap;
use std::time::Duration;

use crate::remote::{Attributes, Kind, OwnerName};
use crate::vfs::inode::Node;
use crate::vfs::inode::kept::{KeptMode, KeptTime, SET_ID_BITS, Timestamp};

/// Attributes of an inode, as shown to the kernel.
#[derive(Clone, Debug)]
pub struct Attr {
    /// The inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// The last access, as a program set it; otherwise the last modification that was not ours.
    pub accessed: Timestamp,
    /// The last modification.
    pub modified: Timestamp,
    /// The last change of content, attributes or name.
    pub changed: Timestamp,
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
    /// What another user than `uid` makes is shown as that user's.
    pub makers_own: bool,
    /// Show set-user-ID and set-group-ID bits that were set through this mount. Only where it is certainly `nosuid`.
    pub set_ids: bool,
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
        let (uid, gid) = self.owner(node);
        let kept = node.kept();
        let kept_time = kept.and_then(|kept| kept.modified);
        let modified = node.modified();
        let accessed = node
            .accessed
            .map(|seconds| Timestamp::of_seconds(seconds.get()));
        let accessed = kept.and_then(|kept| kept.accessed).or(accessed);
        let set_time = kept_time.and_then(KeptTime::if_set);
        let changed = match kept.map(|kept| (kept.changed, set_time)) {
            // A time that a program set is none of a change.
            Some((Some(changed), Some(_))) => changed,
            Some((Some(changed), None)) => changed.max(modified),
            Some((None, _)) | None => modified,
        };
        Attr {
            ino: node.ino,
            kind: attributes.kind,
            size: size.unwrap_or(0),
            accessed: accessed.unwrap_or(modified),
            modified,
            changed,
            mode: self.mode(node),
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
    pub fn owner(&self, node: &Node) -> (u32, u32) {
        let (uid, gid) = self.server_owner(&node.attributes);
        let kept = node.kept();
        (
            kept.and_then(|kept| kept.uid).unwrap_or(uid),
            kept.and_then(|kept| kept.gid).unwrap_or(gid),
        )
    }

    /// The owner and the group where none is kept.
    pub(crate) fn server_owner(&self, attributes: &Attributes) -> (u32, u32) {
        let Some(names) = &self.owners else {
            return (self.uid, self.gid);
        };
        let number = |name: &Option<OwnerName>, known: &HashMap<Vec<u8>, u32>| {
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
    pub fn can_be_started(&self, node: &Node) -> bool {
        node.attributes.kind == Kind::Directory || self.mode(node) & 0o111 != 0
    }

    /// The permission bits.
    pub(crate) fn mode(&self, node: &Node) -> u32 {
        let kept = node.kept().and_then(|kept| kept.mode);
        self.mode_of(&node.attributes, kept.map(KeptMode::bits))
    }

    fn mode_of(&self, attributes: &Attributes, kept: Option<u32>) -> u32 {
        let (forced, unsaid) = match attributes.kind {
            Kind::Directory => (self.dir_mode, DIRECTORY),
            // As everywhere on Linux: what counts are the bits of what it leads to.
            Kind::Symlink => return 0o777,
            Kind::File | Kind::Special => (self.file_mode, FILE),
        };
        let server = attributes.mode.unwrap_or(unsaid) & !SET_ID_BITS;
        let kept = match self.set_ids {
            true => kept,
            false => kept.map(|kept| kept & !SET_ID_BITS),
        };
        forced.or(kept).unwrap_or(server) & !self.umask
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
        assert_eq!(shown.server_owner(&owned(b"bin", b"7")), (1000, 1000));
        shown.owners = Some(Names::parse(
            b"root:x:0:0:::\nbin:x:2:2:::\n",
            b"bin:x:2:\n",
        ));
        assert_eq!(shown.server_owner(&owned(b"bin", b"7")), (2, 7));
        assert_eq!(
            shown.server_owner(&owned(b"no such user", b"bin")),
            (1000, 2)
        );
    }

    #[test]
    fn given_modes_come_before_the_servers_and_the_umask_before_all() {
        let mut shown = Shown::default();
        assert_eq!(shown.mode_of(&owned(b"", b""), None), 0o640);
        assert_eq!(shown.mode_of(&Attributes::of(Kind::Directory), None), 0o755);
        shown.umask = 0o027;
        assert_eq!(shown.mode_of(&owned(b"", b""), None), 0o640);
        shown.file_mode = Some(0o666);
        assert_eq!(shown.mode_of(&owned(b"", b""), None), 0o640);
    }

    #[test]
    fn set_id_bits_are_shown_where_they_were_set_here() {
        let mut shown = Shown::default();
        let server = Attributes {
            mode: Some(0o6755),
            ..Attributes::of(Kind::File)
        };
        assert_eq!(shown.mode_of(&server, None), 0o755);
        assert_eq!(shown.mode_of(&server, Some(0o4711)), 0o711);
        shown.set_ids = true;
        assert_eq!(shown.mode_of(&server, None), 0o755);
        assert_eq!(shown.mode_of(&server, Some(0o4711)), 0o4711);
        shown.file_mode = Some(0o600);
        assert_eq!(shown.mode_of(&server, Some(0o4711)), 0o600);
    }
}
