//! Ends a mount by force (`ftpfs umount -f`): at once, and without the server.
//!
//! The request comes as an ioctl on the root, which the FUSE loop answers without waiting. Every connection is cut, so that
//! all callers get ENOTCONN and every transfer ends. What was closed stays in the journal, and what is open goes to
//! lost+found. The process ends as it does after every unmount; where programs still have files open, which keeps a
//! detached mount alive, it ends by itself after [`GRACE`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ftp::Client;
use crate::mount::Mount;
use crate::process::thread::spawn_thread;
use crate::remote::Remote;
use crate::vfs::Vfs;

/// How long the mount may take to be unmounted.
const GRACE: Duration = Duration::from_secs(1);
/// Interval at which that is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Exit status of a process that ends without having been unmounted.
const EXIT_FAILED: i32 = 1;

/// The end of a mount, which comes once.
pub struct ForcedEnd {
    client: Arc<Client>,
    vfs: Arc<Vfs>,
    mount: Arc<Mount>,
    /// One thread is storing what is left.
    is_ending: AtomicBool,
}

impl ForcedEnd {
    /// Of a mount that is not ending yet.
    pub fn new(client: Arc<Client>, vfs: Arc<Vfs>, mount: Arc<Mount>) -> Self {
        Self {
            client,
            vfs,
            mount,
            is_ending: AtomicBool::new(false),
        }
    }

    /// Begins it, and returns how many open files have content that the server lacks. Does not wait.
    pub fn begin(self: &Arc<Self>) -> usize {
        let open = self.vfs.abandon();
        log::warn!("unmounting by force");
        let end = Arc::clone(self);
        if spawn_thread("force", move || end.run()).is_err() {
            // The session's end does the rest.
            self.client.pool().cut();
        }
        open
    }

    fn run(&self) {
        self.client.close();
        let begun = Instant::now();
        while begun.elapsed() < GRACE {
            if self.is_ending.load(Ordering::Acquire) {
                return;
            }
            sleep(CHECK_INTERVAL);
        }
        if !self.is_ending.swap(true, Ordering::AcqRel) {
            // No dead mount stays where the one who asked for the end has not unmounted it, or another path of it.
            if let Err(error) = self.mount.unmount(true) {
                log::error!("{error}");
            }
            self.mount.forget_umount_helper();
            self.vfs.end();
            std::process::exit(EXIT_FAILED);
        }
    }

    /// The mount is unmounted, and the caller is to end the file system. Does not return where that has begun already: the
    /// process ends.
    pub fn take_over(&self) {
        while self.is_ending.swap(true, Ordering::AcqRel) {
            sleep(GRACE);
        }
    }
}
