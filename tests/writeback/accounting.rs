//! Every close that succeeded is stored, or counted as refused and kept in lost+found: with several handles, after a first
//! failure was told, for names that are made again, and after the death of a mount.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ftpfs::remote::Deadline;
use ftpfs::vfs::{AttributeSettings, Policy, ROOT};

use crate::memory::Fault;
use crate::recovery::{Mount, Place, pattern};

impl Mount {
    /// Waits until the queue has given up what waits.
    fn gives_up(&self) {
        self.until(|_| self.pending().files == 0);
    }

    fn count(&self) -> (u64, u64) {
        let refusals = self.refusals();
        (refusals.files, refusals.kept)
    }
}

/// What was closed by one handle is refused while another one writes, which hears of it.
#[test]
fn refusal_beside_a_second_writer_is_counted() {
    for writes_after in [false, true] {
        let place = Place::new(false);
        place.server.fail([Fault::Refused; 20]);
        let mount = place.mount();
        let (first, second) = (mount.open("f", libc::O_CREAT), mount.open("f", 0));
        mount.put(second, 0, b"second");
        mount.put(first, 0, b"first!");
        mount.close(first);
        mount.gives_up();
        if writes_after {
            let deadline = mount.deadline();
            let spot = ftpfs::vfs::Spot::At(6);
            mount.write(second, spot, b"more", &deadline).unwrap_err();
        }
        mount.closes(second).unwrap_err();
        mount.release(second, &mount.deadline());
        // The queue may let go of it last.
        mount.until(|figures| figures.open == 0);
        assert_eq!(mount.count(), (1, 1), "{writes_after}");
        assert_eq!(place.lost().len(), 1);
        assert_eq!(place.lost()[0].0, b"first!");
        mount.end();
    }
}

/// A second close is refused after the failure of the first one was told.
#[test]
fn refusal_after_a_told_one_is_counted() {
    let place = Place::new(false);
    place.server.fail([Fault::Refused; 20]);
    let mount = place.mount();
    let handle = mount.open("f", libc::O_CREAT);
    mount.put(handle, 0, b"one");
    mount.closes(handle).unwrap();
    mount.gives_up();
    mount.closes(handle).unwrap_err();
    mount.put(handle, 3, b"two");
    mount.closes(handle).unwrap();
    mount.release(handle, &mount.deadline());
    mount.finish(None);
    assert_eq!(mount.count(), (1, 1));
    assert_eq!(place.lost()[0].0, b"onetwo");
    mount.end();
}

/// A successful close stands for an empty file, too.
#[test]
fn empty_file_that_is_refused_is_kept() {
    let place = Place::new(false);
    place.server.fail(std::iter::repeat_n(Fault::Refused, 10));
    let mount = place.mount();
    let handle = mount.open("f", libc::O_CREAT);
    mount.close(handle);
    mount.finish(None);
    assert_eq!(mount.count(), (1, 1));
    assert_eq!(place.lost()[0].0, b"");
    mount.end();
}

/// `umount` asks once nothing waits any more, which may be while the last close writes lost+found.
#[test]
fn refusal_is_counted_while_its_last_close_runs() {
    for _ in 0..5 {
        let place = Place::new(false);
        place.server.fail([Fault::Refused; 20]);
        let mount = place.mount();
        let handle = mount.open("f", libc::O_CREAT);
        mount.put(handle, 0, &pattern(3_000_000));
        mount.closes(handle).unwrap();
        mount.gives_up();
        thread::scope(|scope| {
            let release = scope.spawn(|| mount.release(handle, &mount.deadline()));
            while !release.is_finished() {
                assert!(mount.pending().files > 0 || mount.count().0 > 0);
            }
        });
        mount.finish(None);
        assert_eq!(mount.count(), (1, 1));
        mount.end();
    }
}

/// What is stored in the end is not counted, however often it was refused before.
#[test]
fn refusal_that_is_mended_is_not_counted() {
    let place = Place::new(false);
    place.server.fail([Fault::Refused]);
    let mount = place.mount();
    let handle = mount.open("f", libc::O_CREAT);
    mount.put(handle, 0, b"one");
    mount.closes(handle).unwrap();
    mount.gives_up();
    mount.closes(handle).unwrap_err();
    mount.put(handle, 3, b"two");
    mount.close(handle);
    mount.finish(None);
    assert_eq!(mount.count(), (0, 0));
    assert_eq!(place.bytes("f"), b"onetwo");
    assert_eq!(place.lost().len(), 0);
    mount.end();
}

/// The refusal of a file that was removed meanwhile concerns no caller, and is not that of the new file of its name.
#[test]
fn refusal_of_a_removed_file_spares_its_successor() {
    let place = Place::new(false);
    place.server.slow(100_000);
    // A transfer in four takes no time.
    for _ in 0..4 {
        place.server.fail([Fault::Refused]);
        let mount = place.mount();
        let handle = mount.open("f", libc::O_CREAT);
        mount.put(handle, 0, b"old");
        mount.close(handle);
        let deadline = Deadline::after(std::time::Duration::from_secs(10));
        let is_refused = mount.unlink(ROOT, b"f", &deadline).is_err();
        place.server.mend();
        let attempts = if is_refused { 2 } else { 1 };
        let opened = (0..attempts).find_map(|_| mount.try_open("f", libc::O_CREAT).ok());
        let handle = opened.expect("the old file's failure does not hit the new one");
        mount.put(handle, 0, b"new");
        mount.close(handle);
        mount.finish(None);
        assert_eq!(mount.count().0, u64::from(is_refused));
        assert_eq!(place.bytes("f"), b"new");
        mount.unlink(ROOT, b"f", &deadline).unwrap();
        mount.end();
    }
}

/// The server sets no modes. What a killed mount has left is stored, and not refused for that.
#[test]
fn recovery_without_modes_refuses_nothing() {
    for policy in [Policy::Keep, Policy::Strict] {
        let place = Place::new(false);
        place.server.fail(std::iter::repeat_n(Fault::Lost, 1000));
        let attributes = AttributeSettings {
            policy,
            ..AttributeSettings::default()
        };
        let mount = place.mount_with(true, |settings| settings.attributes = attributes.clone());
        for number in 0..5 {
            let handle = mount.open(&format!("f{number}"), libc::O_CREAT);
            mount.put(handle, 0, &pattern(1000 * (number + 1)));
            mount.close(handle);
        }
        mount.fails();
        mount.dies();
        place.server.mend();
        let mount = place.mount_with(true, |settings| settings.attributes = attributes);
        mount.finish(None);
        assert_eq!(mount.count(), (0, 0), "{policy:?}");
        mount.end();
        for number in 0..5 {
            assert_eq!(
                place.bytes(&format!("f{number}")),
                pattern(1000 * (number + 1))
            );
        }
        assert_eq!(place.lost().len(), 0);
    }
}

/// Two processes write, close and open by turns while the server refuses at random: what is neither stored nor in
/// lost+found was told to a caller that had it refused.
#[test]
fn every_successful_close_is_stored_or_counted() {
    for seed in 0..40_u64 {
        let place = Place::new(seed % 2 == 0);
        let mount = place.mount();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut state = seed * 2 + 1;
                while !stop.load(Ordering::Relaxed) {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let fault = if state >> 62 == 0 {
                        Fault::Refused
                    } else {
                        Fault::None
                    };
                    place.server.fail([fault]);
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
            });
            let mut expected = Vec::new();
            for number in 0..12_u64 {
                let name = format!("f{}", number % 5);
                let text = format!("{name} {number} of {seed}").into_bytes();
                let closed = closes(&mount, &name, &text, number % 3 == 0);
                if closed.is_some() {
                    // It was truncated.
                    expected.retain(|(old, _): &(String, Vec<u8>)| *old != name);
                }
                if closed == Some(true) {
                    expected.push((name, text));
                }
            }
            stop.store(true, Ordering::Relaxed);
            place.server.mend();
            mount.finish(None);
            let lost: Vec<_> = place.lost().into_iter().map(|(bytes, _)| bytes).collect();
            let refusals = mount.refusals();
            assert_eq!(refusals.files, refusals.kept, "seed {seed}");
            let unstored = expected
                .iter()
                .filter(|(name, text)| place.bytes(name) != *text);
            let unstored: Vec<_> = unstored.collect();
            for (name, text) in &unstored {
                assert!(lost.contains(text), "seed {seed}: {name} is nowhere");
            }
            assert!(refusals.files >= unstored.len() as u64, "seed {seed}");
        });
        mount.end();
    }
}

/// Truncates and writes a file, by a second handle beside one that is open, too. Whether all closes succeeded; `None` where it could
/// not be opened.
fn closes(mount: &Mount, name: &str, text: &[u8], twice: bool) -> Option<bool> {
    let handle = mount.try_open(name, libc::O_CREAT | libc::O_TRUNC).ok()?;
    let other = twice.then(|| mount.try_open(name, 0).ok()).flatten();
    let deadline = mount.deadline();
    let by = other.unwrap_or(handle);
    let written = mount.write(by, ftpfs::vfs::Spot::At(0), text, &deadline);
    let mut closed = written.is_ok();
    for handle in [Some(handle), other].into_iter().flatten() {
        closed &= mount.closes(handle).is_ok();
        mount.release(handle, &deadline);
    }
    Some(closed)
}

/// A file is opened again while its last close gives it up: what is written then is stored.
#[test]
fn open_amid_a_last_close_is_stored() {
    let place = Place::new(false);
    let mount = place.mount_with(false, |_| {});
    for turn in 0..150_u64 {
        let name = format!("f{turn}");
        let deadline = mount.deadline();
        let first = mount.open(&name, libc::O_CREAT);
        mount.put(first, 0, b"refused");
        place.server.fail([Fault::Refused]);
        mount.closes(first).unwrap_err();
        place.server.mend();
        std::thread::scope(|scope| {
            scope.spawn(|| mount.release(first, &mount.deadline()));
            std::thread::sleep(std::time::Duration::from_micros(turn * 7));
            let Ok(second) = mount.try_open(&name, libc::O_CREAT | libc::O_TRUNC) else {
                return;
            };
            let spot = ftpfs::vfs::Spot::At(0);
            let written = mount.write(second, spot, b"stored", &deadline);
            let closed = mount.closes(second);
            mount.release(second, &deadline);
            if written.is_ok() && closed.is_ok() {
                assert_eq!(place.bytes(&name), b"stored", "turn {turn}");
            }
        });
    }
    mount.end();
}
