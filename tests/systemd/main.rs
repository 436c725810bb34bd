//! Mounts under a real systemd: fstab, automounts, shutdown, logout, services and autofs.
//!
//! Each test boots a small Debian (`scripts/systemd-root`) with systemd as PID 1 in namespaces of its own, which takes a
//! second. Its network is that of the test's script, where vsftpd runs. So the server outlives the machine.
//!
//! Needs root, `/dev/fuse`, `/dev/autofs` and cgroup v2. A machine that can't do it makes the tests fail. With
//! `FTPFS_WITHOUT_SYSTEMD=1` they only say so: `scripts/test` sets it there, and repeats the reason at its end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/limited.rs"]
mod limited;
#[path = "../support/namespace.rs"]
mod namespace;

mod autofs;
mod automount;
mod documents;
mod mounts;
mod package;
mod shutdown;

use std::process::Command;

const ROOT_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/systemd-root");
const MACHINE: &str = include_str!("machine.sh");
const README: &str = include_str!("../../README.md");
const DOCUMENT: &str = include_str!("../../docs/fstab-systemd-autofs.md");

/// The roots of the machines; none where tests are left out on purpose.
fn roots() -> Vec<String> {
    if std::env::var_os("FTPFS_WITHOUT_SYSTEMD").is_some() {
        println!("NOT TESTED: this machine can't boot systemd in namespaces");
        return Vec::new();
    }
    let suites: &[&str] = match std::env::var_os("FTPFS_ALL_TESTS") {
        Some(_) => &["trixie", "bookworm"],
        None => &["trixie"],
    };
    let root = |suite: &&str| {
        let made = Command::new(ROOT_SCRIPT).arg(suite).output().unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "no root to boot: {said}");
        String::from_utf8(made.stdout).unwrap().trim().to_string()
    };
    suites.iter().map(root).collect()
}

/// Runs a script, which must succeed within `limit` seconds.
fn run(limit: u64, script: &str) {
    for root in roots() {
        namespace::run(limit, &format!("ROOT={root}\n{MACHINE}\n{script}"));
    }
}

/// The fstab line of the README for the account of the test, with more options.
fn readme_line(options: &str) -> String {
    let line = README
        .lines()
        .find(|line| line.starts_with("ftp://anna@") && line.contains("x-systemd.automount"));
    let line = line.expect("the README's line of fstab");
    let mut fields: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    fields[0] = "$U/".to_string();
    fields[3].push_str(options);
    fields.join(" ")
}

/// The blocks of a language in `docs/fstab-systemd-autofs.md`, for the account of the test.
fn blocks(language: &str) -> Vec<String> {
    let parts = DOCUMENT.split("```").skip(1).step_by(2);
    let blocks = parts.filter_map(|part| part.strip_prefix(&format!("{language}\n")));
    let blocks: Vec<String> = blocks
        .map(|block| block.replace("anna@", "$account@").replace('"', "\\\""))
        .collect();
    assert!(!blocks.is_empty(), "no blocks of {language}");
    blocks
}

/// Commands that write these blocks to the files that their first lines name.
fn written(blocks: &[String]) -> String {
    let files = blocks.iter().map(|block| {
        let (name, text) = block.split_once('\n').expect("a name");
        let name = name.strip_prefix("# /").expect("the name of a file");
        format!(
            "mkdir -p $(dirname $V/{name}); cat >$V/{name} <<END\n{}END\n",
            text.replace('\\', "\\\\")
        )
    });
    files.collect()
}
