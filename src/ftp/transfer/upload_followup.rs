//! What flies behind an upload: what is to be set on the file once it is stored, and the question what it
//! then is.
//!
//! The one idea: a server that does one thing after the other keeps what came in one write with `STOR` until
//! the transfer is over, and so tells of the file with the confirmation itself. vsftpd, ProFTPD and
//! Pure-FTPd do; pyftpdlib and libunftp answer at once, while the file is still on its way. Only the *same*
//! write does it: what comes later ProFTPD answers in the middle of the transfer, and Pure-FTPd loses.
//!
//! Which kind a server is shows the reply to a `SIZE` behind the first upload: 213 is the final reply to no
//! transfer. Where it comes first, nothing flies behind any more. Afterwards only 226 counts as the word that the file is
//! stored: 250 may be `MLST`'s, and 200 `SITE CHMOD`'s, of a server that has changed its ways.

use std::fmt;

use crate::ftp::control::Control;
use crate::ftp::data::Spare;
use crate::ftp::profile::{Learned, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Error, Result, Updated};

/// Steps on a stored file: commands that set mode and time, and the question for its version.
pub trait StoredSteps: fmt::Debug + Send {
    /// The commands, one reply each.
    fn commands(&self) -> Vec<Command<'_>>;

    /// What the replies to [`Self::commands`] say. Steps that were refused may be tried in another way.
    fn outcome(
        &self,
        control: &mut Control,
        profile: &Profile,
        replies: Vec<Reply>,
        deadline: &Deadline,
    ) -> Result<Updated>;
}

/// The commands that follow one upload.
#[derive(Debug)]
pub struct UploadFollowup {
    path: Vec<u8>,
    /// `None` while it is not known in which order the server answers.
    steps: Option<Box<dyn StoredSteps>>,
    /// What asks for the next data connection.
    asks: Option<Command<'static>>,
}

/// What the server said at the end of an upload.
#[derive(Debug)]
pub struct Said {
    /// The transfer's final reply.
    pub last: Reply,
    /// What the file is now, where that was told.
    pub updated: Option<Updated>,
    /// The reply to what asked for the next data connection.
    pub port: Option<Reply>,
}

/// The code of the reply to `SIZE` and `MDTM` (RFC 3659 sections 3 and 4).
const ANSWER: u16 = 213;
/// The final reply to a transfer that nothing else is answered by.
const STORED: u16 = 226;
/// Bytes of commands in the one write: ProFTPD takes 1,024 at once from its socket, and answers the rest early.
const WRITE: usize = 1000;
/// Bytes of a command beside its path, at most: `SITE CHMOD 7777 `, `MFMT YYYYMMDDHHMMSS `, the line's end.
const WORDS: usize = 24;

impl UploadFollowup {
    /// What may follow an upload to the absolute path `path`; `None` where nothing may. `steps` prepares the steps.
    pub fn of(
        profile: &Profile,
        path: Vec<u8>,
        steps: impl FnOnce(Learned) -> Option<Box<dyn StoredSteps>>,
    ) -> Option<Self> {
        let learned = profile.get();
        if learned.pipelining.commands == Support::No {
            return None;
        }
        let steps = match learned.pipelining.after_upload {
            Support::Yes => Some(steps(learned)?),
            Support::No => return None,
            Support::Unknown => None,
        };
        let behind = Self {
            path,
            steps,
            asks: Spare::early(profile),
        };
        // With the transfer's own and those before it, which are two at most.
        let commands = behind.commands().len() + 3;
        let fits = commands * (behind.path.len() + WORDS) <= WRITE;
        fits.then_some(behind)
    }

    /// Its commands.
    pub fn commands(&self) -> Vec<Command<'_>> {
        match &self.steps {
            Some(steps) => {
                let mut commands = steps.commands();
                commands.extend(self.asks);
                commands
            }
            None => vec![Command::Size(&self.path)],
        }
    }

    /// Takes the final reply of the transfer and those behind it.
    pub fn take(
        &self,
        control: &mut Control,
        profile: &Profile,
        tried: &dyn fmt::Display,
        deadline: &Deadline,
    ) -> Result<Said> {
        let only = |last| Said {
            last,
            updated: None,
            port: None,
        };
        let first = control.reply(tried, deadline)?;
        let mut others = Vec::new();
        for command in self.commands() {
            match control.reply(&command, deadline) {
                Ok(reply) => others.push(reply),
                // The transfer's own reply has come.
                Err(error) if first.code == STORED || !first.is_completion() => {
                    log::info!("{error}");
                    return Ok(only(first));
                }
                Err(error) => return Err(error),
            }
        }
        let Some(steps) = &self.steps else {
            return Ok(only(Self::judge(control, profile, first, others)));
        };
        let comes_later = others.iter().any(|other| other.code == STORED);
        let early = match first.is_completion() {
            true => first.code != STORED,
            false => comes_later,
        };
        if early {
            profile.learn(|learned| learned.pipelining.after_upload = Support::No);
            control.give_up();
            return Err(Error::lost(
                tried.to_string(),
                "its end was answered behind what came later",
            ));
        }
        if comes_later {
            // It was said twice: what else is to come can't be told.
            control.give_up();
            return Ok(only(first));
        }
        let port = self.asks.and_then(|_| others.pop());
        if !first.is_completion() {
            return Ok(Said {
                port,
                ..only(first)
            });
        }
        // The caller asks once more where there is no answer here.
        let updated = steps.outcome(control, profile, others, deadline);
        let updated = updated.inspect_err(|error| log::info!("{error}")).ok();
        Ok(Said {
            last: first,
            updated,
            port,
        })
    }

    /// The transfer's own reply, of the first one and that to the question behind it, or the other way round.
    fn judge(
        control: &mut Control,
        profile: &Profile,
        first: Reply,
        mut others: Vec<Reply>,
    ) -> Reply {
        let Some(other) = others.pop() else {
            return first;
        };
        let in_order = first.code != ANSWER && other.code == ANSWER;
        let no_size = first.is_unknown_command() || first.code == 550;
        let early = !in_order && (first.code == ANSWER || no_size && other.code == STORED);
        if in_order || first.is_completion() || other.is_completion() {
            let may = in_order && (first.code == STORED || !first.is_completion());
            log::debug!("what flies behind an upload is answered in order: {in_order}");
            profile.learn(|learned| learned.pipelining.after_upload = Support::from(may));
        }
        if !in_order && !early && other.is_completion() {
            // Perhaps a second reply to the transfer, and that to SIZE is still to come.
            control.give_up();
        }
        if early { other } else { first }
    }
}
