//! Defines the subcommands, and matches their arguments with clap.
//!
//! A mount needs no word: what is none of the others is a source. `-h` prints one screen, `--help` everything.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cli::Request;
use crate::cli::flags::{
    COMPLETIONS_FLAGS, DROP_CACHE_FLAGS, FLAGS, Flag, PROBE_FLAGS, STATUS_FLAGS, UMOUNT_FLAGS,
    UNLISTED,
};
use crate::cli::help::{common_options, every_option, forms_of_source, help_width, row, version};
use crate::process::redact::redact;

/// A subcommand.
pub struct Subcommand {
    /// The word.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The arguments, as the usage shows them.
    pub arguments: &'static str,
    /// The flags.
    pub flags: &'static [Flag],
}

/// The command line without a word, which mounts; its help is that of the whole program.
pub(crate) const PROGRAM: Subcommand = Subcommand {
    name: "",
    about: "Mount a remote FTP server as a local directory",
    ..MOUNT
};
/// Mounts a server.
pub const MOUNT: Subcommand = Subcommand {
    name: "mount",
    about: "Mount a server; the word may be left out",
    arguments: "SOURCE MOUNTPOINT [-o OPT[,OPT...]] [-f] [-d | -v | -q]",
    flags: FLAGS,
};
/// Waits for uploads and unmounts.
pub const UMOUNT: Subcommand = Subcommand {
    name: "umount",
    about: "Wait for pending uploads, then unmount",
    arguments: "[-f] [-l] MOUNTPOINT",
    flags: UMOUNT_FLAGS,
};
/// Shows mounts.
pub const STATUS: Subcommand = Subcommand {
    name: "status",
    about: "Show your mounts, or one mount in detail",
    arguments: "[MOUNTPOINT] [-v] [--watch | --json | --prometheus]",
    flags: STATUS_FLAGS,
};
/// Tests a server.
pub const PROBE: Subcommand = Subcommand {
    name: "probe",
    about: "Test a server, and recommend options",
    arguments: "SOURCE [-o OPT[,OPT...]] [--write] [--json] [-d]",
    flags: PROBE_FLAGS,
};
/// Drops caches.
pub const DROP_CACHE: Subcommand = Subcommand {
    name: "drop-cache",
    about: "Show changes by other clients at once",
    arguments: "[MOUNTPOINT] [--server]",
    flags: DROP_CACHE_FLAGS,
};
/// Prints completions.
pub const COMPLETIONS: Subcommand = Subcommand {
    name: "completions",
    about: "Print completions for a shell: bash, zsh or fish",
    arguments: "SHELL",
    flags: COMPLETIONS_FLAGS,
};
/// All subcommands, in the order of the help.
pub const SUBCOMMANDS: [&Subcommand; 6] =
    [&MOUNT, &UMOUNT, &STATUS, &PROBE, &DROP_CACHE, &COMPLETIONS];

impl Subcommand {
    /// Returns the subcommand of a word.
    pub(crate) fn named(word: &str) -> Option<&'static Self> {
        let word = match word {
            "unmount" => "umount",
            other => other,
        };
        SUBCOMMANDS.into_iter().find(|one| one.name == word)
    }

    /// The line that ends an error.
    pub(crate) fn hint(&self) -> String {
        format!(
            "usage: ftpfs {}{}; see ftpfs --help",
            self.word(),
            self.arguments
        )
    }

    /// The word with a blank, unless it may be left out.
    fn word(&self) -> String {
        match self.name {
            "" | "mount" => String::new(),
            name => format!("{name} "),
        }
    }

    /// Matches the arguments with `flags`, which may be others than the help shows.
    pub(crate) fn take(
        &self,
        flags: &'static [Flag],
        arguments: impl Iterator<Item = OsString>,
    ) -> Result<Taken, String> {
        let command = self.command(flags);
        match command.try_get_matches_from(arguments) {
            Ok(found) => Ok(Taken::Found(found)),
            Err(error) => match error.kind() {
                ErrorKind::DisplayHelp => Ok(Taken::Shown(shown(&error))),
                ErrorKind::DisplayVersion => Ok(Taken::Shown(Request::Print(version()))),
                _ => Err(one_line(&error, &self.hint())),
            },
        }
    }

    /// Returns the help, the long one or one screen.
    pub(crate) fn help(&self, long: bool) -> Request {
        let flag = if long { "--help" } else { "-h" };
        match self.take(self.flags, [OsString::from(flag)].into_iter()) {
            Ok(Taken::Shown(request)) => request,
            // Not reached: the flag ends the match.
            _ => Request::Print(self.hint() + "\n"),
        }
    }

    fn command(&self, flags: &'static [Flag]) -> Command {
        let words = Arg::new("words")
            .action(ArgAction::Append)
            .num_args(0..)
            .hide(true)
            .value_parser(value_parser!(OsString));
        let flags = flags.iter().map(|flag| {
            let arg = Arg::new(flag.long)
                .short(flag.short)
                .long(flag.long)
                .help(flag.help)
                .hide(flag.help == UNLISTED);
            match (flag.value, flag.long) {
                (Some(value), _) => arg
                    .action(ArgAction::Append)
                    .value_name(value)
                    .value_parser(value_parser!(OsString)),
                (None, "help") => arg.action(ArgAction::Help),
                (None, "version") => arg.action(ArgAction::Version),
                (None, _) => arg.action(ArgAction::SetTrue),
            }
        });
        let (short, long) = match self.name {
            "" => (
                format!("{}\n{}\n{EXAMPLE}", overview(), forms_of_source()),
                format!("{}\n{}\n{}", overview(), forms_of_source(), every_option()),
            ),
            "mount" => (
                format!("{}\n{}", forms_of_source(), common_options()),
                format!("{}\n{}", forms_of_source(), every_option()),
            ),
            "probe" => (
                forms_of_source(),
                format!("{}\n{}", forms_of_source(), every_option()),
            ),
            _ => (String::new(), String::new()),
        };
        let usage = match self.name {
            "" => format!("ftpfs [mount] {}\n       ftpfs COMMAND ...", self.arguments),
            "mount" => format!("ftpfs [mount] {}", self.arguments),
            _ => format!("ftpfs {}{}", self.word(), self.arguments),
        };
        Command::new("ftpfs")
            .about(self.about)
            .version(env!("CARGO_PKG_VERSION"))
            .override_usage(usage)
            .after_help(short)
            .after_long_help(long)
            .term_width(help_width())
            .disable_help_flag(true)
            .disable_version_flag(true)
            .no_binary_name(true)
            // A flag may be repeated, as fstab lines and scripts do.
            .args_override_self(true)
            .arg(words)
            .args(flags)
    }
}

/// The end of the short help.
const EXAMPLE: &str = "Example:
  mkdir -p ~/www
  ftpfs ftp://anna@ftp.example.org/www ~/www
  ftpfs umount ~/www

ftpfs mount -h shows the common options of -o, ftpfs --help all of them.
";

/// Columns of the name of a subcommand.
const NAME_WIDTH: usize = 14;

/// Returns the list of subcommands.
fn overview() -> String {
    let mut text = String::from("Commands:\n");
    for one in SUBCOMMANDS {
        row(&mut text, NAME_WIDTH, one.name, one.about);
    }
    let help = "Print help, also of a command, or the version";
    row(&mut text, NAME_WIDTH, "help, version", help);
    text
}

/// What the arguments of a subcommand are.
pub(crate) enum Taken {
    /// Arguments and flags.
    Found(ArgMatches),
    /// A request for help, or for the version.
    Shown(Request),
}

fn shown(error: &clap::Error) -> Request {
    let text = error.render();
    Request::Help {
        plain: text.to_string(),
        styled: text.ansi().to_string(),
    }
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
