//! What was said on the command line: plain data.

use std::ffi::OsString;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// What was said on the command line, and the defaults of what was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the server is, as typed; `source.rs` reads it. May hold a password: never logged.
    pub source: Hidden,
    /// Where it is to appear, as typed.
    pub mountpoint: PathBuf,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Log every command and reply.
    pub debug: bool,
    /// Log what is done, not just what fails (`-v` of mount(8)).
    pub verbose: bool,
    /// Check everything and mount nothing (`-f` of mount(8)).
    pub fake: bool,
    /// The mount namespace to mount in (`-N` of mount(8)).
    pub namespace: Option<PathBuf>,
    /// Nothing may be changed.
    pub read_only: bool,
    /// Other users may use the mount. Brings `default_permissions`.
    pub allow_other: bool,
    /// The kernel checks permission bits.
    pub default_permissions: bool,
    /// The owner shown; the mounting user by default.
    pub uid: Option<Id>,
    /// The group shown; the mounting user's by default.
    pub gid: Option<Id>,
    /// Permission bits that are taken away from what is shown.
    pub umask: Option<u32>,
    /// The owners shown are the server's.
    pub server_owners: bool,
    /// The permission bits of all files.
    pub file_mode: Option<u32>,
    /// The permission bits of all directories.
    pub dir_mode: Option<u32>,
    /// What the server can't do is passed over.
    pub lenient: bool,
    /// Root may use the mount too. Brings `default_permissions`.
    pub allow_root: bool,
    /// What becomes of symbolic links.
    pub links: Links,
    /// Control connections at most.
    pub max_conns: usize,
    /// Commands are sent one by one.
    pub no_pipeline: bool,
    /// How long attributes and listings live.
    pub cache_timeout: Duration,
    /// How long an operation waits without progress.
    pub timeout: Duration,
    /// The charset of the server's names; UTF-8 by default.
    pub codepage: Option<String>,
    /// The zone of the server's listings; learned by default.
    pub timezone: Option<String>,
    /// Files keep the times of the listing, to the minute.
    pub listed_times: bool,
    /// Bytes of the file system, where the server does not tell.
    pub size: Option<u64>,
    /// Files appear at once, by a rename.
    pub atomic: bool,
    /// What was stored is compared by its hash.
    pub verify_hash: bool,
    /// Closes return before the server has the file.
    pub writeback: bool,
    /// Where the spool is; the user's cache by default.
    pub spool_dir: Option<PathBuf>,
    /// Bytes of a file written in order that wait for the network at most.
    pub spool_size: u64,
    /// Where what was read is kept on disk, if anywhere.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of it at most.
    pub disk_cache_size: u64,
    /// Bytes of memory for what was read.
    pub cache_size: u64,
    /// Who makes data connections.
    pub mode: Mode,
    /// The address that a reply to PASV names counts.
    pub trusts_pasv: bool,
    /// The ports for data connections that the server makes.
    pub port_range: Option<RangeInclusive<u16>>,
    /// The address under which the server reaches us.
    pub external_ip: Option<IpAddr>,
    /// The address or the interface that connections go out from.
    pub bind: Option<String>,
    /// The one family of addresses that is used.
    pub family: Option<Family>,
    /// The proxy, as typed; the environment's by default. May hold a password.
    pub proxy: Option<Hidden>,
    /// When connections are encrypted; `None` is as the source says.
    pub tls: Option<Encrypt>,
    /// TLS 1.3 is the least.
    pub tls_min_13: bool,
    /// TLS 1.2 is the most.
    pub tls_max_12: bool,
    /// Certificates to trust in place of the system's.
    pub cacert: Option<PathBuf>,
    /// Our own certificate.
    pub cert: Option<PathBuf>,
    /// The key to it; in the same file by default.
    pub key: Option<PathBuf>,
    /// The passphrase of the key.
    pub pass: Option<Hidden>,
    /// The SHA-256 of the one certificate that is taken.
    pub fingerprint: Option<[u8; 32]>,
    /// Any certificate is taken.
    pub no_verify_peer: bool,
    /// A certificate may be for another name.
    pub no_verify_hostname: bool,
    /// The source shown in the mount table; made of the source by default.
    pub fsname: Option<String>,
    /// The type shown in the mount table, behind `fuse.`.
    pub subtype: String,
    /// What mount(2) is told besides, in the words of fstab(5), in order.
    pub kernel: Vec<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source: Hidden(OsString::new()),
            mountpoint: PathBuf::new(),
            foreground: false,
            debug: false,
            verbose: false,
            fake: false,
            namespace: None,
            read_only: false,
            allow_other: false,
            default_permissions: false,
            uid: None,
            gid: None,
            umask: None,
            server_owners: false,
            file_mode: None,
            dir_mode: None,
            lenient: false,
            allow_root: false,
            links: Links::Contained,
            codepage: None,
            timezone: None,
            listed_times: false,
            size: None,
            atomic: false,
            verify_hash: false,
            writeback: false,
            spool_dir: None,
            spool_size: 1 << 30,
            cache_size: 256 << 20,
            cache_dir: None,
            disk_cache_size: 4 << 30,
            max_conns: 8,
            no_pipeline: false,
            cache_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            mode: Mode::Auto,
            trusts_pasv: false,
            port_range: None,
            external_ip: None,
            bind: None,
            family: None,
            proxy: None,
            tls: None,
            tls_min_13: false,
            tls_max_12: false,
            cacert: None,
            cert: None,
            key: None,
            pass: None,
            fingerprint: None,
            no_verify_peer: false,
            no_verify_hostname: false,
            fsname: None,
            subtype: "ftpfs".to_string(),
            kernel: Vec::new(),
        }
    }
}

/// What `ftpfs probe` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The server, and the options that a mount would have.
    pub settings: Settings,
    /// The words of `-o`, one by one, as typed. May hold passwords: never logged.
    pub words: Vec<Hidden>,
    /// Try writing too, in a directory of our own.
    pub write: bool,
    /// Answer in JSON.
    pub json: bool,
}

/// What `ftpfs status` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where the mount is; all of this user's by default.
    pub mountpoint: Option<PathBuf>,
    /// Answer in JSON.
    pub json: bool,
}

/// Who makes data connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whatever works.
    Auto,
    /// We do.
    Passive,
    /// The server does.
    Active,
}

/// When connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encrypt {
    /// Never.
    Off,
    /// Where the server offers it.
    Try,
    /// Always.
    Explicit,
    /// Always, but not the data.
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

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Those that leave the mount are refused.
    Contained,
    /// Absolute targets are taken from the mounted directory.
    FromRoot,
    /// They are shown as the server says them.
    AsTheyAre,
    /// They are shown as what they lead to.
    Followed,
}

/// Words that may hold a password, so that Debug does not show them.
#[derive(Clone, PartialEq, Eq)]
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
    /// The number of this user; asks the user database for a name.
    pub fn user(&self) -> Result<u32, String> {
        self.number("uid", "user", |name| {
            nix::unistd::User::from_name(name).map(|user| user.map(|user| user.uid.as_raw()))
        })
    }

    /// The number of this group; asks the group database for a name.
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
