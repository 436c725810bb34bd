//! Formats one line for each mount, from the JSON that the mounts answer.

use serde_json::Value;

use crate::commands::human::{files, size};
use crate::process::printable::printable;

/// The headings of the columns; the last column has no width.
const HEADINGS: [&str; 5] = [
    "MOUNTPOINT",
    "SERVER",
    "CONNECTIONS",
    "PENDING",
    "LAST ERROR",
];
/// Characters of the last error.
const ERROR_LENGTH: usize = 60;

/// One mount: its columns.
pub type Row = [String; 5];

/// Returns the columns of a mount; `status` is its answer in JSON.
pub fn row(mountpoint: &str, status: &str) -> Row {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
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
        format!(
            "{} of {}",
            number("/connections/open"),
            number("/connections/limit")
        ),
        pending,
        last.map_or("none".to_string(), |last| shortened(&printable(last))),
    ]
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
    use super::*;

    #[test]
    fn a_mount_is_a_line() {
        let idle = r#"{"source": "ftp://u@h/", "connections": {"open": 2, "limit": 8},
            "unsent": {"files": 0, "bytes": 0}, "errors": []}"#;
        let error = "STOR /f: 552 no space".to_string() + &"x".repeat(80);
        let busy = idle
            .replace(
                "\"files\": 0, \"bytes\": 0",
                "\"files\": 1, \"bytes\": 2048",
            )
            .replace(
                "[]",
                &format!(r#"[{{"text": "old"}}, {{"text": "{error}"}}]"#),
            );
        let rows = [row("/mnt/www", idle), row("/m", &busy)];
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0],
            "MOUNTPOINT  SERVER      CONNECTIONS  PENDING          LAST ERROR"
        );
        assert_eq!(
            lines[1],
            "/mnt/www    ftp://u@h/  2 of 8       none             none"
        );
        let start = "/m          ftp://u@h/  2 of 8       1 file, 2.0 KiB  STOR /f: 552 no space";
        assert!(
            lines[2].starts_with(start) && lines[2].ends_with("x..."),
            "{table}"
        );
        // An older mount may not answer everything.
        assert_eq!(row("/m", "{}")[1], "unknown");
    }
}
