//! Defines the table of options: everything that can follow `-o`. The flags are in `flags.rs`.
//!
//! A new option is a line here, a field in `settings.rs`, an entry in `man/ftpfs.1` and a row in
//! `docs/options.md`; `tests/options.rs` fails until all are there.

use std::time::Duration;

use crate::cli::option_value::{
    YEAR, bytes, cache_size, choice, file, fingerprint, id, label, local_address, number, octal,
    ports, selinux_label, spool_size, word,
};
use crate::cli::settings::{
    AttributePolicy, Encrypt, Family, Hidden, Links, Mode, Settings, Verify,
};

/// One option of `-o`.
pub struct Spec {
    /// The name; one that ends in `*` is a prefix.
    pub name: &'static str,
    /// Placeholder of the value in the help; `None` for an option without a value.
    pub value: Option<&'static str>,
    /// The default for the help; empty if it is not shown.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// The heading in the help.
    pub group: Group,
    /// The effect.
    pub(crate) kind: Kind,
}

/// The headings of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Permissions and owners.
    Rights,
    /// Symbolic links.
    Links,
    /// User and password.
    Login,
    /// FTP session, caches and uploads.
    Server,
    /// Data connections and addresses.
    Data,
    /// Encryption and certificates.
    Encryption,
    /// The entry in the mount table.
    Mount,
    /// Options of the kernel.
    Kernel,
    /// Options of fstab(5) and mount(8), without effect.
    Ignored,
}

impl Group {
    pub(crate) const ALL: [Self; 9] = [
        Self::Rights,
        Self::Links,
        Self::Login,
        Self::Server,
        Self::Data,
        Self::Encryption,
        Self::Mount,
        Self::Kernel,
        Self::Ignored,
    ];

    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Rights => "Permissions (-o)",
            Self::Links => "Symbolic links (-o)",
            Self::Login => "User and password (-o)",
            Self::Server => "Server (-o)",
            Self::Data => "Data connections and addresses (-o)",
            Self::Encryption => "Encryption (-o)",
            Self::Mount => "Mount table (-o)",
            Self::Kernel => "Options of the kernel (-o)",
            Self::Ignored => "Accepted and ignored, for /etc/fstab and mount(8) (-o)",
        }
    }
}

/// Effect of an option.
pub(crate) enum Kind {
    Switch(fn(&mut Settings)),
    /// The error says what is allowed.
    Value(fn(&mut Settings, &str) -> Result<(), String>),
    Kernel,
    Ignored,
}

/// Maximum of `retry` in minutes, a week: mount.nfs(8) retries as long in the background by default.
const RETRY_LIMIT: u64 = 7 * 24 * 60;

/// Every option of `-o`.
pub const TABLE: &[Spec] = &[
    switch("ro", "read-only mount", Group::Rights, |s| {
        s.mount.read_only = true;
    }),
    switch("rw", "read-write mount (default)", Group::Rights, |s| {
        s.mount.read_only = false;
    }),
    switch(
        "allow_other",
        "allow other users; implies default_permissions",
        Group::Rights,
        |s| {
            s.mount.allow_other = true;
            s.mount.default_permissions = true;
        },
    ),
    switch(
        "default_permissions",
        "let the kernel check permission bits",
        Group::Rights,
        |s| s.mount.default_permissions = true,
    ),
    value(
        "uid",
        "USER",
        "you",
        "owner of all files, by number or name",
        Group::Rights,
        |s, text| id(text, "user").map(|id| s.attributes.uid = Some(id)),
    ),
    value(
        "gid",
        "GROUP",
        "your group",
        "group of all files, by number or name",
        Group::Rights,
        |s, text| id(text, "group").map(|id| s.attributes.gid = Some(id)),
    ),
    value(
        "umask",
        "OCTAL",
        "none",
        "permission bits to clear on all files",
        Group::Rights,
        |s, text| octal(text).map(|umask| s.attributes.umask = Some(umask)),
    ),
    switch(
        "allow_root",
        "allow root too; implies default_permissions",
        Group::Rights,
        |s| {
            s.mount.allow_root = true;
            s.mount.default_permissions = true;
        },
    ),
    value(
        "file_mode",
        "OCTAL",
        "the server's",
        "permission bits of all files",
        Group::Rights,
        |s, text| octal(text).map(|mode| s.attributes.file_mode = Some(mode)),
    ),
    value(
        "dir_mode",
        "OCTAL",
        "the server's",
        "permission bits of all directories",
        Group::Rights,
        |s, text| octal(text).map(|mode| s.attributes.dir_mode = Some(mode)),
    ),
    value(
        "owners",
        "WHOSE",
        "user",
        "owners of files: user (you) or server (the server's)",
        Group::Rights,
        |s, text| {
            choice(text, &[("user", false), ("server", true)])
                .map(|server| s.attributes.server_owners = server)
        },
    ),
    value(
        "attributes",
        "HOW",
        "keep",
        "what the server can't store: keep it here, strict: fail, or ignore",
        Group::Rights,
        |s, text| {
            let policies = [
                ("keep", AttributePolicy::Keep),
                ("strict", AttributePolicy::Strict),
                ("ignore", AttributePolicy::Ignore),
            ];
            choice(text, &policies).map(|policy| s.attributes.policy = policy)
        },
    ),
    switch(
        "lenient",
        "former name of attributes=ignore",
        Group::Rights,
        |s| s.attributes.policy = AttributePolicy::Ignore,
    ),
    value(
        "contain_symlinks",
        "ANSWER",
        "yes",
        "yes: refuse links that leave the mount; no: pass them on",
        Group::Links,
        |s, text| {
            let links = [("yes", Links::Contained), ("no", Links::AsTheyAre)];
            choice(text, &links).map(|links| s.attributes.links = links)
        },
    ),
    switch(
        "transform_symlinks",
        "make absolute link targets relative to the mount",
        Group::Links,
        |s| s.attributes.links = Links::FromRoot,
    ),
    switch(
        "mfsymlinks",
        "store links in small files, as mount.cifs does",
        Group::Links,
        |s| s.attributes.mfsymlinks = true,
    ),
    switch(
        "follow_symlinks",
        "present links as the files that they lead to",
        Group::Links,
        |s| s.attributes.links = Links::Followed,
    ),
    value(
        "username",
        "NAME",
        "anonymous",
        "user, if the source names none",
        Group::Login,
        |s, text| label(text).map(|name| s.login.username = Some(name)),
    ),
    value(
        "credentials",
        "FILE",
        "none",
        "file with lines username=NAME and password=SECRET",
        Group::Login,
        |s, text| file(text).map(|path| s.login.credentials = Some(path)),
    ),
    value(
        "netrc",
        "FILE",
        "$NETRC",
        "netrc file to read before ~/.netrc",
        Group::Login,
        |s, text| file(text).map(|path| s.login.netrc = Some(path)),
    ),
    value(
        "password_command",
        "COMMAND",
        "none",
        "shell command that prints the password",
        Group::Login,
        |s, text| {
            s.login.password_command = Some(Hidden(text.into()));
            Ok(())
        },
    ),
    switch(
        "password_stdin",
        "read the password from standard input",
        Group::Login,
        |s| s.login.password_stdin = true,
    ),
    value(
        "port",
        "N",
        "21",
        "port of the server, in place of that of the source",
        Group::Server,
        |s, text| {
            number(text, 1, u16::MAX.into(), "").map(|n| s.server.port = u16::try_from(n).ok())
        },
    ),
    value(
        "max_conns",
        "N",
        "8",
        "maximum number of connections, 1 to 64",
        Group::Server,
        |s, text| number(text, 1, 64, "").map(|n| s.server.max_conns = n as usize),
    ),
    switch(
        "nopipeline",
        "disable command pipelining",
        Group::Server,
        |s| s.server.no_pipeline = true,
    ),
    value(
        "cache_timeout",
        "SECONDS",
        "30",
        "TTL of attributes and listings in seconds; 0: no cache",
        Group::Server,
        |s, text| {
            number(text, 0, YEAR, " (seconds)")
                .map(|n| s.cache.cache_timeout = Duration::from_secs(n))
        },
    ),
    value(
        "negative_timeout",
        "SECONDS",
        "cache_timeout",
        "TTL of absent names in seconds; 0: ask for each",
        Group::Server,
        |s, text| {
            number(text, 0, YEAR, " (seconds)")
                .map(|n| s.cache.negative_timeout = Some(Duration::from_secs(n)))
        },
    ),
    value(
        "stale",
        "SECONDS",
        "0",
        "use caches so long beyond their TTL while offline",
        Group::Server,
        |s, text| {
            number(text, 0, YEAR, " (seconds)").map(|n| s.cache.stale = Duration::from_secs(n))
        },
    ),
    value(
        "timeout",
        "SECONDS",
        "30",
        "seconds without progress before an operation fails",
        Group::Server,
        |s, text| {
            number(text, 1, 3600, " (seconds)").map(|n| s.server.timeout = Duration::from_secs(n))
        },
    ),
    switch(
        "hard",
        "wait for a server that is away, instead of failing",
        Group::Server,
        |s| s.server.hard = true,
    ),
    value(
        "retry",
        "MINUTES",
        "0",
        "minutes in which a mount tries again to connect",
        Group::Server,
        |s, text| {
            number(text, 0, RETRY_LIMIT, " (minutes)")
                .map(|n| s.command.retry = Duration::from_secs(60 * n))
        },
    ),
    value(
        "codepage",
        "CHARSET",
        "utf8",
        "charset of names on the server",
        Group::Server,
        |s, text| label(text).map(|name| s.server.codepage = Some(name)),
    ),
    value(
        "timezone",
        "ZONE",
        "learned",
        "time zone of listings, such as Europe/Berlin or +02:00",
        Group::Server,
        |s, text| label(text).map(|name| s.server.timezone = Some(name)),
    ),
    value(
        "times",
        "HOW",
        "exact",
        "file times: exact (MDTM), or list (to the minute, faster)",
        Group::Server,
        |s, text| {
            choice(text, &[("exact", false), ("list", true)])
                .map(|listed| s.server.listed_times = listed)
        },
    ),
    value(
        "size",
        "BYTES",
        "very large",
        "size of the file system if the server reports none",
        Group::Server,
        |s, text| bytes(text).map(|size| s.attributes.size = Some(size)),
    ),
    switch(
        "atomic",
        "upload to a temporary name, then rename",
        Group::Server,
        |s| s.write.atomic = true,
    ),
    value(
        "verify",
        "HOW",
        "size",
        "compare an uploaded file by size, by hash, or none",
        Group::Server,
        |s, text| {
            let choices = [
                ("size", Verify::Size),
                ("hash", Verify::Hash),
                ("none", Verify::None),
            ];
            choice(text, &choices).map(|verify| s.write.verify = verify)
        },
    ),
    switch(
        "writeback",
        "return from close early; fsync and unmount wait",
        Group::Server,
        |s| s.write.writeback = true,
    ),
    value(
        "spool_dir",
        "DIRECTORY",
        "~/.cache/ftpfs",
        "local directory of pending uploads and lost+found",
        Group::Server,
        |s, text| file(text).map(|path| s.write.spool_dir = Some(path)),
    ),
    value(
        "spool_size",
        "BYTES",
        "1G",
        "maximum bytes of a file waiting for upload, 32M or more",
        Group::Server,
        |s, text| spool_size(text).map(|bytes| s.write.spool_size = bytes),
    ),
    value(
        "hole_limit",
        "BYTES",
        "4G",
        "maximum zeros sent for holes if the server makes none",
        Group::Server,
        |s, text| bytes(text).map(|bytes| s.write.hole_limit = bytes),
    ),
    value(
        "cache_size",
        "BYTES",
        "256M",
        "memory for file data and readahead, 16M or more",
        Group::Server,
        |s, text| cache_size(text).map(|bytes| s.cache.cache_size = bytes),
    ),
    value(
        "metadata_cache_size",
        "BYTES",
        "64M",
        "memory for unused names and attributes; 300 bytes each",
        Group::Server,
        |s, text| bytes(text).map(|bytes| s.cache.metadata_cache_size = bytes),
    ),
    value(
        "cache_dir",
        "DIRECTORY",
        "none",
        "local directory of the persistent disk cache",
        Group::Server,
        |s, text| file(text).map(|path| s.cache.cache_dir = Some(path)),
    ),
    value(
        "disk_cache_size",
        "BYTES",
        "4G",
        "maximum size of the disk cache, 16M or more",
        Group::Server,
        |s, text| cache_size(text).map(|bytes| s.cache.disk_cache_size = bytes),
    ),
    value(
        "mode",
        "MODE",
        "auto",
        "data connections: auto, passive or active",
        Group::Data,
        |s, text| {
            let modes = [
                ("auto", Mode::Auto),
                ("passive", Mode::Passive),
                ("active", Mode::Active),
            ];
            choice(text, &modes).map(|mode| s.network.mode = mode)
        },
    ),
    value(
        "pasv_ip",
        "WHICH",
        "control",
        "passive: address of control, or of the server's reply",
        Group::Data,
        |s, text| {
            let which = [("control", false), ("server", true)];
            choice(text, &which).map(|trusts| s.network.trusts_pasv = trusts)
        },
    ),
    value(
        "port_range",
        "LOW-HIGH",
        "any free port",
        "active: local ports to listen on",
        Group::Data,
        |s, text| ports(text).map(|range| s.network.port_range = Some(range)),
    ),
    value(
        "external_ip",
        "WHERE",
        "our own",
        "active: address, host or interface to announce (NAT)",
        Group::Data,
        |s, text| local_address(text).map(|name| s.network.external_ip = Some(name)),
    ),
    value(
        "bind",
        "WHERE",
        "as the system routes",
        "local address, host or interface of connections",
        Group::Data,
        |s, text| local_address(text).map(|name| s.network.bind = Some(name)),
    ),
    value(
        "proxy",
        "URL",
        "the environment's",
        "http://[USER:PASSWORD@]HOST:PORT, socks5://... or none",
        Group::Data,
        |s, text| {
            s.network.proxy = Some(Hidden(text.into()));
            Ok(())
        },
    ),
    switch("ipv4", "use IPv4 only", Group::Data, |s| {
        s.network.family = Some(Family::V4);
    }),
    switch("ipv6", "use IPv6 only", Group::Data, |s| {
        s.network.family = Some(Family::V6);
    }),
    value(
        "tls",
        "WHEN",
        "try",
        "TLS: try, explicit (required), control (not data), off",
        Group::Encryption,
        |s, text| {
            let when = [
                ("try", Encrypt::Try),
                ("explicit", Encrypt::Explicit),
                ("control", Encrypt::Control),
                ("off", Encrypt::Off),
            ];
            choice(text, &when).map(|when| s.tls.when = Some(when))
        },
    ),
    value(
        "tls_min",
        "VERSION",
        "1.2",
        "minimum TLS version, 1.2 or 1.3",
        Group::Encryption,
        |s, text| choice(text, &[("1.2", false), ("1.3", true)]).map(|least| s.tls.min_13 = least),
    ),
    value(
        "tls_max",
        "VERSION",
        "1.3",
        "maximum TLS version, 1.2 or 1.3",
        Group::Encryption,
        |s, text| choice(text, &[("1.2", true), ("1.3", false)]).map(|most| s.tls.max_12 = most),
    ),
    value(
        "cacert",
        "PATH",
        "the system's",
        "file or directory of CA certificates; requires TLS",
        Group::Encryption,
        |s, text| file(text).map(|path| s.tls.cacert = Some(path)),
    ),
    value(
        "cert",
        "FILE",
        "none",
        "client certificate, for servers that request one",
        Group::Encryption,
        |s, text| file(text).map(|path| s.tls.cert = Some(path)),
    ),
    value(
        "key",
        "FILE",
        "the file of cert=",
        "private key of the client certificate",
        Group::Encryption,
        |s, text| file(text).map(|path| s.tls.key = Some(path)),
    ),
    value(
        "pass",
        "WORDS",
        "asked for",
        "passphrase of the key; hidden from ps(1) once ftpfs runs",
        Group::Encryption,
        |s, text| {
            s.tls.pass = Some(Hidden(text.into()));
            Ok(())
        },
    ),
    value(
        "fingerprint",
        "sha256:HEX",
        "none",
        "accept only the certificate with this hash; requires TLS",
        Group::Encryption,
        |s, text| fingerprint(text).map(|print| s.tls.fingerprint = Some(print)),
    ),
    switch(
        "no_verify_peer",
        "do not verify the certificate (insecure)",
        Group::Encryption,
        |s| s.tls.no_verify_peer = true,
    ),
    switch(
        "no_verify_hostname",
        "accept a certificate for another name",
        Group::Encryption,
        |s| s.tls.no_verify_hostname = true,
    ),
    value(
        "fsname",
        "NAME",
        "the source, without its password",
        "source in the mount table",
        Group::Mount,
        |s, text| label(text).map(|name| s.mount.fsname = Some(name)),
    ),
    value(
        "subtype",
        "NAME",
        "ftpfs",
        "type in the mount table, as fuse.NAME",
        Group::Mount,
        |s, text| word(text).map(|name| s.mount.subtype = name),
    ),
    value(
        "log_file",
        "FILE",
        "none",
        "append the log to this file instead of syslog",
        Group::Mount,
        |s, text| file(text).map(|path| s.command.log_file = Some(path)),
    ),
    switch(
        "remount",
        "change ro, rw and the options below of a mount",
        Group::Kernel,
        |s| s.command.remount = true,
    ),
    kernel("nosuid", "set-user-ID bits have no effect (always so)"),
    kernel("nodev", "device files have no effect (always so)"),
    kernel("noexec", "programs can't be executed"),
    kernel("exec", "programs can be executed (default)"),
    kernel("noatime", "do not update access times"),
    kernel("atime", "update access times (default)"),
    kernel("relatime", "update access times now and then"),
    kernel("strictatime", "always update access times"),
    kernel("nodiratime", "do not update access times of directories"),
    kernel("lazytime", "write times to the file system late"),
    kernel("nosymfollow", "do not follow symbolic links"),
    kernel("sync", "write synchronously (slow)"),
    kernel("async", "buffer writes until close or fsync (default)"),
    kernel("dirsync", "change directories synchronously"),
    value(
        "context",
        "LABEL",
        "none",
        "SELinux label of every file",
        Group::Kernel,
        |s, text| selinux_label(text).map(|label| s.mount.labels.push(("context", label))),
    ),
    value(
        "fscontext",
        "LABEL",
        "none",
        "SELinux label of the file system",
        Group::Kernel,
        |s, text| selinux_label(text).map(|label| s.mount.labels.push(("fscontext", label))),
    ),
    value(
        "defcontext",
        "LABEL",
        "none",
        "SELinux label of files without one",
        Group::Kernel,
        |s, text| selinux_label(text).map(|label| s.mount.labels.push(("defcontext", label))),
    ),
    value(
        "rootcontext",
        "LABEL",
        "none",
        "SELinux label of the root",
        Group::Kernel,
        |s, text| selinux_label(text).map(|label| s.mount.labels.push(("rootcontext", label))),
    ),
    // Ignored, since a set-user-ID bit of the server must have no effect: mount.fuse3(8) and mount(8)
    // add these two by themselves, so that the user may not have asked for them.
    ignored("suid"),
    ignored("dev"),
    ignored("defaults"),
    ignored("auto"),
    ignored("noauto"),
    ignored("user"),
    ignored("users"),
    ignored("nouser"),
    ignored("nousers"),
    ignored("owner"),
    ignored("noowner"),
    ignored("group"),
    ignored("nogroup"),
    // The kernel updates access times by `relatime` unless told otherwise, and the rest has no meaning for FUSE.
    ignored("norelatime"),
    ignored("nostrictatime"),
    ignored("diratime"),
    ignored("nolazytime"),
    ignored("symfollow"),
    ignored("iversion"),
    ignored("noiversion"),
    ignored("mand"),
    ignored("nomand"),
    ignored("silent"),
    ignored("loud"),
    // mount(8) repeats these from the mount table.
    ignored("uhelper=*"),
    ignored("helper=*"),
    ignored("user_id=*"),
    ignored("group_id=*"),
    ignored("_netdev"),
    ignored("nofail"),
    ignored("nonempty"),
    ignored("x-*"),
    ignored("X-*"),
    ignored("comment=*"),
];

/// Whether a remount can change an option, or need not.
pub(crate) fn is_changeable(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    // These are flags of the file system, which stay as they are.
    if matches!(name, "sync" | "async" | "dirsync" | "lazytime") {
        return false;
    }
    matches!(name, "ro" | "rw" | "remount")
        || find(name).is_some_and(|spec| matches!(spec.kind, Kind::Kernel | Kind::Ignored))
}

/// Returns the option of this name.
pub(crate) fn find(name: &str) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| {
        let bare = spec.name.trim_end_matches("=*");
        match bare.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => bare == name,
        }
    })
}

const fn switch(
    name: &'static str,
    help: &'static str,
    group: Group,
    set: fn(&mut Settings),
) -> Spec {
    Spec {
        name,
        value: None,
        default: "",
        help,
        group,
        kind: Kind::Switch(set),
    }
}

const fn value(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
    group: Group,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Spec {
    Spec {
        name,
        value: Some(value),
        default,
        help,
        group,
        kind: Kind::Value(set),
    }
}

const fn kernel(name: &'static str, help: &'static str) -> Spec {
    Spec {
        name,
        value: None,
        default: "",
        help,
        group: Group::Kernel,
        kind: Kind::Kernel,
    }
}

const fn ignored(name: &'static str) -> Spec {
    Spec {
        name,
        value: None,
        default: "",
        help: "",
        group: Group::Ignored,
        kind: Kind::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_has_the_help_of_every_option() {
        let document = include_str!("../../docs/options.md").replace('`', "");
        for spec in TABLE.iter().filter(|spec| spec.value.is_some()) {
            let row = format!(
                "| {}={} | {} |",
                spec.name,
                spec.value.unwrap_or_default(),
                spec.help
            );
            assert!(document.contains(&row), "docs/options.md lacks: {row}");
        }
    }
}
