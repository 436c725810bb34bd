//! What the server has confirmed or begun, and does not show as it is.

use crate::mount::Mount;
use crate::scripted::{Act, Script, Server};

const ABSENT: Act = Act::Reply("550 No such file");

#[test]
fn file_that_is_seen_late_is_stored_once() {
    let server = Server::start();
    let mount = Mount::of(&server);
    for _ in 0..4 {
        server.once("MLST /f", ABSENT);
    }
    mount.sh("echo content > f");
    assert_eq!(server.tree().bytes("/f"), Some(&b"content\n"[..]));
    assert_eq!(server.since(0, &["STOR", "APPE"]).len(), 1);
    assert_eq!(mount.sh("cat f"), "content\n");
    assert_eq!(mount.lost().len(), 0);
}

#[test]
fn file_that_is_taken_away_at_once_is_stored() {
    let server = Server::start();
    let mount = Mount::of(&server);
    for verb in ["MLST", "SIZE"] {
        for name in ["/a", "/b", "/c"] {
            server.on(&format!("{verb} {name}"), ABSENT);
        }
    }
    mount.sh("for name in a b c; do echo content > $name; done");
    assert_eq!(server.since(0, &["STOR", "APPE"]).len(), 3);
    // After two of them the next one is asked for behind its STOR, and once more.
    assert!(server.count("MLST /c") <= 3, "{}", server.count("MLST /c"));
    assert!(mount.log().contains("does not show it"));
    assert_eq!(mount.lost().len(), 0);
}

#[test]
fn rename_that_is_refused_and_done_later_moves_nothing_aside() {
    let server = Server::start();
    server.tree().put("/new", "new");
    server.tree().put("/old", "old");
    let mount = Mount::of(&server);
    mount.sh("ls");
    server.once("RNTO", Act::Reply("553 Can't rename file."));
    let mut moving = mount.start("mv -f new old");
    server.await_count("RNTO", 1);
    server.tree().remove("/new");
    server.tree().put("/old", "new");
    assert_eq!(moving.end(), "");
    assert_eq!(server.count("RNTO"), 1);
    assert_eq!(server.tree().paths(), ["/old"]);
    assert_eq!(mount.sh("cat old"), "new");
}

#[test]
fn rename_counts_though_rnfr_was_answered_by_250() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let mount = Mount::of(&server);
    let said = b"250 I need the new name\r\n250 Renamed\r\n";
    server.once("RNFR", Act::Raw(said.to_vec()));
    server.once("RNTO", Act::Raw(Vec::new()));
    mount.sh("mv f g");
    assert_eq!(server.count("RNTO"), 1);
}

#[test]
fn directory_over_a_directory_with_files_is_not_empty() {
    let server = Server::start();
    server.tree().put("/old/f", "content");
    server.tree().directory("/new");
    server.on("RNTO", Act::Reply("550 Rename failed."));
    server.on("RMD", Act::Reply("550 Remove directory operation failed."));
    let mount = Mount::of(&server);
    mount.sh("ls new");
    server.tree().put("/new/g", "content");
    assert_eq!(mount.error("os.rename('old', 'new')"), "ENOTEMPTY");
    assert_eq!(server.tree().paths(), ["/new", "/new/g", "/old", "/old/f"]);
}

/// The reply to `SIZE` comes after that to the `CWD` behind it: a directory is not taken for a file, and moved aside.
#[test]
fn swapped_replies_move_no_directory_aside() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    server.tree().put("/old/f", "content");
    server.tree().directory("/new");
    server.on("RNTO", Act::Reply("553 exists"));
    server.on("SIZE", Act::Swap);
    let mount = Mount::of(&server);
    mount.sh("ls new");
    server.tree().put("/new/g", "content");
    assert_eq!(mount.error("os.rename('old', 'new')"), "ENOTEMPTY");
    assert_eq!(server.tree().paths(), ["/new", "/new/g", "/old", "/old/f"]);
}

#[test]
fn file_that_a_425_left_is_no_other_clients() {
    let server = Server::start();
    let mount = Mount::of(&server);
    // The file is there once its data connection has failed.
    server.tree().put("/n", "");
    server.once("MLST /n", ABSENT);
    server.once("SIZE /n", ABSENT);
    server.once("APPE /n", Act::Reply("425 Failed to establish connection."));
    mount.sh("python3 -c \"import os; os.write(os.open('n', os.O_WRONLY | os.O_CREAT | os.O_EXCL), b'abc')\"");
    assert_eq!(server.tree().bytes("/n"), Some(&b"abc"[..]));
}

/// Pure-FTPd with `-r` stores next to a file that is there, and says 226.
#[test]
fn server_that_never_replaces_gets_the_file_by_a_rename() {
    // A server without hashes: `verify=hash` compares what the others compare.
    for options in [
        "timeout=20",
        "timeout=20,writeback",
        "timeout=20,verify=hash",
    ] {
        let server = Script::new().never_replaces().start();
        server.tree().put("/f", "old text");
        let mount = Mount::with(&server, options);
        mount.sh("cat f; printf 'new text' > f; sync f");
        assert_eq!(
            server.tree().bytes("/f"),
            Some(&b"new text"[..]),
            "{options}"
        );
        mount.sh("printf 'text 333' > f; sync f");
        assert_eq!(
            server.tree().bytes("/f"),
            Some(&b"text 333"[..]),
            "{options}"
        );
        assert!(mount.log().contains("kept the old content"), "{options}");
        // It is known by then: nothing more is stored next to it.
        assert_eq!(server.count("STOR /f"), 1, "{options}");
        assert_eq!(mount.lost().len(), 0);
    }
}

#[test]
fn server_that_never_replaces_nor_renames_is_an_error() {
    let server = Script::new().never_replaces().start();
    server.tree().put("/f", "old text");
    server.on("RNTO", Act::Reply("553 Rename refused."));
    let mount = Mount::with(&server, "timeout=20");
    mount.sh("cat f");
    let said = mount.error_with(
        "file = os.open('f', os.O_WRONLY | os.O_TRUNC); os.write(file, b'new text')",
        "os.fsync(file)",
    );
    assert_eq!(said, "EIO");
    assert_eq!(server.tree().bytes("/f"), Some(&b"old text"[..]));
}

#[test]
fn file_replaced_within_a_second_is_not_read_back() {
    let server = Server::start();
    server.tree().put("/f", "old text");
    let mount = Mount::of(&server);
    mount.sh("printf 'new text' > f; sync f; printf 'text 333' > f; sync f");
    assert_eq!(server.tree().bytes("/f"), Some(&b"text 333"[..]));
    assert_eq!(server.count("RETR"), 0);
}

/// The server's word counts; later questions are answered by what it shows.
#[test]
fn verify_none_asks_for_no_stored_file() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).start();
        server.tree().directory("/in");
        let mount = Mount::with(&server, "verify=none");
        mount.sh("ls -l in");
        for question in ["MLST /in/a", "SIZE /in/a", "MDTM /in/a"] {
            server.on(question, Act::Reply("550 No such file or directory"));
        }
        let mark = server.mark();
        mount.sh(
            "echo one > in/a; cp /etc/hostname in/b; touch -d 2001-02-03 in/b; echo two > in/a",
        );
        let asked = server.since(mark, &["MLST /in/a", "SIZE /in/a", "MDTM /in/a"]);
        assert!(asked.len() <= 1, "{asked:?}");
        assert_eq!(server.tree().bytes("/in/a"), Some(&b"two\n"[..]));
        assert!(!mount.log().contains("does not show it"), "{}", mount.log());
        assert_eq!(mount.lost().len(), 0);
    }
}
