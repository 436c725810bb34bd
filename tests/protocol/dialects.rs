//! Replies and listings that deviate from the RFCs, of servers that can be used all the same.

use crate::mount::{Mount, pattern};
use crate::profile::kept;
use crate::scripted::{Act, Script, Server};

const TRANSFERS: [&str; 5] = ["LIST", "MLSD", "RETR", "STOR", "APPE"];

/// Everyday work in the directory `d` below `home`, by two mounts.
fn check_work(server: &Server, home: &str) {
    let file = format!("{home}/d/f");
    server.tree().put(&file, "content");
    let mut mount = Mount::of(server);
    for _ in 0..2 {
        mount.sh(
            "[ \"$(ls d)\" = f ]; [ \"$(cat d/f)\" = content ]; [ $(stat -c %s d/f) = 7 ]
             cp d/f d/g; cmp d/f d/g; echo more >> d/g; mv d/g d/h; [ \"$(cat d/h)\" = contentmore ]
             rm d/h; mkdir e; rmdir e; [ ! -e e ]; [ ! -e d/absent ]
             for n in 1 2 3; do cp d/f d/$n & done; wait; cat d/1 d/2 d/3 | cmp - <(cat d/f d/f d/f); rm d/[123]",
        );
        assert_eq!(server.tree().bytes(&file), Some(&b"content"[..]));
        mount.unmount();
        mount.again(server);
    }
}

/// The port is read from each of these, so that the client needs no other way to a data connection.
#[test]
fn passive_ports_are_read_however_they_are_written() {
    type Words = fn(u16) -> String;
    let epsv: [Words; 3] = [
        |port| format!("229 Entering Extended Passive Mode |||{port}|"),
        |port| format!("229 Extended (!!!{port}!)"),
        |port| format!("229 Ready (see RFC 2428) (|1|127.0.0.1|{port}|)"),
    ];
    let pasv: [Words; 3] = [
        |port| format!("227 Passive (127, 0, 0, 1, {}, {})", port / 256, port % 256),
        |port| format!("227 Passive 127,0,0,1,{},{}", port / 256, port % 256),
        |port| format!("227 =127,0,0,1,{},{}", port / 256, port % 256),
    ];
    for words in epsv {
        let server = Script::new().says_port(words).start();
        check_work(&server, "");
        assert_eq!(server.since(0, &["PASV", "EPRT", "PORT"]), [""; 0]);
    }
    for words in pasv {
        let server = Script::new().without(&["EPSV"]).says_port(words).start();
        check_work(&server, "");
        assert_eq!(server.since(0, &["EPRT", "PORT"]), [""; 0]);
    }
}

/// The directory after the login, where the reply to `PWD` has no quoted path of it.
#[test]
fn working_directory_is_found_without_a_quoted_path() {
    let words: [fn(&str) -> String; 4] = [
        |here| format!("257 {here} is the current directory"),
        |here| format!("257 {here}"),
        |here| format!("257 \"C:{}\" is current", here.replace('/', "\\")),
        |here| format!("250 \"{here}\""),
    ];
    for words in words {
        for home in ["/home/user", "/home/first last"] {
            let server = Script::new().home(home).says_here(words).start();
            server.tree().put(&format!("{home}/d/f"), "content");
            check_work(&server, home);
        }
    }
}

#[test]
fn working_directory_whose_name_has_is_in_it_is_found() {
    let home = "/home/what is this";
    let words = |here: &str| format!("257 {here} is the current directory");
    let server = Script::new().home(home).says_here(words).start();
    server.tree().put(&format!("{home}/d/f"), "content");
    check_work(&server, home);
}

#[test]
fn preliminary_reply_after_the_final_one_is_dropped() {
    let server = Server::start();
    for verb in TRANSFERS {
        server.on(verb, Act::FinalFirst);
    }
    check_work(&server, "");
}

/// As some servers confirm an empty listing; the 150 of the next transfer is its own.
#[test]
fn transfer_after_one_without_a_preliminary_reply_starts() {
    let server = Server::start();
    server.tree().put("/large", pattern(3_000_000));
    let mount = Mount::with(&server, "max_conns=1");
    for directory in ["a", "b"] {
        mount.sh(&format!("mkdir {directory}"));
        server.on("MLSD", Act::NoStart);
        mount.sh(&format!("ls {directory}"));
        match directory {
            "a" => mount.sh("cmp large <(cat large); [ $(wc -c <large) = 3000000 ]"),
            _ => mount.sh("head -c 2000000 /dev/zero > g; cmp g <(head -c 2000000 /dev/zero)"),
        };
    }
    let stored = server.tree().bytes("/g").map(<[u8]>::len);
    assert_eq!(stored, Some(2_000_000));
}

#[test]
fn session_that_ends_with_each_transfer_is_replaced() {
    let server = Server::start();
    for verb in TRANSFERS {
        server.on(verb, Act::EndSession);
    }
    check_work(&server, "");
}

/// Commands of the login that it can do without.
#[test]
fn session_that_ends_at_a_command_of_the_login_is_replaced() {
    for (command, without) in [
        ("FEAT", &[][..]),
        ("OPTS", &[]),
        ("SYST", &["MLSD", "MLST"]),
    ] {
        for end in [Act::Farewell("500 What?"), Act::HangUp] {
            let server = Script::new().without(without).start();
            server.on(command, end);
            check_work(&server, "");
        }
    }
}

/// A later mount leaves out what the first one did, on its further connections too, and also on a server without pipelining.
#[test]
fn later_mount_of_a_server_that_ends_logins_makes_connections() {
    for command in ["FEAT", "OPTS"] {
        for pipelines in [true, false] {
            let server = match pipelines {
                true => Server::start(),
                false => Script::new().forgets().start(),
            };
            server.tree().put("/f", "content");
            server.on(command, Act::HangUp);
            let mut mount = Mount::of(&server);
            for _ in 0..2 {
                mount.sh("[ \"$(cat f)\" = content ]");
                server.hang_up();
                mount.sh("ls; [ \"$(cat f)\" = content ]");
                mount.unmount();
                assert!(!kept(&mount).contains("one_session"), "{command}");
                mount.again(&server);
            }
        }
    }
}

#[test]
fn session_that_ends_for_pipelined_commands_is_replaced() {
    let server = Script::new().ends_flights().start();
    check_work(&server, "");
}

/// One end of a session may be an accident: what was sent is sent again.
#[test]
fn login_after_one_that_was_cut_leaves_nothing_out() {
    for command in ["FEAT", "OPTS", "PWD"] {
        let server = Server::start();
        server.once(command, Act::HangUp);
        let mount = Mount::of(&server);
        let log = mount.log();
        let again = log.rsplit("> FEAT").next().unwrap_or_default();
        assert!(again.contains("> OPTS UTF8 ON"), "{command}: {log}");
        assert!(!log.contains("pipelining disabled"), "{command}: {log}");
    }
}

#[test]
fn silent_feat_is_left_out() {
    let server = Server::start();
    server.on("FEAT", Act::Silence);
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "timeout=6");
    mount.sh("[ \"$(ls d)\" = f ]; [ \"$(cat d/f)\" = content ]");
}

#[test]
fn further_preliminary_replies_are_dropped() {
    let server = Server::start();
    for verb in TRANSFERS {
        server.on(verb, Act::TwoStarts);
    }
    check_work(&server, "");
}

#[test]
fn empty_lines_before_replies_are_dropped() {
    let server = Server::start();
    for command in ["TYPE", "CWD", "RETR", "STOR", "RNTO"] {
        server.on(command, Act::Noise("\r\n"));
    }
    check_work(&server, "");
}

/// `APPE` is refused where there is no file to append to.
#[test]
fn new_file_is_stored_where_appe_makes_none() {
    let server = Server::start();
    server.on(
        "APPE /new",
        Act::Reply("550 /new: No such file or directory"),
    );
    let mount = Mount::of(&server);
    mount.sh("set -C; echo new > new");
    assert_eq!(server.tree().bytes("/new"), Some(&b"new\n"[..]));
    assert_eq!(mount.error("open('none/f', 'x')"), "ENOENT");
}

#[test]
fn directory_that_is_refused_as_empty_is_empty() {
    for words in ["550 The directory is empty", "450 No entries"] {
        let server = Script::new().without(&["MLSD", "MLST"]).start();
        server.on("LIST", Act::Reply(words));
        let mount = Mount::of(&server);
        assert_eq!(mount.sh("ls"), "");
    }
}

/// `MLSD` of a server whose facts do not tell files from directories.
#[test]
fn facts_without_types_are_left_for_list() {
    let server = Server::start();
    let features = "211-Features:\r\n SIZE\r\n EPSV\r\n MLST size*;modify*;\r\n211 End";
    server.on("FEAT", Act::Reply(features));
    check_work(&server, "");
    assert_eq!(server.since(0, &["MLSD", "MLST"]), [""; 0]);
}

/// `MLST` is offered, and answered without facts.
#[test]
fn name_is_looked_up_in_listings_where_mlst_has_no_facts() {
    let server = Server::start();
    server.on("MLST", Act::Reply("250 Fine"));
    check_work(&server, "");
}

#[test]
fn listing_without_permissions_is_read() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    server.tree().put("/f", "content");
    let lines = b"d     4096 Jan 29  2020 a dir\r\n-        7 Jan 29  2020 f\r\n";
    server.on("LIST", Act::Listing(lines.to_vec()));
    let mount = Mount::of(&server);
    assert_eq!(mount.sh("ls -p"), "a dir/\nf\n");
    assert_eq!(mount.sh("cat f"), "content");
}

/// Over IPv6 there are no other passive ports than those of `EPSV`.
#[test]
fn odd_reply_to_epsv_over_ipv6_ends_nothing() {
    for odd in [
        Act::Reply("450 Odd."),
        Act::Reply("500 Odd."),
        Act::Reply("522 Odd."),
        Act::Reply("550 Odd."),
        Act::Twice,
        Act::Swap,
    ] {
        let server = Script::new().ipv6().start();
        server.once("EPSV", odd);
        server.tree().put("/d/f", "content");
        let mount = Mount::of(&server);
        // The odd reply may fail this.
        mount.try_sh("cat d/f");
        drop(mount);
        check_work(&server, "");
        assert_eq!(server.since(0, &["PASV", "PORT"]), [""; 0]);
    }
}

#[test]
fn server_without_data_connections_over_ipv6_names_ipv4() {
    let server = Script::new().ipv6().without(&["EPSV"]).start();
    server.tree().put("/d/f", "content");
    let mount = Mount::of(&server);
    assert_eq!(mount.error("os.listdir('d')"), "EIO");
    assert!(mount.log().contains("try ipv4"), "{}", mount.log());
    assert_eq!(server.since(0, &["PASV", "PORT"]), [""; 0]);
}

/// Some servers remove a directory with all that is in it: `RMD` is sent for what is known to be empty only.
#[test]
fn directory_with_files_is_never_removed_by_rmd() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).start();
        for path in ["/full/f", "/old/f"] {
            server.tree().put(path, "content");
        }
        server.tree().directory("/empty");
        server.tree().directory("/none");
        let mount = Mount::of(&server);
        assert_eq!(mount.error("os.rmdir('full')"), "ENOTEMPTY");
        assert_eq!(mount.error("os.rename('old', 'full')"), "ENOTEMPTY");
        assert_eq!(server.since(0, &["RMD", "RNFR"]), [""; 0]);
        mount.sh("rmdir empty; mv -T old none; [ $(cat none/f) = content ]");
        assert_eq!(
            server.tree().paths(),
            ["/full", "/full/f", "/none", "/none/f"]
        );
        // Another client has emptied it since it was listed.
        mount.sh("ls full");
        server.tree().remove("/full/f");
        mount.sh("rmdir full; [ ! -e full ]");
    }
}
