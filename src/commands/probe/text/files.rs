//! Formats the results about listing, reading and writing.

use crate::commands::probe::report::{Place, Report};
use crate::commands::probe::text::Lines;
use crate::ftp::{Answer, Listed, PatchOutcome, Restart, Writing};

/// Formats the section about files.
pub fn files(report: &Report) -> Lines {
    let mut lines = Vec::new();
    if let Some(listed) = &report.listed {
        lines.push(("listing", listing(listed)));
        lines.push(("times", times(report, listed)));
        lines.push((
            "reading",
            restart(report.reading.as_ref(), "no file to test with"),
        ));
    }
    if let Some(writing) = &report.writing {
        lines.extend(write_tests(writing));
    }
    match &report.scratch {
        Some(Place::Removed(place)) => {
            lines.push(("scratch", format!("{place}, removed")));
        }
        Some(Place::Left(place, why)) => {
            lines.push(("scratch", format!("{place} is STILL THERE: {why}")));
        }
        Some(Place::NotMade(why)) => lines.push(("writing", format!("no: {why}"))),
        None if report.listed.is_some() => {
            lines.push((
                "writing",
                "not tried; --write tries it in a scratch directory".into(),
            ));
        }
        None => {}
    }
    lines
}

fn listing(listed: &Listed) -> String {
    let format = match listed.format {
        Some("facts") | None => String::new(),
        Some(format) => format!(", in the format of {format}"),
    };
    let unreadable = match &listed.unreadable {
        (0, _) => String::new(),
        (count, first) => format!(
            "; {count} lines can't be parsed, the first: {}",
            first.as_deref().unwrap_or_default()
        ),
    };
    let entries = match listed.entries {
        1 => "1 entry".to_string(),
        count => format!("{count} entries"),
    };
    format!("{}{format}, {entries}{unreadable}", listed.by)
}

fn times(report: &Report, listed: &Listed) -> String {
    match (&report.settings.server.timezone, listed.zone, listed.mdtm) {
        _ if listed.by == "MLSD" => "UTC, to the second".to_string(),
        (Some(zone), _, _) => format!("as timezone={zone} says"),
        (None, Some(seconds), _) => format!("UTC{}, learned from a file", offset(seconds)),
        (None, None, Some(false)) => "unknown time zone: MDTM is not supported".to_string(),
        (None, None, _) => "time zone unknown until the first file".to_string(),
    }
}

fn write_tests(writing: &Writing) -> Lines {
    let answer = |answer: &Answer| match answer {
        Ok(()) => "yes".to_string(),
        Err(why) => format!("no: {why}"),
    };
    let stored = match (&writing.stored, &writing.store) {
        (Ok(stored), _) => stored,
        (Err(why), Ok(())) => {
            let unseen = format!(
                "yes, but stored files are not shown ({why}): taken away at once, or write-only"
            );
            return vec![("storing", unseen)];
        }
        (Err(_), store) => return vec![("storing", answer(store))],
    };
    let overwrite = match &stored.overwrite {
        Ok(()) => "yes".to_string(),
        Err(why) => format!("no ({why}): by a temporary name and a rename"),
    };
    let replace = match &stored.replace {
        Ok(()) => "replaces an existing file".to_string(),
        Err(why) => format!("does not replace an existing file ({why}): it is moved aside first"),
    };
    let times = match (&stored.times, &stored.directory_times) {
        (Ok(by), Ok(())) => format!("with {by}, of directories too"),
        (Ok(by), Err(_)) => format!("with {by}, not of directories"),
        (Err(why), _) => format!("no: {why}"),
    };
    vec![
        ("storing", answer(&writing.store)),
        ("  over a file", overwrite),
        (
            "  then reading",
            restart(stored.reading.as_ref(), "not tried"),
        ),
        ("  in the middle", restart_store(&stored.patch)),
        ("appending", answer(&stored.append)),
        ("renaming", replace),
        ("chmod", answer(&stored.chmod)),
        ("setting times", times),
    ]
}

/// Formats the effect of REST before STOR.
fn restart_store(beginning: &PatchOutcome) -> String {
    match beginning {
        PatchOutcome::Keeps => "REST before STOR writes there and keeps the rest".to_string(),
        PatchOutcome::Cuts => "REST before STOR writes there and truncates".to_string(),
        PatchOutcome::Appends => {
            "REST before STOR appends at the end instead: not honest".to_string()
        }
        PatchOutcome::Replaces => {
            "REST before STOR is ignored, the file replaced: not honest".to_string()
        }
        PatchOutcome::Wrong => "REST before STOR corrupts the file: not honest".to_string(),
        PatchOutcome::Refused(why) => format!("REST before STOR is refused: {why}"),
    }
}

/// Formats the effect of REST before RETR.
fn restart(restart: Option<&Restart>, untried: &str) -> String {
    match restart {
        Some(Restart::Honest) => "from anywhere: REST is honest".to_string(),
        Some(Restart::Ignored) => "from the start only: REST is accepted and ignored".to_string(),
        Some(Restart::Wrong) => "from the start only: REST returns wrong bytes".to_string(),
        Some(Restart::Refused(why)) => format!("from the start only: REST is refused ({why})"),
        Some(Restart::Undecided) => {
            "unknown: the file does not show whether REST is honest".to_string()
        }
        None => format!("not tried: {untried}"),
    }
}

/// Formats an offset as `+02:00`; empty for UTC.
fn offset(seconds: i32) -> String {
    let (sign, seconds) = match seconds {
        0 => return String::new(),
        ..0 => ('-', -seconds),
        _ => ('+', seconds),
    };
    format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_has_hours_and_minutes() {
        assert_eq!(offset(0), "");
        assert_eq!(offset(7200), "+02:00");
        assert_eq!(offset(-12_600), "-03:30");
    }
}
