//! Runs `ftpfs status` and `ftpfs drop-cache`, and answers their queries in the mount.
//!
//! The mount formats its status as text or JSON, since it alone knows the meaning of its figures; the
//! command prints the answer. `mount/query.rs` carries queries to the mount; `status/report.rs` defines
//! what is reported.
//!
//! Without a mountpoint the command shows one line for each mount (`status/summary.rs`).
//!
//! Invariants: an answer waits for no server and no upload; it contains no password.

pub(crate) mod report;
pub(crate) mod summary;
pub(crate) mod text;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::cli::{DropCache, Status};
use crate::commands::forced_end::ForcedEnd;
use crate::commands::json;
use crate::commands::status::report::Report;
use crate::ftp::Client;
use crate::fuse;
use crate::fuse::kernel_notify::KernelNotifier;
use crate::mount::query;
use crate::mount::query::Mounted;
use crate::process::logging;
use crate::process::printable::printable;
use crate::vfs::Vfs;

/// Exit status: a query failed, or there was no mount.
const FAILED: u8 = 1;

/// Answers the queries of a mount.
pub struct MountQueries {
    /// The source, as mount tables show it.
    pub source: String,
    /// The user who logged in.
    pub user: Vec<u8>,
    /// A read-only mount.
    pub read_only: bool,
    /// Time of the mount.
    pub since: (SystemTime, Instant),
    /// The FTP client.
    pub client: Arc<Client>,
    /// The file system.
    pub vfs: Arc<Vfs>,
    /// The notifications of the kernel.
    pub notifier: Arc<KernelNotifier>,
    /// The end by force.
    pub end: Arc<ForcedEnd>,
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
            text::format(&report, query::MAX_ANSWER_SIZE)
        }
    }

    fn drop_cache(&self, server: bool) {
        if server {
            self.client.forget_server();
            self.vfs.forget_server();
            log::info!("what was learned of the server is forgotten");
        }
        let known = self.vfs.forget_all();
        self.notifier.invalidate(&known);
        log::info!("caches dropped: {} inodes", known.len());
    }

    fn force_end(&self) -> usize {
        self.end.begin()
    }
}

/// Runs `ftpfs status`.
pub fn run(status: &Status) -> ExitCode {
    query_mounts(status.mountpoint.as_ref(), |mounts| {
        let is_summary = status.mountpoint.is_none() && !status.verbose && !status.json;
        let answers = mounts
            .iter()
            .map(|mount| (mount, mount.status(status.json || is_summary)));
        if status.json {
            print_json(answers)
        } else if is_summary && !mounts.is_empty() {
            print_summary(answers)
        } else {
            let mut failed = false;
            for (mount, answer) in answers {
                match answer {
                    // Escaped here too: the mount may be an older version.
                    Ok(text) => {
                        let mountpoint = printable(&mount.entry.mountpoint.to_string_lossy());
                        let lines = text.lines().map(|line| printable(line) + "\n");
                        print(&format!("{mountpoint}\n{}", lines.collect::<String>()));
                    }
                    Err(error) => failed |= print_error(&error),
                }
            }
            if mounts.is_empty() {
                eprintln!("ftpfs: you have no mounts");
            }
            failed
        }
    })
}

/// Runs `ftpfs drop-cache`.
pub fn drop_cache(drops: &DropCache) -> ExitCode {
    query_mounts(drops.mountpoint.as_ref(), |mounts| {
        let mut failed = false;
        for mount in mounts {
            if let Err(error) = mount.drop_cache(drops.server) {
                failed |= print_error(&error);
            }
        }
        failed
    })
}

/// Queries the mount at `mountpoint`, or all of this user's. `ask` returns whether something failed.
fn query_mounts(mountpoint: Option<&PathBuf>, ask: impl FnOnce(&[Mounted]) -> bool) -> ExitCode {
    let mounts = match mountpoint {
        Some(mountpoint) => query::find(mountpoint).map(|mount| vec![mount]),
        None => query::all(),
    };
    let failed = match mounts {
        Ok(mounts) => ask(&mounts),
        Err(error) => print_error(&error),
    };
    if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints a line for each mount.
fn print_summary<'a>(answers: impl Iterator<Item = (&'a Mounted, Result<String, String>)>) -> bool {
    let (mut failed, mut rows) = (false, Vec::new());
    for (mount, answer) in answers {
        match answer {
            Ok(status) => {
                let mountpoint = mount.entry.mountpoint.to_string_lossy();
                rows.push(summary::row(&mountpoint, &status));
            }
            Err(error) => failed |= print_error(&error),
        }
    }
    if !rows.is_empty() {
        print(&summary::table(&rows));
    }
    failed
}

/// Prints a list in JSON with the mountpoint of each mount and its status or error.
fn print_json<'a>(answers: impl Iterator<Item = (&'a Mounted, Result<String, String>)>) -> bool {
    let mut failed = false;
    let objects: Vec<String> = answers
        .map(|(mount, answer)| {
            let at = json::to_text(&mount.entry.mountpoint.to_string_lossy());
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
    // A closed pipe is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn print_error(error: &str) -> bool {
    eprintln!("ftpfs: {}", printable(error));
    true
}
