//! Defines the status of a mount, and its form in JSON.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::commands::json;
use crate::ftp::{Connections, Moved};
use crate::fuse::kernel_notify::Counts;
use crate::process::logging::Line;
use crate::vfs::{Figures, Unsent};

/// The status of a mount.
#[derive(Debug)]
pub struct Report {
    /// The source, without a password.
    pub source: String,
    /// The user who logged in.
    pub user: String,
    /// A read-only mount.
    pub read_only: bool,
    /// Time of the mount.
    pub since: SystemTime,
    /// Age of the mount.
    pub lasts: Duration,
    /// Process ID.
    pub process: u32,
    /// Connections.
    pub connections: Connections,
    /// Caches, prefetch, pending uploads.
    pub figures: Figures,
    /// Notifications of the kernel.
    pub notices: Counts,
    /// The last warnings and errors, the newest last.
    pub errors: Vec<Line>,
}

/// The list of pending uploads, which may be long, takes at most this fraction of an answer.
const UNSENT_FRACTION: usize = 4;
/// Bytes of an entry besides the name.
const ENTRY_OVERHEAD: usize = 200;
/// Maximum bytes of an escaped byte: `\u0001`.
const ESCAPED_BYTE: usize = 6;

impl Report {
    /// Returns the pending uploads whose names fit into an answer of `longest` bytes, and the number of
    /// the others.
    pub fn unsent(&self, longest: usize) -> (&[Unsent], usize) {
        let mut room = longest / UNSENT_FRACTION;
        let all = &self.figures.unsent;
        let mut count = 0;
        for unsent in all {
            let taken = ENTRY_OVERHEAD + ESCAPED_BYTE * unsent.path.as_bytes().len();
            if taken > room {
                break;
            }
            room -= taken;
            count += 1;
        }
        (&all[..count], all.len() - count)
    }

    /// Returns the pending bytes, as far as they are known.
    pub fn unsent_bytes(&self) -> u64 {
        let unsent = self.figures.unsent.iter();
        unsent.filter_map(|unsent| unsent.bytes).sum()
    }

    /// Returns the status in JSON, of at most `longest` bytes.
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
        let moved = |moved: &Moved| MovedJson {
            bytes: moved.bytes,
            per_second: moved.per_second,
        };
        json::to_text(&StatusJson {
            mount: self.mount_json(),
            connections: self.connections_json(),
            traffic: TrafficJson {
                received: moved(&self.connections.received),
                sent: moved(&self.connections.sent),
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
                told: self.notices.sent,
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

    fn mount_json(&self) -> MountJson<'_> {
        MountJson {
            format: FORMAT,
            source: &self.source,
            user: &self.user,
            read_only: self.read_only,
            since: seconds(self.since),
            process: self.process,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn connections_json(&self) -> ConnectionsJson {
        let (sessions, transport) = (&self.connections.sessions, &self.connections.transport);
        ConnectionsJson {
            open: sessions.open,
            busy: sessions.busy,
            limit: sessions.limit,
            max_conns: sessions.wanted,
            waiting: sessions.waiting,
            away: sessions.away.map(|away| away.as_secs()),
            stale: self.figures.stale.as_secs(),
            tls: transport.tls,
            data: transport.data.map(|data| data.to_string()),
            round_trip_us: transport.round_trip.map(micros),
        }
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
    traffic: TrafficJson,
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
    away: Option<u64>,
    stale: u64,
    tls: Option<&'static str>,
    data: Option<String>,
    round_trip_us: Option<u64>,
}

#[derive(Serialize)]
struct TrafficJson {
    received: MovedJson,
    sent: MovedJson,
}

#[derive(Serialize)]
struct MovedJson {
    bytes: u64,
    per_second: u64,
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the path of a file; bytes that are not UTF-8 are replaced.
pub fn shown(unsent: &Unsent) -> String {
    format!("/{}", String::from_utf8_lossy(unsent.path.as_bytes()))
}

/// Returns the seconds since 1970.
pub fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
