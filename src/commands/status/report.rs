//! What there is to tell of a mount, and its form for programs.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::commands::json;
use crate::ftp::Connections;
use crate::fuse::kernel_notify::Counts;
use crate::process::logging::Line;
use crate::vfs::{Figures, Unsent};

/// How a mount is.
#[derive(Debug)]
pub struct Report {
    /// What is mounted, without a password.
    pub source: String,
    /// Who logged in.
    pub user: String,
    /// Nothing can be changed.
    pub read_only: bool,
    /// When it began.
    pub since: SystemTime,
    /// How long ago that was.
    pub lasts: Duration,
    /// The number of its process.
    pub process: u32,
    /// Its connections.
    pub connections: Connections,
    /// Caches, and what was done ahead.
    pub figures: Figures,
    /// What the kernel was told.
    pub notices: Counts,
    /// What went wrong lately, the last of it last.
    pub errors: Vec<Line>,
}

/// The share of an answer that the names of what waits to be stored may take: there may be hundreds.
const NAMES_SHARE: usize = 4;
/// Bytes that stand around a name.
const AROUND_A_NAME: usize = 200;
/// Bytes that one byte of a name takes at most: `\u0001`.
const ESCAPED: usize = 6;

impl Report {
    /// What waits to be stored, as far as its names have room in an answer of `longest` bytes, and
    /// how much more there is.
    pub fn unsent(&self, longest: usize) -> (&[Unsent], usize) {
        let mut room = longest / NAMES_SHARE;
        let all = &self.figures.unsent;
        let mut count = 0;
        for unsent in all {
            let taken = AROUND_A_NAME + ESCAPED * unsent.path.as_bytes().len();
            if taken > room {
                break;
            }
            room -= taken;
            count += 1;
        }
        (&all[..count], all.len() - count)
    }

    /// Bytes that wait, as far as they are known.
    pub fn unsent_bytes(&self) -> u64 {
        let unsent = self.figures.unsent.iter();
        unsent.filter_map(|unsent| unsent.bytes).sum()
    }

    /// The status in JSON, of at most `longest` bytes.
    pub fn json(&self, longest: usize) -> String {
        let figures = &self.figures;
        let (unsent, not_listed) = self.unsent(longest);
        let unsent = unsent.iter().map(|unsent| FileJson {
            path: shown(unsent),
            bytes: unsent.bytes,
            closed: unsent.closed,
            failures: unsent.failures,
        });
        let errors = self.errors.iter().map(|line| ErrorJson {
            at: seconds(line.at),
            level: line.level.to_string().to_lowercase(),
            text: &line.text,
        });
        let answers = |(from_memory, waited)| AnswersJson {
            from_memory,
            waited,
        };
        let ahead = |(used, in_vain)| AheadJson { used, in_vain };
        json::to_text(&StatusJson {
            mount: MountJson {
                format: FORMAT,
                source: &self.source,
                user: &self.user,
                read_only: self.read_only,
                since: seconds(self.since),
                process: self.process,
                version: env!("CARGO_PKG_VERSION"),
            },
            connections: ConnectionsJson {
                open: self.connections.open,
                busy: self.connections.busy,
                limit: self.connections.limit,
                max_conns: self.connections.wanted,
                waiting: self.connections.waiting,
            },
            names: answers(figures.names),
            reads: answers(figures.reads),
            memory: MemoryJson {
                bytes: figures.blocks.0,
                limit: figures.blocks.1,
            },
            disk_limit: figures.disk,
            known: KnownJson {
                names: figures.known.0,
                directories: figures.known.1,
            },
            open: figures.open,
            listed_ahead: ahead(figures.listed_ahead),
            fetched_ahead: ahead(figures.fetched_ahead),
            notices: NoticesJson {
                told: self.notices.told,
                dropped: self.notices.dropped,
            },
            unsent: UnsentJson {
                files: figures.unsent.len(),
                bytes: self.unsent_bytes(),
                list: unsent.collect(),
                not_listed,
            },
            errors: errors.collect(),
        })
    }
}

/// Counts up when a key changes its meaning.
const FORMAT: u32 = 1;

/// The JSON of a mount's status. The manual documents the keys.
#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(flatten)]
    mount: MountJson<'a>,
    connections: ConnectionsJson,
    names: AnswersJson,
    reads: AnswersJson,
    memory: MemoryJson,
    disk_limit: Option<u64>,
    known: KnownJson,
    open: usize,
    listed_ahead: AheadJson,
    fetched_ahead: AheadJson,
    notices: NoticesJson,
    unsent: UnsentJson,
    errors: Vec<ErrorJson<'a>>,
}

#[derive(Serialize)]
struct MountJson<'a> {
    format: u32,
    source: &'a str,
    user: &'a str,
    read_only: bool,
    since: i64,
    process: u32,
    version: &'static str,
}

#[derive(Serialize)]
struct ConnectionsJson {
    open: usize,
    busy: usize,
    limit: usize,
    max_conns: usize,
    waiting: usize,
}

#[derive(Serialize)]
struct AnswersJson {
    from_memory: u64,
    waited: u64,
}

#[derive(Serialize)]
struct MemoryJson {
    bytes: u64,
    limit: u64,
}

#[derive(Serialize)]
struct KnownJson {
    names: usize,
    directories: usize,
}

#[derive(Serialize)]
struct AheadJson {
    used: u64,
    in_vain: u64,
}

#[derive(Serialize)]
struct NoticesJson {
    told: u64,
    dropped: u64,
}

#[derive(Serialize)]
struct UnsentJson {
    files: usize,
    bytes: u64,
    list: Vec<FileJson>,
    not_listed: usize,
}

#[derive(Serialize)]
struct FileJson {
    path: String,
    bytes: Option<u64>,
    closed: bool,
    failures: u32,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    at: i64,
    level: String,
    text: &'a str,
}

/// The path of a file. What is not UTF-8 in it can't be shown.
pub fn shown(unsent: &Unsent) -> String {
    format!("/{}", String::from_utf8_lossy(unsent.path.as_bytes()))
}

/// Seconds since 1970.
pub fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
