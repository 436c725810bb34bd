//! Listings that are not read to their end, or not in every line.

use crate::mount::{Mount, soon};
use crate::scripted::{Act, Script, Server};

/// A server with these names in `/d`, with MLST or without, and what stands before a name in its listings.
fn servers(names: &[&str]) -> [(Server, &'static str); 2] {
    [
        (&[][..], "type=file;size=1; "),
        (&["MLSD", "MLST"], "-rw-r--r-- 1 u g 1 Jan 1 2020 "),
    ]
    .map(|(without, start)| {
        let server = Script::new().without(without).start();
        server.tree().directory("/d");
        for name in names {
            server.tree().put(&format!("/d/{name}"), "x");
        }
        (server, start)
    })
}

/// A mount that knows of `/d`, of which the server sends these lines from now on.
fn mount_listing(server: &Server, lines: impl Into<Vec<u8>>) -> Mount {
    let mount = Mount::of(server);
    mount.sh("stat d");
    let lines = lines.into();
    for command in ["LIST", "MLSD"] {
        server.on(command, Act::Listing(lines.clone()));
    }
    mount
}

/// What a program reads of a directory before the error, and the error.
const SCAN: &str = "
found = []
try:
    with os.scandir('d') as entries:
        for entry in entries: found.append(entry.name)
except OSError as e: found.append(errno.errorcode[e.errno])
print(sorted(found))";

#[test]
fn listing_without_a_readable_line_is_an_error_each_time() {
    for (server, _) in servers(&["f"]) {
        let mount = mount_listing(&server, "what is this?\r\nno idea at all, sorry\r\n");
        for _ in 0..2 {
            assert_eq!(mount.python(SCAN).trim(), "['EIO']");
        }
        // Names are asked for.
        assert_eq!(mount.sh("cat d/f"), "x");
        assert_eq!(mount.error("os.stat('d/absent')"), "ENOENT");
        server.behave();
        assert_eq!(mount.python(SCAN).trim(), "['f']");
    }
}

#[test]
fn junk_without_end_is_an_error_soon() {
    for (server, _) in servers(&["f"]) {
        let mount = Mount::of(&server);
        mount.sh("stat d");
        for command in ["LIST", "MLSD"] {
            server.on(command, Act::Endless(b"junk junk junk\r\n"));
        }
        assert_eq!(mount.python(SCAN).trim(), "['EIO']");
    }
}

#[test]
fn listing_that_says_that_there_is_nothing_is_empty() {
    for said in [
        "total 0\r\n",
        "No files found.\r\n",
        "",
        "total 0\r\nwhat is this?\r\n",
    ] {
        for (server, _) in servers(&[]) {
            let mount = mount_listing(&server, said);
            assert_eq!(mount.python(SCAN).trim(), "[]", "{said:?}");
        }
    }
}

/// The names in lines that were not read are found when asked for; the log has their number.
#[test]
fn names_in_unread_lines_are_asked_for() {
    for (server, start) in servers(&["good", "hidden"]) {
        let mount = mount_listing(
            &server,
            format!("what is this?\r\n{start}good\r\nand that?\r\n"),
        );
        assert_eq!(mount.python(SCAN).trim(), "['good']");
        assert!(mount.log().contains("2 lines"), "{}", mount.log());
        assert_eq!(mount.sh("cat d/hidden"), "x");
        assert_eq!(mount.error("os.stat('d/absent')"), "ENOENT");
    }
}

#[test]
fn entry_after_a_line_of_a_megabyte_is_read() {
    for (server, start) in servers(&["good"]) {
        let long = "n".repeat(1 << 20);
        let mount = mount_listing(&server, format!("{start}{long}\r\n{start}good\r\n"));
        assert_eq!(mount.python(SCAN).trim(), "['good']");
    }
}

#[test]
fn listing_of_full_paths_is_read() {
    for (server, start) in servers(&["good", "two words"]) {
        let mount = mount_listing(
            &server,
            format!("{start}/d/good\r\n{start}/d/two words\r\n{start}/elsewhere/bad\r\n"),
        );
        assert_eq!(mount.python(SCAN).trim(), "['good', 'two words']");
        assert_eq!(mount.sh("cat d/good"), "x");
    }
}

/// As some servers write for `NLST` only: nothing says what the names are.
#[test]
fn listing_of_bare_paths_is_an_error() {
    for (server, _) in servers(&["good"]) {
        let mount = mount_listing(&server, "/d/good\r\n/d/other\r\n");
        assert_eq!(mount.python(SCAN).trim(), "['EIO']");
    }
}

#[test]
fn absent_names_are_asked_for_after_negative_timeout() {
    for (server, _) in servers(&["f"]) {
        for (option, is_asked) in [
            ("negative_timeout=0", true),
            ("negative_timeout=30", false),
            ("", false),
        ] {
            let mount = Mount::with(&server, option);
            mount.sh("ls -l d");
            let start = server.mark();
            assert_eq!(mount.error("os.stat('d/new')"), "ENOENT");
            // A connection made ahead logs in at any time: only what names
            // the path counts.
            let commands = server.commands_since(start);
            let has_name = commands.iter().any(|(_, line)| line.ends_with("new"));
            assert_eq!(has_name, is_asked, "{option}: {commands:?}");
            // Not by another listing, where one name can be asked for.
            let listings = server.since(start, &["MLSD", "LIST"]).len();
            assert!(listings == 0, "{:?}", server.commands_since(start));
            server.tree().put("/d/new", "x");
            let expected = if is_asked { "1" } else { "ENOENT" };
            assert_eq!(
                mount.error("os.stat('d/new').st_size"),
                expected,
                "{option}"
            );
            server.tree().remove("/d/new");
        }
    }
}

#[test]
fn mlsd_without_an_answer_is_replaced_by_list() {
    let server = Server::start();
    for name in ["/top", "/d/f", "/e/g"] {
        server.tree().put(name, "x");
    }
    server.on("MLSD", Act::Silence);
    let mount = Mount::with(&server, "timeout=4,max_conns=2");
    assert_eq!(mount.sh("ls; ls d; ls e; cat e/g"), "d\ne\ntop\nf\ng\nx");
    assert_eq!(server.count("MLSD"), 1);
    assert!(mount.log().contains("using LIST"), "{}", mount.log());
}

/// Where `LIST` is not answered either, nothing is learned of `MLSD`.
#[test]
fn silence_of_the_server_proves_nothing_of_mlsd() {
    let server = Server::start();
    server.tree().put("/d/f", "x");
    let mount = Mount::with(&server, "timeout=2,max_conns=2");
    mount.sh("stat d");
    for command in ["MLSD", "LIST"] {
        server.on(command, Act::Silence);
    }
    assert_eq!(mount.error("os.listdir('d')"), "ETIMEDOUT");
    server.behave();
    let mark = server.mark();
    mount.sh("sleep 1; [ $(ls d) = f ]");
    assert!(!server.since(mark, &["MLSD"]).is_empty());
}

/// A refused MKD shows such a name on any server; the next mount knows that there are some.
#[test]
fn directory_that_no_listing_has_is_learned_from_a_refused_mkdir() {
    let server = Script::new()
        .without(&["MLSD", "MLST", "STAT"])
        .hides("virtual")
        .start();
    server.tree().put("/virtual/inner/f", "content");
    let mut mount = Mount::of(&server);
    assert_eq!(mount.error("os.listdir('virtual')"), "ENOENT");
    assert_eq!(server.count("CWD /virtual"), 0);
    assert_eq!(mount.error("os.mkdir('virtual')"), "EEXIST");
    mount.sh("[ $(cat virtual/inner/f) = content ]");
    mount.unmount();
    mount.again(&server);
    let from = server.mark();
    mount.sh("[ $(ls virtual) = inner ]; ! ls absent");
    assert_eq!(server.since(from, &["CWD /absent"]).len(), 1);
}

/// Virtual directories of IIS are in no listing, and CWD enters them.
#[test]
fn directory_that_no_listing_has_is_entered_on_windows() {
    for windows in [true, false] {
        let server = Script::new()
            .without(&["MLSD", "MLST", "STAT"])
            .hides("virtual")
            .start();
        server.tree().put("/virtual/inner/f", "content");
        server.tree().put("/Docs/g", "x");
        if windows {
            server.on("SYST", Act::Reply("215 Windows_NT"));
        }
        let mount = Mount::with(&server, "cache_timeout=2");
        assert_eq!(mount.sh("ls"), "Docs\n");
        if !windows {
            assert_eq!(mount.error("os.listdir('virtual')"), "ENOENT");
            assert_eq!(server.count("CWD /virtual"), 0);
            continue;
        }
        mount.sh("[ $(cat virtual/inner/f) = content ]; [ $(ls virtual) = inner ]");
        // Further listings leave it there, also for a program that is in it.
        mount.sh(
            "cd virtual; for n in 1 2 3; do sleep 1.1; ls .. >/dev/null; [ $(ls) = inner ]; done",
        );
        // One question for each absent name, and none where only the case is another.
        // Asked at once, within the life of an answer.
        mount.python("assert not os.path.exists('absent') and not os.path.exists('absent')");
        assert_eq!(server.count("CWD /absent"), 1);
        assert_eq!(mount.error("os.stat('docs')"), "ENOENT");
        assert_eq!(server.count("CWD /docs"), 0);
        mount.sh("echo new > Docs/new; [ $(cat Docs/new) = new ]; mkdir Docs/d; rmdir Docs/d");
        server.tree().remove("/virtual/inner/f");
        server.tree().remove("/virtual/inner");
        server.tree().remove("/virtual");
        mount.sh("sleep 2.5; ! ls virtual 2>/dev/null");
        // The kernel hears of it a moment later.
        soon("the name is gone", || {
            mount.sh("ls -d virtual 2>/dev/null || true").is_empty()
        });
    }
}

/// RFC 3659 section 7.5 requires no fact: where `MLSD` tells no sizes, `LIST` does.
#[test]
fn sizes_that_mlsd_lacks_are_those_of_list() {
    let server = Server::start();
    for name in ["f", "g"] {
        server.tree().put(&format!("/{name}"), "content");
    }
    let facts = b"type=file;modify=20200101000000; f\r\ntype=file;modify=20200101000000; g\r\n";
    server.on("MLSD", Act::Listing(facts.to_vec()));
    let mount = Mount::of(&server);
    mount
        .sh("ls; [ \"$(stat -c %s f g)\" = $'7\\n7' ]; echo more >> f; [ $(cat f) = contentmore ]");
    assert_eq!(server.tree().bytes("/f"), Some(&b"contentmore\n"[..]));
}
