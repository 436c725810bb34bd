//! `ftpfs umount MOUNTPOINT`, and `umount.ftpfs`, which umount(8) calls: unmounting that waits.
//!
//! A mount with `writeback` tells by an extended attribute of its root what it still has to store. `umount` waits until
//! that is nothing, and shows a line that says so. A mount that can't be asked is unmounted all the same if the mount
//! table says that it is one of ftpfs: it must not keep a machine from shutting down.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::mount;
use crate::mount::query as inquiry;
use crate::mount::query::{Mounted, PENDING, REFUSED, Unanswered};

/// How often the mount is asked.
const LOOK: Duration = Duration::from_millis(50);
/// How long `-f` asks what is not stored.
const FORCED_PATIENCE: Duration = Duration::from_secs(2);
/// How often the line is written where it can't be written over.
const LINE: Duration = Duration::from_secs(5);
/// What helps.
const USAGE: &str =
    "usage: ftpfs umount [-f] [-l] MOUNTPOINT: -f does not wait, -l also takes what is in use";

/// Whether the command line, the program's own name first, asks for this; then what stands behind it.
pub fn asked(arguments: &[OsString]) -> Option<&[OsString]> {
    let (program, rest) = arguments.split_first()?;
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    if matches!(name, Some("umount.ftpfs" | "umount.fuse.ftpfs")) {
        return Some(rest);
    }
    let (first, rest) = rest.split_first()?;
    (first == "umount" && name != Some("mount.ftpfs")).then_some(rest)
}

/// Waits and unmounts.
pub fn run(words: &[OsString]) -> Result<(), String> {
    let (mut force, mut lazily, mut mountpoint) = (false, false, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_bytes() {
            // Of the type and the namespace that umount(8) names, the first is ours and the second its own.
            b"-t" | b"-N" => drop(words.next()),
            [b'-', letters @ ..] if !letters.is_empty() => {
                for letter in letters {
                    match letter {
                        b'f' => force = true,
                        b'l' => lazily = true,
                        b'n' | b'r' | b'v' | b's' | b'i' => {}
                        _ => return Err(USAGE.to_string()),
                    }
                }
            }
            // A URL may hold a password, and errors about mountpoints show them whole.
            word if word.windows(3).any(|part| part == b"://") => return Err(USAGE.to_string()),
            _ if mountpoint.is_none() => mountpoint = Some(PathBuf::from(word)),
            _ => return Err(USAGE.to_string()),
        }
    }
    let mountpoint = mountpoint.ok_or(USAGE)?;
    let mounted = inquiry::find(&mountpoint)?;
    let unstored = if force {
        unstored_by_now(&mounted)
    } else {
        match wait(&mounted) {
            Ok(()) => refused(&mounted),
            Err(unanswered) if mounted.is_ours() => {
                // A closed standard error is no reason to fail.
                let _ = writeln!(
                    std::io::stderr(),
                    "ftpfs: {}; unmounting anyway: files that were closed may not be stored yet",
                    mounted.explain(&unanswered)
                );
                // The unanswered question itself keeps the mount in use.
                lazily |= matches!(unanswered, Unanswered::TimedOut);
                None
            }
            Err(unanswered) => return Err(mounted.explain(&unanswered)),
        }
    };
    mount::unmount(&mounted.entry, lazily || force).map_err(|error| error.to_string())?;
    let Some(line) = unstored else {
        return Ok(());
    };
    mount::forget_note(&mounted.entry.mountpoint);
    Err(line)
}

/// A line on what is not stored when `umount` does not wait for it, if there is such. A mount that does not answer within
/// [`FORCED_PATIENCE`] is taken for one without anything to report.
fn unstored_by_now(mounted: &Mounted) -> Option<String> {
    let (answer, answered) = channel();
    let asked = mounted.clone();
    let ask = move || {
        let line = match pending(&asked) {
            Ok((0, _)) | Err(_) => refused(&asked),
            Ok((files, bytes)) => Some(format!(
                "{} is unmounted; {files} files ({} MiB) that were closed there are not stored yet: ftpfs goes on with them in \
                 the background, and the journal keeps what is left for the next mount",
                asked.entry.mountpoint.display(),
                bytes.div_ceil(1 << 20)
            )),
        };
        // The answer may come too late.
        let _ = answer.send(line);
    };
    let asks = thread::Builder::new().name("ask".into()).spawn(ask);
    asks.ok()?;
    answered.recv_timeout(FORCED_PATIENCE).ok().flatten()
}

/// Waits until nothing is left to be stored.
fn wait(mounted: &Mounted) -> Result<(), Unanswered> {
    let mut said: Option<Instant> = None;
    let overwrites = std::io::stderr().is_terminal();
    loop {
        let (files, bytes) = pending(mounted)?;
        if files == 0 {
            break;
        }
        if overwrites || said.is_none_or(|at| at.elapsed() > LINE) {
            let mib = bytes.div_ceil(1 << 20);
            let (start, end) = if overwrites { ("\r", "  ") } else { ("", "\n") };
            // Who does not listen is not told.
            let _ = write!(
                std::io::stderr(),
                "{start}{}: {files} files, {mib} MiB, are being stored{end}",
                mounted.entry.mountpoint.display()
            );
            said = Some(Instant::now());
        }
        thread::sleep(LOOK);
    }
    if overwrites && said.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    Ok(())
}

/// Files and bytes that wait. Nothing waits in a mount whose process has ended.
fn pending(mounted: &Mounted) -> Result<(u64, u64), Unanswered> {
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

/// A line on what was closed and could not be stored, if there is such.
fn refused(mounted: &Mounted) -> Option<String> {
    let text = mounted.attribute(REFUSED).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (files, place) = text.split_once(' ')?;
    let files: u64 = files.parse().ok().filter(|&files| files > 0)?;
    let shown = mounted.entry.mountpoint.display();
    Some(format!(
        "{shown} is unmounted; the server has refused {files} of the files that were closed there, which are kept in {place}, with the reasons"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn it_is_asked_for_by_word_or_by_name() {
        let rest = |line: &str| asked(&words(line)).map(<[OsString]>::len);
        assert_eq!(rest("ftpfs umount /mnt"), Some(1));
        assert_eq!(rest("/sbin/umount.fuse.ftpfs /mnt -l"), Some(2));
        assert_eq!(rest("ftpfs ftp://host umount"), None);
        assert_eq!(rest("mount.ftpfs umount /mnt"), None);
    }

    #[test]
    fn what_is_no_mount_of_ours_is_left_alone() {
        let error = run(&words("/")).expect_err("not ours");
        assert!(error.contains("not a mount of ftpfs"), "{error}");
        assert_eq!(run(&words("-x /mnt")), Err(USAGE.to_string()));
        assert_eq!(run(&words("-f")), Err(USAGE.to_string()));
    }
}
