//! Symbolic links that are stored in regular files (`mfsymlinks`).

use crate::mount::{Mount, soon};
use crate::scripted::{Act, Script, Server};

const ON: &str = "mfsymlinks,cache_timeout=1";
/// A link to `target`, as `ln -s target` stores it on a mount of mount.cifs.
fn link_file() -> Vec<u8> {
    let mut bytes = b"XSym\n0006\n42aefbae01d2dfd981f7da7d823d689e\ntarget\n".to_vec();
    bytes.resize(1067, b' ');
    bytes
}

#[test]
fn new_link_is_a_file_that_others_read() {
    for without in [&[][..], &["MLST", "MLSD"], &["SITE"]] {
        let server = Script::new().without(without).start();
        server.on("SITE SYMLINK", Act::Reply("500 Unknown SITE command"));
        let mut mount = Mount::with(&server, ON);
        mount.sh("ln -s target link; echo content > target");
        assert_eq!(server.tree().bytes("/link"), Some(&link_file()[..]));
        let look = "[ \"$(readlink link)\" = target ]; [ -L link ]; [ \"$(cat link)\" = content ]; find . -type l";
        assert_eq!(mount.sh(look), "./link\n");
        mount.unmount();
        mount.again_with(&server, ON);
        assert_eq!(mount.sh(look), "./link\n");
        // Known by name alone.
        mount.unmount();
        mount.again_with(&server, ON);
        assert_eq!(mount.sh("readlink link"), "target\n");
        mount.sh("mv link moved; [ \"$(readlink moved)\" = target ]; rm moved; ! [ -L moved ]");
        assert_eq!(server.tree().paths(), ["/target"]);
    }
}

#[test]
fn link_file_is_read_once_for_each_version() {
    let server = Server::start();
    server.tree().put("/link", link_file());
    server.tree().put("/file", vec![b'x'; 1067]);
    server.tree().put("/target", "content");
    let mount = Mount::with(&server, ON);
    for _ in 0..3 {
        assert_eq!(mount.sh("sleep 1.1; find . -type l"), "./link\n");
    }
    assert_eq!(server.count("RETR /link"), 1);
    assert_eq!(server.count("RETR /file"), 1);
    // It becomes a file by another client.
    server.tree().put("/link", "a file");
    server.tree().node_mut("/link").unwrap().modified += 60;
    soon("the change is seen", || {
        mount.sh("sleep 1.1; find . -type l").is_empty()
    });
    assert_eq!(mount.sh("cat link"), "a file");
}

#[test]
fn link_file_that_leaves_the_mount_can_not_be_followed() {
    let server = Server::start();
    let mount = Mount::with(&server, "mfsymlinks");
    server.on("SITE SYMLINK", Act::Reply("500 Unknown SITE command"));
    mount.sh("ln -s ../../etc/passwd out");
    assert_eq!(mount.error("open('out').read()"), "EPERM");
    let other = Mount::with(&server, "mfsymlinks,contain_symlinks=no");
    assert_eq!(other.sh("readlink out"), "../../etc/passwd\n");
}

#[test]
fn without_the_option_a_link_is_refused_and_the_log_names_it() {
    let server = Server::start();
    server.on("SITE SYMLINK", Act::Reply("500 Unknown SITE command"));
    server.tree().put("/link", link_file());
    let mount = Mount::of(&server);
    assert_eq!(mount.error("os.symlink('a', 'b')"), "EPERM");
    assert!(mount.log().contains("-o mfsymlinks"), "{}", mount.log());
    assert_eq!(mount.sh("stat -c '%F %s' link"), "regular file 1067\n");
    assert_eq!(server.count("RETR"), 0);
}

#[test]
fn link_is_not_made_over_a_taken_name() {
    let server = Server::start();
    server.on("SITE SYMLINK", Act::Reply("500 Unknown SITE command"));
    let mount = Mount::with(&server, "mfsymlinks");
    mount.sh("ls");
    server.tree().put("/taken", "content");
    assert_eq!(mount.error("os.symlink('a', 'taken')"), "EEXIST");
    assert_eq!(server.tree().bytes("/taken"), Some(&b"content"[..]));
}

/// A read that failed says nothing about the content.
#[test]
fn link_file_that_could_not_be_read_once_is_read_again() {
    let server = Server::start();
    server.tree().put("/link", link_file());
    server.once("RETR /link", Act::Reply("550 Permission denied"));
    let mount = Mount::with(&server, ON);
    assert_eq!(mount.sh("find . -type l"), "");
    soon("it is shown as a link", || {
        mount.sh("sleep 1.1; find . -type l") == "./link\n"
    });
}

#[test]
fn file_that_becomes_a_link_is_shown_as_one() {
    let server = Server::start();
    server.tree().put("/g", "a regular file");
    let mount = Mount::with(&server, ON);
    mount.sh("ls -l; cat g");
    server.tree().put("/g", link_file());
    server.tree().node_mut("/g").unwrap().modified += 60;
    soon("it is shown as a link", || {
        mount.sh("sleep 1.1; cat g >/dev/null 2>&1 || true; find . -type l") == "./g\n"
    });
}
