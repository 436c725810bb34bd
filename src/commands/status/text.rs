//! How a mount is, in words for people: a line for each thing.

use crate::commands::human::{date_time, duration, size};
use crate::commands::status::report::{Report, seconds, shown};
use crate::vfs::Unsent;

/// How wide the names of things are.
const LEFT: usize = 12;

/// The text, of `longest` bytes at most.
pub fn words(report: &Report, longest: usize) -> String {
    let mut text = String::new();
    let mut line = |name: &str, words: String| {
        text.push_str(format!("  {name:LEFT$} {}", plain(&words)).trim_end());
        text.push('\n');
    };
    let figures = &report.figures;
    let read_only = if report.read_only { ", read-only" } else { "" };
    line("source", format!("{}{read_only}", report.source));
    line("user", report.user.clone());
    line(
        "mounted",
        format!(
            "{}, {} ago; process {}, ftpfs {}",
            date_time(seconds(report.since)),
            duration(report.lasts),
            report.process,
            env!("CARGO_PKG_VERSION")
        ),
    );
    let connections = &report.connections;
    let mut words = format!(
        "{} open, {} busy, {} at most",
        connections.open, connections.busy, connections.limit
    );
    if connections.limit < connections.wanted {
        words.push_str(", since the server takes no more");
    }
    if connections.waiting > 0 {
        words.push_str(&format!("; {} wait for one", connections.waiting));
    }
    line("connections", words);
    let answers = |(memory, waited): (u64, u64)| {
        format!("{memory} answered from memory, {waited} waited for the server")
    };
    line("names", answers(figures.names));
    line("reads", answers(figures.reads));
    let (bytes, limit) = figures.blocks;
    let (names, directories) = figures.known;
    line(
        "memory",
        format!(
            "{} of {} of what was read; {names} names, {directories} listings; {} open",
            size(bytes),
            size(limit),
            figures.open
        ),
    );
    if let Some(limit) = figures.disk {
        line("disk", format!("{} of what was read at most", size(limit)));
    }
    let ((listed, listed_in_vain), (fetched, fetched_in_vain)) =
        (figures.listed_ahead, figures.fetched_ahead);
    line(
        "ahead",
        format!(
            "{listed} directories listed and looked at, {listed_in_vain} in vain; \
             {fetched} files fetched and read, {fetched_in_vain} in vain"
        ),
    );
    line(
        "others",
        format!(
            "the kernel was told of {} changes, {} dropped",
            report.notices.told, report.notices.dropped
        ),
    );
    let (listed, more) = report.unsent(longest);
    match figures.unsent.len() {
        0 => line("to be sent", "nothing".to_string()),
        files => {
            let word = if files == 1 { "file" } else { "files" };
            let bytes = size(report.unsent_bytes());
            line("to be sent", format!("{files} {word}, {bytes}"));
        }
    }
    for unsent in listed {
        line("", waiting(unsent));
    }
    if more > 0 {
        line("", format!("and {more} more"));
    }
    match report.errors.as_slice() {
        [] => line("errors", "none".to_string()),
        errors => {
            for (number, error) in errors.iter().enumerate() {
                let name = if number == 0 { "errors" } else { "" };
                line(
                    name,
                    format!("{} {}", date_time(seconds(error.at)), error.text),
                );
            }
        }
    }
    text
}

fn waiting(unsent: &Unsent) -> String {
    let bytes = match unsent.bytes {
        Some(bytes) => size(bytes),
        None => "just being worked on".to_string(),
    };
    let state = if unsent.closed { "closed" } else { "open" };
    let tries = match unsent.failures {
        0 => String::new(),
        failures => format!(", {failures} tries failed"),
    };
    format!("{}: {bytes}, {state}{tries}", shown(unsent))
}

/// What can be shown on a terminal.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::ftp::Connections;
    use crate::fuse::kernel_notify::Counts;
    use crate::process::logging::Line;
    use crate::remote::RemotePath;
    use crate::vfs::Figures;

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
    fn words_tell_what_there_is() {
        let text = words(&report(1), 1 << 16);
        for part in [
            "ftp://anna@?[1m/\n",
            "3 open, 1 busy, 2 at most, since the server takes no more",
            "2 h 1 min ago; process 7",
            "1 file, 3.0 MiB",
            "ä-?-0: 3.0 MiB, closed, 2 tries failed",
            "STOR: 552 \"full\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn an_answer_is_bounded_however_much_waits() {
        let longest = 64 * 1024;
        let report = report(5000);
        let (text, json) = (words(&report, longest), report.json(longest));
        assert!(text.len() < longest && json.len() < longest);
        assert!(
            text.contains("5000 files") && text.contains(" more\n"),
            "{text}"
        );
        assert!(json.contains("\"files\": 5000"));
    }
}
