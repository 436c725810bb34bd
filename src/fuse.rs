//! Runs the FUSE session with the kernel.
//!
//! ```text
//! filesystem      implements fuser::Filesystem: unpacks requests
//! reply           makes replies: attributes, data, errors
//! readdir         packs the entries of directories
//! xattr           implements the extended attributes
//! worker_pool     runs requests that may block
//! kernel_notify   notifies the kernel of changes by other clients
//! ```
//!
//! Types of the `fuser` crate are used only here and below `fuse/`.

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
pub use crate::fuse::filesystem::QueryHandler;
use crate::fuse::kernel_notify::{Counts, Kernel, KernelNotifier};
use crate::vfs::{Listener, Vfs};

/// Number of threads that read requests. They never wait for the server, so two keep two processors busy.
const SESSION_THREADS: usize = 2;

/// The users who may access the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The user who mounted it.
    Owner,
    /// That user and root.
    OwnerAndRoot,
    /// All users, within the permission bits.
    Everybody,
}

/// Serves the mount of `device` until it is unmounted. `live` is called after the reply to the first
/// request, FUSE_INIT.
pub fn serve(
    vfs: Arc<Vfs>,
    notifier: Arc<KernelNotifier>,
    queries: Arc<dyn QueryHandler>,
    device: OwnedFd,
    audience: Audience,
    live: impl FnOnce() -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    let mut config = Config::default();
    config.n_threads = Some(SESSION_THREADS);
    let acl = match audience {
        Audience::Owner => SessionACL::Owner,
        Audience::OwnerAndRoot => SessionACL::RootAndOwner,
        Audience::Everybody => SessionACL::All,
    };
    let adapter = Adapter::new(Arc::clone(&vfs), Arc::clone(&notifier), queries);
    let session = Session::from_fd(adapter, device, acl, config)
        .map_err(|error| format!("the kernel did not accept the mount: {error}"))?;
    live()?;
    let passed = {
        let vfs = Arc::clone(&vfs);
        move |ino| vfs.release_gone(ino)
    };
    match notifier.start(Arc::new(session.notifier()), passed) {
        Ok(()) => vfs.set_listener(Some(Arc::clone(&notifier) as Arc<dyn Listener>)),
        Err(error) => log::error!(
            "kernel notifications disabled: {error}; changes of other clients show after a second"
        ),
    }
    let ended = session.run();
    vfs.set_listener(None);
    notifier.end();
    let Counts { sent, dropped } = notifier.counts();
    log::info!("kernel notifications: {sent} sent, {dropped} dropped");
    ended.map_err(|error| format!("the mount ended with an error: {error}"))
}

impl Kernel for Notifier {
    fn gone(&self, parent: u64, name: &[u8], ino: u64) -> std::io::Result<()> {
        self.delete(INodeNo(parent), INodeNo(ino), OsStr::from_bytes(name))
    }

    fn changed(&self, ino: u64, content: bool) -> std::io::Result<()> {
        // A negative offset invalidates the attributes alone.
        self.inval_inode(INodeNo(ino), if content { 0 } else { -1 }, 0)
    }
}
