//! Formats the status of a mount for people: a line for each subject.

use std::iter;
use std::time::Duration;

use crate::commands::human::{date_time, duration, files, size};
use crate::commands::status::report::{Report, seconds, shown};
use crate::process::printable::printable;
use crate::vfs::{Figures, Unsent};

/// Width of the names.
const NAME_WIDTH: usize = 12;

/// Formats the status in at most `longest` bytes.
pub fn format(report: &Report, longest: usize) -> String {
    let mut text = String::new();
    let lines = [
        mount(report),
        connections(report),
        caches(&report.figures),
        kernel(report),
        uploads(report, longest),
        errors(report),
    ];
    for (name, words) in lines.into_iter().flatten() {
        text.push_str(format!("  {name:NAME_WIDTH$} {}", printable(&words)).trim_end());
        text.push('\n');
    }
    text
}

/// Names and values; an empty name continues the line before.
type Lines = Vec<(&'static str, String)>;

fn mount(report: &Report) -> Lines {
    let read_only = if report.read_only { ", read-only" } else { "" };
    let mounted = format!(
        "{}, {} ago; process {}, ftpfs {}",
        date_time(seconds(report.since)),
        duration(report.lasts),
        report.process,
        env!("CARGO_PKG_VERSION")
    );
    vec![
        ("source", format!("{}{read_only}", report.source)),
        ("user", report.user.clone()),
        ("mounted", mounted),
    ]
}

fn connections(report: &Report) -> Lines {
    let connections = &report.connections;
    let mut words = format!(
        "{} open, {} busy, {} at most",
        connections.open, connections.busy, connections.limit
    );
    if connections.limit < connections.wanted {
        words.push_str(", since the server accepts no more");
    }
    if connections.waiting > 0 {
        words.push_str(&format!("; {} requests waiting", connections.waiting));
    }
    let mut lines = vec![("connections", words)];
    if let Some(away) = connections.away {
        let caches = match report.figures.stale {
            Duration::ZERO => String::new(),
            stale => format!("; caches are used {} beyond their TTL", duration(stale)),
        };
        lines.push(("server", format!("away for {}{caches}", duration(away))));
    }
    lines
}

fn caches(figures: &Figures) -> Lines {
    let answers = |(memory, waited): (u64, u64)| {
        format!("{memory} answered from memory, {waited} by the server")
    };
    let (bytes, limit) = figures.blocks;
    let (names, directories) = figures.known;
    let memory = format!(
        "{} of {} of file data; {names} names, {directories} listings; {} open",
        size(bytes),
        size(limit),
        figures.open
    );
    let mut lines = vec![
        ("names", answers(figures.names)),
        ("reads", answers(figures.reads)),
        ("memory", memory),
    ];
    if let Some(limit) = figures.disk {
        lines.push(("disk", format!("{} of file data at most", size(limit))));
    }
    let (listings, unused_listings) = figures.listed_ahead;
    let (fetched, unused_fetched) = figures.fetched_ahead;
    let prefetch = format!(
        "{listings} listings used, {unused_listings} unused; \
         {fetched} files used, {unused_fetched} unused"
    );
    lines.push(("prefetch", prefetch));
    lines
}

fn kernel(report: &Report) -> Lines {
    let words = format!(
        "{} changes notified, {} dropped",
        report.notices.sent, report.notices.dropped
    );
    vec![("kernel", words)]
}

fn uploads(report: &Report, longest: usize) -> Lines {
    let summary = match report.figures.unsent.len() {
        0 => "none".to_string(),
        count => format!(
            "{}, {}",
            files(count as u64, ""),
            size(report.unsent_bytes())
        ),
    };
    let (listed, more) = report.unsent(longest);
    let mut lines = vec![("uploads", summary)];
    lines.extend(listed.iter().map(|unsent| ("", pending_file(unsent))));
    if more > 0 {
        lines.push(("", format!("and {more} more")));
    }
    lines
}

fn errors(report: &Report) -> Lines {
    if report.errors.is_empty() {
        return vec![("errors", "none".to_string())];
    }
    let names = iter::once("errors").chain(iter::repeat(""));
    let words = report
        .errors
        .iter()
        .map(|error| format!("{} {}", date_time(seconds(error.at)), error.text));
    names.zip(words).collect()
}

fn pending_file(unsent: &Unsent) -> String {
    let bytes = match unsent.bytes {
        Some(bytes) => size(bytes),
        None => "in use".to_string(),
    };
    let state = if unsent.closed { "closed" } else { "open" };
    let tries = match unsent.failures {
        0 => String::new(),
        failures => format!(", {failures} attempts failed"),
    };
    format!("{}: {bytes}, {state}{tries}", shown(unsent))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::ftp::Connections;
    use crate::fuse::kernel_notify::Counts;
    use crate::process::logging::Line;
    use crate::remote::RemotePath;

    fn report(files: usize) -> Report {
        let name = |number: usize| format!("a-rather-long-name-ä-\u{1}-{number}");
        let unsent = |number: usize| Unsent {
            path: RemotePath::root()
                .join(name(number).as_bytes())
                .expect("a name"),
            bytes: Some(3 << 20),
            closed: true,
            failures: 2,
        };
        Report {
            source: "ftp://anna@\u{1b}[1m/".to_string(),
            user: "anna".to_string(),
            read_only: false,
            since: SystemTime::UNIX_EPOCH,
            lasts: Duration::from_secs(7300),
            process: 7,
            connections: Connections {
                open: 3,
                busy: 1,
                limit: 2,
                wanted: 8,
                waiting: 0,
                away: None,
            },
            figures: Figures {
                unsent: (0..files).map(unsent).collect(),
                ..Figures::default()
            },
            notices: Counts::default(),
            errors: vec![Line {
                at: SystemTime::UNIX_EPOCH,
                level: log::Level::Warn,
                text: "STOR: 552 \"full\"".to_string(),
            }],
        }
    }

    #[test]
    fn text_names_every_value() {
        let text = format(&report(1), 1 << 16);
        for part in [
            "ftp://anna@\\u{1b}[1m/\n",
            "3 open, 1 busy, 2 at most, since the server accepts no more",
            "2 h 1 min ago; process 7",
            "1 file, 3.0 MiB",
            "ä-\\u{1}-0: 3.0 MiB, closed, 2 attempts failed",
            "STOR: 552 \"full\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn answer_is_bounded_with_many_pending_files() {
        let longest = 64 * 1024;
        let report = report(5000);
        let (text, json) = (format(&report, longest), report.json(longest));
        assert!(text.len() < longest && json.len() < longest);
        assert!(
            text.contains("5000 files") && text.contains(" more\n"),
            "{text}"
        );
        assert!(json.contains("\"files\": 5000"));
    }
}
