//! What hostile servers, hostile users of the same machine and unlucky command lines must not bring about.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::limited::{self, Outcome};
use crate::mount::{FTPFS, Mount, SCRIPT_LIMIT, is_mounted};
use crate::scripted::{Act, Gate, PASSWORD, Server};

/// A server with a set-uid program and a set-gid directory.
fn set_uid_server() -> Server {
    let server = Server::start();
    let mut tree = server.tree();
    tree.put("/program", "#!/bin/sh\n");
    tree.node_mut("/program").unwrap().mode = 0o6755;
    tree.directory("/shared");
    tree.node_mut("/shared").unwrap().mode = 0o2775;
    drop(tree);
    server
}

/// A mount by mount.fuse3(8), which opens the device and passes it on.
struct Passed {
    directory: TempDir,
}

impl Passed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("mount")).unwrap();
        Self { directory }
    }

    fn point(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    fn mount(&self, server: &Server, options: &str) -> Outcome {
        let mut command = Command::new("/sbin/mount.fuse3");
        command
            .arg(format!("{FTPFS}#{}", server.url()))
            .arg(self.point())
            .args(["-o", &format!("drop_privileges,{options}")])
            .env("XDG_CACHE_HOME", self.directory.path().join("cache"))
            .env("XDG_STATE_HOME", self.directory.path().join("state"));
        limited::run(&mut command, SCRIPT_LIMIT, self.directory.path())
    }
}

impl Passed {
    /// What ftpfs refuses stays mounted, dead: it has no right to unmount.
    fn unmount(&self) {
        if is_mounted(&self.point()) {
            let _ = Command::new("umount").arg("-l").arg(self.point()).status();
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn set_uid_bits_of_the_server_are_not_shown() {
    let server = set_uid_server();
    let mount = Mount::of(&server);
    assert_eq!(mode(mount.point().join("program")), 0o755);
    assert_eq!(mode(mount.point().join("shared")), 0o775);
}

#[test]
fn passed_device_without_nosuid_is_refused() {
    let server = set_uid_server();
    let passed = Passed::new();
    for (options, missing) in [
        ("allow_other", "nosuid,nodev,default_permissions"),
        ("nosuid,allow_other,default_permissions", "nodev"),
        ("nosuid,nodev,allow_other", "default_permissions"),
    ] {
        let outcome = passed.mount(&server, options);
        let wanted = format!("mount it with: -o {missing}\n");
        assert!(outcome.output.contains(&wanted), "{}", outcome.output);
        assert_eq!(server.connected(), 0);
        passed.unmount();
    }
    let options = "nosuid,nodev,allow_other,default_permissions";
    let outcome = passed.mount(&server, options);
    assert!(
        !outcome.output.contains("mount it with"),
        "{}",
        outcome.output
    );
    assert_eq!(mode(passed.point().join("program")), 0o755);
}

/// What `/proc` shows of the processes that have this word among their arguments.
fn command_lines(word: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(word))
        .collect()
}

#[test]
fn password_is_hidden_from_ps_before_the_first_login() {
    let server = Server::start();
    let gate = Gate::default();
    server.on("USER", Act::Until(gate.clone()));
    let directory = tempfile::tempdir().unwrap();
    let point = directory.path().join("mount");
    fs::create_dir(&point).unwrap();
    let point = point.to_str().unwrap();
    let mut parent = Command::new(FTPFS)
        .args([
            &server.url(),
            point,
            "-o",
            "ro,password_command=s3cret-word",
        ])
        .env("XDG_CACHE_HOME", directory.path())
        .env("XDG_STATE_HOME", directory.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    server.await_count("USER", 1);
    // The one that waits, and its child.
    let lines = command_lines(point);
    gate.open();
    assert!(parent.wait().unwrap().success());
    assert!(
        Command::new("umount")
            .arg(point)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(!line.contains(PASSWORD), "{line}");
        assert!(line.contains("someone:*@127.0.0.1"), "{line}");
        assert!(line.contains("ro,password_command=*"), "{line}");
    }
}

#[test]
fn crash_dumps_no_core() {
    let server = Server::start();
    server.on("USER", Act::Silence);
    let directory = tempfile::tempdir().unwrap();
    let script = "ulimit -c unlimited; exec \"$@\"";
    let mut process = Command::new("bash")
        .args(["-c", script, "-", FTPFS, "probe", &server.url()])
        .current_dir(directory.path())
        .env("XDG_CACHE_HOME", directory.path())
        .env("XDG_STATE_HOME", directory.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    server.await_count("USER", 1);
    let id = i32::try_from(process.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::SIGABRT).unwrap();
    let ended = process.wait().unwrap();
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped());
}

/// ESC, CSI as one character of C1, and a character that reverses what follows.
const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{9b}5m\u{202e}ZZ";

/// No character that a terminal obeys, but for line ends.
fn assert_printable(text: &str) {
    let hostile = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!text.contains(hostile), "{text:?}");
}

#[test]
fn terminal_sequences_of_the_server_are_escaped() {
    let server = Server::start();
    let say = |reply: String| Act::Raw(format!("{reply}{HOSTILE}\r\n").into_bytes());
    server.tree().put(&format!("/f{HOSTILE}"), "x");
    server.on("SYST", say("215 UNIX ".into()));
    server.on("SITE", say("500 ".into()));
    server.on("DELE", say("452 ".into()));
    let probe = |arguments: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(FTPFS);
        command
            .args(["probe", &server.url(), "-d"])
            .args(arguments)
            .env("XDG_CACHE_HOME", directory.path())
            .env("XDG_STATE_HOME", directory.path());
        limited::run(&mut command, SCRIPT_LIMIT, directory.path()).output
    };
    for arguments in [&[][..], &["--json"]] {
        let text = probe(arguments);
        assert!(text.contains("UNIX \\u"), "{text}");
        assert_printable(&text);
    }
    let mount = Mount::of(&server);
    mount.try_sh("rm f*; chmod 600 f*");
    let point = mount.point();
    for arguments in [&["status"][..], &["status", "--json"]] {
        let mut command = mount.ftpfs(arguments);
        command.arg(&point);
        let outcome = limited::run(&mut command, SCRIPT_LIMIT, &mount.path(""));
        assert!(outcome.output.contains("DELE"), "{}", outcome.output);
        assert_printable(&outcome.output);
    }
    assert_printable(&mount.log());
    server.on("PASS", say("530 ".into()));
    assert_printable(&probe(&[]));
}

fn make_fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

/// What a mount says that fails, with `$HOME` in `home`.
fn refused(server: &Server, home: &Path, options: &str) -> String {
    let point = home.join("mount");
    fs::create_dir_all(&point).unwrap();
    let mut command = Command::new(FTPFS);
    command
        .args([&server.url(), point.to_str().unwrap(), "-o", options])
        .env("HOME", home)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CONFIG_HOME");
    let outcome = limited::run(&mut command, SCRIPT_LIMIT, home);
    assert!(
        outcome.status.is_some_and(|status| !status.success()),
        "{}",
        outcome.output
    );
    outcome.output
}

#[test]
fn special_files_are_refused_without_a_wait() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let fifo = home.join("fifo");
    make_fifo(&fifo);
    for option in ["cacert", "cert"] {
        let said = refused(&server, home, &format!("{option}={}", fifo.display()));
        assert!(said.contains("is not a regular file"), "{said}");
    }
    make_fifo(&home.join(".netrc"));
    make_fifo(&home.join(".config/ftpfs/known_hosts"));
    let place = server.url().rsplit_once('@').unwrap().1.replace('/', "");
    make_fifo(&home.join(format!(".cache/ftpfs/servers/someone@{place}")));
    make_fifo(&home.join(format!(".cache/ftpfs/journal/someone@{place}/0.log")));
    let point = home.join("mount");
    let mut command = Command::new(FTPFS);
    command
        .args([
            &format!("ftp://anonymous@{place}/"),
            point.to_str().unwrap(),
        ])
        .env("HOME", home)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_STATE_HOME")
        .env_remove("XDG_CONFIG_HOME");
    // The user is unknown to the server: what counts is that it gets there.
    let said = limited::run(&mut command, SCRIPT_LIMIT, home);
    assert!(said.status.is_some());
    for file in [".netrc", "known_hosts"] {
        let wanted = format!("{file}: can't be read: is not a regular file");
        assert!(said.output.contains(&wanted), "{}", said.output);
    }
    let said = refused(&server, home, "writeback");
    assert!(said.contains("0.log: is not a regular file"), "{said}");
}

#[test]
fn directory_that_others_can_write_is_refused() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let link = home.path().join("link");
    symlink(&shared, &link).unwrap();
    for option in ["spool_dir", "cache_dir"] {
        for directory in [&shared, &link, &shared.join("below")] {
            let option = format!("{option}={}", directory.display());
            let said = refused(&server, home.path(), &option);
            assert!(
                said.contains("shared can be written by other users"),
                "{said}"
            );
        }
    }
    assert_eq!(server.connected(), 0);
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0);
}

#[test]
fn files_are_private_whatever_the_umask() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.on("STOR", Act::Reply("552 full"));
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let point = home.path().join("mount");
    fs::create_dir(&point).unwrap();
    let place = shared.path().display();
    let mut command = Command::new("bash");
    // A umask of the test itself would count for other tests, too.
    let script = "umask 0
        \"$1\" \"$2\" \"$3\" -f -o \"$4\" & until mountpoint -q \"$3\"; do sleep 0.05; done
        cat \"$3/f\"; echo new >\"$3/g\"; umount \"$3\"; wait";
    command
        .args(["-c", script, "-", FTPFS, &server.url()])
        .arg(&point)
        .arg(format!("spool_dir={place},cache_dir={place}"))
        .env("XDG_CACHE_HOME", home.path().join("cache"))
        .env("XDG_STATE_HOME", home.path().join("state"));
    let outcome = limited::run(&mut command, SCRIPT_LIMIT, home.path());
    assert!(outcome.succeeded(), "{}", outcome.output);
    let own = shared
        .path()
        .join(format!("ftpfs-{}", nix::unistd::geteuid()));
    assert_eq!(fs::read_dir(shared.path()).unwrap().count(), 1);
    let mut files = Vec::new();
    for top in [own, home.path().join("cache/ftpfs")] {
        let mut left = vec![top];
        while let Some(path) = left.pop() {
            let is_directory = path.is_dir();
            assert_eq!(
                mode(&path),
                if is_directory { 0o700 } else { 0o600 },
                "{path:?}"
            );
            if is_directory {
                left.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            } else {
                files.push(path);
            }
        }
    }
    // Two of the cache, the lost file and its reason, the profile.
    assert_eq!(files.len(), 5, "{files:?}");
}
