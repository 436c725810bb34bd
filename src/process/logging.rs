//! Logs to standard error in the foreground and to syslog in the background.
//!
//! One logger is installed for the life of the process; [`to_syslog`] switches its destination. The
//! same filter applies to both: warnings and errors by default, RUST_LOG, and every command and
//! reply with `-d`.
//!
//! The last warnings and errors are kept in memory too, whatever the filter is: [`recent_errors`].

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use env_logger::{Logger, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

use crate::process::printable::printable;

/// Number of lines kept in memory.
const RECENT_LINES: usize = 16;
/// Characters kept of each line.
const RECENT_LINE_LENGTH: usize = 400;

/// A warning or an error that was logged.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was logged.
    pub at: SystemTime,
    /// Warning or error.
    pub level: Level,
    /// The message.
    pub text: String,
}

/// What is logged. RUST_LOG adds to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Amount {
    /// Errors.
    Errors,
    /// Warnings and errors.
    #[default]
    Warnings,
    /// Level info, too.
    Steps,
    /// Every command and reply, too, without passwords.
    Everything,
}

/// Installs the logger, which writes to standard error. Later calls do nothing.
///
/// With `file` it appends to that file, also in the background. The journal of systemd has time stamps of its own.
pub fn start(amount: Amount, file: Option<&Path>) -> Result<(), String> {
    let mut builder = env_logger::Builder::new();
    if let Some(path) = file {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(LOG_FILE_MODE)
            .open(path)
            .map_err(|error| {
                format!(
                    "log_file={}: can't be opened: {error}; name a file that can be written",
                    path.display()
                )
            })?;
        builder.target(Target::Pipe(Box::new(file)));
        SWITCH.to_file.store(true, Ordering::Release);
    }
    if file.is_none() && is_journal() {
        builder.format_timestamp(None);
    } else {
        // A round trip takes milliseconds.
        builder.format_timestamp_millis();
    }
    builder.parse_filters(match amount {
        Amount::Errors => "error",
        Amount::Warnings => "warn",
        Amount::Steps => "warn,ftpfs=info",
        // One line for each request of the kernel would bury the protocol: RUST_LOG=fuser=debug.
        Amount::Everything => "info,ftpfs=debug",
    });
    if let Ok(filters) = std::env::var("RUST_LOG") {
        builder.parse_filters(&filters);
    }
    let stderr = SWITCH.stderr.get_or_init(|| builder.build());
    if log::set_logger(&SWITCH).is_ok() {
        // Warnings are kept for the status in any case.
        log::set_max_level(stderr.filter().max(LevelFilter::Warn));
    }
    Ok(())
}

/// Permission bits of a new log file: it names files of the user.
const LOG_FILE_MODE: u32 = 0o600;

/// Whether standard error is the journal of systemd: `JOURNAL_STREAM` is then its device and inode number.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    // fstat(2) of a descriptor that is always open.
    nix::sys::stat::fstat(std::io::stderr())
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// Switches the log to syslog, with the name `ftpfs`.
///
/// A log file is kept. Without a syslog, as in a container, the messages are lost: a last line on standard error says so.
pub fn to_syslog() {
    if SWITCH.to_file.load(Ordering::Acquire) {
        return;
    }
    if !Path::new(SYSLOG).exists() {
        let stderr = SWITCH.stderr.get();
        // No warning of the log, which its status would show.
        if stderr.is_some_and(|stderr| stderr.filter() >= LevelFilter::Warn) {
            eprintln!(
                "ftpfs: there is no {SYSLOG}: messages in the background are lost; log_file=FILE keeps them"
            );
        }
    }
    // SAFETY: the name is static, as openlog(3) needs it, since syslog(3) reads it each time.
    unsafe { libc::openlog(c"ftpfs".as_ptr(), libc::LOG_PID, libc::LOG_DAEMON) };
    SWITCH.to_syslog.store(true, Ordering::Release);
}

/// Returns the last warnings and errors, the newest last.
pub fn recent_errors() -> Vec<Line> {
    SWITCH.recent.lock().iter().cloned().collect()
}

/// The target of lines that are for the log alone: [`recent_errors`] leaves them out.
pub const NOTE: &str = "note";

/// The socket of syslog(3).
const SYSLOG: &str = "/dev/log";

struct Switch {
    stderr: OnceLock<Logger>,
    to_syslog: AtomicBool,
    to_file: AtomicBool,
    recent: Mutex<VecDeque<Line>>,
}

static SWITCH: Switch = Switch {
    stderr: OnceLock::new(),
    to_syslog: AtomicBool::new(false),
    to_file: AtomicBool::new(false),
    recent: Mutex::new(VecDeque::new()),
};

impl Switch {
    fn keep(&self, record: &Record<'_>) {
        let text = line(record).chars().take(RECENT_LINE_LENGTH).collect();
        let mut recent = self.recent.lock();
        if recent.len() == RECENT_LINES {
            recent.pop_front();
        }
        recent.push_back(Line {
            at: SystemTime::now(),
            level: record.level(),
            text,
        });
    }
}

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let stderr = self.stderr.get();
        stderr.is_some_and(|stderr| stderr.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= Level::Warn && record.target().starts_with("ftpfs") {
            self.keep(record);
        }
        let Some(stderr) = self.stderr.get().filter(|stderr| stderr.matches(record)) else {
            return;
        };
        if self.to_syslog.load(Ordering::Acquire) {
            // SAFETY: the format takes one string, and the argument ends in NUL.
            unsafe {
                libc::syslog(
                    priority(record.level()),
                    c"%s".as_ptr(),
                    CString::new(line(record)).unwrap_or_default().as_ptr(),
                )
            };
        } else {
            let text = line(record);
            stderr.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .args(format_args!("{text}"))
                    .module_path(record.module_path())
                    .build(),
            );
        }
    }

    fn flush(&self) {}
}

fn priority(level: Level) -> i32 {
    match level {
        Level::Error => libc::LOG_ERR,
        Level::Warn => libc::LOG_WARNING,
        Level::Info => libc::LOG_INFO,
        Level::Debug | Level::Trace => libc::LOG_DEBUG,
    }
}

/// Returns the message as one escaped line: text from a server must not forge a log line, nor command a terminal.
fn line(record: &Record<'_>) -> String {
    printable(&record.args().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_line_has_no_line_end() {
        let args = format_args!("550 no\r\nsuch\0file");
        let record = Record::builder().args(args).build();
        assert_eq!(line(&record), r"550 no\r\nsuch\u{0}file");
    }

    #[test]
    fn recent_errors_are_the_last_lines() {
        for number in 0..40 {
            let args = format_args!("{number} {:0>1000}", 0);
            SWITCH.keep(&Record::builder().args(args).level(Level::Warn).build());
        }
        let kept = recent_errors();
        assert_eq!(kept.len(), RECENT_LINES);
        assert!(
            kept[RECENT_LINES - 1].text.starts_with("39 ")
                && kept[0].text.len() == RECENT_LINE_LENGTH
        );
    }

    #[test]
    fn levels_map_to_syslog_priorities() {
        assert_eq!(priority(Level::Error), libc::LOG_ERR);
        assert_eq!(priority(Level::Trace), libc::LOG_DEBUG);
    }
}
