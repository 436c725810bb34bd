//! Formats the status of a mount for people: a line for each subject.

use std::iter;
use std::time::Duration;

use crate::commands::human::{count, counted, date_time, duration, files, size};
use crate::commands::status::report::{Report, seconds, shown};
use crate::ftp::{Moved, Transport};
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

/// Wraps a line at blanks, so that it takes `width` columns where words allow that. The other lines begin below the value.
pub fn wrap(line: &str, width: Option<usize>) -> String {
    let indent = " ".repeat(NAME_WIDTH + 3);
    let Some(width) = width.filter(|width| *width > 2 * indent.len()) else {
        return format!("{line}\n");
    };
    let (mut text, mut row) = (String::new(), String::new());
    for word in line.split_inclusive(' ') {
        let columns = row.chars().count() + word.trim_end().chars().count();
        if columns > width && row.trim() != "" {
            text.push_str(&format!("{}\n", row.trim_end()));
            row.clone_from(&indent);
        }
        row.push_str(word);
    }
    text + row.trim_end() + "\n"
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
    let sessions = &report.connections.sessions;
    let mut words = format!(
        "{} open, {} busy, {} at most",
        sessions.open, sessions.busy, sessions.limit
    );
    if sessions.limit < sessions.wanted {
        words.push_str(", since the server accepts no more");
    }
    if sessions.waiting > 0 {
        words.push_str(&format!(
            "; {} waiting",
            counted(sessions.waiting as u64, "request")
        ));
    }
    let mut lines = vec![
        ("transport", format_transport(&report.connections.transport)),
        ("connections", words),
        ("received", moved(&report.connections.received)),
        ("sent", moved(&report.connections.sent)),
    ];
    if let Some(away) = sessions.away {
        let caches = match report.figures.stale {
            Duration::ZERO => String::new(),
            stale => format!("; caches are used {} beyond their TTL", duration(stale)),
        };
        lines.push(("server", format!("away for {}{caches}", duration(away))));
    }
    lines
}

/// Formats how the server is reached.
fn format_transport(transport: &Transport) -> String {
    let mut words = transport.tls.unwrap_or("no TLS").to_string();
    if let Some(data) = transport.data {
        let mode = if data.is_active() {
            "active"
        } else {
            "passive"
        };
        words.push_str(&format!(", {mode} data connections ({data})"));
    }
    if let Some(time) = transport.round_trip {
        let millis = time.as_micros() as f64 / 1000.0;
        words.push_str(&format!(", round trip {millis:.1} ms"));
    }
    words
}

fn moved(moved: &Moved) -> String {
    format!(
        "{}, {} per second now",
        size(moved.bytes),
        size(moved.per_second)
    )
}

fn caches(figures: &Figures) -> Lines {
    let (bytes, limit) = figures.blocks;
    let (names, directories) = figures.known;
    let memory = format!(
        "{} of {} of file data; {}, {}; {} open",
        size(bytes),
        size(limit),
        counted(names as u64, "name"),
        counted(directories as u64, "listing"),
        count(figures.open as u64)
    );
    let mut lines = vec![
        ("names", hit_rate(figures.names)),
        ("reads", hit_rate(figures.reads)),
        ("memory", memory),
    ];
    if let Some(limit) = figures.disk {
        lines.push(("disk", format!("{} of file data at most", size(limit))));
    }
    let (listings, unused_listings) = figures.listed_ahead;
    let (fetched, unused_fetched) = figures.fetched_ahead;
    let prefetch = format!(
        "prefetched {}, {} unused; {}, {} unused",
        files(fetched + unused_fetched, ""),
        count(unused_fetched),
        counted(listings + unused_listings, "listing"),
        count(unused_listings)
    );
    lines.push(("prefetch", prefetch));
    lines
}

/// Formats how many answers came from memory, and how many waited for the server.
fn hit_rate((memory, waited): (u64, u64)) -> String {
    let all = memory + waited;
    if all == 0 {
        return "none asked for yet".to_string();
    }
    let percent = u128::from(memory) * 100 / u128::from(all);
    format!(
        "{percent}% answered from memory ({} of {})",
        count(memory),
        count(all)
    )
}

fn kernel(report: &Report) -> Lines {
    let words = format!(
        "{} changes notified, {} dropped",
        count(report.notices.sent),
        count(report.notices.dropped)
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
    use crate::ftp::{Connections, DataMode, Sessions};
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
                sessions: Sessions {
                    open: 3,
                    busy: 1,
                    limit: 2,
                    wanted: 8,
                    ..Sessions::default()
                },
                transport: Transport {
                    tls: Some("TLS 1.3"),
                    data: Some(DataMode::Epsv),
                    round_trip: Some(Duration::from_micros(21_460)),
                },
                received: Moved {
                    bytes: 3 << 30,
                    per_second: 2 << 20,
                },
                ..Connections::default()
            },
            figures: Figures {
                names: (1999, 1),
                fetched_ahead: (1361, 0),
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
            "TLS 1.3, passive data connections (EPSV), round trip 21.5 ms",
            "3.0 GiB, 2.0 MiB per second now",
            "99% answered from memory (1,999 of 2,000)",
            "prefetched 1,361 files, 0 unused; 0 listings, 0 unused",
            "2 h 1 min ago; process 7",
            "1 file, 3.0 MiB",
            "ä-\\u{1}-0: 3.0 MiB, closed, 2 attempts failed",
            "STOR: 552 \"full\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn long_lines_are_wrapped_below_the_value() {
        let line = format!("  {:NAME_WIDTH$} {}", "errors", "word ".repeat(20));
        let wrapped = wrap(&line, Some(40));
        let indent = " ".repeat(NAME_WIDTH + 3);
        let mut lines = wrapped.lines();
        assert!(
            lines
                .next()
                .is_some_and(|first| first.starts_with("  errors"))
        );
        for line in lines {
            assert!(
                line.starts_with(&format!("{indent}word")) && line.len() <= 40,
                "{wrapped}"
            );
        }
        assert_eq!(wrapped.matches("word").count(), 20);
        assert_eq!(wrap("  a b", None), "  a b\n");
    }

    #[test]
    fn answer_is_bounded_with_many_pending_files() {
        let longest = 64 * 1024;
        let report = report(5000);
        let (text, json) = (format(&report, longest), report.json(longest));
        assert!(text.len() < longest && json.len() < longest);
        assert!(
            text.contains("5,000 files") && text.contains(" more\n"),
            "{text}"
        );
        assert!(json.contains("\"files\": 5000"));
    }
}
