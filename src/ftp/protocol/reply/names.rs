//! Removes the names that a reply repeats from its text, so that the text can be searched for words.
//!
//! ProFTPD answers `550 '/dir/busy/a.db' cannot be listed` for a name that does not exist: "busy" is not the server's word.
//! The path of the command is removed everywhere, its last name only where it can be distinguished from a word: before a
//! colon, in quotes, or if it has a character that no sentence has. `550 File exists` keeps its "exists" for a file named so.

/// The lower-case text of a reply to the command that was sent as `sent`, without the names in it. `sent` is as commands are
/// shown: verb, arguments, path.
pub fn without_names(text: &str, sent: &str) -> String {
    // As commands are shown: quotes and control characters are escaped there.
    let mut text = text.escape_debug().to_string().to_lowercase();
    let path = path_of(sent).to_lowercase();
    let trimmed = path.trim_end_matches('/');
    for part in parts(trimmed) {
        text = text.replace(part, " ");
    }
    let name = trimmed.rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        return without_quoted(&text);
    }
    if name.chars().any(|c| !c.is_alphabetic() && c != ' ') && name != "read-only" {
        text = text.replace(name, " ");
    }
    without_quoted(&without_labels(&text, name))
}

/// The path of a command: everything from the first `/`, or after the verb.
fn path_of(sent: &str) -> &str {
    let at = sent.find(" /").or_else(|| sent.find(' '));
    at.map_or("", |at| &sent[at + 1..])
}

/// The path, its suffixes, which a server with another root directory shows, and its parent directories: the longest first.
/// Each contains a slash, so it cannot be a word.
fn parts(path: &str) -> Vec<&str> {
    let slashes = || path.match_indices('/').map(|(at, _)| at);
    let ends = slashes().flat_map(|at| [&path[at..], &path[at + 1..]]);
    let starts = slashes().map(|at| &path[..at]);
    let mut parts: Vec<_> = std::iter::once(path)
        .chain(ends)
        .chain(starts)
        .filter(|part| part.len() > 1 && part.contains('/'))
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
}

/// Removes `name` where a colon follows: `name: File exists`.
fn without_labels(text: &str, name: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, found) = rest.split_at(at);
        let after = &found[name.len()..];
        let begins = before.chars().last().or(kept.chars().last());
        kept.push_str(before);
        if !(after.starts_with(':') && begins.is_none_or(|c| !c.is_alphanumeric())) {
            kept.push_str(name);
        }
        rest = after;
    }
    kept + rest
}

/// Removes quoted text. An apostrophe, as in "can't", starts no quote.
fn without_quoted(text: &str) -> String {
    // Escaped for the comparison with the command.
    let text = text.replace("\\\"", "\"").replace("\\'", "'");
    let mut kept = String::new();
    let mut rest = &text[..];
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let (before, quoted) = rest.split_at(at);
        let opens = before
            .chars()
            .last()
            .or(kept.chars().last())
            .is_none_or(|c| !c.is_alphanumeric());
        let close = if quoted.starts_with('"') { '"' } else { '\'' };
        // The last one that no letter follows: names have quotes, too.
        let end = quoted.char_indices().skip(1).filter(|&(end, c)| {
            let ends = |rest: &str| rest.chars().next().is_none_or(|c| !c.is_alphanumeric());
            c == close && ends(&quoted[end + 1..])
        });
        kept.push_str(before);
        let end = opens.then(|| end.map(|(end, _)| end).next()).flatten();
        match end {
            Some(end) => {
                kept.push(' ');
                rest = &quoted[end + 1..];
            }
            None => {
                kept.push(' ');
                kept.push_str(&quoted[..1]);
                rest = &quoted[1..];
            }
        }
    }
    (kept + rest).replace(" '", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quote_before_characters_beyond_ascii_is_no_panic() {
        for text in [
            "\"\u{fffd}\u{fffd} denied",
            "'\u{fc}' denied",
            "`\u{fffd}",
            "\"\u{fffd}",
        ] {
            without_names(text, "MKD /f");
        }
        let text = without_names("\"\u{fc}\" denied", "MKD /f");
        assert_eq!(text.trim(), "denied");
    }
}
