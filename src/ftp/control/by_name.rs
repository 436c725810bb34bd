//! Sends commands by `CWD` and a bare name, to servers that refuse paths in commands that change something (some NAS, WS_FTP).
//!
//! # Invariants
//!
//! No such command is sent before the reply to its `CWD`: where that is refused, the name would be another directory's.
//! The `CWD` is sent each time: a server's working directory follows a rename, so that the path that was entered earlier may
//! be another directory by now.

use crate::ftp::control::Control;
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::parent_and_name;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Result};

impl Control {
    /// From now on paths are sent as the server takes them: by `CWD` and a name, or as they are.
    pub fn send_by_name(&mut self, by_name: bool) {
        self.here.by_name = by_name;
    }

    /// Whether paths are sent as names.
    pub fn sends_names(&self) -> bool {
        self.here.by_name
    }

    /// The final reply to each command, with names for paths; or `None` where they go as they are.
    pub(super) fn flight_by_name(
        &mut self,
        commands: &[Command<'_>],
        deadline: &Deadline,
    ) -> Result<Option<Vec<Reply>>> {
        let is_concerned = |command: &Command<'_>| split(command).is_some();
        if !self.here.by_name || !commands.iter().any(is_concerned) {
            return Ok(None);
        }
        let mut replies = Vec::with_capacity(commands.len());
        for (at, &command) in commands.iter().enumerate() {
            let then = commands.get(at + 1);
            let reply = match (command, then) {
                // `CWD` between the two would end the rename: the directory of the new name counts.
                (Command::Rnfr(from), Some(then @ Command::Rnto(_))) => {
                    match self.by_name(*then, deadline)? {
                        Ok(_) => {
                            debug_assert!(from.starts_with(b"/"));
                            let rnfr = self.named_here(command);
                            self.single(rnfr, deadline)?
                        }
                        Err(refusal) => refusal,
                    }
                }
                (Command::Rnto(_), _) if follows_rnfr(commands, at) => {
                    let rnto = self.named_here(command);
                    self.single(rnto, deadline)?
                }
                _ => match self.by_name(command, deadline)? {
                    Ok(command) => self.single(command, deadline)?,
                    Err(refusal) => refusal,
                },
            };
            replies.push(reply);
        }
        Ok(Some(replies))
    }

    /// The command with a name for its path, once its directory was entered; or the refusal of that.
    pub(super) fn by_name<'a>(
        &mut self,
        command: Command<'a>,
        deadline: &Deadline,
    ) -> Result<std::result::Result<Command<'a>, Reply>> {
        let Some((parent, name)) = split(&command).filter(|_| self.here.by_name) else {
            return Ok(Ok(command));
        };
        let reply = self.single(Command::Cwd(parent), deadline)?;
        if !reply.is_completion() {
            return Ok(Err(reply));
        }
        Ok(Ok(with_path(command, name)))
    }

    /// The command with a name for its path, where the `CWD` of its rename has entered the directory.
    fn named_here<'a>(&self, command: Command<'a>) -> Command<'a> {
        let here = self.directory().map(AsRef::as_ref);
        match split(&command) {
            Some((parent, name)) if here == Some(parent) => with_path(command, name),
            _ => command,
        }
    }

    fn single(&mut self, command: Command<'_>, deadline: &Deadline) -> Result<Reply> {
        let mut replies = self.flight_as_is(&[command], deadline)?;
        Ok(replies.pop().unwrap_or_default())
    }
}

/// Whether the command before is the `RNFR` of this one's rename.
fn follows_rnfr(commands: &[Command<'_>], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| commands.get(at));
    matches!(before, Some(Command::Rnfr(_)))
}

/// The directory and the name in the absolute path of a command that changes it.
fn split<'a>(command: &Command<'a>) -> Option<(&'a [u8], &'a [u8])> {
    match *command {
        Command::Stor(path)
        | Command::Appe(path)
        | Command::Mkd(path)
        | Command::Dele(path)
        | Command::Rmd(path)
        | Command::Rnfr(path)
        | Command::Rnto(path) => parent_and_name(path),
        _ => None,
    }
}

fn with_path<'a>(command: Command<'a>, name: &'a [u8]) -> Command<'a> {
    match command {
        Command::Stor(_) => Command::Stor(name),
        Command::Appe(_) => Command::Appe(name),
        Command::Mkd(_) => Command::Mkd(name),
        Command::Dele(_) => Command::Dele(name),
        Command::Rmd(_) => Command::Rmd(name),
        Command::Rnfr(_) => Command::Rnfr(name),
        Command::Rnto(_) => Command::Rnto(name),
        command => command,
    }
}
