//! A report in words, for people: a heading for each section, and a line for each fact.

use std::time::Duration;

use crate::ftp::time::civil;
use crate::ftp::{Answer, Beginning, Encryption, Fault, Restart, Trial};
use crate::options::{Encrypt, Mode};
use crate::probe::advice;
use crate::probe::report::{Place, Report, Section};

/// How wide the names of facts are.
const LEFT: usize = 15;

/// How wide the facts are, at most, where they can be broken.
const RIGHT: usize = 92;
const COMMAND: &str = "command";
const FSTAB: &str = "/etc/fstab";

/// One section, as far as it is known; empty where nothing is.
pub fn section(report: &Report, section: Section) -> String {
    let (heading, lines) = match section {
        Section::Server => ("Server", server(report)),
        Section::Encryption => ("Encryption", encryption(report)),
        Section::Ways => ("Data connections, from here", ways(report)),
        Section::Files => ("Files", files(report)),
        Section::Connections => ("Connections", connections(report)),
        Section::Mount => ("How to mount it", mount(report)),
    };
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("{heading}\n");
    for (name, words) in lines {
        // What is to be copied stays in one piece.
        let whole = matches!(name, COMMAND | FSTAB | "fingerprint");
        let parts = if whole { vec![words] } else { wrap(&words) };
        for (at, part) in parts.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            text.push_str(format!("  {name:LEFT$} {part}").trim_end());
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

type Lines = Vec<(&'static str, String)>;

fn server(report: &Report) -> Lines {
    let mut lines = vec![("source", report.source.clone())];
    if let Some(door) = &report.door {
        let greeted = format!("{}, greets after {}", door.place, time(door.took));
        lines.push((
            "address",
            match &report.server {
                Some(server) => format!("{greeted}, logs in after {}", time(server.took)),
                None => greeted,
            },
        ));
        lines.push(("greeting", door.greeting.join(" / ")));
    }
    if let Some(server) = &report.server {
        let system = server.system.as_ref().unwrap_or_else(|refusal| refusal);
        lines.push(("system", system.clone()));
        lines.push((
            "features",
            match server.features.is_empty() {
                true => "it lists none".to_string(),
                false => server.features.join(", "),
            },
        ));
        lines.push(("directory", server.directory.clone()));
    }
    lines
}

fn encryption(report: &Report) -> Lines {
    let Some(door) = &report.door else {
        return Vec::new();
    };
    let encryption = match &door.encryption {
        Err(why) => return vec![("offered", format!("no: {why}"))],
        Ok(encryption) => encryption,
    };
    let certificate = &encryption.certificate;
    let date = |seconds: Option<i64>| match seconds {
        Some(seconds) => {
            let day = civil(seconds);
            format!("{:04}-{:02}-{:02}", day.year, day.month, day.day)
        }
        None => "?".to_string(),
    };
    let mut lines = vec![
        (
            "offered",
            format!("{}, {}", encryption.version, encryption.cipher),
        ),
        ("certificate", certificate.subject.clone()),
        ("issued by", certificate.issuer.clone()),
        (
            "valid",
            format!(
                "{} to {}",
                date(certificate.not_before),
                date(certificate.not_after)
            ),
        ),
        ("fingerprint", certificate.fingerprint.clone()),
        ("verified", verdict(report, encryption)),
    ];
    if let Some(server) = &report.server {
        let demand = match &report.resumption {
            Some(Err(why)) => format!("; the server demands that ({why})"),
            _ => String::new(),
        };
        let data = match (server.protects_data, report.resumes()) {
            (false, _) => "in clear".to_string(),
            (true, None) => "encrypted".to_string(),
            (true, Some(true)) => format!("encrypted, sessions are resumed{demand}"),
            (true, Some(false)) => format!("encrypted, not all sessions are resumed{demand}"),
        };
        let stepped = if report.steps_back {
            "; with TLS 1.2"
        } else {
            ""
        };
        lines.push(("data", format!("{data}{stepped}")));
    }
    lines
}

fn verdict(report: &Report, encryption: &Encryption) -> String {
    let settings = &report.settings;
    match &encryption.verdict {
        _ if settings.tls == Some(Encrypt::Off) => "not looked at, with tls=off".to_string(),
        _ if settings.no_verify_peer => "not looked at, with no_verify_peer".to_string(),
        Ok(()) if settings.fingerprint.is_some() => "it is the one of fingerprint=".to_string(),
        Ok(()) => "yes".to_string(),
        Err(why) if report.server.is_some() => {
            format!("no: {why}. Taken, since it was seen first, or as before")
        }
        Err(why) => format!("no: {why}"),
    }
}

fn ways(report: &Report) -> Lines {
    let name = |trial: &Trial| match trial.way {
        crate::ftp::Way::Epsv => "EPSV (passive)",
        crate::ftp::Way::Pasv => "PASV (passive)",
        crate::ftp::Way::Eprt => "EPRT (active)",
        crate::ftp::Way::Port => "PORT (active)",
    };
    let trials = report.trials.iter();
    trials
        .map(|trial| (name(trial), way(report, trial)))
        .collect()
}

fn way(report: &Report, trial: &Trial) -> String {
    let took = time(trial.took);
    let named = match &trial.named {
        Some(named) if named.is_another && named.is_private => {
            format!("; the server names {}, a private address", named.address)
        }
        Some(named) if named.is_another => {
            format!("; the server names another address, {}", named.address)
        }
        _ => String::new(),
    };
    match &trial.fault {
        None => format!("works, {took}{named}"),
        Some(fault) => format!("fails after {took}: {}{named}", why(report, fault)),
    }
}

/// What is wrong with a way.
pub fn why(report: &Report, fault: &Fault) -> String {
    match fault {
        Fault::Refused(said) => format!("the server refuses it ({said})"),
        Fault::Closed(place) => {
            format!(
                "the port that the server names is closed ({place}): NAT or a firewall at the server"
            )
        }
        Fault::Filtered(place) => {
            format!(
                "nothing answers at {place}: the server's passive ports are filtered by a firewall"
            )
        }
        Fault::Unreached(said) => {
            let server = report.server.as_ref();
            let local = server.and_then(|server| server.local.as_deref());
            let cause = match server.is_some_and(|server| server.behind_nat) {
                true => "we are behind NAT",
                false => "a firewall here or there",
            };
            let said = match said {
                Some(said) => format!(" ({said})"),
                None => String::new(),
            };
            format!(
                "the server can't reach us at {}{said}: {cause}",
                local.unwrap_or("our address")
            )
        }
        Fault::Unencrypted(cause) => format!("it is connected, but can't be encrypted ({cause})"),
        Fault::Barred(cause) => format!("not possible from here ({cause})"),
        Fault::Other(cause) => cause.clone(),
    }
}

fn files(report: &Report) -> Lines {
    let mut lines = Vec::new();
    if let Some(listed) = &report.listed {
        let format = match listed.format {
            Some("facts") | None => String::new(),
            Some(format) => format!(", in the format of {format}"),
        };
        let unreadable = match &listed.unreadable {
            (0, _) => String::new(),
            (count, first) => format!(
                "; {count} lines can't be read, the first: {}",
                first.as_deref().unwrap_or_default()
            ),
        };
        lines.push((
            "listing",
            format!(
                "{}{format}, {} {}{unreadable}",
                listed.by,
                listed.entries,
                if listed.entries == 1 {
                    "entry"
                } else {
                    "entries"
                }
            ),
        ));
        let times = match (&report.settings.timezone, listed.zone, listed.mdtm) {
            _ if listed.by == "MLSD" => "UTC, to the second".to_string(),
            (Some(zone), _, _) => format!("as timezone={zone} says"),
            (None, Some(seconds), _) => format!("UTC{}, learned from a file", offset(seconds)),
            (None, None, Some(false)) => "of an unknown zone: there is no MDTM".to_string(),
            (None, None, _) => "of a zone that the first file will tell".to_string(),
        };
        lines.push(("times", times));
        lines.push((
            "reading",
            restart(report.reading.as_ref(), "no file here to try it by"),
        ));
    }
    if let Some(writing) = &report.writing {
        let answer = |answer: &Answer| match answer {
            Ok(()) => "yes".to_string(),
            Err(why) => format!("no: {why}"),
        };
        lines.push(("storing", answer(&writing.store)));
        lines.push((
            "  then reading",
            restart(writing.reading.as_ref(), "not tried"),
        ));
        lines.push((
            "  in the middle",
            match &writing.beginning {
                Beginning::Keeps => "REST before STOR writes there and keeps the rest".to_string(),
                Beginning::Cuts => {
                    "REST before STOR writes there and cuts off the rest".to_string()
                }
                Beginning::Appends => {
                    "REST before STOR appends at the end instead: not honest".to_string()
                }
                Beginning::Replaces => {
                    "REST before STOR is passed over, the file replaced: not honest".to_string()
                }
                Beginning::Wrong => "REST before STOR spoils the file: not honest".to_string(),
                Beginning::Refused(why) => format!("REST before STOR is refused: {why}"),
            },
        ));
        lines.push(("appending", answer(&writing.append)));
        lines.push((
            "renaming",
            match &writing.replace {
                Ok(()) => "replaces an existing file".to_string(),
                Err(why) => {
                    format!("does not replace an existing file ({why}): it is moved aside first")
                }
            },
        ));
        lines.push(("chmod", answer(&writing.chmod)));
        lines.push((
            "setting times",
            match (&writing.times, &writing.directory_times) {
                (Ok(by), Ok(())) => format!("by {by}, of directories too"),
                (Ok(by), Err(_)) => format!("by {by}, but not of directories"),
                (Err(why), _) => format!("no: {why}"),
            },
        ));
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
                "not tried; --write tries it in a directory of its own".into(),
            ));
        }
        None => {}
    }
    lines
}

fn restart(restart: Option<&Restart>, untried: &str) -> String {
    match restart {
        Some(Restart::Honest) => "from anywhere: REST is honest".to_string(),
        Some(Restart::Ignored) => "from the start only: REST is accepted and ignored".to_string(),
        Some(Restart::Wrong) => "from the start only: REST brings other bytes".to_string(),
        Some(Restart::Refused(why)) => format!("from the start only: REST is refused ({why})"),
        Some(Restart::Undecided) => "the file does not tell whether REST is honest".to_string(),
        None => format!("not tried: {untried}"),
    }
}

fn connections(report: &Report) -> Lines {
    let most = report.settings.max_conns;
    match &report.connections {
        None => Vec::new(),
        Some((taken, None)) => vec![("at once", format!("{taken} are taken; more were not tried"))],
        Some((taken, Some(why))) => {
            vec![(
                "at once",
                format!("{taken} of {most}; one more is refused ({why})"),
            )]
        }
    }
}

fn mount(report: &Report) -> Lines {
    let advice = advice::of(report);
    let mut lines = Vec::new();
    if report.door.is_some() {
        lines.push((COMMAND, advice.command(report)));
        lines.push((FSTAB, advice.fstab(report)));
    }
    if report.server.is_some() && !report.works() && report.error.is_none() {
        let asked = match report.settings.mode {
            Mode::Auto => "no data connection works".to_string(),
            Mode::Passive => "no data connection works with mode=passive".to_string(),
            Mode::Active => "no data connection works with mode=active".to_string(),
        };
        lines.push((
            "as it was given",
            format!("it can be mounted, but not used: {asked}"),
        ));
    }
    lines.extend(advice.notes.into_iter().map(|note| ("note", note)));
    lines
}

/// Breaks a text at blanks into lines.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > RIGHT {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn time(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "less than 1 ms".to_string(),
        millis @ 1..10_000 => format!("{millis} ms"),
        millis => format!("{} s", millis / 1000),
    }
}

/// `+02:00`; nothing for UTC itself.
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
    fn offsets_and_times_are_as_people_write_them() {
        assert_eq!(offset(0), "");
        assert_eq!(offset(7200), "+02:00");
        assert_eq!(offset(-12_600), "-03:30");
        assert_eq!(wrap(&"word ".repeat(30)).len(), 2);
        assert_eq!(wrap("a b"), ["a b"]);
        assert_eq!(wrap(""), [""]);
        assert_eq!(time(Duration::from_micros(300)), "less than 1 ms");
        assert_eq!(time(Duration::from_millis(5012)), "5012 ms");
        assert_eq!(time(Duration::from_millis(10_012)), "10 s");
    }
}
