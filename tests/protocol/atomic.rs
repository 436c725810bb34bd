//! Files that appear at once: by a rename over the old one, when they are whole and right.

use crate::mount::Mount;
use crate::scripted::{Act, Server};

/// What a server says that has hashes.
const FEATURES: &[u8] =
    b"211-Features:\r\n UTF8\r\n EPSV\r\n MDTM\r\n MFMT\r\n SIZE\r\n REST STREAM\r\n\
    \x20MLST type*;size*;modify*;UNIX.mode*;\r\n XSHA256\r\n211 End\r\n";

fn has(server: &Server, path: &str, bytes: &str) {
    assert_eq!(server.tree().bytes(path), Some(bytes.as_bytes()), "{path}");
}

/// Whether the last upload was renamed over what it replaced.
fn was_renamed(server: &Server, mark: usize) -> bool {
    !server.since(mark, &["RNTO"]).is_empty()
}

#[test]
fn a_directory_where_nothing_can_be_replaced_is_the_only_one() {
    let server = Server::start();
    server.tree().put("/refuses/f", "old\n");
    server.tree().put("/d/f", "old\n");
    let mount = Mount::with(&server, "atomic");
    server.on("RNTO /refuses/f", Act::Reply("550 Permission denied"));
    mount.sh("echo new > refuses/f");
    has(&server, "/refuses/f", "new\n");
    let mark = server.mark();
    mount.sh("echo new > d/f");
    has(&server, "/d/f", "new\n");
    assert!(was_renamed(&server, mark));
    let mark = server.mark();
    mount.sh("echo again > refuses/f");
    has(&server, "/refuses/f", "again\n");
    assert!(!was_renamed(&server, mark));
}

#[test]
fn refused_name_is_stored_in_place_and_others_are_not() {
    let server = Server::start();
    for name in ["no", "f", "g"] {
        server.tree().put(&format!("/d/{name}"), "old\n");
    }
    let mount = Mount::with(&server, "atomic");
    server.on("RNTO /d/no", Act::Reply("553 Not that name"));
    for name in ["no", "f", "g"] {
        let mark = server.mark();
        mount.sh(&format!("echo new > d/{name}"));
        has(&server, &format!("/d/{name}"), "new\n");
        assert!(was_renamed(&server, mark), "{name}");
        let in_place = server.since(mark, &["STOR /d/no", "STOR /d/f", "STOR /d/g"]);
        assert_eq!(in_place.len(), usize::from(name == "no"), "{name}");
    }
}

#[test]
fn atomic_replace_refused_for_now_keeps_the_old_file() {
    let server = Server::start();
    server.tree().put("/f", "old\n");
    let mount = Mount::with(&server, "atomic");
    server.on("RNTO /f", Act::Reply("450 In use"));
    let said = mount.error_with(
        "f = os.open('f', os.O_WRONLY | os.O_TRUNC); os.write(f, b'new')",
        "os.close(f)",
    );
    assert!(said.starts_with('E'), "{said}");
    has(&server, "/f", "old\n");
    server.behave();
    mount.sh("echo newer > f");
    has(&server, "/f", "newer\n");
    assert_eq!(server.count("STOR /f"), 0);
    let mut left = server.since(0, &["STOR"]);
    left.retain(|line| server.tree().bytes(&line["STOR ".len()..]).is_some());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn atomic_upload_with_wrong_hash_replaces_nothing() {
    for size in [10, 1 << 20] {
        let server = Server::start();
        server.tree().put("/f", "old\n");
        server.on("FEAT", Act::Raw(FEATURES.to_vec()));
        server.on("XSHA256", Act::Reply("250 0123456789abcdef"));
        let mount = Mount::with(&server, "atomic,verify=hash");
        let said = mount.error_with(
            &format!("f = os.open('f', os.O_WRONLY | os.O_TRUNC); os.write(f, b'x' * {size})"),
            "os.close(f)",
        );
        assert!(said.starts_with('E'), "{said}");
        has(&server, "/f", "old\n");
        assert!(server.count("XSHA256") > 0);
    }
}

#[test]
fn a_hash_that_is_refused_is_none() {
    for options in ["verify=hash", "atomic,verify=hash"] {
        let server = Server::start();
        server.on("FEAT", Act::Raw(FEATURES.to_vec()));
        server.on("XSHA256", Act::Reply("550 Too large"));
        let mount = Mount::with(&server, options);
        mount.sh("echo new > f");
        has(&server, "/f", "new\n");
        assert!(server.count("XSHA256") > 0);
    }
}

/// An atomic upload has a longer name until it is renamed into place.
#[test]
fn path_without_room_for_its_temporary_name_is_enametoolong() {
    let server = Server::start();
    let directory = format!("/{}", "d".repeat(200)).repeat(9);
    let [path, longer] = [108, 150].map(|length| format!("{directory}/{}/f", "e".repeat(length)));
    server.tree().put(&path, "before");
    server.tree().put(&longer, "before");
    let mount = Mount::with(&server, "atomic");
    let inside = "[os.chdir('d' * 200) for _ in range(9)]";
    for (change, expected) in [
        ("open('f', 'w').write('new')", "new"),
        ("open('f', 'a').write(' line')", "new line"),
    ] {
        mount.python(&format!("{inside}; os.chdir('e' * 108); {change}"));
        has(&server, &path, expected);
    }
    let script = "os.chdir('e' * 108); f = open('f'); os.unlink('f'); print(f.read())";
    assert_eq!(
        mount.python(&format!("{inside}; {script}")).trim(),
        "new line"
    );
    // Said at once, and not when all is written.
    let said = mount.error_with(inside, "open('e' * 150 + '/f', 'w').write('new')");
    assert_eq!(said, "ENAMETOOLONG");
    has(&server, &longer, "before");
}
