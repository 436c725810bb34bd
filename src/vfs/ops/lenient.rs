//! What a lenient mount (`-o lenient`) passes over: what the server can't do to a file beside its bytes.
//!
//! The one idea: it is looked at wherever such a change has failed, be that at once or behind an upload, and a line in the
//! log says so once for each kind.

use crate::remote;
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};

/// A kind of change.
pub(crate) const SETTING_MODES: &str = "setting permission bits";
/// The same.
pub(crate) const SETTING_TIMES: &str = "setting times";

impl Vfs {
    /// What the server can't do succeeds on a lenient mount, with one line in the log for each kind.
    pub(crate) fn tolerate(&self, result: Result<()>, what: &'static str) -> Result<()> {
        match result {
            Err(
                error @ (Error::NotPermitted(remote::Error::Refused { .. }) | Error::Impossible),
            ) if self.settings.lenient => {
                if self.tolerated.lock().insert(what) {
                    let why: &dyn std::fmt::Display = match &error {
                        Error::NotPermitted(refused) => refused,
                        other => other,
                    };
                    log::warn!(
                        "{what}: {why}; from now on passed over, since the mount is lenient"
                    );
                }
                Ok(())
            }
            result => result,
        }
    }
}
