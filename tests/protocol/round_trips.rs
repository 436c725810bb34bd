//! What operations cost: round trips that a caller waits for, and data connections.
//!
//! A round trip is a piece of commands that comes in one write. Everything is counted by the server.

use std::thread::sleep;
use std::time::Duration;

use crate::mount::{Mount, pattern};
use crate::scripted::{Act, Script, Server};

/// Servers that know facts, and those that list only.
const LIST_ONLY: [&str; 2] = ["MLSD", "MLST"];

/// Waits until nothing comes any more.
fn settle(server: &Server) {
    let mut before = usize::MAX;
    while before != server.mark() {
        before = server.mark();
        sleep(Duration::from_millis(150));
    }
}

/// What a script costs, and what came for it.
fn cost(server: &Server, mount: &Mount, script: &str) -> ((usize, usize), Vec<String>) {
    settle(server);
    let ((turns, transfers), mark) = (server.cost(), server.mark());
    mount.sh(script);
    settle(server);
    let (turns_then, transfers_then) = server.cost();
    let commands = server.commands_since(mark).into_iter();
    (
        (turns_then - turns, transfers_then - transfers),
        commands.map(|(_, line)| line).collect(),
    )
}

/// What is done first, what is measured then, and its cost: round trips, and data connections.
type Row = (&'static str, &'static str, usize, usize);

/// Each row on a server and a mount of its own, with `/top` and `/d/f0` to `/d/f9`; or, where that is what is listed,
/// with a thousand files in `/wide`.
fn check(without: &[&'static str], rows: &[Row]) {
    let mut wrong = Vec::new();
    for &(before, script, turns, transfers) in rows {
        let server = Script::new().without(without).start();
        server.tree().put("/top", pattern(5000));
        let (directory, files) = match script.contains("wide") {
            true => ("wide", 1000),
            false => ("d", 10),
        };
        for number in 0..files {
            let path = format!("/{directory}/f{number}");
            server.tree().put(&path, pattern(5000));
        }
        // One connection: what others do beside is none of the caller's cost.
        let mount = Mount::with(&server, "max_conns=1");
        mount.sh("head -c 5000 /dev/zero > $S/new");
        mount.sh(before);
        let (cost, commands) = cost(&server, &mount, script);
        if cost != (turns, transfers) {
            let shown: Vec<_> = commands.iter().take(20).collect();
            wrong.push(format!(
                "{script}: {cost:?}, not {:?}: {shown:?}",
                (turns, transfers)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn operations_on_a_server_with_mlsd_cost_round_trips() {
    check(
        &[],
        &[
            ("true", "stat top", 1, 0),
            ("true", "ls -l", 2, 1),
            ("ls", "ls -l d", 1, 1),
            ("ls -l d", "ls -l d", 0, 0),
            ("ls d", "cat d/f0", 1, 1),
            ("ls d; cat d/f0", "cat d/f0", 0, 0),
            ("ls d; cat d/f0; sleep 6", "cat d/f0", 1, 0),
            ("ls d; sleep 6", "cat d/f0", 1, 1),
            ("ls d", "cp $S/new d/new", 2, 1),
            ("ls d", "cat $S/new > d/new", 2, 1),
            // The first upload has shown that pipelined commands are answered in order, and `MLST` shows that the server gives
            // new files the mode that cp(1) wants.
            ("ls d; cp $S/new d/one", "cp $S/new d/new", 1, 1),
            (
                "ls d; cp $S/new d/one",
                "(umask 077; cp $S/new d/new)",
                2,
                1,
            ),
            ("ls d; cp $S/new d/one", "cat $S/new > d/new", 1, 1),
            // The first append was tried on a scratch file.
            (
                "ls d; cp $S/new d/one; echo line >> d/f1",
                "echo line >> d/f0",
                1,
                1,
            ),
            ("ls d", "rm d/f0", 1, 0),
            // mv(1) wants to know whether the new name is taken, and that must be true now.
            ("ls d", "mv d/f0 d/g", 2, 0),
            ("ls d", "mkdir d/sub", 1, 0),
            ("ls", "ls -l wide", 1, 1),
            ("ls; ls d", "rm -r d", 11, 0),
        ],
    );
}

#[test]
fn operations_on_a_server_with_list_only_cost_round_trips() {
    check(
        &LIST_ONLY,
        &[
            ("true", "stat top", 1, 0),
            ("ls", "stat d/f0 d/f1", 3, 1),
            // Once it is known that STAT shows what LIST does, which the first listing behind it shows.
            ("[ ! -e nothing ]", "[ ! -e d/nothing ]", 1, 0),
            ("ls", "ls -l d", 2, 1),
            ("ls -l d", "ls -l d", 0, 0),
            ("ls d", "cat d/f0", 1, 1),
            ("ls d; cat d/f0", "cat d/f0", 0, 0),
            ("ls d; cat d/f0; sleep 6", "cat d/f0", 1, 0),
            ("ls d; sleep 6", "cat d/f0", 1, 1),
            ("ls d", "cp $S/new d/new", 2, 1),
            ("ls d", "rm d/f0", 1, 0),
            // mv(1) wants to know whether the new name is taken, and that must be true now.
            ("ls d", "mv d/f0 d/g", 2, 0),
            ("ls d", "mkdir d/sub", 1, 0),
            // The listing and a thousand MDTM, which are sent by halves of what may fly.
            ("ls; cat top", "ls -l wide", 5, 1),
        ],
    );
}

/// A server that lists only, with a directory that the mount has not looked at: another one has shown that commands
/// pipelined after a listing are answered in order, and that `MDTM` works.
fn known_to_answer_in_order(options: &str) -> (Server, Mount) {
    let server = Script::new().without(&LIST_ONLY).start();
    for name in ["/one/f", "/d/f", "/d/g"] {
        server.tree().put(name, "content");
    }
    let mount = Mount::with(&server, &format!("max_conns=1,{options}"));
    mount.sh("ls -l . one");
    (server, mount)
}

#[test]
fn exact_times_are_asked_for_before_a_listing_is_confirmed() {
    let (server, mount) = known_to_answer_in_order("timeout=5");
    server.on("LIST", Act::AwaitNext);
    let times = mount.sh("stat -c %Y d/f d/g");
    assert_eq!(times, "1612325106\n1612325106\n");
}

#[test]
fn mdtm_replies_before_a_226_do_not_end_the_listing() {
    let (server, mount) = known_to_answer_in_order("timeout=30");
    server.on("LIST", Act::Refuse(1000, "213 20200101000000"));
    assert_eq!(mount.sh("stat -c %Y d/f d/g"), "1612325106\n1612325106\n");
    assert_eq!(mount.sh("ls d"), "f\ng\n");
}

#[test]
fn listing_with_an_extra_reply_mixes_up_no_times() {
    for words in [
        "226 All of it\r\n226 All of it",
        "226 All of it\r\n150 Here it comes",
    ] {
        let (server, mount) = known_to_answer_in_order("timeout=30");
        for (name, time) in [("/d/f", 1_500_000_000), ("/d/g", 1_600_000_000)] {
            server.tree().node_mut(name).unwrap().modified = time;
        }
        server.once("LIST", Act::Refuse(1000, words));
        assert_eq!(
            mount.sh("stat -c %Y d/f d/g"),
            "1500000000\n1600000000\n",
            "{words}"
        );
    }
}

#[test]
fn over_two_connections_no_directory_is_listed_twice() {
    let server = Script::new().without(&LIST_ONLY).start();
    for number in 0..20 {
        let path = format!("/t/{}/f{}", number / 5, number % 5);
        server.tree().put(&path, "content");
    }
    // When one has listed a directory ahead, the other one carries a file.
    server.on("LIST", Act::Wait(Duration::from_millis(100)));
    server.on("RETR", Act::Wait(Duration::from_millis(300)));
    let mount = Mount::with(&server, "max_conns=2");
    mount.sh("ls t > $S/listed; for d in t/*; do ls -l $d; cat $d/*; done > $S/got");
    for number in 0..4 {
        let (by_list, by_stat) = (format!("CWD /t/{number}"), format!("STAT -a /t/{number}"));
        // One may have shown that STAT says the same.
        let listed = server.count(&by_list).max(server.count(&by_stat));
        assert_eq!(listed, 1, "{number}");
    }
}

/// Where replies take longer than prefetching waits for a connection, a walk still lists many directories in one flight.
#[test]
fn walk_over_a_long_line_lists_directories_together() {
    let server = Script::new().without(&LIST_ONLY).start();
    for number in 0..96 {
        server.tree().put(&format!("/t/{number:02}/f"), "content");
    }
    for command in ["PASS", "LIST", "PASV"] {
        server.on(command, Act::Wait(Duration::from_millis(300)));
    }
    let mount = Mount::with(&server, "max_conns=3");
    assert_eq!(mount.sh("find t -type f | wc -l"), "96\n");
    let alone = server.count("LIST");
    eprintln!("ALONE {alone}");
    assert!(alone < 32, "{alone} directories were listed alone");
}
