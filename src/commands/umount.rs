//! Runs `ftpfs umount` and `umount.fuse.ftpfs`, the helper of umount(8): waits for uploads, then unmounts.
//!
//! An extended attribute of the mount's root holds the number of files and bytes that are not stored yet
//! (`mount/query.rs`). The command reads it until nothing is pending, and shows the progress. A mount that
//! does not answer is unmounted too if the mount table identifies it as a mount of ftpfs: it must not keep
//! the machine from shutting down.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cli::Umount;
use crate::commands::human::{files, size};
use crate::mount;
use crate::mount::query;
use crate::mount::query::{Mounted, PENDING, REFUSED, Unanswered};
use crate::process::thread::spawn_thread;

/// Interval between two queries for pending uploads.
const PENDING_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of the query with `-f`.
const FORCED_QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between two progress lines if standard error is not a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Waits for uploads and unmounts.
pub fn run(umount: &Umount) -> Result<(), String> {
    let (force, mut lazily) = (umount.force, umount.lazy);
    let mounted = query::find(&umount.mountpoint)?;
    let unstored = if force {
        query_unstored(&mounted)
    } else {
        match wait_for_uploads(&mounted) {
            Ok(()) => query_refused(&mounted),
            Err(unanswered) if mounted.is_ours() => {
                // The command must not fail if standard error is closed.
                let _ = writeln!(
                    std::io::stderr(),
                    "ftpfs: {}; unmounting anyway: closed files may not be stored yet",
                    mounted.explain(&unanswered)
                );
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

/// Returns a line on closed files that are not stored; `None` if there are none, or if the mount does not
/// answer within [`FORCED_QUERY_TIMEOUT`].
fn query_unstored(mounted: &Mounted) -> Option<String> {
    let (answer, answered) = channel();
    let asked = mounted.clone();
    let ask = move || {
        let line = match query_pending(&asked) {
            Ok((0, _)) | Err(_) => query_refused(&asked),
            Ok((count, bytes)) => Some(format!(
                "{} is unmounted with {} ({}) not stored yet: ftpfs continues in the background, and the journal \
                 keeps what remains for the next mount",
                asked.entry.mountpoint.display(),
                files(count, "closed"),
                size(bytes)
            )),
        };
        // After the timeout nothing receives the answer.
        let _ = answer.send(line);
    };
    spawn_thread("ask", ask).ok()?;
    answered.recv_timeout(FORCED_QUERY_TIMEOUT).ok().flatten()
}

/// Waits until no upload is pending, and shows the progress.
fn wait_for_uploads(mounted: &Mounted) -> Result<(), Unanswered> {
    let mut shown: Option<Instant> = None;
    let is_terminal = std::io::stderr().is_terminal();
    let mut progress = Progress::default();
    let begun = Instant::now();
    loop {
        let (count, bytes) = query_pending(mounted)?;
        if count == 0 {
            break;
        }
        if is_terminal || shown.is_none_or(|at| at.elapsed() > PROGRESS_INTERVAL) {
            let (start, end) = if is_terminal {
                ("\r", CLEAR_LINE)
            } else {
                ("", "\n")
            };
            // The command must not fail if standard error is closed.
            let _ = write!(
                std::io::stderr(),
                "{start}{}: waiting for uploads: {}{end}",
                mounted.entry.mountpoint.display(),
                progress.line(count, bytes, begun.elapsed())
            );
            shown = Some(Instant::now());
        }
        sleep(PENDING_POLL_INTERVAL);
    }
    if is_terminal && shown.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    Ok(())
}

/// The escape sequence that clears a terminal's line after the cursor (ECMA-48, EL).
const CLEAR_LINE: &str = "\x1b[K";

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
            "{text} of {} ({}% sent), {} per second, {} s left",
            size(self.total),
            u128::from(sent) * 100 / u128::from(self.total),
            size(rate),
            left.div_ceil(rate)
        )
    }
}

/// Returns the number of files and bytes that are not stored yet; none if the mount's process has ended.
fn query_pending(mounted: &Mounted) -> Result<(u64, u64), Unanswered> {
    let text = match mounted.attribute(PENDING) {
        Ok(text) => text,
        Err(Unanswered::Failed(error))
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOTCONN | libc::ECONNABORTED)
            ) =>
        {
            return Ok((0, 0));
        }
        Err(unanswered) => return Err(unanswered),
    };
    let text = String::from_utf8_lossy(&text);
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

/// Returns a line on closed files that the server has refused; `None` if there are none.
fn query_refused(mounted: &Mounted) -> Option<String> {
    let text = mounted.attribute(REFUSED).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (count, directory) = text.split_once(' ')?;
    let count: u64 = count.parse().ok().filter(|&count| count > 0)?;
    Some(format!(
        "{} is unmounted; {} could not be stored; content and reason are in {directory}",
        mounted.entry.mountpoint.display(),
        files(count, "closed")
    ))
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
    fn other_mounts_are_refused() {
        let root = Umount {
            mountpoint: "/".into(),
            force: false,
            lazy: false,
        };
        let error = run(&root).expect_err("not ours");
        assert!(error.contains("not a mount of ftpfs"), "{error}");
    }
}
