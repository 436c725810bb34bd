//! Control and data connections: servers that hang up, that have no more, and whose ports are dead.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Script, Server};

const LIST_ONLY: [&str; 2] = ["MLSD", "MLST"];

#[test]
fn after_the_server_was_restarted_the_next_operation_works() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mount = Mount::of(&server);
    mount.sh("ls");
    server.hang_up();
    soon("they are closed", || server.connections() == 0);
    mount.sh("[ \"$(cat d/f)\" = content ]");
    server.hang_up();
    mount.sh("echo new > d/g; rm d/f; mkdir e; mv d/g e");
    assert_eq!(server.tree().paths(), ["/d", "/e", "/e/g"]);
}

#[test]
fn logins_that_break_off_early_say_nothing_of_data_connections() {
    let server = Server::start();
    for number in 0..5 {
        server.tree().put(&format!("/f{number}"), "content");
    }
    let mount = Mount::of(&server);
    mount.sh("cat f4");
    for number in 0..4 {
        server.hang_up();
        soon("they are closed", || server.connections() == 0);
        server.once("PASS", Act::HangUp);
        mount.try_sh(&format!("cat f{number}"));
    }
    assert!(!mount.log().contains("preconnecting disabled"));
}

/// A reset shows only at the next command.
#[test]
fn idle_connection_after_421_or_reset_is_replaced() {
    for act in [Act::Farewell("421 Idle for too long"), Act::HangUp] {
        for verb in [
            "MLST", "MLSD", "CWD", "EPSV", "RETR", "STOR", "SITE", "RNFR", "RNTO", "DELE", "MKD",
            "RMD",
        ] {
            let server = Server::start();
            server.tree().put("/d/f", "content");
            let mount = Mount::of(&server);
            server.once(verb, act.clone());
            mount.sh(
                "[ \"$(cat d/f)\" = content ]; echo new > d/g; chmod 700 d/g; mv d/g d/h; rm d/f; mkdir e; rmdir e; ls -l d",
            );
            assert_eq!(server.tree().paths(), ["/d", "/d/h"], "{verb}");
            assert_eq!(server.tree().bytes("/d/h"), Some(&b"new\n"[..]), "{verb}");
        }
    }
}

#[test]
fn change_with_lost_reply_that_happened_succeeds() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.tree().put("/g", "content");
    let mount = Mount::of(&server);
    // It is done, and then the connection is gone.
    for verb in ["DELE", "MKD", "RNTO"] {
        server.once(verb, Act::Unsaid);
    }
    mount.sh("ls -l; rm f; mkdir d; mv g h; ls -l");
    assert_eq!(server.tree().paths(), ["/d", "/h"]);
}

#[test]
fn a_server_with_few_connections_is_used_with_few() {
    for words in [
        "421 Too many users",
        "530 Sorry, the maximum number of clients is reached",
    ] {
        let server = Server::start();
        for number in 0..6 {
            server
                .tree()
                .put(&format!("/d/f{number}"), pattern(6_000_000));
        }
        server.limit(2, words);
        let mount = Mount::of(&server);
        mount.sh("for i in 0 1 2 3 4 5; do cat d/f$i > $S/f$i & done; ls -lR; wait; for i in 1 2 3 4 5; do cmp $S/f0 $S/f$i; done");
        assert!(mount.scratch("f0") == pattern(6_000_000), "{words}");
        // The limit is learned, not asked for again and again.
        assert!(server.connected() < 10, "{}", server.connected());
    }
}

#[test]
fn single_connection_serves_listing_and_copy_during_a_read() {
    for without in [&[][..], &LIST_ONLY[..]] {
        let server = Script::new().without(without).start();
        server.tree().put("/large", pattern(30_000_000));
        server.tree().put("/d/small", "small");
        let mount = Mount::with(&server, "max_conns=1");
        mount.python(
            "f = open('large', 'rb', 0)
f.read(100000)
assert os.listdir('d') == ['small']
assert open('d/small').read() == 'small'
rest = 100000
while part := f.read(1000000): rest += len(part)
assert rest == 30000000, rest",
        );
        mount.sh("cp large copied; cmp large copied; cat large > d/again; mv d/again d/moved");
        assert!(server.tree().bytes("/copied") == Some(&pattern(30_000_000)[..]));
        assert!(server.tree().bytes("/d/moved") == Some(&pattern(30_000_000)[..]));
        assert_eq!(server.connections(), 1);
    }
}

/// Refused by a reply, or a passive port that cannot be reached.
#[test]
fn epsv_refused_or_dead_falls_back_to_pasv_and_is_remembered() {
    for act in [
        Act::Reply("500 Unknown command"),
        Act::Reply("522 Wrong protocol"),
        Act::DeadPort,
        Act::Reply("229 Nonsense"),
    ] {
        let server = Server::start();
        server.tree().put("/d/f", "content");
        server.on("EPSV", act);
        let mount = Mount::of(&server);
        mount.sh("ls -lR; [ \"$(cat d/f)\" = content ]; echo new > d/g");
        assert_eq!(server.tree().bytes("/d/g"), Some(&b"new\n"[..]));
        assert_eq!(server.count("EPSV"), 1);
        assert!(server.count("PASV") >= 4);
    }
}

#[test]
fn the_address_in_a_227_is_ignored() {
    let server = Script::new().without(&["EPSV"]).start();
    server.tree().put("/f", "content");
    server.on("PASV", Act::Elsewhere([192, 0, 2, 1]));
    let mount = Mount::with(&server, "timeout=3");
    mount.sh("ls -l; [ \"$(cat f)\" = content ]");
}

#[test]
fn a_password_is_never_logged() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let mount = Mount::of(&server);
    mount.sh("ls -l; cat f");
    server.hang_up();
    mount.sh("cat f; echo x > g");
    let log = mount.log();
    assert!(
        log.contains("> USER someone") && log.contains("> PASS"),
        "{log}"
    );
    assert!(!log.contains(crate::scripted::PASSWORD), "{log}");
}

#[test]
fn junk_instead_of_a_reply_is_eio_and_nothing_worse() {
    let long = vec![b'x'; 3 << 20];
    let endless = [&b"211-begin\r\n"[..], &b" and on\r\n".repeat(400_000)].concat();
    for junk in [
        &b"hello\r\n"[..],
        b"\r\n\r\n",
        b"\xff\xfe\x00\r\n",
        b"99 low\r\n",
        &long,
        &endless,
    ] {
        let server = Server::start();
        server.tree().put("/f", "content");
        let mount = Mount::with(&server, "timeout=5");
        server.on("MLST", Act::Raw(junk.to_vec()));
        assert_eq!(mount.error("os.stat('new')"), "EIO");
        server.behave();
        mount.sh("ls -l; [ \"$(cat f)\" = content ]");
    }
}

#[test]
fn unsolicited_replies_shift_no_answer() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.tree().put("/longer", "longer content");
    let mount = Mount::with(&server, "timeout=5,cache_timeout=0");
    server.once(
        "MLST /f",
        Act::Raw(
            b"550 No such file\r\n250-Facts\r\n type=file;size=99; /f\r\n250 End\r\n".to_vec(),
        ),
    );
    mount.try_sh("stat f");
    mount.sh("[ $(stat -c %s longer) = 14 ]; [ $(stat -c %s f) = 7 ]; cat f longer");
}

/// drftpd and glftpd want to know what a data connection is for before they make one.
#[test]
fn pret_where_demanded_names_each_transfer() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.on("PRET", Act::Reply("200 OK, planning to do that"));
    let demand = "500 You need to use a client supporting PRET (PRE Transfer) to use PASV";
    server.once("EPSV", Act::Reply(demand));
    let mount = Mount::of(&server);
    mount.sh("ls; [ \"$(cat f)\" = content ]; echo new > g; ls -l; cat g");
    assert_eq!(server.tree().bytes("/g"), Some(&b"new\n"[..]));
    let commands = server.commands_since(0);
    let mut told: HashMap<usize, String> = HashMap::new();
    let mut demanded = false;
    for (connection, line) in &commands {
        if let Some(what) = line.strip_prefix("PRET ") {
            told.insert(*connection, what.to_owned());
        } else if line == "EPSV" {
            assert!(!demanded || told.contains_key(connection), "{commands:#?}");
            demanded = true;
        } else if ["MLSD", "RETR", "STOR"]
            .iter()
            .any(|verb| line.starts_with(verb))
        {
            assert_eq!(
                told.remove(connection).as_ref(),
                Some(line),
                "{commands:#?}"
            );
        }
    }
    assert!(
        server.count("PRET") >= 3 && server.count("PASV") == 0,
        "{commands:#?}"
    );
}

#[test]
fn dropped_pipelined_commands_are_detected_and_remembered() {
    let server = Script::new().forgets().start();
    server.tree().put("/d/f", "content");
    let mut mount = Mount::with(&server, "timeout=3");
    mount.sh("ls -l d; [ \"$(cat d/f)\" = content ]; echo new > d/g; mv d/g d/h; rm d/f");
    assert_eq!(server.tree().paths(), ["/d", "/d/h"]);
    assert!(
        mount.log().contains("pipelining disabled"),
        "{}",
        mount.log()
    );
    let lost = server.lost();
    mount.unmount();
    mount.again(&server);
    mount.sh("ls -l d; [ \"$(cat d/h)\" = new ]");
    assert_eq!(server.lost(), lost);
}

#[test]
fn dropped_commands_are_detected_before_the_timeout() {
    let server = Script::new().forgets().start();
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "timeout=300");
    mount.sh("ls -l d; [ \"$(cat d/f)\" = content ]");
    assert!(
        mount.log().contains("pipelining disabled"),
        "{}",
        mount.log()
    );
}

#[test]
fn nopipeline_sends_one_command_at_a_time() {
    let server = Script::new().forgets().start();
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "nopipeline");
    mount.sh(
        "ls -l d; [ \"$(cat d/f)\" = content ]; echo new > d/g; chmod 700 d/g; mv d/g d/h; rm d/f",
    );
    assert_eq!(server.tree().paths(), ["/d", "/d/h"]);
    assert_eq!(server.lost(), 0);
}

/// A data connection of a session that has ended is still in the server's queue.
#[test]
fn no_data_connection_for_the_moment_is_tried_again() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    for verb in ["EPSV", "EPRT"] {
        server.on(verb, Act::Reply("500 Unknown command"));
    }
    for _ in 0..2 {
        server.once("MLSD", Act::Reply("425 No data connection"));
    }
    let mount = Mount::of(&server);
    assert_eq!(mount.sh("ls d"), "f\n");
}

/// One odd reply seemed to demand PRET, which the server does not know: that is no reason to refuse all transfers.
#[test]
fn pret_that_is_unknown_is_left_out_again() {
    let server = Script::new().without(&["PRET", "EPSV"]).start();
    server.tree().put("/d/f", "content");
    server.once("PASV", Act::Reply("500 Send PRET first"));
    let mut mount = Mount::of(&server);
    assert_eq!(mount.sh("ls d; cat d/f"), "f\ncontent");
    let from = server.mark();
    mount.sh("echo new > g; test $(cat g) = new");
    assert_eq!(server.since(from, &["PRET"]).len(), 0);
    mount.unmount();
    mount.again(&server);
    assert_eq!(mount.sh("cat d/f"), "content");
}

/// vsftpd ends a session for which it finds no free passive port: that is no refusal of the command.
#[test]
fn session_that_ends_for_want_of_a_port_is_replaced() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mount = Mount::of(&server);
    let words =
        "500 OOPS: vsf_sysutil_bind, maximum number of attempts to find a listening port exceeded";
    server.once("EPSV", Act::Farewell(words));
    assert_eq!(mount.sh("ls d; cat d/f"), "f\ncontent");
    assert_eq!(server.count("PASV"), 0);
}

/// A data connection that waits for a transfer would keep all other mounts from making one.
#[test]
fn one_passive_port_serves_several_mounts() {
    let server = Script::new().one_port().start();
    for number in 0..9 {
        server.tree().put(&format!("/f{number}"), pattern(100_000));
    }
    let mounts = [Mount::of(&server), Mount::of(&server)];
    let read = "for n in 0 1 2 3 4 5; do cat f$n >/dev/null; done; cp f6 g$$; ls >/dev/null";
    for mount in mounts.iter().chain(&mounts) {
        mount.sh(read);
    }
    mounts[0].sh("for n in 0 1 2 3 4 5 6 7 8; do { cat f$n >/dev/null; cp f$n h$n; } & done; wait; for n in 0 1 2 3 4 5 6 7 8; do cmp f$n h$n; done");
    mounts[1].sh(read);
    assert_eq!(server.count("PASV"), 0);
}

#[test]
fn server_whose_newest_client_ends_the_older_gets_one() {
    let server = Script::new().one_client().start();
    for number in 0..9 {
        server
            .tree()
            .put(&format!("/d{number}/f"), pattern(300_000));
    }
    let mut mount = Mount::with(&server, "timeout=10");
    // Finding out may cost one of these an error, which the program sees.
    mount.try_sh("for n in 0 1 2 3; do cat d$n/f >/dev/null & done; wait; ls d4 d5");
    let uses = "for n in 0 1 2 3; do { cp d$n/f d$n/g; cmp d$n/f d$n/g; rm d$n/g; } & done; wait; ls d6 d7; cat d8/f >/dev/null";
    for round in 0..3 {
        mount.sh(&format!("ls; sleep 1; {uses}"));
        let connected = server.connected();
        mount.sh(uses);
        assert_eq!(server.connected(), connected, "{round}");
        assert_eq!(server.connections(), 1);
        mount.unmount();
        mount.again(&server);
    }
}

#[test]
fn idle_mount_does_not_wake_up() {
    /// Longer than an idle thread waits for a job, and than a preconnected data connection is kept.
    const QUIET: Duration = Duration::from_secs(12);
    let server = Server::start();
    server.tree().put("/d/f", "content");
    let mount = Mount::of(&server);
    mount.sh("ls -lR; cat d/f; echo new > d/g");
    let mut before = mount.wake_ups();
    let is_quiet = (0..5).any(|_| {
        sleep(QUIET);
        let now = mount.wake_ups();
        std::mem::replace(&mut before, now.clone()) == now
    });
    assert!(is_quiet, "{before:?}");
}

/// The 425 after the 150 counts as one of the preconnected data connection: after some of them none is made.
#[test]
fn server_that_forgets_ports_gets_none_ahead() {
    let server = Script::new().forgets_ports().start();
    for directory in 0..16 {
        server
            .tree()
            .put(&format!("/{directory}/f{directory}"), "x");
    }
    let mount = Mount::of(&server);
    for directory in 0..16 {
        mount.sh(&format!("[ $(ls {directory}) = f{directory} ]"));
    }
    let log = mount.log();
    assert!(log.contains("preconnecting disabled"), "{log}");
}
