//! Decides what a reply proves about a server: one table, from the code, the kind of command and what was seen before.
//!
//! One odd reply ends no feature. A transient reply (4xx, RFC 959 section 4.2.1) proves nothing. A permanent one to a command
//! without a path is about the command. One to a command with a path is about that path, unless the code says that the
//! command is not implemented and neither FEAT nor an earlier success says otherwise: that counts the second time, for any
//! path. Refusals in two directories without a success between count all the same. A success counts at any time.
//!
//! What is refused here counts for this mount. [`super::format`] says when it counts for later ones.
//!
//! * `order`: decides what replies prove that do not fit their place

pub mod order;

use crate::ftp::profile::{AuthTls, DataMode, Learned, ModeFailure, Part, Profile, Support};
use crate::ftp::protocol::remote_root::below;
use crate::ftp::protocol::reply::Reply;
use crate::remote::{Error, Why};

/// Something that a server may support, and that replies tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `MLSD`.
    Mlsd,
    /// `MLST`.
    Mlst,
    /// `LIST -a`.
    ListAll,
    /// `MDTM` as a question.
    Mdtm,
    /// `SITE CHMOD`, or `MFF` for permission bits.
    Chmod,
    /// Any command that sets times.
    SetTimes,
    /// `REST` before `RETR`.
    RestRetr,
    /// `SITE QUOTA`.
    SiteQuota,
    /// `AUTH TLS`.
    AuthTls,
    /// `APPE`.
    Append,
    /// `STOR` after `REST`.
    StoreAt,
    /// `STAT` of a directory shows the same as `LIST`.
    StatLists,
}

/// The first refusal of a capability since it last worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused.
    pub capability: Capability,
    /// The directory of the path, absolute.
    pub directory: Vec<u8>,
    /// The reply was that the command is not known.
    pub is_unknown_command: bool,
}

/// A kind of command, by what its refusal may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// It has no path.
    Bare,
    /// It asks about a path: that there is no such file is an answer.
    Question,
    /// It does something to a path.
    Change,
}

/// What was seen of the capability before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Nothing.
    New,
    /// FEAT lists it, or it has worked.
    Vouched,
}

/// What a reply proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server supports it.
    Works,
    /// Nothing.
    Nothing,
    /// It was refused for this path.
    OfPath,
    /// The server does not support it; of a command with a path, if it says so twice.
    Missing,
}

/// The table.
pub fn verdict(code: u16, kind: CommandKind, history: History) -> Verdict {
    match (code, kind, history) {
        (100..=399, ..) => Verdict::Works,
        (500..=599, CommandKind::Bare, _) => Verdict::Missing,
        (500 | 502 | 504, _, History::New) => Verdict::Missing,
        (500 | 501 | 502 | 504, ..) => Verdict::OfPath,
        (550 | 553 | 554, CommandKind::Change, _) => Verdict::OfPath,
        _ => Verdict::Nothing,
    }
}

impl Capability {
    fn kind(self) -> CommandKind {
        match self {
            Self::RestRetr | Self::SiteQuota | Self::AuthTls => CommandKind::Bare,
            Self::Mlst | Self::Mdtm => CommandKind::Question,
            Self::Mlsd
            | Self::ListAll
            | Self::Chmod
            | Self::SetTimes
            | Self::Append
            | Self::StoreAt
            | Self::StatLists => CommandKind::Change,
        }
    }

    /// Whether the server is believed to support it.
    pub fn support(self, learned: &Learned) -> Support {
        match self {
            Self::Mlsd => learned.listing.mlsd,
            Self::Mlst => learned.listing.mlst,
            Self::ListAll => learned.listing.list_all,
            Self::Mdtm => learned.attributes.mdtm,
            Self::Chmod => learned.attributes.chmod,
            Self::SetTimes => learned
                .attributes
                .time_setter
                .map_or(Support::Unknown, |setter| setter.is_some().into()),
            Self::RestRetr => learned.partial.rest_retr,
            Self::SiteQuota => learned.attributes.site_quota,
            Self::AuthTls => {
                let is_refused = learned.this_mount.auth_tls == AuthTls::Refused;
                Support::from(is_refused.then_some(false))
            }
            Self::Append => learned.partial.appe,
            Self::StoreAt => learned.partial.rest_stor,
            Self::StatLists => learned.listing.stat_lists,
        }
    }

    /// Whether the command was unknown since it last worked: what needs it is not promised then, but tried at once.
    pub fn is_doubted(self, learned: &Learned) -> bool {
        let refused = &learned.this_mount.refused_in;
        let mut refused = refused.iter();
        refused.any(|refused| refused.capability == self && refused.is_unknown_command)
    }

    fn history(self, learned: &Learned) -> History {
        let is_offered = match self {
            Self::Mlsd => learned.features.mlst(),
            Self::Mlst => learned.features.lists_mlst,
            Self::Chmod => learned.features.mff_mode,
            Self::SetTimes => learned.features.mfmt,
            // RFC 959 requires LIST: a refusal is about what follows the word.
            Self::ListAll => true,
            Self::Mdtm
            | Self::RestRetr
            | Self::SiteQuota
            | Self::AuthTls
            | Self::Append
            | Self::StoreAt
            | Self::StatLists => false,
        };
        match is_offered || self.support(learned) == Support::Yes {
            true => History::Vouched,
            false => History::New,
        }
    }

    /// Notes a success. That `REST`, a listing or a quota is more than a reply is seen by who reads what follows it, and
    /// which command sets times, by who sent it.
    fn worked(self, learned: &mut Learned) {
        match self {
            Self::Mlsd => learned.listing.mlsd = Support::Yes,
            Self::Mlst => learned.listing.mlst = Support::Yes,
            Self::Mdtm => learned.attributes.mdtm = Support::Yes,
            Self::Chmod => learned.attributes.chmod = Support::Yes,
            Self::ListAll
            | Self::SetTimes
            | Self::RestRetr
            | Self::SiteQuota
            | Self::AuthTls
            | Self::Append
            | Self::StoreAt
            | Self::StatLists => {}
        }
    }

    fn is_missing(self, learned: &mut Learned) {
        match self {
            Self::Mlsd => {
                learned.listing.mlsd = Support::No;
                learned.features.facts = None;
            }
            Self::Mlst => learned.listing.mlst = Support::No,
            Self::ListAll => learned.listing.list_all = Support::No,
            Self::Mdtm => learned.attributes.mdtm = Support::No,
            Self::Chmod => learned.attributes.chmod = Support::No,
            Self::SetTimes => learned.attributes.time_setter = Some(None),
            Self::RestRetr => learned.partial.rest_retr = Support::No,
            Self::SiteQuota => learned.attributes.site_quota = Support::No,
            Self::AuthTls => learned.this_mount.auth_tls = AuthTls::Refused,
            Self::Append => learned.lacks(Part::Append),
            Self::StoreAt => learned.lacks(Part::InPlace),
            Self::StatLists => learned.listing.stat_lists = Support::No,
        }
    }
}

impl Profile {
    /// Notes the reply to a command of a capability, about the absolute path `path`; returns what it proves, with what was
    /// seen before.
    pub fn note(&self, capability: Capability, path: &[u8], reply: &Reply) -> Verdict {
        let sent = format!("SENT {}", String::from_utf8_lossy(path).escape_debug());
        self.note_code(capability, path, (reply.code, reply.why(sent)))
    }

    /// A command was sent twice and never answered, where another one was.
    pub fn note_silence(&self, capability: Capability) {
        self.learn(|learned| capability.is_missing(learned));
    }

    /// A capability was seen to work: refusals before count no more.
    pub fn note_success(&self, capability: Capability) {
        self.learn(|learned| {
            let refused = &mut learned.this_mount.refused_in;
            refused.retain(|refused| refused.capability != capability);
        });
    }

    /// As [`Self::note`], for a refusal that is an error already.
    pub fn note_refusal(&self, capability: Capability, path: &[u8], error: &Error) -> Verdict {
        match error {
            Error::Refused { why, said, .. } => {
                let code = said.get(..3).and_then(|code| code.parse().ok());
                self.note_code(capability, path, (code.unwrap_or(0), *why))
            }
            _ => Verdict::Nothing,
        }
    }

    /// What the failure of a way to data connections is about: `EPSV` and its kin are commands without a path. A second
    /// refusal for the moment counts as one of the command.
    pub fn judge_mode(&self, mode: DataMode, error: &Error) -> ModeFailure {
        let Error::Refused { said, tried, .. } = error else {
            return ModeFailure::Connection;
        };
        if !["EPSV", "PASV", "EPRT", "PORT"]
            .iter()
            .any(|verb| tried.starts_with(verb))
        {
            // A transfer was refused for want of a data connection.
            return ModeFailure::Connection;
        }
        let code = said.get(..3).and_then(|code| code.parse().ok());
        let is_missing = |code| verdict(code, CommandKind::Bare, History::New) == Verdict::Missing;
        if code.is_some_and(is_missing) {
            return ModeFailure::Command;
        }
        let mut failure = ModeFailure::Moment;
        self.learn(|learned| {
            let refused = &mut learned.this_mount.modes_refused_once;
            match refused.contains(&mode) {
                true => failure = ModeFailure::Command,
                false => refused.push(mode),
            }
        });
        failure
    }

    fn note_code(&self, capability: Capability, path: &[u8], (code, why): (u16, Why)) -> Verdict {
        let (history, before) =
            self.ask(|learned| (capability.history(learned), capability.support(learned)));
        let verdict = verdict(code, capability.kind(), history);
        if verdict == Verdict::Works && before == Support::Yes {
            return verdict;
        }
        if matches!(verdict, Verdict::OfPath | Verdict::Missing)
            && capability.kind() != CommandKind::Bare
            && names_cause(why)
        {
            return Verdict::OfPath;
        }
        if verdict == Verdict::Nothing {
            return verdict;
        }
        self.note_verdict(capability, directory_of(path), verdict)
    }

    /// An answer about the absolute path `directory` is of no use: that may be about the directory.
    pub fn note_useless(&self, capability: Capability, directory: &[u8]) {
        let inner = below(directory, b"");
        self.note_verdict(capability, directory_of(&inner), Verdict::OfPath);
    }

    /// Whether the first refusal since the last success was in this directory.
    pub fn is_refused_in(&self, capability: Capability, directory: &[u8]) -> bool {
        let inner = below(directory, b"");
        self.ask(|learned| {
            let mut refused = learned.this_mount.refused_in.iter();
            refused.any(|one| one.capability == capability && one.directory == directory_of(&inner))
        })
    }

    fn note_verdict(
        &self,
        capability: Capability,
        directory: &[u8],
        mut verdict: Verdict,
    ) -> Verdict {
        self.learn(|learned| {
            let refused = &mut learned.this_mount.refused_in;
            let at = refused
                .iter()
                .position(|refused| refused.capability == capability);
            let refusal = |is_unknown_command| Refusal {
                capability,
                directory: directory.to_vec(),
                is_unknown_command,
            };
            match (verdict, at) {
                (Verdict::OfPath, None) => refused.push(refusal(false)),
                (Verdict::OfPath, Some(at)) if refused[at].directory != directory => {
                    verdict = Verdict::Missing;
                    capability.is_missing(learned);
                }
                (Verdict::Missing, None) if capability.kind() != CommandKind::Bare => {
                    verdict = Verdict::OfPath;
                    refused.push(refusal(true));
                }
                (Verdict::Missing, _) => capability.is_missing(learned),
                (Verdict::Works, at) => {
                    at.map(|at| refused.swap_remove(at));
                    capability.worked(learned);
                }
                _ => {}
            }
        });
        verdict
    }
}

/// Whether the words of a refusal name a cause that lies in the file.
fn names_cause(why: Why) -> bool {
    !matches!(
        why,
        Why::Unsaid | Why::Unsupported | Why::Failed | Why::Login
    )
}

fn directory_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    &path[..slash.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::profile::partial_store;

    #[test]
    fn table_of_verdicts() {
        use CommandKind::{Bare, Change, Question};
        use History::{New, Vouched};
        use Verdict::{Missing, Nothing, OfPath, Works};
        type Row<'a> = (&'a [u16], &'a [CommandKind], &'a [History], Verdict);
        let table: &[Row<'_>] = &[
            (
                &[150, 213, 226, 350],
                &[Bare, Question, Change],
                &[New, Vouched],
                Works,
            ),
            (
                &[421, 425, 426, 450, 451, 452],
                &[Bare, Question, Change],
                &[New, Vouched],
                Nothing,
            ),
            (
                &[500, 501, 502, 504, 522, 550, 553, 554],
                &[Bare],
                &[New, Vouched],
                Missing,
            ),
            (&[500, 502, 504], &[Question, Change], &[New], Missing),
            (&[500, 502, 504], &[Question, Change], &[Vouched], OfPath),
            (&[501], &[Question, Change], &[New, Vouched], OfPath),
            (&[550, 553, 554], &[Change], &[New, Vouched], OfPath),
            (&[550, 553, 554], &[Question], &[New, Vouched], Nothing),
            (
                &[530, 551, 552],
                &[Question, Change],
                &[New, Vouched],
                Nothing,
            ),
        ];
        for (codes, kinds, histories, expected) in table {
            for code in *codes {
                for kind in *kinds {
                    for history in *histories {
                        let seen = verdict(*code, *kind, *history);
                        assert_eq!(seen, *expected, "{code} {kind:?} {history:?}");
                    }
                }
            }
        }
    }

    fn reply(code: u16, text: &str) -> Reply {
        Reply {
            code,
            lines: vec![text.as_bytes().to_vec()],
        }
    }

    #[test]
    fn refusals_of_paths_count_in_two_directories_without_a_success_between() {
        let chmod = |profile: &Profile, path: &str, code| {
            profile.note(Capability::Chmod, path.as_bytes(), &reply(code, "Odd."));
            profile.ask(|learned| learned.attributes.chmod)
        };
        let profile = Profile::default();
        assert_eq!(chmod(&profile, "/a/1", 501), Support::Unknown);
        assert_eq!(chmod(&profile, "/a/2", 501), Support::Unknown);
        assert_eq!(chmod(&profile, "/a/3", 200), Support::Yes);
        assert_eq!(chmod(&profile, "/b/1", 501), Support::Yes);
        assert_eq!(chmod(&profile, "/b/2", 502), Support::Yes);
        assert_eq!(chmod(&profile, "/c/1", 501), Support::No);
        assert_eq!(chmod(&profile, "/c/2", 200), Support::Yes);
    }

    #[test]
    fn way_to_data_connections_is_judged_as_a_command_without_a_path() {
        let profile = Profile::default();
        let judge = |mode, error: &Error| profile.judge_mode(mode, error);
        let refused = |code, text| reply(code, text).refusal("EPSV");
        for code in [500, 501, 502, 522, 550] {
            let failure = judge(DataMode::Epsv, &refused(code, "Odd."));
            assert_eq!(failure, ModeFailure::Command, "{code}");
        }
        for error in [refused(425, "No."), Error::timed_out("EPSV")] {
            assert_eq!(judge(DataMode::Epsv, &error), ModeFailure::Connection);
        }
        for (mode, expected) in [
            (DataMode::Epsv, ModeFailure::Moment),
            (DataMode::Pasv, ModeFailure::Moment),
            (DataMode::Epsv, ModeFailure::Command),
        ] {
            assert_eq!(judge(mode, &refused(450, "Odd.")), expected);
        }
    }

    #[test]
    fn refused_part_counts_the_second_time_as_the_whole_was_stored() {
        let appe = |profile: &Profile| profile.ask(|learned| learned.partial.appe);
        for (code, text, expected) in [
            (550, "Permission denied", [Support::Unknown, Support::No]),
            (451, "Odd.", [Support::Unknown, Support::No]),
            (502, "Odd.", [Support::Unknown, Support::No]),
            (
                451,
                "Append/Restart not permitted",
                [Support::No, Support::No],
            ),
        ] {
            let profile = Profile::default();
            for expected in expected {
                let error = reply(code, text).refusal("APPE /d/f");
                let said = partial_store::refused(&profile, Part::Append, b"/d/f", error);
                assert_eq!(said.why(), Some(Why::Unsupported));
                partial_store::took_all(&profile, b"/d/f");
                assert_eq!(appe(&profile), expected, "{code} {text}");
            }
        }
        // REST has no path.
        let profile = Profile::default();
        let error = Error::refused(Why::Unsupported, "REST 7", "502 Odd.");
        partial_store::refused(&profile, Part::InPlace, b"/d/f", error);
        assert_eq!(
            profile.ask(|learned| learned.partial.rest_stor),
            Support::No
        );
    }

    #[test]
    fn refusal_that_names_a_cause_in_the_file_proves_nothing() {
        let profile = Profile::default();
        for (path, text) in [("/a/1", "Permission denied"), ("/b/1", "No such file")] {
            let verdict = profile.note(Capability::Chmod, path.as_bytes(), &reply(550, text));
            assert_eq!(verdict, Verdict::OfPath);
        }
        assert!(profile.ask(|learned| learned.attributes.chmod.is_unknown()));
        for expected in [Support::Unknown, Support::No] {
            let unknown = reply(502, "Unknown.");
            profile.note(Capability::Chmod, b"/a/no such file", &unknown);
            assert_eq!(profile.ask(|learned| learned.attributes.chmod), expected);
        }
    }
}
