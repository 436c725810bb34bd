//! Sets permission bits and times: `MFF` or `SITE CHMOD`, and `MFMT`, `MDTM` or `SITE UTIME`.
//!
//! A server's first successful command for a time is remembered; until then each is tried in turn.

use crate::ftp::control::Control;
use crate::ftp::profile::evidence::{Capability, Verdict};
use crate::ftp::profile::{Learned, Profile, Support, TimeSetter};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::format_time_val;
use crate::remote::{Deadline, Done, Error, Result, Why};

/// The operation, in the refusal where no command can set permission bits.
pub const SETTING_MODE: &str = "setting permission bits";
/// The operation, in the refusal where no command can set a time.
pub const SETTING_TIME: &str = "setting the time of a file";

/// The command that sets permission bits on this server; `None` where it has none.
pub fn mode_command<'a>(learned: &Learned, mode: u32, path: &'a [u8]) -> Option<Command<'a>> {
    if learned.features.mff_mode {
        return Some(Command::MffMode(mode, path));
    }
    (learned.attributes.chmod != Support::No).then_some(Command::SiteChmod(mode, path))
}

/// Whether a server that splits its arguments at blanks takes the absolute path `path` for another one.
pub fn is_folded(path: &[u8]) -> bool {
    folded(path) != path
}

/// A path as a server sees it that splits its arguments at blanks and joins them with one. ProFTPD does so with those of
/// `SITE CHMOD`, and would change another file than one whose name has two blanks in a row, one at its end, or a tab.
pub fn folded(path: &[u8]) -> Vec<u8> {
    let words = path.split(|byte| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}

/// The commands that may set a time on this server, best first.
pub fn setters(learned: &Learned) -> Vec<TimeSetter> {
    match learned.attributes.time_setter {
        Some(setter) => setter.into_iter().collect(),
        None if learned.features.mfmt => vec![TimeSetter::Mfmt],
        None => vec![
            TimeSetter::Mdtm,
            TimeSetter::Mfmt,
            TimeSetter::SiteUtime,
            TimeSetter::SiteUtimeLong,
        ],
    }
}

/// The command of `setter` that sets a time, in seconds since 1970.
pub fn set_time<'a>(
    learned: &Learned,
    setter: TimeSetter,
    time: i64,
    path: &'a [u8],
) -> Command<'a> {
    match setter {
        TimeSetter::Mfmt => Command::Mfmt(time, path),
        TimeSetter::Mdtm => Command::MdtmSet(learned.to_mdtm_time(time), path),
        TimeSetter::SiteUtime => Command::SiteUtime(time, path),
        TimeSetter::SiteUtimeLong => Command::SiteUtimeLong(time, path),
    }
}

/// Whether a server without a command for times took the time for a part of a file's name.
enum TakesTimeAsName {
    No,
    Perhaps,
    Yes,
}

/// Sets attributes over one control connection.
pub struct SetAttributes<'a> {
    /// The connection.
    pub control: &'a mut Control,
    /// The profile that learns from the replies.
    pub profile: &'a Profile,
    /// The knowledge by which the first command was chosen.
    pub learned: &'a Learned,
    /// The deadline.
    pub deadline: &'a Deadline,
}

impl SetAttributes<'_> {
    /// Sets the bits of a name that [`folded`] changes, unless the folded name exists.
    pub fn mode_of_folded(
        &mut self,
        path: &[u8],
        mode: u32,
        others: &[Reply],
    ) -> Result<Result<Done>> {
        let unsupported = || Ok(Err(no_command(SETTING_MODE)));
        let command = mode_command(self.learned, mode, path);
        let Some(command) = command.filter(|_| !others.iter().any(Reply::is_completion)) else {
            return unsupported();
        };
        let reply = self.control.command(command, self.deadline)?;
        if !reply.is_completion() && reply.why(command) == Why::NotFound {
            // The server has looked for the folded name.
            return unsupported();
        }
        Ok(self.mode(path, mode, &reply))
    }

    /// Judges the reply to the command that sets permission bits.
    pub fn mode(&self, path: &[u8], mode: u32, reply: &Reply) -> Result<Done> {
        if self.profile.note(Capability::Chmod, path, reply) == Verdict::Works {
            return Ok(Done::Changed);
        }
        Err(reply.refusal(
            mode_command(self.learned, mode, path).unwrap_or(Command::SiteChmod(mode, path)),
        ))
    }

    /// Tries one command after the other until one works; that one is remembered.
    pub fn modified(&mut self, path: &[u8], time: i64, first: Reply) -> Result<Result<Done>> {
        let setters = setters(self.learned);
        let mut reply = first;
        let mut refused = None;
        for (at, setter) in setters.iter().enumerate() {
            let command = set_time(self.learned, *setter, time, path);
            if at > 0 {
                reply = self.control.command(command, self.deadline)?;
            }
            if reply.is_completion() {
                self.profile
                    .learn(|learned| learned.attributes.time_setter = Some(Some(*setter)));
                return Ok(Ok(Done::Changed));
            }
            if !reply.is_unknown_command() && refused.is_none() {
                refused = Some((command, reply.clone()));
            }
        }
        if let Some((command, refusal)) = refused {
            match self.takes_time_as_name(command, path, &refusal)? {
                TakesTimeAsName::No => return Ok(Err(refusal.refusal(command))),
                TakesTimeAsName::Perhaps => {
                    self.profile.note(Capability::SetTimes, path, &refusal);
                    return Ok(Err(no_command(SETTING_TIME)));
                }
                TakesTimeAsName::Yes => {
                    self.profile
                        .learn(|learned| learned.attributes.time_setter = Some(None));
                    return Ok(Err(no_command(SETTING_TIME)));
                }
            }
        }
        if self.learned.attributes.time_setter.is_some() || self.learned.features.mfmt {
            // The command works, and the server refuses this time (ProFTPD: 501 before 1970).
            let command = setters
                .first()
                .map(|setter| set_time(self.learned, *setter, time, path));
            let tried = command
                .map(|command| command.to_string())
                .unwrap_or_default();
            return Ok(Err(Error::refused(Why::Unsaid, tried, reply.to_string())));
        }
        self.profile.note(Capability::SetTimes, path, &reply);
        Ok(Err(no_command(SETTING_TIME)))
    }

    /// Whether a server whose `MDTM` sets no times has looked for a file whose name begins with the time: its reply contains
    /// that name. Where it only reports a time for the file that it has refused, the refusal may be about the file.
    fn takes_time_as_name(
        &mut self,
        command: Command<'_>,
        path: &[u8],
        reply: &Reply,
    ) -> Result<TakesTimeAsName> {
        let Command::MdtmSet(time, _) = command else {
            return Ok(TakesTimeAsName::No);
        };
        let is_of_file = reply.why(command) == Why::Denied;
        if self.learned.attributes.time_setter.is_some() || reply.code < 500 || is_of_file {
            return Ok(TakesTimeAsName::No);
        }
        let name = format!("{} ", format_time_val(time).unwrap_or_default());
        if reply.text().contains(&name) {
            return Ok(TakesTimeAsName::Yes);
        }
        let reply = self.control.command(Command::Mdtm(path), self.deadline)?;
        Ok(match reply.is_completion() {
            true => TakesTimeAsName::Perhaps,
            false => TakesTimeAsName::No,
        })
    }
}

/// The refusal of an operation for which the server has no command.
pub fn no_command(tried: &str) -> Error {
    Error::refused(Why::Unsupported, tried, "the server has no command for it")
}
