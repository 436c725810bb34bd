//! Attributes against a model of them: modes, owners and times of files and directories, as two mounts with one database set
//! them, another client changes them, and remounts find them again.
//!
//! The model has what a program set last and no other client has changed since; the rest is what the server has. One mount
//! acts at a time; before the other one does, it must show the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpfs::vfs::{
    Attr, AttributeSettings, Caller, Changes, Creator, Error, NewTime, ROOT, Spot, StorePlace,
    Timestamp, Vfs, Wants,
};
use proptest::prelude::*;

use crate::cases;
use crate::memory::Memory;
use crate::settings::settings;

/// Files, then directories; and what is there from the start and never touched, which shows the defaults.
const FILES: [&str; 4] = ["a", "b", "d/a", "e/a"];
const DIRECTORIES: [&str; 2] = ["d", "e"];
const UNTOUCHED: [&str; 2] = ["file", "directory"];
/// Longer than it takes until a mount has written what it keeps.
const BATCH: Duration = Duration::from_millis(1200);
/// Longer than it takes until another mount's change shows.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// What is done. What needs a name that is there, or none, does nothing otherwise.
#[derive(Clone, Debug)]
enum Op {
    Make(&'static str),
    Write(&'static str),
    Set(&'static str, Option<u32>, Option<u32>, Option<Timestamp>),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    /// Another client changes something.
    Theirs(&'static str, Theirs),
    /// The acting mount ends, and begins again.
    Remount,
    /// The other mount acts from now on.
    Switch,
}

#[derive(Clone, Copy, Debug)]
enum Theirs {
    /// The content of a file, or a new name in a directory.
    Content,
    Time,
    Mode(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let file = || prop::sample::select(FILES.to_vec());
    let directory = || prop::sample::select(DIRECTORIES.to_vec());
    let any = || prop_oneof![file(), directory()];
    let mode = || 0..0o1000u32;
    let time = (-5..2_000_000_000i64, 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos });
    let set = (
        any(),
        prop::option::of(mode()),
        prop::option::of(1..9u32),
        prop::option::of(time),
    );
    let theirs = prop_oneof![
        Just(Theirs::Content),
        Just(Theirs::Time),
        mode().prop_map(Theirs::Mode),
    ];
    prop_oneof![
        4 => any().prop_map(Op::Make),
        2 => file().prop_map(Op::Write),
        6 => set.prop_map(|(name, mode, owner, time)| Op::Set(name, mode, owner, time)),
        2 => (file(), file()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (directory(), directory()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => any().prop_map(Op::Remove),
        2 => (any(), theirs).prop_map(|(name, theirs)| Op::Theirs(name, theirs)),
        1 => Just(Op::Remount),
        1 => Just(Op::Switch),
    ]
}

/// What a program set last; `None`: what the server has, or the default.
#[derive(Clone, Debug, Default)]
struct Expected {
    mode: Option<u32>,
    owner: Option<u32>,
    time: Option<Timestamp>,
}

struct Run {
    server: Arc<Memory>,
    local: tempfile::TempDir,
    mounts: [Arc<Vfs>; 2],
    acting: usize,
    model: BTreeMap<String, Expected>,
}

fn is_directory(name: &str) -> bool {
    DIRECTORIES.contains(&name)
}

fn mount(server: &Arc<Memory>, local: &std::path::Path, number: usize) -> Arc<Vfs> {
    let mut settings = settings(&local.join(number.to_string()), false);
    settings.attributes = AttributeSettings {
        store: Some(StorePlace {
            directory: local.join("state"),
            server: b"server".to_vec(),
        }),
        ..AttributeSettings::default()
    };
    let remote: Arc<dyn ftpfs::remote::Remote> = Arc::<Memory>::clone(server);
    Vfs::new(remote, settings)
}

impl Run {
    fn new(modes: bool) -> Self {
        let server = Arc::new(Memory::new(true, true, []));
        server.store_modes(modes);
        server.store("file", b"", false);
        server.make_directory("directory");
        let local = tempfile::tempdir().unwrap();
        let mounts = [0, 1].map(|number| mount(&server, local.path(), number));
        Self {
            server,
            local,
            mounts,
            acting: 0,
            model: BTreeMap::new(),
        }
    }

    fn vfs(&self) -> &Vfs {
        &self.mounts[self.acting]
    }

    /// The directory and the name in it; `None` where that directory is not there.
    fn place(&self, name: &'static str) -> Option<(u64, &'static [u8])> {
        let Some((directory, name)) = name.split_once('/') else {
            return Some((ROOT, name.as_bytes()));
        };
        let found = self
            .vfs()
            .lookup(ROOT, directory.as_bytes(), &self.vfs().deadline());
        Some((found.ok()?.ino, name.as_bytes()))
    }

    fn find(&self, name: &'static str) -> Result<Attr, Error> {
        let (parent, own) = self.place(name).ok_or(Error::NotFound)?;
        self.vfs().lookup(parent, own, &self.vfs().deadline())
    }

    /// A name in a directory is new or gone: the directory's time is the server's.
    fn change_inside(&mut self, name: &str) {
        let parent = name
            .split_once('/')
            .and_then(|(parent, _)| self.model.get_mut(parent));
        parent.into_iter().for_each(|parent| parent.time = None);
    }

    fn take(&mut self, op: &Op) {
        match *op {
            Op::Make(name) => self.make(name),
            Op::Write(name) => self.write(name),
            Op::Set(name, mode, owner, time) => self.set(name, mode, owner, time),
            Op::Rename(from, to) => self.rename(from, to),
            Op::Remove(name) => self.remove(name),
            Op::Theirs(name, theirs) => self.theirs(name, theirs),
            Op::Remount => {
                self.vfs().end();
                self.mounts[self.acting] = mount(&self.server, self.local.path(), self.acting);
            }
            Op::Switch => {
                // Of two mounts that change one file within a batch the later writer wins.
                std::thread::sleep(BATCH);
                self.acting = 1 - self.acting;
                let until = Instant::now() + WAIT_LIMIT;
                while self.difference().is_some() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    fn make(&mut self, name: &'static str) {
        let Some((parent, own)) = self.place(name).filter(|_| !self.model.contains_key(name))
        else {
            return;
        };
        let (vfs, deadline) = (self.vfs(), self.vfs().deadline());
        let mode = if is_directory(name) {
            let creator = Creator::owner(0o755);
            vfs.mkdir(parent, own, creator, &deadline).unwrap();
            0o755
        } else {
            let wants = Wants::from_flags(libc::O_WRONLY | libc::O_CREAT);
            let creator = Creator::owner(0o644);
            let (_, open) = vfs.create(parent, own, creator, wants, &deadline).unwrap();
            close(vfs, open.handle);
            0o644
        };
        let expected = Expected {
            mode: Some(mode),
            ..Expected::default()
        };
        self.model.insert(name.to_string(), expected);
        self.change_inside(name);
    }

    fn write(&mut self, name: &'static str) {
        let Some(expected) = self.model.get_mut(name) else {
            return;
        };
        expected.time = None;
        let (vfs, deadline) = (self.vfs(), self.vfs().deadline());
        let ino = self.find(name).unwrap().ino;
        let wants = Wants::from_flags(libc::O_WRONLY);
        let handle = vfs.open(ino, wants, &deadline).unwrap().handle;
        vfs.write(handle, Spot::End, b"more", &deadline).unwrap();
        close(vfs, handle);
    }

    fn set(
        &mut self,
        name: &'static str,
        mode: Option<u32>,
        owner: Option<u32>,
        time: Option<Timestamp>,
    ) {
        let Some(expected) = self.model.get_mut(name) else {
            return;
        };
        expected.mode = mode.or(expected.mode);
        expected.owner = owner.or(expected.owner);
        expected.time = time.or(expected.time);
        let changes = Changes {
            mode,
            uid: owner,
            modified: time.map(NewTime::At),
            ..Changes::default()
        };
        let ino = self.find(name).unwrap().ino;
        let (root, deadline) = (Caller { uid: 0, gid: 0 }, self.vfs().deadline());
        let set = (self.vfs()).setattr(ino, None, changes, (root, &|_| true), &deadline);
        set.unwrap();
    }

    /// Files go over others, and directories to new names.
    fn rename(&mut self, from: &'static str, to: &'static str) {
        let is_possible = from != to
            && self.model.contains_key(from)
            && (!is_directory(from) || !self.model.contains_key(to));
        let (Some(old), Some(new)) = (self.place(from), self.place(to)) else {
            return;
        };
        if !is_possible {
            return;
        }
        let deadline = self.vfs().deadline();
        self.vfs().rename(old, new, false, &deadline).unwrap();
        let below = format!("{from}/");
        let is_moved = |name: &str| name == from || name.starts_with(&below);
        let moved: Vec<String> = (self.model.keys())
            .filter(|name| is_moved(name))
            .cloned()
            .collect();
        for name in moved {
            let expected = self.model.remove(&name).unwrap();
            let name = format!("{to}{}", &name[from.len()..]);
            self.model.insert(name, expected);
        }
        self.change_inside(from);
        self.change_inside(to);
    }

    fn remove(&mut self, name: &'static str) {
        let below = format!("{name}/");
        let is_there = self.model.contains_key(name);
        if !is_there || self.model.keys().any(|name| name.starts_with(&below)) {
            return;
        }
        let (parent, own) = self.place(name).unwrap();
        let deadline = self.vfs().deadline();
        let removed = match is_directory(name) {
            true => self.vfs().rmdir(parent, own, &deadline),
            false => self.vfs().unlink(parent, own, &deadline),
        };
        removed.unwrap();
        self.model.remove(name);
        self.change_inside(name);
    }

    fn theirs(&mut self, name: &'static str, theirs: Theirs) {
        let Some(expected) = self.model.get_mut(name) else {
            return;
        };
        match theirs {
            Theirs::Mode(mode) => {
                if self.server.change_mode(name, mode) {
                    expected.mode = None;
                }
                return;
            }
            Theirs::Content if is_directory(name) => {
                self.server.touch(name);
                expected.time = None;
                return;
            }
            Theirs::Content => self.server.store(name, b"theirs", true),
            Theirs::Time => self.server.touch(name),
        }
        match is_directory(name) {
            // What is in a directory moves its time alone.
            true => expected.time = None,
            false => *expected = Expected::default(),
        }
    }

    /// What the acting mount shows, where that is not what the model has.
    fn difference(&self) -> Option<String> {
        for name in FILES.into_iter().chain(DIRECTORIES) {
            let found = self.find(name);
            let (attr, expected) = match (found, self.model.get(name)) {
                (Ok(attr), Some(expected)) => (attr, expected),
                (Err(Error::NotFound), None) => continue,
                (found, expected) => {
                    return Some(format!("{name}: {found:?} instead of {expected:?}"));
                }
            };
            let default = self.find(UNTOUCHED[usize::from(is_directory(name))]);
            let default = default.unwrap();
            let there = self.server.nodes()[name.as_bytes()].clone();
            let shown = (attr.mode, attr.uid, attr.modified);
            let wanted = (
                expected.mode.or(there.mode).unwrap_or(default.mode),
                expected.owner.unwrap_or(default.uid),
                (expected.time).unwrap_or(Timestamp::of_seconds(there.modified)),
            );
            if shown != wanted {
                return Some(format!(
                    "{name}: mode, owner and time are {shown:?}, not {wanted:?}"
                ));
            }
        }
        None
    }

    fn run(mut self, ops: &[Op]) {
        for op in ops.iter().chain(&[Op::Remount, Op::Switch]) {
            self.take(op);
            let difference = self.difference();
            assert!(difference.is_none(), "{op:?}: {difference:?}");
        }
        self.mounts.iter().for_each(|mount| mount.end());
    }
}

fn close(vfs: &Vfs, handle: u64) {
    vfs.flush(handle, std::process::id(), &vfs.deadline())
        .unwrap();
    vfs.release(handle, &vfs.deadline());
}

proptest! {
    // Another mount's change shows after a second or two.
    #![proptest_config(ProptestConfig { cases: cases(8), failure_persistence: None, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn attributes_of_two_mounts_match_the_model(
        ops in prop::collection::vec(op(), 1..40), modes in any::<bool>(),
    ) {
        Run::new(modes).run(&ops);
    }
}

/// The other mount looks at the directory before it can have heard of the change: what it knew before is not written again.
#[test]
fn change_seen_early_by_another_mount_is_kept() {
    let mut run = Run::new(false);
    run.take(&Op::Make("d"));
    run.take(&Op::Switch);
    assert_eq!(run.difference(), None);
    // The next look at the database comes a second later.
    run.acting = 0;
    run.take(&Op::Set("d", Some(0o700), None, None));
    run.take(&Op::Theirs("d", Theirs::Content));
    std::thread::sleep(BATCH / 4);
    run.acting = 1;
    run.find("d").unwrap();
    std::thread::sleep(BATCH * 2);
    for mount in [0, 1] {
        run.acting = mount;
        assert_eq!(run.difference(), None);
        run.take(&Op::Remount);
        assert_eq!(run.difference(), None);
    }
}
