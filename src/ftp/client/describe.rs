//! Asks for what a server tells of one name in its own words: its facts by `MLST` (RFC 3659 section 7), and the checksum of
//! a file by `HASH` or one of the `X` commands (`XMD5`, `XSHA256`, ...) that `FEAT` offers.
//!
//! `control::version_query` has the questions for size and time.

use crate::ftp::control::Control;
use crate::ftp::control::version_query::missing;
use crate::ftp::profile::{Learned, Profile};
use crate::ftp::protocol::command::Command;
use crate::remote::{Deadline, Result};

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

/// The checksum of the file at the absolute path `path`, after the name of its algorithm: `SHA-256:9f86…`.
pub fn hash(
    control: &mut Control,
    profile: &Profile,
    path: &[u8],
    deadline: &Deadline,
) -> Result<Option<Vec<u8>>> {
    let Some(algorithm) = profile.get().features.hash else {
        return Ok(None);
    };
    let command = Command::Hash(algorithm, path);
    let reply = control.command(command, deadline)?;
    if !reply.is_completion() {
        return Err(reply.refusal(command));
    }
    // draft-bryan-ftpext-hash: "213 SHA-256 0-49 9f86… name"; the X commands: "250 9F86…".
    let text = reply.text();
    // A CRC may lack leading zeros; between other words, a short hexadecimal string may be an ordinary word.
    let is_alone = text.split_ascii_whitespace().count() == 1;
    let least = if is_alone { 1 } else { 8 };
    let is_hash =
        |word: &&str| word.len() >= least && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = text.split_ascii_whitespace().find(is_hash);
    let said = text
        .split_ascii_whitespace()
        .next()
        .filter(|_| algorithm == "HASH");
    let name = said.unwrap_or_else(|| algorithm.trim_start_matches('X'));
    Ok(found.map(|hash| format!("{name}:{}", hash.to_ascii_lowercase()).into_bytes()))
}
