//! Performs a list of [`Step`]s: sends their commands as one flight, and interprets the replies.
//!
//! The first commands of all steps are pipelined. A step that was refused and has an alternative continues alone, command by
//! command.

use crate::ftp::client::rename;
use crate::ftp::client::set_attributes;
use crate::ftp::client::set_attributes::{
    SETTING_MODE, SETTING_TIME, SetAttributes, no_command, set_time, setters,
};
use crate::ftp::control::Control;
use crate::ftp::control::version_query::{
    mlst_said, version_commands, version_said, versions_by_facts,
};
use crate::ftp::profile::evidence::Capability;
use crate::ftp::profile::{Learned, Profile, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::{RemoteRoot, parent_and_name};
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Deadline, Done, Error, RemotePath, Result, Step, Why};

/// Performs the steps over one control connection.
///
/// `again` means that they may have been performed before, on a connection that broke before the replies came: then a
/// missing name counts as removed, and an existing directory as created.
pub fn perform(
    control: &mut Control,
    profile: &Profile,
    root: &RemoteRoot,
    steps: &[Step<'_>],
    again: bool,
    deadline: &Deadline,
) -> Result<Vec<Result<Done>>> {
    let prepared = match Prepared::of(root, profile.get(), steps) {
        Ok(prepared) => prepared,
        Err(error) => return Ok(steps.iter().map(|_| Err(error.clone())).collect()),
    };
    let replies = control.flight(&prepared.commands(steps), deadline);
    if control.has_mlst_over_data() {
        profile.learn(|learned| learned.listing.mlst = Support::No);
    }
    let replies = replies?;
    prepared.outcomes(steps, control, profile, replies, again, deadline)
}

/// Steps that are ready to send: their paths, and the knowledge of the server by which commands and replies are chosen and
/// interpreted.
#[derive(Debug)]
pub struct Prepared {
    paths: Vec<Paths>,
    learned: Learned,
}

impl Prepared {
    /// Prepares the steps; an error where one of them must not be sent at all.
    pub fn of(root: &RemoteRoot, learned: Learned, steps: &[Step<'_>]) -> Result<Self> {
        if let Some(refusal) = steps.iter().find_map(|step| changed_name(&learned, step)) {
            return Err(refusal);
        }
        let paths: Result<_> = steps.iter().map(|step| Paths::of(root, step)).collect();
        Ok(Self {
            paths: paths?,
            learned,
        })
    }

    /// The first commands of `steps`, which are those that were prepared.
    pub fn commands<'a>(&'a self, steps: &[Step<'a>]) -> Vec<Command<'a>> {
        let each = |(step, paths)| first_commands(step, paths, &self.learned);
        steps.iter().zip(&self.paths).flat_map(each).collect()
    }

    /// The results of `steps`, from the replies to all of [`Self::commands`]. No other reply may be due on `control`.
    pub fn outcomes(
        &self,
        steps: &[Step<'_>],
        control: &mut Control,
        profile: &Profile,
        replies: Vec<Reply>,
        again: bool,
        deadline: &Deadline,
    ) -> Result<Vec<Result<Done>>> {
        let mut replies = replies.into_iter();
        let mut results = Vec::with_capacity(steps.len());
        for (step, paths) in steps.iter().zip(&self.paths) {
            let count = first_commands(step, paths, &self.learned).len();
            let replies: Vec<Reply> = replies.by_ref().take(count).collect();
            let mut step_replies = StepReplies {
                control,
                profile,
                learned: &self.learned,
                deadline,
                again,
            };
            results.push(step_replies.outcome(step, paths, &replies)?);
            if let (Step::Version(_), Some(reply)) = (step, replies.first()) {
                self.accept_present_mode(steps, &paths.path, reply, &mut results);
            }
        }
        Ok(results)
    }

    /// Counts a refused `SetMode` of the absolute path `path` as done where the reply to `MLST` shows the wanted bits
    /// (Pure-FTPd with `-R` sets none).
    fn accept_present_mode(
        &self,
        steps: &[Step<'_>],
        path: &[u8],
        reply: &Reply,
        results: &mut [Result<Done>],
    ) {
        let has = match self.learned.stats() {
            true => mlst_said(path, reply).ok().and_then(|seen| seen.mode),
            false => None,
        };
        for ((step, paths), result) in steps.iter().zip(&self.paths).zip(results) {
            let wanted = match step {
                Step::SetMode(_, mode) if paths.path == path => Some(*mode),
                _ => None,
            };
            let is_refused = matches!(result, Err(Error::Refused { .. }));
            if is_refused && has.is_some() && has == wanted {
                *result = Ok(Done::Changed);
            }
        }
    }
}

/// The refusal of a step that would create a name which the server changes silently.
fn changed_name(learned: &Learned, step: &Step<'_>) -> Option<Error> {
    match step {
        Step::MakeDirectory(path) | Step::Rename { to: path, .. } => refuse_changed(learned, path),
        _ => None,
    }
}

/// The refusal of a name that this server changes silently.
pub fn refuse_changed(learned: &Learned, path: &RemotePath) -> Option<Error> {
    let name = path.name();
    let odd = name.ends_with(b" ") || name.iter().any(u8::is_ascii_control);
    (odd && learned.features.changes_names()).then(|| Error::Local {
        tried: format!(
            "{path}: this server changes names that end in a blank or contain control characters"
        ),
        errno: libc::EINVAL,
    })
}

/// The absolute paths that a step names.
#[derive(Debug)]
struct Paths {
    path: Vec<u8>,
    to: Vec<u8>,
    /// The path that `SITE CHMOD` may change instead: see [`set_attributes::folded`].
    folded: Vec<u8>,
}

impl Paths {
    fn of(root: &RemoteRoot, step: &Step<'_>) -> Result<Self> {
        let (path, to) = match step {
            Step::Stat(path)
            | Step::Version(path)
            | Step::Remove(path)
            | Step::RemoveDirectory(path)
            | Step::MakeDirectory(path)
            | Step::SetMode(path, _)
            | Step::SetModified(path, _) => (*path, None),
            Step::MakeLink { link, .. } => (*link, None),
            Step::Rename { from, to } => (*from, Some(*to)),
        };
        let path = root.absolute(path)?;
        Ok(Self {
            folded: match step {
                Step::SetMode(..) => set_attributes::folded(&path),
                _ => Vec::new(),
            },
            to: to.map_or(Ok(Vec::new()), |to| root.absolute(to))?,
            path,
        })
    }

    /// Whether `SITE CHMOD` may change another file, whose existence is checked first.
    fn is_endangered(&self, learned: &Learned) -> bool {
        !learned.features.mff_mode && self.folded != self.path
    }
}

fn first_commands<'a>(step: &Step<'a>, paths: &'a Paths, learned: &Learned) -> Vec<Command<'a>> {
    let path = &paths.path;
    let one = |command| vec![command];
    match step {
        Step::Stat(_) if !learned.stats() => Vec::new(),
        Step::Stat(_) => one(Command::Mlst(path)),
        Step::Version(_) => version_commands(learned, path),
        Step::Remove(_) => one(Command::Dele(path)),
        Step::RemoveDirectory(_) => one(Command::Rmd(path)),
        Step::MakeDirectory(_) => one(Command::Mkd(path)),
        Step::Rename { .. } => vec![Command::Rnfr(path), Command::Rnto(&paths.to)],
        Step::MakeLink { target, .. } => make_link(learned, target, path).into_iter().collect(),
        Step::SetMode(..) if paths.is_endangered(learned) => {
            vec![Command::Size(&paths.folded), Command::Cwd(&paths.folded)]
        }
        Step::SetMode(_, mode) => set_attributes::mode_command(learned, *mode, path)
            .into_iter()
            .collect(),
        Step::SetModified(_, time) => {
            let setter = setters(learned).into_iter().next();
            let command = setter.map(|setter| set_time(learned, setter, *time, path));
            command.into_iter().collect()
        }
    }
}

/// The command that creates symbolic links on this server, if any. It splits its arguments at blanks.
fn make_link<'a>(learned: &Learned, target: &'a [u8], path: &'a [u8]) -> Option<Command<'a>> {
    let plain = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_whitespace);
    let can = learned.features.site_symlink && plain(target) && plain(path);
    can.then_some(Command::SiteSymlink(target, path))
}

/// Interprets the replies to one step.
struct StepReplies<'a> {
    control: &'a mut Control,
    profile: &'a Profile,
    learned: &'a Learned,
    deadline: &'a Deadline,
    again: bool,
}

impl StepReplies<'_> {
    /// The outer error is one of the connection, the inner one the step's.
    fn outcome(
        &mut self,
        step: &Step<'_>,
        paths: &Paths,
        replies: &[Reply],
    ) -> Result<Result<Done>> {
        let path = &paths.path[..];
        let Some(reply) = replies.first() else {
            return Ok(Err(unsupported(step)));
        };
        let changed = |command: Command<'_>, but: Option<Why>| {
            if reply.is_completion() || self.again && but == Some(reply.why(command)) {
                Ok(Done::Changed)
            } else {
                Err(reply.refusal(command))
            }
        };
        Ok(match step {
            Step::Stat(_) => {
                let said = mlst_said(path, reply);
                self.judge_facts(path, reply, said).map(Done::Attributes)
            }
            Step::Version(_) => {
                let said = version_said(self.profile, self.learned, path, replies);
                let said = match versions_by_facts(self.learned) {
                    true => self.judge_facts(path, reply, said),
                    false => said,
                };
                said.map(Done::Version)
            }
            Step::Remove(_) => changed(Command::Dele(path), Some(Why::NotFound)),
            Step::RemoveDirectory(_) => changed(Command::Rmd(path), Some(Why::NotFound)),
            Step::MakeDirectory(_) => changed(Command::Mkd(path), Some(Why::Exists)),
            Step::Rename { .. } => {
                let Some(renamed) = replies.get(1) else {
                    return Err(Error::misbehaved("RNTO", "no reply"));
                };
                let names = rename::Names {
                    from: path,
                    to: &paths.to,
                };
                return rename::outcome(
                    self.control,
                    self.profile,
                    names,
                    reply,
                    renamed,
                    self.again,
                    self.deadline,
                );
            }
            Step::MakeLink { target, .. } => changed(Command::SiteSymlink(target, path), None),
            Step::SetMode(_, mode) if paths.is_endangered(self.learned) => {
                return self.attributes().mode_of_folded(path, *mode, replies);
            }
            Step::SetMode(_, mode) => self.attributes().mode(path, *mode, reply),
            Step::SetModified(_, time) => {
                return self.attributes().modified(path, *time, reply.clone());
            }
        })
    }

    /// Takes a reply to `MLST`. One without facts is of no use: the question is asked otherwise then.
    fn judge_facts<T>(&self, path: &[u8], reply: &Reply, said: Result<T>) -> Result<T> {
        match said {
            Err(Error::Misbehaved { tried, saw }) => {
                let directory = parent_and_name(path).map_or(path, |(parent, _)| parent);
                self.profile.note_useless(Capability::Mlst, directory);
                Err(Error::refused(Why::Unsupported, tried, saw))
            }
            said => {
                self.profile.note(Capability::Mlst, path, reply);
                said
            }
        }
    }

    fn attributes(&mut self) -> SetAttributes<'_> {
        SetAttributes {
            control: self.control,
            profile: self.profile,
            learned: self.learned,
            deadline: self.deadline,
        }
    }
}

/// The refusal of a step for which the server has no command.
fn unsupported(step: &Step<'_>) -> Error {
    no_command(match step {
        Step::MakeLink { .. } => "creating a symbolic link",
        Step::SetMode(..) => SETTING_MODE,
        Step::Stat(_) => "asking for one name",
        _ => SETTING_TIME,
    })
}
