//! `fusermount3`: the set-user-ID program that mounts for everybody, and sends the device over a
//! socket. It must be installed, and has rules of its own; its words are passed on with a mend.

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
use crate::mount::mount_options as options;
use crate::mount::mount_options::Options;

const FUSERMOUNT: &str = "fusermount3";

/// How long `fusermount3` may take. It touches local directories only.
const FUSERMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// Where `fusermount3` is. mount(8) may start us with an empty PATH.
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
    let patience = TimeVal::new(FUSERMOUNT_PATIENCE.as_secs() as i64, 0);
    setsockopt(&ours, ReceiveTimeout, &patience).map_err(|error| failed(&error))?;
    // Its end of the socket is its standard input: the one descriptor that needs no care to be
    // passed on, whatever other threads start.
    let mut child = Command::new(&program)
        .arg("-o")
        .arg(options::list(options))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let device = receive_descriptor(&ours);
    let said = finish(&mut child, FUSERMOUNT_PATIENCE);
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

/// Unmounts what is at the top of `mountpoint`, if it is ours to unmount.
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
    let said = finish(&mut child, FUSERMOUNT_PATIENCE);
    match child.try_wait() {
        Ok(Some(status)) if status.success() => Ok(()),
        _ => Err(Error(format!(
            "{}: can't be unmounted: {}",
            mountpoint.display(),
            explain(&said, mountpoint)
        ))),
    }
}

/// One descriptor from the socket, or `None` when it was closed without one.
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
                        // SAFETY: the kernel has just made this descriptor for us.
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

/// What a program wrote to standard error, once it has ended; killed if it does not.
pub fn finish(child: &mut std::process::Child, patience: Duration) -> String {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return format!("did not end within {} s", patience.as_secs());
            }
            _ => break,
        }
    }
    // It writes a line or two, which the pipe holds.
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(4096).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// One line for what `fusermount3` said.
fn explain(said: &str, mountpoint: &Path) -> String {
    let prefix = format!("{FUSERMOUNT}: ");
    let line = said
        .lines()
        // Its own name stands before it, sometimes with its path.
        .map(|line| line.rsplit(&prefix).next().unwrap_or(line).trim())
        .rfind(|line| !line.is_empty())
        .unwrap_or("ended without a word");
    let mend = if line.contains("user_allow_other") {
        "; let root write the line user_allow_other into /etc/fuse.conf, or leave allow_other out"
            .to_string()
    } else if line.contains("too many FUSE filesystems") {
        "; unmount some, or let root raise mount_max in /etc/fuse.conf".to_string()
    } else if line.contains("Operation not permitted") {
        format!(
            "; {FUSERMOUNT} must be set-user-ID root, and a container needs --cap-add SYS_ADMIN"
        )
    } else if line.contains("Transport endpoint is not connected") {
        format!("; a dead mount is left: {}", unmount_hint(mountpoint))
    } else {
        String::new()
    };
    format!("{FUSERMOUNT}: {line}{mend}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fusermount_says_becomes_one_line_with_a_mend() {
        let said = "/usr/bin/fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n";
        let line = explain(said, Path::new("/m"));
        assert!(
            line.starts_with("fusermount3: option allow_other only"),
            "{line}"
        );
        assert!(
            line.contains("leave allow_other out") && !line.contains('\n'),
            "{line}"
        );
        assert!(explain("", Path::new("/m")).contains("without a word"));
    }
}
