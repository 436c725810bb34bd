//! Checks the structure that `src/lib.rs` describes: which module may use which, and how large things may be.
//!
//! [`LAYERS`] says what each top-level module may use. [`ORDER`] lists the modules of a folder from top to bottom: each
//! uses only those below it. In every other folder the imports between siblings must not form a cycle. A folder's own
//! file (`ftp.rs`) may use all of its folder; what siblings share lies in it, too, and its head lists the members of the
//! folder. Unit tests are not looked at.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules, and what each may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["commands"]),
    (
        "commands",
        &["cli", "fuse", "mount", "process", "vfs", "ftp", "remote"],
    ),
    ("cli", &["process", "ftp", "remote"]),
    ("fuse", &["mount", "vfs", "remote", "process"]),
    ("mount", &["process"]),
    ("process", &[]),
    ("vfs", &["remote", "process"]),
    ("ftp", &["remote", "process"]),
    ("remote", &[]),
];

/// Folders whose modules have an order, from top to bottom.
const ORDER: &[(&str, &[&str])] = &[
    (
        "ftp",
        &[
            "probe", "client", "transfer", "pool", "config", "data", "control", "tls", "net",
            "profile", "listing", "protocol",
        ],
    ),
    (
        "vfs",
        &[
            "ops",
            "prefetch",
            "writeback",
            "upload",
            "metadata",
            "attributes",
            "file",
            "settings",
            "readahead",
            "inode",
            "cache",
            "journal",
            "spool",
            "stats",
            "error",
        ],
    ),
];

/// Imports that still run upwards; none may be added.
const UPWARDS: &[(&str, &str)] = &[];

/// Words of other crates, and the only modules that may use them.
const FOREIGN: &[(&str, &[&str])] = &[
    // Its next release breaks its types: one module is to change then.
    ("fuser::", &["fuse"]),
    ("clap::", &["cli"]),
    ("rustls::", &["ftp"]),
    ("socket2::", &["ftp"]),
    ("std::net::", &["ftp", "cli"]),
];

/// Entries of a folder; `x.rs` and `x/` count as one.
const FOLDER_ENTRIES: usize = 15;
/// Fields of a struct.
const STRUCT_FIELDS: usize = 15;
/// Lines of a file that is no folder's own one: what is shorter is a fragment of another file's subject.
const FILE_LINES: usize = 40;
/// Files with fewer lines whose subject is a whole one.
const SHORT_FILES: &[&str] = &["vfs/inode/events"];
/// Structs with more fields: one value for each option of the command line.
const WIDE_STRUCTS: &[&str] = &[];

#[test]
fn imports_follow_the_layers() {
    let mut faults = Vec::new();
    for (file, module) in files() {
        for target in imports(&code(&file), &module) {
            if let Some(fault) = judge(&module, &target) {
                faults.push(format!("{}: {fault}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn siblings_import_without_cycles() {
    let mut edges: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for (file, module) in files() {
        for target in imports(&code(&file), &module) {
            for depth in 0..module.len().min(target.len()) {
                let (own, other) = (&module[depth], &target[depth]);
                if own != other {
                    let is_module = other
                        .chars()
                        .all(|c| c.is_lowercase() || c == '_' || c.is_numeric());
                    if is_module {
                        let folder = module[..depth].join("/");
                        edges
                            .entry(folder)
                            .or_default()
                            .insert((own.clone(), other.clone()));
                    }
                    break;
                }
            }
        }
    }
    for (folder, edges) in &edges {
        let cycle = cycle(edges);
        assert!(
            cycle.is_empty(),
            "{folder}: {cycle:?} import each other in a circle"
        );
    }
}

/// What is left of a graph once everything that points nowhere, or to such a thing alone, is taken away.
fn cycle(edges: &BTreeSet<(String, String)>) -> BTreeSet<(String, String)> {
    let mut left = edges.clone();
    loop {
        let sources: BTreeSet<String> = left.iter().map(|(from, _)| from.clone()).collect();
        let before = left.len();
        left.retain(|(_, to)| sources.contains(to));
        if left.len() == before {
            return left;
        }
    }
}

#[test]
fn folders_are_small() {
    let mut folders: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for (_, module) in files() {
        for depth in 0..module.len() {
            let folder: PathBuf = module[..depth].iter().collect();
            folders
                .entry(folder)
                .or_default()
                .insert(module[depth].clone());
        }
    }
    for (folder, entries) in folders {
        let count = entries
            .iter()
            .filter(|name| !matches!(name.as_str(), "lib" | "main"))
            .count();
        assert!(
            count <= FOLDER_ENTRIES,
            "src/{}: {count} entries",
            folder.display()
        );
    }
}

#[test]
fn files_are_no_fragments() {
    let all = files();
    let mut short = BTreeSet::new();
    for (file, module) in &all {
        let is_root = matches!(&module[..], [name] if name == "lib" || name == "main");
        let is_head = all
            .iter()
            .any(|(_, other)| other.len() > module.len() && other.starts_with(module));
        let text = fs::read_to_string(file).expect("a readable source");
        if !is_root && !is_head && text.lines().count() < FILE_LINES {
            short.insert(module.join("/"));
        }
    }
    let named: BTreeSet<String> = SHORT_FILES.iter().map(|name| (*name).to_string()).collect();
    assert_eq!(
        short, named,
        "files under {FILE_LINES} lines, SHORT_FILES of tests/layers.rs"
    );
}

#[test]
fn structs_are_small() {
    for (file, _) in files() {
        let text = code(&file);
        for (name, fields) in structs(&text) {
            let is_wide = fields > STRUCT_FIELDS && !WIDE_STRUCTS.contains(&name.as_str());
            assert!(!is_wide, "{}: {name} has {fields} fields", file.display());
        }
    }
}

/// The structs of a text with named fields, and how many fields each has.
fn structs(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((_, rest)) = line.split_once("struct ") else {
            continue;
        };
        if !line.ends_with('{') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let is_field = |line: &&str| {
            let depth = line.len() - line.trim_start().len();
            depth == indent + 4 && line.contains(": ")
        };
        let fields = lines
            .by_ref()
            .take_while(|line| *line != end)
            .filter(is_field)
            .count();
        found.push((name, fields));
    }
    found
}

#[test]
fn methods_of_the_facade_are_its_operations() {
    for (file, module) in files() {
        let is_facade =
            module == ["vfs"] || module.starts_with(&["vfs".to_string(), "ops".to_string()]);
        let defines = code(&file).lines().any(|line| line.starts_with("impl Vfs"));
        assert!(
            is_facade || !defines,
            "{}: methods of Vfs belong in vfs.rs and vfs/ops",
            file.display()
        );
    }
}

#[test]
fn tables_name_every_module() {
    let top: BTreeSet<String> = files()
        .into_iter()
        .map(|(_, module)| module[0].clone())
        .filter(|name| name != "lib")
        .collect();
    let named: BTreeSet<String> = LAYERS.iter().map(|(name, _)| (*name).to_string()).collect();
    assert_eq!(top, named, "LAYERS of tests/layers.rs");
    for (folder, order) in ORDER {
        let inside: BTreeSet<String> = files()
            .into_iter()
            .filter(|(_, module)| module[0] == *folder && module.len() > 1)
            .map(|(_, module)| module[1].clone())
            .collect();
        let named: BTreeSet<String> = order.iter().map(|name| (*name).to_string()).collect();
        assert_eq!(inside, named, "ORDER of tests/layers.rs: {folder}");
    }
}

#[test]
fn heads_list_every_member() {
    let all = files();
    let mut faults = BTreeSet::new();
    for (file, module) in &all {
        let folder = if *module == ["lib"] { &[] } else { &module[..] };
        let listed = listed(&fs::read_to_string(file).expect("a readable source"));
        for (_, other) in all.iter().filter(|(_, other)| other.starts_with(folder)) {
            let member = other.get(folder.len()).filter(|name| *name != "lib");
            if let Some(name) = member.filter(|name| !listed.contains(*name)) {
                faults.insert(format!("{}: the head lacks {name}", file.display()));
            }
        }
    }
    let faults: Vec<_> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The names that a `//!` head lists: the first word of each line in a list, a table or a block.
fn listed(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_block = false;
    let head = text.lines().map_while(|line| line.strip_prefix("//!"));
    for line in head.map(str::trim) {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if is_block || line.starts_with(['*', '-', '|']) {
            let name = line.trim_start_matches(|c: char| !c.is_alphanumeric());
            let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
            names.insert(name.chars().take_while(is_part).collect());
        }
    }
    names
}

#[test]
fn names_in_heads_are_found_in_all_their_forms() {
    let head = "//! Text\n//! * [`a`](mod@a): b\n//! - `c_d`: e\n//! | `f` | g |\n";
    let block = "//! ```text\n//! h  i\n//! ```\n//! j\n\nmod k;\n//! * `l`\n";
    let names: Vec<_> = listed(&format!("{head}{block}")).into_iter().collect();
    assert_eq!(names, ["a", "c_d", "f", "h"]);
}

#[test]
fn foreign_crates_stay_in_their_modules() {
    for (file, module) in files() {
        let text = code(&file);
        for (word, places) in FOREIGN {
            let misplaced = text.contains(word) && !places.contains(&module[0].as_str());
            assert!(
                !misplaced,
                "{}: {word} belongs into {places:?}",
                file.display()
            );
        }
    }
}

#[test]
fn imports_are_found_in_all_their_forms() {
    let found = |text: &str, module: &str| -> Vec<String> {
        let module: Vec<String> = module.split('/').map(str::to_string).collect();
        let found = imports(text, &module);
        found.into_iter().map(|path| path.join("/")).collect()
    };
    assert_eq!(
        found("use crate::remote::Error;", "vfs/error"),
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
        found("let x = crate::mount::check(p);", "commands"),
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
    assert_eq!(
        found("ftpfs::commands::mount::main()", "main"),
        ["commands/mount/main"]
    );
    assert_eq!(found("use mycrate::x; use xsuper::y;", "commands"), [""; 0]);
}

#[test]
fn imports_are_judged_by_the_tables() {
    let fault = |module: &[&str], target: &[&str]| {
        let owned = |parts: &[&str]| {
            parts
                .iter()
                .map(|part| part.to_string())
                .collect::<Vec<_>>()
        };
        judge(&owned(module), &owned(target)).is_some()
    };
    assert!(!fault(&["commands"], &["ftp", "Client"]));
    assert!(!fault(&["ftp", "data"], &["ftp", "control", "Control"]));
    assert!(!fault(&["ftp", "data"], &["remote", "Error"]));
    assert!(!fault(&["ftp", "listing"], &["ftp", "listing", "Clock"]));
    assert!(fault(&["ftp", "control"], &["ftp", "data"]));
    assert!(fault(&["ftp", "data"], &["vfs", "error"]));
    assert!(fault(&["vfs"], &["ftp", "client"]));
    assert!(fault(&["fuse"], &["ftp"]));
    assert!(fault(&["mount"], &["remote"]));
    let pair = |from: &str, to: &str| (from.to_string(), to.to_string());
    assert!(cycle(&BTreeSet::from([pair("a", "b"), pair("b", "c")])).is_empty());
    assert_eq!(
        cycle(&BTreeSet::from([
            pair("a", "b"),
            pair("b", "a"),
            pair("b", "c")
        ]))
        .len(),
        2
    );
    let wide = "pub struct Wide {\n    a: u8,\n    pub b: Vec<u8>,\n}\nstruct Unit;\n";
    assert_eq!(structs(wide), [("Wide".to_string(), 2)]);
}

/// What is wrong with `module` using `target`, if anything is.
fn judge(module: &[String], target: &[String]) -> Option<String> {
    let (own, wanted) = (module[0].as_str(), target.first()?.as_str());
    if own == "lib" {
        return None;
    }
    let shown = target.join("::");
    if own != wanted {
        let allowed = LAYERS.iter().find(|(name, _)| *name == own)?.1;
        return (!allowed.contains(&wanted)).then(|| format!("{own} may not use {shown}"));
    }
    let inside = module.get(1)?;
    let order = ORDER.iter().find(|(name, _)| *name == own)?.1;
    let rank = |name: &str| order.iter().position(|known| *known == name);
    let other = target.get(1).map(String::as_str);
    let is_upward = rank(other?)? < rank(inside)?;
    let is_known = UPWARDS.contains(&(inside.as_str(), other?));
    (is_upward && !is_known).then(|| format!("{inside} is below {shown}"))
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
