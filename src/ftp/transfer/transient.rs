//! Repeats what a server refuses for the moment (RFC 959 section 4.2.1: "the action may be requested again"), with growing
//! pauses.
//!
//! Only a refusal that is seen is repeated: nothing has happened then. Where a connection broke, the fate of the command is
//! unknown, and [`crate::ftp::client`] decides.

use std::thread;
use std::time::Duration;

use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::reply::is_no_data_connection;
use crate::remote::{Deadline, Error, Result, Why};

/// The pauses before the repetitions, in milliseconds.
const PAUSES: [u64; 4] = [200, 500, 1000, 2000];

/// The pauses that are left.
#[derive(Debug)]
pub struct Pauses {
    left: std::array::IntoIter<u64, 4>,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            left: PAUSES.into_iter(),
        }
    }
}

impl Pauses {
    /// Waits before the next try; false where there is none: the tries are used up, or time would not remain for it.
    pub fn wait(&mut self, error: &Error, deadline: &Deadline) -> bool {
        let left = deadline.remaining().unwrap_or_default();
        let pause = self.left.next().map(Duration::from_millis);
        let Some(pause) = pause.filter(|pause| *pause * 2 < left) else {
            return false;
        };
        log::info!("{error}; trying again in {} ms", pause.as_millis());
        thread::sleep(pause);
        true
    }
}

/// Does `work`, again where `command` is refused for the moment.
pub fn repeat_while_transient<T>(
    command: Command<'_>,
    deadline: &Deadline,
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    let tried = command.to_string();
    let mut pauses = Pauses::default();
    loop {
        match work() {
            Err(error) if is_transient(&error, &tried) && pauses.wait(&error, deadline) => {}
            done => return done,
        }
    }
}

/// Whether `error` is a refusal of `command` for the moment: 450 or 451 without words of a lasting cause (ProFTPD answers 450
/// for a name that does not exist), or no data connection (425, 426) in place of the 150.
pub fn is_transient(error: &Error, command: &str) -> bool {
    is_no_data_connection(error) || is_refused_for_now(error, command)
}

/// Whether `error` is a refusal of `command`, or of a command before it, by 450 or 451 without words of a lasting cause.
pub fn is_refused_for_now(error: &Error, command: &str) -> bool {
    match error {
        Error::Refused { why, tried, said } => {
            matches!(why, Why::Busy | Why::Unsaid | Why::Failed)
                && (tried == command || is_before_a_transfer(tried))
                && ["450", "451"].iter().any(|code| said.starts_with(code))
        }
        _ => false,
    }
}

/// Whether a command asks for a data connection, or enters the directory that is to be listed.
fn is_before_a_transfer(tried: &str) -> bool {
    matches!(tried, "EPSV" | "PASV") || tried.starts_with("CWD ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::protocol::reply::Reply;

    #[test]
    fn table_of_transient_refusals() {
        for (code, text, expected) in [
            (450, "Requested file action not taken", true),
            (450, "File is being used by another process", true),
            (450, "/d/f: No such file or directory", false),
            (450, "Permission denied", false),
            (451, "Local error in processing", true),
            (451, "Disk quota exceeded", false),
            (451, "No space left on device", false),
            (425, "Can't open data connection", true),
            (426, "Closed", true),
            (452, "Insufficient storage space", false),
            (452, "Try later", false),
            (500, "What?", false),
            (550, "Failed to open file", false),
        ] {
            let reply = Reply {
                code,
                lines: vec![text.into()],
            };
            let error = reply.refusal("RETR /d/f");
            assert_eq!(is_transient(&error, "RETR /d/f"), expected, "{code} {text}");
        }
        let other = Error::refused(Why::Unsaid, "EPSV", "450 Odd");
        assert!(is_transient(&other, "RETR /d/f"));
        let other = Error::refused(Why::Busy, "CWD /d", "450 busy");
        assert!(is_transient(&other, "LIST -a"));
        let other = Error::refused(Why::Unsaid, "DELE /d/f", "450 Odd");
        assert!(!is_transient(&other, "RETR /d/f"));
    }
}
