//! Changes of modes, times, owners and extended attributes: on the server where it can store them, else in the overlay.
//!
//! The server is asked first. What it refuses or has no means for follows the [`Policy`]: by default it is kept by the mount
//! and shown from then on (`inode::overlay`). One rule holds for changes at once and for those sent after an upload. The
//! first time that a kind of change is not stored, one line of the log says so.
//!
//! * `extended`: extended attributes `user.*`
//! * `ownership`: who makes a file, and whose it is shown as
//! * `store`: brings what is kept to the database and back
//! * `database`: the database of kept attributes (SQLite)

pub(crate) mod database;
pub(crate) mod extended;
pub(crate) mod ownership;
pub(crate) mod store;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::process::lock_order::OrderedMutex;
use crate::process::logging::NOTE;
use crate::remote::{self, Deadline, Remote, Step, Why};
use crate::vfs::attributes::store::Store;
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::kept::{Kept, KeptMode, Timestamp};
use crate::vfs::inode::table::Table;
use crate::vfs::lock_rank;
use crate::vfs::settings::{Policy, Settings};

/// Bits besides read, write and execute, which some servers refuse in SITE CHMOD (pyftpdlib).
pub(crate) const SPECIAL_BITS: u32 = 0o7000;

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Modes,
    Times,
    Owners,
    Links,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modes => "permission bits",
            Self::Times => "times",
            Self::Owners => "owners",
            Self::Links => "symbolic links",
        })
    }
}

/// The attributes of files as programs set them.
pub struct AttributeOverlay {
    remote: Arc<dyn Remote>,
    table: Arc<Table>,
    /// How long attributes live.
    lifetime: Duration,
    policy: Policy,
    /// Where what is kept survives the mount.
    store: Option<Arc<Store>>,
    /// The kinds of change of which the log has a line.
    logged: OrderedMutex<HashSet<What>, { lock_rank::MOUNT }>,
}

impl AttributeOverlay {
    /// Those of a mount.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        table: Arc<Table>,
        settings: &Settings,
    ) -> Arc<Self> {
        let policy = settings.attributes.policy;
        // LIST rounds to minutes, and MDTM is for files.
        if policy == Policy::Keep && !remote.traits().stats {
            table.lock().keep_local_times();
        }
        let place = settings.attributes.store.clone();
        let store = place
            .filter(|_| policy == Policy::Keep)
            .and_then(|place| Store::open(place, settings.root.clone(), Arc::clone(&table)));
        Arc::new(Self {
            remote,
            table,
            lifetime: settings.lifetimes.known,
            policy,
            store,
            logged: OrderedMutex::default(),
        })
    }

    /// Learns what other mounts have kept.
    pub(crate) fn sync(&self) {
        if let Some(store) = &self.store {
            store.sync();
        }
    }

    /// The mount ends: what is kept is written.
    pub(crate) fn end(&self) {
        if let Some(store) = &self.store {
            store.end();
        }
    }

    /// Whether what the server can't store is kept.
    pub(crate) fn keeps(&self) -> bool {
        self.policy == Policy::Keep
    }

    /// What becomes of a change with this outcome: `change` keeps it where the server did not store it.
    pub(crate) fn keep_unstored(
        &self,
        ino: u64,
        outcome: Result<()>,
        what: What,
        change: impl FnOnce(&mut Kept),
    ) -> Result<()> {
        let Err(error) = outcome else {
            return Ok(());
        };
        if !is_about_attributes(&error) || self.policy == Policy::Strict {
            return Err(error);
        }
        self.log_once(what, &error);
        match self.policy {
            Policy::Keep => self.keep(ino, change),
            _ => Ok(()),
        }
    }

    /// Keeps a change for `ino`.
    pub(crate) fn keep(&self, ino: u64, change: impl FnOnce(&mut Kept)) -> Result<()> {
        let mut tree = self.table.lock();
        tree.keep(ino, change)
            .map_err(|_full| Error::Spool(libc::ENOSPC))
    }

    /// A link could not be made: the log names the option that helps, once.
    pub(crate) fn name_link_option(&self) {
        if self.logged.lock().insert(What::Links) {
            log::warn!(
                "symlink: the server has no symbolic links; -o mfsymlinks stores them in small files"
            );
        }
    }

    fn log_once(&self, what: What, error: &Error) {
        if !self.logged.lock().insert(what) {
            return;
        }
        let why: &dyn fmt::Display = match error {
            Error::NotPermitted(refused) => refused,
            other => other,
        };
        match self.policy {
            // For the log alone: nothing went wrong that the status should show.
            Policy::Keep => log::warn!(
                target: NOTE,
                "attributes: {what} are kept by this mount, the server does not have them: {why}"
            ),
            _ => log::warn!("attributes: {what}: {why}; further failures are ignored"),
        }
    }

    /// What is shown of permission bits is what was wished, not what the server said.
    pub(crate) fn doubt_mode(&self, ino: u64) {
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.attributes.mode = None;
        }
    }

    /// Sets the permission bits of what is on the server, as far as it takes them.
    pub(crate) fn set_mode(&self, ino: u64, mode: u32, deadline: &Deadline) -> Result<()> {
        let outcome = self.store_mode(ino, mode, deadline);
        if outcome.is_err() && mode & SPECIAL_BITS != 0 && self.keeps() {
            // The other bits protect something on the server, too.
            let _ = self.store_mode(ino, mode & !SPECIAL_BITS, deadline);
        }
        self.keep_unstored(ino, outcome, What::Modes, |kept| {
            kept.mode = Some(KeptMode::Refused(mode));
        })
    }

    fn store_mode(&self, ino: u64, mode: u32, deadline: &Deadline) -> Result<()> {
        let path = self.table.path(ino)?;
        match self.remote.step(Step::SetMode(&path, mode), deadline) {
            Ok(_) => {}
            Err(error @ remote::Error::Refused { .. }) if self.has_mode(ino, mode) => {
                log::debug!("chmod: {error}; the file has these bits already");
                return Ok(());
            }
            Err(error) => return Err(Error::NotPermitted(error)),
        }
        self.stored_mode(ino, mode)
    }

    /// The server has accepted permission bits of `ino`.
    pub(crate) fn stored_mode(&self, ino: u64, mode: u32) -> Result<()> {
        {
            let mut tree = self.table.lock();
            tree.touch(ino);
            if let Some(node) = tree.get_mut(ino) {
                node.attributes.mode = Some(mode);
            }
        }
        if self.keeps() {
            // The server has them, as far as it shows.
            let _ = self.keep(ino, |kept| kept.mode = Some(KeptMode::Accepted(mode)));
        }
        Ok(())
    }

    /// Whether what is on the server was seen to have these permission bits lately.
    fn has_mode(&self, ino: u64, mode: u32) -> bool {
        let tree = self.table.lock();
        tree.get(ino).is_some_and(|node| {
            let is_known = !node.local && node.is_fresh(self.lifetime);
            let is_kept = node.kept().is_some_and(|kept| kept.mode.is_some());
            is_known && !is_kept && self.table.shown().mode(node) == mode
        })
    }

    /// Notes that we changed attributes or the name of `ino` now, where there is room for that.
    pub(crate) fn note_change(&self, ino: u64) {
        if self.keeps() {
            let _ = self.keep(ino, |kept| kept.changed = Some(Timestamp::now()));
        }
    }

    /// Whether what the server can't store succeeds without effect.
    pub(crate) fn ignores(&self) -> bool {
        self.policy == Policy::Ignore
    }
}

/// Whether an error says that the server can't store an attribute, rather than that it is not there or not now.
fn is_about_attributes(error: &Error) -> bool {
    match error {
        Error::Impossible => true,
        Error::NotPermitted(error) => matches!(
            error.why(),
            Some(
                Why::Denied | Why::Unsaid | Why::Unsupported | Why::IsDirectory | Why::NotDirectory
            )
        ),
        _ => false,
    }
}
