//! Asks for the attributes, the version and the facts of one name: `MLST`, or `SIZE` and `MDTM`.
//!
//! `MLST` (RFC 3659 section 7) is used where the server has it. `SIZE` and `MDTM` (sections 3 and 4) go out in one flight
//! otherwise.

use crate::ftp::control::Control;
use crate::ftp::listing;
use crate::ftp::profile::{Learned, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{NOT_IMPLEMENTED, Reply};
use crate::remote::{Attributes, Deadline, Error, Result, Version, Why};

/// The commands that ask for size and time of the absolute path `path`.
pub fn version_commands<'a>(learned: &Learned, path: &'a [u8]) -> Vec<Command<'a>> {
    if versions_by_facts(learned) {
        return vec![Command::Mlst(path)];
    }
    let mut commands = vec![Command::Size(path)];
    commands.extend((learned.mdtm != Some(false)).then_some(Command::Mdtm(path)));
    commands
}

/// The version in the replies to [`version_commands`].
pub fn version_said(
    profile: &Profile,
    learned: &Learned,
    path: &[u8],
    replies: &[Reply],
) -> Result<Version> {
    let no_reply = || Error::misbehaved("SIZE", "no reply");
    let first = replies.first().ok_or_else(no_reply)?;
    if versions_by_facts(learned) {
        return stat(path, first).map(|attributes| attributes.version());
    }
    let time = replies.get(1);
    if !first.is_completion() {
        // BSD's ftpd and its descendants answer "Not a plain file" for a missing file, too; `MDTM` distinguishes the two.
        let absent =
            time.filter(|time| time.code >= 500 && time.why(Command::Mdtm(path)) == Why::NotFound);
        return Err(match absent {
            Some(time) => time.refusal(Command::Mdtm(path)),
            None => missing(first, Command::Size(path)),
        });
    }
    if let Some(time) = time {
        let known = !time.is_unknown_command();
        profile.learn(|learned| learned.mdtm = Some(known));
    }
    Ok(Version {
        size: number(first),
        modified: time.and_then(|reply| learned.mdtm_time(reply)),
    })
}

/// Whether `MLST` reports size and time.
pub fn versions_by_facts(learned: &Learned) -> bool {
    learned.stats()
        && learned.features.facts.as_ref().is_some_and(|facts| {
            facts.is_empty()
                || ["size", "modify"]
                    .iter()
                    .all(|wanted| facts.iter().any(|fact| fact == wanted))
        })
}

/// Learns from a reply whether the server has `MLST`. Once it has answered one, a later 500 may be about the name.
pub fn note_mlst(profile: &Profile, learned: &Learned, reply: &Reply) {
    let is_unknown = reply.is_unknown_command() && matches!(reply.code, 500 | NOT_IMPLEMENTED);
    let answers = match reply.is_completion() {
        true => true,
        false if is_unknown => false,
        false => return,
    };
    if learned.mlst.is_none() {
        profile.learn(|learned| learned.mlst = Some(answers));
    }
}

/// The facts of the absolute path `path`, in the server's words; `None` where it has none.
pub fn facts(
    control: &mut Control,
    profile: &Profile,
    path: &[u8],
    deadline: &Deadline,
) -> Result<Option<Vec<u8>>> {
    if !profile.ask(Learned::stats) {
        return Ok(None);
    }
    let command = Command::Mlst(path);
    let reply = control.command(command, deadline)?;
    if !reply.is_completion() {
        return Err(missing(&reply, command));
    }
    let line = reply.lines.get(1).map(|line| line.trim_ascii_start());
    Ok(line
        .and_then(|line| line.split(|&byte| byte == b' ').next())
        .map(<[u8]>::to_vec))
}

/// The error for a refused question about a path. A permanent refusal without a reason (vsftpd: "550 Could not get file
/// size.") is taken for a missing path; a transient one (4xx, RFC 959 section 4.2.1) proves nothing.
fn missing(reply: &Reply, command: Command<'_>) -> Error {
    match reply.refusal(command) {
        Error::Refused {
            why: Why::Unsaid,
            tried,
            said,
        } => {
            let is_final = reply.code >= 500;
            let why = if is_final { Why::NotFound } else { Why::Failed };
            Error::refused(why, tried, said)
        }
        error => error,
    }
}

/// The attributes in a reply to `MLST` (RFC 3659 section 7.2): the one line that begins with a blank.
pub fn stat(path: &[u8], reply: &Reply) -> Result<Attributes> {
    let command = Command::Mlst(path);
    if !reply.is_completion() {
        return Err(missing(reply, command));
    }
    // Between the first line and the last; some servers omit the blank before the facts.
    let inner = reply.lines.get(1..reply.lines.len().saturating_sub(1));
    inner
        .unwrap_or_default()
        .iter()
        .find_map(|line| listing::facts(line))
        .map(|(attributes, _)| attributes)
        .ok_or_else(|| Error::misbehaved(command.to_string(), reply.to_string()))
}

/// The number in a reply to `SIZE` (RFC 3659 section 4).
pub fn number(reply: &Reply) -> Option<u64> {
    reply.text().trim().parse().ok()
}
