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
const PLACES: &[&str] = &[
    "src",
    "tests",
    "man",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

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

/// Words that a sentence of a document may have.
const SENTENCE_WORDS: usize = 30;

#[test]
fn sentences_of_documents_are_short() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = String::new();
    let documents = files(top).into_iter().filter(|path| {
        let is_page = path.starts_with("man/") || path.starts_with("docs/");
        let is_page = is_page && !path.ends_with(".svg") && !path.ends_with(".json");
        is_page || ["README.md", "CONTRIBUTING.md", "SECURITY.md"].contains(&path.as_str())
    });
    for path in documents {
        let text = fs::read_to_string(top.join(&path)).expect("text");
        let paragraphs = if path.ends_with(".md") {
            markdown(&text)
        } else {
            manual(&text)
        };
        for sentence in paragraphs.iter().flat_map(|text| sentences(text)) {
            let words = sentence.split_whitespace().count();
            if words > SENTENCE_WORDS {
                let _ = writeln!(faults, "{path}: {words} words: {sentence}");
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// The paragraphs and list items of Markdown, without code, tables and headings.
fn markdown(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut is_code = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            is_code = !is_code;
        }
        let is_item = line.starts_with("- ")
            || line
                .split_once(". ")
                .is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        if is_code || line.is_empty() || line.starts_with(['#', '|', '`']) || is_item {
            paragraphs.push(String::new());
        }
        let is_text = !is_code && !line.starts_with(['#', '|']) && !line.starts_with("```");
        if let Some(last) = paragraphs.last_mut().filter(|_| is_text) {
            last.push_str(line.trim_start_matches("- "));
            last.push(' ');
        }
    }
    paragraphs
}

/// The paragraphs of a manual page, without examples and requests.
fn manual(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut is_example = false;
    for line in text.lines() {
        let (request, rest) = match line.strip_prefix('.') {
            Some(request) => request.split_once(' ').unwrap_or((request, "")),
            None => ("", line),
        };
        match request {
            "nf" => is_example = true,
            "fi" => is_example = false,
            _ => {}
        }
        if is_example
            || !matches!(
                request,
                "" | "B" | "I" | "BR" | "BI" | "IR" | "RB" | "RI" | "IB"
            )
        {
            paragraphs.push(String::new());
        } else if let Some(last) = paragraphs.last_mut() {
            // Words of one request that alternate between two fonts have no blanks between them.
            let joined = match request.len() {
                2 => rest.replace(' ', ""),
                _ => rest.to_string(),
            };
            last.push_str(&joined);
            last.push(' ');
        }
    }
    paragraphs
}

/// The sentences of a paragraph. A colon or a semicolon ends one, too: what follows can be read apart.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' '])
        .scan((0, 0), |(start, at), word| {
            *at += word.len();
            let is_end = word.trim_end().ends_with(['.', '!', '?', ':', ';']);
            let range = is_end.then(|| std::mem::replace(start, *at)..*at);
            Some(range)
        })
        .flatten()
        .map(|range| &text[range])
}

#[test]
fn long_sentences_are_found() {
    let long = "word ".repeat(31) + "end.";
    let counted = |paragraphs: &[String]| -> Vec<usize> {
        let sentences = paragraphs.iter().flat_map(|text| sentences(text));
        sentences
            .map(|text| text.split_whitespace().count())
            .collect()
    };
    let text =
        format!("# Head\n\nOne two.\n{long}\n\n```\ncode code.\n```\n- item one.\n- item two.\n");
    assert_eq!(counted(&markdown(&text)), [2, 32, 2, 2]);
    let text = format!(".SH NAME\nA\n.B bold\nword.\n.TP\n.BR a ( b ),\n{long}\n.nf\nno.\n.fi\n");
    assert_eq!(counted(&manual(&text)), [3, 33]);
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
