//! Completes command lines: `ftpfs completions bash`, `zsh` or `fish` prints a script, which asks the program back.
//!
//! The script calls `ftpfs completions SHELL -- WORDS...` with the words before the cursor, and [`wanted`] determines by the
//! tables of the parser what can stand there. So one place knows that for all shells. `commands/complete.rs` looks up what
//! is on this machine: files and mountpoints.
//!
//! `clap_complete` works in the same way (`CompleteEnv`), and was tried: it does not join words that bash has split at `=`,
//! so that it offers no values in the list of `-o`; its script for bash does not pass shellcheck; and the list of `-o` would
//! need these functions all the same. `clap_mangen` has no place for the lists of `-o`, which are most of the manual.

use crate::cli::flags::Flag;
use crate::cli::option_table::{Group, Kind, Spec, TABLE};
use crate::cli::settings::Settings;
use crate::cli::subcommand::{MOUNT, SUBCOMMANDS, Subcommand};

/// Asks for the words of a command line that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The shell.
    pub shell: Shell,
    /// The program's name, and the words up to the one to complete.
    pub words: Vec<String>,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash(1), which splits words at `=` and takes no help.
    Bash,
    /// zsh(1).
    Zsh,
    /// fish(1).
    Fish,
}

/// What can stand at the end of a command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One of these words, each with its help.
    Words(Vec<(String, &'static str)>),
    /// A file whose path begins so, after this text.
    File {
        /// The part of the word before the path.
        before: String,
        /// The beginning of the path.
        path: String,
    },
    /// A directory whose path begins so.
    Directory(String),
    /// A mountpoint of ftpfs that begins so.
    Mountpoint(String),
}

impl Shell {
    /// The shell of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    /// The script that asks the program.
    pub(crate) fn script(self) -> &'static str {
        match self {
            Self::Bash => BASH,
            Self::Zsh => ZSH,
            Self::Fish => FISH,
        }
    }
}

const BASH: &str = r#"# Completion of ftpfs for bash, as `ftpfs completions bash` prints it.
_ftpfs() {
    mapfile -t COMPREPLY < <(ftpfs completions bash -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
    # A list of options goes on with a comma.
    case ${COMP_WORDS[COMP_CWORD-1]} in -o | --options | =) compopt -o nospace ;; esac
    case ${COMPREPLY[0]:-} in */) compopt -o nospace ;; esac
}
complete -F _ftpfs ftpfs
"#;

const ZSH: &str = r#"#compdef ftpfs
# Completion of ftpfs for zsh, as `ftpfs completions zsh` prints it.
local -a all open whole
all=(${(f)"$(ftpfs completions zsh -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)"})
open=(${(M)all:#*[=/](|:*)})
whole=(${all:#*[=/](|:*)})
(( $#open )) && _describe -t ftpfs ftpfs open -S ''
(( $#whole )) && _describe -t ftpfs ftpfs whole
"#;

const FISH: &str = "# Completion of ftpfs for fish, as `ftpfs completions fish` prints it.
complete -c ftpfs -f -a '(ftpfs completions fish -- (commandline -opc) (commandline -ct) 2>/dev/null)'
";

/// Joins words that bash has split at `=`. Returns also how much of the last one stands before the part that it replaces.
pub fn join(shell: Shell, words: &[String]) -> (Vec<String>, usize) {
    let mut joined: Vec<String> = Vec::new();
    let (mut is_open, mut replaced) = (false, 0);
    for word in words {
        let is_equals = shell == Shell::Bash && word == "=";
        match joined.last_mut() {
            Some(last) if is_equals || is_open => {
                last.push_str(word);
                replaced = last.len() - if is_equals { 0 } else { word.len() };
            }
            _ => {
                joined.push(word.clone());
                replaced = 0;
            }
        }
        is_open = is_equals;
    }
    (joined, replaced)
}

/// Returns what can stand in the place of the last of the words.
pub fn wanted(words: &[String]) -> Wanted {
    let (before, word) = match words {
        [_, before @ .., word] => (before, word.as_str()),
        _ => (&[][..], ""),
    };
    let given = before.first().and_then(|word| Subcommand::named(word));
    let subcommand = given.unwrap_or(&MOUNT);
    let takes_list = subcommand.flags.iter().any(|flag| flag.value.is_some());
    let is_list = matches!(before.last().map(String::as_str), Some("-o" | "--options"));
    if is_list && takes_list {
        return option(word);
    }
    if word.starts_with('-') {
        return flag(subcommand.flags, word);
    }
    let names = || SUBCOMMANDS.map(|one| (one.name, one.about));
    match (subcommand.name, before.len()) {
        _ if before.is_empty() => {
            let help = ("help", "Print help, also of a command");
            chosen(word, names().into_iter().chain([help]))
        }
        ("mount", 1) if before[0] == "help" => chosen(word, names()),
        ("umount" | "status" | "drop-cache", _) => Wanted::Mountpoint(word.to_string()),
        ("completions", _) => chosen(word, ["bash", "zsh", "fish"].map(|shell| (shell, ""))),
        // The source is on the server.
        ("probe", _) => Wanted::Words(Vec::new()),
        _ => Wanted::Directory(word.to_string()),
    }
}

/// Those of some words that begin with a text.
fn chosen<'a>(start: &str, all: impl IntoIterator<Item = (&'a str, &'static str)>) -> Wanted {
    let all = all.into_iter();
    let fitting = all.filter(|(text, _)| text.starts_with(start));
    Wanted::Words(
        fitting
            .map(|(text, help)| (text.to_string(), help))
            .collect(),
    )
}

fn flag(flags: &[Flag], word: &str) -> Wanted {
    let long: Vec<_> = flags
        .iter()
        .map(|flag| (format!("--{}", flag.long), flag.help))
        .collect();
    let short: Vec<_> = flags
        .iter()
        .map(|flag| (format!("-{}", flag.short), flag.help))
        .collect();
    let all = long.iter().chain(&short);
    chosen(word, all.map(|(text, help)| (text.as_str(), *help)))
}

/// Completes the last option of a list, or its value.
fn option(list: &str) -> Wanted {
    let start = list.rfind(',').map_or(0, |comma| comma + 1);
    let (before, last) = list.split_at(start);
    let Some((name, value)) = last.split_once('=') else {
        let given: Vec<&str> = before.split(',').collect();
        let options = TABLE.iter().filter(|spec| spec.group != Group::Ignored);
        let options = options.filter(|spec| spec.name.starts_with(last));
        let options = options.filter(|spec| !given.contains(&spec.name));
        let text = |spec: &Spec| {
            let equals = if spec.value.is_some() { "=" } else { "" };
            format!("{before}{}{equals}", spec.name)
        };
        return Wanted::Words(options.map(|spec| (text(spec), spec.help)).collect());
    };
    let before = format!("{before}{name}=");
    match TABLE.iter().find(|spec| spec.name == name) {
        Some(spec) if is_file(spec) => Wanted::File {
            before,
            path: value.to_string(),
        },
        Some(spec) => {
            let values = choices(spec).into_iter();
            let values = values.filter(|choice| choice.starts_with(value));
            Wanted::Words(
                values
                    .map(|choice| (before.clone() + &choice, ""))
                    .collect(),
            )
        }
        None => Wanted::Words(Vec::new()),
    }
}

/// Returns the values of an option that has a few words to choose from: its error lists them.
fn choices(spec: &Spec) -> Vec<String> {
    const NO_VALUE: &str = "\u{1}";
    let Kind::Value(set) = &spec.kind else {
        return Vec::new();
    };
    let allowed = set(&mut Settings::default(), NO_VALUE).err();
    let allowed = allowed.unwrap_or_default().replace(" or ", ", ");
    let words: Vec<String> = allowed.split(", ").map(str::to_string).collect();
    let are_values = words
        .iter()
        .all(|word| set(&mut Settings::default(), word).is_ok());
    if are_values { words } else { Vec::new() }
}

/// Whether the value of an option is the name of a file or a directory.
fn is_file(spec: &Spec) -> bool {
    matches!(spec.value, Some("FILE" | "PATH" | "DIRECTORY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(ToString::to_string).collect()
    }

    /// The words that are offered for the last one.
    fn offered(line: &[&str]) -> String {
        match wanted(&words(line)) {
            Wanted::Words(found) => {
                let texts: Vec<String> = found.into_iter().map(|(text, _)| text).collect();
                texts.join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn choices_are_what_the_option_takes() {
        let of = |name: &str| {
            let spec = TABLE.iter().find(|spec| spec.name == name);
            spec.map(choices).unwrap_or_default().join(" ")
        };
        assert_eq!(of("mode"), "auto passive active");
        assert_eq!(of("contain_symlinks"), "yes no");
        assert_eq!(of("tls"), "try explicit control off");
        for name in [
            "timeout",
            "cache_size",
            "metadata_cache_size",
            "uid",
            "external_ip",
            "ro",
            "cacert",
        ] {
            assert_eq!(of(name), "", "{name}");
        }
    }

    #[test]
    fn every_option_and_flag_is_offered() {
        for spec in TABLE.iter().filter(|spec| spec.group != Group::Ignored) {
            let found = offered(&["ftpfs", "h:", "/m", "-o", spec.name]);
            assert!(found.contains(spec.name), "{}", spec.name);
        }
        for one in SUBCOMMANDS {
            assert!(offered(&["ftpfs", ""]).contains(one.name));
            for flag in one.flags {
                let long = format!("--{}", flag.long);
                assert_eq!(offered(&["ftpfs", one.name, &long]), long);
            }
        }
    }

    #[test]
    fn place_in_the_line_decides() {
        for (line, expected) in [
            (&["ftpfs", "dr"][..], "drop-cache"),
            (&["ftpfs", "help", "st"], "status"),
            (&["ftpfs", "completions", "f"], "fish"),
            (&["ftpfs", "probe", "f"], ""),
            (&["ftpfs", "h:", "-o", "ro,max"], "ro,max_conns="),
            (&["ftpfs", "h:", "-o", "ro,ro"], "ro,rootcontext="),
            (&["ftpfs", "-o", "ro,mode=p"], "ro,mode=passive"),
            (&["ftpfs", "-o", "wibble=p"], ""),
            (&["ftpfs", "unmount", "/m"], r#"Mountpoint("/m")"#),
            (&["ftpfs", "mount", "h:", "/m"], r#"Directory("/m")"#),
            (&["ftpfs", "status", "-o", "r"], r#"Mountpoint("r")"#),
            (
                &["ftpfs", "-o", "ro,cacert=/etc/s"],
                r#"File { before: "ro,cacert=", path: "/etc/s" }"#,
            ),
            (&["ftpfs"], ""),
            (&[], ""),
        ] {
            let found = offered(line);
            let is_all = line.len() < 2 && found.starts_with("mount umount");
            assert!(found == expected || is_all, "{line:?}: {found}");
        }
    }

    #[test]
    fn words_that_bash_splits_are_joined() {
        for (line, joined, replaced) in [
            (&["ftpfs", "-o", "ro,mode", "=", "p"][..], "ro,mode=p", 8),
            (&["ftpfs", "-o", "mode", "="], "mode=", 5),
            (&["ftpfs", "-o", "mode=p"], "mode=p", 0),
            (&["ftpfs", "-o", "ro"], "ro", 0),
        ] {
            let (words, found) = join(Shell::Bash, &words(line));
            let last = words.last().map(String::as_str);
            assert_eq!((last, found), (Some(joined), replaced), "{line:?}");
        }
        let (words, _) = join(Shell::Fish, &words(&["ftpfs", "a", "=", "b"]));
        assert_eq!(words.len(), 4);
    }
}
