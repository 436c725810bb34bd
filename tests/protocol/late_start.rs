//! Servers that send the 150 of a transfer when its data has moved, and refusals that come as late.

use std::time::Duration;

use crate::mount::{Mount, soon};
use crate::scripted::{Act, Script, Server};

/// More than the buffers of both sockets take.
const LARGE: usize = 24 << 20;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 251 % 251) as u8).collect()
}

fn late_server(script: Script) -> Server {
    let server = script.start();
    for verb in ["LIST", "MLSD", "RETR", "STOR", "APPE"] {
        server.on(verb, Act::Late);
    }
    server
}

#[test]
fn large_files_move_before_the_150() {
    for script in [Script::new(), Script::new().without(&["EPSV", "MLST"])] {
        let server = late_server(script);
        server.tree().put("/d/big", content(LARGE));
        let mount = Mount::of(&server);
        assert_eq!(mount.sh("ls d"), "big\n");
        mount.sh("cp d/big copy; cmp d/big copy; cp copy again; echo more >> again");
        assert!(server.tree().bytes("/copy") == Some(&content(LARGE)[..]));
        let more = [&content(LARGE)[..], b"more\n"].concat();
        assert!(server.tree().bytes("/again") == Some(&more[..]));
        assert_eq!(mount.lost().len(), 0);
        assert_eq!(server.count("RETR /d/big"), 1);
        assert_eq!(server.count("STOR /copy") + server.count("APPE /copy"), 1);
    }
}

/// Two seconds for each would be more than a script has.
#[test]
fn server_that_is_late_again_and_again_is_not_waited_for() {
    let server = late_server(Script::new());
    let mount = Mount::of(&server);
    mount.sh("for n in $(seq 40); do echo $n > $n; done");
    for number in 1..=40 {
        let path = format!("/{number}");
        let expected = format!("{number}\n");
        assert_eq!(server.tree().bytes(&path), Some(expected.as_bytes()));
    }
}

/// A refusal that comes when our side has begun to send is one, whatever was sent.
#[test]
fn refusal_after_the_data_is_an_error() {
    let server = Server::start();
    server.tree().put("/old", "old");
    let mount = Mount::of(&server);
    let refuse = |verb| {
        server.on(
            verb,
            Act::SlowReply(Duration::from_secs(4), "553 Permission denied"),
        );
    };
    refuse("STOR");
    refuse("APPE");
    let write = "f = os.open('NAME', os.O_WRONLY | FLAGS); os.write(f, b'x' * (8 << 20))";
    for (name, flags) in [
        ("new", "os.O_CREAT"),
        ("excl", "os.O_CREAT | os.O_EXCL"),
        ("old", "os.O_TRUNC"),
    ] {
        let code = write.replace("NAME", name).replace("FLAGS", flags);
        let errno = mount.error(&format!("exec({code:?}) or os.close(f)"));
        assert_eq!(errno, "EACCES", "{name}");
    }
    assert_eq!(server.tree().bytes("/old"), Some(&b"old"[..]));
    assert_eq!(server.tree().bytes("/new"), None);
}

/// A file that is streamed while it is written, for longer than a transfer waits for its 150; it is refused then.
const STREAM: &str = "
def stream(name, mode):
    with open(name, mode, 0) as f:
        for _ in range(10):
            f.write(b'x' * (1 << 20))
            time.sleep(0.5)";

/// A transfer that our side began proves nothing until the server has agreed to it.
#[test]
fn late_refusal_of_a_path_is_no_success_of_paths() {
    let server = Script::new().names_only().start();
    let refusal = Act::SlowReply(Duration::from_secs(4), "550 Permission denied");
    server.on("STOR /big", refusal);
    let mount = Mount::of(&server);
    mount.error_with(STREAM, "stream('big', 'wb')");
    mount.sh("mkdir d; echo small > d/f");
    assert_eq!(server.tree().bytes("/d/f"), Some(&b"small\n"[..]));
}

#[test]
fn late_refusal_of_an_append_is_no_success_of_appends() {
    let server = Server::start();
    for name in ["/d/f", "/e/g"] {
        server.tree().put(name, "");
    }
    let mount = Mount::of(&server);
    mount.sh("cat d/f e/g");
    let refusal = Act::SlowReply(Duration::from_secs(4), "550 Permission denied");
    server.on("APPE", refusal);
    mount.error_with(STREAM, "stream('d/f', 'ab')");
    server.behave();
    server.on("APPE", Act::Reply("550 Permission denied"));
    mount.sh("echo more >> e/g");
    assert_eq!(server.tree().bytes("/e/g"), Some(&b"more\n"[..]));
}

/// What was refused late is not there: another client's change meanwhile is theirs, and is kept.
#[test]
fn remote_change_after_a_late_refusal_is_kept() {
    let refused = "452 No space";
    for size in [1000, 3 << 20] {
        let server = Server::start();
        server.tree().put("/f", vec![b'o'; size]);
        let mount = Mount::of(&server);
        for verb in ["STOR", "APPE"] {
            server.on(verb, Act::SlowReply(Duration::from_secs(3), refused));
        }
        let script = "python3 -c '
import os, sys, time
f = os.open(\"f\", os.O_RDWR)
os.pwrite(f, b\"ours\", 0)
try: os.fsync(f)
except OSError: open(sys.argv[1] + \"/failed\", \"w\")
while not os.path.exists(sys.argv[1] + \"/go\"): time.sleep(0.05)
os.pwrite(f, b\"OURS\", 0)
os.fsync(f)' \"$S\" 2>&1";
        let mut writer = mount.start(script);
        soon("it fails", || mount.try_sh("[ -e $S/failed ]").succeeded());
        server.tree().put("/f", vec![b't'; size + 5]);
        server.behave();
        mount.sh("touch $S/go");
        let said = writer.end();
        let stored = server.tree().bytes("/f").map(<[u8]>::to_vec).unwrap();
        assert_eq!(stored.len(), size + 5, "{said}");
        assert!(stored.starts_with(b"OURS"), "{said}");
        assert!(stored[4..].iter().all(|&byte| byte == b't'), "{said}");
    }
}

/// A file that is refused late is not there, and its absence is no content.
#[test]
fn download_refused_late_is_an_error() {
    let server = Server::start();
    server.tree().put("/f", "text");
    server.on(
        "RETR",
        Act::SlowReply(Duration::from_secs(3), "550 Permission denied"),
    );
    let mount = Mount::of(&server);
    assert_eq!(mount.error("open('f').read()"), "EACCES");
}
