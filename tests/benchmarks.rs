//! The table of the README says what stands in the results of the last published run of `scripts/bench`.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Lines of the README's table, and the rows of `benches/rows.sh` that they show.
const SHOWN: &[(&str, &str)] = &[
    ("`ls -lR` of 200 directories with 2,000 files", "ls-tree"),
    ("read 200 small files one by one", "small-files"),
    ("`cp -r` of the 2,000 files", "cp-tree"),
    (
        "write 100 small files, each closed when the server has it",
        "write-files",
    ),
    (
        "the same with `writeback`, until all files are stored",
        "write-files-back",
    ),
    ("`rm -r` of 200 files in 20 directories", "rm-tree"),
    ("read 64 MiB", "read-64m"),
    ("write 32 MiB", "write-32m"),
    ("40 random reads of 4 KiB in 128 MiB", "random-40"),
    ("change one byte in the middle of 8 MiB", "change-byte"),
];
/// What the table is measured over, and on which server.
const PLACE: (&str, &str) = ("20ms-200mbit", "vsftpd");

fn text(path: &str) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(top.join(path)).expect(path)
}

/// Why the text of a cell is not what was measured, if it isn't. `measured` is that of the results.
fn fault(shown: &str, measured: Option<&Value>) -> Option<String> {
    let failed = measured.and_then(|cell| cell["failed"].as_str());
    let seconds = measured.and_then(|cell| cell["seconds"].as_f64());
    if let Some(limit) = shown.strip_prefix("over ") {
        let stands = failed == Some(&format!("over-{limit}"));
        return (!stands).then(|| format!("measured: {seconds:?} s, {failed:?}"));
    }
    if shown.is_empty() {
        return None;
    }
    let figure = shown.split(',').next().unwrap_or_default();
    let Ok(value) = figure.parse::<f64>() else {
        return Some("not a number".into());
    };
    let decimals = figure.split_once('.').map_or(0, |(_, after)| after.len());
    let half = 0.5 / 10_f64.powi(i32::try_from(decimals).expect("few decimals")) + 1e-9;
    match seconds {
        Some(seconds) if (seconds - value).abs() <= half => None,
        _ => Some(format!("measured: {seconds:?} s, {failed:?}")),
    }
}

#[test]
fn table_of_the_readme_stands_in_the_results() {
    let results: Value = serde_json::from_str(&text("docs/benchmarks/results.json")).expect("JSON");
    let whole = results["whole_lines"].as_array().expect("lines");
    assert!(
        whole.contains(&PLACE.0.into()),
        "docs/benchmarks has a part of a run alone"
    );
    let cells = results["cells"].as_array().expect("cells");
    let readme = text("README.md");
    let mut lines = readme
        .lines()
        .skip_while(|line| !line.starts_with("| over 20 ms"));
    let split = |line: &str| -> Vec<String> {
        let inner = line.trim_matches('|').split('|');
        inner.map(|cell| cell.trim().to_string()).collect()
    };
    let tools = split(lines.next().expect("a table"));
    let mut faults = Vec::new();
    let mut seen = 0;
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let shown = split(line);
        let (_, row) = SHOWN
            .iter()
            .find(|(label, _)| *label == shown[0])
            .unwrap_or_else(|| panic!("{}: which row is it?", shown[0]));
        seen += 1;
        for (tool, shown) in tools.iter().zip(&shown).skip(1) {
            let measured = cells.iter().find(|cell| {
                (cell["line"].as_str(), cell["server"].as_str()) == (Some(PLACE.0), Some(PLACE.1))
                    && cell["row"] == *row
                    && cell["tool"] == tool.as_str()
            });
            if let Some(fault) = fault(shown, measured) {
                faults.push(format!("{row}, {tool}: the README says '{shown}'; {fault}"));
            }
        }
    }
    assert_eq!(seen, SHOWN.len(), "lines of the table");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn figure_that_was_not_measured_is_a_fault() {
    let cell = serde_json::json!({ "seconds": 1.26 });
    let over = serde_json::json!({ "failed": "over-120" });
    assert_eq!(fault("1.3", Some(&cell)), None);
    assert_eq!(fault("1.3, close does not wait", Some(&cell)), None);
    assert_eq!(fault("over 120", Some(&over)), None);
    for (shown, measured) in [
        ("1.2", Some(&cell)),
        ("fast", Some(&cell)),
        ("over 120", Some(&cell)),
        ("over 60", Some(&over)),
        ("120", Some(&over)),
        ("1.3", None),
    ] {
        assert!(fault(shown, measured).is_some(), "{shown}");
    }
}
