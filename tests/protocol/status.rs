//! `ftpfs status` and `ftpfs drop-cache`: what a mount tells of itself, and that it forgets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use crate::limited::{self, Outcome};
use crate::mount::{Mount, SCRIPT_LIMIT, soon};
use crate::scripted::{Act, Gate, PASSWORD, Server, USER};

fn ask(mount: &Mount, arguments: &[&str]) -> Outcome {
    limited::run(&mut mount.ftpfs(arguments), SCRIPT_LIMIT, &mount.path("."))
}

fn point(mount: &Mount) -> String {
    mount.point().to_str().unwrap().to_owned()
}

fn status(mount: &Mount) -> String {
    let outcome = ask(mount, &["status", &point(mount)]);
    assert!(outcome.succeeded(), "{}", outcome.output);
    outcome.output
}

/// What an expression of Python makes of the mount's own object `m` in the answer to `status --json`.
fn of_json(mount: &Mount, expression: &str) -> String {
    let answer = ask(mount, &["status", "--json", &point(mount)]);
    fs::write(mount.path("json"), &answer.output).unwrap();
    let script = format!(
        "import json, os; m = json.load(open(os.environ['S'] + '/json'))[0]['status']; print({expression})"
    );
    mount.python(&script).trim().to_owned()
}

/// Has the mount drop its caches.
fn drop_cache(mount: &Mount) {
    let outcome = ask(mount, &["drop-cache", &point(mount)]);
    assert!(outcome.succeeded(), "{}", outcome.output);
    assert_eq!(outcome.output, "");
}

#[test]
fn status_reports_mount_and_counters() {
    let server = Server::start();
    server.tree().put("/d/f", "12345");
    let mount = Mount::of(&server);
    mount.sh("ls -l d; cat d/f d/f");
    let text = status(&mount);
    let (url, port) = (point(&mount), server.port());
    for part in [
        format!("{url}\n"),
        format!("ftp://{USER}@127.0.0.1:{port}/\n"),
        format!("user         {USER}\n"),
        format!("ftpfs {}", env!("CARGO_PKG_VERSION")),
        "8 at most".to_owned(),
        "transport    no TLS, passive data connections (EPSV), round trip ".to_owned(),
        "reads        0% answered from memory (0 of 1)".to_owned(),
        "uploads      none".to_owned(),
        "errors       none".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} is not in:\n{text}");
    }
    let facts = "m['user'], m['read_only'], m['connections']['max_conns'], m['memory']['bytes'], m['unsent'], m['errors']";
    assert_eq!(
        of_json(&mount, facts),
        format!("{USER} False 8 5 {{'files': 0, 'bytes': 0, 'list': [], 'not_listed': 0}} []")
    );
    assert_eq!(
        of_json(&mount, "1 <= m['connections']['open'] <= 8"),
        "True"
    );
    assert_eq!(of_json(&mount, "m['names']['waited'] > 0"), "True");
    // The file twice, and listings.
    assert_eq!(
        of_json(&mount, "m['traffic']['received']['bytes'] > 5"),
        "True"
    );
    mount.sh("printf 1234567 > new");
    assert_eq!(of_json(&mount, "m['traffic']['sent']['bytes']"), "7");
    // The manual names every key.
    let manual = include_str!("../../man/ftpfs.1");
    let keys = "*m, *(key for part in m.values() if type(part) is dict for key in part)";
    for key in of_json(&mount, keys).split(' ') {
        assert!(manual.contains(key), "the manual lacks {key}");
    }
    let metrics = ask(&mount, &["status", "--prometheus", &url]).output;
    let labels = format!("{{mountpoint=\"{url}\",source=\"ftp://{USER}@127.0.0.1:{port}/\"}}");
    for sample in [
        format!("ftpfs_up{labels} 1\n"),
        format!("ftpfs_sent_bytes_total{labels} 7\n"),
    ] {
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }
    for form in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--prometheus"],
    ] {
        let all = ask(&mount, form).output;
        assert!(all.contains(&url), "{all}");
        assert!(!all.contains(PASSWORD), "{all}");
    }
}

#[test]
fn watched_status_is_shown_again_until_the_pipe_is_closed() {
    let server = Server::start();
    let mount = Mount::of(&server);
    let ftpfs = env!("CARGO_BIN_EXE_ftpfs");
    let point = point(&mount);
    let shown = mount.sh(&format!(
        "timeout 20 {ftpfs} status --watch {point} | grep --line-buffered -m 3 '^  mounted' | wc -l"
    ));
    assert_eq!(shown.trim(), "3");
}

/// Of the mounts on this machine those of ftpfs, and no other directory.
#[test]
fn completions_offer_mountpoints() {
    let server = Server::start();
    let mount = Mount::of(&server);
    let script = ask(&mount, &["completions", "bash"]).output;
    fs::write(mount.path("completions"), script).unwrap();
    let point = point(&mount);
    for command in ["umount", "status", "drop-cache"] {
        let offered = mount.sh(&format!(
            "compopt() {{ :; }}; ftpfs() {{ {} \"$@\"; }}; . $S/completions; COMP_WORDS=(ftpfs {command} {}); COMP_CWORD=2; _ftpfs
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            crate::mount::FTPFS,
            &point[..point.len() - 1]
        ));
        assert_eq!(offered.trim(), point, "{command}");
    }
}

#[test]
fn status_works_with_a_silent_server() {
    let server = Server::start();
    server.tree().put("/f", "x");
    let mount = Mount::with(&server, "allow_other,cache_timeout=0");
    mount.make_fifo("go");
    let mut stuck = mount.start("echo ready; read < $S/go; stat f; true");
    stuck.await_words("ready");
    server.on("", Act::Silence);
    fs::write(mount.path("go"), "\n").unwrap();
    soon("a caller waits for the server", || {
        of_json_elsewhere(&mount, "m['connections']['busy']") == "1"
    });
    let as_guest = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    fs::set_permissions(mount.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let (ftpfs, at) = (crate::mount::FTPFS, point(&mount));
    let mut other_user = std::process::Command::new("sh");
    other_user.args([
        "-c",
        &format!("cp {ftpfs} $S/ftpfs; exec {as_guest} $S/ftpfs status {at}"),
    ]);
    other_user.env("S", mount.path("."));
    let refused = limited::run(&mut other_user, SCRIPT_LIMIT, &mount.path("."));
    assert!(
        refused
            .output
            .contains("only the user who mounted it and root may query it"),
        "{}",
        refused.output
    );
    server.hang_up();
    server.behave();
    stuck.end();
}

/// The same as [`of_json`], by a program that has nothing to do with the mount.
fn of_json_elsewhere(mount: &Mount, expression: &str) -> String {
    let answer = ask(mount, &["status", "--json", &point(mount)]);
    fs::write(mount.path("json"), &answer.output).unwrap();
    let script =
        format!("import json; m = json.load(open('json'))[0]['status']; print({expression})");
    let mut python = std::process::Command::new("/usr/bin/python3");
    python
        .args(["-I", "-c", &script])
        .current_dir(mount.path("."));
    limited::run(&mut python, SCRIPT_LIMIT, &mount.path("."))
        .output
        .trim()
        .to_owned()
}

#[test]
fn status_names_pending_uploads() {
    let server = Server::start();
    let gate = Gate::default();
    server.on("STOR", Act::Until(gate.clone()));
    let mut mount = Mount::with(&server, "writeback");
    mount.sh("mkdir d; head -c 300000 /dev/zero > d/new");
    let listed =
        "[(f['path'], f['bytes'], f['closed'], f['failures']) for f in m['unsent']['list']]";
    assert_eq!(of_json(&mount, listed), "[('/d/new', 300000, True, 0)]");
    let text = status(&mount);
    assert!(text.contains("uploads      1 file, 292.9 KiB"), "{text}");
    assert!(text.contains("/d/new: 292.9 KiB, closed"), "{text}");
    // It is no cache: it must reach the server still.
    drop_cache(&mount);
    assert_eq!(mount.sh("wc -c < d/new").trim(), "300000");
    gate.open();
    soon("it is stored", || {
        of_json(&mount, "m['unsent']['files']") == "0"
    });
    assert_eq!(
        server.tree().bytes("/d/new").map(<[u8]>::len),
        Some(300_000)
    );
    mount.unmount();
}

#[test]
fn status_reports_recent_errors() {
    let server = Server::start();
    for verb in ["STOR", "APPE"] {
        server.on(verb, Act::Reply("552 Quota exceeded, \"sorry\""));
    }
    let mount = Mount::of(&server);
    assert!(!mount.try_sh("echo x > $S/x; cp $S/x f").succeeded());
    let texts = "[line['text'] for line in m['errors'] if 'Quota exceeded' in line['text']] != []";
    soon("the line is there", || of_json(&mount, texts) == "True");
    assert!(status(&mount).contains("552 Quota exceeded"));
}

#[test]
fn drop_cache_forgets_all_content() {
    let server = Server::start();
    server.tree().put("/d/f", "old");
    server.tree().put("/d/gone", "old");
    server.tree().link("/d/l", "f");
    let cached = tempfile::tempdir().unwrap();
    let options = format!("cache_timeout=600,cache_dir={}", cached.path().display());
    let mount = Mount::with(&server, &options);
    let before = mount.sh("ls d; cat d/f d/l d/gone; df . > /dev/null; test ! -e d/new");
    assert_eq!(before, "f\ngone\nl\noldoldold");
    assert!(fs::read_dir(cached.path()).unwrap().count() > 0);
    // Of the same size and time: nothing else could show it.
    let mut tree = server.tree();
    tree.put("/d/f", "new");
    tree.put("/d/new", "new");
    tree.remove("/d/gone");
    drop(tree);
    assert_eq!(mount.sh("cat d/f"), "old");
    mount.make_fifo("go");
    let mut reader = mount.start("exec 3< d/f; echo open; read < $S/go; cat <&3; echo over");
    reader.await_words("open");
    drop_cache(&mount);
    assert_eq!(fs::read_dir(cached.path()).unwrap().count(), 0);
    assert_eq!(
        mount.sh("test ! -e d/gone; ls d; cat d/f d/l d/new"),
        "f\nl\nnew\nnewnewnew"
    );
    // Who has it open gets the new content too.
    mount.sh("echo > $S/go");
    assert_eq!(reader.end(), "open\nnewover\n");
}

#[test]
fn drop_cache_keeps_open_writes_and_listings() {
    let server = Server::start();
    for number in 0..3000 {
        server.tree().put(&format!("/wide/{number:04}"), "x");
    }
    server.tree().put("/f", vec![b'o'; 1 << 20]);
    let mount = Mount::of(&server);
    mount.make_fifo("go");
    let mut writer = mount
        .start("exec 3<> f; printf NEW >&3; echo open; read < $S/go; printf MORE >&3; exec 3>&-");
    writer.await_words("open");
    mount.make_fifo("on");
    let list = "import os
names = os.scandir('wide'); first = next(names).name; print('begun', flush=True)
open(os.environ['S'] + '/on').read()
print(sorted([first] + [entry.name for entry in names]) == [f'{n:04}' for n in range(3000)])";
    fs::write(mount.path("list"), list).unwrap();
    let mut lister = mount.start("python3 -I $S/list 2>&1");
    lister.await_words("begun");
    for _ in 0..3 {
        drop_cache(&mount);
    }
    mount.sh("echo > $S/go; echo > $S/on");
    writer.end();
    assert_eq!(lister.end(), "begun\nTrue\n");
    let stored = server.tree().bytes("/f").map(<[u8]>::to_vec).unwrap();
    assert!(stored.starts_with(b"NEWMOREooo") && stored.len() == 1 << 20);
}

#[test]
fn status_answers_concurrent_queries() {
    let server = Server::start();
    server.tree().put("/f", vec![b'x'; 8 << 20]);
    let mount = Mount::of(&server);
    let mut reader = mount.start("for i in 1 2 3; do cat f | wc -c; done");
    thread::scope(|scope| {
        let ask = |number: usize| {
            let mount = &mount;
            move || match number % 10 {
                // Another one may be at it.
                0 => drop(ask(mount, &["drop-cache", &point(mount)])),
                _ => drop(status(mount)),
            }
        };
        for number in 0..100 {
            scope.spawn(ask(number));
        }
    });
    assert_eq!(reader.end(), "8388608\n8388608\n8388608\n");
}

#[test]
fn status_of_no_mount_or_a_dead_one_is_one_line() {
    let server = Server::start();
    let mut mount = Mount::of(&server);
    let at = point(&mount);
    let says = |arguments: &[&str], words: &str| {
        let outcome = ask(&mount, arguments);
        assert!(!outcome.succeeded() && outcome.status.is_some());
        assert!(
            outcome.output.contains(words),
            "{words}: {}",
            outcome.output
        );
        assert_eq!(outcome.output.lines().count(), 1, "{}", outcome.output);
    };
    for word in ["status", "drop-cache"] {
        says(&[word, "/proc"], "/proc: not a mount of ftpfs but proc");
        says(&[word, "/no/such"], "/no/such: nothing is mounted there");
        says(&[word, &at, "more"], "one argument too many: more");
    }
    mount.kill();
    let at = point(&mount);
    soon("it is dead", || {
        ask(&mount, &["status", &at])
            .output
            .contains("its process has ended")
    });
    let answer = ask(&mount, &["status", "--json", &at]).output;
    assert!(
        answer.contains("\"error\": \"") && answer.starts_with('['),
        "{answer}"
    );
    assert!(
        ask(&mount, &["drop-cache", &at])
            .output
            .contains("its process has ended")
    );
}
