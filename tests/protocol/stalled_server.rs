//! Servers that stop in the middle: nothing hangs, and what is known is answered.

use std::time::Duration;

use crate::mount::{Mount, pattern};
use crate::scripted::{Act, Script, Server};

#[test]
fn stuck_64_readers_fail_and_cached_listing_is_answered() {
    let server = Server::start();
    for number in 0..64 {
        server
            .tree()
            .put(&format!("/d/f{number}"), pattern(1_000_000));
    }
    let mount = Mount::with(&server, "timeout=3");
    mount.sh("ls -l d");
    server.on("RETR", Act::Stall(1000));
    let mut readers =
        mount.start("for i in {0..63}; do (cat d/f$i > /dev/null || echo failed) & done; wait");
    server.await_count("RETR", 7);
    for _ in 0..3 {
        let listed = mount.sh("ls -l d");
        assert_eq!(listed.lines().count(), 65);
    }
    let said = readers.end();
    assert_eq!(said.matches("failed").count(), 64, "{said}");
    server.behave();
    assert_eq!(mount.sh("cat d/f5 | wc -c").trim(), "1000000");
}

#[test]
fn stuck_readers_do_not_block_an_uncached_listing() {
    let server = Server::start();
    server.tree().put("/e/small", "small");
    for number in 0..64 {
        server
            .tree()
            .put(&format!("/d/f{number}"), pattern(1_000_000));
    }
    let mount = Mount::with(&server, "timeout=20");
    server.on("RETR", Act::Stall(1000));
    let _readers = mount.start("for i in {0..63}; do cat d/f$i > /dev/null & done; wait");
    server.await_count("RETR", 7);
    mount.sh("ls -l e; stat e/small; mkdir e/new; mv e/new e/renamed");
    assert!(server.tree().node("/e/renamed").is_some());
}

#[test]
fn a_server_that_answers_nothing_costs_an_error() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let mount = Mount::with(&server, "timeout=3");
    mount.sh("ls -l");
    server.on("", Act::Silence);
    assert_eq!(mount.error("os.stat('new')"), "ENOENT");
    assert_eq!(mount.error("open('f').read()"), "ETIMEDOUT");
    assert_eq!(mount.error("os.mkdir('d')"), "ETIMEDOUT");
    assert_eq!(mount.error("os.unlink('f')"), "ETIMEDOUT");
    server.behave();
    assert_eq!(mount.sh("cat f"), "content");
}

/// Without a state that callers share, each of these operations would take six seconds, longer than the script may.
#[test]
fn server_away_fails_operations_quickly_until_it_answers() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "timeout=6");
    mount.sh("ls -l");
    server.on("", Act::Silence);
    assert_eq!(mount.error("os.listdir('d')"), "ETIMEDOUT");
    let failed =
        mount.sh("for i in {0..9}; do mkdir new$i 2>/dev/null || echo failed; done || true");
    assert_eq!(failed.matches("failed").count(), 10);
    server.behave();
    // On a busy machine a login may take longer than the first of them waits.
    mount.sh("until mkdir new 2>/dev/null; do sleep 0.2; done");
    assert_eq!(mount.sh("cat d/f"), "content");
    let log = mount.log();
    assert_eq!(log.matches("the server counts as away").count(), 1, "{log}");
    let returns = log.matches("the server can be reached again, after");
    assert_eq!(returns.count(), 1, "{log}");
}

#[test]
fn a_listing_that_stalls_costs_an_error() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "timeout=3");
    // One of them alone would be replaced by the other.
    for command in ["MLSD", "LIST"] {
        server.on(command, Act::Stall(5));
    }
    assert_eq!(mount.error("os.listdir('d')"), "ETIMEDOUT");
    server.behave();
    assert_eq!(mount.sh("ls d").trim(), "f");
}

#[test]
fn an_unmount_does_not_wait_for_a_server_that_answers_nothing() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "timeout=600");
    mount.sh("ls -l");
    server.on("", Act::Silence);
    mount.unmount();
}

#[test]
fn sigterm_ends_a_mount_with_stuck_callers() {
    let server = Server::start();
    server.tree().put("/f", pattern(1_000_000));
    let mut mount = Mount::with(&server, "timeout=4");
    server.on("RETR", Act::Stall(1000));
    let mut reader = mount.start("cat f || echo failed");
    server.await_count("RETR", 1);
    mount.terminate();
    assert!(reader.end().contains("failed"));
    mount.ended();
}

#[test]
fn killed_reader_delays_no_other() {
    let server = Server::start();
    server.tree().put("/f", pattern(1_000_000));
    server.tree().put("/g", "content");
    let mut mount = Mount::with(&server, "timeout=4");
    server.on("RETR /f", Act::Stall(1000));
    let reader = mount.start("exec cat f");
    server.await_count("RETR /f", 1);
    drop(reader);
    assert_eq!(mount.sh("cat g"), "content");
    mount.unmount();
}

/// The server aborts it on the control connection alone.
#[test]
fn transfer_aborted_by_the_server_ends_with_data_socket_open() {
    let server = Server::start();
    server.tree().put("/f", pattern(300_000));
    // Nothing here waits for that.
    let mount = Mount::with(&server, "timeout=600");
    server.on("RETR", Act::Abandon(200_000));
    mount.sh("cat f > $S/got");
    assert!(mount.scratch("got") == pattern(300_000));
}

#[test]
fn transfer_broken_within_a_block_goes_on_where_it_was() {
    let server = Server::start();
    server.tree().put("/f", pattern(300_000));
    let mount = Mount::of(&server);
    server.on("RETR", Act::Abandon(200_000));
    mount.sh("cat f > $S/got");
    assert!(mount.scratch("got") == pattern(300_000));
    let sent = server.since(0, &["REST", "RETR"]);
    assert_eq!(sent, ["RETR /f", "REST 200000", "RETR /f"]);
}

#[test]
fn broken_transfer_without_rest_begins_again() {
    let server = Script::new().without(&["REST"]).start();
    server.tree().put("/f", pattern(300_000));
    let mount = Mount::of(&server);
    server.once("RETR", Act::Abandon(200_000));
    mount.sh("cat f > $S/got");
    assert!(mount.scratch("got") == pattern(300_000));
}

/// Eight of ten seconds for each command: none is sent twice, and none fails.
#[test]
fn slow_server_gets_each_command_once() {
    let server = Server::start();
    for name in ["/d/f", "/read", "/warm", "/removed", "/renamed"] {
        server.tree().put(name, "content");
    }
    let mount = Mount::with(&server, "timeout=10");
    // How data connections are made, and that commands may be pipelined, is known.
    mount.sh("ls -l; cat warm; echo warm > warm; echo warm > warmer");
    let mark = server.mark();
    for slow in ["MLSD", "RETR", "STOR", "MKD", "DELE", "RNTO"] {
        server.on(slow, Act::Wait(Duration::from_secs(8)));
    }
    let script = "jobs=; (ls d > $S/listed) & jobs=\"$jobs $!\"
                  (cat read > $S/got) & jobs=\"$jobs $!\"
                  (echo written > written) & jobs=\"$jobs $!\"
                  mkdir made & jobs=\"$jobs $!\"
                  rm removed & jobs=\"$jobs $!\"
                  mv renamed again & jobs=\"$jobs $!\"
                  for job in $jobs; do wait $job; done";
    mount.sh(script);
    assert_eq!(mount.scratch("listed"), b"f\n");
    assert_eq!(mount.scratch("got"), b"content");
    for command in ["MLSD", "RETR /read", "STOR", "MKD", "DELE", "RNTO"] {
        let sent = server.since(mark, &[command]);
        assert_eq!(sent.len(), 1, "{command}: {sent:?}");
    }
}

/// A byte now and then is no progress.
#[test]
fn server_that_drips_cannot_hold_callers() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "timeout=3");
    mount.sh("ls -l; echo warm > warm");
    server.on("MLSD", Act::Drip);
    assert_eq!(mount.error("os.listdir('d')"), "ETIMEDOUT");
    server.on("STOR", Act::Drip);
    assert_eq!(
        mount.error_with(
            "f = os.open('new', os.O_WRONLY | os.O_CREAT); os.write(f, b'x')",
            "os.fsync(f)"
        ),
        "ETIMEDOUT"
    );
}

/// Over all attempts of the operation together, and the close after it waits no second time.
#[test]
fn fsync_without_a_final_reply_takes_one_timeout() {
    let server = Server::start();
    let mount = Mount::with(&server, "timeout=8");
    mount.sh("ls -l; echo warm > warm");
    server.on("STOR", Act::NoFinal);
    let script = "
import time
f = os.open('new', os.O_WRONLY | os.O_CREAT)
os.write(f, b'x' * 3000000)
began = time.time()
try: os.fsync(f)
except OSError as error: print(errno.errorcode[error.errno], time.time() - began < 12)
";
    assert_eq!(mount.python(script).trim(), "ETIMEDOUT True");
}
