//! symlink and readlink, with the containment of targets.

use crate::remote::{self, Attributes, Deadline, Kind, Modified, Precision, RemotePath, Step, Why};
use crate::vfs::Vfs;
use crate::vfs::attributes::ownership::Creator;
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::check_name;
use crate::vfs::metadata::link_files::{LINK_FILE_SIZE, encode};

impl Vfs {
    /// Makes a symbolic link, where the server can.
    pub fn symlink(
        &self,
        parent: u64,
        name: &[u8],
        target: &[u8],
        creator: Creator,
        deadline: &Deadline,
    ) -> Result<Attr> {
        self.writable()?;
        check_name(name)?;
        let path = self.table.path_of(parent, name)?;
        match self.remote.step(
            Step::MakeLink {
                link: &path,
                target,
            },
            deadline,
        ) {
            Ok(_) => {}
            Err(error) if error.why() == Some(Why::Unsupported) => {
                return self.make_link_file(parent, &path, target, creator, deadline);
            }
            Err(error) => return Err(error.into()),
        }
        let attributes = Attributes {
            target: Some(target.into()),
            modified: Some(self.table.lock().own_change()),
            ..Attributes::of(Kind::Symlink)
        };
        self.show_new_link(parent, name, attributes, creator)
    }

    /// Makes a regular file that is a symbolic link for this mount.
    fn make_link_file(
        &self,
        parent: u64,
        path: &RemotePath,
        target: &[u8],
        creator: Creator,
        deadline: &Deadline,
    ) -> Result<Attr> {
        if !self.settings.links.files {
            self.attributes.name_link_option();
            return Err(Error::Impossible);
        }
        let bytes = encode(target).ok_or(Error::NameTooLong)?;
        let ask = remote::Ask::caller(deadline);
        let (mut sink, sent) = match self.create_on_server(parent, path, deadline)? {
            Some(sink) => (sink, 0),
            None => {
                let then = remote::Then::default();
                self.remote.write(path, None, then, &bytes, &|| {}, &ask)?
            }
        };
        let sent = usize::try_from(sent).unwrap_or(usize::MAX);
        sink.write(bytes.get(sent..).unwrap_or_default(), deadline)?;
        let said = sink.finish(deadline)?;
        // What is asked next may need its connection: there may be no other.
        drop(sink);
        let version = match said {
            Some(updated) => updated.version,
            None => {
                let then = remote::Then::default();
                self.remote.confirm(path, then, &ask)?.version
            }
        };
        let modified = version.modified.map(|seconds| Modified {
            seconds,
            precision: Precision::Second,
        });
        let attributes = Attributes {
            size: Some(LINK_FILE_SIZE),
            target: Some(target.into()),
            modified: modified.or_else(|| Some(self.table.lock().own_change())),
            ..Attributes::of(Kind::Symlink)
        };
        self.show_new_link(parent, path.name(), attributes, creator)
    }

    fn show_new_link(
        &self,
        parent: u64,
        name: &[u8],
        attributes: Attributes,
        creator: Creator,
    ) -> Result<Attr> {
        let ino = {
            let mut tree = self.table.lock();
            if let Some(old) = tree.child(parent, name) {
                tree.remove_own(old);
            }
            tree.add_own(parent, name, attributes)
        };
        self.attributes.keep_new(ino, parent, creator);
        self.table.count_lookup(ino)
    }

    /// Where a symbolic link points, seen from inside the mount.
    pub fn readlink(&self, ino: u64, deadline: &Deadline) -> Result<Vec<u8>> {
        let (path, target) = {
            let tree = self.table.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            if node.attributes.kind != Kind::Symlink {
                return Err(Error::Invalid);
            }
            (
                tree.path(ino).ok_or(Error::Stale)?,
                node.attributes.target.clone(),
            )
        };
        let target = match target {
            Some(target) => target,
            None => {
                let ask = remote::Ask::caller(deadline);
                let target = self.remote.read_link(&path, &ask)?.into_boxed_slice();
                if let Some(node) = self.table.lock().get_mut(ino) {
                    node.attributes.target = Some(target.clone());
                }
                target
            }
        };
        self.settings
            .links
            .leaving
            .shown(&self.settings.root, &path, &target)
            .ok_or_else(|| {
                let mut tree = self.table.lock();
                // Once for each link: every listing of its directory reads it.
                let told = tree
                    .get_mut(ino)
                    .is_some_and(|node| std::mem::replace(&mut node.told, true));
                if !told {
                    log::warn!(
                        "symlink: {path}: target {} is outside of the mount; reading the link is refused",
                        target.escape_ascii()
                    );
                }
                Error::LeadsOut
            })
    }
}
