//! Steps: the small changes and questions of [`Step`], as commands and what their replies mean.
//!
//! The one idea: whatever the steps, their first commands go out as one flight; only a step that
//! was refused and has another way goes on by itself, command by command.

use crate::ftp::client::chmod as modes;
use crate::ftp::client::rename;
use crate::ftp::control::Control;
use crate::ftp::control::version_query::{
    missing, mlst_said, version_commands, version_said, versions_by_facts,
};
use crate::ftp::profile::{Learned, Profile, Support, TimeSetter};
use crate::ftp::protocol::command::Command;
use crate::ftp::protocol::remote_root::Place;
use crate::ftp::protocol::reply::Reply;
use crate::ftp::protocol::time_val::format_time_val;
use crate::remote::{Deadline, Done, Error, RemotePath, Result, Step, Why};

/// Takes the steps over one control connection.
///
/// `again` says that they may have been taken before, on a connection that broke before it
/// answered: then a name that is gone already was removed, and one that exists was made.
pub fn perform(
    control: &mut Control,
    profile: &Profile,
    place: &Place,
    steps: &[Step<'_>],
    again: bool,
    deadline: &Deadline,
) -> Result<Vec<Result<Done>>> {
    let prepared = match Prepared::of(place, profile.get(), steps) {
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

/// Steps that are ready to fly: their paths, and what was known of the server, by which the replies are read.
#[derive(Debug)]
pub struct Prepared {
    paths: Vec<Paths>,
    learned: Learned,
}

impl Prepared {
    /// Prepares the steps; an error where one of them may not be taken at all.
    pub fn of(place: &Place, learned: Learned, steps: &[Step<'_>]) -> Result<Self> {
        if let Some(refusal) = steps.iter().find_map(|step| changed_name(&learned, step)) {
            return Err(refusal);
        }
        let paths: Result<_> = steps.iter().map(|step| Paths::of(place, step)).collect();
        Ok(Self {
            paths: paths?,
            learned,
        })
    }

    /// The commands that begin `steps`, the same that were prepared.
    pub fn commands<'a>(&'a self, steps: &[Step<'a>]) -> Vec<Command<'a>> {
        let each = |(step, paths)| first_commands(step, paths, &self.learned);
        steps.iter().zip(&self.paths).flat_map(each).collect()
    }

    /// What came of `steps`, by the replies to all of [`Self::commands`], which no other replies may follow.
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
            let mut taking = Taking {
                control,
                profile,
                learned: &self.learned,
                deadline,
                again,
            };
            results.push(taking.outcome(step, paths, &replies)?);
            if let (Step::Version(_), Some(reply)) = (step, replies.first()) {
                self.forgive(steps, &paths.path, reply, &mut results);
            }
        }
        Ok(results)
    }

    /// Permission bits that could not be set on the absolute path `path`, and that it has by a reply to `MLST`, are as
    /// they were to be (Pure-FTPd with `-R` sets none).
    fn forgive(
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

/// The refusal of a step that would make a name which the server would change without a word.
fn changed_name(learned: &Learned, step: &Step<'_>) -> Option<Error> {
    match step {
        Step::MakeDirectory(path) | Step::Rename { to: path, .. } => refuse_changed(learned, path),
        _ => None,
    }
}

/// The refusal of a name that this server would change without a word.
pub fn refuse_changed(learned: &Learned, path: &RemotePath) -> Option<Error> {
    let name = path.name();
    let odd = name.ends_with(b" ") || name.iter().any(u8::is_ascii_control);
    (odd && learned.features.changes_names()).then(|| Error::Local {
        tried: format!(
            "{path}: this server changes names that end in a blank or hold control characters"
        ),
        errno: libc::EINVAL,
    })
}

/// The absolute paths that a step names.
#[derive(Debug)]
struct Paths {
    path: Vec<u8>,
    to: Vec<u8>,
    /// What `SITE CHMOD` may take the path for, where bits are to be set: see [`modes::folded`].
    folded: Vec<u8>,
}

impl Paths {
    fn of(place: &Place, step: &Step<'_>) -> Result<Self> {
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
        let path = place.absolute(path)?;
        Ok(Self {
            folded: match step {
                Step::SetMode(..) => modes::folded(&path),
                _ => Vec::new(),
            },
            to: to.map_or(Ok(Vec::new()), |to| place.absolute(to))?,
            path,
        })
    }

    /// Whether bits that are set by `SITE CHMOD` may be another file's: that one is looked for first.
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
        Step::SetMode(_, mode) => modes::set_mode(learned, *mode, path).into_iter().collect(),
        Step::SetModified(_, time) => {
            let setter = setters(learned).into_iter().next();
            let command = setter.map(|setter| set_time(learned, setter, *time, path));
            command.into_iter().collect()
        }
    }
}

/// What may set a time on this server, best first.
fn setters(learned: &Learned) -> Vec<TimeSetter> {
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

/// What makes links on this server, if anything does: it parts its arguments at blanks.
fn make_link<'a>(learned: &Learned, target: &'a [u8], path: &'a [u8]) -> Option<Command<'a>> {
    let plain = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_whitespace);
    let can = learned.features.site_symlink && plain(target) && plain(path);
    can.then_some(Command::SiteSymlink(target, path))
}

fn set_time<'a>(learned: &Learned, setter: TimeSetter, time: i64, path: &'a [u8]) -> Command<'a> {
    match setter {
        TimeSetter::Mfmt => Command::Mfmt(time, path),
        TimeSetter::Mdtm => Command::MdtmSet(learned.to_mdtm_time(time), path),
        TimeSetter::SiteUtime => Command::SiteUtime(time, path),
        TimeSetter::SiteUtimeLong => Command::SiteUtimeLong(time, path),
    }
}

/// "Command not implemented" (RFC 959 section 4.2.2).
const NOT_IMPLEMENTED: u16 = 502;

/// One step whose first replies are in.
struct Taking<'a> {
    control: &'a mut Control,
    profile: &'a Profile,
    learned: &'a Learned,
    deadline: &'a Deadline,
    again: bool,
}

impl Taking<'_> {
    /// The outer result is the connection's, the inner one the step's.
    fn outcome(
        &mut self,
        step: &Step<'_>,
        paths: &Paths,
        replies: &[Reply],
    ) -> Result<Result<Done>> {
        let path = &paths.path[..];
        let Some(reply) = replies.first() else {
            return Ok(Err(cannot(step)));
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
                self.note_mlst(reply);
                mlst_said(path, reply).map(Done::Attributes)
            }
            Step::Version(_) => {
                if versions_by_facts(self.learned) {
                    self.note_mlst(reply);
                }
                version_said(self.profile, self.learned, path, replies).map(Done::Version)
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
                    names,
                    reply,
                    renamed,
                    self.again,
                    self.deadline,
                );
            }
            Step::MakeLink { target, .. } => changed(Command::SiteSymlink(target, path), None),
            Step::SetMode(_, mode) if paths.is_endangered(self.learned) => {
                return self.mode_of_folded(path, *mode, replies);
            }
            Step::SetMode(_, mode) => self.mode(path, *mode, reply),
            Step::SetModified(_, time) => return self.modified(path, *time, reply.clone()),
        })
    }

    /// What a reply to `MLST` says of it: one that has told of something before may have disliked this name.
    fn note_mlst(&self, reply: &Reply) {
        let is_unknown = reply.is_unknown_command() && matches!(reply.code, 500 | NOT_IMPLEMENTED);
        let answers = match reply.is_completion() {
            true => true,
            false if is_unknown => false,
            false => return,
        };
        if self.learned.listing.mlst.is_unknown() {
            self.profile
                .learn(|learned| learned.listing.mlst = Support::from(answers));
        }
    }

    /// Sets the bits of a name that [`modes::folded`] changes, when no other file can be meant by that.
    fn mode_of_folded(&mut self, path: &[u8], mode: u32, others: &[Reply]) -> Result<Result<Done>> {
        let cannot = || Ok(Err(cannot(&Step::SetMode(&RemotePath::root(), mode))));
        let command = modes::set_mode(self.learned, mode, path);
        let Some(command) = command.filter(|_| !others.iter().any(Reply::is_completion)) else {
            return cannot();
        };
        let reply = self.control.command(command, self.deadline)?;
        if !reply.is_completion() && reply.why(command) == Why::NotFound {
            // It has looked for the other one.
            return cannot();
        }
        Ok(self.mode(path, mode, &reply))
    }

    fn mode(&self, path: &[u8], mode: u32, reply: &Reply) -> Result<Done> {
        if reply.is_completion() {
            self.profile
                .learn(|learned| learned.attributes.chmod = Support::Yes);
            return Ok(Done::Changed);
        }
        // What worked before may have disliked this one's bits.
        let is_unknown = reply.is_unknown_command() && self.learned.attributes.chmod.is_unknown();
        if is_unknown || reply.code == NOT_IMPLEMENTED {
            self.profile
                .learn(|learned| learned.attributes.chmod = Support::No);
        }
        Err(reply.refusal(
            modes::set_mode(self.learned, mode, path).unwrap_or(Command::SiteChmod(mode, path)),
        ))
    }

    /// Tries one way after the other until one works; that one is kept.
    fn modified(&mut self, path: &[u8], time: i64, first: Reply) -> Result<Result<Done>> {
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
        if let Some((command, reply)) = refused
            && !self.takes_time_for_name(command, path, &reply)?
        {
            return Ok(Err(reply.refusal(command)));
        }
        if self.learned.attributes.time_setter.is_some() || self.learned.features.mfmt {
            // It can, and what it did not like is this time (ProFTPD: 501 before 1970).
            let command = setters
                .first()
                .map(|setter| set_time(self.learned, *setter, time, path));
            let tried = command
                .map(|command| command.to_string())
                .unwrap_or_default();
            return Ok(Err(Error::refused(Why::Unsaid, tried, reply.to_string())));
        }
        self.profile
            .learn(|learned| learned.attributes.time_setter = Some(None));
        Ok(Err(cannot(&Step::SetModified(&RemotePath::root(), time))))
    }

    /// Whether a server that sets no times by `MDTM` has looked for a file whose name begins with the time: it says so,
    /// or has a time for the file that it was said not to find.
    fn takes_time_for_name(
        &mut self,
        command: Command<'_>,
        path: &[u8],
        reply: &Reply,
    ) -> Result<bool> {
        let Command::MdtmSet(time, _) = command else {
            return Ok(false);
        };
        if self.learned.attributes.time_setter.is_some() || reply.code < 500 {
            return Ok(false);
        }
        let name = format!("{} ", format_time_val(time).unwrap_or_default());
        if reply.text().contains(&name) {
            return Ok(true);
        }
        let there = self.control.command(Command::Mdtm(path), self.deadline)?;
        Ok(there.is_completion())
    }
}

/// The refusal of a step for which the server has no command.
fn cannot(step: &Step<'_>) -> Error {
    let tried = match step {
        Step::MakeLink { .. } => "making a symbolic link",
        Step::SetMode(..) => "setting permission bits",
        Step::Stat(_) => "asking for one name",
        _ => "setting the time of a file",
    };
    Error::refused(Why::Unsupported, tried, "it has no command for that")
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
