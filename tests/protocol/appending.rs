//! What others append, cut or write anew to a file while it is written here.

use crate::mount::Mount;
use crate::scripted::{Script, Server};

const STORES: [&str; 2] = ["STOR", "APPE"];

fn text(server: &Server, path: &str) -> String {
    let bytes = server.tree().bytes(path).map(<[u8]>::to_vec);
    String::from_utf8(bytes.unwrap()).unwrap()
}

/// Another client appends.
fn append(server: &Server, path: &str, line: &str) {
    let longer = text(server, path) + line;
    server.tree().put(path, longer);
}

/// By turns, they and we append to what we take for shorter than it is.
fn both_append(server: &Server, mount: &Mount) {
    for (name, first) in [("log", "first\n"), ("empty", "")] {
        let path = &format!("/{name}");
        server.tree().put(path, first);
        mount.sh(&format!("[ \"$(cat {name})\" = \"$(printf '{first}')\" ]"));
        let mut expected = first.to_owned();
        for turn in 0..3 {
            append(server, path, &format!("theirs {turn}\n"));
            mount.sh(&format!("echo ours {turn} >> {name}"));
            expected += &format!("theirs {turn}\nours {turn}\n");
            assert_eq!(&text(server, path), &expected);
            assert_eq!(mount.sh(&format!("cat {name}")), expected);
        }
    }
}

#[test]
fn who_appends_after_others_leaves_every_line() {
    let server = Server::start();
    let mount = Mount::of(&server);
    both_append(&server, &mount);
    assert_eq!(server.count("STOR"), 0);
}

#[test]
fn who_appends_after_others_on_a_server_that_can_not_leaves_every_line() {
    let server = Script::new().without(&["APPE"]).start();
    both_append(&server, &Mount::of(&server));
}

#[test]
fn who_appends_after_others_to_what_appears_at_once_leaves_every_line() {
    let server = Server::start();
    both_append(&server, &Mount::with(&server, "atomic"));
}

#[test]
fn one_descriptor_that_appends_lets_others_append_between_its_lines() {
    let server = Server::start();
    server.tree().put("/log", "first\n");
    let mount = Mount::of(&server);
    mount.make_fifo("go");
    let script = "f = os.open('log', os.O_RDWR | os.O_APPEND); os.pread(f, 100, 0)
for n in range(3):
    os.write(f, b'ours %d\\n' % n)
    os.fsync(f)
    os.write(2, b'written %d\\n' % n)
    open(os.environ['S'] + '/go').read()
print(os.pread(f, 1000, 0).decode(), end='')";
    std::fs::write(mount.path("script"), format!("import os\n{script}\n")).unwrap();
    let mut running = mount.start("python3 -I $S/script");
    let mut expected = "first\n".to_owned();
    for turn in 0..3 {
        running.await_words(&format!("written {turn}"));
        append(&server, "/log", &format!("theirs {turn}\n"));
        expected += &format!("ours {turn}\ntheirs {turn}\n");
        std::fs::write(mount.path("go"), "").unwrap();
    }
    let said = running.end();
    assert_eq!(text(&server, "/log"), expected);
    // What they appended last was not looked at.
    assert!(said.contains("ours 1\ntheirs 1\nours 2\n"), "{said}");
}

#[test]
fn what_is_emptied_here_is_empty_whatever_others_put_in_it() {
    let server = Server::start();
    server.tree().put("/f", "");
    server.tree().put("/g", "");
    let mount = Mount::of(&server);
    mount.sh("cat f g");
    server.tree().put("/f", "theirs");
    server.tree().put("/g", "theirs");
    mount.sh(": > f; echo ours > g; sync f");
    assert_eq!(
        (text(&server, "/f"), text(&server, "/g")),
        (String::new(), "ours\n".to_owned())
    );
    assert_eq!(server.since(0, &STORES).len(), 2);
}

#[test]
fn who_writes_over_all_of_a_file_leaves_what_others_appended() {
    let server = Server::start();
    server.tree().put("/f", "0123456789");
    let mount = Mount::of(&server);
    mount.sh("cat f");
    append(&server, "/f", "THEIRS");
    mount.python("f = os.open('f', os.O_RDWR); os.write(f, b'abcdefghij'); os.close(f)");
    assert_eq!(text(&server, "/f"), "abcdefghijTHEIRS");
}
