//! Formats what is kept about a server: each fact in words, with when and how it was learned.

use crate::commands::probe::text::Lines;
use crate::ftp::protocol::time_val::civil;
use crate::ftp::{How, KeptFact};

/// The facts by their names in the file (`ftp/profile/format.rs`), which JSON has too, and in words.
const WORDS: &[(&str, &str)] = &[
    ("way", "data connections"),
    ("steps_back", "TLS 1.2 for data"),
    ("active_flights", "active mode in one write"),
    ("flights", "pipelined commands"),
    ("utf8", "names in UTF-8"),
    ("facts", "facts of MLST"),
    ("late_spares", "waits before the next data"),
    ("pret", "PRET before transfers"),
    ("mlsd", "listings by MLSD"),
    ("mlst", "single names by MLST"),
    ("list_all", "hidden files by LIST -a"),
    ("lists_entered", "listing after a later CWD"),
    ("stat_lists", "listings by STAT -a"),
    ("hides_directories", "listings lack directories"),
    ("zone", "seconds east of UTC in LIST"),
    ("mdtm", "exact times by MDTM"),
    ("chmod", "modes by SITE CHMOD"),
    ("sets_times", "times are set by"),
    ("follows", "commands during a download"),
    ("answers_behind", "commands during an upload"),
    ("early_data", "data before the reply"),
    ("appe", "appending by APPE"),
    ("appends", "APPE keeps the file"),
    ("stor_at", "parts by REST and STOR"),
    ("stor_keeps", "parts keep what follows"),
    ("stor_beyond", "parts beyond the end"),
    ("site_quota", "quota by SITE QUOTA"),
    ("moves_aside", "rename replaces no file"),
    ("paths", "paths in commands"),
    ("one_session", "one session at a time"),
    ("rest", "reading from an offset"),
    ("raw_names", "names that are not UTF-8"),
    ("iac_names", "byte 255 in names"),
    ("doubles", "second reply always sent to"),
];

/// Columns of a fact and its value.
const FACT_WIDTH: usize = 33;

/// Formats facts, and the file that they are kept in.
pub fn kept(facts: &[KeptFact], file: Option<&str>) -> Lines {
    let facts = facts.iter().enumerate();
    let mut lines: Lines = facts
        .map(|(at, kept)| (if at == 0 { "what" } else { "" }, fact(kept)))
        .collect();
    let file = file.unwrap_or("nowhere: there is no home directory");
    lines.push(("where", file.to_string()));
    lines
}

/// A fact, with when and how it was learned.
fn fact(kept: &KeptFact) -> String {
    let day =
        || civil(kept.at).map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M").to_string());
    let origin = match kept.how {
        How::Here => "now".to_string(),
        How::Before => format!("{} UTC, by an earlier mount", day()),
        How::Once => format!("{} UTC, by one refusal: later mounts try again", day()),
        How::Twice => format!("{} UTC, refused to two mounts", day()),
    };
    format!("{:<FACT_WIDTH$} {origin}", in_words(&kept.fact))
}

/// A fact in words: `mdtm yes` is "exact times by MDTM: yes".
fn in_words(fact: &str) -> String {
    let (name, value) = fact.split_once(' ').unwrap_or((fact, ""));
    let words = WORDS.iter().find(|(known, _)| *known == name);
    words.map_or(fact.to_string(), |(_, words)| format!("{words}: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::kept_fact_names;

    #[test]
    fn every_fact_has_words() {
        for name in kept_fact_names() {
            let words = in_words(&format!("{name} yes"));
            assert!(words.ends_with(": yes"), "{name}");
            assert!(words.len() <= FACT_WIDTH, "{words}: too wide");
        }
        assert_eq!(in_words("mdtm yes"), "exact times by MDTM: yes");
        assert_eq!(in_words("new 7"), "new 7");
    }
}
