//! What a server says that is not to be believed, or not of everything.

use std::thread::sleep;
use std::time::Duration;

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Script, Server};

#[test]
fn a_listing_that_is_said_to_be_cut_off_answers_no_absence() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).start();
        for number in 0..50 {
            server.tree().put(&format!("/d/file{number:02}"), "x");
        }
        // The first lines of it, and the words of Pure-FTPd.
        let words = "226-Options: -a -l\r\n226 Output truncated to 10 matches";
        for command in ["LIST", "MLSD"] {
            server.on(command, Act::Refuse(600, words));
        }
        let mount = Mount::of(&server);
        let listed = mount.sh("ls d | wc -l; stat -c %s d/file49");
        let (number, size) = listed.trim().split_once('\n').unwrap();
        assert!(
            number.parse::<usize>().unwrap() < 50 && size == "1",
            "{listed}"
        );
        assert_eq!(mount.error("os.stat('d/file77')"), "ENOENT");
    }
}

#[test]
fn temporary_refusal_is_not_enoent() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    // Where the listing can't answer either.
    for verb in ["MLST /d/f", "MLSD", "LIST"] {
        let words = "451 Requested action aborted: local error";
        server.on(verb, Act::Reply(words));
    }
    let mount = Mount::with(&server, "timeout=3");
    assert_eq!(mount.error("os.stat('d/f')"), "EIO");
    server.behave();
    assert_eq!(mount.sh("cat d/f"), "content");
}

#[test]
fn unenterable_directory_is_not_shown_empty() {
    let server = Server::start();
    server.tree().put("/no files/f", "content");
    server.on(
        "CWD /no files",
        Act::Reply("550 /no files: Permission denied"),
    );
    let mount = Mount::of(&server);
    assert_eq!(mount.error("os.listdir('no files')"), "EACCES");
    assert_eq!(mount.sh("cat 'no files/f'"), "content");
}

/// The connection replies to `EPSV` with something that is no port.
#[test]
fn connection_with_wrong_reply_to_epsv_is_dropped() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.once("EPSV", Act::Reply("250 Fine"));
    let mount = Mount::of(&server);
    assert_eq!(mount.sh("ls; cat f"), "f\ncontent");
    let commands = server.commands_since(0);
    let bad = commands
        .iter()
        .position(|(_, line)| line == "EPSV")
        .unwrap();
    let number = commands[bad].0;
    let later = commands[bad + 1..].iter();
    assert_eq!(later.filter(|(other, _)| *other == number).count(), 0);
}

#[test]
fn server_that_stops_accepting_pipelining_is_detected() {
    let server = Server::start();
    for number in 0..9 {
        server.tree().put(&format!("/d{number}/f"), "content");
    }
    let mut mount = Mount::with(&server, "timeout=3");
    mount.sh("ls -l d0 d1; cat d0/f");
    server.forget();
    // What comes before it is found out may fail: a command that was lost is missed after `timeout=`.
    mount.try_sh("cat d2/f; cat d3/f; cat d4/f");
    soon("the loss of commands is found out", || {
        mount.log().contains("pipelining disabled")
    });
    assert_eq!(mount.sh("ls d5 d6; cat d7/f"), "d5:\nf\n\nd6:\nf\ncontent");
    let lost = server.lost();
    mount.unmount();
    mount.again(&server);
    mount.sh("cat d8/f");
    assert_eq!(server.lost(), lost);
}

#[test]
fn reading_on_after_remote_replacement_is_an_error() {
    let server = Server::start();
    let size = 24 << 20;
    server.tree().put("/f", pattern(size));
    let mount = Mount::with(&server, "cache_timeout=1");
    mount.make_fifo("go");
    let mut reader = mount.start(
        "exec 3<>$S/go
        { head -c 3000000 >$S/got; echo stopped; read -r <&3; cat >>$S/got || echo failed; } <f",
    );
    reader.await_words("stopped");
    // Another one of the same size.
    server.tree().put("/f", vec![0; size]);
    server.tree().node_mut("/f").unwrap().modified = 1_700_000_000;
    sleep(Duration::from_secs(2));
    mount.sh("stat f >/dev/null; echo > $S/go");
    let said = reader.end();
    let got = mount.scratch("got");
    assert!(said.contains("failed"), "{said}");
    assert!(pattern(size).starts_with(&got), "{} bytes", got.len());
    // From its start it is read as it is now.
    assert_eq!(mount.sh("cat f | tr -d '\\0' | wc -c").trim(), "0");
}

#[test]
fn file_longer_than_its_size_is_an_error_unless_grown() {
    for size in [1500, 400_000] {
        let server = Server::start();
        server.tree().put("/f", pattern(size));
        let facts = format!(
            "250-Facts\r\n type=file;size={};modify=20210203040506; /f\r\n250 End\r\n",
            size - 500
        );
        server.on("MLST /f", Act::Raw(facts.into()));
        let mount = Mount::of(&server);
        assert_eq!(mount.error("open('f', 'rb').read()"), "EIO");
        server.behave();
        mount.sh("ls -l");
        drop(mount);
        let mount = Mount::of(&server);
        mount.sh("stat f");
        server.tree().put("/f", pattern(size + 100));
        let got = mount.sh("cat f | wc -c");
        assert!(
            [size, size + 100].contains(&got.trim().parse().unwrap()),
            "{got}"
        );
    }
}

/// Embedded servers send one `220` for each line of their greeting.
#[test]
fn further_greetings_before_the_login_are_dropped() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.on(
        "AUTH",
        Act::Raw(b"220 two\r\n220 three\r\n502 No such command\r\n".to_vec()),
    );
    let mount = Mount::of(&server);
    mount.sh("[ \"$(cat f)\" = content ]; echo new > g; [ \"$(cat g)\" = new ]");
    assert_eq!(server.count("AUTH"), 1);
}

#[test]
fn options_answered_twice_are_left_out_of_the_next_login() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.on(
        "OPTS",
        Act::Raw(b"500 Unknown option\r\n500 Unknown option\r\n".to_vec()),
    );
    let mount = Mount::of(&server);
    let sent = server.count("OPTS");
    assert!(sent > 0);
    mount.sh("[ \"$(cat f)\" = content ]; echo new > g; [ \"$(cat g)\" = new ]");
    // Further connections know it.
    server.hang_up();
    mount.sh("cat f");
    assert_eq!(server.count("OPTS"), sent);
}

/// The first login does not show it. The server ends no session: further connections are made.
#[test]
fn options_answered_twice_on_a_further_connection_limit_nothing() {
    let server = Server::start();
    for number in 0..4 {
        server.tree().put(&format!("/f{number}"), pattern(300_000));
    }
    let mount = Mount::of(&server);
    let twice = b"500 Unknown option\r\n500 Unknown option\r\n".to_vec();
    server.on("OPTS", Act::Raw(twice));
    mount.sh("for n in 0 1 2 3; do cat f$n >/dev/null & done; wait");
    soon("there are more", || server.connections() > 1);
    assert!(!mount.log().contains("limited to 1"), "{}", mount.log());
}

/// The surplus reply comes when `PWD` has been sent.
#[test]
fn late_second_reply_to_options_is_not_the_reply_to_pwd() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.once("PWD", Act::Reply("500 Unknown option"));
    let mount = Mount::of(&server);
    let sent = server.count("OPTS");
    assert_eq!(mount.sh("cat f"), "content");
    server.hang_up();
    mount.sh("cat f");
    assert_eq!(server.count("OPTS"), sent);
}

#[test]
fn session_ended_or_agreed_to_at_auth_is_replaced_by_a_plain_one() {
    for act in [
        Act::Farewell("500 Syntax error"),
        // The second reply is that of a server that takes nothing before USER.
        Act::Farewell("500 Syntax error\r\n530 No such user"),
        Act::HangUp,
        // It says so to whatever it does not know, and speaks no TLS.
        Act::Reply("200 Fine"),
        Act::LastWord("200 Fine"),
    ] {
        let server = Server::start();
        server.tree().put("/f", "content");
        server.on("AUTH", act.clone());
        let mount = Mount::with(&server, "timeout=6");
        mount.sh("[ \"$(cat f)\" = content ]; echo new > g; [ \"$(cat g)\" = new ]");
        assert_eq!(server.count("AUTH"), 1, "{act:?}");
    }
}

/// It agrees, and does not keep to that: the first time may be an accident, after which TLS is tried again.
#[test]
fn session_that_agrees_to_tls_and_ends_twice_goes_in_clear() {
    for act in [Act::Reply("234 Go"), Act::Farewell("234 Go")] {
        let server = Server::start();
        server.tree().put("/f", "content");
        server.on("AUTH", act.clone());
        let mount = Mount::with(&server, "timeout=6");
        mount.sh("[ \"$(cat f)\" = content ]; echo new > g; [ \"$(cat g)\" = new ]");
        assert_eq!(server.count("AUTH"), 2, "{act:?}");
        let log = mount.log();
        assert!(log.contains("again; everything goes in clear"), "{log}");
    }
}

/// The second reply to `USER` looks like one to `PASS`, and that to `PASS` like one to `FEAT`; it comes at once, or when the
/// next command has been sent.
#[test]
fn user_or_password_answered_twice_is_no_refusal() {
    let user = Act::Noise("331 Password, please\r\n");
    let password = Act::Noise("230 Welcome\r\n");
    for rules in [
        &[("USER", Act::Twice)][..],
        &[("PASS", Act::Twice)],
        &[("USER", Act::Twice), ("PASS", Act::Twice)],
        &[("PASS", user.clone())],
        &[("FEAT", password.clone())],
        &[("TYPE", password.clone())],
        &[("PASS", user), ("FEAT", password)],
    ] {
        let server = Server::start();
        server.tree().put("/f", "content");
        for (command, act) in rules {
            server.on(command, act.clone());
        }
        let mut mount = Mount::of(&server);
        for _ in 0..2 {
            mount.sh("[ \"$(ls)\" = f ]; [ \"$(cat f)\" = content ]; echo new > g; [ \"$(cat g)\" = new ]; rm g");
            server.hang_up();
            mount.sh("[ \"$(cat f)\" = content ]");
            mount.unmount();
            mount.again(&server);
        }
    }
}

/// As of servers that run `ls`, whose messages go to the control connection.
#[test]
fn lines_before_a_reply_to_list_that_are_none_are_dropped() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).start();
        server.tree().put("/d/f", "content");
        for command in ["LIST", "MLSD"] {
            server.on(command, Act::Noise("ls: locale is unknown\r\n\r\n"));
        }
        let mount = Mount::of(&server);
        assert_eq!(mount.sh("ls d; cat d/f"), "f\ncontent");
        assert_eq!(server.connected(), server.connections());
    }
}

/// What comes without end is no reply.
#[test]
fn lines_without_end_before_a_reply_are_an_error() {
    let server = Server::start();
    server.tree().put("/d/f", "content");
    server.on(
        "MLSD",
        Act::Noise(Box::leak("noise\r\n".repeat(1000).into_boxed_str())),
    );
    let mount = Mount::of(&server);
    assert_eq!(mount.error("os.listdir('d')"), "EIO");
}

fn store(name: &str) -> String {
    format!("f = os.open(b'{name}', os.O_WRONLY | os.O_CREAT); os.write(f, b'{name}'); os.close(f)")
}

fn errno_of(mount: &Mount, code: &str) -> String {
    mount.error(&format!("exec({code:?})"))
}

/// Two names that the server makes one of: neither file replaces the other.
#[test]
fn names_that_the_server_makes_one_of_are_eilseq() {
    let server = Script::new().replaces_bytes().start();
    server.tree().put("/a\u{fffd} b", "theirs");
    let mut mount = Mount::of(&server);
    for name in [r"a\xfe b", r"a\xfd b", r"a\xff"] {
        assert_eq!(errno_of(&mount, &store(name)), "EILSEQ", "{name}");
    }
    assert_eq!(errno_of(&mount, r"os.mkdir(b'd\xfe')"), "EILSEQ");
    mount.sh("echo x > plain");
    assert_eq!(errno_of(&mount, r"os.rename(b'plain', b'p\xfe')"), "EILSEQ");
    mount.sh("echo ä > ä");
    let bytes = |path: &str| server.tree().bytes(path).map(<[u8]>::to_vec);
    assert_eq!(bytes("/a\u{fffd} b"), Some(b"theirs".to_vec()));
    assert_eq!(bytes("/plain"), Some(b"x\n".to_vec()));
    assert_eq!(mount.sh("ls -A | wc -l"), "3\n");
    // One mount's refusal is not believed by the next one, which tries again.
    mount.unmount();
    mount.again(&server);
    assert_eq!(errno_of(&mount, &store(r"a\xfd b")), "EILSEQ");
    assert_eq!(bytes("/a\u{fffd} b"), Some(b"theirs".to_vec()));
}

#[test]
fn byte_255_that_is_stored_twice_is_eilseq() {
    let server = Script::new().keeps_iac().start();
    let mount = Mount::of(&server);
    assert_eq!(errno_of(&mount, &store(r"c\xff")), "EILSEQ");
    mount.python(&store(r"c\xfe"));
    assert_eq!(server.tree().bytes(b"/c\xfe"), Some(&b"c\xfe"[..]));
}

/// Names that are kept cost one trial of each kind, and are stored by themselves.
#[test]
fn odd_names_of_a_server_that_keeps_them_are_tried_once() {
    let server = Server::start();
    let mount = Mount::of(&server);
    for name in [r"a\xfe", r"a\xfd", r"a\xff", r"b\xff"] {
        mount.python(&store(name));
    }
    for name in [&b"a\xfe"[..], b"a\xfd", b"a\xff"] {
        let path = [b"/", name].concat();
        assert_eq!(server.tree().bytes(&path), Some(name));
    }
    assert_eq!(server.since(0, &["DELE"]).len(), 2);
}
