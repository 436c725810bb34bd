//! Defines the values of the command line, in groups by subject, and their defaults.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::process::logging::Amount;

/// Values of the command line; the defaults for what was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The server as typed; parsed in `source.rs`. May hold a password: never logged.
    pub source: Hidden,
    /// The mountpoint as typed.
    pub mountpoint: PathBuf,
    /// How the command itself runs.
    pub command: CommandSettings,
    /// The mount and its entry in the mount table.
    pub mount: MountSettings,
    /// How files, directories and symbolic links are presented.
    pub attributes: AttributeSettings,
    /// Where user and password come from.
    pub login: LoginSettings,
    /// The FTP session.
    pub server: ServerSettings,
    /// Data connections and addresses.
    pub network: NetworkSettings,
    /// Encryption and certificates.
    pub tls: TlsSettings,
    /// What is cached, where and for how long.
    pub cache: CacheSettings,
    /// How files are stored.
    pub write: WriteSettings,
}

/// How the command itself runs: the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandSettings {
    /// Stay in the foreground.
    pub foreground: bool,
    /// What is logged (`-q`, `-v`, `-d`).
    pub logged: Amount,
    /// Check everything and mount nothing (`-f` of mount(8)).
    pub fake: bool,
    /// The mount namespace to mount in (`-N` of mount(8)).
    pub namespace: Option<PathBuf>,
    /// mount(8) has called the program as its helper.
    pub helper: bool,
    /// To mount what is mounted there already is a success: `mount -a` may do it.
    pub repeatable: bool,
    /// A line on options without effect; empty if there are none.
    pub warning: String,
    /// Change the flags of a mount.
    pub remount: bool,
    /// The options of `-o remount`, one by one, as typed; empty otherwise. May hold passwords: never logged.
    pub remount_words: Vec<Hidden>,
    /// How long a server that can't be reached is tried again.
    pub retry: Duration,
    /// The file that the log is written to.
    pub log_file: Option<PathBuf>,
}

/// The mount: who may use it, and its entry in the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSettings {
    /// A read-only mount.
    pub read_only: bool,
    /// Other users may use the mount. Implies `default_permissions`.
    pub allow_other: bool,
    /// Root may use the mount too. Implies `default_permissions`.
    pub allow_root: bool,
    /// The kernel checks permission bits.
    pub default_permissions: bool,
    /// The source in the mount table; the server's URL by default.
    pub fsname: Option<String>,
    /// The type in the mount table, after `fuse.`.
    pub subtype: String,
    /// Options passed to mount(2), in the words of fstab(5), in order.
    pub kernel: Vec<&'static str>,
    /// Names and labels of SELinux.
    pub labels: Vec<(&'static str, String)>,
    /// `_netdev`, `user=NAME` and `x-*`, for the note of the mount that mount(8) and systemd read.
    pub user_space: Vec<String>,
}

impl Default for MountSettings {
    fn default() -> Self {
        Self {
            read_only: false,
            allow_other: false,
            allow_root: false,
            default_permissions: false,
            fsname: None,
            subtype: "ftpfs".to_string(),
            kernel: Vec::new(),
            labels: Vec::new(),
            user_space: Vec::new(),
        }
    }
}

/// How files, directories and symbolic links are presented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeSettings {
    /// Owner of all files; the mounting user by default.
    pub uid: Option<Id>,
    /// Group of all files; the mounting user's by default.
    pub gid: Option<Id>,
    /// Permission bits to clear on all files.
    pub umask: Option<u32>,
    /// Files have the server's owners.
    pub server_owners: bool,
    /// Permission bits of all files.
    pub file_mode: Option<u32>,
    /// Permission bits of all directories.
    pub dir_mode: Option<u32>,
    /// What becomes of attribute changes that the server does not support.
    pub policy: AttributePolicy,
    /// How symbolic links are presented.
    pub links: Links,
    /// Symbolic links are stored in regular files where the server has none.
    pub mfsymlinks: bool,
    /// Bytes of the file system, where the server does not report them.
    pub size: Option<u64>,
}

/// Where user and password come from, besides the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginSettings {
    /// The user, if the source names none.
    pub username: Option<String>,
    /// A file with user and password, in the format of mount.cifs(8).
    pub credentials: Option<PathBuf>,
    /// The netrc file to read before `~/.netrc`.
    pub netrc: Option<PathBuf>,
    /// A shell command that prints the password.
    pub password_command: Option<Hidden>,
    /// Read the password from standard input.
    pub password_stdin: bool,
}

/// The FTP session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The port, in place of that of the source.
    pub port: Option<u16>,
    /// Maximum number of control connections.
    pub max_conns: usize,
    /// Disable command pipelining.
    pub no_pipeline: bool,
    /// Callers wait for a server that is away.
    pub hard: bool,
    /// How long an operation waits without progress.
    pub timeout: Duration,
    /// Charset of the server's names; UTF-8 by default.
    pub codepage: Option<String>,
    /// Time zone of the server's listings; detected by default.
    pub timezone: Option<String>,
    /// Files have the times of the listing, with minute precision.
    pub listed_times: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            port: None,
            max_conns: 8,
            no_pipeline: false,
            hard: false,
            timeout: Duration::from_secs(30),
            codepage: None,
            timezone: None,
            listed_times: false,
        }
    }
}

/// Data connections and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Which side opens data connections.
    pub mode: Mode,
    /// Data connections go to the address in the reply to PASV.
    pub trusts_pasv: bool,
    /// Local ports to listen on in active mode.
    pub port_range: Option<RangeInclusive<u16>>,
    /// Address to announce to the server in active mode.
    pub external_ip: Option<String>,
    /// Local address or interface of outgoing connections.
    pub bind: Option<String>,
    /// The only address family to use.
    pub family: Option<Family>,
    /// The proxy, as typed; the environment's by default. May hold a password.
    pub proxy: Option<Hidden>,
}

/// Encryption and certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// When connections are encrypted; `None` is decided by the scheme of the source.
    pub when: Option<Encrypt>,
    /// The minimum version is TLS 1.3.
    pub min_13: bool,
    /// The maximum version is TLS 1.2.
    pub max_12: bool,
    /// Certificates to trust in place of the system's.
    pub cacert: Option<PathBuf>,
    /// Client certificate.
    pub cert: Option<PathBuf>,
    /// Private key of the client certificate; in the same file by default.
    pub key: Option<PathBuf>,
    /// Passphrase of the private key.
    pub pass: Option<Hidden>,
    /// SHA-256 of the only certificate to accept.
    pub fingerprint: Option<[u8; 32]>,
    /// Accept any certificate.
    pub no_verify_peer: bool,
    /// Accept a certificate for another name.
    pub no_verify_hostname: bool,
}

/// What is cached, where and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// TTL of attributes and listings.
    pub cache_timeout: Duration,
    /// How long a listing answers that a name is absent; the TTL of listings by default.
    pub negative_timeout: Option<Duration>,
    /// Time beyond their TTL while the server is away.
    pub stale: Duration,
    /// Bytes of memory for file contents.
    pub cache_size: u64,
    /// Bytes of memory for names and attributes that nothing uses.
    pub metadata_cache_size: u64,
    /// Directory of the disk cache, if there is one.
    pub cache_dir: Option<PathBuf>,
    /// Maximum bytes of the disk cache.
    pub disk_cache_size: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            cache_timeout: Duration::from_secs(30),
            negative_timeout: None,
            stale: Duration::ZERO,
            cache_size: 256 << 20,
            metadata_cache_size: 64 << 20,
            cache_dir: None,
            disk_cache_size: 4 << 30,
        }
    }
}

/// How a stored file is compared with what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Not at all: the server's reply counts.
    None,
    /// By its size.
    Size,
    /// By its size and hash.
    Hash,
}

/// How files are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteSettings {
    /// Upload to a temporary name, then rename.
    pub atomic: bool,
    /// How a stored file is compared.
    pub verify: Verify,
    /// Closes return before the server has the file.
    pub writeback: bool,
    /// Directory of the spool; the user's cache by default.
    pub spool_dir: Option<PathBuf>,
    /// Maximum bytes of a file written in order that wait for the network.
    pub spool_size: u64,
    /// Maximum bytes of zeros sent for the holes of a file.
    pub hole_limit: u64,
}

impl Default for WriteSettings {
    fn default() -> Self {
        Self {
            atomic: false,
            verify: Verify::Size,
            writeback: false,
            spool_dir: None,
            spool_size: 1 << 30,
            hole_limit: 4 << 30,
        }
    }
}

/// Arguments of `ftpfs probe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The server, and the options of the mount to probe for.
    pub settings: Settings,
    /// The options of `-o`, one by one, as typed. May hold passwords: never logged.
    pub words: Vec<Hidden>,
    /// Probe writing too, in a scratch directory.
    pub write: bool,
    /// Print JSON.
    pub json: bool,
}

/// What `ftpfs drop-cache` drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCache {
    /// The path of the mount; all of this user's if absent.
    pub mountpoint: Option<PathBuf>,
    /// What was learned of the server, too.
    pub server: bool,
}

/// Arguments of `ftpfs status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The mountpoint; all mounts of this user by default.
    pub mountpoint: Option<PathBuf>,
    /// What is printed.
    pub view: StatusView,
    /// Show it again each second.
    pub watch: bool,
}

/// What `ftpfs status` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusView {
    /// A line for each mount.
    Summary,
    /// Each mount in detail.
    Detail,
    /// JSON.
    Json,
    /// Metrics in the text format of Prometheus.
    Prometheus,
}

/// Arguments of `ftpfs umount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Umount {
    /// The mountpoint.
    pub mountpoint: PathBuf,
    /// The mount namespace that it is in (`-N` of umount(8)).
    pub namespace: Option<PathBuf>,
    /// Do not wait for uploads.
    pub force: bool,
    /// Detach a mount that is in use.
    pub lazy: bool,
}

/// Which side opens data connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whichever works.
    #[default]
    Auto,
    /// The client.
    Passive,
    /// The server.
    Active,
}

/// When connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encrypt {
    /// Never.
    Off,
    /// If the server offers it.
    Try,
    /// Always.
    Explicit,
    /// Always, except data connections.
    Control,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What becomes of attribute changes that the server does not support.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttributePolicy {
    /// The mount keeps them and shows them from then on.
    #[default]
    Keep,
    /// They fail.
    Strict,
    /// They succeed without effect.
    Ignore,
}

/// How symbolic links are presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Links that leave the mount are refused.
    #[default]
    Contained,
    /// Absolute targets are relative to the mounted directory.
    FromRoot,
    /// Targets are passed on as the server reports them.
    AsTheyAre,
    /// A link has the attributes and content of its target.
    Followed,
}

/// A string that may hold a password: Debug does not print it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(pub OsString);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

/// A user or group as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

impl Id {
    /// Returns the number of this user; looks a name up in the user database.
    pub fn user(&self) -> Result<u32, String> {
        self.number("uid", "user", |name| {
            nix::unistd::User::from_name(name).map(|user| user.map(|user| user.uid.as_raw()))
        })
    }

    /// Returns the number of this group; looks a name up in the group database.
    pub fn group(&self) -> Result<u32, String> {
        self.number("gid", "group", |name| {
            nix::unistd::Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw()))
        })
    }

    fn number(
        &self,
        option: &str,
        what: &str,
        look_up: impl Fn(&str) -> nix::Result<Option<u32>>,
    ) -> Result<u32, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => match look_up(name) {
                Ok(Some(number)) => Ok(number),
                Ok(None) => Err(format!("{option}={name}: there is no such {what} here")),
                Err(error) => Err(format!("{option}={name}: can't be looked up: {error}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_looked_up_late() {
        assert_eq!(Id::Name("root".into()).user(), Ok(0));
        assert_eq!(Id::Name("root".into()).group(), Ok(0));
        let error = Id::Name("no-such-user".into()).user().expect_err("none");
        assert_eq!(error, "uid=no-such-user: there is no such user here");
    }
}
