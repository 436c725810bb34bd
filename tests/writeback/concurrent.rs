//! Several threads work on few names at once, as processes do, while the server is slow and refuses now and then: all of them
//! end, nothing stays open, and what the mount shows afterwards is what the server has.

use std::sync::Mutex;

use ftpfs::vfs::{ROOT, Spot, Vfs, Wants};

use crate::memory::Fault;
use crate::recovery::{Mount, Place};

const NAMES: [&str; 3] = ["a", "b", "c"];
const THREADS: u64 = 4;
const STEPS: u32 = 60;

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = (self.0)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn name(&mut self) -> &'static str {
        NAMES[usize::try_from(self.below(3)).unwrap()]
    }
}

fn work(mount: &Mount, directory: &Mutex<()>, seed: u64) {
    let fill = u8::try_from(seed % 251).unwrap();
    let mut numbers = Numbers(seed);
    let mut handles = Vec::new();
    for _ in 0..STEPS {
        let deadline = mount.deadline();
        // The kernel makes, renames and removes one name in a directory at a time.
        let one_name = || directory.lock().unwrap();
        let at = usize::try_from(numbers.below(handles.len().max(1) as u64)).unwrap();
        let handle = handles.get(at).copied();
        match (numbers.below(10), handle) {
            (0..3, _) => {
                let flags = libc::O_CREAT | [0, libc::O_TRUNC][usize::from(numbers.below(2) == 0)];
                let _one_name = one_name();
                handles.extend(mount.try_open(numbers.name(), flags));
            }
            (3, Some(handle)) => {
                let _ = mount.truncate(0, Some(handle), numbers.below(50_000), &deadline);
            }
            (4, Some(handle)) => drop(mount.fsync(handle, &deadline)),
            (5, _) => {
                let _one_name = one_name();
                let (from, to) = (numbers.name(), numbers.name());
                let (from, to) = ((ROOT, from.as_bytes()), (ROOT, to.as_bytes()));
                let _ = mount.rename(from, to, false, &deadline);
            }
            (6, _) => {
                let _one_name = one_name();
                let _ = mount.unlink(ROOT, numbers.name().as_bytes(), &deadline);
            }
            (7, Some(_)) => close(mount, handles.swap_remove(at)),
            (_, Some(handle)) => {
                let length = usize::try_from(numbers.below(40_000)).unwrap();
                let spot = match numbers.below(2) {
                    0 => Spot::End,
                    _ => Spot::At(numbers.below(60_000)),
                };
                let _ = mount.write(handle, spot, &vec![fill; length], &deadline);
            }
            _ => {}
        }
    }
    handles.into_iter().for_each(|handle| close(mount, handle));
}

fn close(mount: &Mount, handle: u64) {
    let _ = mount.closes(handle);
    mount.release(handle, &mount.deadline());
}

#[test]
fn concurrent_work_ends_and_agrees_with_the_server() {
    let rounds = std::env::var("FTPFS_CASES").map_or(8, |cases| cases.parse().unwrap());
    for round in 0..rounds {
        let place = Place::new(round % 2 == 0);
        place.server.slow(200 * (round % 3));
        let writes_back = round % 4 < 2;
        let mount = place.mount_with(writes_back, |settings| {
            settings.limits.spool_size = [64 << 10, 64 << 20][usize::from(round % 5 > 1)];
            settings.atomic = round % 7 == 3;
        });
        let mut numbers = Numbers(round);
        let faults = (0..40).map(|_| match numbers.below(8) {
            0 => Fault::Refused,
            1 => Fault::Half,
            2 => Fault::Unconfirmed,
            _ => Fault::None,
        });
        let is_faulty = round % 3 > 0;
        if is_faulty {
            place.server.fail(faults);
            place.server.refuse((0..20).map(|number| number % 6 == 5));
        }
        let directory = Mutex::new(());
        std::thread::scope(|scope| {
            for thread in 1..=THREADS {
                let (mount, directory) = (&mount, &directory);
                scope.spawn(move || work(mount, directory, round * THREADS + thread));
            }
        });
        place.server.mend();
        mount.until(|figures| figures.open == 0 && figures.unsent.is_empty());
        assert_eq!(mount.pending().files, 0, "round {round}");
        let refused = mount.refusals().files;
        assert!(
            is_faulty || refused == 0,
            "round {round}: {:?}",
            place.lost()
        );
        for name in NAMES {
            agrees(&place, &mount, name, is_faulty);
        }
        mount.end();
    }
}

/// What is read of a file is what the server has.
fn agrees(place: &Place, mount: &Mount, name: &str, is_faulty: bool) {
    let (vfs, deadline): (&Vfs, _) = (mount, mount.deadline());
    let stored = place.server.bytes(name);
    let found = vfs.lookup(ROOT, name.as_bytes(), &deadline);
    assert_eq!(found.is_ok(), stored.is_some(), "{name}");
    let (Ok(attr), Some(stored)) = (found, stored) else {
        return;
    };
    let open = || vfs.open(attr.ino, Wants::from_flags(libc::O_RDONLY), &deadline);
    let mut opened = open();
    if is_faulty {
        // What was closed and refused is reported once.
        opened = opened.or_else(|_| open());
    }
    let handle = opened.unwrap().handle;
    let read = vfs.read(handle, 0, 1 << 20, &deadline).unwrap();
    read.with(|bytes| assert!(bytes == stored, "{name} differs"));
    vfs.release(handle, &deadline);
}
