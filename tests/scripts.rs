//! What the scripts find on a machine.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(path, format!("#!/bin/bash\n{script}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
}

/// A home with rustup's programs, which show what its toolchain is.
fn home(home: &Path, version: &str) {
    program(&home.join(".cargo/bin/cargo"), "");
    let show = "cat \"${RUSTUP_HOME:-$HOME/.rustup}/version\"";
    program(&home.join(".cargo/bin/rustc"), show);
    fs::create_dir(home.join(".rustup")).expect("made");
    fs::write(home.join(".rustup/version"), format!("rustc {version} (x)")).expect("written");
}

/// Which Rust a script takes under sudo, with one in the home of root and one in the caller's.
fn taken(of_root: &str, of_caller: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    home(&here.join("root"), of_root);
    home(&here.join("caller"), of_caller);
    let entry = format!("echo caller:x:1:1::{}/caller:/bin/bash", here.display());
    program(&here.join("bin/getent"), &entry);
    // Newer than any of the machine that runs this. Where there is none, nothing is installed.
    program(&here.join("scripts/install"), "exit 1");
    fs::write(here.join("Cargo.toml"), "rust-version = \"90.1\"\n").expect("written");
    let script = format!(
        "set -euo pipefail; top={}; . {}/scripts/rust; rustc --version; cargo",
        here.display(),
        env!("CARGO_MANIFEST_DIR")
    );
    let run = Command::new("/bin/bash")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", format!("{}/bin:/usr/bin:/bin", here.display()))
        .env("HOME", here.join("root"))
        .env("SUDO_USER", "caller")
        .output()
        .expect("it runs");
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[test]
fn rust_of_the_sudo_caller_is_used_where_roots_is_older() {
    assert_eq!(taken("60.0.0", "91.0.0"), "rustc 91.0.0 (x)");
    assert_eq!(taken("90.1.0", "91.0.0"), "rustc 90.1.0 (x)");
    assert_eq!(taken("60.0.0", "89.9.0"), "");
}

/// The test servers may run meanwhile: then the usual port is taken by one of them.
#[test]
fn server_gets_another_port_where_its_usual_one_is_taken() {
    let _taken = TcpListener::bind("127.0.0.1:2121");
    let script = "eval \"$(sed -n '/^usual_port()/,/^}/p; /^free_port()/,/^}/p' scripts/servers)\"
        fail() { exit 1; }
        free_port vsftpd";
    let run = Command::new("/bin/bash")
        .args(["-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("it runs");
    let port: u16 = String::from_utf8_lossy(&run.stdout)
        .trim()
        .parse()
        .expect("a port");
    assert_ne!(port, 2121);
    TcpListener::bind(("127.0.0.1", port)).expect("a free port");
}

/// The files and links below a directory.
fn below(directory: &Path) -> Vec<String> {
    let found = Command::new("find")
        .arg(directory)
        .args([
            "(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\\n",
        ])
        .output()
        .expect("find");
    let found = String::from_utf8(found.stdout).expect("text");
    let mut found: Vec<String> = found.lines().map(str::to_string).collect();
    found.sort();
    found
}

#[test]
fn installation_is_removed_again_but_for_others_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let run_with = |flag: &str, prefix: &[&str]| {
        let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/run"))
            .arg(flag)
            .args(prefix)
            .arg(root)
            .env("FTPFS", env!("CARGO_BIN_EXE_ftpfs"))
            .status();
        assert!(status.expect("scripts/run").success(), "{flag}");
    };
    let run = |flag: &str| run_with(flag, &[]);
    run("--install");
    let installed = below(root);
    for name in [
        "sbin/mount.fuse.ftpfs",
        "sbin/umount.curlftpfs",
        "usr/local/bin/curlftpfs",
    ] {
        assert!(installed.iter().any(|there| there == name), "{installed:?}");
    }
    let completions = root.join("usr/local/share/bash-completion/completions/ftpfs");
    assert!(
        fs::read_to_string(completions)
            .expect("there")
            .contains("complete -F")
    );
    run("--uninstall");
    assert_eq!(below(root), [""; 0]);
    let prefix = ["--prefix", "/opt/ftpfs"];
    run_with("--install", &prefix);
    let link = fs::read_link(root.join("sbin/mount.fuse.ftpfs")).expect("a link");
    assert_eq!(link, Path::new("/opt/ftpfs/bin/ftpfs"));
    let installed = below(root);
    for name in [
        "bin/ftpfs",
        "share/man/man1/ftpfs.1",
        "share/zsh/site-functions/_ftpfs",
    ] {
        let name = format!("opt/ftpfs/{name}");
        assert!(installed.contains(&name), "{installed:?}");
    }
    assert!(
        !installed.iter().any(|name| name.starts_with("usr/")),
        "{installed:?}"
    );
    run_with("--uninstall", &prefix);
    assert_eq!(below(root), [""; 0]);
    // An installed curlftpfs keeps its names.
    program(&root.join("usr/bin/curlftpfs"), "");
    program(&root.join("sbin/mount.curlftpfs"), "");
    run("--install");
    assert!(!below(root).contains(&"usr/local/bin/curlftpfs".to_string()));
    run("--uninstall");
    assert_eq!(below(root), ["sbin/mount.curlftpfs", "usr/bin/curlftpfs"]);
}
