//! Generates the parts of the help that clap does not have: the forms of sources, and the options of `-o`.

use terminal_size::terminal_size_of;

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

/// The forms of sources.
const FORMS: [(&str, &str); 4] = [
    (
        "ftp://[user[:password]@]host[:port][/path]",
        "path below the login directory; absolute after %2F",
    ),
    (
        "ftpes://..., ftps://...",
        "the same, encrypted: by AUTH TLS, or on port 990",
    ),
    ("[user@]host:path", "path below the login directory"),
    ("[user@]host:/path", "absolute path"),
];

/// Returns the forms of sources.
pub(crate) fn forms_of_source() -> String {
    let mut text = String::from("Sources:\n");
    for (form, meaning) in FORMS {
        row(&mut text, OPTION_WIDTH, form, meaning);
    }
    text
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
            row(&mut text, 0, "", &names.join(" "));
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
/// Columns of the help: the terminal's, within these bounds, or as many as most terminals have.
const MIN_WIDTH: usize = 64;
const MAX_WIDTH: usize = 100;
const USUAL_WIDTH: usize = 80;

/// Returns the columns of the help: `COLUMNS`, as clap reads it, or those of the terminal.
pub(crate) fn help_width() -> usize {
    let named = std::env::var("COLUMNS").ok();
    let named = named.and_then(|columns| columns.parse().ok());
    let shown = || terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    let width = named.or_else(shown).unwrap_or(USUAL_WIDTH);
    width.clamp(MIN_WIDTH, MAX_WIDTH)
}

/// Appends a row with two sides. The right one is wrapped; a left one that is too long has a line of its own.
pub(crate) fn row(text: &mut String, width: usize, left: &str, right: &str) {
    let columns = help_width();
    let indent = " ".repeat(width + 3);
    let mut line = format!("  {left:width$} ");
    if left.chars().count() > width {
        text.push_str(&format!("  {left}\n"));
        line.clone_from(&indent);
    }
    for word in right.split(' ') {
        if line.chars().count() + word.chars().count() > columns && line.trim() != "" {
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
