//! Asks for the version of a file: size and time by one `MLST` (RFC 3659 section 7), or by `SIZE` and `MDTM` (sections 3
//! and 4) in one flight. Builds the commands and interprets their replies.

use crate::ftp::listing;
use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::{Learned, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Attributes, Error, Result, Version, Why};

/// The commands that ask for size and time of the absolute path `path`.
pub fn version_commands<'a>(learned: &Learned, path: &'a [u8]) -> Vec<Command<'a>> {
    if versions_by_facts(learned) {
        return vec![Command::Mlst(path)];
    }
    let mut commands = vec![Command::Size(path)];
    commands.extend((learned.attributes.mdtm != Support::No).then_some(Command::Mdtm(path)));
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
        return mlst_said(path, first).map(|attributes| attributes.version());
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
        profile.note(Capability::Mdtm, path, time);
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

/// The error for a refused question about a path. A permanent refusal without a reason (vsftpd: "550 Could not get file
/// size.") is taken for a missing path; a transient one (4xx, RFC 959 section 4.2.1) proves nothing.
pub fn missing(reply: &Reply, command: Command<'_>) -> Error {
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
pub fn mlst_said(path: &[u8], reply: &Reply) -> Result<Attributes> {
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

/// The number of bytes in a reply to `SIZE` (RFC 3659 section 4). Some servers name the unit after it; another one is not
/// believed.
pub fn number(reply: &Reply) -> Option<u64> {
    let text = reply.text().to_ascii_lowercase();
    let mut words = text.split_whitespace();
    let number = words.next()?.parse().ok();
    let unit = words.next().unwrap_or("bytes");
    number.filter(|_| unit.starts_with("byte") || unit.starts_with("octet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_may_name_its_unit() {
        for (text, size) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("7 bytes", Some(7)),
            ("7 Byte(s)", Some(7)),
            ("7 octets", Some(7)),
            ("7 KB", None),
            ("7 000", None),
            ("bytes", None),
            ("", None),
        ] {
            let reply = Reply {
                code: 213,
                lines: vec![text.into()],
            };
            assert_eq!(number(&reply), size, "{text}");
        }
    }
}
