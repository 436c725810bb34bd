//! Parses the command line.
//!
//! [`TABLE`] lists each option once, with its name, value, default and help; the parser, `--help` and
//! the completions use it, and `tests/options.rs` checks the manual and `docs/options.md` against it.
//!
//! [`parse`] accesses no disk, no network and no user database: it returns [`Settings`], which are
//! plain data. What is called with them later does: `credentials`, `credentials_file` and `netrc`
//! read files and ask for a password, `endpoint` reads certificates, and [`Id`] looks up users.
//!
//! ```text
//! source         parses the SOURCE argument
//! option_table   defines the options of -o
//! flags          defines the flags of each subcommand
//! option_list    parses the lists of -o and applies their options
//! option_value   parses the values of options
//! settings       defines the result, in groups
//! credentials    determines user and password
//! credentials_file  reads other places of a password
//! netrc          parses ~/.netrc
//! endpoint       builds the endpoint for the FTP client
//! subcommand     defines the subcommands, and matches their arguments
//! help           generates the lists of options in the help
//! completions    determines what completes a command line
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
pub(crate) mod flags;
pub(crate) mod help;
pub(crate) mod netrc;
pub(crate) mod option_list;
pub(crate) mod option_table;
pub(crate) mod option_value;
pub(crate) mod settings;
pub mod source;
pub(crate) mod subcommand;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use crate::cli::completions::{Completion, Shell};
pub use crate::cli::flags::{FLAGS, Flag, HELPER_FLAGS, UMOUNT_HELPER_FLAGS};
pub use crate::cli::help::version;
pub use crate::cli::option_list::split;
use crate::cli::option_list::{apply_all, nearest_of, wrong_after_secret};
pub use crate::cli::option_table::{Group, Spec, TABLE};
pub use crate::cli::settings::{
    AttributePolicy, DropCache, Encrypt, Family, Hidden, Id, Links, Mode, Probe, Settings, Status,
    StatusView, Umount, Verify,
};
pub use crate::cli::subcommand::SUBCOMMANDS;
use crate::cli::subcommand::{
    COMPLETIONS, DROP_CACHE, MOUNT, PROBE, PROGRAM, STATUS, Subcommand, Taken, UMOUNT,
};
use crate::process::logging::Amount;
use crate::process::redact::{holds_secret, redact};

/// The request of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Mount a server.
    Mount(Box<Settings>),
    /// Probe a server.
    Probe(Box<Probe>),
    /// Show the status of mounts.
    Status(Status),
    /// Drop caches.
    DropCache(DropCache),
    /// Wait for uploads and unmount.
    Umount(Umount),
    /// Complete a command line.
    Complete(Completion),
    /// Print this text.
    Print(String),
    /// Print a help text.
    Help {
        /// Without escape sequences.
        plain: String,
        /// For a terminal with colours.
        styled: String,
    },
}

/// Parses a command line, the program's name first.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut arguments = arguments.into_iter().peekable();
    let program = arguments.next().unwrap_or_default();
    if is_umount_helper(&program) {
        return parse_umount(arguments);
    }
    // A subcommand is the first argument. It can't be a source, which contains a colon; curlftpfs and the helpers of
    // mount(8) have bare hosts.
    let has_words = !is_helper(&program) && !curlftpfs::is_meant(&program, &[]);
    let word = arguments.peek().filter(|_| has_words);
    let word = word
        .and_then(|word| word.to_str())
        .unwrap_or_default()
        .to_string();
    let known = Subcommand::named(&word);
    if known.is_some() || matches!(word.as_str(), "help" | "version") {
        arguments.next();
    }
    match known.map_or(word.as_str(), |known| known.name) {
        "help" => parse_help(arguments),
        "version" => Ok(Request::Print(version())),
        "umount" => parse_umount(arguments),
        "probe" => parse_probe(arguments),
        "completions" => parse_completions(arguments),
        "status" => parse_status(arguments),
        "drop-cache" => parse_drop_cache(arguments),
        "mount" => parse_mount(&MOUNT, &program, arguments.collect()),
        _ => parse_mount(&PROGRAM, &program, arguments.collect()),
    }
}

/// Parses the arguments of `ftpfs help`.
fn parse_help(mut arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let Some(word) = arguments.next() else {
        return Ok(PROGRAM.help(true));
    };
    let known = word.to_str().and_then(Subcommand::named);
    known
        .map(|known| known.help(true))
        .ok_or_else(|| no_command(&word.to_string_lossy()))
}

/// Parses the arguments of `ftpfs umount`, and of the helper of umount(8).
fn parse_umount(arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let found = match UMOUNT.take(UMOUNT_HELPER_FLAGS, arguments)? {
        Taken::Found(found) => found,
        Taken::Shown(request) => return Ok(request),
    };
    let mountpoint = mountpoint_of(&found, &UMOUNT)?;
    let mountpoint =
        mountpoint.ok_or_else(|| format!("the mountpoint is missing; {}", UMOUNT.hint()))?;
    Ok(Request::Umount(Umount {
        mountpoint,
        namespace: found.get_one::<OsString>("namespace").map(PathBuf::from),
        force: found.get_flag("force"),
        lazy: found.get_flag("lazy"),
    }))
}

/// Returns the mountpoint of a command that takes one at most.
fn mountpoint_of(found: &ArgMatches, subcommand: &Subcommand) -> Result<Option<PathBuf>, String> {
    let mut words = found.get_many::<OsString>("words").into_iter().flatten();
    match (words.next(), words.next()) {
        (Some(source), None) if is_source(source) => Err(format!(
            "{} is a source, not a mountpoint; {}",
            redact(source),
            subcommand.hint()
        )),
        (mountpoint, None) => Ok(mountpoint.map(PathBuf::from)),
        (_, Some(more)) => Err(one_too_many(more, subcommand)),
    }
}

fn one_too_many(argument: &OsStr, subcommand: &Subcommand) -> String {
    format!(
        "one argument too many: {}; {}",
        redact(argument),
        subcommand.hint()
    )
}

/// Parses the arguments of a mount.
fn parse_mount(
    form: &Subcommand,
    program: &OsStr,
    arguments: Vec<OsString>,
) -> Result<Request, String> {
    let helper = is_helper(program);
    let is_curlftpfs = curlftpfs::is_meant(program, &arguments);
    let flags = match (helper, is_curlftpfs) {
        (true, _) => HELPER_FLAGS,
        (false, true) => curlftpfs::FLAGS,
        (false, false) => FLAGS,
    };
    let found = match form.take(flags, arguments.into_iter())? {
        Taken::Found(found) => found,
        Taken::Shown(request) => return Ok(request),
    };
    let (source, mountpoint) = mount_words(&found, !helper && !is_curlftpfs)?;

    let mut settings = Settings::default();
    if helper {
        settings.command.helper = true;
        settings.command.fake = found.get_flag("fake");
        settings.command.logged = match found.get_flag("verbose") {
            true => Amount::Steps,
            false => Amount::Warnings,
        };
        settings.command.namespace = found.get_one::<OsString>("namespace").map(PathBuf::from);
    } else {
        let flags = ["debug", "verbose", "quiet"].map(|flag| has_flag(&found, flag));
        settings.command.logged = match flags {
            [true, _, _] => Amount::Everything,
            // What curlftpfs shows with -v is what -d shows.
            [_, true, _] if is_curlftpfs => Amount::Everything,
            [_, true, false] => Amount::Steps,
            [_, false, true] => Amount::Errors,
            _ => Amount::Warnings,
        };
        settings.command.foreground = found.get_flag("foreground") || found.get_flag("debug");
    }
    settings.command.repeatable = helper || is_curlftpfs;
    settings.source = Hidden(source);
    settings.mountpoint = mountpoint;
    let typed = option_words(&found, is_curlftpfs)?;
    let options = if is_curlftpfs {
        apply_curlftpfs(&mut settings, typed.clone(), &found, helper)?
    } else {
        typed.clone()
    };
    let sloppy = helper && found.get_flag("sloppy");
    apply_all(&mut settings, &options, helper, sloppy).map_err(|error| {
        match typed.iter().find(|word| is_curlftpfs && holds_secret(word)) {
            // `user=NAME:a,b`: the wrong option may be the rest of the password.
            Some(word) => wrong_after_secret(word.split('=').next().unwrap_or_default()),
            None => error,
        }
    })?;
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
    if translated.trace {
        settings.command.logged = Amount::Everything;
    }
    settings.command.foreground |= translated.foreground;
    if !helper && found.get_flag("read-only") {
        words.push("ro".to_string());
    }
    Ok(words)
}

/// Whether a flag is given; not all names of the program have it.
fn has_flag(found: &ArgMatches, flag: &str) -> bool {
    matches!(found.try_get_one::<bool>(flag), Ok(Some(true)))
}

/// Returns the source and the mountpoint of a mount. `has_commands`: the first word may be meant as a command.
fn mount_words(found: &ArgMatches, has_commands: bool) -> Result<(OsString, PathBuf), String> {
    let mut words = found.get_many::<OsString>("words").into_iter().flatten();
    let (source, mountpoint) = (words.next(), words.next());
    let more = words.next();
    // With a mountpoint alone or too much after it, a word that is no source is meant as a command; so is a misspelled one.
    if let Some(word) = source.and_then(|word| word.to_str())
        && has_commands
        && (mountpoint.is_none() || more.is_some() || is_nearly_command(word))
        && !word.is_empty()
        && !word.contains([':', '/', '.', '@', '#'])
    {
        return Err(no_command(word));
    }
    if let Some(more) = more {
        return Err(one_too_many(more, &MOUNT));
    }
    let hint = MOUNT.hint();
    match (
        source,
        mountpoint.filter(|mountpoint| !mountpoint.is_empty()),
    ) {
        (Some(_), Some(mountpoint)) if is_source(mountpoint) => Err(format!(
            "{} is a source, not a mountpoint; {hint}",
            redact(mountpoint)
        )),
        (Some(source), Some(mountpoint)) => Ok((source.clone(), PathBuf::from(mountpoint))),
        (Some(_), None) => Err(format!("the mountpoint is missing; {hint}")),
        _ => Err(format!("source and mountpoint are missing; {hint}")),
    }
}

/// Every word that is a command.
fn commands() -> impl Iterator<Item = &'static str> {
    let names = SUBCOMMANDS.iter().map(|one| one.name);
    names.chain(["unmount", "help", "version"])
}

/// Whether a word is a misspelled command.
fn is_nearly_command(word: &str) -> bool {
    nearest_of(word, commands()).is_some_and(|near| near != word)
}

/// The error of a word that is neither a command nor a source.
fn no_command(word: &str) -> String {
    let near = nearest_of(word, commands()).map(|near| format!("did you mean {near}? "));
    format!(
        "{} is no command and no source; {}ftpfs -h lists the commands and the forms of sources",
        redact(word),
        near.unwrap_or_default()
    )
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
    let found = match PROBE.take(PROBE.flags, arguments)? {
        Taken::Found(found) => found,
        Taken::Shown(request) => return Ok(request),
    };
    let mut probe = Probe {
        settings: Settings::default(),
        words: Vec::new(),
        write: found.get_flag("write"),
        json: found.get_flag("json"),
    };
    if found.get_flag("debug") {
        probe.settings.command.logged = Amount::Everything;
    }
    let options = option_words(&found, false)?;
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
        (Some(_), Some(more)) => Err(one_too_many(more, &PROBE)),
        (None, _) => Err(format!("the source is missing; {}", PROBE.hint())),
    }
}

/// Parses the arguments of `ftpfs status`.
fn parse_status(arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let found = match STATUS.take(STATUS.flags, arguments)? {
        Taken::Found(found) => found,
        Taken::Shown(request) => return Ok(request),
    };
    let mountpoint = mountpoint_of(&found, &STATUS)?;
    let (json, prometheus) = (found.get_flag("json"), found.get_flag("prometheus"));
    let watch = found.get_flag("watch");
    let flags = [
        (watch, "--watch"),
        (json, "--json"),
        (prometheus, "--prometheus"),
    ];
    let given: Vec<&str> = flags
        .into_iter()
        .filter_map(|(given, flag)| given.then_some(flag))
        .collect();
    if let [one, other, ..] = given[..] {
        return Err(format!(
            "{one} and {other} exclude each other; {}",
            STATUS.hint()
        ));
    }
    let view = match (json, prometheus) {
        (true, _) => StatusView::Json,
        (_, true) => StatusView::Prometheus,
        _ if mountpoint.is_some() || found.get_flag("verbose") => StatusView::Detail,
        _ => StatusView::Summary,
    };
    Ok(Request::Status(Status {
        mountpoint,
        view,
        watch,
    }))
}

/// Parses the arguments of `ftpfs drop-cache`.
fn parse_drop_cache(arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let found = match DROP_CACHE.take(DROP_CACHE.flags, arguments)? {
        Taken::Found(found) => found,
        Taken::Shown(request) => return Ok(request),
    };
    Ok(Request::DropCache(DropCache {
        mountpoint: mountpoint_of(&found, &DROP_CACHE)?,
        server: found.get_flag("server"),
    }))
}

/// Parses the arguments of `ftpfs completions`. Its scripts call it with the words of a command line after the shell.
fn parse_completions(arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let found = match COMPLETIONS.take(COMPLETIONS.flags, arguments)? {
        Taken::Found(found) => found,
        Taken::Shown(request) => return Ok(request),
    };
    let words = found.get_many::<OsString>("words").into_iter().flatten();
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    let name = words.next().ok_or_else(|| {
        format!(
            "the shell is missing: bash, zsh or fish; {}",
            COMPLETIONS.hint()
        )
    })?;
    let shell = Shell::named(&name).ok_or_else(|| {
        let name = redact(&name);
        format!("{name}: no completions for this shell; there are some for bash, zsh or fish")
    })?;
    let words: Vec<String> = words.collect();
    Ok(match words.is_empty() {
        true => Request::Print(shell.script().to_string()),
        false => Request::Complete(Completion { shell, words }),
    })
}

/// Returns the options of all `-o` lists.
fn option_words(found: &ArgMatches, is_curlftpfs: bool) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for list in found.get_many::<OsString>("options").into_iter().flatten() {
        let list = list
            .to_str()
            .ok_or_else(|| format!("-o {}: is not UTF-8", redact(list)))?;
        words.extend(match is_curlftpfs {
            true => split(&curlftpfs::separate_joined(list))?,
            false => split(list)?,
        });
    }
    Ok(words)
}

/// Whether an argument is a URL, which may contain a password. Errors about a mountpoint quote it.
fn is_source(argument: &OsStr) -> bool {
    argument
        .as_encoded_bytes()
        .windows(3)
        .any(|part| part == b"://")
}

/// Whether mount(8) or umount(8) has called the program as its helper; their exit statuses are kept then.
pub(crate) fn is_any_helper(program: &OsStr) -> bool {
    is_helper(program) || is_umount_helper(program)
}

/// Whether umount(8) has called the program as its helper.
fn is_umount_helper(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    let kind = name.and_then(|name| name.strip_prefix("umount."));
    matches!(
        kind,
        Some("ftpfs" | "fuse.ftpfs" | "curlftpfs" | "fuse.curlftpfs")
    )
}

/// Whether mount(8) has called the program as its helper, for which `-f` means "fake".
fn is_helper(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    matches!(
        name,
        Some("mount.ftpfs" | "mount.fuse.ftpfs" | "mount.curlftpfs" | "mount.fuse.curlftpfs")
    )
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
