//! Answers the scripts of `ftpfs completions`: prints what can stand in the place of the last word, one a line.
//!
//! Files and directories are listed here, since the shells know nothing of the list of `-o`. The mount table is read without
//! asking a mount. Errors print nothing: a completion must not disturb the line that is being typed.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cli::completions::{Completion, Shell, Wanted, join, wanted};
use crate::mount;
use crate::mount::query::Mounted;

/// Returns the lines for a shell.
pub fn run(completion: &Completion) -> String {
    let (words, replaced) = join(completion.shell, &completion.words);
    let found = match wanted(&words) {
        Wanted::Words(words) => words,
        Wanted::File { before, path } => with_help(paths(&before, &path, false)),
        Wanted::Directory(path) => with_help(paths("", &path, true)),
        Wanted::Mountpoint(start) => with_help(mountpoints(&start)),
    };

    let mut text = String::new();
    for (word, help) in found {
        // A line break in a name would make two words of it, and other control characters act on the terminal.
        if word.contains(char::is_control) {
            continue;
        }
        let line = match completion.shell {
            Shell::Bash => quoted(word.get(replaced..).unwrap_or_default()),
            Shell::Zsh => {
                let word = word.replace('\\', "\\\\").replace(':', "\\:");
                let colon = if help.is_empty() { "" } else { ":" };
                format!("{word}{colon}{help}")
            }
            Shell::Fish => format!("{word}\t{help}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The word as bash reads it: names may be those of another user, and must not be commands.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_./:@%+=,-~".contains(letter);
    let mut text = String::new();
    for letter in word.chars() {
        if !is_plain(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

fn with_help(words: Vec<String>) -> Vec<(String, &'static str)> {
    words.into_iter().map(|word| (word, "")).collect()
}

/// The paths that begin so, each after `before`; directories end in `/`.
fn paths(before: &str, start: &str, directories_only: bool) -> Vec<String> {
    let (directory, name) = match start.rfind('/') {
        Some(slash) => start.split_at(slash + 1),
        None => ("", start),
    };
    let place = if directory.is_empty() { "." } else { directory };
    let mut found = Vec::new();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let Ok(there) = entry.file_name().into_string() else {
            continue;
        };
        let is_hidden = there.starts_with('.') && !name.starts_with('.');
        if is_hidden || !there.starts_with(name) {
            continue;
        }
        let is_directory = entry.path().is_dir();
        if is_directory || !directories_only {
            let slash = if is_directory { "/" } else { "" };
            found.push(format!("{before}{directory}{there}{slash}"));
        }
    }
    found.sort();
    found
}

/// The mountpoints of ftpfs that begin so.
fn mountpoints(start: &str) -> Vec<String> {
    let entries = mount::mounts().unwrap_or_default().into_iter();
    let ours = entries.filter(|entry| {
        let mounted = Mounted {
            entry: entry.clone(),
        };
        mounted.is_ours() && begins_with(&entry.mountpoint, start)
    });
    let mut found: Vec<String> = ours
        .map(|entry| entry.mountpoint.to_string_lossy().into_owned())
        .collect();
    found.dedup();
    found
}

fn begins_with(path: &Path, start: &str) -> bool {
    path.as_os_str().as_bytes().starts_with(start.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(shell: Shell, words: &[&str]) -> String {
        let words = words.iter().map(ToString::to_string).collect();
        run(&Completion { shell, words })
    }

    #[test]
    fn each_shell_has_its_own_form() {
        let split = lines(Shell::Bash, &["ftpfs", "-o", "ro,mode", "=", "p"]);
        assert_eq!(split, "passive\n");
        let list = ["ftpfs", "-o", "ro,ur"];
        assert_eq!(lines(Shell::Bash, &list), "");
        let list = ["ftpfs", "-o", "ro,no_verify_p"];
        let help = "do not verify the certificate (insecure)";
        assert_eq!(
            lines(Shell::Zsh, &list),
            format!("ro,no_verify_peer:{help}\n")
        );
        assert_eq!(
            lines(Shell::Fish, &list),
            format!("ro,no_verify_peer\t{help}\n")
        );
    }

    #[test]
    fn files_and_directories_are_listed() {
        let place = tempfile::tempdir().expect("a directory");
        for name in ["a:b", "ab", ".ac"] {
            fs::write(place.path().join(name), "").expect("written");
        }
        fs::create_dir(place.path().join("ad")).expect("made");
        let at = |end: &str| format!("{}/{end}", place.path().display());
        let file = format!("cacert={}", at("a"));
        let found = lines(Shell::Fish, &["ftpfs", "-o", &file]);
        let expected = ["a:b", "ab", "ad/"].map(|name| format!("cacert={}\t\n", at(name)));
        assert_eq!(found, expected.concat());
        assert!(lines(Shell::Zsh, &["ftpfs", "-o", &file]).contains("a\\:b\n"));
        let found = lines(Shell::Bash, &["ftpfs", "h", &at("a")]);
        assert_eq!(found, at("ad/") + "\n");
        assert_eq!(lines(Shell::Bash, &["ftpfs", "h", &at("no/such/")]), "");
    }

    #[test]
    fn names_are_no_commands_in_bash() {
        let place = tempfile::tempdir().expect("a directory");
        for name in ["x;reboot", "x $(id)", "x\u{1b}[2J"] {
            fs::create_dir(place.path().join(name)).expect("made");
        }
        let at = |end: &str| format!("{}/{end}", place.path().display());
        let found = lines(Shell::Bash, &["ftpfs", "h", &at("x")]);
        assert_eq!(found, at("x\\ \\$\\(id\\)/\n") + &at("x\\;reboot/\n"));
    }
}
