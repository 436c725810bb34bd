//! Getting the FUSE device for a mountpoint, and giving the mountpoint back.
//!
//! The one idea: this file mounts by itself and hands a bare file descriptor to the session, so
//! that every failure has words of its own and an unmount touches our own mount only. Root calls
//! mount(2); everybody else goes through `fusermount3`, which sends the descriptor over a socket
//! (`_FUSE_COMMFD`); with `/dev/fd/N` for a mountpoint somebody else has mounted already
//! (mount.fuse3(8), `drop_privileges`).
//!
//! A mount is known by its number and device in `/proc/self/mountinfo`, which is read without
//! asking the file system below: a stat(2) would wait for a session that does not run yet.
//!
//! Invariants: nothing of the crate is used here; every error is one line with cause and mend.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt,
    socketpair,
};
use nix::sys::time::TimeVal;
use nix::unistd::{AccessFlags, access, getegid, geteuid};

const DEVICE: &str = "/dev/fuse";
const FUSERMOUNT: &str = "fusermount3";
const MOUNTINFO: &str = "/proc/self/mountinfo";
/// How long `fusermount3` may take. It touches local directories only.
const FUSERMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// What could not be done, why, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.0
    }
}

/// How the mount shows itself and what the kernel is to do for it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The source in the mount table.
    pub fsname: String,
    /// The type in the mount table, behind `fuse.`.
    pub subtype: String,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Other users may use the mount.
    pub allow_other: bool,
    /// The kernel checks permission bits.
    pub default_permissions: bool,
    /// `noexec`, `noatime` and so on, in the words of fstab(5); the last one counts. `nosuid` and
    /// `nodev` always hold.
    pub words: Vec<&'static str>,
}

/// A mount that we made. It stays when this is dropped: [`Mount::unmount`] ends it.
#[derive(Debug)]
pub struct Mount {
    mountpoint: PathBuf,
    /// `None` where somebody else mounted and will unmount.
    identity: Option<Identity>,
}

/// What tells one mount from another at the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    mount_id: u64,
    device: String,
}

/// Looks, before anything is connected, whether a mount at `mountpoint` can work, and returns the
/// path without links and dots: a mount in the background leaves the working directory.
pub fn check(mountpoint: &Path) -> Result<PathBuf, Error> {
    if let Some(fd) = passed_descriptor(mountpoint) {
        check_passed(fd?)?;
        return Ok(mountpoint.to_path_buf());
    }
    let shown = mountpoint.display();
    check_device()?;
    let unmount = unmount_hint(mountpoint);
    let stale = || {
        Error(format!(
            "{shown}: a dead mount is left there; remove it with: {unmount}"
        ))
    };
    let metadata = match fs::metadata(mountpoint) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Err(match error.raw_os_error() {
                Some(libc::ENOTCONN) => stale(),
                Some(libc::ENOENT) => Error(format!(
                    "{shown}: there is no such directory; make it with: mkdir -p {}",
                    quoted(mountpoint)
                )),
                // Root is told this by a mount of somebody else that has no allow_other.
                Some(libc::EACCES) => Error(format!(
                    "{shown}: you may not look at it; choose a directory of your own, \
                     or, if something is mounted there, unmount it with: {unmount}"
                )),
                _ => Error(format!("{shown}: can't be used as a mountpoint: {error}")),
            });
        }
    };
    if !metadata.is_dir() {
        return Err(Error(format!(
            "{shown}: is not a directory; a mountpoint must be one"
        )));
    }
    let real = fs::canonicalize(mountpoint)
        .map_err(|error| Error(format!("{shown}: can't be used as a mountpoint: {error}")))?;
    if let Some(top) = top_mount(&real)?
        && (top.kind == "fuse" || top.kind.starts_with("fuse."))
    {
        return Err(Error(format!(
            "{shown}: {} is already mounted there; unmount it first with: {unmount}",
            top.source
        )));
    }
    if !geteuid().is_root() {
        check_rights(&real, &metadata)?;
        fusermount()?;
    }
    Ok(real)
}

/// Mounts at `mountpoint`, a path that [`check`] returned. The session must soon be run with the
/// device: until then whoever touches the mountpoint waits.
pub fn attach(mountpoint: &Path, options: &Options) -> Result<(OwnedFd, Mount), Error> {
    if let Some(fd) = passed_descriptor(mountpoint) {
        let device = take_passed(fd?)?;
        let mount = Mount {
            mountpoint: mountpoint.to_path_buf(),
            identity: None,
        };
        return Ok((device, mount));
    }
    let device = if geteuid().is_root() {
        attach_directly(mountpoint, options)?
    } else {
        attach_by_fusermount(mountpoint, options)?
    };
    let identity = top_mount(mountpoint).map(|top| top.map(|top| top.identity));
    match identity {
        Ok(Some(identity)) => {
            let mount = Mount {
                mountpoint: mountpoint.to_path_buf(),
                identity: Some(identity),
            };
            Ok((device, mount))
        }
        // We could never tell our mount from another one: better to have none.
        identity => {
            drop(device);
            let _ = remove(mountpoint, true);
            Err(identity.err().unwrap_or_else(|| {
                let shown = mountpoint.display();
                Error(format!(
                    "{shown}: the new mount does not show in {MOUNTINFO}"
                ))
            }))
        }
    }
}

impl Mount {
    /// Where it is.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Unmounts. `lazily` takes the mount out of the tree at once, also while files are open; the
    /// session then ends with the last of them. Fine when it has gone already; a mount that is not
    /// ours is left alone.
    pub fn unmount(&self, lazily: bool) -> Result<(), Error> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let shown = self.mountpoint.display();
        let here: Vec<Entry> = mounts()?
            .into_iter()
            .filter(|entry| entry.mountpoint == self.mountpoint)
            .collect();
        match here.iter().rposition(|entry| entry.identity == *identity) {
            None => Ok(()),
            Some(place) if place + 1 == here.len() => remove(&self.mountpoint, lazily),
            Some(_) => Err(Error(format!(
                "{shown}: something else is mounted over it; unmount that first"
            ))),
        }
    }
}

/// Enters the mount namespace at `path` (`/proc/PID/ns/mnt`), as `mount -N` asks for. There must
/// be one thread yet.
pub fn enter_namespace(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    let failed =
        |error: io::Error| Error(format!("-N {shown}: can't enter this namespace: {error}"));
    let namespace = File::open(path).map_err(failed)?;
    // SAFETY: setns(2) takes a descriptor, which lives until it returns, and a number.
    let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) };
    Errno::result(entered)
        .map(drop)
        .map_err(|errno| failed(errno.into()))
}

/// The number N of a mountpoint `/dev/fd/N`.
fn passed_descriptor(mountpoint: &Path) -> Option<Result<RawFd, Error>> {
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

fn check_passed(fd: RawFd) -> Result<(), Error> {
    let path = format!("/dev/fd/{fd}");
    // The link is followed to the open file without opening it again.
    let metadata = fs::metadata(&path).map_err(|error| {
        Error(format!(
            "{path}: whoever mounted must pass the open device as descriptor {fd}: {error}"
        ))
    })?;
    let device = libc::makedev(10, 229);
    if metadata.file_type().is_char_device() && metadata.rdev() == device {
        Ok(())
    } else {
        Err(Error(format!(
            "{path}: is not {DEVICE}; whoever mounted must pass the device that was mounted"
        )))
    }
}

fn take_passed(fd: RawFd) -> Result<OwnedFd, Error> {
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

/// Opens the device for a moment: the only way to know that it is there and may be used.
fn check_device() -> Result<(), Error> {
    open_device().map(drop)
}

fn open_device() -> Result<OwnedFd, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)
        .map(OwnedFd::from)
        .map_err(|error| {
            Error(match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => format!(
                    "there is no {DEVICE}: load it as root with: modprobe fuse \
                     (a container needs --device {DEVICE} --cap-add SYS_ADMIN)"
                ),
                Some(libc::EACCES | libc::EPERM) => format!(
                    "{DEVICE} may not be opened by you: let root run: chmod 666 {DEVICE} \
                     (a container needs --device {DEVICE} --cap-add SYS_ADMIN)"
                ),
                _ => format!("{DEVICE} can't be opened: {error}"),
            })
        })
}

/// The rules of `fusermount3`, asked beforehand for the sake of a better message.
fn check_rights(mountpoint: &Path, metadata: &fs::Metadata) -> Result<(), Error> {
    let shown = mountpoint.display();
    let sticky = metadata.mode() & libc::S_ISVTX != 0;
    if sticky && metadata.uid() != geteuid().as_raw() {
        return Err(Error(format!(
            "{shown}: belongs to somebody else and is sticky; choose a directory of your own"
        )));
    }
    access(mountpoint, AccessFlags::W_OK).map_err(|_| {
        Error(format!(
            "{shown}: you may not write there; choose a directory of your own"
        ))
    })
}

/// Where `fusermount3` is. mount(8) may start us with an empty PATH.
fn fusermount() -> Result<PathBuf, Error> {
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

/// mount(2), for root.
fn attach_directly(mountpoint: &Path, options: &Options) -> Result<OwnedFd, Error> {
    let device = open_device()?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        geteuid(),
        getegid()
    );
    for (wanted, word) in [
        (options.allow_other, ",allow_other"),
        (options.default_permissions, ",default_permissions"),
    ] {
        if wanted {
            data.push_str(word);
        }
    }
    let mount = |kind: &str, data: &str| {
        nix::mount::mount(
            Some(options.fsname.as_str()),
            mountpoint,
            Some(kind),
            flags(options),
            Some(data),
        )
    };
    let outcome = match mount(&format!("fuse.{}", options.subtype), &data) {
        // Kernels that know no subtype in the type take it as an option.
        Err(Errno::ENODEV | Errno::EINVAL) => {
            mount("fuse", &format!("{data},subtype={}", options.subtype))
        }
        outcome => outcome,
    };
    let shown = mountpoint.display();
    match outcome {
        Ok(()) => Ok(device),
        Err(Errno::EPERM | Errno::EACCES) => Err(Error(format!(
            "{shown}: mount(2) is not permitted; \
             a container needs --device {DEVICE} --cap-add SYS_ADMIN"
        ))),
        Err(error) => Err(Error(format!("{shown}: can't be mounted: {error}"))),
    }
}

/// The flags of mount(2). A server's word makes no program run as root, whatever the words say:
/// mount.fuse3(8) and mount(8) add `suid` and `dev` unasked.
fn flags(options: &Options) -> MsFlags {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for word in &options.words {
        let (flag, on) = match *word {
            "noexec" => (MsFlags::MS_NOEXEC, true),
            "exec" => (MsFlags::MS_NOEXEC, false),
            "noatime" => (MsFlags::MS_NOATIME, true),
            "atime" => (MsFlags::MS_NOATIME, false),
            "relatime" => (MsFlags::MS_RELATIME, true),
            "sync" => (MsFlags::MS_SYNCHRONOUS, true),
            "async" => (MsFlags::MS_SYNCHRONOUS, false),
            "dirsync" => (MsFlags::MS_DIRSYNC, true),
            _ => continue,
        };
        flags.set(flag, on);
    }
    flags.set(MsFlags::MS_RDONLY, options.read_only);
    flags
}

/// The list that `fusermount3 -o` is given. It splits at commas, so that a name from outside could
/// bring options along; a backslash keeps it from that.
fn list(options: &Options) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,");
    let mut list = format!(
        "fsname={},subtype={}",
        escape(&options.fsname),
        escape(&options.subtype)
    );
    for (wanted, word) in [
        (true, ",nosuid,nodev"),
        (options.read_only, ",ro"),
        (options.allow_other, ",allow_other"),
        (options.default_permissions, ",default_permissions"),
    ] {
        if wanted {
            list.push_str(word);
        }
    }
    for word in &options.words {
        // Those two are there, and the last it does not know: the kernel does so by itself.
        if !matches!(*word, "nosuid" | "nodev" | "relatime") {
            list.push(',');
            list.push_str(word);
        }
    }
    list
}

/// `fusermount3`, for everybody.
fn attach_by_fusermount(mountpoint: &Path, options: &Options) -> Result<OwnedFd, Error> {
    let program = fusermount()?;
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
        .arg(list(options))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let device = receive_descriptor(&ours);
    let said = finish(&mut child);
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

/// What `fusermount3` wrote to standard error, once it has ended; killed if it does not.
fn finish(child: &mut std::process::Child) -> String {
    let until = Instant::now() + FUSERMOUNT_PATIENCE;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return format!("did not end within {} s", FUSERMOUNT_PATIENCE.as_secs());
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

/// Unmounts what is at the top of `mountpoint`.
fn remove(mountpoint: &Path, lazily: bool) -> Result<(), Error> {
    let shown = mountpoint.display();
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    flags.set(MntFlags::MNT_DETACH, lazily);
    match umount2(mountpoint, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => remove_by_fusermount(mountpoint, lazily),
        // Somebody was quicker.
        Err(Errno::EINVAL) => Ok(()),
        Err(Errno::EBUSY) => Err(Error(format!("{shown}: is in use"))),
        Err(error) => Err(Error(format!("{shown}: can't be unmounted: {error}"))),
    }
}

fn remove_by_fusermount(mountpoint: &Path, lazily: bool) -> Result<(), Error> {
    let mut command = Command::new(fusermount()?);
    command.arg("-u").args(lazily.then_some("-z"));
    let mut child = command
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error(format!("{FUSERMOUNT}: {error}")))?;
    let said = finish(&mut child);
    match child.try_wait() {
        Ok(Some(status)) if status.success() => Ok(()),
        _ => Err(Error(format!(
            "{}: can't be unmounted: {}",
            mountpoint.display(),
            explain(&said, mountpoint)
        ))),
    }
}

/// A line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    identity: Identity,
    mountpoint: PathBuf,
    kind: String,
    source: String,
}

/// The mount that one sees at `mountpoint`: the last one there.
fn top_mount(mountpoint: &Path) -> Result<Option<Entry>, Error> {
    let mut mounts = mounts()?;
    mounts.retain(|entry| entry.mountpoint == mountpoint);
    Ok(mounts.pop())
}

fn mounts() -> Result<Vec<Entry>, Error> {
    let text = fs::read(MOUNTINFO).map_err(|error| {
        Error(format!(
            "{MOUNTINFO} can't be read: {error}; mount it with: mount -t proc proc /proc"
        ))
    })?;
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(entry)
        .collect())
}

/// `36 35 98:0 /root /mountpoint options fields... - type source super`, see proc(5).
fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mount_id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
    let mountpoint = PathBuf::from(unescape(fields.nth(1)?));
    let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    let source = unescape(rest.next()?).to_string_lossy().into_owned();
    Some(Entry {
        identity: Identity { mount_id, device },
        mountpoint,
        kind,
        source,
    })
}

/// The kernel writes blanks, tabs, line ends and backslashes as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

/// The command that unmounts, ready to be pasted.
fn unmount_hint(mountpoint: &Path) -> String {
    let command = if geteuid().is_root() {
        "umount"
    } else {
        "fusermount3 -u"
    };
    format!("{command} {}", quoted(mountpoint))
}

fn quoted(path: &Path) -> String {
    let text = path.as_os_str().to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,=%".contains(c);
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&'static str]) -> Options {
        Options {
            fsname: "ftp://u@h/a,ro\\".into(),
            subtype: "ftpfs".into(),
            words: words.to_vec(),
            ..Options::default()
        }
    }

    #[test]
    fn a_name_brings_no_options_along() {
        assert_eq!(
            list(&options(&[])),
            r"fsname=ftp://u@h/a\,ro\\,subtype=ftpfs,nosuid,nodev"
        );
    }

    #[test]
    fn of_two_words_the_last_one_counts() {
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        assert_eq!(flags(&options(&[])), safe);
        assert_eq!(flags(&options(&["noexec", "exec"])), safe);
        assert_eq!(
            flags(&options(&["exec", "noexec"])),
            safe | MsFlags::MS_NOEXEC
        );
        assert_eq!(flags(&options(&["suid", "dev"])), safe);
        let read_only = Options {
            read_only: true,
            ..options(&[])
        };
        assert_eq!(flags(&read_only), safe | MsFlags::MS_RDONLY);
    }

    #[test]
    fn fusermount_is_not_told_what_it_refuses() {
        let list = list(&options(&["nosuid", "nodev", "relatime", "noatime"]));
        assert!(list.ends_with(",nosuid,nodev,noatime"), "{list}");
    }

    #[test]
    fn the_mount_table_is_read_with_its_escapes() {
        let line = br"71 28 0:53 / /mnt/a\040b\134c rw,nosuid shared:1 master:2 - fuse.ftpfs ftp://h/\040 rw,user_id=0";
        let entry = entry(line).expect("a good line");
        assert_eq!(entry.identity.mount_id, 71);
        assert_eq!(entry.identity.device, "0:53");
        assert_eq!(entry.mountpoint, Path::new(r"/mnt/a b\c"));
        assert_eq!(entry.kind, "fuse.ftpfs");
        assert_eq!(entry.source, "ftp://h/ ");
        assert!(super::entry(b"").is_none() && super::entry(b"71 28").is_none());
    }

    #[test]
    fn the_root_directory_is_in_the_mount_table() {
        assert!(top_mount(Path::new("/")).expect("a table").is_some());
    }

    #[test]
    fn a_descriptor_for_a_mountpoint_must_be_the_device() {
        assert!(passed_descriptor(Path::new("/mnt")).is_none());
        for wrong in ["/dev/fd/", "/dev/fd/2", "/dev/fd/x", "/dev/fd/+5"] {
            assert!(
                matches!(passed_descriptor(Path::new(wrong)), Some(Err(_))),
                "{wrong}"
            );
        }
        let error = check(Path::new("/dev/fd/987654")).expect_err("closed");
        assert!(error.0.contains("must pass the open device"), "{error}");
        let null = File::open("/dev/null").expect("a device");
        let path = format!("/dev/fd/{}", null.as_raw_fd());
        let error = check(Path::new(&path)).expect_err("another device");
        assert!(error.0.contains("is not /dev/fuse"), "{error}");
    }

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

    #[test]
    fn a_path_is_quoted_for_the_shell_where_it_needs_to_be() {
        assert_eq!(quoted(Path::new("/mnt/a-b")), "/mnt/a-b");
        assert_eq!(quoted(Path::new("/mnt/it's")), r"'/mnt/it'\''s'");
    }

    #[test]
    fn nothing_is_unmounted_that_is_not_ours() {
        // The root directory stands for a mount of somebody else; ours has another number.
        let mount = Mount {
            mountpoint: "/".into(),
            identity: Some(Identity {
                mount_id: u64::MAX,
                device: "0:0".into(),
            }),
        };
        assert_eq!(mount.unmount(true), Ok(()));
        assert!(top_mount(Path::new("/")).expect("a table").is_some());
    }

    #[test]
    fn what_can_be_no_mountpoint_is_told_with_a_mend() {
        // Without the device every answer is about the device.
        if check_device().is_err() {
            panic!("/dev/fuse can't be opened here: run the tests where it can");
        }
        let error = check(Path::new("/no/such/dir")).expect_err("missing");
        assert!(error.0.contains("mkdir -p /no/such/dir"), "{error}");
        let error = check(Path::new("/etc/passwd")).expect_err("a file");
        assert!(error.0.contains("is not a directory"), "{error}");
    }
}
