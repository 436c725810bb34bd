//! The floors of the house: imports only point downwards.
//!
//! The one idea: two tables, and whoever adds a file adds its line. [`FLOORS`] says of each file and
//! folder of `src` what it may use. [`FOLDERS`] has the files of each folder from top to bottom: a
//! file may use those that stand after it, and what its floor may. A folder within a folder, such as
//! `ftp/listing/`, is one thing with `ftp/listing.rs`. Tests within the files are not looked at.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands in `src`, and what it may use.
const FLOORS: &[(&str, &[&str])] = &[
    // The program.
    ("main", &["run"]),
    (
        "run",
        &[
            "options",
            "probe",
            "status",
            "server",
            "source",
            "places",
            "daemon",
            "logging",
            "fuse",
            "notices",
            "memory",
            "mount",
            "unmount",
            "vfs",
            "ftp",
            "remote",
            "printable",
            "redact",
            "private_dir",
        ],
    ),
    (
        "probe",
        &[
            "options",
            "server",
            "source",
            "daemon",
            "logging",
            "json",
            "ftp",
            "remote",
            "printable",
        ],
    ),
    (
        "status",
        &[
            "options",
            "logging",
            "json",
            "inquiry",
            "fuse",
            "notices",
            "vfs",
            "ftp",
            "printable",
        ],
    ),
    ("json", &["printable"]),
    (
        "server",
        &[
            "options",
            "source",
            "credentials",
            "places",
            "regular_file",
            "ftp",
            "remote",
        ],
    ),
    ("options", &["printable", "redact"]),
    ("redact", &["printable"]),
    ("places", &[]),
    ("credentials", &["source", "regular_file"]),
    ("source", &["redact"]),
    ("daemon", &[]),
    ("logging", &["printable"]),
    ("memory", &[]),
    // The edges.
    ("fuse", &["workers", "notices", "inquiry", "vfs", "remote"]),
    ("inquiry", &["mount"]),
    ("notices", &["vfs"]),
    ("workers", &[]),
    ("mount", &[]),
    ("unmount", &["mount", "inquiry"]),
    // The file system and the engine, which know nothing of each other.
    ("vfs", &["remote", "private_dir", "regular_file"]),
    (
        "ftp",
        &["remote", "printable", "private_dir", "regular_file"],
    ),
    // The vocabulary.
    ("printable", &[]),
    ("private_dir", &["regular_file"]),
    ("regular_file", &[]),
    ("remote", &[]),
];

/// The folders, and their files from top to bottom.
const FOLDERS: &[(&str, &[&str])] = &[
    ("fuse", &["xattrs", "directories", "adapter", "answers"]),
    (
        "remote",
        &["change", "step", "attributes", "aside", "path", "error"],
    ),
    (
        "ftp",
        &[
            "inspect",
            "client",
            "restart",
            "glance",
            "together",
            "directory",
            "exact",
            "appending",
            "update",
            "rehearsal",
            "recheck",
            "untold",
            "upload",
            "behind",
            "lines",
            "transfer",
            "follow",
            "views",
            "steps",
            "rename",
            "modes",
            "begin",
            "sealed",
            "ending",
            "early",
            "parts",
            "pool",
            "doubtful_paths",
            "endpoint",
            "login",
            "kept",
            "data",
            "control",
            "tls",
            "known",
            "route",
            "proxy",
            "stream",
            // Facts about a server, and pure functions on bytes.
            "place",
            "charset",
            "profile",
            "zone",
            "features",
            "listing",
            "command",
            "reply",
            "time",
        ],
    ),
    (
        "vfs",
        &[
            // Operations.
            "lookup",
            "names",
            "attributes",
            "orphan",
            "flush",
            "uploads",
            "checks",
            "outcome",
            "exclusive",
            "atomic",
            "hash",
            "reading",
            "writing",
            "opening",
            "appending",
            "early",
            "recover",
            "found",
            "begun",
            "writeback",
            "noting",
            "keeping",
            "lenient",
            "order",
            "figures",
            "forget",
            "fetch",
            "copying",
            "ahead",
            "listing",
            "freshness",
            // State.
            "core",
            "shown",
            "holders",
            "makers",
            "fetching",
            "sequence",
            "under_way",
            "walk",
            "inode",
            "news",
            "queue",
            "streaming",
            "file",
            "readahead",
            "disk",
            "blocks",
            "journal",
            "spool",
            "ranges",
            "links",
            "tally",
            "traffic",
            "error",
        ],
    ),
    (
        "mount",
        &[
            "helper",
            "lookup",
            "fusermount",
            "device",
            "table",
            "options",
            "error",
        ],
    ),
    ("probe", &["machine", "words", "advice", "report"]),
    ("status", &["words", "report"]),
    (
        "options",
        &[
            "completions",
            "help",
            "words",
            "table",
            "values",
            "settings",
        ],
    ),
];

/// Words of other crates, and the only places in `src` that may say them.
const ELSEWHERE: &[(&str, &[&str])] = &[
    // Its next release breaks its types: one file is to change then.
    ("fuser::", &["fuse"]),
    ("clap::", &["options"]),
    ("rustls::", &["ftp"]),
    ("socket2::", &["ftp"]),
    ("std::net::", &["ftp", "source", "options"]),
];

#[test]
fn imports_only_point_downwards() {
    let mut faults = Vec::new();
    for (file, module) in files() {
        let text = code(&file);
        for target in imports(&text, &module) {
            if let Some(fault) = judge(&module, &target) {
                faults.push(format!("{}: {fault}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_stands_in_a_table_and_every_line_has_its_file() {
    let there: BTreeSet<String> = files()
        .into_iter()
        .map(|(_, module)| module[..module.len().min(2)].join("/"))
        .filter(|name| name != "lib")
        .collect();
    let floors = FLOORS.iter().map(|(name, _)| (*name).to_string());
    let inside = FOLDERS
        .iter()
        .flat_map(|(floor, names)| names.iter().map(move |name| format!("{floor}/{name}")));
    let said: BTreeSet<String> = floors.chain(inside).collect();
    let unknown: Vec<_> = there.difference(&said).collect();
    assert!(
        unknown.is_empty(),
        "add to the tables of tests/layers.rs: {unknown:?}"
    );
    let gone: Vec<_> = said.difference(&there).collect();
    assert!(
        gone.is_empty(),
        "take from the tables of tests/layers.rs: {gone:?}"
    );
}

#[test]
fn what_other_crates_bring_stays_in_its_place() {
    for (file, module) in files() {
        let text = code(&file);
        for (word, places) in ELSEWHERE {
            let said = text.contains(word) && !places.contains(&module[0].as_str());
            assert!(!said, "{}: {word} belongs into {places:?}", file.display());
        }
    }
}

#[test]
fn the_test_sees_imports_in_all_their_forms() {
    let found = |text: &str, module: &str| -> Vec<String> {
        let module: Vec<String> = module.split('/').map(str::to_string).collect();
        let found = imports(text, &module);
        found.into_iter().map(|path| path.join("/")).collect()
    };
    assert_eq!(
        found("use crate::remote::Error;", "vfs/core"),
        ["remote/Error"]
    );
    assert_eq!(
        found(
            "use crate::ftp::{\n    pool::{self, Lease},\n    data,\n};",
            "ftp/client"
        ),
        ["ftp/pool/self", "ftp/pool/Lease", "ftp/data"]
    );
    assert_eq!(
        found("let x = crate::mount::check(p);", "run"),
        ["mount/check"]
    );
    assert_eq!(
        found("use super::control::Control;", "ftp/data"),
        ["ftp/control/Control"]
    );
    assert_eq!(
        found("use super::Clock;", "ftp/listing/dos"),
        ["ftp/listing/Clock"]
    );
    assert_eq!(
        found(
            "pub(crate) fn x() {} pub(in crate::ftp) fn y() {}",
            "ftp/data"
        ),
        [""; 0]
    );
    assert_eq!(found("ftpfs::run::main()", "main"), ["run/main"]);
    assert_eq!(found("use mycrate::x; use xsuper::y;", "run"), [""; 0]);
}

#[test]
fn the_test_judges_by_the_tables() {
    let fault = |module: &[&str], target: &[&str]| {
        let owned = |parts: &[&str]| {
            parts
                .iter()
                .map(|part| part.to_string())
                .collect::<Vec<_>>()
        };
        judge(&owned(module), &owned(target)).is_some()
    };
    assert!(!fault(&["run"], &["ftp", "Client"]));
    assert!(!fault(&["ftp", "data"], &["ftp", "control", "Control"]));
    assert!(!fault(&["ftp", "data"], &["remote", "Error"]));
    assert!(!fault(&["ftp", "listing"], &["ftp", "listing", "Clock"]));
    assert!(fault(&["ftp", "control"], &["ftp", "data"]));
    assert!(fault(&["ftp", "data"], &["ftp", "Client"]));
    assert!(fault(&["ftp", "data"], &["vfs", "core"]));
    assert!(fault(&["vfs"], &["ftp", "client"]));
    assert!(fault(&["fuse"], &["ftp"]));
    assert!(fault(&["mount"], &["remote"]));
}

/// What is wrong with `module` using `target`, if anything is.
fn judge(module: &[String], target: &[String]) -> Option<String> {
    let (floor, wanted) = (module[0].as_str(), target.first()?.as_str());
    if floor == "lib" {
        return None;
    }
    let shown = target.join("::");
    if floor != wanted {
        let allowed = FLOORS.iter().find(|(name, _)| *name == floor)?.1;
        return (!allowed.contains(&wanted)).then(|| format!("{floor} may not use {shown}"));
    }
    // Within a floor. Its own file, `ftp.rs`, is its roof and may use all of it.
    let inside = module.get(1)?;
    let order = FOLDERS.iter().find(|(name, _)| *name == floor)?.1;
    let place = |name: &str| order.iter().position(|known| *known == name);
    let (own, other) = (place(inside)?, target.get(1).and_then(|name| place(name)));
    match other {
        Some(other) if other >= own => None,
        Some(_) => Some(format!("{inside} stands below {shown}")),
        None => Some(format!(
            "{inside} may not use {shown}, which is the roof of its floor"
        )),
    }
}

/// Every source file and its module, such as `["ftp", "listing", "dos"]`.
fn files() -> Vec<(PathBuf, Vec<String>)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no sources below {}", root.display());
    let module = |file: &PathBuf| {
        let below = file
            .strip_prefix(&root)
            .expect("below src")
            .with_extension("");
        let parts = below.iter().map(|part| part.to_string_lossy().into_owned());
        parts.collect()
    };
    files
        .into_iter()
        .map(|file| (file.clone(), module(&file)))
        .collect()
}

/// The text of a file without its comments and without its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a readable source");
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths into this crate that `text` names, from the crate's root.
fn imports(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    // The program itself is a crate of its own, to which this one has a name.
    let starts = [
        "crate::",
        "super::",
        if module[0] == "main" {
            "ftpfs::"
        } else {
            "crate::"
        },
    ];
    for start in starts.into_iter().collect::<BTreeSet<_>>() {
        for (place, _) in text.match_indices(start) {
            let before = &text[..place];
            let is_part = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_part || before.ends_with("pub(in ") {
                continue;
            }
            let base = match start {
                "super::" => module[..module.len() - 1].to_vec(),
                _ => Vec::new(),
            };
            expand(&text[place + start.len()..], base, &mut paths);
        }
    }
    paths
}

/// Reads one path, with its braces, and returns how long it was.
fn expand(text: &str, mut path: Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            loop {
                at += text[at..]
                    .find(|c: char| c != ',' && !c.is_whitespace())
                    .unwrap_or(0);
                if text[at..].starts_with('}') || text[at..].is_empty() {
                    return at + 1;
                }
                at += expand(&text[at..], path.clone(), paths).max(1);
            }
        }
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*');
        let word = &rest[..word.unwrap_or(rest.len())];
        at += word.len();
        path.push(word.to_string());
        match text[at..].strip_prefix("::") {
            Some(_) => at += 2,
            None => {
                paths.push(path);
                // `a as b` within braces.
                let alias = text[at..].strip_prefix(" as ").map_or(0, |rest| {
                    4 + rest.find([',', '}', ';']).unwrap_or(rest.len())
                });
                return at + alias;
            }
        }
    }
}
