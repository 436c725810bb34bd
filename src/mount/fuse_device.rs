//! Opens the FUSE device, or takes one that is passed already mounted as `/dev/fd/N`.

use std::fs::{self, OpenOptions};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::mount::error::Error;
use crate::mount::mountinfo::{Entry, mounts};

/// The FUSE device.
pub const DEVICE: &str = "/dev/fuse";

/// Opens the device for a new mount.
pub fn open_device() -> Result<OwnedFd, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)
        .map(OwnedFd::from)
        .map_err(|error| {
            Error(match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => format!(
                    "there is no {DEVICE}: run as root: modprobe fuse \
                     (a container needs --device {DEVICE} --cap-add SYS_ADMIN)"
                ),
                Some(libc::EACCES | libc::EPERM) => format!(
                    "{DEVICE}: permission denied: run as root: chmod 666 {DEVICE} \
                     (a container needs --device {DEVICE} --cap-add SYS_ADMIN)"
                ),
                _ => format!("{DEVICE} can't be opened: {error}"),
            })
        })
}

/// Checks that the device exists and may be used, by opening it.
pub fn check_device() -> Result<(), Error> {
    open_device().map(drop)
}

/// Returns the number N of a mountpoint `/dev/fd/N`.
pub fn passed_descriptor(mountpoint: &Path) -> Option<Result<RawFd, Error>> {
    let number = mountpoint
        .as_os_str()
        .as_bytes()
        .strip_prefix(b"/dev/fd/")?;
    let number = std::str::from_utf8(number)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        // The first three are standard input, output and error.
        .filter(|&fd: &RawFd| fd > 2);
    Some(number.ok_or_else(|| {
        Error(format!(
            "{}: must be /dev/fd/N with N above 2",
            mountpoint.display()
        ))
    }))
}

/// Checks that descriptor `fd` is open on the device.
pub fn check_passed(fd: RawFd) -> Result<(), Error> {
    let path = format!("/dev/fd/{fd}");
    // The link is followed to the open file without opening it again.
    let metadata = fs::metadata(&path).map_err(|error| {
        Error(format!(
            "{path}: the program that mounted must pass the open device as descriptor {fd}: {error}"
        ))
    })?;
    let device = libc::makedev(10, 229);
    if metadata.file_type().is_char_device() && metadata.rdev() == device {
        Ok(())
    } else {
        Err(Error(format!(
            "{path}: is not {DEVICE}; the program that mounted must pass the device that it mounted"
        )))
    }
}

/// Checks that the mount of a passed device has the options without which the server's files could harm
/// this machine. Only the caller can set them: mount.fuse3(8) with `drop_privileges` mounts by itself,
/// with `suid` and `dev` unless it is told otherwise.
///
/// `judged` is whether the kernel is to check permission bits, as `allow_other` promises.
pub fn check_passed_options(fd: RawFd, judged: bool) -> Result<(), Error> {
    let unknown = |why: &str| {
        log::warn!(
            "/dev/fd/{fd}: can't tell whether its mount has nosuid and nodev ({why}); \
             make sure that they are among the options of whoever mounted"
        );
        Ok(())
    };
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let Some(connection) = connection(&info) else {
        return unknown("this kernel doesn't name its connection in /proc/self/fdinfo");
    };
    // The number of a FUSE connection is the device number of its file system, whose major is 0.
    let device = format!("0:{connection}");
    let mut mounts = mounts()?;
    mounts.retain(|entry| entry.identity.device == device);
    if mounts.is_empty() {
        return unknown("it is in another mount namespace");
    }
    // A bind mount has options of its own.
    for entry in mounts {
        let missing = missing(&entry, judged);
        if !missing.is_empty() {
            return Err(Error(format!(
                "{}: is mounted without {}, so that files of the server could run with other \
                 users' rights or be opened by them; mount it with: -o {}",
                entry.mountpoint.display(),
                missing.join(", "),
                missing.join(",")
            )));
        }
    }
    Ok(())
}

/// The connection that a line of `/proc/self/fdinfo/N` names; kernels before 6.16 have no such line.
fn connection(info: &str) -> Option<u32> {
    let mut lines = info.lines();
    let number = lines.find_map(|line| line.strip_prefix("fuse_connection:"))?;
    number.trim().parse().ok()
}

/// The options that a mount needs and lacks.
fn missing(entry: &Entry, judged: bool) -> Vec<&'static str> {
    let judged = judged || entry.has("allow_other");
    [
        ("nosuid", true),
        ("nodev", true),
        ("default_permissions", judged),
    ]
    .into_iter()
    .filter(|(option, needed)| *needed && !entry.has(option))
    .map(|(option, _)| option)
    .collect()
}

/// Takes over descriptor `fd` from the program that passed it.
pub fn take_passed(fd: RawFd) -> Result<OwnedFd, Error> {
    check_passed(fd)?;
    // SAFETY: descriptor above 2, open on the device, named by our caller for us to take; nothing
    // else in this process opens the device before the mount is attached.
    let device = unsafe { OwnedFd::from_raw_fd(fd) };
    nix::fcntl::fcntl(
        &device,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .map_err(|error| Error(format!("/dev/fd/{fd}: {error}")))?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn passed_descriptor_must_be_the_device() {
        assert!(passed_descriptor(Path::new("/mnt")).is_none());
        for wrong in ["/dev/fd/", "/dev/fd/2", "/dev/fd/x", "/dev/fd/+5"] {
            assert!(
                matches!(passed_descriptor(Path::new(wrong)), Some(Err(_))),
                "{wrong}"
            );
        }
        let error = check_passed(987_654).expect_err("closed");
        assert!(error.0.contains("must pass the open device"), "{error}");
        let null = File::open("/dev/null").expect("a device");
        let error = check_passed(null.as_raw_fd()).expect_err("another device");
        assert!(error.0.contains("is not /dev/fuse"), "{error}");
    }

    #[test]
    fn the_connection_is_read_from_fdinfo() {
        let info = "pos:\t0\nflags:\t02100002\nmnt_id:\t24\nfuse_connection:\t40\n";
        assert_eq!(connection(info), Some(40));
        assert_eq!(connection("pos:\t0\nmnt_id:\t24\n"), None);
    }
}
