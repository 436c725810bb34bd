//! `ftpfs umount MOUNTPOINT`, and `umount.ftpfs`, which umount(8) calls: unmounting that waits.
//!
//! The one idea: a mount with `writeback` tells by an extended attribute of its root what it still has to
//! store. Whoever unmounts waits until that is nothing, and sees a line that says so.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::mount;

/// The attribute that tells what waits to be stored: files and bytes, with a blank between.
pub const PENDING: &str = "user.ftpfs.pending";
/// How often the mount is asked.
const LOOK: Duration = Duration::from_millis(50);
/// How often the line is written where it can't be written over.
const LINE: Duration = Duration::from_secs(5);
/// The attribute that tells how many files were refused, and behind a blank where they are kept.
const REFUSED: &str = "user.ftpfs.refused";
/// Room for the attributes: numbers, and a path.
const LENGTH: usize = 64 + libc::PATH_MAX as usize;
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
            _ if mountpoint.is_none() => mountpoint = Some(PathBuf::from(word)),
            _ => return Err(USAGE.to_string()),
        }
    }
    let mountpoint = mountpoint.ok_or(USAGE)?;
    let mut refusal = None;
    if !force {
        wait(&mountpoint)?;
        refusal = refused(&mountpoint);
    }
    mount::unmount(&mountpoint, lazily || force).map_err(|error| error.to_string())?;
    refusal.map_or(Ok(()), Err)
}

fn wait(mountpoint: &Path) -> Result<(), String> {
    let mut said: Option<Instant> = None;
    let overwrites = std::io::stderr().is_terminal();
    loop {
        let (files, bytes) = pending(mountpoint)?;
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
                mountpoint.display()
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
fn pending(mountpoint: &Path) -> Result<(u64, u64), String> {
    let text = match attribute(mountpoint, PENDING) {
        Ok(text) => text,
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Ok((0, 0)),
        Err(_) => {
            return Err(format!(
                "{}: no mount of ftpfs answers here; unmount what is there with umount -i, or -f",
                mountpoint.display()
            ));
        }
    };
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

/// A line on what was closed and could not be stored, if there is such.
fn refused(mountpoint: &Path) -> Option<String> {
    let text = attribute(mountpoint, REFUSED).ok()?;
    let (files, place) = text.split_once(' ')?;
    let files: u64 = files.parse().ok().filter(|&files| files > 0)?;
    let shown = mountpoint.display();
    Some(format!(
        "{shown} is unmounted; the server has refused {files} of the files that were closed there, which are kept in {place}, with the reasons"
    ))
}

/// What a mount says of itself.
fn attribute(mountpoint: &Path, name: &str) -> io::Result<String> {
    let path = CString::new(mountpoint.as_os_str().as_bytes())?;
    let name = CString::new(name)?;
    let mut value = [0_u8; LENGTH];
    // SAFETY: both strings end in NUL, and the buffer is as long as is said.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(String::from_utf8_lossy(&value[..length]).into_owned())
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
        assert!(error.contains("no mount of ftpfs"), "{error}");
        assert_eq!(run(&words("-x /mnt")), Err(USAGE.to_string()));
        assert_eq!(run(&words("-f")), Err(USAGE.to_string()));
    }
}
