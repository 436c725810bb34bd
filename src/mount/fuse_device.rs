//! Opens the FUSE device, or takes over one that is passed as `/dev/fd/N` and mounted already.

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

/// Checks that the device can be opened.
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
    // stat(2) follows the link to the open file without opening it again.
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

/// Checks that the mount of a passed device has the options that protect this machine from the server's
/// files. Only the program that mounts can set them: mount.fuse3(8) with `drop_privileges` mounts with `suid`
/// and `dev` by default.
///
/// With `needs_permissions` the kernel must check permission bits, as `allow_other` implies.
pub fn check_passed_options(fd: RawFd, needs_permissions: bool) -> Result<(), Error> {
    let unknown = |why: &str| {
        log::warn!(
            "/dev/fd/{fd}: can't check whether its mount has nosuid and nodev ({why}); \
             make sure that the program that mounted has set them"
        );
        Ok(())
    };
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let Some(connection) = parse_connection(&info) else {
        return unknown("this kernel doesn't name its connection in /proc/self/fdinfo");
    };
    // The number of a FUSE connection is the minor device number of its file system; the major number is 0.
    let device = format!("0:{connection}");
    let mut mounts = mounts()?;
    mounts.retain(|entry| entry.identity.device == device);
    if mounts.is_empty() {
        return unknown("it is in another mount namespace");
    }
    // Each bind mount has its own options.
    for entry in mounts {
        let missing = missing_options(&entry, needs_permissions);
        if !missing.is_empty() {
            return Err(Error(format!(
                "{}: is mounted without {}, so that files of the server could be opened by other users, \
                 or run with their rights; mount it with: -o {}",
                entry.mountpoint.display(),
                missing.join(", "),
                missing.join(",")
            )));
        }
    }
    Ok(())
}

/// Parses the connection number in `/proc/self/fdinfo/N`; kernels before 6.16 do not show it.
fn parse_connection(info: &str) -> Option<u32> {
    let mut lines = info.lines();
    let number = lines.find_map(|line| line.strip_prefix("fuse_connection:"))?;
    number.trim().parse().ok()
}

/// Returns the options that a mount needs and does not have.
fn missing_options(entry: &Entry, needs_permissions: bool) -> Vec<&'static str> {
    let needs_permissions = needs_permissions || entry.has("allow_other");
    [
        ("nosuid", true),
        ("nodev", true),
        ("default_permissions", needs_permissions),
    ]
    .into_iter()
    .filter(|(option, needed)| *needed && !entry.has(option))
    .map(|(option, _)| option)
    .collect()
}

/// Takes over descriptor `fd` from the program that passed it.
pub fn take_passed(fd: RawFd) -> Result<OwnedFd, Error> {
    check_passed(fd)?;
    // SAFETY: the descriptor is above 2 and open on the device, and the calling program passes its ownership.
    // Nothing else in this process opens the device before the mount is attached.
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
    fn connection_is_parsed_from_fdinfo() {
        let info = "pos:\t0\nflags:\t02100002\nmnt_id:\t24\nfuse_connection:\t40\n";
        assert_eq!(parse_connection(info), Some(40));
        assert_eq!(parse_connection("pos:\t0\nmnt_id:\t24\n"), None);
    }
}
