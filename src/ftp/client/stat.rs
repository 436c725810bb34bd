//! Asks for the facts of one name by `MLST` (RFC 3659 section 7).
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
