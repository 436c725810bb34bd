//! Asks for the facts of one name by `MLST` (RFC 3659 section 7), and learns whether the server has that command.
//!
//! `control::version_query` has the questions for size and time.

use crate::ftp::control::Control;
use crate::ftp::control::version_query::missing;
use crate::ftp::profile::{Learned, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::{NOT_IMPLEMENTED, Reply};
use crate::remote::{Deadline, Result};

/// Learns from a reply whether the server has `MLST`. Once it has answered one, a later 500 may be about the name.
pub fn note_mlst(profile: &Profile, learned: &Learned, reply: &Reply) {
    let is_unknown = reply.is_unknown_command() && matches!(reply.code, 500 | NOT_IMPLEMENTED);
    let answers = match reply.is_completion() {
        true => true,
        false if is_unknown => false,
        false => return,
    };
    if learned.listing.mlst.is_unknown() {
        profile.learn(|learned| learned.listing.mlst = Support::from(answers));
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
