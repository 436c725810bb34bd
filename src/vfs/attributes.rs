//! Changes modes on the server, and decides what becomes of refused changes of attributes.
//!
//! With `-o lenient` a change that the server refuses or cannot make succeeds, and is logged once for each kind. The same
//! rule holds for changes at once and for those sent after an upload.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::process::lock_order::OrderedMutex;
use crate::remote::{self, Deadline, Remote, Step};
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::table::Table;
use crate::vfs::lock_rank;

/// A kind of change.
pub(crate) const SETTING_MODES: &str = "setting permission bits";
/// The same.
pub(crate) const SETTING_TIMES: &str = "setting times";

/// Changes of attributes on the server, and what becomes of refusals.
pub struct Policy {
    remote: Arc<dyn Remote>,
    table: Arc<Table>,
    /// How long attributes live.
    lifetime: Duration,
    /// Whether what the server has no means for succeeds.
    lenient: bool,
    /// The kinds of change that were passed over and logged.
    pub(crate) tolerated: OrderedMutex<HashSet<&'static str>, { lock_rank::MOUNT }>,
}

impl Policy {
    /// The policy of a mount.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        table: Arc<Table>,
        lifetime: Duration,
        lenient: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            remote,
            table,
            lifetime,
            lenient,
            tolerated: OrderedMutex::default(),
        })
    }

    /// What the server can't do succeeds on a lenient mount, with one line in the log for each kind.
    pub(crate) fn tolerate(&self, result: Result<()>, what: &'static str) -> Result<()> {
        match result {
            Err(
                error @ (Error::NotPermitted(remote::Error::Refused { .. }) | Error::Impossible),
            ) if self.lenient => {
                if self.tolerated.lock().insert(what) {
                    let why: &dyn std::fmt::Display = match &error {
                        Error::NotPermitted(refused) => refused,
                        other => other,
                    };
                    log::warn!("lenient: {what}: {why}; further failures are ignored");
                }
                Ok(())
            }
            result => result,
        }
    }

    /// Sets the permission bits of what is on the server.
    pub(crate) fn set_mode(&self, ino: u64, mode: u32, deadline: &Deadline) -> Result<()> {
        let path = self.table.path(ino)?;
        match self.remote.step(Step::SetMode(&path, mode), deadline) {
            Ok(_) => {}
            Err(error @ remote::Error::Refused { .. }) if self.has_mode(ino, mode) => {
                log::debug!("chmod: {error}; the file has these bits already");
                return Ok(());
            }
            Err(error) => return Err(Error::NotPermitted(error)),
        }
        let mut tree = self.table.lock();
        tree.touch(ino);
        if let Some(node) = tree.get_mut(ino) {
            node.attributes.mode = Some(mode);
        }
        Ok(())
    }

    /// Whether what is on the server was seen to have these permission bits lately.
    fn has_mode(&self, ino: u64, mode: u32) -> bool {
        let tree = self.table.lock();
        tree.get(ino).is_some_and(|node| {
            let is_known = !node.local && node.is_fresh(self.lifetime);
            is_known && self.table.attr(node).mode == mode
        })
    }
}
