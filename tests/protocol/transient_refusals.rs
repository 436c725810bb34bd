//! What a server refuses for the moment (4xx) is done a little later, where that is safe.

use crate::mount::{Mount, pattern};
use crate::scripted::{Act, Script, Server};

fn server(without: &[&'static str]) -> Server {
    let server = Script::new().without(without).start();
    server.tree().put("/d/f", pattern(3000));
    server
}

#[test]
fn refusal_in_place_of_the_150_is_repeated() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        for code in [
            "450 Requested file action not taken",
            "451 Local error",
            "425 No data connection",
            "426 Closed",
        ] {
            let server = server(without);
            let mount = Mount::with(&server, "timeout=10");
            for verb in ["RETR", "STOR", "APPE", "LIST", "MLSD"] {
                for _ in 0..2 {
                    server.once(verb, Act::Reply(code));
                }
            }
            mount.sh(
                "[ \"$(ls d)\" = f ]; [ $(cat d/f | wc -c) = 3000 ]; cp d/f d/g; cmp d/f d/g
                set -C; echo new > d/h; [ $(cat d/h) = new ]",
            );
            let paths = server.tree().paths();
            assert_eq!(paths, ["/d", "/d/f", "/d/g", "/d/h"], "{code}");
        }
    }
}

/// The passive modes have no data connection for the moment, and the active one fails after its 150.
#[test]
fn active_data_connection_that_fails_is_no_refusal_of_the_file() {
    let server = server(&[]);
    server.on("EPRT", Act::Reply("200 Fine"));
    for skip in 0..2 {
        server.after(skip, "MLSD", Act::Reply("425 Can't open data connection"));
    }
    let failed = b"150 Here it comes\r\n550 Connection reset by peer\r\n".to_vec();
    server.after(2, "MLSD", Act::Raw(failed));
    let mount = Mount::with(&server, "timeout=10");
    mount.sh("[ \"$(ls d)\" = f ]");
}

#[test]
fn change_of_a_name_refused_for_now_is_repeated() {
    for reply in ["450 Busy", "451 Local error"] {
        for (verb, change) in [
            ("DELE", "rm d/f; [ -z \"$(ls d)\" ]"),
            ("MKD", "mkdir d/new; [ -d d/new ]"),
            ("RMD", "rmdir empty; [ ! -e empty ]"),
            ("RNFR", "mv d/f d/g; [ $(ls d) = g ]"),
            ("RNTO", "mv d/f d/g; [ $(ls d) = g ]"),
        ] {
            let server = server(&[]);
            server.tree().directory("/empty");
            let mount = Mount::with(&server, "timeout=10");
            for _ in 0..2 {
                server.once(verb, Act::Reply(reply));
            }
            mount.sh(change);
        }
    }
    // It ends.
    for (reply, expected) in [("450 Busy", "EBUSY"), ("451 Local error", "EIO")] {
        let server = server(&[]);
        server.on("DELE", Act::Reply(reply));
        let mount = Mount::with(&server, "timeout=10");
        assert_eq!(mount.error("os.unlink('d/f')"), expected);
    }
}

#[test]
fn scratch_file_whose_removal_is_refused_for_now_goes() {
    let server = server(&[]);
    let mount = Mount::with(&server, "timeout=10");
    for _ in 0..2 {
        server.once("DELE", Act::Reply("451 Local error"));
    }
    mount.sh("ls d; echo more >> d/f");
    assert_eq!(server.count("DELE"), 3);
    assert_eq!(server.tree().paths(), ["/d", "/d/f"]);
}

#[test]
fn append_rehearsal_that_loses_its_connection_is_repeated() {
    let server = server(&[]);
    let mount = Mount::with(&server, "timeout=10");
    server.once("APPE", Act::HangUp);
    mount.sh("ls d; echo more >> d/f; [ $(cat d/f | wc -c) = 3005 ]");
    assert_eq!(server.tree().paths(), ["/d", "/d/f"]);
    assert_eq!(mount.lost().len(), 0);
}

#[test]
fn question_refused_for_now_is_answered_by_the_listing() {
    for (verb, without) in [
        ("MLST /d/f", &[][..]),
        ("SIZE /d/f", &["MLST", "MLSD"]),
        ("CWD /d", &[]),
    ] {
        let server = server(without);
        let mount = Mount::with(&server, "timeout=10");
        server.once(verb, Act::Reply("451 Local error"));
        mount.sh("[ $(stat -c %s d/f) = 3000 ]; [ $(cat d/f | wc -c) = 3000 ]; [ $(ls d) = f ]");
    }
}

/// `LIST` shows what `MLSD` may not; where it shows nothing, the directory is not taken for empty.
#[test]
fn directory_that_mlsd_refuses_is_listed_by_list() {
    for reply in ["550 No", "451 Local error"] {
        let server = server(&[]);
        let mount = Mount::with(&server, "timeout=10");
        mount.sh("ls");
        server.on("MLSD", Act::Reply(reply));
        mount.sh("[ \"$(ls d)\" = f ]");
    }
    let server = server(&[]);
    server.tree().directory("/empty");
    let mount = Mount::of(&server);
    mount.sh("ls");
    server.once("MLSD", Act::Reply("550 No"));
    assert_eq!(mount.error("os.listdir('empty')"), "EACCES");
}

#[test]
fn lasting_refusals_are_not_repeated() {
    for (verb, words, script) in [
        (
            "RETR",
            "450 /d/f: No such file or directory",
            "os.open('d/f', 0) and os.read(3, 9)",
        ),
        ("DELE", "450 /d/f: Permission denied", "os.unlink('d/f')"),
        (
            "STOR",
            "452 Try again later",
            "open('d/new', 'w').write('x')",
        ),
        (
            "STOR",
            "451 Disk quota exceeded",
            "open('d/new', 'w').write('x')",
        ),
    ] {
        let server = server(&[]);
        let mount = Mount::with(&server, "timeout=10");
        mount.sh("ls -l d");
        server.on(verb, Act::Reply(words));
        mount.error(script);
        // A read that fails is tried again once, whatever the reason.
        assert!(
            server.count(verb) <= 1 + usize::from(verb == "RETR"),
            "{words}"
        );
        assert!(!mount.log().contains("trying again"), "{words}");
    }
}

/// What comes after data has moved is tried once more.
#[test]
fn listing_that_ends_in_a_refusal_is_listed_once_more() {
    for (times, expected) in [(1, "['f']"), (9, "EIO")] {
        let server = server(&[]);
        let mount = Mount::with(&server, "timeout=10");
        for _ in 0..times {
            server.once("MLSD", Act::Refuse(9, "451 Local error"));
        }
        assert_eq!(mount.error("os.listdir('d')"), expected);
        assert_eq!(server.count("MLSD"), 2);
    }
}

#[test]
fn offset_refused_with_the_transfer_is_read_from_the_start() {
    for code in ["554 Invalid REST parameter", "554 What?"] {
        for verb in ["REST", "RETR"] {
            let server = Server::start();
            server.tree().put("/f", pattern(3_000_000));
            server.once(verb, Act::Reply(code));
            let mount = Mount::of(&server);
            assert_eq!(
                mount.sh("tail -c 100 f > $S/got; wc -c < $S/got").trim(),
                "100"
            );
            assert_eq!(mount.scratch("got"), &pattern(3_000_000)[2_999_900..]);
        }
    }
}

/// The reply that a connection did not bring may have been a success.
#[test]
fn command_of_unknown_fate_counts_as_done_if_it_was() {
    for (verb, act) in [
        ("DELE", Act::Unsaid),
        ("RNTO", Act::Unsaid),
        ("MKD", Act::Unsaid),
    ] {
        let server = server(&[]);
        let mount = Mount::with(&server, "timeout=10");
        mount.sh("ls -l d");
        server.once(verb, act);
        mount.sh(match verb {
            "DELE" => "rm d/f; [ -z \"$(ls d)\" ]",
            "RNTO" => "mv d/f d/g; [ $(ls d) = g ]",
            _ => "mkdir d/g; [ -d d/g ]",
        });
    }
}

/// A refused transfer may still bring the port of the next data connection, which some servers want to be used.
#[test]
fn port_after_a_425_is_used_by_the_next_try() {
    let server = Server::start();
    for name in ["/d/f", "/e/g"] {
        server.tree().put(name, pattern(300));
    }
    let mount = Mount::with(&server, "max_conns=1,timeout=10");
    mount.sh("ls d; cat d/f >/dev/null");
    server.once("MLSD", Act::Reply("425 Not yet"));
    let mark = server.mark();
    assert_eq!(mount.sh("ls e"), "g\n");
    let commands = server.commands_since(mark);
    let refused = commands
        .iter()
        .position(|(_, line)| line == "MLSD")
        .unwrap();
    let again = commands[refused + 1..]
        .iter()
        .position(|(_, line)| line == "MLSD");
    let between = &commands[refused + 1..refused + 1 + again.unwrap()];
    let ports = between.iter().filter(|(_, line)| line == "EPSV");
    assert!(ports.count() <= 1, "{between:?}");
}
