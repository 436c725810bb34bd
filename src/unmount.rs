//! `ftpfs umount MOUNTPOINT`, and `umount.ftpfs`, which umount(8) calls: unmounting that waits.
//!
//! The one idea: a mount with `writeback` tells by an extended attribute of its root what it still has to
//! store. Whoever unmounts waits until that is nothing, and sees a line that says so.

use std::ffi::{CString, OsStr, OsString};
use std::io::{IsTerminal, Write};
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
/// Room for the attribute: two numbers.
const LENGTH: usize = 64;
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
    if !force {
        wait(&mountpoint)?;
    }
    mount::unmount(&mountpoint, lazily || force).map_err(|error| error.to_string())
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

/// Files and bytes that wait.
fn pending(mountpoint: &Path) -> Result<(u64, u64), String> {
    let shown = mountpoint.display();
    let path =
        CString::new(mountpoint.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let name = CString::new(PENDING).map_err(|error| error.to_string())?;
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
    let length = usize::try_from(length).map_err(|_| {
        format!(
            "{shown}: no mount of ftpfs answers here; unmount what is there with umount -i, or -f"
        )
    })?;
    let text = String::from_utf8_lossy(&value[..length]);
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
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
