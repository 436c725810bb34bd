//! What can't be mounted: one line says why, nothing is mounted, and no password is tried twice.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::limited;
use crate::mount::Mount;
use crate::mount::{FTPFS, is_mounted};
use crate::scripted::{Act, PASSWORD, Script, Server, USER};

/// What `ftpfs` says that can't mount this, in the foreground and in the background alike.
fn refusal(source: &str) -> String {
    let said = ["-f", "-o"].map(|flag| {
        let directory = tempfile::tempdir().unwrap();
        let point = directory.path().join("mount");
        std::fs::create_dir(&point).unwrap();
        let mut command = Command::new(FTPFS);
        command
            .arg(source)
            .arg(&point)
            .arg(flag)
            .args((flag == "-o").then_some("timeout=2"));
        command
            .env("XDG_CACHE_HOME", directory.path())
            .env("XDG_STATE_HOME", directory.path())
            .env_remove("RUST_LOG");
        let outcome = limited::run(&mut command, Duration::from_secs(40), directory.path());
        assert!(
            outcome.status.is_some(),
            "it did not end: {}",
            outcome.output
        );
        assert!(!outcome.succeeded() && !is_mounted(&point));
        assert_eq!(outcome.output.lines().count(), 1, "{}", outcome.output);
        assert!(!outcome.output.contains(PASSWORD));
        outcome.output
    });
    assert_eq!(said[0], said[1]);
    said[0].clone()
}

#[test]
fn the_kernel_reads_ahead_more_than_by_itself() {
    let server = Server::start();
    let mount = Mount::of(&server);
    let said = mount.sh("cat /sys/class/bdi/$(mountpoint -d .)/read_ahead_kb");
    assert_eq!(said.trim(), "512");
}

#[test]
fn a_wrong_password_is_named_and_sent_just_once() {
    let server = Server::start();
    let said = refusal(&format!("ftp://{USER}:wrong@127.0.0.1:{}/", server.port()));
    assert!(said.contains("password"), "{said}");
    // Once in the foreground, once in the background.
    assert_eq!(server.count("PASS"), 2);
}

#[test]
fn wrong_password_after_user_answered_twice_is_named() {
    let server = Server::start();
    server.on("USER", Act::Twice);
    let said = refusal(&format!("ftp://{USER}:wrong@127.0.0.1:{}/", server.port()));
    assert!(said.contains("password"), "{said}");
    assert_eq!(server.count("PASS"), 2);
}

/// The password is not sent in clear to a server that has agreed to TLS and may speak it.
#[test]
fn server_silent_after_it_agreed_to_tls_names_tls_off() {
    let server = Server::start();
    server.on("AUTH", Act::LastWord("234 Go"));
    let directory = tempfile::tempdir().unwrap();
    let point = directory.path().join("mount");
    std::fs::create_dir(&point).unwrap();
    let mut command = Command::new(FTPFS);
    command
        .args([&server.url(), point.to_str().unwrap(), "-o", "timeout=2"])
        .env("XDG_CACHE_HOME", directory.path())
        .env("XDG_STATE_HOME", directory.path())
        .env_remove("RUST_LOG");
    let outcome = limited::run(&mut command, Duration::from_secs(40), directory.path());
    assert!(!outcome.succeeded() && !is_mounted(&point));
    assert!(outcome.output.contains("tls=off"), "{}", outcome.output);
    assert_eq!(server.count("USER"), 0);
}

#[test]
fn missing_user_name_asks_for_user_not_password() {
    let server = Server::start();
    let said = refusal(&format!("ftp://127.0.0.1:{}/", server.port()));
    assert!(said.contains("ftp://USER@HOST/"), "{said}");
    assert!(!said.contains("password"), "{said}");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let server = Server::start();
    let said = refusal(&format!("{}nowhere", server.url()));
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn a_port_that_refuses_is_named() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let said = refusal(&format!("ftp://{USER}:{PASSWORD}@127.0.0.1:{port}/"));
    assert!(
        said.contains("refused") && said.contains(&port.to_string()),
        "{said}"
    );
}

#[test]
fn a_host_that_does_not_exist_is_named() {
    let said = refusal(&format!("ftp://{USER}:{PASSWORD}@no-such-host.invalid/"));
    assert!(said.contains("no-such-host.invalid"), "{said}");
}

#[test]
fn a_server_without_room_says_so() {
    let server = Server::start();
    server.limit(0, "421 Too many users");
    let said = refusal(&server.url());
    assert!(said.contains("no more connections"), "{said}");
}

#[test]
fn full_server_after_password_is_no_wrong_password() {
    let server = Server::start();
    server.limit(0, "530 Sorry, the maximum number of clients is reached");
    let said = refusal(&server.url());
    assert!(said.contains("no more connections"), "{said}");
}

#[test]
fn something_that_is_no_ftp_server_is_no_mount() {
    let server = Server::start();
    server.on(
        "USER",
        Act::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    );
    let said = refusal(&server.url());
    assert!(said.contains("not a reply"), "{said}");
}

#[test]
fn a_server_without_binary_type_is_no_mount() {
    let server = Script::new().without(&["TYPE"]).start();
    let said = refusal(&server.url());
    assert!(said.contains("TYPE"), "{said}");
}

/// A server that says `first` at once, and `answer` to the first bytes that come.
fn foreign_server(first: &'static [u8], answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 100];
                let said = socket.write_all(first);
                if said.is_ok() && socket.read(&mut buffer).is_ok() {
                    let _ = socket.write_all(answer);
                    let _ = socket.read(&mut buffer);
                }
            });
        }
    });
    port
}

#[test]
fn port_of_another_protocol_is_named_by_mount_and_probe() {
    const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
    for (first, answer, name) in [
        (&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], &b""[..], "SSH"),
        (b"220 host ESMTP Postfix\r\n", b"502 What?\r\n", "SMTP"),
        (BAD_REQUEST, b"", "HTTP"),
        (b"", BAD_REQUEST, "HTTP"),
        (ALERT, b"", "TLS"),
        (b"", ALERT, "TLS"),
    ] {
        let port = foreign_server(first, answer);
        let source = format!("ftp://{USER}:{PASSWORD}@127.0.0.1:{port}/");
        let words = format!("speaks {name}, not FTP");
        let said = refusal(&source);
        assert!(said.contains(&words), "{said}");
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(FTPFS);
        command
            .args(["probe", &source])
            .env("XDG_CACHE_HOME", directory.path())
            .env("XDG_STATE_HOME", directory.path());
        let outcome = limited::run(&mut command, Duration::from_secs(20), directory.path());
        assert!(outcome.output.contains(&words), "{}", outcome.output);
    }
}
