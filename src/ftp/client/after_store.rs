//! Prepares what follows an upload in the same write: the steps that set mode and time of the stored file, and the
//! question for its version.
//!
//! A file that is being made is asked for its mode as well: its program has chosen one, and where the server gives new files
//! that mode, a round trip for `SITE CHMOD` is saved. `MLST` tells it with the version. Elsewhere `STAT` does (RFC 959
//! section 4.1.3), with a nonce behind it, since a listing may hold any name.
//!
//! `transfer` sends these commands and takes their replies; what they are and what their replies mean is known here.

use crate::ftp::client::set_attributes;
use crate::ftp::client::stat_list;
use crate::ftp::client::stat_list::{Nonce, STAT_ALL};
use crate::ftp::client::step_flight::Prepared;
use crate::ftp::control::Control;
use crate::ftp::control::version_query::{mlst_said, versions_by_facts};
use crate::ftp::listing::{Clock, Line, Parser};
use crate::ftp::pool::Pool;
use crate::ftp::profile::{Learned, Profile};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::RemoteRoot;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::now;
use crate::ftp::transfer::followup::{StoredSteps, UploadFollowup};
use crate::remote::{Deadline, Kind, RemotePath, Result, Then, Updated};

/// The commands that may follow an upload to `file`; `None` where none may.
pub fn followup(pool: &Pool, file: &RemotePath, then: Then) -> Option<UploadFollowup> {
    if pool.endpoint().manner.trusts_stores {
        return None;
    }
    let (profile, root) = (pool.profile(), pool.root());
    let path = root.absolute(file).ok()?;
    // SITE CHMOD takes more than a command there.
    if set_attributes::is_folded(&path) {
        return None;
    }
    UploadFollowup::of(profile, path, |learned| {
        let steps = Steps::of(learned, root, file, then);
        steps.map(|steps| Box::new(steps) as Box<dyn StoredSteps>)
    })
}

/// The steps on one stored file.
#[derive(Debug)]
struct Steps {
    file: RemotePath,
    then: Then,
    prepared: Prepared,
    /// How the server is asked for the mode of the file, where that is known and worth it.
    mode: Option<ModeQuery>,
}

/// The question for the mode of a file that has just been made.
#[derive(Debug)]
enum ModeQuery {
    /// The `MLST` of this path, which asks for the version, reports the mode too.
    Mlst(Vec<u8>),
    /// `STAT` of the absolute path.
    Stat(Vec<u8>, Nonce),
}

impl ModeQuery {
    fn of(learned: &Learned, path: Vec<u8>) -> Option<Self> {
        let is_plain = stat_list::is_plain(&path) && !path.iter().any(u8::is_ascii_control);
        match versions_by_facts(learned) {
            true => Some(Self::Mlst(path)),
            false if is_plain && stat_list::is_possible(learned) => {
                Some(Self::Stat(path, Nonce::new()))
            }
            false => None,
        }
    }

    fn commands(&self) -> Vec<Command<'_>> {
        match self {
            Self::Mlst(_) => Vec::new(),
            Self::Stat(path, nonce) => {
                let [asks, resets] = nonce.commands();
                vec![Command::Stat(STAT_ALL, path), asks, resets]
            }
        }
    }

    /// Takes its replies from the end of `replies`: the mode, where they tell it.
    fn take(
        &self,
        replies: &mut Vec<Reply>,
        control: &mut Control,
        profile: &Profile,
    ) -> Option<u32> {
        match self {
            Self::Mlst(path) => mlst_said(path, replies.last()?).ok()?.mode,
            Self::Stat(path, nonce) => {
                let own = replies.split_off(replies.len().checked_sub(self.commands().len())?);
                let is_genuine = nonce.is_repeated(own.get(1), control, profile);
                let shown = own.first().filter(|_| is_genuine)?;
                mode_listed(path, stat_list::listed_lines(shown)?)
            }
        }
    }
}

/// The mode in a listing that shows the file at the absolute path `path` alone.
fn mode_listed(path: &[u8], lines: &[Vec<u8>]) -> Option<u32> {
    // Times do not matter here.
    let clock = Clock {
        now: now(),
        zone: 0,
    };
    let end = path.iter().rposition(|&byte| byte == b'/');
    let mut parser = Parser::list(clock).within(&path[..end.unwrap_or(0)]);
    let mut shown = lines.iter().filter_map(|line| match parser.line(line) {
        Line::Nothing => None,
        line => Some(line),
    });
    match (shown.next(), shown.next()) {
        (Some(Line::Entry(entry)), None) if entry.attributes.kind == Kind::File => {
            entry.attributes.mode
        }
        _ => None,
    }
}

impl Steps {
    fn of(learned: Learned, place: &RemoteRoot, file: &RemotePath, then: Then) -> Option<Self> {
        let path = place
            .absolute(file)
            .ok()
            .filter(|_| then == Then::default());
        let mode = path.and_then(|path| ModeQuery::of(&learned, path));
        let prepared = Prepared::of(place, learned, &then.steps(file)).ok()?;
        Some(Self {
            file: file.clone(),
            then,
            prepared,
            mode,
        })
    }
}

impl StoredSteps for Steps {
    fn commands(&self) -> Vec<Command<'_>> {
        let mut commands = self.prepared.commands(&self.then.steps(&self.file));
        commands.extend(self.mode.iter().flat_map(ModeQuery::commands));
        commands
    }

    fn outcome(
        &self,
        control: &mut Control,
        profile: &Profile,
        mut replies: Vec<Reply>,
        deadline: &Deadline,
    ) -> Result<Updated> {
        let steps = self.then.steps(&self.file);
        let mode = self.mode.as_ref();
        let shown_mode = mode.and_then(|mode| mode.take(&mut replies, control, profile));
        let results = self
            .prepared
            .outcomes(&steps, control, profile, replies, false, deadline)?;
        let updated = self.then.updated(results)?;
        Ok(Updated {
            shown_mode,
            ..updated
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(listing: &str) -> Option<u32> {
        let lines: Vec<_> = listing
            .lines()
            .map(|line| line.as_bytes().to_vec())
            .collect();
        mode_listed(b"/a/b", &lines)
    }

    #[test]
    fn mode_is_taken_from_the_listing_of_one_file() {
        let name = "-rw-r----- 1 7 7 5 Nov 30 19:04 b";
        let path = "-rw-r----- 1 7 7 5 Nov 30 19:04 /a/b";
        let directory = "drwxr-x--- 1 7 7 5 Nov 30 19:04 b";
        assert_eq!([mode(name), mode(path)], [Some(0o640); 2]);
        assert_eq!(mode(&format!("total 1\n{name}")), Some(0o640));
        for other in ["", directory, "nonsense", &format!("{name}\n{name}")] {
            assert_eq!(mode(other), None, "{other}");
        }
    }
}
