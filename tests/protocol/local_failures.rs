//! What this machine lacks: said at mount where it can be known, never taken for the server's word, and nothing of it
//! arrives on the server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::limited;
use crate::mount::{FTPFS, Mount, SCRIPT_LIMIT, soon};
use crate::scripted::Server;

/// Runs a script in a mount namespace of its own, with `$URL`, `$FTPFS`, and an empty directory `$S`.
fn script(server: &Server, directory: &Path, script: &str) -> String {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "bash", "-c"])
        .arg(format!("set -euo pipefail; cd $S; mkdir mount; {script}"))
        .envs([("URL", server.url().as_str()), ("FTPFS", FTPFS)])
        .env("S", directory)
        .env("XDG_STATE_HOME", directory.join("state"))
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("RUST_LOG");
    let outcome = limited::run(&mut command, SCRIPT_LIMIT, directory);
    assert!(outcome.succeeded(), "{}", outcome.output);
    // A machine without syslog has one line more.
    let lines = outcome.output.lines();
    let lines = lines.filter(|line| !line.contains("/dev/log"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn spool_moves_where_no_home_can_be_written() {
    for (runtime, expected) in [
        ("XDG_RUNTIME_DIR=$S/run", "run/ftpfs"),
        ("TMPDIR=$S", "ftpfs-0"),
    ] {
        let server = Server::start();
        let directory = tempfile::tempdir().unwrap();
        let said = script(
            &server,
            directory.path(),
            &format!(
                "mount -t tmpfs -o ro none /var/cache; mkdir run
                 env HOME=/dev/null XDG_CACHE_HOME=/dev/null/none XDG_CONFIG_HOME=$S/config {runtime} $FTPFS $URL mount
                 echo kept >mount/f; umount mount"
            ),
        );
        let place = directory.path().join(expected);
        let place = fs::canonicalize(place).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(&format!("using {}", place.display())),
            "{said}"
        );
        assert!(said.contains("/dev/null/none"), "{said}");
        soon("the file arrives", || {
            server
                .tree()
                .bytes("/f")
                .is_some_and(|bytes| bytes == b"kept\n")
        });
    }
}

#[test]
fn spool_without_any_place_is_an_error_at_mount() {
    let server = Server::start();
    for (environment, option, expected) in [
        ("TMPDIR=/dev/null", "", "-o spool_dir=DIRECTORY"),
        (
            "TMPDIR=/tmp",
            "-o spool_dir=/dev/null/spool",
            "spool_dir=/dev/null/spool",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let said = script(
            &server,
            directory.path(),
            &format!(
                "mount -t tmpfs -o ro none /var/cache
                 ! env HOME=/dev/null XDG_CACHE_HOME=/dev/null/none {environment} $FTPFS $URL mount {option}"
            ),
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn full_spool_is_said_at_mount() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let said = script(
        &server,
        directory.path(),
        "mkdir spool; mount -t tmpfs -o size=1M,mode=700 none spool; $FTPFS $URL mount -o spool_dir=$S/spool; umount mount",
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("free"), "{said}");
}

#[test]
fn spool_failure_is_no_refusal_and_stores_nothing() {
    let server = Server::start();
    server.tree().put("/old", "old");
    for options in ["", "writeback"] {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool");
        let more = if options.is_empty() { "" } else { "," };
        let mount = Mount::with(
            &server,
            &format!("{options}{more}spool_dir={}", spool.display()),
        );
        fs::rename(&spool, directory.path().join("away")).unwrap();
        fs::write(&spool, "no directory").unwrap();
        let from = server.mark();
        for (name, flags) in [
            ("old", "os.O_TRUNC"),
            ("new", "os.O_CREAT"),
            ("first", "os.O_CREAT | os.O_EXCL"),
        ] {
            let failed = mount.python(&format!(
                "try:
    f = os.open('{name}', os.O_WRONLY | {flags})
    try: os.write(f, b'x')
    except OSError as e: print(errno.errorcode[e.errno], end=' ')
    os.close(f)
except OSError as e: print(errno.errorcode[e.errno])"
            ));
            assert!(
                ["EIO EIO\n", "EIO\n"].contains(&failed.as_str()),
                "{options} {name}: {failed}"
            );
        }
        mount.sh("[ ! -e new ] && [ ! -e first ]; cat old >/dev/null");
        let stored = server.since(from, &["STOR", "APPE", "DELE"]);
        assert_eq!(stored.len(), 0, "{options}: {stored:?}");
        assert_eq!(server.tree().bytes("/old"), Some(&b"old"[..]));
        let log = mount.log();
        assert!(
            !log.contains("kept as") && !log.contains("server refused"),
            "{log}"
        );
        assert!(
            log.contains(&format!("spool: {}", spool.display())),
            "{log}"
        );
    }
}

/// A program that ends closes its files; their uploads have no descriptors to spare.
#[test]
fn few_descriptors_lose_no_empty_file() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let said = script(
        &server,
        directory.path(),
        "(ulimit -n 48; XDG_CACHE_HOME=$S/cache exec $FTPFS $URL mount)
         cd mount; python3 -I -c 'import os; [os.open(\"e%d\" % n, os.O_CREAT | os.O_WRONLY) for n in range(60)]'
         cd ..; umount mount",
    );
    assert!(said.contains("at most 48 open files"), "{said}");
    soon("all files arrive", || server.tree().paths().len() == 60);
}
