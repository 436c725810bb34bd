//! Opening data connections: extended passive and passive mode.
//!
//! The one idea: the server only ever chooses the *port*. The address is always the one that the
//! control connection goes to, whatever a 227 says (RFC 2577 section 3: a hostile server must not
//! make us connect elsewhere; and servers behind NAT name addresses that can't be reached).
//! `EPSV` (RFC 2428) is tried first and `PASV` (RFC 959) when the command is refused or the
//! connection fails; what worked is remembered in the profile.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ftp::command::Command;
use crate::ftp::control::{Control, blame};
use crate::ftp::profile::Profile;
use crate::ftp::reply::Reply;
use crate::ftp::stream::Stream;
use crate::remote::{Deadline, Error, Result};

/// How long an untried passive mode may take to connect before the other one is tried: a filtered
/// port swallows connections without a word.
const UNTRIED_PATIENCE: Duration = Duration::from_secs(8);

/// Opens a data connection to the server of `control`.
pub fn open(control: &mut Control, profile: &Profile, deadline: &Deadline) -> Result<Stream> {
    match profile.ask(|learned| learned.epsv) {
        Some(true) => passive(control, Command::Epsv, deadline),
        Some(false) => passive(control, Command::Pasv, deadline),
        None => choose(control, profile, deadline),
    }
}

/// Tries both modes in turn and remembers which one worked.
fn choose(control: &mut Control, profile: &Profile, deadline: &Deadline) -> Result<Stream> {
    let patience = deadline.patience().min(UNTRIED_PATIENCE);
    let extended = passive(control, Command::Epsv, &Deadline::after(patience));
    let error = match extended {
        Ok(stream) => {
            profile.learn(|learned| learned.epsv = Some(true));
            return Ok(stream);
        }
        Err(error) if !control.in_step() || control.peer().is_ipv6() => return Err(error),
        Err(error) => error,
    };
    log::info!("{error}; trying PASV");
    let stream = passive(control, Command::Pasv, deadline)?;
    profile.learn(|learned| learned.epsv = Some(false));
    Ok(stream)
}

fn passive(control: &mut Control, mode: Command<'_>, deadline: &Deadline) -> Result<Stream> {
    let reply = control.command(mode, deadline)?;
    if !reply.is_completion() {
        return Err(reply.refusal(mode));
    }
    let port = match mode {
        Command::Epsv => extended_port(&reply),
        _ => passive_port(&reply),
    };
    let port = port
        .filter(|&port| port != 0)
        .ok_or_else(|| Error::misbehaved(mode.to_string(), reply.to_string()))?;
    let address = SocketAddr::new(control.peer().ip(), port);
    Stream::connect(address, deadline)
        .map_err(|error| blame(format!("{mode}: the data connection to {address}"), &error))
}

/// The port in a 229: `(|||port|)`, with any character for the bar (RFC 2428 section 3).
fn extended_port(reply: &Reply) -> Option<u16> {
    let text = reply.text();
    let inside = text.split_once('(')?.1;
    let bar = inside.chars().next()?;
    let mut fields = inside.split(bar).skip(3);
    fields.next()?.trim().parse().ok()
}

/// The port in a 227: the last two of six numbers (RFC 959 section 4.2; RFC 1123 section 4.1.2.6
/// forbids to rely on the parentheses).
fn passive_port(reply: &Reply) -> Option<u16> {
    let text = reply.text();
    let numbers = text
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .find(|run| run.split(',').filter(|number| !number.is_empty()).count() == 6)?;
    let bytes: Option<Vec<u8>> = numbers
        .split(',')
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().ok())
        .collect();
    let bytes = bytes?;
    Some(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, text: &str) -> Reply {
        Reply {
            code,
            lines: vec![text.as_bytes().to_vec()],
        }
    }

    #[test]
    fn ports_are_read_from_what_servers_send() {
        for (text, port) in [
            ("Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("ok (!!!21!)", Some(21)),
            ("Entering Extended Passive Mode (|||6446", Some(6446)),
            ("Entering Extended Passive Mode (|||x|)", None),
            ("Entering Extended Passive Mode", None),
            ("(|||70000|)", None),
        ] {
            assert_eq!(extended_port(&reply(229, text)), port, "{text}");
        }
        for (text, port) in [
            ("Entering Passive Mode (127,0,0,1,4,1).", Some(1025)),
            ("Entering Passive Mode 10,0,0,1,255,255", Some(65535)),
            ("Entering Passive Mode (127,0,0,1,4).", None),
            ("Entering Passive Mode (127,0,0,1,256,1).", None),
            ("nothing", None),
        ] {
            assert_eq!(passive_port(&reply(227, text)), port, "{text}");
        }
    }
}
