//! Opens the FUSE device, or takes one that is passed already mounted as `/dev/fd/N`.

use std::fs::{self, OpenOptions};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::mount::error::Error;

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
}
