//! Formats a report for people: a heading for each section, and a line for each fact.
//!
//! ```text
//! files  formats the results about listing, reading and writing
//! kept   formats what is kept about a server
//! ```

pub(crate) mod files;
pub(crate) mod kept;

use crate::cli::{Encrypt, Mode};
use crate::commands::human::latency;
use crate::commands::probe::recommend;
use crate::commands::probe::report::{Report, Section};
use crate::ftp::protocol::time_val::civil;
use crate::ftp::{Encryption, Fault, Trial};
use crate::process::printable::printable;

/// Width of the names.
const NAME_WIDTH: usize = 15;

/// Maximum width of the facts.
const FACT_WIDTH: usize = 92;
const COMMAND: &str = "command";
const FSTAB: &str = "/etc/fstab";

/// Formats a section; empty if nothing is known.
pub fn section(report: &Report, section: Section) -> String {
    let (heading, lines) = match section {
        Section::Server => ("Server", server(report)),
        Section::Encryption => ("Encryption", encryption(report)),
        Section::Ways => ("Data connections, from here", ways(report)),
        Section::Files => ("Files", files::files(report)),
        Section::Connections => ("Connections", connections(report)),
        Section::Kept => ("Kept for mounts", kept(report)),
        Section::Mount => ("How to mount it", mount(report)),
    };
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("{heading}\n");
    for (name, words) in lines {
        let words = printable(&words);
        // Text to copy is not wrapped.
        let whole = matches!(name, COMMAND | FSTAB | "fingerprint");
        let parts = if whole { vec![words] } else { wrap(&words) };
        for (at, part) in parts.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            text.push_str(format!("  {name:NAME_WIDTH$} {part}").trim_end());
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

type Lines = Vec<(&'static str, String)>;

fn server(report: &Report) -> Lines {
    let mut lines = vec![("source", report.source.clone())];
    if let Some(prelogin) = &report.prelogin {
        let greeted = format!(
            "{}, greets after {}",
            prelogin.place,
            latency(prelogin.took)
        );
        lines.push((
            "address",
            match &report.server {
                Some(server) => format!("{greeted}, logs in after {}", latency(server.took)),
                None => greeted,
            },
        ));
        lines.push(("greeting", prelogin.greeting.join(" / ")));
    }
    if let Some(server) = &report.server {
        let system = server.system.as_ref().unwrap_or_else(|refusal| refusal);
        lines.push(("system", system.clone()));
        lines.push((
            "features",
            match server.features.is_empty() {
                true => "none listed".to_string(),
                false => server.features.join(", "),
            },
        ));
        lines.push(("directory", server.directory.clone()));
    }
    lines
}

fn encryption(report: &Report) -> Lines {
    let Some(prelogin) = &report.prelogin else {
        return Vec::new();
    };
    let encryption = match &prelogin.encryption {
        Err(why) => return vec![("offered", format!("no: {why}"))],
        Ok(encryption) => encryption,
    };
    let certificate = &encryption.certificate;
    let date = |seconds: Option<i64>| match seconds.and_then(civil) {
        Some(at) => at.date().to_string(),
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
            (false, _) => "clear text".to_string(),
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
        _ if settings.tls.when == Some(Encrypt::Off) => "not checked (tls=off)".to_string(),
        _ if settings.tls.no_verify_peer => "not checked (no_verify_peer)".to_string(),
        Ok(()) if settings.tls.fingerprint.is_some() => "matches fingerprint=".to_string(),
        Ok(()) => "yes".to_string(),
        Err(why) if report.server.is_some() => {
            format!("no: {why}; accepted on first use, or as before")
        }
        Err(why) => format!("no: {why}"),
    }
}

fn ways(report: &Report) -> Lines {
    let name = |trial: &Trial| match trial.way {
        crate::ftp::DataMode::Epsv => "EPSV (passive)",
        crate::ftp::DataMode::Pasv => "PASV (passive)",
        crate::ftp::DataMode::Eprt => "EPRT (active)",
        crate::ftp::DataMode::Port => "PORT (active)",
    };
    let trials = report.trials.iter();
    trials
        .map(|trial| (name(trial), way(report, trial)))
        .collect()
}

fn way(report: &Report, trial: &Trial) -> String {
    let took = latency(trial.took);
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

/// Explains why a data connection failed.
pub fn why(report: &Report, fault: &Fault) -> String {
    match fault {
        Fault::Refused(said) => format!("the server refuses it ({said})"),
        Fault::Closed(place) => {
            format!(
                "the port that the server names is closed ({place}): NAT or a firewall at the server"
            )
        }
        Fault::Filtered(place) => {
            format!("no answer from {place}: a firewall filters the server's passive ports")
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
        Fault::Unencrypted(cause) => format!("connected, but can't be encrypted ({cause})"),
        Fault::Barred(cause) => format!("not possible from here ({cause})"),
        Fault::Other(cause) => cause.clone(),
    }
}

fn connections(report: &Report) -> Lines {
    let most = report.settings.server.max_conns;
    match &report.connections {
        None => Vec::new(),
        Some((taken, None)) => vec![("at once", format!("{taken} accepted; more were not tried"))],
        Some((taken, Some(why))) => {
            vec![(
                "at once",
                format!("{taken} of {most}; one more was refused ({why})"),
            )]
        }
    }
}

fn kept(report: &Report) -> Lines {
    let kept = report.kept.as_ref();
    kept.map_or_else(Vec::new, |kept| {
        kept::kept(&kept.facts, kept.file.as_deref())
    })
}

fn mount(report: &Report) -> Lines {
    let advice = recommend::of(report);
    let mut lines = Vec::new();
    if report.prelogin.is_some() {
        lines.push((COMMAND, advice.command(report)));
        lines.push((FSTAB, advice.fstab(report)));
    }
    if report.server.is_some() && !report.works() && report.error.is_none() {
        let asked = match report.settings.network.mode {
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

/// Wraps a text at blanks.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > FACT_WIDTH {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped() {
        assert_eq!(wrap(&"word ".repeat(30)).len(), 2);
        assert_eq!(wrap("a b"), ["a b"]);
        assert_eq!(wrap(""), [""]);
    }
}
