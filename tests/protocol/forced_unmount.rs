//! `ftpfs umount -f`: callers are freed, transfers end, and nothing that was written is lost.

use std::time::Duration;

use crate::limited::{self, Outcome};
use crate::mount::{Mount, SCRIPT_LIMIT, pattern};
use crate::scripted::{Act, Server};

/// How long the process may go on, with a margin for a busy machine.
const END_LIMIT: Duration = Duration::from_secs(4);

fn unmount_by_force(mount: &Mount) -> Outcome {
    let point = mount.point();
    let mut command = mount.ftpfs(&["umount", "-f", point.to_str().unwrap()]);
    limited::run(&mut command, SCRIPT_LIMIT, &mount.path(""))
}

#[test]
fn forced_unmount_frees_callers_and_ends_the_process() {
    let server = Server::start();
    for name in ["f", "g", "d/h"] {
        server.tree().put(&format!("/{name}"), pattern(1_000_000));
    }
    let mut mount = Mount::with(&server, "timeout=600");
    mount.sh("ls -l");
    for command in ["RETR", "MLSD", "MKD"] {
        server.on(command, Act::Silence);
    }
    let listings = server.count("MLSD");
    // Their working directory keeps the detached mount alive.
    let script = "cat f >/dev/null || echo failed; sleep 600 <&- >/dev/null &";
    let mut reader = mount.start(script);
    let mut others = mount.start("ls d || echo failed; mkdir new || echo failed");
    server.await_count("RETR", 1);
    server.await_count("MLSD", listings + 1);
    let outcome = unmount_by_force(&mount);
    assert!(outcome.succeeded(), "{}", outcome.output);
    mount.ended_within(END_LIMIT);
    assert!(reader.end().contains("failed"));
    assert_eq!(others.end().matches("failed").count(), 2);
}

/// The kernel makes one name in a directory at a time: the second one comes when the first has failed.
#[test]
fn forced_unmount_lets_no_new_file_be_made() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "timeout=600");
    mount.sh("ls -l");
    server.on("MKD", Act::Silence);
    let mut first = mount.start("mkdir new || echo failed");
    server.await_count("MKD", 1);
    let mut second = mount.start("echo begun; echo text >file || echo failed");
    second.await_words("begun");
    std::thread::sleep(Duration::from_millis(200));
    let outcome = unmount_by_force(&mount);
    assert!(outcome.succeeded(), "{}", outcome.output);
    mount.ended_within(END_LIMIT);
    assert!(first.end().contains("failed"));
    assert!(second.end().contains("failed"));
    assert!(mount.lost().is_empty());
}

#[test]
fn forced_unmount_keeps_closed_and_open_files() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let mut mount = Mount::with(&server, "timeout=600,writeback");
    mount.sh("ls -l; echo warm > warm; sync warm");
    server.on("STOR", Act::Silence);
    // Not by a redirection of bash, which opens, duplicates and closes.
    let script = "exec python3 -Iuc \"import os, time
file = os.open('open', os.O_WRONLY | os.O_CREAT)
both = os.open('both', os.O_WRONLY | os.O_CREAT)
os.write(both, b'closed'); os.close(os.dup(both)); os.write(both, b' and open\\n')
os.write(file, b'open\\n'); print('written'); time.sleep(600)\"";
    let writer = mount.start(script);
    writer.await_words("written");
    mount.sh("echo closed > closed");
    server.on("", Act::Silence);
    let outcome = unmount_by_force(&mount);
    assert!(!outcome.succeeded());
    let said = &outcome.output;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("2 closed files"), "{said}");
    assert!(said.contains("2 open files not stored"), "{said}");
    mount.ended_within(END_LIMIT);
    drop(writer);
    let lost = mount.lost();
    for (name, content) in [("open", "open\n"), ("both", "closed and open\n")] {
        let mut of_it = lost.iter().filter(|(kept, _)| kept.contains(name));
        assert!(
            of_it.any(|(_, bytes)| bytes.as_slice() == content.as_bytes()),
            "{name}: {lost:?}"
        );
    }
    server.behave();
    assert!(server.tree().node("/closed").is_none());
    // The next mount stores what the journal has.
    mount.again_with(&server, "writeback");
    mount.sh("until [ \"$(cat closed both)\" = \"closed\nclosed\" ]; do sleep 0.1; done");
    mount.unmount();
    assert!(server.tree().node("/closed").is_some());
    assert_eq!(server.tree().bytes("/both"), Some(&b"closed"[..]));
}

/// Of two commands the one that waits for the uploads does not say that they are stored.
#[test]
fn umount_that_waits_reports_what_a_forced_one_leaves() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "timeout=600,writeback");
    mount.sh("ls -l; echo warm > warm; sync warm");
    server.on("STOR", Act::Silence);
    mount.sh("echo closed > closed");
    let point = mount.point();
    let waiting = std::thread::scope(|scope| {
        let mut command = mount.ftpfs(&["umount", point.to_str().unwrap()]);
        let scratch = mount.path("");
        let waiting = scope.spawn(move || limited::run(&mut command, SCRIPT_LIMIT, &scratch));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!unmount_by_force(&mount).succeeded());
        waiting.join().unwrap()
    });
    assert!(!waiting.succeeded(), "{}", waiting.output);
    let left = "with 1 closed file (7 bytes) pending: what was not stored is in the journal";
    assert!(waiting.output.contains(left), "{}", waiting.output);
    mount.ended_within(END_LIMIT);
}

/// What is pending stays the same while one file is being sent, and what has moved tells that this is no stall.
#[test]
fn bytes_moved_tell_of_an_upload_under_way() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "timeout=600,writeback");
    mount.sh("ls -l; echo warm > warm; sync warm");
    server.on("STOR", Act::NoFinal);
    mount.sh("head -c 3000000 /dev/zero > new");
    mount.sh("exec python3 -Iuc \"import os, time
def pending(): return [int(n) for n in os.getxattr('.', 'system.ftpfs.pending').split()]
while pending()[2] < 2000000: time.sleep(0.05)
assert pending()[:2] == [1, 3000000], pending()\"");
    assert!(!unmount_by_force(&mount).succeeded());
    mount.ended_within(END_LIMIT);
}

#[test]
fn unmount_of_a_killed_mount_says_where_files_are() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "writeback");
    mount.sh("ls -l");
    mount.kill();
    let point = mount.point();
    let mut command = mount.ftpfs(&["umount", point.to_str().unwrap()]);
    let outcome = limited::run(&mut command, SCRIPT_LIMIT, &mount.path(""));
    assert!(outcome.succeeded(), "{}", outcome.output);
    let said = "its process has ended: closed files that were not stored are in the journal";
    assert!(outcome.output.contains(said), "{}", outcome.output);
    mount.ended_within(END_LIMIT);
}

/// Nothing of it goes on in the background.
#[test]
fn forced_unmount_ends_an_upload() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "timeout=600");
    mount.sh("ls -l; echo warm > warm");
    server.on("STOR", Act::NoFinal);
    let mut writer = mount.start("cat /dev/zero | head -c 3000000 > new || echo failed");
    server.await_count("STOR /new", 1);
    let outcome = unmount_by_force(&mount);
    mount.ended_within(END_LIMIT);
    assert!(writer.end().contains("failed"), "{}", outcome.output);
    // What was written before the error, which came to the write or to the close.
    let lost = mount.lost();
    let mut kept = lost.iter().filter(|(name, _)| name.starts_with("new"));
    assert!(kept.any(|(_, content)| !content.is_empty()), "{lost:?}");
}

/// The kernel's connection is gone, so that the mount hears of no request: it ends by itself, without the server.
#[test]
fn aborted_mount_ends_without_the_server() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "timeout=600,writeback");
    mount.sh("ls -l; echo warm > warm; sync warm");
    server.on("STOR", Act::Silence);
    let writer = mount.start("sleep 600 <&- >/dev/null & echo closed > closed; echo written");
    writer.await_words("written");
    server.await_count("STOR /closed", 1);
    // EBUSY: the shell is there.
    let forced = nix::mount::umount2(&mount.point(), nix::mount::MntFlags::MNT_FORCE);
    assert!(forced.is_err());
    let outcome = unmount_by_force(&mount);
    assert!(outcome.status.is_some(), "{}", outcome.output);
    mount.ended_within(END_LIMIT);
    assert!(!crate::mount::is_mounted(&mount.point()));
    drop(writer);
    server.behave();
    // The next mount stores what the journal has.
    mount.again_with(&server, "writeback");
    mount.sh("until [ \"$(cat closed)\" = closed ]; do sleep 0.1; done");
    mount.unmount();
}
