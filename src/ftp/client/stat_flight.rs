//! Sealed flights: replies that show names, with one at their end that no name could know.
//!
//! The one idea: `STAT` lists over the control connection, and vsftpd shows names there as they are: one with line breaks in
//! it ends the reply to `STAT` and forges those to what flew behind. What the last command is answered nobody can have
//! written before: servers repeat the offset of a `REST` ("350 Restart position accepted (4711)."), and ours is drawn
//! for each flight. Where it does not come at its place, nothing of the flight is believed.

use std::hash::{BuildHasher, RandomState};

use crate::ftp::control::Control;
use crate::ftp::profile::Profile;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result};

/// Offsets that every server takes, also one that counts in 31 bits.
const OFFSETS: u64 = 1 << 31;

/// Sends the commands in one go, and returns the final reply to each. Where they can't be told from what names say, the
/// connection is given up, and `STAT` is not used in this mount any more.
pub fn flight(
    control: &mut Control,
    profile: &Profile,
    commands: &[Command<'_>],
    deadline: &Deadline,
) -> Result<Vec<Reply>> {
    // What a hash with random keys makes of nothing is random.
    let mark = RandomState::new().hash_one(()) % OFFSETS;
    // The second one takes the first one back: it would be the beginning of the next transfer.
    let seal = [Command::Rest(mark), Command::Rest(0)];
    let mut replies = control.flight(&[commands, &seal].concat(), deadline)?;
    let sealed = replies.get(commands.len()).is_some_and(|reply| {
        let text = reply.text();
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        reply.is_intermediate() && numbers.any(|number| number == mark.to_string())
    });
    if !sealed {
        control.give_up();
        profile.learn(|learned| learned.this_mount.ambiguous_stat = true);
        let tried = commands.first().map(ToString::to_string);
        let cause = "what was answered can't be told from what names say";
        return Err(Error::lost(tried.unwrap_or_default(), cause));
    }
    replies.truncate(commands.len());
    Ok(replies)
}
