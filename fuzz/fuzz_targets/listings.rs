//! Any bytes as a listing.
//!
//! Beyond the absence of panics: what comes out are names and no more of them than there were
//! lines, reading a second time says the same, and a line of facts means the same wherever it
//! stands.

#![no_main]

use ftpfs::ftp::listing::{Clock, Line, Parser};
use ftpfs::remote::{Entry, is_name};
use libfuzzer_sys::fuzz_target;

/// 2026-06-15 12:00:00 UTC, and the ends of what a clock can say.
const CLOCKS: [Clock; 3] = [
    Clock {
        now: 1_781_524_800,
        zone: 0,
    },
    Clock {
        now: i64::MAX,
        zone: i32::MAX,
    },
    Clock {
        now: i64::MIN,
        zone: i32::MIN,
    },
];

fuzz_target!(|bytes: &[u8]| {
    let facts = read(Parser::facts(), bytes);
    for (line, entry) in bytes.split(|&byte| byte == b'\n').zip(&facts) {
        assert_eq!(Parser::facts().line(line), *entry);
    }
    for clock in CLOCKS {
        let lines = read(Parser::list(clock), bytes);
        assert_eq!(lines, read(Parser::list(clock), bytes));
    }
});

fn read(mut parser: Parser, bytes: &[u8]) -> Vec<Line> {
    let mut lines: Vec<_> = bytes
        .split(|&byte| byte == b'\n')
        .map(|line| parser.line(line))
        .collect();
    for line in &lines {
        if let Line::Entry(entry) = line {
            check(entry);
        }
    }
    if let Some(entry) = parser.finish() {
        check(&entry);
        lines.push(Line::Entry(entry));
    }
    assert_eq!(parser.finish(), None);
    lines
}

fn check(entry: &Entry) {
    assert!(is_name(&entry.name));
    let known = &entry.attributes;
    assert!(known.mode.is_none_or(|mode| mode <= 0o7777));
    assert!(known.size.is_none_or(|size| i64::try_from(size).is_ok()));
}
