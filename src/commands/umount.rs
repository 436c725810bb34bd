//! Runs `ftpfs umount` and `umount.fuse.ftpfs`, the helper of umount(8): waits for uploads, then unmounts.
//!
//! An extended attribute of the mount's root holds the number of files and bytes that are not stored yet
//! (`mount/query.rs`). The command reads it until nothing is pending, and shows the progress. A mount that
//! does not answer is unmounted too if the mount table identifies it as a mount of ftpfs: it must not keep
//! the machine from shutting down.
//!
//! The crate indicatif was tried for the progress: it would replace the two escape sequences and the cut at the terminal's
//! width, some ten lines, by four crates. The text of the line is needed all the same where there is no terminal.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use terminal_size::terminal_size_of;

use crate::cli::Umount;
use crate::commands::human::{duration, explain_refused, files, size};
use crate::mount;
use crate::mount::query;
use crate::mount::query::{FORCED_QUERY_TIMEOUT, Mounted, PENDING, REFUSED, Unanswered};
use crate::process::thread::spawn_thread;

/// Interval between two queries for pending uploads.
const PENDING_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long the uploads may make no progress before the mount is unmounted without them: a server that is away does not
/// keep the machine from shutting down, which takes 90 seconds where systemd waits.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// Interval between two progress lines if standard error is not a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Waits for uploads and unmounts.
pub fn run(umount: &Umount) -> Result<(), String> {
    let (force, mut lazily) = (umount.force, umount.lazy);
    if let Some(namespace) = &umount.namespace {
        mount::enter_namespace(namespace).map_err(|error| error.to_string())?;
    }
    let mounted = query::find(&umount.mountpoint)?;
    if !mounted.is_ours() {
        // The mount table does not show it: only an answer does. File systems of other programs are left alone.
        let answer = mounted.attribute(PENDING);
        answer.map_err(|unanswered| mounted.explain(&unanswered))?;
    }
    let unstored = if force {
        end_by_force(&mounted)
    } else {
        match wait_for_uploads(&mounted) {
            Ok(Waited::Stored) => query_refused(&mounted),
            Ok(Waited::Stalled(pending)) => {
                // The mount's own process keeps an automount in use.
                lazily = true;
                Some(explain_unstored(&mounted, &not_stored(pending)))
            }
            Ok(Waited::Ended(end, pending)) => {
                lazily |= pending.files > 0;
                explain_end(&mounted, end, pending)
            }
            Err(unanswered) if mounted.is_ours() => {
                warn(&format!(
                    "{}; unmounting anyway: closed files may not be stored yet",
                    mounted.explain(&unanswered)
                ));
                // The pending query keeps the mount in use.
                lazily |= matches!(unanswered, Unanswered::TimedOut);
                None
            }
            Err(unanswered) => return Err(mounted.explain(&unanswered)),
        }
    };
    mount::unmount(&mounted.entry, lazily || force).map_err(|error| error.to_string())?;
    mount::remove_utab_entries(&mounted.entry.mountpoint);
    unstored.map_or(Ok(()), Err)
}

/// Ends the mount by force, and returns a line on what is not stored; `None` where all is, or the mount has ended already.
fn end_by_force(mounted: &Mounted) -> Option<String> {
    let pending = query_in_time(mounted, |mounted| match query_pending(mounted) {
        Ok(Answer::Pending(pending)) => Some(pending),
        _ => Some(Pending::default()),
    });
    let refused = pending.and_then(|_| query_in_time(mounted, query_refused));
    let open = match mounted.force() {
        Ok(open) => open,
        Err(unanswered) => {
            if matches!(unanswered, Unanswered::TimedOut) {
                mount::abort(&mounted.entry);
                return Some(format!(
                    "{}: the mount did not answer and was cut off: files that were open or closed may not be stored",
                    mounted.entry.mountpoint.display()
                ));
            }
            if let Unanswered::Failed(error) = &unanswered
                && end_of(mounted, error) == Some(End::Died)
                && pending.is_none_or(|pending| pending.files == 0)
            {
                warn_died(mounted);
            }
            0
        }
    };
    let closed = pending.filter(|pending| pending.files > 0).map(not_stored);
    let open = (open > 0).then(|| {
        let open = files(open, "open");
        format!("{open} not stored: the content goes to lost+found")
    });
    match (closed, open) {
        (None, None) => refused,
        (closed, open) => {
            let parts: Vec<String> = closed.into_iter().chain(open).collect();
            Some(explain_unstored(mounted, &parts.join("; ")))
        }
    }
}

fn not_stored(pending: Pending) -> String {
    let (closed, bytes) = (files(pending.files, "closed"), size(pending.bytes));
    format!("{closed} ({bytes}) not stored yet: the journal keeps the content for the next mount")
}

fn explain_unstored(mounted: &Mounted, what: &str) -> String {
    format!(
        "{} is unmounted with {what}",
        mounted.entry.mountpoint.display()
    )
}

/// Returns a line on what was pending when the mount ended; where nothing was, as far as is known, warns if its process
/// has ended.
fn explain_end(mounted: &Mounted, end: End, pending: Pending) -> Option<String> {
    let shown = mounted.entry.mountpoint.display();
    if pending.files > 0 {
        let ended = match end {
            End::Unmounted => "another command ended the mount",
            End::Died => "its process has ended",
        };
        let (closed, bytes) = (files(pending.files, "closed"), size(pending.bytes));
        return Some(format!(
            "{shown}: {ended} with {closed} ({bytes}) pending: what was not stored is in the journal for the next mount"
        ));
    }
    if end == End::Died {
        warn_died(mounted);
    }
    None
}

fn warn_died(mounted: &Mounted) {
    warn(&format!(
        "{}: its process has ended: closed files that were not stored are in the journal for the next mount",
        mounted.entry.mountpoint.display()
    ));
}

/// Writes a line to standard error. The command must not fail if that is closed.
fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "ftpfs: {line}");
}

/// Asks the mount something; `None` where it does not answer within [`FORCED_QUERY_TIMEOUT`].
fn query_in_time<T: Send + 'static>(
    mounted: &Mounted,
    ask: impl FnOnce(&Mounted) -> Option<T> + Send + 'static,
) -> Option<T> {
    let (answer, answered) = channel();
    let mounted = mounted.clone();
    // After the timeout nothing receives the answer.
    let ask = move || drop(answer.send(ask(&mounted)));
    spawn_thread("ask", ask).ok()?;
    answered.recv_timeout(FORCED_QUERY_TIMEOUT).ok().flatten()
}

/// What is not stored yet, by the mount's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pending {
    /// Closed files.
    files: u64,
    /// Bytes of them.
    bytes: u64,
    /// Bytes that uploads have moved: only these change while one file is being sent.
    moved: u64,
}

/// How a mount ended before this command unmounted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another command has unmounted it.
    Unmounted,
    /// Its process does not serve it any more.
    Died,
}

/// The answer to the query for pending uploads.
enum Answer {
    Pending(Pending),
    Ended(End),
}

/// How the wait for uploads ended.
enum Waited {
    /// Nothing is pending.
    Stored,
    /// The uploads make no progress.
    Stalled(Pending),
    /// The mount has ended; this was pending by its last answer.
    Ended(End, Pending),
}

/// When the uploads last made progress.
struct Stall {
    last: Pending,
    since: Instant,
}

impl Stall {
    /// Whether there was no progress for longer than [`STALL_LIMIT`].
    fn is_over(&mut self, pending: Pending, now: Instant) -> bool {
        if self.last != pending {
            (self.last, self.since) = (pending, now);
        }
        now - self.since > STALL_LIMIT
    }
}

/// Waits until no upload is pending, or none makes progress, or the mount has ended, and shows the progress.
fn wait_for_uploads(mounted: &Mounted) -> Result<Waited, Unanswered> {
    let mut shown: Option<Instant> = None;
    let is_terminal = std::io::stderr().is_terminal();
    let mut progress = Progress::default();
    let begun = Instant::now();
    let mut stall = Stall {
        last: Pending::default(),
        since: begun,
    };
    let waited = loop {
        let pending = match query_pending(mounted)? {
            Answer::Ended(end) => break Waited::Ended(end, stall.last),
            Answer::Pending(pending) if pending.files == 0 => break Waited::Stored,
            Answer::Pending(pending) => pending,
        };
        if stall.is_over(pending, Instant::now()) {
            break Waited::Stalled(pending);
        }
        if is_terminal || shown.is_none_or(|at| at.elapsed() > PROGRESS_INTERVAL) {
            let line = format!(
                "{}: waiting for uploads: {}",
                mounted.entry.mountpoint.display(),
                progress.line(pending.files, pending.bytes, begun.elapsed())
            );
            let shown_line = match is_terminal {
                true => redrawn(
                    &line,
                    terminal_size_of(std::io::stderr()).map(|(width, _)| width.0),
                ),
                false => format!("{line}\n"),
            };
            // The command must not fail if standard error is closed.
            let _ = write!(std::io::stderr(), "{shown_line}");
            shown = Some(Instant::now());
        }
        sleep(PENDING_POLL_INTERVAL);
    };
    if is_terminal && shown.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    Ok(waited)
}

/// The escape sequence that clears a terminal's line after the cursor (ECMA-48, EL).
const CLEAR_LINE: &str = "\x1b[K";

/// The line in the place of the one before. A longer one than the terminal is wide would leave its first rows behind.
fn redrawn(line: &str, width: Option<u16>) -> String {
    let width = width.map_or(usize::MAX, usize::from);
    let fitting: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("\r{fitting}{CLEAR_LINE}")
}

/// How far the uploads are.
#[derive(Default)]
struct Progress {
    /// The most bytes that were pending: more may be closed meanwhile.
    total: u64,
}

impl Progress {
    /// Returns files and bytes left, and once something is sent the share, the rate and the time left.
    fn line(&mut self, count: u64, left: u64, elapsed: Duration) -> String {
        self.total = self.total.max(left);
        let sent = self.total - left;
        let text = format!("{} left, {}", files(count, ""), size(left));
        let rate = (sent as f64 / elapsed.as_secs_f64().max(f64::EPSILON)) as u64;
        if sent == 0 || rate == 0 {
            return text;
        }
        format!(
            "{text} of {} ({}% sent), {} per second, {} left",
            size(self.total),
            u128::from(sent) * 100 / u128::from(self.total),
            size(rate),
            duration(Duration::from_secs(left.div_ceil(rate)))
        )
    }
}

/// Returns what is not stored yet, or how the mount has ended.
fn query_pending(mounted: &Mounted) -> Result<Answer, Unanswered> {
    let text = match mounted.attribute(PENDING) {
        Ok(text) => text,
        Err(Unanswered::Failed(error)) => {
            let end = end_of(mounted, &error).map(Answer::Ended);
            return end.ok_or(Unanswered::Failed(error));
        }
        Err(unanswered) => return Err(unanswered),
    };
    let text = String::from_utf8_lossy(&text);
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0));
    let mut number = || numbers.next().unwrap_or(0);
    Ok(Answer::Pending(Pending {
        files: number(),
        bytes: number(),
        moved: number(),
    }))
}

/// How the mount has ended, if that is why a query failed.
fn end_of(mounted: &Mounted, error: &std::io::Error) -> Option<End> {
    let is_there = mount::find_mount(&mounted.entry.mountpoint)
        .is_ok_and(|entry| entry.identity == mounted.entry.identity);
    match error.raw_os_error() {
        _ if !is_there => Some(End::Unmounted),
        Some(libc::ENOTCONN | libc::ECONNABORTED) => Some(End::Died),
        _ => None,
    }
}

/// Returns a line on closed files that the server has refused; `None` if there are none.
fn query_refused(mounted: &Mounted) -> Option<String> {
    let text = mounted.attribute(REFUSED).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.split('\0');
    let mut words = lines.next()?.splitn(3, ' ');
    let mut number = || words.next()?.parse().ok();
    let counts = (number()?, number()?);
    let named: Vec<_> = lines.map(str::to_string).collect();
    let line = explain_refused(counts, &named, &words.next()?)?;
    let mountpoint = mounted.entry.mountpoint.display();
    Some(format!("{mountpoint} is unmounted; {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shows_share_rate_and_time_left() {
        let mut progress = Progress::default();
        let start = progress.line(2, 6_000_000, Duration::ZERO);
        assert_eq!(start, format!("2 files left, {}", size(6_000_000)));
        let half = progress.line(1, 3_000_000, Duration::from_secs(3));
        let expected = format!(
            "1 file left, {} of {} (50% sent), {} per second, 3 s left",
            size(3_000_000),
            size(6_000_000),
            size(1_000_000)
        );
        assert_eq!(half, expected);
        // More files were closed meanwhile.
        let more = progress.line(3, 9_000_000, Duration::from_secs(4));
        assert!(more.starts_with("3 files left, "), "{more}");
    }

    #[test]
    fn upload_of_one_large_file_is_no_stall() {
        let begun = Instant::now();
        let mut stall = Stall {
            last: Pending::default(),
            since: begun,
        };
        let at = |moved| Pending {
            files: 1,
            bytes: 9_000_000,
            moved,
        };
        let mut stalls = |moved, seconds| {
            let now = begun + Duration::from_secs(seconds);
            stall.is_over(at(moved), now)
        };
        assert!(!stalls(0, 0));
        assert!(!stalls(1_000, 50));
        assert!(!stalls(2_000, 100));
        assert!(!stalls(2_000, 160));
        assert!(stalls(2_000, 161));
    }

    #[test]
    fn redrawn_line_fits_the_terminal() {
        assert_eq!(redrawn("abcdef", Some(80)), "\rabcdef\x1b[K");
        assert_eq!(redrawn("abcdef", Some(5)), "\rabcd\x1b[K");
        assert_eq!(redrawn("abcdef", None), "\rabcdef\x1b[K");
    }

    #[test]
    fn other_mounts_are_refused() {
        let root = Umount {
            mountpoint: "/".into(),
            force: false,
            lazy: false,
            namespace: None,
        };
        let error = run(&root).expect_err("not ours");
        assert!(error.contains("not a mount of ftpfs"), "{error}");
    }
}
