//! What there is to tell of a mount, and its form for programs.

use std::time::{Duration, SystemTime};

use crate::cli::json::Json;
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

    /// For programs, in `longest` bytes at most.
    pub fn json(&self, longest: usize) -> Json {
        let figures = &self.figures;
        let (unsent, more) = self.unsent(longest);
        let unsent = unsent.iter().map(|unsent| {
            Json::Object(vec![
                ("path", shown(unsent).into()),
                ("bytes", unsent.bytes.map(number).into()),
                ("closed", unsent.closed.into()),
                ("failures", number(unsent.failures.into()).into()),
            ])
        });
        let errors = self.errors.iter().map(|line| {
            Json::Object(vec![
                ("at", seconds(line.at).into()),
                ("level", line.level.to_string().to_lowercase().into()),
                ("text", line.text.clone().into()),
            ])
        });
        let pair = |names: [&'static str; 2], (one, other): (u64, u64)| {
            let [first, second] = names;
            Json::Object(vec![
                (first, number(one).into()),
                (second, number(other).into()),
            ])
        };
        let answers = |counts| pair(["from_memory", "waited"], counts);
        let ahead = |counts| pair(["used", "in_vain"], counts);
        let Connections {
            open,
            busy,
            limit,
            wanted,
            waiting,
        } = self.connections;
        Json::Object(vec![
            ("format", 1_i64.into()),
            ("source", self.source.clone().into()),
            ("user", self.user.clone().into()),
            ("read_only", self.read_only.into()),
            ("since", seconds(self.since).into()),
            ("process", i64::from(self.process).into()),
            ("version", env!("CARGO_PKG_VERSION").into()),
            (
                "connections",
                Json::Object(vec![
                    ("open", open.into()),
                    ("busy", busy.into()),
                    ("limit", limit.into()),
                    ("max_conns", wanted.into()),
                    ("waiting", waiting.into()),
                ]),
            ),
            ("names", answers(figures.names)),
            ("reads", answers(figures.reads)),
            ("memory", pair(["bytes", "limit"], figures.blocks)),
            ("disk_limit", figures.disk.map(number).into()),
            (
                "known",
                Json::Object(vec![
                    ("names", figures.known.0.into()),
                    ("directories", figures.known.1.into()),
                ]),
            ),
            ("open", figures.open.into()),
            ("listed_ahead", ahead(figures.listed_ahead)),
            ("fetched_ahead", ahead(figures.fetched_ahead)),
            (
                "notices",
                pair(
                    ["told", "dropped"],
                    (self.notices.told, self.notices.dropped),
                ),
            ),
            (
                "unsent",
                Json::Object(vec![
                    ("files", figures.unsent.len().into()),
                    ("bytes", number(self.unsent_bytes()).into()),
                    ("list", Json::List(unsent.collect())),
                    ("not_listed", more.into()),
                ]),
            ),
            ("errors", Json::List(errors.collect())),
        ])
    }
}

/// The path of a file. What is not UTF-8 in it can't be shown.
pub fn shown(unsent: &Unsent) -> String {
    format!("/{}", String::from_utf8_lossy(unsent.path.as_bytes()))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Seconds since 1970.
pub fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    number(since.map_or(0, |since| since.as_secs()))
}
