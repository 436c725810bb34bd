//! Checks prose and identifiers for words that are not plain technical English.
//!
//! [`WORDS`] must not occur in sources, tests, manual, README and changelog, upper or lower case, also where a phrase is
//! wrapped over two lines of a comment. `prose_allowed.txt` counts what is still there, file by file: more is an error,
//! and fewer is one until the count is lowered.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// What is looked at, from the top of the repository.
const PLACES: &[&str] = &["src", "tests", "man", "docs", "README.md", "CHANGELOG.md"];

/// Data of servers, and this check.
const LEFT_OUT: &[&str] = &[
    "tests/fixtures",
    "tests/prose.rs",
    "tests/prose_allowed.txt",
];

/// The words, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    ("the one idea", "\"Implements X.\" as the first sentence"),
    ("whoever", "the component, \"a caller\", \"other clients\""),
    (
        "whosoever",
        "the component, \"a caller\", \"other clients\"",
    ),
    ("somebody", "the component, \"a caller\", \"other clients\""),
    ("nobody", "\"no caller\", \"no other client\""),
    ("anew", "\"again\""),
    ("in vain", "\"unused\", \"without success\""),
    ("parted by", "\"separated by\""),
    ("untold", "\"not reported\""),
    ("beside it", "\"next to it\", \"at the same time\""),
    ("flies", "\"is pipelined\", \"is sent together with\""),
    ("stands in the way", "\"prevents\""),
    ("stand in the way", "\"prevent\""),
];

/// Where `nobody` is the user of that name.
const NAMES: &[&str] = &["user nobody"];

#[test]
fn prose_uses_plain_words() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let allowed = allowed(&top.join("tests/prose_allowed.txt"));
    let mut found = BTreeMap::new();
    let mut faults = String::new();
    for path in files(top) {
        let text = fs::read_to_string(top.join(&path)).expect("text");
        let hits = hits(&text);
        let most = allowed.get(&path).copied().unwrap_or(0);
        if hits.len() > most {
            writeln!(faults, "{path}: {} words, {most} allowed", hits.len()).expect("written");
            for (line, word) in &hits {
                let instead = WORDS.iter().find(|(known, _)| known == word);
                let instead = instead.expect("a known word").1;
                writeln!(faults, "    {path}:{line}: '{word}': write {instead}").expect("written");
            }
        }
        if !hits.is_empty() {
            found.insert(path, hits.len());
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    let lines: Vec<String> = found
        .iter()
        .map(|(path, n)| format!("{path} {n}"))
        .collect();
    assert!(
        found == allowed,
        "fewer than tests/prose_allowed.txt allows; lower it to:\n{}",
        lines.join("\n")
    );
}

#[test]
fn words_are_found_in_prose_and_identifiers() {
    let words =
        |text: &str| -> Vec<&str> { hits(text).into_iter().map(|(_, word)| word).collect() };
    assert_eq!(words("// Nobody's, and somebody."), ["somebody", "nobody"]);
    assert_eq!(words("fn waits_for_nobody()"), ["nobody"]);
    assert_eq!(words("    /// done in\n    /// vain"), ["in vain"]);
    assert_eq!(words("//! The one\n//! idea: x"), ["the one idea"]);
    assert_eq!(words("sent anew, a new file, canewas"), ["anew"]);
    assert_eq!(words("in vainer, in  vain"), ["in vain"]);
    assert_eq!(words("User nobody"), [""; 0]);
    assert_eq!(hits("a\nb\nc anew"), [(3, "anew")]);
}

/// The words in `text`, each with the number of its line.
fn hits(text: &str) -> Vec<(usize, &'static str)> {
    // One line, with single blanks and without the signs that begin comments.
    let mut flat = String::new();
    let mut starts = Vec::new();
    for line in text.lines() {
        starts.push(flat.len());
        let line = line.trim_start().trim_start_matches(['/', '!', '#']);
        for word in line.split_whitespace() {
            flat.push_str(&word.to_ascii_lowercase());
            flat.push(' ');
        }
    }
    for name in NAMES {
        flat = flat.replace(name, &"-".repeat(name.len()));
    }
    let mut hits = Vec::new();
    for (word, _) in WORDS {
        for (at, _) in flat.match_indices(word) {
            let is_letter = |c: char| c.is_ascii_alphabetic();
            let is_part =
                flat[..at].ends_with(is_letter) || flat[at + word.len()..].starts_with(is_letter);
            if !is_part {
                hits.push((starts.partition_point(|start| *start <= at), *word));
            }
        }
    }
    hits
}

/// `path count`, one a line.
fn allowed(list: &Path) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(list).expect("the list of what is allowed");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (path, count) = line.rsplit_once(' ').expect("a path and a count");
            (path.to_string(), count.parse().expect("a count"))
        })
        .collect()
}

/// Paths of all files, from the top.
fn files(top: &Path) -> Vec<String> {
    fn walk(path: &Path, files: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("a folder") {
                walk(&entry.expect("an entry").path(), files);
            }
        } else if path.is_file() {
            files.push(path.to_path_buf());
        }
    }
    let mut found = Vec::new();
    for place in PLACES {
        walk(&top.join(place), &mut found);
    }
    let mut paths: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(top).expect("below the top"))
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !LEFT_OUT.iter().any(|out| path.starts_with(out)))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}
