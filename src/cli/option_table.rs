//! The table of options: everything that can be said after `-o`, and the flags beside it.
//!
//! A new option is a line here, a field in `settings.rs`, an entry in `man/ftpfs.1` and a row in
//! the README; `tests/options.rs` fails until all are there.

use std::time::Duration;

use crate::cli::option_value::{
    YEAR, address, address_or_interface, bytes, cache_size, choice, file, fingerprint, id, label,
    number, octal, ports, spool_size, word,
};
use crate::cli::settings::{Encrypt, Family, Hidden, Links, Mode, Settings};

/// One option of `-o`.
pub struct Spec {
    /// The name; one that ends in `*` stands for all that begin like it.
    pub name: &'static str,
    /// What stands for the value in the help; `None` where there is none.
    pub value: Option<&'static str>,
    /// The default, in words; empty where none is worth a word.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Under which heading it stands.
    pub group: Group,
    /// What it does.
    pub(crate) kind: Kind,
}

/// The headings of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Who may do what.
    Rights,
    /// What becomes of symbolic links.
    Links,
    /// How the server is used.
    Server,
    /// Where files and listings come through.
    Data,
    /// What is encrypted, and who is trusted.
    Encryption,
    /// How the mount shows itself.
    Mount,
    /// What the kernel does by itself.
    Kernel,
    /// What only fstab(5) and mount(8) care for.
    Ignored,
}

impl Group {
    pub(crate) const ALL: [Self; 8] = [
        Self::Rights,
        Self::Links,
        Self::Server,
        Self::Data,
        Self::Encryption,
        Self::Mount,
        Self::Kernel,
        Self::Ignored,
    ];

    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Rights => "Rights (-o)",
            Self::Links => "Symbolic links (-o)",
            Self::Server => "Server (-o)",
            Self::Data => "Data connections and addresses (-o)",
            Self::Encryption => "Encryption (-o)",
            Self::Mount => "Mount table (-o)",
            Self::Kernel => "Left to the kernel (-o)",
            Self::Ignored => "Accepted and ignored, since /etc/fstab and mount(8) bring them (-o)",
        }
    }
}

/// What an option does.
pub(crate) enum Kind {
    Switch(fn(&mut Settings)),
    /// The error says what is allowed.
    Value(fn(&mut Settings, &str) -> Result<(), String>),
    Kernel,
    Ignored,
}

/// Every option of `-o`.
pub const TABLE: &[Spec] = &[
    switch("ro", "nothing can be changed", Group::Rights, |s| {
        s.mount.read_only = true;
    }),
    switch("rw", "files can be changed (default)", Group::Rights, |s| {
        s.mount.read_only = false;
    }),
    switch(
        "allow_other",
        "other users may use the mount; brings default_permissions",
        Group::Rights,
        |s| {
            s.mount.allow_other = true;
            s.mount.default_permissions = true;
        },
    ),
    switch(
        "default_permissions",
        "the kernel checks permission bits",
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
        "permission bits that are taken away from all files",
        Group::Rights,
        |s, text| octal(text).map(|umask| s.attributes.umask = Some(umask)),
    ),
    switch(
        "allow_root",
        "root may use the mount too; brings default_permissions",
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
        "owners that files show: user (you) or server (the server's)",
        Group::Rights,
        |s, text| {
            choice(text, &[("user", false), ("server", true)])
                .map(|server| s.attributes.server_owners = server)
        },
    ),
    switch(
        "lenient",
        "what the server can't do (chmod, chown, some times) is logged once and passed over",
        Group::Rights,
        |s| s.attributes.lenient = true,
    ),
    value(
        "contain_symlinks",
        "ANSWER",
        "yes",
        "yes: links that leave the mount are refused; no: shown as they are",
        Group::Links,
        |s, text| {
            let links = [("yes", Links::Contained), ("no", Links::AsTheyAre)];
            choice(text, &links).map(|links| s.attributes.links = links)
        },
    ),
    switch(
        "transform_symlinks",
        "absolute targets of links are taken from the mounted directory",
        Group::Links,
        |s| s.attributes.links = Links::FromRoot,
    ),
    switch(
        "follow_symlinks",
        "links are shown as what they lead to on the server",
        Group::Links,
        |s| s.attributes.links = Links::Followed,
    ),
    value(
        "max_conns",
        "N",
        "8",
        "connections to the server at most, 1 to 64",
        Group::Server,
        |s, text| number(text, 1, 64, "").map(|n| s.server.max_conns = n as usize),
    ),
    switch(
        "nopipeline",
        "commands are sent one by one, each when the one before is answered",
        Group::Server,
        |s| s.server.no_pipeline = true,
    ),
    value(
        "cache_timeout",
        "SECONDS",
        "30",
        "how long attributes and listings live; 0 asks every time",
        Group::Server,
        |s, text| {
            number(text, 0, YEAR, " (seconds)")
                .map(|n| s.cache.cache_timeout = Duration::from_secs(n))
        },
    ),
    value(
        "timeout",
        "SECONDS",
        "30",
        "an operation fails after so long without progress, 1 to 3600",
        Group::Server,
        |s, text| {
            number(text, 1, 3600, " (seconds)").map(|n| s.server.timeout = Duration::from_secs(n))
        },
    ),
    value(
        "codepage",
        "CHARSET",
        "utf8",
        "charset of the names on the server",
        Group::Server,
        |s, text| label(text).map(|name| s.server.codepage = Some(name)),
    ),
    value(
        "timezone",
        "ZONE",
        "learned",
        "zone of the times in listings, such as Europe/Berlin or +02:00",
        Group::Server,
        |s, text| label(text).map(|name| s.server.timezone = Some(name)),
    ),
    value(
        "times",
        "HOW",
        "exact",
        "times of files: exact, or as in the list (to the minute, and sooner)",
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
        "size of the file system (K, M, G, T) where the server does not tell",
        Group::Server,
        |s, text| bytes(text).map(|size| s.attributes.size = Some(size)),
    ),
    switch(
        "atomic",
        "files are stored under another name and renamed when whole",
        Group::Server,
        |s| s.write.atomic = true,
    ),
    value(
        "verify",
        "HOW",
        "size",
        "what was stored is compared by its size, or by its hash",
        Group::Server,
        |s, text| {
            choice(text, &[("size", false), ("hash", true)]).map(|hash| s.write.verify_hash = hash)
        },
    ),
    switch(
        "writeback",
        "closes return when a local journal has the file; fsync and unmounting wait",
        Group::Server,
        |s| s.write.writeback = true,
    ),
    value(
        "spool_dir",
        "DIRECTORY",
        "~/.cache/ftpfs",
        "local directory of what is being written, and of lost+found",
        Group::Server,
        |s, text| file(text).map(|path| s.write.spool_dir = Some(path)),
    ),
    value(
        "spool_size",
        "BYTES",
        "1G",
        "a file written in order is so far ahead of the network at most; 32M or more",
        Group::Server,
        |s, text| spool_size(text).map(|bytes| s.write.spool_size = bytes),
    ),
    value(
        "cache_size",
        "BYTES",
        "256M",
        "memory for what was read and is read ahead; 16M or more",
        Group::Server,
        |s, text| cache_size(text).map(|bytes| s.cache.cache_size = bytes),
    ),
    value(
        "cache_dir",
        "DIRECTORY",
        "none",
        "local directory that keeps what was read from mount to mount",
        Group::Server,
        |s, text| file(text).map(|path| s.cache.cache_dir = Some(path)),
    ),
    value(
        "disk_cache_size",
        "BYTES",
        "4G",
        "how much cache_dir= may take; 16M or more",
        Group::Server,
        |s, text| cache_size(text).map(|bytes| s.cache.disk_cache_size = bytes),
    ),
    value(
        "mode",
        "MODE",
        "auto",
        "who connects for data: auto, passive (we), active (the server)",
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
        "passive: go where control goes, or where the server says",
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
        "active: the ports that we listen on",
        Group::Data,
        |s, text| ports(text).map(|range| s.network.port_range = Some(range)),
    ),
    value(
        "external_ip",
        "ADDRESS",
        "our own",
        "active: the address that the server is told, for use behind NAT",
        Group::Data,
        |s, text| address(text).map(|address| s.network.external_ip = Some(address)),
    ),
    value(
        "bind",
        "WHERE",
        "as the system routes",
        "the address or the interface that connections go out from",
        Group::Data,
        |s, text| address_or_interface(text).map(|bind| s.network.bind = Some(bind)),
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
    switch("ipv4", "only use IPv4", Group::Data, |s| {
        s.network.family = Some(Family::V4);
    }),
    switch("ipv6", "only use IPv6", Group::Data, |s| {
        s.network.family = Some(Family::V6);
    }),
    value(
        "tls",
        "WHEN",
        "try",
        "encrypt: try, explicit (demand it), control (not the data), off",
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
        "the least version of TLS, 1.2 or 1.3",
        Group::Encryption,
        |s, text| choice(text, &[("1.2", false), ("1.3", true)]).map(|least| s.tls.min_13 = least),
    ),
    value(
        "tls_max",
        "VERSION",
        "1.3",
        "the most version of TLS, 1.2 or 1.3",
        Group::Encryption,
        |s, text| choice(text, &[("1.2", true), ("1.3", false)]).map(|most| s.tls.max_12 = most),
    ),
    value(
        "cacert",
        "PATH",
        "the system's",
        "a file or directory of certificates to trust; demands TLS",
        Group::Encryption,
        |s, text| file(text).map(|path| s.tls.cacert = Some(path)),
    ),
    value(
        "cert",
        "FILE",
        "none",
        "our own certificate, for servers that ask for one",
        Group::Encryption,
        |s, text| file(text).map(|path| s.tls.cert = Some(path)),
    ),
    value(
        "key",
        "FILE",
        "the file of cert=",
        "the key to our own certificate",
        Group::Encryption,
        |s, text| file(text).map(|path| s.tls.key = Some(path)),
    ),
    value(
        "pass",
        "WORDS",
        "asked for",
        "the passphrase of the key; others can see it in ps(1)",
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
        "take just the certificate with this SHA-256; demands TLS",
        Group::Encryption,
        |s, text| fingerprint(text).map(|print| s.tls.fingerprint = Some(print)),
    ),
    switch(
        "no_verify_peer",
        "take any certificate: anybody can stand between",
        Group::Encryption,
        |s| s.tls.no_verify_peer = true,
    ),
    switch(
        "no_verify_hostname",
        "take a certificate that is for another name",
        Group::Encryption,
        |s| s.tls.no_verify_hostname = true,
    ),
    value(
        "fsname",
        "NAME",
        "the source, without its password",
        "the source that the mount table shows",
        Group::Mount,
        |s, text| label(text).map(|name| s.mount.fsname = Some(name)),
    ),
    value(
        "subtype",
        "NAME",
        "ftpfs",
        "the type that the mount table shows is fuse.NAME",
        Group::Mount,
        |s, text| word(text).map(|name| s.mount.subtype = name),
    ),
    kernel("nosuid", "set-user-ID bits have no effect (always so)"),
    kernel("nodev", "device files have no effect (always so)"),
    kernel("noexec", "programs can't be started"),
    kernel("exec", "programs can be started (default)"),
    kernel("noatime", "reading does not change access times"),
    kernel("atime", "reading may change access times (default)"),
    kernel("relatime", "access times change now and then"),
    kernel("sync", "every write is sent at once: slow"),
    kernel(
        "async",
        "writes are gathered until close or fsync (default)",
    ),
    kernel("dirsync", "changes of directories are made at once"),
    // A server's word must not make a program run as root: these two are said by mount.fuse3(8)
    // and mount(8) unasked, so that they can't be taken for somebody's wish.
    ignored("suid"),
    ignored("dev"),
    ignored("defaults"),
    ignored("auto"),
    ignored("noauto"),
    ignored("user"),
    ignored("users"),
    ignored("nouser"),
    ignored("owner"),
    ignored("group"),
    ignored("_netdev"),
    ignored("nofail"),
    ignored("nonempty"),
    ignored("x-*"),
    ignored("X-*"),
    ignored("comment=*"),
];

/// A flag of the command line.
pub struct Flag {
    /// The letter.
    pub short: char,
    /// The long form.
    pub long: &'static str,
    /// What stands for the value in the help; `None` where there is none.
    pub value: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
}

/// Every flag of `ftpfs`.
pub const FLAGS: &[Flag] = &[
    flag(
        'o',
        "options",
        Some("OPT[,OPT...]"),
        "options, see below; may be repeated; \\, and \"...\" quote a comma",
    ),
    flag('f', "foreground", None, "stay in the foreground"),
    flag(
        'd',
        "debug",
        None,
        "log every command and reply, without passwords; implies -f",
    ),
    flag('h', "help", None, "print this help"),
    flag('V', "version", None, "print the version"),
];

/// Every flag of `ftpfs probe`.
pub const PROBE_FLAGS: &[Flag] = &[
    flag(
        'o',
        "options",
        Some("OPT[,OPT...]"),
        "the options of the mount that is meant",
    ),
    flag(
        'w',
        "write",
        None,
        "try writing too, in a directory of its own that it removes",
    ),
    flag('j', "json", None, "answer in JSON, for programs"),
    flag('d', "debug", None, "log every command and reply"),
    flag('h', "help", None, "print this help"),
    flag('V', "version", None, "print the version"),
];

/// Every flag of `ftpfs status`.
pub const STATUS_FLAGS: &[Flag] = &[
    flag('j', "json", None, "answer in JSON, for programs"),
    flag('h', "help", None, "print this help"),
    flag('V', "version", None, "print the version"),
];

/// Every flag of `ftpfs drop-cache`.
pub const DROP_CACHE_FLAGS: &[Flag] = &[
    flag('h', "help", None, "print this help"),
    flag('V', "version", None, "print the version"),
];

/// The flags that mount(8) gives its helpers, `SOURCE DIR [-sfnv] [-N ns] [-o opts] [-t type]`.
pub(crate) const HELPER_FLAGS: &[Flag] = &[
    flag('o', "options", Some("OPT[,OPT...]"), "options"),
    flag('s', "sloppy", None, "ignore unknown options"),
    flag('f', "fake", None, "check everything and mount nothing"),
    flag('n', "no-mtab", None, "nothing: the kernel keeps the table"),
    flag('v', "verbose", None, "log what is done"),
    flag('N', "namespace", Some("NS"), "mount in this namespace"),
    flag('t', "types", Some("TYPE"), "nothing: there is one type"),
    flag('h', "help", None, "print this help"),
    flag('V', "version", None, "print the version"),
];

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

const fn flag(
    short: char,
    long: &'static str,
    value: Option<&'static str>,
    help: &'static str,
) -> Flag {
    Flag {
        short,
        long,
        value,
        help,
    }
}
