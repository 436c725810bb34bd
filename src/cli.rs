//! Parses the command line.
//!
//! [`TABLE`] lists each option once, with its name, value, default and help; the parser, `--help` and
//! the completions use it, and `tests/options.rs` checks the manual and the README against it.
//! [`parse`] returns [`Settings`], which are plain data: nothing here accesses the disk, the network
//! or the user database.
//!
//! ```text
//! source         parses the SOURCE argument
//! option_table   defines the options and flags
//! option_list    parses the lists of -o and applies their options
//! option_value   parses the values of options
//! settings       defines the result, in groups
//! credentials    determines user and password
//! credentials_file  reads other places of a password
//! netrc          parses ~/.netrc
//! endpoint       builds the endpoint for the FTP client
//! help           generates --help and --version
//! completions    generates shell completions
//! curlftpfs      translates command lines of curlftpfs
//! ```
//!
//! Invariants: of two options that contradict each other the last one applies, as in mount(8); an
//! error is one line that names the option, the value and what is allowed.

pub(crate) mod completions;
pub mod credentials;
pub(crate) mod credentials_file;
pub(crate) mod curlftpfs;
pub mod endpoint;
pub(crate) mod help;
pub(crate) mod netrc;
pub(crate) mod option_list;
pub(crate) mod option_table;
pub(crate) mod option_value;
pub(crate) mod settings;
pub mod source;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

pub use crate::cli::help::{help, version};
use crate::cli::option_list::{apply_all, split};
use crate::cli::option_table::HELPER_FLAGS;
pub use crate::cli::option_table::{
    DROP_CACHE_FLAGS, FLAGS, Flag, Group, PROBE_FLAGS, STATUS_FLAGS, Spec, TABLE,
};
pub use crate::cli::settings::{Encrypt, Family, Hidden, Id, Links, Mode, Probe, Settings, Status};
use crate::process::redact::redact;

/// The request of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Mount a server.
    Mount(Box<Settings>),
    /// Probe a server.
    Probe(Box<Probe>),
    /// Show the status of mounts.
    Status(Status),
    /// Drop the caches of the mount at this path, or of all of this user's mounts.
    DropCache(Option<PathBuf>),
    /// Print this text.
    Print(String),
}

/// Parses a command line, the program's name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut arguments = arguments.into_iter().peekable();
    let program = arguments.next().unwrap_or_default();
    // A subcommand is the first argument. It can't be a source, which contains a colon. curlftpfs has none, and bare hosts.
    let helper = is_helper(&program) || curlftpfs::is_meant(&program, &[]);
    if !helper && arguments.next_if(|first| first == PROBE).is_some() {
        return parse_probe(arguments);
    }
    if !helper && arguments.next_if(|first| first == COMPLETIONS).is_some() {
        return parse_completions(arguments);
    }
    if !helper && arguments.next_if(|first| first == STATUS).is_some() {
        return parse_query(arguments, STATUS_FLAGS, STATUS_HINT, |mountpoint, found| {
            let json = found.get_flag("json");
            Request::Status(Status { mountpoint, json })
        });
    }
    if !helper && arguments.next_if(|first| first == DROP_CACHE).is_some() {
        return parse_query(
            arguments,
            DROP_CACHE_FLAGS,
            DROP_CACHE_HINT,
            |mountpoint, _| Request::DropCache(mountpoint),
        );
    }
    parse_mount(&program, arguments.collect())
}

/// Parses the arguments of a mount.
fn parse_mount(program: &OsStr, arguments: Vec<OsString>) -> Result<Request, String> {
    let helper = is_helper(program);
    let is_curlftpfs = curlftpfs::is_meant(program, &arguments);
    let flags = match (helper, is_curlftpfs) {
        (true, _) => HELPER_FLAGS,
        (false, true) => curlftpfs::FLAGS,
        (false, false) => FLAGS,
    };
    let found = command(flags)
        .try_get_matches_from(arguments)
        .map_err(|error| one_line(&error, USAGE_HINT))?;
    if found.get_flag("help") {
        return Ok(Request::Print(help()));
    }
    if found.get_flag("version") {
        return Ok(Request::Print(version()));
    }
    let (source, mountpoint) = mount_words(&found)?;

    let mut settings = Settings::default();
    if helper {
        settings.command.helper = true;
        settings.command.fake = found.get_flag("fake");
        settings.command.verbose = found.get_flag("verbose");
        settings.command.namespace = found.get_one::<OsString>("namespace").map(PathBuf::from);
    } else {
        settings.command.debug = found.get_flag("debug");
        settings.command.foreground = found.get_flag("foreground") || settings.command.debug;
    }
    settings.command.repeatable = helper || is_curlftpfs;
    settings.source = Hidden(source);
    settings.mountpoint = mountpoint;
    let typed = option_words(&found)?;
    let options = if is_curlftpfs {
        apply_curlftpfs(&mut settings, typed.clone(), &found, helper)?
    } else {
        typed.clone()
    };
    let sloppy = helper && found.get_flag("sloppy");
    apply_all(&mut settings, &options, helper, sloppy)?;
    if settings.command.remount {
        let words = typed.into_iter().map(|word| Hidden(word.into()));
        settings.command.remount_words = words.collect();
    }
    check_together(&settings)?;
    Ok(Request::Mount(Box::new(settings)))
}

/// Applies what a command line of curlftpfs says in its own way; returns its options in the words of ftpfs.
fn apply_curlftpfs(
    settings: &mut Settings,
    options: Vec<String>,
    found: &ArgMatches,
    helper: bool,
) -> Result<Vec<String>, String> {
    let translated = curlftpfs::translate(&settings.source.0, options)?;
    let mut words = translated.words;
    settings.source = Hidden(translated.source);
    settings.command.warning = translated.warning;
    settings.command.debug |= translated.trace;
    settings.command.foreground |= translated.foreground;
    if !helper {
        settings.command.debug |= found.get_flag("verbose");
        if found.get_flag("read-only") {
            words.push("ro".to_string());
        }
    }
    Ok(words)
}

/// Returns the source and the mountpoint of a mount.
fn mount_words(found: &ArgMatches) -> Result<(OsString, PathBuf), String> {
    let mut words = found.get_many::<OsString>("words").into_iter().flatten();
    let (source, mountpoint) = (words.next(), words.next());
    if let Some(more) = words.next() {
        return Err(format!(
            "one argument too many: {}; {USAGE_HINT}",
            redact(more)
        ));
    }
    match (source, mountpoint) {
        (Some(_), Some(mountpoint)) if is_source(mountpoint) => Err(format!(
            "{} is a source, not a mountpoint; {USAGE_HINT}",
            redact(mountpoint)
        )),
        (Some(source), Some(mountpoint)) => Ok((source.clone(), PathBuf::from(mountpoint))),
        (Some(_), None) => Err(format!("the mountpoint is missing; {USAGE_HINT}")),
        _ => Err(format!("source and mountpoint are missing; {USAGE_HINT}")),
    }
}

/// Checks options that need or exclude each other.
fn check_together(settings: &Settings) -> Result<(), String> {
    if settings.write.atomic && settings.attributes.links == Links::Followed {
        return Err(
            "options atomic and follow_symlinks cannot be combined: the rename would replace the link, not its target"
                .to_string(),
        );
    }
    for (given, name) in [
        (settings.tls.key.is_some(), "key"),
        (settings.tls.pass.is_some(), "pass"),
    ] {
        if given && settings.tls.cert.is_none() {
            return Err(format!(
                "option {name}= needs cert=, the client certificate that the key belongs to"
            ));
        }
    }
    Ok(())
}

/// Parses the arguments of `ftpfs probe`.
fn parse_probe(arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let found = command(PROBE_FLAGS)
        .try_get_matches_from(arguments)
        .map_err(|error| one_line(&error, PROBE_HINT))?;
    if found.get_flag("help") {
        return Ok(Request::Print(help()));
    }
    if found.get_flag("version") {
        return Ok(Request::Print(version()));
    }
    let mut probe = Probe {
        settings: Settings::default(),
        words: Vec::new(),
        write: found.get_flag("write"),
        json: found.get_flag("json"),
    };
    probe.settings.command.debug = found.get_flag("debug");
    let options = option_words(&found)?;
    apply_all(&mut probe.settings, &options, false, false)?;
    check_together(&probe.settings)?;
    probe.words = options
        .into_iter()
        .map(|word| Hidden(word.into()))
        .collect();
    let mut words = found.get_many::<OsString>("words").into_iter().flatten();
    match (words.next(), words.next()) {
        (Some(source), None) => {
            probe.settings.source = Hidden(source.clone());
            Ok(Request::Probe(Box::new(probe)))
        }
        (Some(_), Some(more)) => Err(format!(
            "one argument too many: {}; {PROBE_HINT}",
            redact(more)
        )),
        (None, _) => Err(format!("the source is missing; {PROBE_HINT}")),
    }
}

/// Parses the arguments of `ftpfs status` and `ftpfs drop-cache`.
fn parse_query(
    arguments: impl Iterator<Item = OsString>,
    flags: &'static [Flag],
    hint: &str,
    request: impl FnOnce(Option<PathBuf>, &ArgMatches) -> Request,
) -> Result<Request, String> {
    let found = command(flags)
        .try_get_matches_from(arguments)
        .map_err(|error| one_line(&error, hint))?;
    if found.get_flag("help") {
        return Ok(Request::Print(help()));
    }
    if found.get_flag("version") {
        return Ok(Request::Print(version()));
    }
    let mut words = found.get_many::<OsString>("words").into_iter().flatten();
    match (words.next(), words.next()) {
        (Some(source), None) if is_source(source) => Err(format!(
            "{} is a source, not a mountpoint; {hint}",
            redact(source)
        )),
        (mountpoint, None) => Ok(request(mountpoint.map(PathBuf::from), &found)),
        (_, Some(more)) => Err(format!("one argument too many: {}; {hint}", redact(more))),
    }
}

/// Parses the arguments of `ftpfs completions`.
fn parse_completions(mut arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let shell = arguments.next().unwrap_or_default();
    let script = shell.to_str().and_then(completions::completions);
    match (script, arguments.next()) {
        (Some(script), None) => Ok(Request::Print(script)),
        _ => Err("usage: ftpfs completions bash, zsh or fish; see ftpfs --help".to_string()),
    }
}

/// Returns the options of all `-o` lists.
fn option_words(found: &ArgMatches) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for list in found.get_many::<OsString>("options").into_iter().flatten() {
        let list = list
            .to_str()
            .ok_or_else(|| format!("-o {}: is not UTF-8", redact(list)))?;
        words.extend(split(list)?);
    }
    Ok(words)
}

/// The subcommand that probes a server.
const PROBE: &str = "probe";
/// The subcommand that shows the status of mounts.
const STATUS: &str = "status";
/// The subcommand that drops caches.
const DROP_CACHE: &str = "drop-cache";
/// The subcommand that prints shell completions.
const COMPLETIONS: &str = "completions";
const PROBE_HINT: &str =
    "usage: ftpfs probe SOURCE [-o OPT[,OPT...]] [--write] [--json] [-d]; see ftpfs --help";
const STATUS_HINT: &str = "usage: ftpfs status [MOUNTPOINT] [--json]; see ftpfs --help";
const DROP_CACHE_HINT: &str = "usage: ftpfs drop-cache [MOUNTPOINT]; see ftpfs --help";
const USAGE_HINT: &str =
    "usage: ftpfs SOURCE MOUNTPOINT [-o OPT[,OPT...]] [-f] [-d]; see ftpfs --help";

/// Whether an argument is a URL, which may contain a password. Errors about a mountpoint quote it.
fn is_source(argument: &OsStr) -> bool {
    argument
        .as_encoded_bytes()
        .windows(3)
        .any(|part| part == b"://")
}

/// Whether mount(8) has called the program as its helper, for which `-f` means "fake".
fn is_helper(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    matches!(
        name,
        Some("mount.ftpfs" | "mount.fuse.ftpfs" | "mount.curlftpfs" | "mount.fuse.curlftpfs")
    )
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
        // A flag may be repeated, as fstab lines and scripts do.
        .args_override_self(true)
        .arg(words)
        .args(flags)
}

/// Turns an error of clap, which has several lines, into one line.
fn one_line(error: &clap::Error, hint: &str) -> String {
    let argument = match error.get(ContextKind::InvalidArg) {
        // "--options <OPT[,OPT...]>": the value is missing.
        // An unknown argument can contain a value: `--password=...`.
        Some(ContextValue::String(argument)) => {
            argument.split([' ', '=']).next().unwrap_or_default()
        }
        _ => "an argument",
    };
    match error.kind() {
        ErrorKind::UnknownArgument => format!("unknown argument {}; {hint}", redact(argument)),
        // The text of clap would show the value.
        ErrorKind::TooManyValues => format!("{argument}: takes no value; {hint}"),
        ErrorKind::InvalidValue | ErrorKind::NoEquals => {
            format!("{argument}: needs a value; {hint}")
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            format!("{}; {hint}", redact(line.trim_start_matches("error: ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_request_hides_the_password() {
        let arguments = ["ftpfs", "ftp://u:secret@h/", "/m"].map(OsString::from);
        let request = parse(arguments).expect("a good line");
        assert!(!format!("{request:?}").contains("secret"));
    }

    #[test]
    fn errors_do_not_show_a_password() {
        for line in [
            "ftp://u:p@h/ /m ftp://u:secret@h/",
            "ftp://u:p@h/ /m -o user=U:secret",
            "ftp://u:p@h/ /m -o pass=a,secret",
            "ftp://u:p@h/ /m -o pass=\"secret",
            "ftp://u:p@h/ /m -o ftp://u:secret@h/",
            "ftp://u:p@h/ /m -o timeout=ftp://u:secret@h/",
            "ftp://u:p@h/ /m -o ro=u:secret@h",
            "ftp://u:p@h/ /m --password=secret",
            "ftp://u:p@h/ /m --foreground=secret",
            "/m ftp://u:secret@h/",
            "probe ftp://u:p@h/ ftp://u:secret@h/",
            "probe ftp://u:p@h/ --json=secret",
            "status ftp://u:secret@h/",
            "drop-cache /m ftp://u:secret@h/",
        ] {
            let arguments = ["ftpfs"].into_iter().chain(line.split(' '));
            let error = parse(arguments.map(OsString::from)).expect_err(line);
            assert!(!error.contains("secret"), "{line}: {error}");
        }
    }
}
