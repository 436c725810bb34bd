//! What one name is on a server where only listings tell: one question for it, and a listing where that leaves a doubt.

use std::time::Duration;

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Gate, Script, Server};

/// A server that lists only, and a mount that has looked at nothing.
fn lists_only() -> (Server, Mount) {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    for name in ["/f", "/d/f", "/d/sub/f"] {
        server.tree().put(name, "content");
    }
    let mount = Mount::of(&server);
    (server, mount)
}

#[test]
fn one_name_is_asked_for_without_a_listing() {
    let (server, mount) = lists_only();
    assert_eq!(
        mount.sh("stat -c '%n %F %s %a %Y' f d/f"),
        "f regular file 7 644 1612325106\nd/f regular file 7 644 1612325106\n"
    );
    // The second name in the root was worth its listing.
    assert_eq!((server.count("STAT"), server.count("LIST")), (2, 1));
}

/// A program that asks for several names in each directory: after three of them a directory is listed for the first one.
#[test]
fn walk_by_names_lists_the_next_directory_at_once() {
    let (server, mount) = lists_only();
    for directory in 0..12 {
        server.tree().put(&format!("/{directory}/one"), "content");
        server.tree().put(&format!("/{directory}/two"), "content");
    }
    mount.python("for d in range(12): [os.stat(f'{d}/{name}') for name in ['one', 'two']]");
    let asked = server.count("STAT");
    assert!(asked < 12, "STAT was sent {asked} times");
}

#[test]
fn a_name_that_is_not_there_is_not_there() {
    let (server, mount) = lists_only();
    mount.sh("[ ! -e none ]; sleep 1.1; [ ! -e none ]; [ ! -e d/none ]");
    // Once it was listed, which has shown that STAT tells the same.
    assert_eq!(server.count("LIST"), 1);
}

#[test]
fn listing_of_another_directory_is_rejected() {
    // It takes what follows a switch for nothing, and lists the directory that it is in.
    let words = "213-Here\r\ndrwxr-xr-x 1 o g 4096 Feb 03  2021 .\r\n\
                 drwxr-xr-x 1 o g 4096 Feb 03  2021 none\r\n213 End\r\n";
    for script in ["[ ! -e d/none ]; ls d/sub", "ls d/sub; [ ! -e d/none ]"] {
        let (server, mount) = lists_only();
        server.on("STAT", Act::Raw(words.as_bytes().to_vec()));
        server.tree().put("/other/f", "content");
        server.tree().put("/third/f", "content");
        assert_eq!(mount.sh(script), "f\n");
        // One directory may have changed meanwhile; a second one proves it.
        assert!(server.count("STAT") <= 2);
        assert_eq!(
            mount.sh("ls other; ls third; [ ! -e other/none ]; stat -c %s third/f"),
            "f\nf\n7\n"
        );
        assert!(server.count("STAT") <= 2);
    }
}

#[test]
fn ambiguous_stat_falls_back_to_a_listing() {
    const HEAD: &str = "drwxr-xr-x 1 o g 4096 Feb 03  2021 .\r\n";
    for (command, answer) in [
        // Two commands say two things of one file, or one of them nothing.
        ("SIZE", "213 8"),
        ("SIZE", "550 Not now"),
        ("SIZE", "450 Busy"),
        ("SIZE", "500 What?"),
        // It is cut off, or no listing, or shows less.
        ("STAT", "213-Here\r\n213 Output truncated"),
        (
            "STAT",
            "211-A server\r\n Connected from somewhere\r\n211 End",
        ),
        ("STAT", "211 All is well"),
        ("STAT", "500 What?"),
        ("STAT", "550 No"),
        ("STAT", "213-Here\r\n213 End"),
    ] {
        let (server, mount) = lists_only();
        server.on(command, Act::Reply(answer));
        assert_eq!(
            mount.sh("stat -c '%F %s' f"),
            "regular file 7\n",
            "{answer}"
        );
        assert_eq!(server.count("LIST"), 1, "{answer}");
    }
    // A listing that is not whole: what it shows is there, and what it lacks may be.
    for (line, lists) in [
        ("-rw-r--r-- 1 o g 7 Feb 03  2021 f", 0),
        ("-rw-r--r-- 1 o g 7 Feb 03  2021 g", 1),
    ] {
        let (server, mount) = lists_only();
        let words = format!("213-Here\r\n{HEAD}{line}\r\nwhat is this\r\n213 End\r\n");
        server.on("STAT", Act::Raw(words.into_bytes()));
        assert_eq!(mount.sh("stat -c %s f"), "7\n");
        assert_eq!(server.count("LIST"), lists, "{line}");
    }
}

#[test]
fn a_link_stays_a_link() {
    let (server, mount) = lists_only();
    server.tree().link("/to-file", "f");
    assert_eq!(
        mount.sh("stat -c %F to-file; readlink to-file; cat to-file"),
        "symbolic link\nf\ncontent"
    );
    let (server, mount) = lists_only();
    server.tree().link("/to-directory", "d");
    assert_eq!(
        mount.sh("stat -c %F to-directory; ls to-directory"),
        "symbolic link\nf\nsub\n"
    );
}

#[test]
fn a_long_directory_is_asked_for_by_name_once() {
    let (server, mount) = lists_only();
    for number in 0..1001 {
        server.tree().put(&format!("/wide/f{number}"), pattern(1));
        server.tree().put(&format!("/wider/f{number}"), pattern(1));
    }
    mount.sh("ls; stat wide/f7 wider/f7");
    assert_eq!(server.count("STAT -a /wide"), 1);
    assert_eq!(server.count("STAT -a /wider"), 0);
}

#[test]
fn a_directory_whose_name_is_a_pattern_is_listed() {
    let (server, mount) = lists_only();
    server.tree().put("/[a]*/f", "content");
    assert_eq!(mount.sh("ls; stat -c %s '[a]*/f'"), "[a]*\nd\nf\n7\n");
    assert_eq!(server.count("STAT"), 0);
}

#[test]
fn one_odd_answer_takes_nothing_from_a_server_that_was_compared() {
    let (server, mount) = lists_only();
    server.tree().put("/e/f", "content");
    mount.sh("[ ! -e none ]");
    // Of one directory it says what it is itself, as others do of a link.
    let words = "213-Here\r\nlrwxrwxrwx 1 o g 1 Feb 03  2021 d -> e\r\n213 End\r\n";
    server.once("STAT -a /d", Act::Raw(words.as_bytes().to_vec()));
    mount.sh("[ ! -e d/none ]");
    let listed = server.count("LIST");
    mount.sh("[ ! -e e/none ]");
    assert_eq!(server.count("LIST"), listed);
}

#[test]
fn an_answer_is_not_compared_with_a_listing_of_another_time() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "cache_timeout=2");
    mount.sh("ls");
    let gate = Gate::default();
    server.once("LIST", Act::Until(gate.clone()));
    let mut looks = mount.start("cd d && ls && sleep 3 && ls");
    soon("the listing", || server.count("LIST") == 2);
    // It waits for that listing, and has an answer already that is not compared.
    let mut asks = mount.start("[ ! -e d/none ]");
    soon("the question", || server.count("STAT") == 1);
    gate.open();
    asks.end();
    server.tree().put("/d/new", "content");
    assert_eq!(looks.end(), "f\nf\nnew\n");
    mount.sh("sleep 2.1; [ ! -e none ]");
    assert_eq!(server.count("STAT"), 2);
}

#[test]
fn stat_without_reply_on_a_new_connection_becomes_a_listing() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    server.tree().put("/f", "content");
    let mount = Mount::with(&server, "timeout=4");
    server.hang_up();
    soon("they are closed", || server.connections() == 0);
    server.on("STAT", Act::Silence);
    assert_eq!(mount.sh("stat -c %s f"), "7\n");
}

/// vsftpd shows names in its replies as they are.
#[test]
fn a_name_with_line_breaks_in_it_forges_no_reply() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    for name in ["/e/f", "/e/g", "/d/zz", "/b/a/a", "/b/b/b", "/b/c/c"] {
        server.tree().put(name, "content");
    }
    // What it says of "d" ends here, there is no "zz" in it, and the rest is what is asked for last.
    let absent = "/d/x\r\n213 End of status\r\n550 None\r\n213-";
    // Here the listing of the next directory is another one.
    let other = "/b/a/x\r\n213 End of status\r\n213-Status\r\ndrwxr-xr-x 1 a b 0 Jan 1 2020 .\r\n213 End\r\n213-";
    for name in [absent, other] {
        server.tree().put(name, "");
    }
    // The true answers come later.
    for begins in ["SIZE /d/zz", "STAT -a /b/b", "STAT -a /b/c"] {
        server.on(begins, Act::Wait(Duration::from_millis(200)));
    }
    let mount = Mount::with(&server, "timeout=5");
    // Now it is known that STAT shows what LIST does.
    mount.sh("ls e; cat e/f; sleep 1; stat e/g");
    assert_eq!(mount.sh("cat d/zz"), "content");
    let mount = Mount::with(&server, "timeout=5");
    mount.sh("ls e; cat e/f; sleep 1; stat e/g; ls b; ls b/a; sleep 1");
    assert_eq!(
        mount.sh("cat b/b/b b/c/c; ls b/b b/c"),
        "contentcontentb/b:\nb\n\nb/c:\nc\n"
    );
}
