//! Runs `ftpfs status` and `ftpfs drop-cache`, and answers their queries in the mount.
//!
//! The mount formats its status as text or JSON, since it alone knows the meaning of its figures; the
//! command prints the answer. `mount/query.rs` carries queries to the mount.
//!
//! Without a mountpoint the command shows one line for each mount, or metrics for Prometheus. `--watch` asks again each
//! second.
//!
//! ```text
//! report      defines what is reported, and its form in JSON
//! text        formats the status of a mount for people
//! summary     formats one line for each mount
//! prometheus  formats metrics of all mounts
//! ```
//!
//! Invariants: an answer waits for no server and no upload; it contains no password.

pub(crate) mod prometheus;
pub(crate) mod report;
pub(crate) mod summary;
pub(crate) mod text;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::cli::{DropCache, Status, StatusView};
use crate::commands::forced_end::ForcedEnd;
use crate::commands::human::files;
use crate::commands::json;
use crate::commands::spool_place::writable;
use crate::commands::status::report::Report;
use crate::ftp::Client;
use crate::fuse;
use crate::fuse::kernel_notify::KernelNotifier;
use crate::mount::Mount;
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
    /// The mount.
    pub mount: Arc<Mount>,
    /// The directory of pending uploads.
    pub spool: PathBuf,
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
            // The mount table knows what a remount has changed.
            read_only: self.vfs.is_read_only() || self.mount.is_read_only(),
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

    fn make_writable(&self) -> bool {
        let checked = match self.vfs.is_read_only() {
            true => writable(&self.spool).map(drop),
            false => Ok(()),
        };
        match checked.and_then(|()| self.vfs.make_writable()) {
            Ok(None) => {}
            Ok(Some(outside)) => log::warn!(
                "recovery: not uploaded, since outside of this mount: {} of an earlier mount",
                files(outside.files as u64, "")
            ),
            Err(error) => {
                let spool = self.spool.display();
                log::error!("remount: {spool} can't hold pending uploads: {error}");
                return false;
            }
        }
        // The kernel does not know yet what the journal had.
        self.drop_cache(false);
        true
    }

    fn force_end(&self) -> usize {
        self.end.begin()
    }
}

/// Runs `ftpfs status`.
pub fn run(status: &Status) -> ExitCode {
    if !status.watch {
        return query_mounts(status.mountpoint.as_ref(), |mounts| {
            let (text, errors) = render(mounts, status.view);
            print(&text);
            errors.iter().fold(false, |_, error| print_error(error))
        });
    }
    let is_terminal = std::io::stdout().is_terminal();
    let start = if is_terminal { CLEAR_SCREEN } else { "" };
    loop {
        // Found each time: mounts come and go.
        let text = match find_mounts(status.mountpoint.as_ref()) {
            Ok(mounts) => {
                let (text, errors) = render(&mounts, status.view);
                let errors = errors.iter().map(|error| format!("{error}\n"));
                text + &errors.collect::<String>()
            }
            Err(error) => return exit_code(print_error(&error)),
        };
        if !print(&format!("{start}{text}")) {
            return ExitCode::SUCCESS;
        }
        sleep(WATCH_INTERVAL);
    }
}

/// The escape sequences that move the cursor to the upper left corner and clear the screen (ECMA-48, CUP and ED).
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";
/// Interval at which `--watch` asks again: each answer is cheap for the mount, and rates are those of some seconds.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Asks the mounts, and returns the text and the errors of those that did not answer.
fn render(mounts: &[Mounted], view: StatusView) -> (String, Vec<String>) {
    if mounts.is_empty() && matches!(view, StatusView::Summary | StatusView::Detail) {
        return ("You have no mounts of ftpfs.\n".to_string(), Vec::new());
    }
    let is_json = view != StatusView::Detail;
    let mut errors = Vec::new();
    let mut answers = Vec::new();
    for mount in mounts {
        let mountpoint = mount.entry.mountpoint.to_string_lossy().into_owned();
        let answer = mount.status(is_json);
        if let Err(error) = &answer {
            errors.push(printable(error));
        }
        answers.push((mountpoint, answer));
    }
    let text = match view {
        StatusView::Json => json(&answers),
        StatusView::Detail => detail(&answers),
        StatusView::Summary => {
            let rows = answers.iter().filter_map(|(mountpoint, answer)| {
                Some(summary::row(mountpoint, &value(answer.as_ref().ok()?)))
            });
            summary::table(&rows.collect::<Vec<_>>())
        }
        StatusView::Prometheus => {
            let mounts = answers.into_iter();
            let mounts =
                mounts.map(|(mountpoint, answer)| (mountpoint, answer.as_deref().map(value).ok()));
            prometheus::format(&mounts.collect::<Vec<_>>())
        }
    };
    // The object of a mount in JSON has its error.
    (text, errors)
}

/// Parses the answer of a mount, which may be of another version.
fn value(answer: &str) -> Value {
    serde_json::from_str(answer).unwrap_or_default()
}

/// Formats mounts in detail. Long lines are wrapped on a terminal.
fn detail(answers: &[Answer]) -> String {
    let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let width = width.filter(|_| std::io::stdout().is_terminal());
    let mut text = String::new();
    for (mountpoint, answer) in answers {
        let Ok(answer) = answer else { continue };
        text.push_str(&format!("{}\n", printable(mountpoint)));
        for line in answer.lines() {
            // Escaped here too: the mount may be an older version.
            text.push_str(&text::wrap(&printable(line), width));
        }
    }
    text
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

/// Returns the mount at `mountpoint`, or all of this user's.
fn find_mounts(mountpoint: Option<&PathBuf>) -> Result<Vec<Mounted>, String> {
    match mountpoint {
        Some(mountpoint) => query::find(mountpoint).map(|mount| vec![mount]),
        None => query::all(),
    }
}

/// Queries the mount at `mountpoint`, or all of this user's. `ask` returns whether something failed.
fn query_mounts(mountpoint: Option<&PathBuf>, ask: impl FnOnce(&[Mounted]) -> bool) -> ExitCode {
    exit_code(match find_mounts(mountpoint) {
        Ok(mounts) => ask(&mounts),
        Err(error) => print_error(&error),
    })
}

fn exit_code(failed: bool) -> ExitCode {
    if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// A mountpoint, and what the mount there answered.
type Answer = (String, Result<String, String>);

/// Formats a list in JSON with the mountpoint of each mount and its status or error.
fn json(answers: &[Answer]) -> String {
    let objects = answers.iter().map(|(mountpoint, answer)| {
        let at = json::to_text(mountpoint);
        let (name, value) = match answer {
            Ok(status) => ("status", status.clone()),
            Err(error) => ("error", json::to_text(error)),
        };
        format!("{{\"mountpoint\": {at}, \"{name}\": {value}}}")
    });
    format!("[{}]\n", objects.collect::<Vec<_>>().join(",\n"))
}

/// Returns whether it could be written. A closed pipe is no failure.
fn print(text: &str) -> bool {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

fn print_error(error: &str) -> bool {
    eprintln!("ftpfs: {}", printable(error));
    true
}
