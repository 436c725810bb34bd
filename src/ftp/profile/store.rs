//! Keeps profiles from one mount to the next: a small file for each server and user.
//!
//! The file is a hint that can be deleted at any time. It counts for some days, and only for a server with the same
//! greeting and features; what it says of data connections counts only from the same local address. A way is tried
//! again before it is believed, and a zone is learned again from the first file that shows it. It holds no password.
//!
//! Several mounts write it: each writes a temporary file and renames it, with the facts of the file that it does not
//! know itself. A thread writes, so that no operation waits for a home directory that hangs.
//!
//! # Lock order
//!
//! The lock is held for a moment only, and nothing is called under it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::ftp::profile::file::{is_fresh, load, remove, write};
use crate::ftp::profile::format;
use crate::ftp::profile::format::{Head, KeptFact};
use crate::ftp::profile::{DataModes, Learned, Profile, Support};
use crate::ftp::protocol::time_val::now;
use crate::process::thread::spawn_thread;

/// Bytes of a file's name: below what file systems allow (255), with the suffix of a temporary file.
const NAME_LIMIT: usize = 200;

/// How long the end of a mount waits for the thread that writes: a home directory may hang.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);

/// The stored profile of one server and user.
#[derive(Debug)]
pub struct ProfileStore {
    path: Option<PathBuf>,
    state: Mutex<StoreState>,
    /// The thread that writes has ended.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct StoreState {
    /// The file's content when the mount began.
    found: Option<(Head, Learned)>,
    /// Set once the server is known to be that of the file, or to be another.
    head: Option<Head>,
    /// The lines of facts of the file then.
    before: Vec<String>,
    /// Whether the way to data connections is read and written.
    ways: bool,
    revision: u64,
    noted: String,
    written: String,
    is_writing: bool,
}

impl ProfileStore {
    /// Opens the profile of a server and a user in `directory`; without a directory nothing is stored.
    pub fn open(directory: Option<&Path>, host: &str, port: u16, user: &[u8]) -> Self {
        let path = directory.and_then(|directory| {
            let host = host.to_ascii_lowercase();
            let name = format!("{}@{}:{port}", escape(user), escape(host.as_bytes()));
            (name.len() <= NAME_LIMIT).then(|| directory.join(name))
        });
        let found = match &path {
            None => {
                log::debug!("profile: not stored: there is no home directory");
                None
            }
            Some(path) => load(path).and_then(|text| match format::read(&text) {
                Ok((head, _)) if !is_fresh(head.since) => None,
                Ok(found) => Some(found),
                Err(fault) => {
                    log::info!("profile: {}: ignored: {fault}", path.display());
                    None
                }
            }),
        };
        let state = StoreState {
            found,
            ..StoreState::default()
        };
        Self {
            path,
            state: Mutex::new(state),
            idle: Condvar::new(),
        }
    }

    /// Whether data connections had to keep to TLS 1.2: to be known before the first handshake. If the
    /// server is another one now, [`Self::adopt`] takes it back.
    pub fn steps_back(&self) -> bool {
        let state = self.state.lock();
        state
            .found
            .as_ref()
            .is_some_and(|(_, learned)| learned.data.tls12_only)
    }

    /// Whether there is a stored profile; whether it is this server's is seen in [`Self::adopt`].
    pub fn is_known(&self) -> bool {
        self.state.lock().found.is_some()
    }

    /// Whether the server was seen to lose pipelined commands: to be known before the first of
    /// them are sent.
    pub fn loses_pipelined_commands(&self) -> bool {
        let state = self.state.lock();
        let found = state.found.as_ref();
        found.is_some_and(|(_, learned)| learned.pipelining.commands == Support::No)
    }

    /// Whether the server ended a session when another one logged in.
    pub fn has_one_session(&self) -> bool {
        let state = self.state.lock();
        let found = state.found.as_ref();
        found.is_some_and(|(_, learned)| learned.one_session)
    }

    /// The stored facts, for a server that is not known yet to be that of the file. The arguments are those of
    /// [`Self::adopt`].
    pub fn expected(&self, network: &str, ways: bool) -> Option<Profile> {
        let state = self.state.lock();
        let (head, stored) = state.found.as_ref()?;
        let profile = Profile::default();
        profile.learn(|learned| {
            *learned = stored.clone();
            learned.print = head.print;
            if head.network != network || !ways {
                learned.data.modes.before = None;
            }
        });
        Some(profile)
    }

    /// Takes over the stored facts, once the server is known to be that of the file. `network` is our local address;
    /// `ways` is whether a way to data connections is taken from there, and written there.
    pub fn adopt(&self, profile: &Profile, network: &str, ways: bool) {
        let print = profile.ask(|learned| learned.print);
        let found = self.state.lock().found.take();
        let found = found.filter(|(head, _)| head.print == print);
        let since = found.as_ref().map_or_else(now, |(head, _)| head.since);
        let (once, often) = found.as_ref().map_or_else(Default::default, |(head, _)| {
            (head.once.clone(), head.often.clone())
        });
        let before = found.as_ref().map(|(_, learned)| format::facts(learned));
        let times = found
            .as_ref()
            .map_or_else(Default::default, |(head, learned)| {
                let facts = format::facts(learned).into_iter();
                let time = |fact: &String| head.times.get(fact).copied().unwrap_or(head.since);
                facts.map(|fact| (fact.clone(), time(&fact))).collect()
            });
        profile.learn(|learned| match found {
            Some((head, before)) => {
                let new = std::mem::take(learned);
                *learned = before;
                learned.pipelining.commands =
                    new.pipelining.commands.or(learned.pipelining.commands);
                learned.pipelining.doubles |= new.pipelining.doubles;
                learned.this_mount = new.this_mount;
                learned.listing.hides_directories |= new.listing.hides_directories;
                learned.features = new.features;
                learned.offered = new.offered;
                learned.print = new.print;
                if learned.listing.mlsd == Support::No {
                    learned.features.facts = None;
                }
                if head.network != network || !ways {
                    learned.data.modes.before = None;
                }
            }
            None => learned.data.tls12_only = false,
        });
        let mut state = self.state.lock();
        state.head = Some(Head {
            print,
            since,
            network: network.to_string(),
            once,
            often,
            times,
        });
        state.ways = ways;
        state.before = before.unwrap_or_default();
        drop(state);
        let text = self.text(profile).unwrap_or_default();
        let mut state = self.state.lock();
        state.written.clone_from(&text);
        state.noted = text;
    }

    /// The path of the file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Writes new facts, if there are any, without waiting for it.
    pub fn note(self: &Arc<Self>, profile: &Profile) {
        if !self.take_note(profile) {
            return;
        }
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_writing, true) {
            return;
        }
        drop(state);
        let kept = Arc::clone(self);
        if spawn_thread("profile", move || kept.write_all()).is_err() {
            self.state.lock().is_writing = false;
        }
    }

    /// Writes new facts, if there are any, at the end.
    pub fn finish(&self, profile: &Profile) {
        self.take_note(profile);
        {
            let mut state = self.state.lock();
            if state.is_writing {
                // The thread writes all that was noted before it ends.
                self.idle.wait_for(&mut state, WRITER_PATIENCE);
                return;
            }
        }
        self.write_all();
    }

    /// Removes the file. What is learned from now on is written again.
    pub fn forget(&self) {
        let Some(path) = &self.path else { return };
        let mut state = self.state.lock();
        if state.is_writing {
            self.idle.wait_for(&mut state, WRITER_PATIENCE);
        }
        state.found = None;
        if let Some(head) = &mut state.head {
            head.since = now();
            head.once.clear();
            head.often.clear();
            head.times.clear();
        }
        (state.noted, state.written) = (String::new(), String::new());
        drop(state);
        if let Err(error) = remove(path) {
            log::warn!("profile: {}: can't be removed: {error}", path.display());
        }
    }

    /// Whether there are new facts to be written.
    fn take_note(&self, profile: &Profile) -> bool {
        let revision = profile.revision();
        if self.path.is_none() || self.state.lock().revision == revision {
            return false;
        }
        let Some(text) = self.text(profile) else {
            return false;
        };
        let mut state = self.state.lock();
        state.revision = revision;
        state.noted = text;
        state.noted != state.written
    }

    fn text(&self, profile: &Profile) -> Option<String> {
        let mut learned = profile.get();
        let mut state = self.state.lock();
        if !state.ways {
            learned.data.modes = DataModes::default();
        }
        let head = state.head.as_mut()?;
        let facts = format::facts(&learned);
        head.times.retain(|line, _| facts.contains(line));
        for fact in facts {
            head.times.entry(fact).or_insert_with(now);
        }
        Some(format::write(head, &learned))
    }

    /// What is kept, with when and how it was learned.
    pub fn facts(&self, profile: &Profile) -> Vec<KeptFact> {
        self.text(profile);
        let learned = profile.get();
        let state = self.state.lock();
        let head = state.head.as_ref();
        head.map_or_else(Vec::new, |head| {
            format::kept_facts(head, &learned, &state.before)
        })
    }

    fn write_all(&self) {
        let Some(path) = &self.path else { return };
        loop {
            let (text, head, ways) = {
                let mut state = self.state.lock();
                if state.noted == state.written {
                    state.is_writing = false;
                    self.idle.notify_all();
                    return;
                }
                state.written = state.noted.clone();
                (state.noted.clone(), state.head.clone(), state.ways)
            };
            let Some(head) = head else { return };
            if let Err(error) = write(path, text, &head, ways) {
                // A convenience only: the mount works as well without it.
                log::info!("profile: {}: can't be written: {error}", path.display());
            }
        }
    }
}

/// A part of a file's name: letters, digits and `.-_`, others as `%XX`.
fn escape(bytes: &[u8]) -> String {
    let mut name = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::ftp::profile::DataMode;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const HERE: &str = "192.0.2.7";

    fn open(directory: &Path) -> Arc<ProfileStore> {
        Arc::new(ProfileStore::open(Some(directory), "Host", 21, b"us/er"))
    }

    /// The profile of a mount whose server shows `print`.
    fn begin(kept: &ProfileStore, print: u64, network: &str) -> Profile {
        let profile = Profile::default();
        profile.learn(|learned| learned.print = print);
        kept.adopt(&profile, network, true);
        profile
    }

    fn learn(profile: &Profile) {
        profile.learn(|learned| {
            learned.attributes.mdtm = Support::Yes;
            learned.data.tls12_only = true;
            learned.data.modes = DataModes {
                works: Some(DataMode::Pasv),
                ..DataModes::default()
            };
        });
    }

    #[test]
    fn learned_facts_are_known_to_the_next_mount() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("deep/servers");
        let kept = open(&place);
        let profile = begin(&kept, 1, HERE);
        learn(&profile);
        kept.finish(&profile);

        let kept = open(&place);
        assert!(kept.steps_back());
        let profile = begin(&kept, 1, HERE);
        let learned = profile.get();
        assert_eq!(learned.attributes.mdtm, Support::Yes);
        assert_eq!(learned.data.modes.before, Some(DataMode::Pasv));

        let files: Vec<_> = fs::read_dir(&place)
            .expect("files")
            .map(|entry| entry.expect("one").path())
            .collect();
        assert_eq!(files, [place.join("us%2Fer@host:21")]);
        assert_eq!(fs::metadata(&files[0]).expect("it").mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&place).expect("it").mode() & 0o777, 0o700);
    }

    #[test]
    fn replies_given_twice_at_a_login_stay_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = open(directory.path());
        let profile = begin(&kept, 1, HERE);
        learn(&profile);
        kept.finish(&profile);

        let profile = Profile::default();
        profile.learn(|learned| {
            learned.print = 1;
            learned.pipelining.doubles = true;
        });
        open(directory.path()).adopt(&profile, HERE, true);
        let learned = profile.get();
        assert_eq!(learned.attributes.mdtm, Support::Yes);
        assert!(learned.pipelining.doubles);
    }

    #[test]
    fn refusal_is_believed_after_two_mounts_and_a_success_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mount = |seen: Option<Support>| {
            let kept = open(directory.path());
            let profile = begin(&kept, 1, HERE);
            let believed = profile.ask(|learned| learned.attributes.chmod);
            if let Some(seen) = seen {
                profile.learn(|learned| learned.attributes.chmod = seen);
            }
            kept.note(&profile);
            kept.finish(&profile);
            believed
        };
        use Support::{No, Unknown, Yes};
        let mounts = [
            (Some(No), Unknown),
            (None, Unknown),
            (Some(No), Unknown),
            (None, No),
            (Some(Yes), No),
            (Some(No), Yes),
            (Some(Yes), Unknown),
            (None, Yes),
        ];
        for (number, (seen, believed)) in mounts.into_iter().enumerate() {
            assert_eq!(mount(seen), believed, "mount {number}");
        }
    }

    #[test]
    fn other_server_or_network_starts_unknown() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = open(directory.path());
        let profile = begin(&kept, 1, HERE);
        learn(&profile);
        kept.finish(&profile);

        let learned = begin(&open(directory.path()), 1, "198.51.100.2").get();
        assert_eq!(
            (learned.attributes.mdtm, learned.data.modes.before),
            (Support::Yes, None)
        );
        let learned = begin(&open(directory.path()), 2, HERE).get();
        assert_eq!(
            (learned.attributes.mdtm, learned.data.tls12_only),
            (Support::Unknown, false)
        );
    }

    #[test]
    fn old_spoilt_or_large_file_is_ignored_and_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("us%2Fer@host:21");
        let old = now() - 4 * 24 * 3600;
        for text in [
            format!("ftpfs-server 1\nprint 1\nlearned {old}\nnetwork {HERE}\nmdtm no\n"),
            "ftpfs-server 99\nsomething else\n".to_string(),
            "junk".to_string(),
            "x".repeat(5000),
        ] {
            fs::write(&path, text).expect("written");
            let kept = open(directory.path());
            let profile = begin(&kept, 1, HERE);
            assert_eq!(profile.get().attributes.mdtm, Support::Unknown);
            profile.learn(|learned| learned.partial.appe = Support::Yes);
            kept.finish(&profile);
            assert_eq!(
                begin(&open(directory.path()), 1, HERE).get().partial.appe,
                Support::Yes
            );
        }
    }

    #[test]
    fn concurrent_mounts_leave_one_file_with_all_facts() {
        let directory = tempfile::tempdir().expect("a directory");
        let mounts: Vec<_> = (0..2).map(|_| open(directory.path())).collect();
        let profiles: Vec<_> = mounts.iter().map(|kept| begin(kept, 1, HERE)).collect();
        thread::scope(|scope| {
            for (at, (kept, profile)) in mounts.iter().zip(&profiles).enumerate() {
                scope.spawn(move || {
                    for turn in 0..50 {
                        profile.learn(|learned| match at {
                            0 => learned.attributes.zone = Some(turn),
                            _ => {
                                learned.listing.list_all = Support::Yes;
                                learned.attributes.mdtm = Support::from(turn % 2 != 0);
                            }
                        });
                        kept.finish(profile);
                        let text = fs::read_to_string(kept.path.as_ref().expect("one"));
                        format::read(&text.expect("a file")).expect("a whole one");
                    }
                });
            }
        });
        profiles[0].learn(|learned| learned.partial.appe = Support::Yes);
        mounts[0].finish(&profiles[0]);
        let learned = begin(&open(directory.path()), 1, HERE).get();
        assert_eq!(learned.attributes.zone, Some(49));
        assert!(learned.listing.list_all.is_known() && learned.partial.appe == Support::Yes);
        assert_eq!(fs::read_dir(directory.path()).expect("it").count(), 1);
    }

    #[test]
    fn missing_home_stores_nothing_and_is_no_error() {
        let kept = Arc::new(ProfileStore::open(None, "host", 21, b"u"));
        let profile = begin(&kept, 1, HERE);
        learn(&profile);
        kept.note(&profile);
        kept.finish(&profile);
        assert!(!kept.steps_back());
    }
}
