//! Commands that a server executes after their operation has failed here.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::mount::{Mount, soon};
use crate::scripted::{Act, Gate, Script, Server};

/// A file that is saved again after a failed unlink survives the late `DELE`.
#[test]
fn late_dele_does_not_remove_a_file_saved_since() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).start();
        server.tree().put("/f", "old");
        let mount = Mount::with(&server, "timeout=6");
        assert_eq!(mount.sh("cat f"), "old");
        let gate = Gate::default();
        server.on("DELE /f", Act::Until(gate.clone()));
        assert_eq!(mount.error("os.unlink('f')"), "ETIMEDOUT");
        server.behave();
        let rechecks = || mount.log().matches("recheck:").count();
        let before = rechecks();
        let mut writer = mount.start("echo new >f && echo saved || echo failed");
        soon("a question about the file", || {
            rechecks() > before || server.count("STOR") + server.count("APPE") > 0
        });
        // The first answer says that it is there. Now the server executes what it had received.
        sleep(Duration::from_millis(300));
        gate.open();
        let said = writer.end();
        sleep(Duration::from_millis(500));
        assert_eq!(said, "saved\n", "{}", mount.log());
        assert_eq!(mount.sh("cat f"), "new\n");
    }
}

/// Where no answer about the path comes, nothing is sent: the server may still do what it was told before.
#[test]
fn path_that_stays_doubtful_is_not_written() {
    // The file system itself asks by listings then.
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    server.tree().put("/f", "old");
    let mount = Mount::with(&server, "timeout=4");
    assert_eq!(mount.sh("cat f"), "old");
    server.on("DELE /f", Act::Silence);
    assert_eq!(mount.error("os.unlink('f')"), "ETIMEDOUT");
    server.behave();
    server.on("SIZE /f", Act::Silence);
    let begun = Instant::now();
    assert_eq!(
        mount.error("os.rename('f', 'g')"),
        "ETIMEDOUT",
        "{}",
        mount.log()
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(server.count("RNFR"), 0);
    server.behave();
    mount.sh("mv f g");
    assert_eq!(mount.sh("cat g"), "old");
}

/// A connection that the server ends can do nothing more: what follows is not delayed.
#[test]
fn commands_of_an_ended_session_leave_no_doubt() {
    let server = Server::start();
    server.tree().put("/f", "old");
    let mount = Mount::of(&server);
    assert_eq!(mount.sh("cat f"), "old");
    server.once("DELE /f", Act::HangUp);
    mount.sh("rm f; echo new >f");
    assert_eq!(mount.sh("cat f"), "new\n");
    assert!(!mount.log().contains("recheck:"), "{}", mount.log());
}
