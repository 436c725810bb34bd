//! Formats one line for each mount, from the JSON that the mounts answer.

use serde_json::Value;

use crate::commands::human::{files, size};
use crate::process::printable::printable;

/// The headings of the columns; the last column has no width.
const HEADINGS: [&str; 8] = [
    "MOUNTPOINT",
    "SERVER",
    "MODE",
    "CONNECTIONS",
    "READ/S",
    "WRITTEN/S",
    "PENDING",
    "LAST ERROR",
];
/// Characters of the last error.
const ERROR_LENGTH: usize = 60;

/// One mount: its columns.
pub type Row = [String; 8];

/// Returns the columns of a mount; `status` is its answer in JSON.
pub fn row(mountpoint: &str, status: &Value) -> Row {
    let number = |path: &str| {
        status
            .pointer(path)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let text = |path: &str| {
        let value = status.pointer(path).and_then(Value::as_str);
        printable(value.unwrap_or("unknown"))
    };
    let pending = match number("/unsent/files") {
        0 => "none".to_string(),
        count => format!("{}, {}", files(count, ""), size(number("/unsent/bytes"))),
    };
    let errors = status.pointer("/errors").and_then(Value::as_array);
    let last = errors.and_then(|errors| errors.last()?.pointer("/text")?.as_str());
    [
        printable(mountpoint),
        text("/source"),
        mode(status),
        format!(
            "{} of {}",
            number("/connections/open"),
            number("/connections/limit")
        ),
        size(number("/traffic/received/per_second")),
        size(number("/traffic/sent/per_second")),
        pending,
        last.map_or("none".to_string(), |last| shortened(&printable(last))),
    ]
}

/// Formats the way of data connections, and TLS; "away" while the server is.
fn mode(status: &Value) -> String {
    let text = |path: &str| status.pointer(path).and_then(Value::as_str);
    if (status.pointer("/connections/away")).is_some_and(|away| !away.is_null()) {
        return "away".to_string();
    }
    let data = match text("/connections/data") {
        Some("EPRT" | "PORT") => "active, ",
        Some(_) => "passive, ",
        None => "",
    };
    format!(
        "{data}{}",
        printable(text("/connections/tls").unwrap_or("no TLS"))
    )
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(ERROR_LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

/// Returns the table of these mounts.
pub fn table(rows: &[Row]) -> String {
    let headings = HEADINGS.map(str::to_string);
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&headings])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for row in [&headings].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mount_is_a_line() {
        let error = "STOR /f: 552 no space".to_string() + &"x".repeat(80);
        let idle =
            json!({"source": "ftp://u@h/", "connections": {"open": 2, "limit": 8}, "errors": []});
        let busy = json!({
            "source": "ftp://u@h/",
            "connections": {"open": 2, "limit": 8, "away": null, "data": "EPSV", "tls": "TLS 1.3"},
            "traffic": {"received": {"per_second": 2048}},
            "unsent": {"files": 1, "bytes": 2048},
            "errors": [{"text": "old"}, {"text": error}],
        });
        let away = json!({"connections": {"away": 3}});
        let rows = [row("/mnt/www", &idle), row("/m", &busy), row("/a", &away)];
        let table = table(&rows);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().map(words).collect();
        let headings = "MOUNTPOINT SERVER MODE CONNECTIONS READ/S WRITTEN/S PENDING LAST ERROR";
        assert_eq!(lines[0], headings);
        assert_eq!(
            lines[1],
            "/mnt/www ftp://u@h/ no TLS 2 of 8 0 bytes 0 bytes none none"
        );
        let start =
            "/m ftp://u@h/ passive, TLS 1.3 2 of 8 2.0 KiB 0 bytes 1 file, 2.0 KiB STOR /f: 552";
        assert!(
            lines[2].starts_with(start) && lines[2].ends_with("x..."),
            "{table}"
        );
        // An older mount may not answer everything.
        assert_eq!(lines[3], "/a unknown away 0 of 0 0 bytes 0 bytes none none");
    }
}
