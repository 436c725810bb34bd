//! The command line: one table of options that feeds the parser, `--help` and the tests.
//!
//! The one idea: what can be said after `-o` stands in [`TABLE`], once, with its name, its value,
//! its default and its line of help; `tests/options.rs` holds the manual and the README to it.
//! [`parse`] turns words into [`Settings`], which are plain data: nothing here touches the disk,
//! the network or the user database.
//!
//! Invariants: of two options that contradict each other the last one counts, as mount(8) has it;
//! an error is one line that names the option, the value and what is allowed.

mod help;
mod settings;
mod table;
mod values;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, value_parser};

pub use crate::options::help::{help, version};
pub use crate::options::settings::{Encrypt, Family, Hidden, Id, Links, Mode, Settings};
pub use crate::options::table::{FLAGS, Flag, Group, Spec, TABLE};
use crate::options::table::{HELPER_FLAGS, Kind};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Mount something.
    Mount(Box<Settings>),
    /// Print this text.
    Print(String),
}

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

const USAGE_HINT: &str =
    "usage: ftpfs SOURCE MOUNTPOINT [-o OPT[,OPT...]] [-f] [-d]; see ftpfs --help";

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
    fn a_password_in_the_source_is_not_shown() {
        let arguments = ["ftpfs", "ftp://u:secret@h/", "/m"].map(OsString::from);
        let request = parse(arguments).expect("a good line");
        assert!(!format!("{request:?}").contains("secret"));
    }
}
