//! Where log lines go: standard error in the foreground, syslog behind.
//!
//! The one idea: one logger is installed for the life of the process, with one switch in it. What
//! is logged does not depend on where: the same filter counts on both sides, warnings and errors
//! by default, what RUST_LOG says, everything that goes over the wire with `-d`.
//!
//! The last lines that tell of something wrong are kept too, whatever the filter says: [`lately`].

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use env_logger::Logger;
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

/// Lines that are kept.
const LINES: usize = 16;
/// Characters of a line that are kept.
const LONGEST: usize = 400;

/// A line about something wrong.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: SystemTime,
    /// How wrong: a warning or an error.
    pub level: Level,
    /// What.
    pub text: String,
}

/// How much is logged. RUST_LOG adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// What went wrong.
    Warnings,
    /// What is done, too.
    Steps,
    /// Every command and reply, too. Passwords are not among them.
    Everything,
}

/// Installs the logger, which writes to standard error for now. Later calls do nothing.
pub fn start(amount: Amount) {
    let mut builder = env_logger::Builder::new();
    // A round trip is some milliseconds.
    builder.format_timestamp_millis();
    builder.parse_filters(match amount {
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
        log::set_max_level(stderr.filter().max(LevelFilter::Warn));
    }
}

/// From now on lines go to syslog, as the daemon `ftpfs`.
pub fn to_syslog() {
    // SAFETY: the name is static, as openlog(3) needs it, since syslog(3) reads it each time.
    unsafe { libc::openlog(c"ftpfs".as_ptr(), libc::LOG_PID, libc::LOG_DAEMON) };
    SWITCH.behind.store(true, Ordering::Release);
}

/// The last lines about something wrong, the last of them last.
pub fn lately() -> Vec<Line> {
    SWITCH.lately.lock().iter().cloned().collect()
}

struct Switch {
    stderr: OnceLock<Logger>,
    behind: AtomicBool,
    lately: Mutex<VecDeque<Line>>,
}

static SWITCH: Switch = Switch {
    stderr: OnceLock::new(),
    behind: AtomicBool::new(false),
    lately: Mutex::new(VecDeque::new()),
};

impl Switch {
    fn keep(&self, record: &Record<'_>) {
        let text = record.args().to_string().chars().take(LONGEST).collect();
        let mut lately = self.lately.lock();
        if lately.len() == LINES {
            lately.pop_front();
        }
        lately.push_back(Line {
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
        if self.behind.load(Ordering::Acquire) {
            // SAFETY: the format takes one string, and gets one that ends in NUL.
            unsafe {
                libc::syslog(
                    priority(record.level()),
                    c"%s".as_ptr(),
                    line(record).as_ptr(),
                )
            };
        } else {
            stderr.log(record);
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

/// One line of text: a server's words must not begin a line of their own in the log.
fn line(record: &Record<'_>) -> CString {
    let text: String = record
        .args()
        .to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_syslog_is_one_line() {
        let args = format_args!("550 no\r\nsuch\0file");
        let record = Record::builder().args(args).build();
        assert_eq!(line(&record).to_bytes(), b"550 no  such file");
    }

    #[test]
    fn the_last_lines_are_kept_and_no_more() {
        for number in 0..40 {
            let args = format_args!("{number} {:0>1000}", 0);
            SWITCH.keep(&Record::builder().args(args).level(Level::Warn).build());
        }
        let kept = lately();
        assert_eq!(kept.len(), LINES);
        assert!(kept[LINES - 1].text.starts_with("39 ") && kept[0].text.len() == LONGEST);
    }

    #[test]
    fn levels_have_their_priorities() {
        assert_eq!(priority(Level::Error), libc::LOG_ERR);
        assert_eq!(priority(Level::Trace), libc::LOG_DEBUG);
    }
}
