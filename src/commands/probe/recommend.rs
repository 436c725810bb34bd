//! Recommends how to mount a probed server: options, a command, a line for fstab(5).
//!
//! What a mount detects by itself needs no option. An option is recommended if it saves a wait at each
//! mount, or if the mount would fail without it; all else is a note.

use crate::cli::{AttributePolicy, Encrypt, Mode};
use crate::commands::probe::report::{Place, Report};
use crate::ftp::{Fault, Restart, StoredFile, Trial};

/// The recommendation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Options to mount with: those given and those that the server needs, without secrets.
    pub options: Vec<String>,
    /// Notes, a sentence each.
    pub notes: Vec<String>,
}

/// Returns the recommendation for a report.
pub fn of(report: &Report) -> Advice {
    let mut advice = Advice {
        options: report
            .words
            .iter()
            .map(|word| without_secret(word))
            .collect(),
        notes: Vec::new(),
    };
    encryption(report, &mut advice);
    ways(report, &mut advice);
    files(report, &mut advice);
    connections(report, &mut advice);
    advice
}

impl Advice {
    /// Returns the list for `-o`; empty without options.
    pub fn list(&self) -> String {
        let quoted = self.options.iter().map(|word| match word.split_once('=') {
            Some((name, value)) if value.contains([',', '"', '\\']) => {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                format!("{name}=\"{value}\"")
            }
            _ => word.clone(),
        });
        quoted.collect::<Vec<_>>().join(",")
    }

    /// Returns the command that mounts.
    pub fn command(&self, report: &Report) -> String {
        let source = shell_word(&report.source);
        match self.list() {
            list if list.is_empty() => format!("ftpfs {source} MOUNTPOINT"),
            list => format!("ftpfs {source} MOUNTPOINT -o {}", shell_word(&list)),
        }
    }

    /// Returns the line for /etc/fstab, to mount on first use.
    pub fn fstab(&self, report: &Report) -> String {
        const ALWAYS: &str = "noauto,x-systemd.automount,_netdev,nofail";
        // Blanks separate fields there: fstab(5) escapes them in octal.
        let list = self.list().replace('\\', "\\134").replace(' ', "\\040");
        let comma = if list.is_empty() { "" } else { "," };
        let source = &report.source;
        format!("{source}  MOUNTPOINT  fuse.ftpfs  {ALWAYS}{comma}{list}  0  0")
    }

    fn replace(&mut self, name: &str, option: String) {
        let begins = format!("{name}=");
        self.options.retain(|word| !word.starts_with(&begins));
        self.options.push(option);
    }

    fn note(&mut self, words: impl Into<String>) {
        self.notes.push(words.into());
    }
}

fn encryption(report: &Report, advice: &mut Advice) {
    let Some(prelogin) = &report.prelogin else {
        return;
    };
    let is_tried = matches!(report.settings.tls.when, None | Some(Encrypt::Try));
    if prelogin.fails_at_auth && is_tried {
        advice.replace("tls", "tls=off".into());
        advice.note(
            "The session does not survive AUTH TLS: tls=off saves a connection at each mount.",
        );
    }
    match &prelogin.encryption {
        Err(why) => advice.note(format!(
            "The server offers no encryption ({why}): the password and all files are sent in clear text."
        )),
        Ok(_) if report.settings.tls.when == Some(Encrypt::Off) => {
            advice.note("The server offers TLS; with tls=off the password is sent in clear text.");
        }
        Ok(encryption) => {
            let pinned = report.settings.tls.fingerprint.is_some() || report.settings.tls.no_verify_peer;
            if encryption.verdict.is_err() && !pinned {
                let print = &encryption.certificate.fingerprint;
                advice.note(format!(
                    "The certificate can't be verified. Compare its fingerprint with the one that the server's \
                     administrator gives; fingerprint={print} then accepts only this certificate."
                ));
                if report.server.is_none() {
                    advice.replace("fingerprint", format!("fingerprint={print}"));
                }
            }
        }
    }
    if report.steps_back {
        advice.note("Data connections need TLS 1.2, since the server's TLS 1.3 sessions can't be resumed; ftpfs does so by itself.");
    } else if report.resumes() == Some(false) {
        advice.note("TLS sessions are not resumed on data connections: each costs a full handshake; tls_max=1.2 may help.");
    }
}

fn ways(report: &Report, advice: &mut Advice) {
    if report.trials.is_empty() {
        return;
    }
    let (passive, active) = (report.works_by(false), report.works_by(true));
    match (passive, active, report.settings.network.mode) {
        (true, _, Mode::Active) if !active => advice.replace("mode", "mode=passive".into()),
        (false, true, Mode::Auto | Mode::Passive) => advice.replace("mode", "mode=active".into()),
        (false, false, _) => advice.note(
            "No data connection works from here. Either the server's side lets its passive ports through, or this \
             side lets the server connect to a port_range= (behind NAT: forwarded, with external_ip=); or a proxy= \
             that reaches both.",
        ),
        _ => {}
    }
    let failed = |active: bool, is: fn(&Fault) -> bool| {
        let mut trials = report.trials.iter();
        trials.any(|trial| trial.way.is_active() == active && trial.fault.as_ref().is_some_and(is))
    };
    if failed(false, |fault| {
        matches!(fault, Fault::Filtered(_) | Fault::Closed(_))
    }) {
        advice.note(
            "Passive: the server's administrator must open its passive ports in the server's firewall, and behind \
             NAT forward them.",
        );
    }
    if failed(true, |fault| matches!(fault, Fault::Unreached(_))) && !passive {
        advice.note(
            "Active: let connections from the server in to a port_range=LOW-HIGH of your choice; behind NAT forward \
             these ports and set external_ip=ADDRESS.",
        );
    }
    if let Some(named) = report.trials.iter().find_map(foreign_address) {
        advice.note(match named {
            (address, true) => format!(
                "The server names {address} for passive connections, a private address: it is behind NAT and does \
                 not know its public address. ftpfs ignores that; other programs may fail."
            ),
            (address, false) => format!(
                "The server names {address} for passive connections, not the address that it is reached at. If it \
                 is spread over several machines, pasv_ip=server goes there."
            ),
        });
    }
}

/// Returns the address in the reply to PASV if it is not the server's, and whether it is private.
fn foreign_address(trial: &Trial) -> Option<(&str, bool)> {
    let named = trial.named.as_ref().filter(|named| named.is_another)?;
    Some((&named.address, named.is_private))
}

fn files(report: &Report, advice: &mut Advice) {
    if let Some(listed) = &report.listed {
        if listed.unreadable.0 > 0 {
            advice.note(format!(
                "{} lines of the listing can't be parsed: these files are missing.",
                listed.unreadable.0
            ));
        }
        let is_unsure = listed.by != "MLSD" && listed.zone.is_none() && listed.mdtm == Some(false);
        if is_unsure && report.settings.server.timezone.is_none() {
            advice.note("The time zone of the server's listings can't be detected: set timezone=.");
        }
    }
    if matches!(
        report.reading,
        Some(Restart::Ignored | Restart::Wrong | Restart::Refused(_))
    ) {
        advice.note(
            "The server can't start a transfer at an offset: seeking in large files is slow.",
        );
    }
    if let Some(Place::NotMade(why)) = &report.scratch {
        advice.note(format!(
            "This directory is not writable ({why}); consider -o ro."
        ));
    }
    if let Some(writing) = &report.writing {
        match &writing.stored {
            Ok(stored) => attributes(stored, report, advice),
            Err(_) if writing.store.is_err() => {}
            Err(_) => {
                advice.replace("verify", "verify=none".into());
                advice.note(
                    "Stored files are taken away at once, or this directory is write-only: verify=none does not wait \
                     to see them.",
                );
            }
        }
    }
    if let Some(Place::Left(place, why)) = &report.scratch {
        advice.note(format!(
            "{place} could not be removed from the server ({why}): remove it by hand."
        ));
    }
}

fn attributes(stored: &StoredFile, report: &Report, advice: &mut Advice) {
    let lacking: Vec<_> = [
        ("permissions", stored.chmod.is_err()),
        ("times of files", stored.times.is_err()),
        ("times of directories", stored.directory_times.is_err()),
    ]
    .into_iter()
    .filter_map(|(what, lacks)| lacks.then_some(what))
    .collect();
    if !lacking.is_empty() && report.settings.attributes.policy == AttributePolicy::Keep {
        advice.note(format!(
            "Can't be set on the server: {}; a mount keeps them itself and shows them, but they protect nothing on the server.",
            lacking.join(", ")
        ));
    }
}

fn connections(report: &Report, advice: &mut Advice) {
    if let Some((taken, Some(_))) = report.connections
        && taken < report.settings.server.max_conns
    {
        advice.replace("max_conns", format!("max_conns={taken}"));
    }
}

/// Returns an option without its password.
fn without_secret(word: &str) -> String {
    match word.split_once('=') {
        Some(("pass", _)) => "pass=WORDS".to_string(),
        Some(("proxy", url)) => match url.rsplit_once('@') {
            Some((login, place)) => {
                let scheme = login
                    .split_once("://")
                    .map(|(scheme, _)| format!("{scheme}://"));
                format!("proxy={}USER:PASSWORD@{place}", scheme.unwrap_or_default())
            }
            None => word.to_string(),
        },
        _ => word.to_string(),
    }
}

/// Quotes a word for the shell, if it needs to be.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:.,=@%_+-".contains(c);
    match word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(without_secret("pass=open sesame"), "pass=WORDS");
        assert_eq!(
            without_secret("proxy=http://u:s3cret@h:1"),
            "proxy=http://USER:PASSWORD@h:1"
        );
        assert_eq!(
            without_secret("proxy=u:s3cret@h:1"),
            "proxy=USER:PASSWORD@h:1"
        );
        assert_eq!(without_secret("ro"), "ro");
    }

    #[test]
    fn options_survive_the_shell() {
        let advice = Advice {
            options: vec!["ro".into(), "fsname=a,b c".into()],
            notes: Vec::new(),
        };
        assert_eq!(advice.list(), "ro,fsname=\"a,b c\"");
        assert_eq!(shell_word(&advice.list()), "'ro,fsname=\"a,b c\"'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word("ftp://h/%2Fa"), "ftp://h/%2Fa");
    }
}
