//! Generates the parts of the help that clap does not have: the forms of sources, and the options of `-o`.

use crate::cli::option_table::{Group, Spec, TABLE};

/// The options that the short help shows.
const COMMON: [&str; 11] = [
    "ro",
    "allow_other",
    "uid",
    "credentials",
    "cache_timeout",
    "timeout",
    "max_conns",
    "writeback",
    "codepage",
    "mode",
    "tls",
];

/// Returns the forms of sources.
pub(crate) fn forms_of_source() -> String {
    String::from(
        "Sources:
  ftp://[user[:password]@]host[:port][/path]
                            path below the login directory; absolute after %2F
  ftpes://..., ftps://...   the same, encrypted: by AUTH TLS, or on port 990
  [user@]host:path          path below the login directory
  [user@]host:/path         absolute path
",
    )
}

/// Returns the options of `-o` that most mounts need.
pub(crate) fn common_options() -> String {
    let mut text = String::from("Options of -o (--help has all of them):\n");
    for name in COMMON {
        for spec in TABLE.iter().filter(|spec| spec.name == name) {
            option(&mut text, spec);
        }
    }
    text
}

/// Returns all options of `-o`.
pub(crate) fn every_option() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        text.push_str(&format!("{}:\n", group.heading()));
        let specs = TABLE.iter().filter(|spec| spec.group == group);
        if group == Group::Ignored {
            let names: Vec<&str> = specs.map(|spec| spec.name).collect();
            for line in names.chunks(7) {
                text.push_str(&format!("  {}\n", line.join(" ")));
            }
        } else {
            for spec in specs {
                option(&mut text, spec);
            }
        }
        text.push('\n');
    }
    text.push_str("See also: man ftpfs.\n");
    text
}

/// Returns the text of `--version`.
pub fn version() -> String {
    format!("ftpfs {}\n", env!("CARGO_PKG_VERSION"))
}

fn option(text: &mut String, spec: &Spec) {
    let left = match spec.value {
        Some(value) => format!("{}={value}", spec.name),
        None => spec.name.to_string(),
    };
    let right = match spec.default {
        "" | "none" => spec.help.to_string(),
        default => format!("{} (default: {default})", spec.help),
    };
    row(text, OPTION_WIDTH, &left, &right);
}

/// Columns of the name of an option.
const OPTION_WIDTH: usize = 25;
/// Columns of a row.
const WIDTH: usize = 80;

/// Appends a row with two sides. The right one is wrapped; a left one that is too long has a line of its own.
pub(crate) fn row(text: &mut String, width: usize, left: &str, right: &str) {
    let indent = " ".repeat(width + 3);
    let mut line = format!("  {left:width$} ");
    if left.chars().count() > width {
        text.push_str(&format!("  {left}\n"));
        line.clone_from(&indent);
    }
    for word in right.split(' ') {
        if line.chars().count() + word.chars().count() > WIDTH && line.trim() != "" {
            text.push_str(line.trim_end());
            text.push('\n');
            line.clone_from(&indent);
        }
        line.push_str(word);
        line.push(' ');
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
