//! Defines the flags of each subcommand, and of the helpers of mount(8) and umount(8).
//!
//! A new flag is a line here, and one in `man/ftpfs.1` and `docs/options.md`; `tests/options.rs` fails until all are there.

/// A flag of the command line.
pub struct Flag {
    /// The letter.
    pub short: char,
    /// The long form.
    pub long: &'static str,
    /// Placeholder of the value in the help; `None` for an option without a value.
    pub value: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
}

/// Help of a flag that only other programs pass; it is not shown.
pub(crate) const UNLISTED: &str = "for mount(8) and umount(8) only";
const HELP: Flag = flag(
    'h',
    "help",
    None,
    "print help: -h one screen, --help everything",
);
const VERSION: Flag = flag('V', "version", None, "print the version");
const JSON: Flag = flag('j', "json", None, "print JSON");

/// Every flag of `ftpfs`.
pub const FLAGS: &[Flag] = &[
    flag(
        'o',
        "options",
        Some("OPT[,OPT...]"),
        "options of the mount; may be repeated; \\, and \"...\" quote a comma",
    ),
    flag('f', "foreground", None, "stay in the foreground"),
    flag(
        'd',
        "debug",
        None,
        "log every command and reply, without passwords; implies -f",
    ),
    flag('v', "verbose", None, "log each step too"),
    flag('q', "quiet", None, "log errors only, no warnings"),
    HELP,
    VERSION,
];

/// Every flag of `ftpfs probe`.
pub const PROBE_FLAGS: &[Flag] = &[
    flag(
        'o',
        "options",
        Some("OPT[,OPT...]"),
        "options of the mount to probe for",
    ),
    flag(
        'w',
        "write",
        None,
        "probe writing too, in a scratch directory that is removed",
    ),
    JSON,
    flag('d', "debug", None, "log every command and reply"),
    HELP,
    VERSION,
];

/// Every flag of `ftpfs status`.
pub const STATUS_FLAGS: &[Flag] = &[
    flag('v', "verbose", None, "show all mounts in detail"),
    flag('w', "watch", None, "show it again each second"),
    JSON,
    flag('p', "prometheus", None, "print metrics for Prometheus"),
    HELP,
    VERSION,
];

/// Every flag of `ftpfs umount`.
pub const UMOUNT_FLAGS: &[Flag] = &[
    flag('f', "force", None, "do not wait for uploads"),
    flag('l', "lazy", None, "detach a mount that is in use"),
    HELP,
    VERSION,
];

/// The flags that umount(8) gives its helpers, `DIR [-flnrv] [-N ns] [-t type]`; it calls them in its own namespace.
pub const UMOUNT_HELPER_FLAGS: &[Flag] = &[
    flag('f', "force", None, "do not wait for uploads"),
    flag('l', "lazy", None, "detach a mount that is in use"),
    flag('n', "no-mtab", None, UNLISTED),
    flag('r', "read-only", None, UNLISTED),
    flag('v', "verbose", None, UNLISTED),
    flag('s', "sloppy", None, UNLISTED),
    flag('i', "internal-only", None, UNLISTED),
    flag('N', "namespace", Some("NS"), UNLISTED),
    flag('t', "types", Some("TYPE"), UNLISTED),
    HELP,
    VERSION,
];

/// Every flag of `ftpfs completions`.
pub const COMPLETIONS_FLAGS: &[Flag] = &[HELP, VERSION];

/// Every flag of `ftpfs drop-cache`.
pub const DROP_CACHE_FLAGS: &[Flag] = &[
    flag('s', "server", None, "forget what was learned of the server"),
    HELP,
    VERSION,
];

/// The flags that mount(8) gives its helpers, `SOURCE DIR [-sfnv] [-N ns] [-o opts] [-t type]`.
pub const HELPER_FLAGS: &[Flag] = &[
    flag('o', "options", Some("OPT[,OPT...]"), "options"),
    flag('s', "sloppy", None, "ignore unknown options"),
    flag('f', "fake", None, "check everything, mount nothing"),
    flag('n', "no-mtab", None, UNLISTED),
    flag('v', "verbose", None, "log at level info"),
    flag('N', "namespace", Some("NS"), "mount in this namespace"),
    flag('t', "types", Some("TYPE"), UNLISTED),
    HELP,
    VERSION,
];

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
