//! `ftpfs status` and `ftpfs drop-cache`: asking mounts, and what they answer.
//!
//! The one idea: the mount itself puts its answer into words (or JSON), as it alone knows what its figures
//! mean; whoever asks prints what comes. How questions get there is in `inquiry.rs`; `status/report.rs` has
//! what there is to tell.
//!
//! Invariants: to answer waits for no server and no upload; no password is in an answer.

pub(crate) mod report;
pub(crate) mod text;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::cli::Status;
use crate::commands::json;
use crate::commands::status::report::Report;
use crate::ftp::Client;
use crate::fuse;
use crate::fuse::kernel_notify::KernelNotifier;
use crate::mount::query;
use crate::mount::query::Mounted;
use crate::process::logging;
use crate::vfs::Vfs;

/// Something could not be asked, or there was nothing to ask.
const FAILED: u8 = 1;

/// What the mount answers with.
pub struct MountQueries {
    /// The source, as mount tables show it.
    pub source: String,
    /// Who logged in.
    pub user: Vec<u8>,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Since when.
    pub since: (SystemTime, Instant),
    /// The engine.
    pub client: Arc<Client>,
    /// The file system.
    pub vfs: Arc<Vfs>,
    /// What the kernel was told.
    pub notifier: Arc<KernelNotifier>,
}

impl fuse::QueryHandler for MountQueries {
    fn status(&self, json: bool) -> String {
        let report = Report {
            source: self.source.clone(),
            user: String::from_utf8_lossy(&self.user).into_owned(),
            read_only: self.read_only,
            since: self.since.0,
            lasts: self.since.1.elapsed(),
            process: std::process::id(),
            connections: self.client.pool().figures(),
            figures: self.vfs.figures(),
            notices: self.notifier.counts(),
            errors: logging::recent_errors(),
        };
        if json {
            report.json(query::MAX_ANSWER_SIZE)
        } else {
            text::words(&report, query::MAX_ANSWER_SIZE)
        }
    }

    fn drop_cache(&self) {
        let known = self.vfs.forget_all();
        self.notifier.invalidate(&known);
        log::info!("the caches were dropped, of {} inodes", known.len());
    }
}

/// Runs `ftpfs status`.
pub fn run(status: &Status) -> ExitCode {
    each(status.mountpoint.as_ref(), |mounts| {
        let answers = mounts
            .iter()
            .map(|mount| (mount, mount.status(status.json)));
        if status.json {
            list(answers)
        } else {
            let mut failed = false;
            for (mount, answer) in answers {
                match answer {
                    Ok(text) => print(&format!("{}\n{text}", mount.mountpoint.display())),
                    Err(error) => failed |= say(&error),
                }
            }
            if mounts.is_empty() {
                eprintln!("ftpfs: you have mounted nothing");
            }
            failed
        }
    })
}

/// Runs `ftpfs drop-cache`.
pub fn drop_cache(mountpoint: Option<&PathBuf>) -> ExitCode {
    each(mountpoint, |mounts| {
        let mut failed = false;
        for mount in mounts {
            if let Err(error) = mount.drop_cache() {
                failed |= say(&error);
            }
        }
        failed
    })
}

/// Asks the mount that is meant, or all of this user's. `ask` returns whether something failed.
fn each(mountpoint: Option<&PathBuf>, ask: impl FnOnce(&[Mounted]) -> bool) -> ExitCode {
    let mounts = match mountpoint {
        Some(mountpoint) => query::find(mountpoint).map(|mount| vec![mount]),
        None => query::all(),
    };
    let failed = match mounts {
        Ok(mounts) => ask(&mounts),
        Err(error) => say(&error),
    };
    if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// One list, whatever was asked for: of each mount where it is, and how, or why it did not answer.
fn list<'a>(answers: impl Iterator<Item = (&'a Mounted, Result<String, String>)>) -> bool {
    let mut failed = false;
    let objects: Vec<String> = answers
        .map(|(mount, answer)| {
            let at = json::to_text(&mount.mountpoint.to_string_lossy());
            let (name, value) = match answer {
                Ok(status) => ("status", status),
                Err(error) => {
                    failed = true;
                    ("error", json::to_text(&error))
                }
            };
            format!("{{\"mountpoint\": {at}, \"{name}\": {value}}}")
        })
        .collect();
    print(&format!("[{}]\n", objects.join(",\n")));
    failed
}

fn print(text: &str) {
    // Who has hung up has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn say(error: &str) -> bool {
    eprintln!("ftpfs: {error}");
    true
}
