//! What one mount learned of a server, and the next one knows.

use std::fs;
use std::path::PathBuf;
use std::thread;

use crate::mount::{Mount, soon};
use crate::scripted::{Act, Gate, PASSWORD, Script, Server};

/// A server on which much has to be tried: no facts, no EPSV, hidden files, and a way to set times which
/// it does not list.
fn quirky() -> Server {
    let verbs = ["MLSD", "MLST", "EPRT", "PORT", "MDTM-SET"];
    let server = Script::new().without(&verbs).start();
    server.on("EPSV", Act::Reply("502 Command not implemented"));
    server.on("FEAT", Act::Reply("211-Features:\r\n SIZE\r\n211 End"));
    server.tree().put("/f", "content");
    server
}

/// Uses all that has to be tried.
const USE_ALL: &str = "ls -la; [ \"$(cat f)\" = content ]; echo more >>f; touch -d @1000000000 f; chmod 600 f; echo content >f";

/// The files of stored profiles.
fn profiles(mount: &Mount) -> Vec<PathBuf> {
    let files = fs::read_dir(mount.path("cache/ftpfs/servers")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

/// What is stored of the one server.
pub fn kept(mount: &Mount) -> String {
    let files = profiles(mount);
    assert_eq!(files.len(), 1, "{files:?}");
    fs::read_to_string(&files[0]).unwrap()
}

#[test]
fn second_mount_does_not_repeat_the_first_ones_tests() {
    let server = quirky();
    let mut mount = Mount::of(&server);
    mount.sh(USE_ALL);
    mount.unmount();
    let tried = ["EPSV", "MDTM 20010909014640"];
    assert_eq!(tried.map(|words| server.count(words)), [1, 1]);
    assert!(!kept(&mount).contains(PASSWORD));

    let mark = server.mark();
    mount.again(&server);
    mount.sh(USE_ALL);
    mount.unmount();
    let again = tried.map(|words| server.since(mark, &[words]).len());
    assert_eq!(again, [0, 0], "{:#?}", server.commands_since(mark));
    assert_eq!(server.since(mark, &["MFMT"]).len(), 1);
}

#[test]
fn probe_shows_when_and_how_each_fact_was_learned() {
    let server = Server::start();
    for path in ["/f", "/d/f"] {
        server.tree().put(path, "content");
    }
    server.on("SITE CHMOD", Act::Reply("502 Not here"));
    let mut mount = Mount::of(&server);
    mount.sh("chmod 600 f d/f; ls; echo more >> f");
    mount.unmount();
    let url = server.url();
    let probe = |flag| {
        let output = mount.ftpfs(&["probe", &url, flag]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (text, json) = (probe("--write"), probe("--json"));
    let line = |fact: &str| {
        text.lines()
            .find(|line| line.contains(fact))
            .unwrap_or_default()
    };
    assert!(
        line("appending by APPE: yes").contains("by an earlier mount"),
        "{text}"
    );
    assert!(
        line("reading from an offset: yes").ends_with("now"),
        "{text}"
    );
    assert!(line("by SITE CHMOD: no").contains("one refusal"), "{text}");
    assert!(json.contains("\"how\": \"before\""), "{json}");
}

#[test]
fn drop_cache_of_the_server_forgets_what_was_learned() {
    let server = Server::start();
    server.on("MLSD", Act::Reply("502 Not here"));
    for directory in ["a", "b", "c", "d"] {
        server.tree().put(&format!("/{directory}/f"), "content");
    }
    let mut mount = Mount::of(&server);
    mount.sh("ls a b");
    server.behave();
    mount.sh("ls c");
    assert_eq!(server.count("MLSD"), 2);
    soon("it is stored", || kept(&mount).contains("mlsd no"));
    let arguments = ["drop-cache", "--server", mount.point().to_str().unwrap()].map(str::to_owned);
    let status = mount
        .ftpfs(&arguments.each_ref().map(String::as_str))
        .status();
    assert!(status.unwrap().success());
    assert_eq!(profiles(&mount).len(), 0);
    mount.sh("ls d");
    assert!(server.count("MLSD") > 2);
    mount.unmount();
    let kept = kept(&mount);
    assert!(
        kept.contains("mlsd yes") && !kept.contains("once"),
        "{kept}"
    );
}

#[test]
fn a_way_that_no_longer_works_is_left_for_one_that_does() {
    let server = quirky();
    let mut mount = Mount::of(&server);
    mount.sh(USE_ALL);
    mount.unmount();
    assert!(kept(&mount).contains("\nway PASV\n"));
    // The network is another one.
    server.on("PASV", Act::DeadPort);
    server.on("EPSV", Act::Well);
    mount.again(&server);
    mount.sh("ls; [ \"$(cat f)\" = content ]");
    mount.unmount();
    assert!(kept(&mount).contains("\nway EPSV\n"));
}

#[test]
fn of_another_server_at_the_same_place_nothing_is_believed() {
    let server = quirky();
    let mut mount = Mount::of(&server);
    mount.sh(USE_ALL);
    mount.unmount();
    // It lists other features now: it was updated.
    server.on(
        "FEAT",
        Act::Reply("211-Features:\r\n SIZE\r\n MDTM\r\n MFMT\r\n211 End"),
    );
    mount.again(&server);
    mount.sh(USE_ALL);
    mount.unmount();
    assert_eq!(server.count("EPSV"), 2);
}

#[test]
fn a_spoilt_file_is_passed_over_with_a_line_and_replaced() {
    let server = quirky();
    let mut mount = Mount::of(&server);
    mount.sh(USE_ALL);
    mount.unmount();
    let place = mount.path("cache/ftpfs/servers");
    let file = fs::read_dir(place).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, "ftpfs-server 77\nanything\n").unwrap();
    mount.again(&server);
    assert!(mount.log().contains("another version"), "{}", mount.log());
    mount.sh(USE_ALL);
    mount.unmount();
    assert!(kept(&mount).starts_with("ftpfs-server 1\n"));
}

#[test]
fn mount_of_a_known_server_prepares_its_first_transfer() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let mut mount = Mount::of(&server);
    mount.sh("cat f");
    mount.unmount();
    let (asked, connected) = (server.count("EPSV"), server.connected());
    mount.again(&server);
    // Before anybody has looked at anything: a data connection for each of two connections.
    server.await_count("EPSV", asked + 2);
    assert_eq!(server.connected(), connected + 2);
    let (turns, transfers) = server.cost();
    mount.sh("cat f");
    // What it is, and the transfer itself.
    assert_eq!(server.cost(), (turns + 2, transfers + 1));
}

/// The flights after the greeting, which comes after two round trips.
#[test]
fn known_server_is_mounted_by_one_flight_after_the_password() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mut mount = Mount::of(&server);
    mount.sh("cat d/f");
    mount.unmount();
    for (options, flights) in [("tls=off,max_conns=1", 3), ("max_conns=1", 4)] {
        let ((turns, _), mark) = (server.cost(), server.mark());
        mount.again_with(&server, options);
        assert_eq!(server.cost().0 - turns, flights, "{options}");
        let flight = ["FEAT", "TYPE I", "OPTS UTF8 ON", "OPTS MLST", "PWD", "EPSV"];
        assert_eq!(server.since(mark, &flight).len(), flight.len());
        assert_eq!(mount.sh("ls; cat d/f"), "d\ncontent");
        mount.unmount();
    }
}

#[test]
fn changed_features_of_a_known_server_are_set_in_the_same_login() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mut mount = Mount::of(&server);
    mount.sh("cat d/f");
    mount.unmount();
    server.on(
        "FEAT",
        Act::Reply("211-Features:\r\n MLST type*;size*;\r\n UTF8\r\n211 End"),
    );
    let mark = server.mark();
    mount.again_with(&server, "max_conns=1");
    let set = server.since(mark, &["USER", "OPTS MLST"]);
    assert_eq!(set.len(), 3, "{set:?}");
    assert_eq!(set[2], "OPTS MLST type;size;");
    assert_eq!(mount.sh("ls; cat d/f"), "d\ncontent");
}

/// The replies to what is sent together with `FEAT` are no basis for a mount.
#[test]
fn known_server_with_odd_replies_to_its_first_flight_is_mounted() {
    for (command, act) in [
        ("PWD", Act::Reply("250 Somewhere")),
        ("OPTS", Act::Reply("200 Yes\r\n200 Yes")),
        ("OPTS", Act::HangUp),
        ("FEAT", Act::Silence),
    ] {
        let server = Script::new().home("/home").start();
        server.tree().put("/home/d/f", "content");
        let mut mount = Mount::of(&server);
        mount.sh("cat d/f");
        mount.unmount();
        server.once(command, act);
        mount.again_with(&server, "timeout=4");
        assert_eq!(mount.sh("ls; cat d/f"), "d\ncontent", "{command}");
    }
}

#[test]
fn second_login_waits_until_a_known_server_is_recognized() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let mut mount = Mount::of(&server);
    mount.sh("cat f");
    mount.unmount();
    let (mark, connected) = (server.mark(), server.connected());
    let gate = Gate::default();
    server.once("FEAT", Act::Until(gate.clone()));
    thread::scope(|scope| {
        let mounting = scope.spawn(|| mount.again(&server));
        soon("a second connection", || {
            server.connected() == connected + 2
        });
        assert_eq!(server.since(mark, &["USER"]).len(), 1);
        gate.open();
        mounting.join().unwrap();
    });
    soon("a second login", || {
        server.since(mark, &["USER"]).len() == 2
    });
}

#[test]
fn another_server_at_the_same_place_is_met_by_one_connection() {
    let server = quirky();
    let mut mount = Mount::of(&server);
    mount.sh(USE_ALL);
    mount.unmount();
    server.on(
        "FEAT",
        Act::Reply("211-Features:\r\n SIZE\r\n MDTM\r\n MFMT\r\n211 End"),
    );
    let mark = server.mark();
    mount.again(&server);
    soon("the end of what was begun", || server.connections() == 1);
    assert_eq!(server.since(mark, &["USER"]).len(), 1);
}

#[test]
fn known_server_silent_to_early_commands_is_mounted() {
    for act in [
        Act::Reply("500 What?"),
        Act::Reply("229 Nowhere"),
        Act::Reply("421 That is too much"),
        Act::HangUp,
        Act::Silence,
    ] {
        let server = Server::start();
        server.tree().put("/d/f", "content");
        let mut mount = Mount::of(&server);
        mount.sh("cat d/f");
        mount.unmount();
        server.once("EPSV", act);
        mount.again_with(&server, "timeout=4");
        assert_eq!(mount.sh("ls d; cat d/f"), "f\ncontent");
    }
}

/// The server allows one connection, and hangs up or falls silent at the early `EPSV`.
#[test]
fn known_server_with_one_slot_silent_to_early_commands_mounts() {
    for act in [Act::HangUp, Act::Silence] {
        let server = Server::start();
        server.tree().put("/d/f", "content");
        let mut mount = Mount::of(&server);
        mount.sh("cat d/f");
        mount.unmount();
        soon("the end of all connections", || server.connections() == 0);
        server.limit(1, "421 Too many connections");
        server.once("EPSV", act);
        mount.again_with(&server, "timeout=4,max_conns=1");
        assert_eq!(mount.sh("ls d; cat d/f"), "f\ncontent");
    }
}

/// The replies to `PWD` and `EPSV`, which are pipelined, are swapped.
#[test]
fn early_replies_in_wrong_order_do_not_set_the_directory() {
    let server = Script::new().home("/home").start();
    server.tree().put("/home/f", "content");
    let mut mount = Mount::of(&server);
    mount.sh("cat f");
    mount.unmount();
    server.once(
        "PWD",
        Act::Reply("229 Entering Extended Passive Mode (|||9|)"),
    );
    server.once("EPSV", Act::Reply("257 \"/home\" is where you are"));
    mount.again(&server);
    assert_eq!(mount.sh("ls; cat f"), "f\ncontent");
}

#[test]
fn failed_mount_closes_its_connections() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mut mount = Mount::of(&server);
    mount.sh("cat d/f");
    mount.unmount();
    let source = format!("{}none", server.url());
    let point = mount.point();
    let ended = mount
        .ftpfs(&[&source, point.to_str().unwrap(), "-f"])
        .output()
        .unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("none"), "{said}");
    soon("the end of all connections", || server.connections() == 0);
}

#[test]
fn unanswered_question_is_asked_again_by_the_next_mount() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    server.tree().put("/d/f", "content");
    server.on("STAT", Act::Silence);
    let mut mount = Mount::with(&server, "timeout=3");
    assert_eq!(mount.sh("ls d; sleep 1.1; ls"), "f\nd\n");
    let asked = server.count("STAT");
    assert_eq!(mount.sh("ls -R"), ".:\nd\n\n./d:\nf\n");
    assert_eq!(server.count("STAT"), asked);
    mount.unmount();
    assert!(!kept(&mount).contains("stat_lists"));
    server.behave();
    mount.again(&server);
    assert_eq!(mount.sh("ls d; ls"), "f\nd\n");
    mount.unmount();
    assert!(kept(&mount).contains("\nstat_lists yes\n"));
}
