//! Walks the examples of the README and of `docs/`: every block of code has a language, and every language a check.
//!
//! Most blocks are run by tests on real servers or under systemd ([`RUN`]). The others are checked here: a command line of
//! ftpfs, a line of fstab(5) or an autofs map must be one that the program takes, and a script must exist and know its flags.
//! What can be neither run nor checked is in [`NOT_RUN`], with the reason.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ftpfs::cli::{TABLE, parse};

/// Blocks that tests run: the document, the language, and the test, which has the name of the document.
const RUN: &[(&str, &str, &str)] = &[
    ("README.md", "sh", "tests/systemd/documents.rs"),
    ("README.md", "fstab", "tests/systemd/main.rs"),
    ("docs/semantics.md", "sh", "tests/real_servers/documents.rs"),
    ("docs/servers.md", "conf", "tests/real_servers/documents.rs"),
    ("docs/curlftpfs.md", "sh", "tests/real_servers/curlftpfs.rs"),
    (
        "docs/curlftpfs.md",
        "fstab",
        "tests/real_servers/curlftpfs.rs",
    ),
    (
        "docs/fstab-systemd-autofs.md",
        "fstab",
        "tests/systemd/main.rs",
    ),
    (
        "docs/fstab-systemd-autofs.md",
        "ini",
        "tests/systemd/main.rs",
    ),
    (
        "docs/fstab-systemd-autofs.md",
        "autofs",
        "tests/systemd/main.rs",
    ),
];

/// What begins so is not run, since the machines of the tests lack what it needs.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo bench", "it takes minutes, and measures"),
    ("cargo install", "the build is that of every test"),
    (
        "sudo apt install",
        "the package, which tests/systemd/package.rs installs",
    ),
    ("netrc", "a file; tests/systemd writes one of this form"),
    ("yaml", "Docker compose"),
];

/// A block of code.
struct Block {
    /// The document, from the top of the repository.
    document: String,
    language: String,
    text: String,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = vec!["README.md".into()];
    let docs = fs::read_dir(top().join("docs")).expect("docs").flatten();
    let docs = docs.map(|entry| Path::new("docs").join(entry.file_name()));
    paths.extend(docs.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(top().join(&path)).expect("a document");
        (path.to_string_lossy().into_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for (document, text) in documents() {
        for part in text.split("```").skip(1).step_by(2) {
            let (language, text) = part.split_once('\n').expect("a line");
            blocks.push(Block {
                document: document.clone(),
                language: language.to_string(),
                text: text.to_string(),
            });
        }
    }
    blocks
}

/// Whether a block, or a line of it, is named with a reason for not being run.
fn is_named(text: &str) -> bool {
    NOT_RUN.iter().any(|(start, _)| text.starts_with(start))
}

/// The words of a command line, as a shell makes them of quotes; without a comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (_, plain) => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    words
}

/// Parses a command line; the error names it.
fn parsed(line: &[String]) -> Result<(), String> {
    parse(line.iter().map(OsString::from))
        .map(drop)
        .map_err(|error| format!("{}: {error}", line.join(" ")))
}

/// A script of the repository exists, and has each flag that a line gives it.
fn script(line: &[String]) -> Result<(), String> {
    let path = top().join(&line[0]);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", line[0]))?;
    let flags = line.iter().filter(|word| word.starts_with("--"));
    let help: String = text.replace([')', '|', '\'', '"', ','], " ");
    let known: BTreeSet<&str> = help.split_whitespace().collect();
    let unknown: Vec<_> = flags
        .filter(|flag| !known.contains(flag.as_str()))
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(format!("{} has no {unknown:?}", line[0])),
    }
}

/// A line of a block of the shell.
fn command(line: &str) -> Result<(), String> {
    let mut words = words(line);
    if words.first().is_some_and(|word| word == "sudo") {
        words.remove(0);
    }
    match words.first().map(String::as_str) {
        None => Ok(()),
        Some("ftpfs" | "curlftpfs") => parsed(&words),
        Some(path) if path.starts_with("scripts/") => script(&words),
        Some("docker") => docker(&words),
        _ if is_named(line) => Ok(()),
        _ => Err(format!("neither run nor checked nor named: {line}")),
    }
}

/// A line of fstab(5), as mount(8) passes it on.
fn fstab(line: &str) -> Result<(), String> {
    let fields: Vec<String> = line
        .split_whitespace()
        .map(|field| field.replace("\\040", " "))
        .collect();
    let [source, target, kind, options, _, _] = &fields[..] else {
        return Err(format!("not six fields: {line}"));
    };
    let (program, source) = match source.split_once('#') {
        Some((program, source)) if kind == "fuse" => (program.to_string(), source),
        _ => (format!("mount.{kind}"), source.as_str()),
    };
    // mount.fuse3(8) takes it itself.
    let options = options.replace("drop_privileges,", "");
    let line = [&program, source, target, "-o", &options];
    parsed(&line.map(str::to_string))
}

/// A line of an autofs map: `KEY -OPTIONS :SOURCE`.
fn autofs(line: &str) -> Result<(), String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [key, options, source] = fields[..] else {
        return Err(format!("not three fields: {line}"));
    };
    if source.starts_with("--") {
        return Ok(()); // a line of the map of maps
    }
    let source = source.trim_start_matches(':').replace('\\', "");
    let options = options.trim_start_matches('-');
    let kind = options
        .split(',')
        .find_map(|word| word.strip_prefix("fstype="));
    let options: Vec<&str> = options
        .split(',')
        .filter(|word| !word.starts_with("fstype="))
        .collect();
    let line = format!(
        "{source} /{key} {} {} 0 0",
        kind.unwrap_or_default(),
        options.join(",")
    );
    fstab(&line)
}

/// The command of an image.
fn dockerfile(text: &str) -> Result<(), String> {
    let list = |name: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        serde_json::from_str(line.unwrap_or_default()).expect("a list of words")
    };
    let words = [list("ENTRYPOINT "), list("CMD ")].concat();
    parsed(&words)
}

/// A command of Docker, which is not run: a subcommand with long flags. The image of ours gets what a mount needs, and
/// arguments that the program takes; `scripts/test-packages` makes that image.
fn docker(words: &[String]) -> Result<(), String> {
    let rest = words[1..].join(" ");
    let known = ["build ", "run ", "volume create "];
    if !known.iter().any(|known| rest.starts_with(known)) {
        return Err(format!("no known command: docker {rest}"));
    }
    let Some(image) = words.iter().position(|word| word == "ftpfs") else {
        return Ok(());
    };
    if words[1] == "build" {
        return Ok(());
    }
    for needed in ["--device /dev/fuse ", "--cap-add SYS_ADMIN "] {
        if !rest.contains(needed) {
            return Err(format!("{needed}is missing: docker {rest}"));
        }
    }
    let line = [
        &["ftpfs".to_string(), "-f".to_string()],
        &words[image + 1..],
    ]
    .concat();
    parsed(&line)
}

/// Lines without comments and empty ones; a backslash joins one with the next.
fn lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_string)
        .collect()
}

#[test]
fn every_example_is_run_or_checked_or_named() {
    let mut wrong = Vec::new();
    let mut used: BTreeSet<&(&str, &str, &str)> = BTreeSet::new();
    for block in blocks() {
        let (document, language) = (block.document.as_str(), block.language.as_str());
        let run = RUN
            .iter()
            .find(|(one, other, _)| (*one, *other) == (document, language));
        used.extend(run);
        let check: fn(&str) -> Result<(), String> = match language {
            "sh" => command,
            "fstab" => fstab,
            "autofs" => autofs,
            _ => |_| Ok(()),
        };
        let outcome = match language {
            // What is run may be more than our own commands.
            "sh" if run.is_some() && document != "README.md" && document != "docs/curlftpfs.md" => {
                Ok(())
            }
            "sh" | "fstab" | "autofs" => {
                lines(&block.text)
                    .iter()
                    .try_for_each(|line| match check(line) {
                        Err(error) if run.is_some() && error.starts_with("neither") => Ok(()),
                        outcome => outcome,
                    })
            }
            "dockerfile" => dockerfile(&block.text),
            "text" => Ok(()), // a drawing
            _ if run.is_some() || is_named(language) => Ok(()),
            _ => Err(format!("a block of {language:?}: no check for it")),
        };
        if let Err(error) = outcome {
            wrong.push(format!("{document}: {error}"));
        }
    }
    for entry in RUN.iter().filter(|entry| !used.contains(entry)) {
        wrong.push(format!("{entry:?} is no longer there"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What the list says is run has a test that reads the document and its blocks.
#[test]
fn tests_of_examples_read_their_documents() {
    for (document, language, test) in RUN {
        let text = fs::read_to_string(top().join(test)).expect(test);
        let name = document.rsplit('/').next().expect("a name");
        assert!(
            text.contains(name) || text.contains("README"),
            "{test} does not read {document}"
        );
        let folder = Path::new(test).parent().expect("a folder");
        let all = fs::read_dir(top().join(folder))
            .expect("a folder")
            .flatten();
        let all: String = all
            .filter_map(|entry| fs::read_to_string(entry.path()).ok())
            .collect();
        let is_read = [
            format!("\"{language}\""),
            format!("\"{language}\\n\""),
            format!("```{language}\\n"),
        ]
        .iter()
        .any(|part| all.contains(part));
        assert!(
            is_read || *document == "README.md",
            "{folder:?} runs no blocks of {language}"
        );
    }
}

/// The examples of the manual pages: lines between `.nf` and `.fi` that begin with the program, or are of fstab(5).
#[test]
fn examples_of_the_manual_are_taken() {
    let mut count = 0;
    for page in ["man/ftpfs.1", "man/mount.ftpfs.8", "man/umount.ftpfs.8"] {
        let text = fs::read_to_string(top().join(page)).expect(page);
        let text = text.replace("\\-", "-").replace("\\e", "\\");
        for block in text.split("\n.nf\n").skip(1) {
            let block = block.split("\n.fi").next().unwrap_or_default();
            for line in lines(block) {
                let outcome = match line.split_whitespace().count() {
                    _ if line.starts_with("ftpfs ") => command(&line),
                    6 if line.contains("://") => fstab(&line),
                    _ => continue,
                };
                count += 1;
                assert_eq!(outcome, Ok(()), "{page}");
            }
        }
    }
    assert!(count >= 5, "{count}");
}

/// In the text too, commands are ones that the program takes, and options have values that they take.
#[test]
fn commands_and_options_in_the_text_are_taken() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (document, text) in documents() {
        let outside: String = text.split("```").step_by(2).collect();
        for span in outside.split('`').skip(1).step_by(2) {
            let line = span
                .replace("SOURCE", "ftp://h/")
                .replace("MOUNTPOINT", "/m");
            let words = words(&line);
            let is_command = matches!(
                words.first().map(String::as_str),
                Some("ftpfs" | "curlftpfs")
            );
            let outcome = if is_command && words.len() > 1 {
                count += 1;
                // A command that is only named lacks its arguments.
                parsed(&words).or_else(|error| match error.contains("missing") {
                    true => Ok(()),
                    false => Err(error),
                })
            } else if TABLE.iter().any(|spec| {
                let value = line
                    .strip_prefix(spec.name)
                    .and_then(|rest| rest.strip_prefix('='));
                value.is_some_and(|value| {
                    let is_placeholder = value.is_empty()
                        || value.contains(char::is_uppercase)
                        || value.contains("...");
                    spec.value.is_some() && !is_placeholder && !value.contains(['[', '<'])
                })
            }) {
                count += 1;
                let list = ["ftpfs", "ftp://h/", "/m", "-o", &line].map(str::to_string);
                parsed(&list)
            } else {
                Ok(())
            };
            if let Err(error) = outcome {
                wrong.push(format!("{document}: `{span}`: {error}"));
            }
        }
    }
    assert!(count > 50, "only {count} were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Anchors of the headings of a page, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Links and pictures within the repository lead to files and headings that exist.
#[test]
fn links_of_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut pages = documents();
    for path in [
        "CONTRIBUTING.md",
        "SECURITY.md",
        "tests/README.md",
        "docs/benchmarks/README.md",
    ] {
        let text = fs::read_to_string(top().join(path)).expect(path);
        pages.push((path.to_string(), text));
    }
    let mut count = 0;
    for (document, text) in &pages {
        let outside: String = text.split("```").step_by(2).collect();
        for link in outside.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(document).parent().expect("a folder");
            let target = match path {
                "" => top().join(document),
                path => top().join(folder).join(path),
            };
            let is_there = target.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&target)
                        .is_ok_and(|text| anchors(&text).contains(anchor)));
            if !is_there {
                wrong.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(count > 40, "only {count} were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn readme_is_short_and_shows_session_and_chart() {
    let readme = fs::read_to_string(top().join("README.md")).expect("README");
    assert!(readme.lines().count() < 200);
    for picture in [
        "](docs/session.svg)",
        "](docs/benchmarks/20ms-200mbit-vsftpd.svg)",
    ] {
        assert!(readme.contains(picture), "no picture {picture}");
    }
}
