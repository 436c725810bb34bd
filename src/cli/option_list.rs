//! Parses the lists of `-o`, and applies their options to the settings.

use strsim::osa_distance;

use crate::cli::curlftpfs::options::Row;
use crate::cli::option_table::{Kind, TABLE, find};
use crate::cli::settings::Settings;
use crate::process::printable::printable;
use crate::process::redact::{holds_secret, redact};

/// Splits a list of options at its commas. `\,` `\\` `\"` stand for the second character, and commas
/// between quotes do not separate (libmount writes `name="a,b"`). Blanks around commas are no part of an option.
pub fn split(list: &str) -> Result<Vec<String>, String> {
    let mut words = vec![Word::default()];
    let mut quoted = false;
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped =
            characters.next_if(|next| character == '\\' && matches!(next, ',' | '\\' | '"'));
        match (escaped, character) {
            (None, '"') => quoted = !quoted,
            (None, ',') if !quoted => words.push(Word::default()),
            (escaped, plain) => {
                if let Some(word) = words.last_mut() {
                    word.push(escaped.unwrap_or(plain), quoted || escaped.is_some());
                }
            }
        }
    }
    if quoted {
        return Err(format!(
            "-o {}: a quote is not closed; write \\\" for a literal quote",
            redact(list)
        ));
    }
    let mut words: Vec<String> = words.into_iter().map(Word::end).collect();
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// An option that is being read.
#[derive(Default)]
struct Word {
    text: String,
    /// Length up to the last character that is no blank, or is quoted.
    kept: usize,
}

impl Word {
    fn push(&mut self, character: char, quoted: bool) {
        let is_blank = character.is_whitespace() && !quoted;
        if is_blank && self.text.is_empty() {
            return;
        }
        self.text.push(character);
        if !is_blank {
            self.kept = self.text.len();
        }
    }

    fn end(mut self) -> String {
        self.text.truncate(self.kept);
        self.text
    }
}

/// Applies options to the settings, in their order.
pub fn apply_all(
    settings: &mut Settings,
    words: &[String],
    helper: bool,
    sloppy: bool,
) -> Result<(), String> {
    let mut after_secret = None;
    for word in words {
        if let Err(error) = apply(settings, word, helper, sloppy) {
            // In `pass=a,b` the next option may be the rest of a password, so the error does not quote it.
            return Err(match after_secret {
                Some(name) => wrong_after_secret(name),
                None => error,
            });
        }
        if holds_secret(word) {
            after_secret = word.split('=').next();
        }
    }
    Ok(())
}

/// The error of an option that may be the rest of a password.
pub fn wrong_after_secret(name: &str) -> String {
    format!("a wrong option after {name}=; write \\, for a comma within its value")
}

/// Applies one option to the settings.
fn apply(settings: &mut Settings, text: &str, helper: bool, sloppy: bool) -> Result<(), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let Some(spec) = find(name) else {
        if sloppy {
            return Ok(());
        }
        if matches!(name, "password" | "passwd") {
            return Err(format!(
                "there is no option {name}=, since other users could read it; use credentials=FILE, \
                 password_command= or ~/.netrc"
            ));
        }
        if Row::find(name, value.is_some()).is_some() {
            return Err(format!(
                "{name} is an option of curlftpfs and libfuse; write the source as curlftpfs#..., or omit it; \
                 docs/curlftpfs.md has the option of ftpfs"
            ));
        }
        return Err(match nearest(name) {
            Some(near) => format!("unknown option {}: did you mean {near}?", redact(name)),
            None if name.contains(' ') => {
                format!("unknown option {}: a comma separates options", redact(name))
            }
            None => format!(
                "unknown option {}: ftpfs --help lists them all",
                redact(name)
            ),
        });
    };
    match (&spec.kind, value) {
        (Kind::Switch(set), None) => set(settings),
        (Kind::Value(set), Some(value)) => {
            set(settings, value)
                .map_err(|allowed| format!("{}: must be {allowed}", redact(text)))?;
        }
        (Kind::Value(_), None) => {
            let value = spec.value.unwrap_or_default();
            return Err(format!(
                "{name}: needs a value: {name}={value}, {}",
                spec.help
            ));
        }
        (Kind::Kernel, None) => settings.mount.kernel.push(spec.name),
        // mount(8) passes `user=NAME` with the user who mounts. On the command line it is meant as the
        // login: to ignore it would log in as another user.
        (Kind::Ignored, Some(user)) if name == "user" && !helper => {
            let user = user.split(':').next().unwrap_or_default();
            return Err(format!(
                "{}: takes no value; write the login name in the source: ftp://{}@HOST/",
                redact(text),
                printable(user)
            ));
        }
        (Kind::Ignored, _) => {
            if is_user_space(text) {
                // `user=NAME:PASSWORD` is a mistake, and others can read the note.
                let kept = if name == "user" {
                    text.split(':').next().unwrap_or_default()
                } else {
                    text
                };
                settings.mount.user_space.push(kept.to_string());
            }
        }
        (Kind::Switch(_) | Kind::Kernel, Some(_)) => {
            return Err(format!("{}: {name} takes no value", redact(text)));
        }
    }
    Ok(())
}

/// Whether libmount keeps an option in `/run/mount/utab`, where umount(8) and systemd look for it.
fn is_user_space(text: &str) -> bool {
    text == "_netdev" || text.starts_with("x-") || text.starts_with("user=")
}

/// Returns the option that a name is a typing error of. A hyphen counts as an underscore.
fn nearest(name: &str) -> Option<&'static str> {
    let options = TABLE.iter().map(|spec| spec.name);
    nearest_of(
        &name.replace('-', "_"),
        options.filter(|name| !name.ends_with('*')),
    )
}

/// Returns the name with the smallest edit distance to a word, if that is small enough to be a typing error.
pub fn nearest_of(word: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let word = word.to_lowercase();
    names
        .map(|name| (osa_distance(&word, name), name))
        .filter(|&(distance, near)| distance <= 1 + near.len() / 6 && distance < near.len())
        .min()
        .map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_split_at_unquoted_commas() {
        for (list, words) in [
            ("a,b=c", vec!["a", "b=c"]),
            (",a,,b,", vec!["a", "b"]),
            (r"a=b\,c,d", vec!["a=b,c", "d"]),
            (r#"a="b,c",d"#, vec!["a=b,c", "d"]),
            (r#"a="b\"c",d"#, vec!["a=b\"c", "d"]),
            (r"a=b\\,c", vec![r"a=b\", "c"]),
            (r"a=b\c", vec![r"a=b\c"]),
            (" a , b=c d ,\te", vec!["a", "b=c d", "e"]),
            (r#"a=" b ""#, vec!["a= b "]),
            ("", vec![]),
        ] {
            assert_eq!(split(list).expect(list), words, "{list}");
        }
        let open = split(r#"ro,pass="se,cret"#).expect_err("open");
        assert!(
            open.starts_with("-o ro,pass=*: a quote is not closed"),
            "{open}"
        );
    }

    #[test]
    fn password_of_user_option_is_not_noted() {
        let mut settings = Settings::default();
        let words = ["user=anna:secret", "_netdev"].map(str::to_string);
        apply_all(&mut settings, &words, true, false).expect("mount(8) passes them");
        assert_eq!(settings.mount.user_space, ["user=anna", "_netdev"]);
    }

    #[test]
    fn nearest_name_has_a_small_edit_distance() {
        assert_eq!(nearest("allow-other"), Some("allow_other"));
        assert_eq!(nearest("max_con"), Some("max_conns"));
        assert_eq!(nearest("cachetimeout"), Some("cache_timeout"));
        assert_eq!(nearest("entirely_else"), None);
        assert_eq!(nearest("credential"), Some("credentials"));
        assert_eq!(nearest("timezone_of"), None);
        assert_eq!(nearest("zz"), None);
    }
}
