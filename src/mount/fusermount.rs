//! Mounts and unmounts with `fusermount3`, for users other than root.
//!
//! `fusermount3` is a set-user-ID program that mounts and sends the device over a socket. It must be
//! installed and has rules of its own; its errors are passed on with a remedy.

use std::fmt;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt,
    socketpair,
};
use nix::sys::time::TimeVal;
use nix::unistd::{AccessFlags, access};

use crate::mount::error::{Error, unmount_hint};
use crate::mount::mount_options;
use crate::mount::mount_options::Options;

const FUSERMOUNT: &str = "fusermount3";

/// Timeout of `fusermount3`. It accesses local directories only.
const FUSERMOUNT_TIMEOUT: Duration = Duration::from_secs(20);

/// Finds `fusermount3`. mount(8) may start us with an empty PATH.
pub fn program() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from))
        .map(|directory| directory.join(FUSERMOUNT))
        .find(|program| access(program, AccessFlags::X_OK).is_ok())
        .ok_or_else(|| {
            Error(format!(
                "{FUSERMOUNT} is not installed, and only root can mount without it: \
                 apt install fuse3"
            ))
        })
}

/// Mounts at `mountpoint` and returns the device.
pub fn attach(mountpoint: &Path, options: &Options) -> Result<OwnedFd, Error> {
    let program = program()?;
    let failed = |error: &dyn fmt::Display| Error(format!("{FUSERMOUNT}: {error}"));
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(|error| failed(&error))?;
    let timeout = TimeVal::new(FUSERMOUNT_TIMEOUT.as_secs() as i64, 0);
    setsockopt(&ours, ReceiveTimeout, &timeout).map_err(|error| failed(&error))?;
    // Its end of the socket is its standard input: that descriptor is inherited by this child only,
    // whatever other threads start meanwhile.
    let mut child = Command::new(&program)
        .arg("-o")
        .arg(mount_options::list(options))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let device = receive_descriptor(&ours);
    let said = wait_for_stderr(&mut child, FUSERMOUNT_TIMEOUT);
    match device {
        Ok(Some(device)) => Ok(device),
        Ok(None) => Err(Error(format!(
            "{}: {}",
            mountpoint.display(),
            explain(&said, mountpoint)
        ))),
        Err(error) => Err(failed(&error)),
    }
}

/// Unmounts the top mount at `mountpoint`, if this user may.
pub fn detach(mountpoint: &Path, lazily: bool) -> Result<(), Error> {
    let mut command = Command::new(program()?);
    command.arg("-u").args(lazily.then_some("-z"));
    let mut child = command
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error(format!("{FUSERMOUNT}: {error}")))?;
    let said = wait_for_stderr(&mut child, FUSERMOUNT_TIMEOUT);
    match child.try_wait() {
        Ok(Some(status)) if status.success() => Ok(()),
        _ => Err(Error(format!(
            "{}: can't be unmounted: {}",
            mountpoint.display(),
            explain(&said, mountpoint)
        ))),
    }
}

/// Receives one descriptor from the socket; `None` if it was closed without one.
fn receive_descriptor(socket: &OwnedFd) -> nix::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!(RawFd);
    loop {
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut bytes, Some(&mut space), flags) {
            Ok(message) => {
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(fds) = control
                        && let Some(&fd) = fds.first()
                    {
                        // SAFETY: the kernel has just created this descriptor for us.
                        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                return Ok(None);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
            Err(error) => return Err(error),
        }
    }
}

/// Waits for a program to end, kills it after `timeout`, and returns what it wrote to standard error.
pub fn wait_for_stderr(child: &mut std::process::Child, timeout: Duration) -> String {
    let until = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return format!("did not end within {} s", timeout.as_secs());
            }
            _ => break,
        }
    }
    // It writes a line or two, which fit into the pipe.
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(4096).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Turns the output of `fusermount3` into one line with a remedy.
fn explain(said: &str, mountpoint: &Path) -> String {
    let prefix = format!("{FUSERMOUNT}: ");
    let line = said
        .lines()
        // The lines begin with its name, sometimes with its path.
        .map(|line| line.rsplit(&prefix).next().unwrap_or(line).trim())
        .rfind(|line| !line.is_empty())
        .unwrap_or("ended without a message");
    let remedy = if line.contains("user_allow_other") {
        "; add the line user_allow_other to /etc/fuse.conf as root, or omit allow_other".to_string()
    } else if line.contains("too many FUSE filesystems") {
        "; unmount some, or raise mount_max in /etc/fuse.conf as root".to_string()
    } else if line.contains("Operation not permitted") {
        format!(
            "; {FUSERMOUNT} must be set-user-ID root, and a container needs --cap-add SYS_ADMIN"
        )
    } else if line.contains("Transport endpoint is not connected") {
        format!("; a dead mount is left: {}", unmount_hint(mountpoint))
    } else {
        String::new()
    };
    format!("{FUSERMOUNT}: {line}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fusermount_error_becomes_one_line_with_remedy() {
        let said = "/usr/bin/fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n";
        let line = explain(said, Path::new("/m"));
        assert!(
            line.starts_with("fusermount3: option allow_other only"),
            "{line}"
        );
        assert!(
            line.contains("omit allow_other") && !line.contains('\n'),
            "{line}"
        );
        assert!(explain("", Path::new("/m")).contains("without a message"));
    }
}
