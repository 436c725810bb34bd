//! `ftpfs probe` against a server that lies, refuses and stalls.

use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::limited;
use crate::mount::FTPFS;
use crate::scripted::{Act, Gate, PASSWORD, Script, Server};

const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// A run of `ftpfs probe --json`.
struct Probe {
    process: Child,
    directory: TempDir,
}

impl Probe {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name| fs::File::create(directory.path().join(name)).unwrap();
        let mut command = Command::new(FTPFS);
        command
            .args(["probe", &server.url(), "--json"])
            .args(arguments);
        command
            .env("XDG_CACHE_HOME", directory.path())
            .env("XDG_STATE_HOME", directory.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(file("json"))
            .stderr(file("log"));
        let process = command.spawn().unwrap();
        Self { process, directory }
    }

    /// What it found, as it ended with this status.
    fn end(mut self, status: i32) -> String {
        let ended = limited::within(PROBE_LIMIT, || self.process.try_wait().unwrap());
        let read = |name| fs::read_to_string(self.directory.path().join(name)).unwrap();
        let (json, log) = (read("json"), read("log"));
        assert_eq!(
            ended.and_then(|ended: ExitStatus| ended.code()),
            Some(status),
            "{json}{log}"
        );
        assert!(!json.contains(PASSWORD) && !log.contains(PASSWORD));
        assert!(!log.contains("panicked"), "{log}");
        json
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        limited::within(PROBE_LIMIT, || self.process.try_wait().ok().flatten());
    }
}

fn probe(server: &Server, arguments: &[&str], status: i32) -> String {
    Probe::start(server, arguments).end(status)
}

fn has(json: &str, words: &str) {
    assert!(json.contains(words), "no {words} in {json}");
}

/// A server with one file, and active mode that it does not know.
fn server() -> Server {
    let server = Server::start();
    server.tree().put("/f", "0123456789".repeat(50));
    server
}

#[test]
fn probe_detects_a_server_that_ignores_rest() {
    let server = server();
    server.on("REST", Act::Reply("350 As you like"));
    let json = probe(&server, &["--write"], 0);
    has(&json, "\"reading\": \"ignored\"");
    has(&json, "\"rest_stor\": \"replaces\"");
    has(&json, "\"append\": true");
    assert_eq!(server.tree().paths(), ["/f"]);
}

#[test]
fn a_server_without_rest_is_no_liar() {
    let server = server();
    server.on("REST", Act::Reply("502 Not here"));
    let json = probe(&server, &["--write"], 0);
    has(&json, "\"reading\": \"refused\"");
    has(&json, "\"rest_stor\": \"refused\"");
    assert_eq!(server.tree().paths(), ["/f"]);
}

#[test]
fn a_server_that_does_not_replace_or_change_is_seen_so() {
    let server = Script::new()
        .without(&["MFMT", "MDTM-SET", "SITE", "APPE"])
        .keeps_names()
        .start();
    let json = probe(&server, &["--write"], 0);
    for words in [
        "\"store\": true",
        "\"append\": false",
        "\"rename_replaces\": false",
        "\"chmod\": false",
        "\"sets_times\": null",
        "\"removed\": true",
        "a mount keeps them itself",
    ] {
        has(&json, words);
    }
    assert!(server.tree().paths().is_empty());
}

#[test]
fn where_nothing_can_be_made_nothing_is_written() {
    let server = server();
    server.on("MKD", Act::Reply("550 Permission denied"));
    let json = probe(&server, &["--write"], 0);
    has(&json, "\"writing\": null");
    has(&json, "-o ro");
    assert_eq!(server.count("STOR") + server.count("DELE"), 0);
}

/// A drop box: what was stored is taken away at once, or may not be read.
#[test]
fn stored_files_that_are_not_shown_are_stored() {
    for words in ["550 No such file or directory", "550 Permission denied"] {
        let server = server();
        for verb in ["RETR", "MLST", "SIZE", "MDTM", "SITE", "RNFR"] {
            server.on(verb, Act::Reply(words));
            server.on(&format!("{verb} /f"), Act::Well);
        }
        let json = probe(&server, &["--write"], 0);
        has(&json, "\"store\": true");
        has(&json, "\"shown\": false");
        has(&json, "\"append\": null");
        has(&json, "verify=none");
        assert!(!json.contains("a mount keeps them itself"), "{json}");
        assert_eq!(server.tree().paths(), ["/f"]);
    }
}

#[test]
fn server_that_takes_names_only_can_be_written_to() {
    let server = Script::new().names_only().start();
    let json = probe(&server, &["--write"], 0);
    for words in [
        "\"store\": true",
        "\"append\": true",
        "\"overwrites\": true",
        "\"rename_replaces\": true",
        "\"chmod\": true",
        "\"sets_times\": \"MFMT\"",
        "\"removed\": true",
    ] {
        has(&json, words);
    }
    assert!(server.tree().paths().is_empty());
}

#[test]
fn refused_rename_does_not_spoil_what_follows() {
    for words in ["553 File exists", "451 Not now"] {
        let server = server();
        server.on("RNTO", Act::Reply(words));
        let json = probe(&server, &["--write"], 0);
        has(&json, "\"rename_replaces\": false");
        has(&json, "\"chmod\": true");
        has(&json, "\"sets_times\": \"MFMT\"");
        assert_eq!(server.tree().paths(), ["/f"]);
    }
}

/// Whatever it makes there goes with the directory.
#[test]
fn server_that_never_replaces_is_seen_so_and_left_clean() {
    let server = Script::new().never_replaces().start();
    let json = probe(&server, &["--write"], 0);
    has(&json, "\"store\": true");
    has(&json, "\"overwrites\": false");
    has(&json, "\"append\": true");
    has(&json, "\"removed\": true");
    assert!(server.tree().paths().is_empty());
}

#[test]
fn server_that_stores_over_no_file_can_be_written_to() {
    let server = Script::new().refuses_to_replace().start();
    let json = probe(&server, &["--write"], 0);
    for words in [
        "\"store\": true",
        "\"overwrites\": false",
        "\"append\": true",
        "\"rename_replaces\": true",
        "\"chmod\": true",
        "\"sets_times\": \"MFMT\"",
        "\"removed\": true",
    ] {
        has(&json, words);
    }
    assert!(server.tree().paths().is_empty());
}

/// Embedded servers have files and no directories.
#[test]
fn server_without_directories_can_be_written_to() {
    let server = Script::new().without(&["MKD"]).start();
    let json = probe(&server, &["--write"], 0);
    for words in [
        "\"store\": true",
        "\"append\": true",
        "\"rename_replaces\": true",
        "\"sets_times_of_directories\": false",
        "\"removed\": true",
    ] {
        has(&json, words);
    }
    assert!(!json.contains("consider -o ro"), "{json}");
    assert!(server.tree().paths().is_empty());
}

#[test]
fn newest_session_that_ends_older_ones_is_counted_once() {
    let server = Script::new().one_client().start();
    let json = probe(&server, &[], 0);
    has(&json, "\"taken\": 1");
    has(&json, "max_conns=1");
}

#[test]
fn scratch_is_removed_where_few_connections_are_allowed() {
    for limit in 1..=4 {
        let words = match limit {
            3 => "530 Sorry, the maximum number of clients is reached",
            _ => "421 Too many connections",
        };
        let server = server();
        server.limit(limit, words);
        let json = probe(&server, &["--write"], 0);
        has(&json, "\"removed\": true");
        has(&json, "\"store\": true");
        has(&json, &format!("max_conns={limit}"));
        assert_eq!(server.tree().paths(), ["/f"], "{limit}");
    }
}

#[test]
fn session_that_ends_at_auth_is_worth_an_option() {
    let server = server();
    server.on("AUTH", Act::Farewell("500 Syntax error\r\n221 Goodbye"));
    let json = probe(&server, &[], 0);
    has(&json, "tls=off");
    server.behave();
    let json = probe(&server, &[], 0);
    assert!(!json.contains("tls=off"), "{json}");
    // It never answers.
    server.on("AUTH", Act::Silence);
    let json = probe(&server, &["-o", "timeout=2"], 1);
    has(&json, "tls=off");
}

#[test]
fn probe_names_files_it_cannot_remove() {
    let server = server();
    server.on("RMD", Act::Reply("550 Not now"));
    let json = probe(&server, &["--write"], 3);
    has(&json, "\"removed\": false");
    has(&json, "remove it by hand");
    // All but the directory itself is gone.
    assert_eq!(server.tree().paths().len(), 2);
}

#[test]
fn probe_with_broken_connection_leaves_no_files() {
    for act in [Act::HangUp, Act::CutBoth(10)] {
        let server = server();
        server.once("STOR", act);
        probe(&server, &["--write"], 0);
        assert_eq!(server.tree().paths(), ["/f"]);
    }
}

#[test]
fn probe_ended_by_a_signal_leaves_no_files() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let server = server();
        let gate = Gate::default();
        server.once("STOR", Act::Until(gate.clone()));
        let probe = Probe::start(&server, &["--write"]);
        server.await_count("STOR", 1);
        let id = probe.process.id().try_into().unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
        let json = probe.end(130);
        gate.open();
        has(&json, "interrupted");
        has(&json, "\"removed\": true");
        assert_eq!(server.tree().paths(), ["/f"]);
    }
}

#[test]
fn a_server_that_falls_silent_has_its_verdict_in_time() {
    for verb in ["AUTH", "USER", "SYST", "MLSD", "RETR", "LIST", "EPSV"] {
        let server = server();
        server.on(verb, Act::Silence);
        let started = Probe::start(&server, &["-o", "timeout=1"]);
        let mut started = started;
        let ended = limited::within(PROBE_LIMIT, || started.process.try_wait().unwrap());
        let code = ended.and_then(|ended| ended.code());
        assert!(matches!(code, Some(0..=2)), "{verb}: {code:?}");
    }
}

#[test]
fn probe_distinguishes_few_from_many_connections() {
    let server = server();
    server.limit(2, "421 No more than two");
    let json = probe(&server, &[], 0);
    has(&json, "\"taken\": 2");
    has(&json, "No more than two");
    has(&json, "max_conns=2");
}

#[test]
fn server_text_is_escaped_in_the_json() {
    let server = server();
    server.on("SYST", Act::Raw(b"215 \"\\ \x01\xff\x1b[2J\r\n".to_vec()));
    let json = probe(&server, &[], 0);
    assert!(json.chars().all(|c| c == '\n' || !c.is_control()), "{json}");
    has(&json, "\\\"\\\\");
}
