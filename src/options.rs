//! The command line: one table of options that feeds the parser, `--help` and the tests.
//!
//! The one idea: what can be said after `-o` stands in [`TABLE`], once, with its name, its value,
//! its default and its line of help; `tests/options.rs` holds the manual and the README to it.
//! [`parse`] turns words into [`Settings`], which are plain data: nothing here touches the disk,
//! the network or the user database.
//!
//! Invariants: of two options that contradict each other the last one counts, as mount(8) has it;
//! an error is one line that names the option, the value and what is allowed.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, value_parser};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Mount something.
    Mount(Box<Settings>),
    /// Print this text.
    Print(String),
}

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
    /// Control connections at most.
    pub max_conns: usize,
    /// How long attributes and listings live.
    pub cache_timeout: Duration,
    /// How long an operation waits without progress.
    pub timeout: Duration,
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
            max_conns: 8,
            cache_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            fsname: None,
            subtype: "ftpfs".to_string(),
            kernel: Vec::new(),
        }
    }
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
    kind: Kind,
}

/// The headings of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Who may do what.
    Rights,
    /// How the server is used.
    Server,
    /// How the mount shows itself.
    Mount,
    /// What the kernel does by itself.
    Kernel,
    /// What only fstab(5) and mount(8) care for.
    Ignored,
}

impl Group {
    const ALL: [Self; 5] = [
        Self::Rights,
        Self::Server,
        Self::Mount,
        Self::Kernel,
        Self::Ignored,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Rights => "Rights (-o)",
            Self::Server => "Server (-o)",
            Self::Mount => "Mount table (-o)",
            Self::Kernel => "Left to the kernel (-o)",
            Self::Ignored => "Accepted and ignored, since /etc/fstab and mount(8) bring them (-o)",
        }
    }
}

/// What an option does.
enum Kind {
    Switch(fn(&mut Settings)),
    /// The error says what is allowed.
    Value(fn(&mut Settings, &str) -> Result<(), String>),
    Kernel,
    Ignored,
}

/// Every option of `-o`.
pub const TABLE: &[Spec] = &[
    switch("ro", "nothing can be changed", Group::Rights, |s| {
        s.read_only = true;
    }),
    switch("rw", "files can be changed (default)", Group::Rights, |s| {
        s.read_only = false;
    }),
    switch(
        "allow_other",
        "other users may use the mount; brings default_permissions",
        Group::Rights,
        |s| {
            s.allow_other = true;
            s.default_permissions = true;
        },
    ),
    switch(
        "default_permissions",
        "the kernel checks permission bits",
        Group::Rights,
        |s| s.default_permissions = true,
    ),
    value(
        "uid",
        "USER",
        "you",
        "owner of all files, by number or name",
        Group::Rights,
        |s, text| id(text, "user").map(|id| s.uid = Some(id)),
    ),
    value(
        "gid",
        "GROUP",
        "your group",
        "group of all files, by number or name",
        Group::Rights,
        |s, text| id(text, "group").map(|id| s.gid = Some(id)),
    ),
    value(
        "umask",
        "OCTAL",
        "none",
        "permission bits that are taken away from all files",
        Group::Rights,
        |s, text| octal(text).map(|umask| s.umask = Some(umask)),
    ),
    value(
        "max_conns",
        "N",
        "8",
        "connections to the server at most, 1 to 64",
        Group::Server,
        |s, text| number(text, 1, 64, "").map(|n| s.max_conns = n as usize),
    ),
    value(
        "cache_timeout",
        "SECONDS",
        "30",
        "how long attributes and listings live; 0 asks every time",
        Group::Server,
        |s, text| {
            number(text, 0, YEAR, " (seconds)").map(|n| s.cache_timeout = Duration::from_secs(n))
        },
    ),
    value(
        "timeout",
        "SECONDS",
        "30",
        "an operation fails after so long without progress, 1 to 3600",
        Group::Server,
        |s, text| number(text, 1, 3600, " (seconds)").map(|n| s.timeout = Duration::from_secs(n)),
    ),
    value(
        "fsname",
        "NAME",
        "the source, without its password",
        "the source that the mount table shows",
        Group::Mount,
        |s, text| label(text).map(|name| s.fsname = Some(name)),
    ),
    value(
        "subtype",
        "NAME",
        "ftpfs",
        "the type that the mount table shows is fuse.NAME",
        Group::Mount,
        |s, text| word(text).map(|name| s.subtype = name),
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

/// The flags that mount(8) gives its helpers, `SOURCE DIR [-sfnv] [-N ns] [-o opts] [-t type]`.
const HELPER_FLAGS: &[Flag] = &[
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

/// The seconds of a year: the longest time that makes sense for a cache.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// Reads a command line, the program's own name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let helper = is_helper(&program);
    let flags = if helper { HELPER_FLAGS } else { FLAGS };
    let found = command(flags)
        .try_get_matches_from(arguments)
        .map_err(|error| one_line(&error))?;
    if found.get_flag("help") {
        return Ok(Request::Print(help()));
    }
    if found.get_flag("version") {
        return Ok(Request::Print(version()));
    }

    let mut settings = Settings::default();
    if helper {
        settings.fake = found.get_flag("fake");
        settings.verbose = found.get_flag("verbose");
        settings.namespace = found.get_one::<OsString>("namespace").map(PathBuf::from);
    } else {
        settings.debug = found.get_flag("debug");
        settings.foreground = found.get_flag("foreground") || settings.debug;
    }
    let sloppy = helper && found.get_flag("sloppy");
    for list in found.get_many::<OsString>("options").into_iter().flatten() {
        let list = list
            .to_str()
            .ok_or_else(|| format!("-o {}: is not UTF-8", list.display()))?;
        for word in split(list)? {
            apply(&mut settings, &word, helper, sloppy)?;
        }
    }

    let mut words = found.get_many::<OsString>("words").into_iter().flatten();
    let (source, mountpoint) = (words.next(), words.next());
    if let Some(more) = words.next() {
        return Err(format!(
            "one argument too many: {}; {USAGE_HINT}",
            more.display()
        ));
    }
    match (source, mountpoint) {
        (Some(source), Some(mountpoint)) => {
            settings.source = Hidden(source.clone());
            settings.mountpoint = PathBuf::from(mountpoint);
            Ok(Request::Mount(Box::new(settings)))
        }
        (Some(_), None) => Err(format!("the mountpoint is missing; {USAGE_HINT}")),
        _ => Err(format!("source and mountpoint are missing; {USAGE_HINT}")),
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "ftpfs mounts a remote FTP server as a local directory.

Usage: ftpfs SOURCE MOUNTPOINT [-o OPT[,OPT...]] [-f] [-d]

Sources:
  ftp://[user[:password]@]host[:port][/path]  path below the login directory;
                                              one that begins with %2F is absolute
  [user@]host:path                            path below the login directory
  [user@]host:/path                           absolute path

Flags:
",
    );
    for flag in FLAGS {
        let value = flag.value.map(|value| format!(" {value}"));
        let left = format!(
            "-{}, --{}{}",
            flag.short,
            flag.long,
            value.unwrap_or_default()
        );
        row(&mut text, &left, flag.help);
    }
    for group in Group::ALL {
        text.push_str(&format!("\n{}:\n", group.heading()));
        let specs = TABLE.iter().filter(|spec| spec.group == group);
        if group == Group::Ignored {
            let names: Vec<&str> = specs.map(|spec| spec.name).collect();
            for line in names.chunks(9) {
                text.push_str(&format!("  {}\n", line.join(" ")));
            }
            continue;
        }
        for spec in specs {
            let left = match spec.value {
                Some(value) => format!("{}={value}", spec.name),
                None => spec.name.to_string(),
            };
            let right = match spec.default {
                "" => spec.help.to_string(),
                default => format!("{} (default: {default})", spec.help),
            };
            row(&mut text, &left, &right);
        }
    }
    text.push_str("\nThe end of a mount: fusermount3 -u MOUNTPOINT. More: man ftpfs.\n");
    text
}

/// The text of `--version`.
pub fn version() -> String {
    format!("ftpfs {}\n", env!("CARGO_PKG_VERSION"))
}

const USAGE_HINT: &str =
    "usage: ftpfs SOURCE MOUNTPOINT [-o OPT[,OPT...]] [-f] [-d]; see ftpfs --help";

/// How wide the left column of the help is.
const LEFT: usize = 27;

fn row(text: &mut String, left: &str, right: &str) {
    text.push_str(&format!("  {left:LEFT$} {right}\n"));
}

/// Whether mount(8) called us as its helper: `-f` then means something else.
fn is_helper(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    matches!(name, Some("mount.ftpfs" | "mount.fuse.ftpfs"))
}

fn command(flags: &'static [Flag]) -> Command {
    let words = Arg::new("words")
        .action(ArgAction::Append)
        .num_args(0..)
        .value_parser(value_parser!(OsString));
    let flags = flags.iter().map(|flag| {
        let arg = Arg::new(flag.long).short(flag.short).long(flag.long);
        match flag.value {
            Some(_) => arg
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString)),
            None => arg.action(ArgAction::SetTrue),
        }
    });
    Command::new("ftpfs")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        // A flag may be given twice, as fstab lines and scripts do.
        .args_override_self(true)
        .arg(words)
        .args(flags)
}

/// clap explains itself over several lines; we have one.
fn one_line(error: &clap::Error) -> String {
    let argument = match error.get(ContextKind::InvalidArg) {
        // "--options <OPT[,OPT...]>": the value is what is missing.
        Some(ContextValue::String(argument)) => argument.split(' ').next().unwrap_or_default(),
        _ => "an argument",
    };
    match error.kind() {
        ErrorKind::UnknownArgument => format!("unknown argument {argument}; {USAGE_HINT}"),
        ErrorKind::InvalidValue | ErrorKind::NoEquals => {
            format!("{argument}: needs a value; {USAGE_HINT}")
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            format!("{}; {USAGE_HINT}", line.trim_start_matches("error: "))
        }
    }
}

/// Takes a list of options apart at its commas. `\,` `\\` `\"` stand for the second character, and
/// commas between quotes do not part (libmount writes `name="a,b"`).
fn split(list: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped =
            characters.next_if(|next| character == '\\' && matches!(next, ',' | '\\' | '"'));
        match (escaped, character) {
            (None, '"') => quoted = !quoted,
            (None, ',') if !quoted => words.push(String::new()),
            (escaped, plain) => {
                if let Some(word) = words.last_mut() {
                    word.push(escaped.unwrap_or(plain));
                }
            }
        }
    }
    if quoted {
        return Err(format!(
            "-o {list}: a quote is not closed; write \\\" for a quote that is meant"
        ));
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// Does what one word of `-o` says.
fn apply(settings: &mut Settings, text: &str, helper: bool, sloppy: bool) -> Result<(), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let Some(spec) = find(name) else {
        if sloppy {
            return Ok(());
        }
        return Err(match nearest(name) {
            Some(near) => format!("unknown option {name}: did you mean {near}?"),
            None => format!("unknown option {name}: ftpfs --help lists them all"),
        });
    };
    match (&spec.kind, value) {
        (Kind::Switch(set), None) => set(settings),
        (Kind::Value(set), Some(value)) => {
            set(settings, value).map_err(|allowed| format!("{text}: must be {allowed}"))?;
        }
        (Kind::Value(_), None) => {
            let value = spec.value.unwrap_or_default();
            return Err(format!(
                "{name}: needs a value: {name}={value}, {}",
                spec.help
            ));
        }
        (Kind::Kernel, None) => settings.kernel.push(spec.name),
        // mount(8) says `user=NAME` of who mounts. From a person it is meant as the login, and to
        // ignore that would mount as somebody else.
        (Kind::Ignored, Some(user)) if name == "user" && !helper => {
            return Err(format!(
                "{text}: takes no value; the login name belongs into the source: ftp://{user}@HOST/"
            ));
        }
        (Kind::Ignored, _) => {}
        (Kind::Switch(_) | Kind::Kernel, Some(_)) => {
            return Err(format!("{text}: {name} takes no value"));
        }
    }
    Ok(())
}

fn find(name: &str) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| {
        let bare = spec.name.trim_end_matches("=*");
        match bare.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => bare == name,
        }
    })
}

/// The option whose name is nearest to `name`, if one is near enough to have been meant.
fn nearest(name: &str) -> Option<&'static str> {
    TABLE
        .iter()
        .filter(|spec| !spec.name.ends_with('*'))
        .map(|spec| (distance(name, spec.name), spec.name))
        .filter(|&(distance, near)| distance <= 1 + near.len() / 4 && distance < near.len())
        .min()
        .map(|(_, near)| near)
}

/// How many characters have to be put in, left out or changed (Levenshtein). A hyphen counts as
/// the underscore that it was meant to be.
fn distance(one: &str, other: &str) -> usize {
    let one = one.to_lowercase().replace('-', "_");
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in other.chars().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn id(text: &str, what: &str) -> Result<Id, String> {
    let allowed = || format!("the number or the name of a {what}");
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == ':' || c == '\0') {
        return Err(allowed());
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') {
        let number = text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
        // The last number means "no change" to chown(2) and owns nothing.
        return number
            .filter(|&number| number != u32::MAX)
            .map(Id::Number)
            .ok_or_else(allowed);
    }
    Ok(Id::Name(text.to_string()))
}

fn octal(text: &str) -> Result<u32, String> {
    let digits = text.chars().all(|digit| digit.is_digit(8));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&umask| digits && umask <= 0o777)
        .ok_or_else(|| "an octal number from 0 to 777, such as 022".to_string())
}

fn number(text: &str, least: u64, most: u64, unit: &str) -> Result<u64, String> {
    let digits = text.chars().all(|digit| digit.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (least..=most).contains(number))
        .ok_or_else(|| format!("a whole number from {least} to {most}{unit}"))
}

fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("a name without control characters".to_string());
    }
    Ok(text.to_string())
}

/// What may stand behind `fuse.` in the mount table, where a blank or a comma would part it.
fn word(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if text.is_empty() || !text.chars().all(plain) {
        return Err("a word of letters, digits and . _ - +".to_string());
    }
    Ok(text.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_unless_they_are_quoted() {
        for (list, words) in [
            ("a,b=c", vec!["a", "b=c"]),
            (",a,,b,", vec!["a", "b"]),
            (r"a=b\,c,d", vec!["a=b,c", "d"]),
            (r#"a="b,c",d"#, vec!["a=b,c", "d"]),
            (r#"a="b\"c",d"#, vec!["a=b\"c", "d"]),
            (r"a=b\\,c", vec![r"a=b\", "c"]),
            (r"a=b\c", vec![r"a=b\c"]),
            ("", vec![]),
        ] {
            assert_eq!(split(list).expect(list), words, "{list}");
        }
        assert!(split(r#"a="b,c"#).expect_err("open").contains("not closed"));
    }

    #[test]
    fn the_nearest_name_is_one_that_was_meant() {
        assert_eq!(nearest("allow-other"), Some("allow_other"));
        assert_eq!(nearest("max_con"), Some("max_conns"));
        assert_eq!(nearest("cachetimeout"), Some("cache_timeout"));
        assert_eq!(nearest("entirely_else"), None);
        assert_eq!(nearest("zz"), None);
    }

    #[test]
    fn an_id_is_a_number_or_a_name() {
        assert_eq!(id("0", "user"), Ok(Id::Number(0)));
        assert_eq!(id("nobody", "user"), Ok(Id::Name("nobody".into())));
        for wrong in ["", "-1", "+1", "4294967295", "1a", "a b", "a:b"] {
            assert!(id(wrong, "user").is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_users_are_looked_up_late() {
        assert_eq!(Id::Name("root".into()).user(), Ok(0));
        assert_eq!(Id::Name("root".into()).group(), Ok(0));
        let error = Id::Name("no-such-user".into()).user().expect_err("none");
        assert_eq!(error, "uid=no-such-user: there is no such user here");
    }

    #[test]
    fn a_password_in_the_source_is_not_shown() {
        let arguments = ["ftpfs", "ftp://u:secret@h/", "/m"].map(OsString::from);
        let request = parse(arguments).expect("a good line");
        assert!(!format!("{request:?}").contains("secret"));
    }
}
