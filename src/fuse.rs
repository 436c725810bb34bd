//! FUSE: the session with the kernel.
//!
//! The one idea: a shell. What the kernel asks is unpacked in `fuse/adapter.rs` and answered in the words of
//! `fuse/answers.rs`; what it is to be told goes through its notifier, on a thread of the notices' own. Only here and
//! below `fuse/` types of the `fuser` crate are named.

pub(crate) mod filesystem;
pub mod kernel_notify;
pub(crate) mod readdir;
pub(crate) mod reply;
pub mod worker_pool;
pub(crate) mod xattr;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{Config, INodeNo, Notifier, Session, SessionACL};

use crate::fuse::filesystem::Adapter;
pub use crate::fuse::filesystem::Desk;
use crate::fuse::kernel_notify::{Counts, Kernel, Notices};
use crate::vfs::{Listener, Vfs};

/// FUSE's loops. They never wait, so two keep two processors busy.
const LOOPS: usize = 2;

/// Who may use the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Who mounted it.
    Owner,
    /// And root.
    OwnerAndRoot,
    /// Everybody, within the permission bits.
    Everybody,
}

/// Serves the mount behind `device` until it is unmounted. `live` is called when the kernel has
/// been answered for the first time.
pub fn serve(
    vfs: Arc<Vfs>,
    notices: Arc<Notices>,
    desk: Arc<dyn Desk>,
    device: OwnedFd,
    audience: Audience,
    live: impl FnOnce() -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    let mut config = Config::default();
    config.n_threads = Some(LOOPS);
    let acl = match audience {
        Audience::Owner => SessionACL::Owner,
        Audience::OwnerAndRoot => SessionACL::RootAndOwner,
        Audience::Everybody => SessionACL::All,
    };
    let adapter = Adapter::new(Arc::clone(&vfs), Arc::clone(&notices), desk);
    let session = Session::from_fd(adapter, device, acl, config)
        .map_err(|error| format!("the kernel did not accept the mount: {error}"))?;
    live()?;
    let passed = {
        let vfs = Arc::clone(&vfs);
        move |ino| vfs.told(ino)
    };
    match notices.start(Arc::new(session.notifier()), passed) {
        Ok(()) => vfs.tell(Some(Arc::clone(&notices) as Arc<dyn Listener>)),
        Err(error) => log::error!("no thread can be started to tell the kernel: {error}"),
    }
    let ended = session.run();
    vfs.tell(None);
    notices.end();
    let Counts { told, dropped } = notices.counts();
    log::info!(
        "the kernel was told {told} times what others changed; {dropped} times it was not worth it"
    );
    ended.map_err(|error| format!("the mount ended with an error: {error}"))
}

impl Kernel for Notifier {
    fn gone(&self, parent: u64, name: &[u8], ino: u64) -> std::io::Result<()> {
        self.delete(INodeNo(parent), INodeNo(ino), OsStr::from_bytes(name))
    }

    fn changed(&self, ino: u64, content: bool) -> std::io::Result<()> {
        // Of no byte, or of all of them; of the attributes in any case.
        self.inval_inode(INodeNo(ino), if content { 0 } else { -1 }, 0)
    }
}
