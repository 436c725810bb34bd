//! Measures the inode table alone: the time and the memory of names that are learned from listings, looked up by the
//! kernel, and forgotten: `cargo bench --manifest-path benches/criterion/Cargo.toml --bench inodes`.
//!
//! Each row runs in a process of its own, since the peak of the memory is counted by process. Bytes a name are those of
//! the peak, with the listings as they come.

use std::env;
use std::process::Command;
use std::time::Instant;

use ftpfs::remote::{Attributes, Completeness, Entry, Kind, Modified, OwnerName, Precision};
use ftpfs::vfs::measured::{ROOT, Tree, trim_free_memory};

/// Names in all, and those of one directory.
const ROWS: [(usize, usize); 6] = [
    (10_000, 10_000),
    (100_000, 10_000),
    (1_000_000, 10_000),
    (10_000_000, 10_000),
    (200_000, 200_000),
    (1_000_000, 1_000_000),
];
/// The names and those of one directory, for the process of one row.
const ROW: &str = "INODES_ROW";

fn main() {
    if let Ok(row) = env::var(ROW) {
        let (names, of_one) = row.split_once(' ').expect("two numbers");
        measure(
            names.parse().expect("number of names"),
            of_one.parse().expect("names of one directory"),
        );
        return;
    }
    println!("names\tof one directory\tlearned s\tbytes a name\tforgotten s\tMiB left");
    for (names, of_one) in ROWS {
        let mut row = Command::new(env::current_exe().expect("own program"));
        let status = row.env(ROW, format!("{names} {of_one}")).status();
        assert!(status.expect("process of the row").success());
    }
}

fn measure(names: usize, of_one: usize) {
    let empty = memory("VmRSS");
    let began = Instant::now();
    let mut tree = Tree::new(Attributes::of(Kind::Directory), 64 << 20);
    let mut known = Vec::new();
    for directory in 0..names / of_one {
        let ino = tree.add_own(
            ROOT,
            format!("directory-{directory}").as_bytes(),
            Attributes::of(Kind::Directory),
        );
        let asked = tree.now();
        tree.merge_listing(ino, listing(of_one), Completeness::Whole, asked);
        known.push(ino);
        let children = tree.children(ino);
        children.iter().for_each(|child| tree.count_lookup(*child));
    }
    let learned = began.elapsed();
    let peak = memory("VmHWM");
    let began = Instant::now();
    for directory in known {
        for child in tree.children(directory) {
            tree.forget(child, 1);
        }
    }
    let forgotten = began.elapsed();
    // What a mount does every five seconds after so much was freed.
    trim_free_memory();
    println!(
        "{names}\t{of_one}\t{:.3}\t{}\t{:.3}\t{}",
        learned.as_secs_f64(),
        (peak - empty) / names,
        forgotten.as_secs_f64(),
        memory("VmRSS") >> 20,
    );
}

/// A listing of `count` names with owners, as MLSD gives it.
fn listing(count: usize) -> Vec<Entry> {
    let (owner, group) = (
        OwnerName::from(&b"someone"[..]),
        OwnerName::from(&b"users"[..]),
    );
    let entry = |number: usize| Entry {
        name: format!("entry number {number:07}").into_bytes(),
        attributes: Attributes {
            size: Some(number as u64),
            modified: Some(Modified {
                seconds: 1_612_325_045,
                precision: Precision::Second,
            }),
            mode: Some(0o644),
            owner: Some(owner.clone()),
            group: Some(group.clone()),
            ..Attributes::of(Kind::File)
        },
    };
    (0..count).map(entry).collect()
}

/// Bytes of this process by that name in its status.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("status of this process");
    let line = status.lines().find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.expect("memory").parse::<usize>().expect("number") << 10
}
