//! The command line, and whether its descriptions agree: the table of options, `--help`, the manual
//! and `docs/options.md`.

#![allow(clippy::expect_used, reason = "a test ends where an expectation does")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ftpfs::cli::{
    DropCache, Flag, HELPER_FLAGS, Id, Mode, Probe, Request, SUBCOMMANDS, Settings, Spec, Status,
    StatusView, TABLE, UMOUNT_HELPER_FLAGS, Umount, parse,
};
use ftpfs::process::logging::Amount;

fn settings_of(arguments: &[&str]) -> Result<Settings, String> {
    match parse(arguments.iter().map(OsString::from))? {
        Request::Mount(settings) => Ok(*settings),
        other => panic!("something else: {other:?}"),
    }
}

/// The settings that `-o list` makes.
fn with(list: &str) -> Result<Settings, String> {
    settings_of(&["ftpfs", "h:", "/m", "-o", list])
}

fn good(list: &str) -> Settings {
    with(list).expect(list)
}

#[test]
fn source_and_mountpoint_stand_anywhere_among_the_flags() {
    for arguments in [
        ["ftpfs", "h:", "/m", "-f", "-o", "ro"],
        ["ftpfs", "-f", "-o", "ro", "h:", "/m"],
        ["ftpfs", "-o", "ro", "h:", "-f", "/m"],
        ["ftpfs", "-fo", "ro", "--", "h:", "/m"],
        [
            "/usr/bin/ftpfs",
            "h:",
            "/m",
            "--foreground",
            "--options",
            "ro",
        ],
    ] {
        let settings = settings_of(&arguments).expect("a good line");
        assert_eq!(settings.source.0, "h:", "{arguments:?}");
        assert_eq!(settings.mountpoint, Path::new("/m"), "{arguments:?}");
        assert!(
            settings.command.foreground && settings.mount.read_only,
            "{arguments:?}"
        );
    }
}

#[test]
fn absent_options_have_their_defaults() {
    let settings = settings_of(&["ftpfs", "h:", "/m"]).expect("a good line");
    assert_eq!(settings.server.max_conns, 8);
    assert_eq!(settings.cache.cache_timeout, Duration::from_secs(30));
    assert_eq!(settings.server.timeout, Duration::from_secs(30));
    assert_eq!(
        (settings.mount.fsname, settings.mount.subtype.as_str()),
        (None, "ftpfs")
    );
    assert_eq!(
        (
            settings.attributes.uid,
            settings.attributes.gid,
            settings.attributes.umask
        ),
        (None, None, None)
    );
    assert!(
        !settings.mount.read_only
            && !settings.mount.allow_other
            && !settings.mount.default_permissions
    );
    assert!(!settings.command.foreground && !settings.command.fake);
    assert_eq!(settings.command.logged, Amount::Warnings);
    assert!(settings.mount.kernel.is_empty());
}

#[test]
fn the_defaults_in_the_table_are_the_true_ones() {
    let default = Settings::default();
    for spec in TABLE {
        let said = match spec.name {
            "max_conns" => default.server.max_conns.to_string(),
            "cache_timeout" => default.cache.cache_timeout.as_secs().to_string(),
            "timeout" => default.server.timeout.as_secs().to_string(),
            "subtype" => default.mount.subtype.clone(),
            _ => continue,
        };
        assert_eq!(spec.default, said, "{}", spec.name);
    }
}

#[test]
fn every_option_says_what_it_says() {
    assert!(good("ro").mount.read_only && !good("rw").mount.read_only);
    assert!(good("allow_other").mount.allow_other && good("allow_other").mount.default_permissions);
    assert!(good("default_permissions").mount.default_permissions);
    assert_eq!(good("uid=1000").attributes.uid, Some(Id::Number(1000)));
    assert_eq!(
        good("gid=users").attributes.gid,
        Some(Id::Name("users".into()))
    );
    assert_eq!(good("umask=022").attributes.umask, Some(0o022));
    assert_eq!(good("umask=0").attributes.umask, Some(0));
    assert_eq!(good("max_conns=64").server.max_conns, 64);
    assert_eq!(
        good("cache_dir=/tmp/c").cache.cache_dir,
        Some("/tmp/c".into())
    );
    assert_eq!(good("disk_cache_size=1G").cache.disk_cache_size, 1 << 30);
    assert_eq!(good("cache_size=16M").cache.cache_size, 16 << 20);
    assert_eq!(good("cache_timeout=0").cache.cache_timeout, Duration::ZERO);
    let negative = |option| good(option).cache.negative_timeout;
    assert_eq!(negative("ro"), None);
    assert_eq!(negative("negative_timeout=5"), Some(Duration::from_secs(5)));
    assert_eq!(
        good("timeout=3600").server.timeout,
        Duration::from_secs(3600)
    );
    assert_eq!(good(r"fsname=a\,b").mount.fsname.as_deref(), Some("a,b"));
    assert_eq!(
        good(r#"fsname="a,b",ro"#).mount.fsname.as_deref(),
        Some("a,b")
    );
    assert_eq!(good("subtype=curlftpfs").mount.subtype, "curlftpfs");
    let kernel = "nosuid,nodev,noexec,exec,noatime,atime,relatime,strictatime,nodiratime,lazytime,nosymfollow,sync,async,dirsync";
    assert_eq!(good(kernel).mount.kernel.join(","), kernel);
    let settings = good(
        "suid,dev,defaults,auto,noauto,user,users,nouser,nousers,owner,group,nofail,nonempty,norelatime,iversion,mand,silent,\
         user_id=0,group_id=0,X-mount.mkdir=0755,comment=any thing",
    );
    let bare = settings_of(&["ftpfs", "h:", "/m"]).expect("a good line");
    assert_eq!(settings, bare);
    // What systemd and umount(8) read is kept for them.
    let noted = good("_netdev,x-systemd.automount,x-gvfs-name=A B")
        .mount
        .user_space;
    assert_eq!(noted, ["_netdev", "x-systemd.automount", "x-gvfs-name=A B"]);
    assert_eq!(good("port=2121").server.port, Some(2121));
    assert_eq!(good("retry=2").command.retry, Duration::from_secs(120));
    assert_eq!(good("log_file=/l").command.log_file, Some("/l".into()));
    assert!(
        good("remount,ro").command.remount && good("remount,ro").command.remount_words.len() == 2
    );
    for alone in ["key=/k", "pass=secret"] {
        let error = with(alone).expect_err(alone);
        assert!(
            error.contains("needs cert=") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn of_two_options_the_last_one_counts() {
    assert!(!good("ro,rw").mount.read_only && good("rw,ro").mount.read_only);
    assert_eq!(
        good("timeout=1,timeout=2").server.timeout,
        Duration::from_secs(2)
    );
    let twice = ["ftpfs", "h:", "/m", "-o", "ro,timeout=1", "-o", "rw"];
    let settings = settings_of(&twice).expect("a good line");
    assert!(!settings.mount.read_only);
    assert_eq!(settings.server.timeout, Duration::from_secs(1));
}

#[test]
fn atomic_and_follow_symlinks_exclude_each_other() {
    let refused = with("atomic,follow_symlinks").err();
    assert!(refused.is_some_and(|error| error.contains("cannot be combined")));
    assert!(with("atomic").is_ok() && with("follow_symlinks").is_ok());
}

#[test]
fn flags_set_what_is_logged() {
    for (flag, logged) in [
        ("-q", Amount::Errors),
        ("-v", Amount::Steps),
        ("-f", Amount::Warnings),
    ] {
        let settings = settings_of(&["ftpfs", flag, "h:", "/m"]).expect("a good line");
        assert_eq!(settings.command.logged, logged, "{flag}");
    }
    let curlftpfs = settings_of(&["curlftpfs", "-v", "h", "/m"]).expect("a good line");
    assert_eq!(curlftpfs.command.logged, Amount::Everything);
}

#[test]
fn debugging_stays_in_the_foreground() {
    let settings = settings_of(&["ftpfs", "-d", "h:", "/m"]).expect("a good line");
    assert!(settings.command.foreground);
    assert_eq!(settings.command.logged, Amount::Everything);
}

#[test]
fn a_helper_of_mount_reads_the_flags_of_mount() {
    for program in ["/sbin/mount.ftpfs", "mount.fuse.ftpfs"] {
        let line = [
            program,
            "h:",
            "/m",
            "-sfnv",
            "-N",
            "/proc/1/ns/mnt",
            "-o",
            "rw,wibble,user=anna",
            "-t",
            "fuse.ftpfs",
        ];
        let settings = settings_of(&line).expect("a good line");
        assert!(settings.command.fake && !settings.command.foreground);
        assert_eq!(settings.command.logged, Amount::Steps);
        assert_eq!(
            settings.command.namespace,
            Some(PathBuf::from("/proc/1/ns/mnt"))
        );
    }
    let strict = ["mount.ftpfs", "h:", "/m", "-o", "wibble"];
    assert!(settings_of(&strict).is_err());
    let settings = settings_of(&["ftpfs", "-f", "h:", "/m"]).expect("a good line");
    assert!(settings.command.foreground && !settings.command.fake);
}

#[test]
fn option_error_is_one_line_with_name_and_allowed_values() {
    for (list, parts) in [
        ("alow_other", &["alow_other", "allow_other?"][..]),
        ("Timeout=3", &["Timeout", "timeout?"]),
        ("wibble", &["unknown option wibble", "--help"]),
        ("max_conns=0", &["max_conns=0", "from 1 to 64"]),
        ("max_conns=65", &["max_conns=65", "from 1 to 64"]),
        ("max_conns=+8", &["max_conns=+8", "from 1 to 64"]),
        ("max_conns=", &["max_conns=", "from 1 to 64"]),
        ("max_conns", &["max_conns", "needs a value", "max_conns=N"]),
        ("timeout=0", &["timeout=0", "from 1 to 3600"]),
        ("timeout=3601", &["timeout=3601", "from 1 to 3600"]),
        ("timeout=1.5", &["timeout=1.5", "whole number"]),
        ("cache_size=1M", &["cache_size=1M", "16M or more"]),
        ("cache_timeout=-1", &["cache_timeout=-1", "from 0 to"]),
        ("umask=8", &["umask=8", "octal"]),
        ("umask=1000", &["umask=1000", "octal", "777"]),
        ("uid=-1", &["uid=-1", "number or the name of a user"]),
        ("gid=4294967295", &["gid=4294967295", "a group"]),
        ("fsname=", &["fsname=", "a name"]),
        ("subtype=a b", &["subtype=a b", "a word"]),
        ("ro=yes", &["ro=yes", "takes no value"]),
        ("noexec=1", &["noexec=1", "takes no value"]),
        ("user=anna", &["user=anna", "ftp://anna@HOST/"]),
        ("fsname=\"a", &["a quote is not closed"]),
    ] {
        let error = with(list).expect_err(list);
        for part in parts {
            assert!(error.contains(part), "{list}: {error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_command_line_that_is_wrong_is_answered_in_one_line() {
    for (arguments, part) in [
        (&["ftpfs"][..], "source and mountpoint are missing"),
        (&[], "source and mountpoint are missing"),
        (&["ftpfs", "h:"], "the mountpoint is missing"),
        (&["ftpfs", "h:", "/m", "/n"], "one argument too many: /n"),
        (&["ftpfs", "-x", "h:", "/m"], "unknown argument -x"),
        (
            &["ftpfs", "--wibble", "h:", "/m"],
            "unknown argument --wibble",
        ),
        (&["ftpfs", "h:", "/m", "-o"], "needs a value"),
        (&["ftpfs", "--debug=1", "h:", "/m"], "usage:"),
        (&["ftpfs", "-s", "h:", "/m"], "unknown argument -s"),
    ] {
        let error = settings_of(arguments).expect_err(part);
        assert!(error.contains(part), "{arguments:?}: {error}");
        assert!(error.contains("usage: ftpfs SOURCE MOUNTPOINT"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

fn probe_of(arguments: &[&str]) -> Result<Probe, String> {
    match parse(arguments.iter().map(OsString::from))? {
        Request::Probe(probe) => Ok(*probe),
        other => panic!("something else: {other:?}"),
    }
}

#[test]
fn to_probe_is_the_first_word_and_takes_the_options_of_a_mount() {
    let line = [
        "ftpfs",
        "probe",
        "h:",
        "-o",
        "mode=active,ro",
        "--write",
        "-o",
        "pass=a,cert=c",
    ];
    let probe = probe_of(&line).expect("a good line");
    assert_eq!(probe.settings.source.0, "h:");
    assert_eq!(probe.settings.network.mode, Mode::Active);
    assert!(probe.write && !probe.json);
    assert_eq!(probe.settings.command.logged, Amount::Warnings);
    let words: Vec<_> = probe.words.iter().map(|word| word.0.clone()).collect();
    assert_eq!(words, ["mode=active", "ro", "pass=a", "cert=c"]);
    assert!(!format!("{probe:?}").contains("pass=a"));
    assert!(
        probe_of(&["ftpfs", "probe", "-jwd", "h:"])
            .expect("good")
            .json
    );
    for (arguments, part) in [
        (&["ftpfs", "probe"][..], "the source is missing"),
        (&["ftpfs", "probe", "h:", "/m"], "one argument too many: /m"),
        (&["ftpfs", "probe", "-f", "h:"], "unknown argument -f"),
        (
            &["ftpfs", "probe", "h:", "-o", "wibble"],
            "unknown option wibble",
        ),
    ] {
        let error = probe_of(arguments).expect_err(part);
        assert!(error.contains(part), "{arguments:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn source_named_probe_can_be_mounted() {
    let settings = settings_of(&["ftpfs", "probe:probe", "probe"]).expect("a host");
    assert_eq!(settings.source.0, "probe:probe");
    assert_eq!(settings.mountpoint, Path::new("probe"));
    let settings = settings_of(&["mount.ftpfs", "probe", "/m"]).expect("a helper's source");
    assert_eq!(settings.source.0, "probe");
    let settings = settings_of(&["ftpfs", "-f", "probe", "/m"]).expect("not the first word");
    assert_eq!(settings.source.0, "probe");
}

#[test]
fn mounts_are_asked_by_one_word_and_a_mountpoint_or_none() {
    let request = |arguments: &[&str]| parse(arguments.iter().map(OsString::from));
    let status = |mountpoint: Option<&str>, view, watch| {
        let mountpoint = mountpoint.map(PathBuf::from);
        Ok(Request::Status(Status {
            mountpoint,
            view,
            watch,
        }))
    };
    for (line, mountpoint, view, watch) in [
        ("ftpfs status", None, StatusView::Summary, false),
        ("ftpfs status -w", None, StatusView::Summary, true),
        ("ftpfs status -j", None, StatusView::Json, false),
        (
            "ftpfs status /m --json",
            Some("/m"),
            StatusView::Json,
            false,
        ),
        ("ftpfs status /m", Some("/m"), StatusView::Detail, false),
        ("ftpfs status -v --watch", None, StatusView::Detail, true),
        ("ftpfs status -p", None, StatusView::Prometheus, false),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(request(&words), status(mountpoint, view, watch), "{line}");
    }
    let drop = |mountpoint: Option<&str>, server| {
        let mountpoint = mountpoint.map(PathBuf::from);
        Ok(Request::DropCache(DropCache { mountpoint, server }))
    };
    assert_eq!(request(&["ftpfs", "drop-cache"]), drop(None, false));
    assert_eq!(
        request(&["ftpfs", "drop-cache", "/m"]),
        drop(Some("/m"), false)
    );
    let line = ["ftpfs", "drop-cache", "--server", "/m"];
    assert_eq!(request(&line), drop(Some("/m"), true));
    for (arguments, part) in [
        (
            &["ftpfs", "status", "/m", "/n"][..],
            "one argument too many: /n",
        ),
        (&["ftpfs", "status", "-o", "ro"], "unknown argument -o"),
        (
            &["ftpfs", "drop-cache", "--json"],
            "unknown argument --json",
        ),
    ] {
        let error = request(arguments).expect_err(part);
        assert!(
            error.contains(part) && error.contains("usage: ftpfs "),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(help(&["ftpfs", "status", "-h"]).contains("ftpfs status"));
    let settings = settings_of(&["mount.ftpfs", "status", "/m"]).expect("a helper's source");
    assert_eq!(settings.source.0, "status");
}

/// What bash offers for the last of these words, by the script that we print.
fn completed(words: &[&str]) -> Vec<String> {
    let line = ["ftpfs", "completions", "bash"].map(OsString::from);
    let Ok(Request::Print(script)) = parse(line) else {
        panic!("no script");
    };
    let program = format!("ftpfs() {{ {} \"$@\"; }}\n", env!("CARGO_BIN_EXE_ftpfs"));
    let ask = "; compopt() { :; }; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _ftpfs; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let said = Command::new("bash")
        .args(["-c", &(program + script.trim_end() + ask), "bash"])
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("bash");
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    let text = String::from_utf8(said.stdout).expect("text");
    text.lines().map(str::to_string).collect()
}

#[test]
fn shell_scripts_pass_shellcheck() {
    let line = ["ftpfs", "completions", "bash"].map(OsString::from);
    let Ok(Request::Print(script)) = parse(line) else {
        panic!("no script");
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ftpfs.bash");
    fs::write(&path, script).expect("written");
    let scripts = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"));
    let scripts = scripts
        .expect("scripts")
        .flatten()
        .map(|entry| entry.path());
    // Python; and what the others read, with their variables.
    let is_bash = |path: &PathBuf| path.extension().is_none() && !path.ends_with("scripts/rust");
    let scripts: Vec<PathBuf> = scripts
        .filter(is_bash)
        .chain(["tests/systemd/init.sh".into()])
        .collect();
    assert!(scripts.len() > 8, "{scripts:?}");
    let checked = Command::new("shellcheck")
        .args(["-s", "bash", "--severity", "warning"])
        .arg(&path)
        .args(scripts)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("shellcheck");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
}

#[test]
fn bash_completes_options_one_by_one() {
    assert_eq!(
        completed(&["ftpfs", "h:", "/m", "-o", "allow_o"]),
        ["allow_other"]
    );
    assert_eq!(
        completed(&["ftpfs", "h:", "-o", "ro,max"]),
        ["ro,max_conns="]
    );
    assert_eq!(completed(&["ftpfs", "--fo"]), ["--foreground"]);
    assert_eq!(completed(&["ftpfs", "probe", "--wr"]), ["--write"]);
    assert_eq!(completed(&["ftpfs", "--wr"]), [""]);
    assert_eq!(completed(&["ftpfs", "status", "--js"]), ["--json"]);
    assert_eq!(completed(&["ftpfs", "prob"]), ["probe"]);
    assert_eq!(completed(&["ftpfs", "stat"]), ["status"]);
    assert_eq!(completed(&["ftpfs", "drop"]), ["drop-cache"]);
    assert_eq!(completed(&["ftpfs", "h:", "scrip"]), ["scripts/"]);
    assert_eq!(completed(&["ftpfs", "umount", "--la"]), ["--lazy"]);
    assert_eq!(completed(&["ftpfs", "completions", "z"]), ["zsh"]);
    // A value, in one word, and as bash splits it.
    assert_eq!(
        completed(&["ftpfs", "-o", "ro,mode=p"]),
        ["ro,mode=passive"]
    );
    assert_eq!(
        completed(&["ftpfs", "-o", "ro,mode", "=", "p"]),
        ["passive"]
    );
    assert_eq!(
        completed(&["ftpfs", "-o", "tls", "="]),
        ["try", "explicit", "control", "off"]
    );
    assert_eq!(
        completed(&["ftpfs", "-o", "cacert=Cargo.t"]),
        ["cacert=Cargo.toml"]
    );
    let error = parse(["ftpfs", "completions", "csh"].map(OsString::from)).expect_err("csh");
    assert!(error.contains("bash, zsh or fish"), "{error}");
}

/// A directory with the completion script of a shell.
fn completion_script(shell: &str, name: &str) -> tempfile::TempDir {
    let line = ["ftpfs", "completions", shell].map(OsString::from);
    let Ok(Request::Print(script)) = parse(line) else {
        panic!("no script");
    };
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join(name), script).expect("written");
    directory
}

/// `PATH` with this program first.
fn path_with_ftpfs() -> OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_ftpfs"));
    let mut path = program
        .parent()
        .expect("a directory")
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

#[test]
fn fish_completes_words_values_and_files() {
    let directory = completion_script("fish", "ftpfs.fish");
    for (line, expected) in [
        ("ftpfs umo", "umount"),
        ("ftpfs h: /m -o ro,mode=p", "ro,mode=passive"),
        ("ftpfs -o cacert=Cargo.t", "cacert=Cargo.toml"),
        ("ftpfs h: scrip", "scripts/"),
    ] {
        let shown = Command::new("fish")
            .args(["-c", "source $argv[1]; complete -C $argv[2]"])
            .arg(directory.path().join("ftpfs.fish"))
            .arg(line)
            .env("PATH", path_with_ftpfs())
            .env("HOME", directory.path())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("fish");
        let text = String::from_utf8_lossy(&shown.stdout);
        let first = text.split(['\t', '\n']).next();
        assert_eq!(first, Some(expected), "{line}: {shown:?}");
    }
}

/// zsh completes on a terminal only: Tab is pressed there, then a line is printed that has what it made of it.
#[test]
fn zsh_completes_words_values_and_files() {
    const TYPES: &str = r#"
import os, pty, sys
process, terminal = pty.fork()
if process == 0:
    os.execvp("zsh", ["zsh", "-f", "-i"])
said = b""
def wait_for(words):
    global said
    while words not in said:
        said += os.read(terminal, 1000)
    before, said = said.split(words, 1)
    return before
os.write(terminal, b"PS1=; autoload -U compinit; compinit -u -D; ftpfs() { [[ $1 = completions ]] && command ftpfs $@ || print -r \"<$*>\"; }; echo rea''dy\n")
wait_for(b"ready")
for line in sys.argv[1:]:
    os.write(terminal, line.encode() + b"\t\n")
    wait_for(b"<")
    print(wait_for(b">").decode())
os.write(terminal, b"exit\n")
"#;
    let directory = completion_script("zsh", "_ftpfs");
    let mut fpath = Command::new("zsh");
    let fpath = fpath
        .args(["-fc", "print -r $FPATH"])
        .output()
        .expect("zsh");
    let fpath = String::from_utf8_lossy(&fpath.stdout).trim().to_string();
    let shown = Command::new("timeout")
        .args(["20", "python3", "-c", TYPES])
        .args(["ftpfs umo", "ftpfs h: /m -o ro,mode=p"])
        .args(["ftpfs -o cacert=Cargo.t", "ftpfs h: scrip"])
        .env("FPATH", format!("{}:{fpath}", directory.path().display()))
        .env("PATH", path_with_ftpfs())
        .env("HOME", directory.path())
        .env("TERM", "dumb")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("python3");
    let text = String::from_utf8_lossy(&shown.stdout);
    let expected = "umount\nh: /m -o ro,mode=passive\n-o cacert=Cargo.toml\nh: scripts/\n";
    assert_eq!(text, expected, "{shown:?}");
}

/// The help that a command line asks for.
fn help(arguments: &[&str]) -> String {
    match parse(arguments.iter().map(OsString::from)) {
        Ok(Request::Help { plain, .. }) => plain,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

#[test]
fn help_and_version_need_nothing_else() {
    for line in [
        "-h",
        "--help",
        "help",
        "mount -h",
        "help mount",
        "help probe",
    ] {
        let words: Vec<&str> = std::iter::once("ftpfs").chain(line.split(' ')).collect();
        assert!(help(&words).contains("Usage: ftpfs "), "{line}");
    }
    for word in ["-V", "--version", "version"] {
        let printed = parse(["ftpfs", word].map(OsString::from));
        assert!(
            matches!(&printed, Ok(Request::Print(text)) if text.contains(env!("CARGO_PKG_VERSION"))),
            "{word}: {printed:?}"
        );
    }
    let error = parse(["ftpfs", "help", "x"].map(OsString::from)).expect_err("x");
    assert!(error.contains("x is no command"), "{error}");
}

/// Eighty columns. `FTPFS_RENEW=1 cargo test --test options help_of_each` writes the files of `tests/fixtures/help`.
#[test]
fn help_of_each_command_is_that_of_the_file() {
    let names = SUBCOMMANDS.map(|one| (one.name, Some(one.name)));
    for (name, word) in names.into_iter().chain([("ftpfs", None)]) {
        for (flag, file) in [
            ("-h", name.to_string()),
            ("--help", format!("{name}--help")),
        ] {
            let shown = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
                .args(word)
                .arg(flag)
                .env("COLUMNS", "80")
                .output()
                .expect("ftpfs");
            let text = String::from_utf8(shown.stdout).expect("text");
            let file = format!("tests/fixtures/help/{file}");
            if std::env::var_os("FTPFS_RENEW").is_some() {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
                fs::write(path, &text).expect("written");
            }
            assert_eq!(text, read(&file), "{file}");
            let is_screen = flag == "--help" || text.lines().count() <= 45;
            assert!(is_screen, "{name}: not one screen");
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(80), "{file}: {widest:?} columns");
            assert!(!text.contains('\x1b'), "{file}: colours in a file");
        }
    }
}

#[test]
fn help_is_wrapped_to_the_width_of_the_terminal() {
    for (columns, widest) in [("64", 64), ("95", 95), ("20", 64), ("300", 100)] {
        let shown = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
            .arg("--help")
            .env("COLUMNS", columns)
            .output()
            .expect("ftpfs");
        let text = String::from_utf8(shown.stdout).expect("text");
        let lists = between(&text, "Options:", "See also");
        let width = lists.lines().map(|line| line.chars().count()).max();
        assert!(
            width <= Some(widest) && width > Some(widest - 10),
            "{width:?}"
        );
        // What is wrapped stays in its column.
        let table = between(&text, "Permissions (-o):", "See also");
        for line in table.lines().filter(|line| !line.is_empty()) {
            assert!(line.starts_with("  ") || line.ends_with(':'), "{line}");
        }
    }
}

/// What the help looks like on a terminal, with these variables of the environment.
fn help_on_a_terminal(variables: &[(&str, &str)]) -> String {
    const ON_A_TERMINAL: &str =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let shown = Command::new("python3")
        .args(["-c", ON_A_TERMINAL, env!("CARGO_BIN_EXE_ftpfs"), "-h"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("python3");
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8(shown.stdout).expect("text")
}

#[test]
fn help_has_colours_on_a_terminal_that_shows_them() {
    assert!(help_on_a_terminal(&[]).contains("\x1b["));
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = help_on_a_terminal(&[variable]);
        assert!(text.contains("Usage:") && !text.contains('\x1b'), "{text}");
    }
}

#[test]
fn words_that_unmount_are_two_and_a_helper() {
    let request = |line: &str| parse(line.split(' ').map(OsString::from));
    for (line, force, lazy) in [
        ("ftpfs umount /m", false, false),
        ("ftpfs unmount -f /m", true, false),
        ("ftpfs umount /m -fl", true, true),
        (
            "/sbin/umount.fuse.ftpfs /m -l -n -r -v -N /ns -t fuse.ftpfs",
            false,
            true,
        ),
        ("umount.curlftpfs /m", false, false),
    ] {
        let mountpoint = PathBuf::from("/m");
        let namespace = line.contains("-N /ns").then(|| PathBuf::from("/ns"));
        let expected = Umount {
            mountpoint,
            namespace,
            force,
            lazy,
        };
        assert_eq!(request(line), Ok(Request::Umount(expected)), "{line}");
    }
    for (line, part) in [
        ("ftpfs umount", "the mountpoint is missing"),
        ("ftpfs umount /m /n", "one argument too many: /n"),
        ("ftpfs umount -x /m", "unknown argument -x"),
        ("ftpfs umount ftp://u:secret@h/", "is a source"),
    ] {
        let error = request(line).expect_err(line);
        assert!(
            error.contains(part) && error.contains("usage: ftpfs umount"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
    for line in ["curlftpfs umount /m", "mount.ftpfs umount /m"] {
        assert!(matches!(request(line), Ok(Request::Mount(_))), "{line}");
    }
}

#[test]
fn the_help_names_every_option_in_lines_of_a_terminal() {
    let help = help(&["ftpfs", "--help"]);
    let joined = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: BTreeSet<&str> = help.split_whitespace().collect();
    for spec in TABLE {
        let name = typed(spec);
        assert!(words.contains(name.as_str()), "--help lacks {}", spec.name);
        assert!(
            joined.contains(spec.default),
            "--help lacks the default of {}",
            spec.name
        );
    }
    for one in SUBCOMMANDS {
        let help = self::help(&["ftpfs", one.name, "--help"]);
        for flag in one.flags {
            assert!(
                help.contains(&format!("-{}, --{}", flag.short, flag.long)),
                "{help}"
            );
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 100, "too wide: {line}");
            assert_eq!(line, line.trim_end(), "blanks at the end");
        }
    }
}

#[test]
fn the_manual_names_every_option_and_no_other() {
    let manual = read("man/ftpfs.1").replace("\\-", "-");
    let options = between(&manual, ".SH OPTIONS", ".SS As a helper");
    // Names stand in bold: the first, third, ... word of .BR, the first of .B and .BI.
    let mut named = BTreeSet::new();
    for line in options.lines() {
        let Some((request, rest)) = line.split_once(' ') else {
            continue;
        };
        if matches!(request, ".B" | ".BR" | ".BI") {
            let words = rest
                .split([' ', '"'])
                .map(|word| word.trim_end_matches(','));
            named.extend(words.map(|word| word.strip_suffix('=').unwrap_or(word)));
        }
    }
    for spec in TABLE {
        assert!(named.contains(spec.name), "the manual lacks {}", spec.name);
        if spec.value.is_some() {
            let entry = between(options, &format!(".BI {}= ", spec.name), ".TP");
            let default = format!("Default: {}.", spec.default);
            assert!(
                entry.contains(&default),
                "{}: not said: {default}",
                spec.name
            );
        }
    }
    for flag in flags() {
        let short = format!("-{}", flag.short);
        assert!(named.contains(short.as_str()), "the manual lacks {short}");
    }
    let entries = options.lines().zip(options.lines().skip(1));
    for (_, entry) in entries.filter(|(before, _)| *before == ".TP") {
        let name = entry
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .trim_end_matches('=');
        let known = TABLE.iter().any(|spec| spec.name == name);
        assert!(known || name.starts_with('-'), "not an option: {entry}");
    }
}

/// A part of a manual page without its requests and fonts, from a heading to the next one.
fn manual(page: &str, heading: &str) -> String {
    let text = read(page);
    let section = between(&text, &format!(".SH {heading}\n"), "\n.SH ");
    let lines = section.lines().skip(1).map(|line| {
        let line = match line.strip_prefix('.').map(|line| line.split_once(' ')) {
            Some(Some((_, rest))) => rest,
            Some(None) => line, // .TP, .br
            None => line,
        };
        line.replace(['"'], "")
            .replace("\\-", "-")
            .replace("\\fB", "")
            .replace("\\fP", "")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The letters of flags in a text: `-f`, `[-sfnv]`; without those of help and version.
fn letters(text: &str) -> BTreeSet<char> {
    let words = text.split(|c: char| c.is_whitespace() || "[]|,.;()".contains(c));
    let flags = words.filter(|word| word.starts_with('-') && !word.starts_with("--"));
    let letters = flags.flat_map(|word| word.chars().skip(1));
    letters
        .filter(|letter| !matches!(letter, 'h' | 'V'))
        .collect()
}

fn letters_of(flags: &[Flag]) -> BTreeSet<char> {
    let all = flags.iter().map(|flag| flag.short);
    all.filter(|letter| !matches!(letter, 'h' | 'V')).collect()
}

#[test]
fn synopsis_has_each_subcommand_with_its_flags() {
    let synopsis = manual("man/ftpfs.1", "SYNOPSIS");
    let forms: Vec<String> = synopsis
        .split("\n.br\n")
        .map(|form| form.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for one in SUBCOMMANDS {
        let word = match one.name {
            "mount" => "ftpfs [ mount ]".to_string(),
            name => format!("ftpfs {name}"),
        };
        let form = forms.iter().find(|form| form.starts_with(&word));
        let form = form.unwrap_or_else(|| panic!("the synopsis lacks {word}"));
        assert_eq!(letters(form), letters_of(one.flags), "{form}");
    }
    // `help` and `version` have no flags, so they are not among the subcommands.
    assert_eq!(forms.len(), SUBCOMMANDS.len() + 2, "{forms:?}");
}

#[test]
fn pages_of_the_helpers_name_their_flags_and_no_other() {
    for (page, flags) in [
        ("man/mount.ftpfs.8", HELPER_FLAGS),
        ("man/umount.ftpfs.8", UMOUNT_HELPER_FLAGS),
    ] {
        for section in ["SYNOPSIS", "OPTIONS"] {
            let text = manual(page, section);
            // The other form has the flags of another program.
            let text = text.split("\n.PP\n").next().unwrap_or_default();
            assert_eq!(letters(text), letters_of(flags), "{page}, {section}");
        }
    }
}

/// Each status with the test that shows it.
type Statuses = &'static [(u8, &'static str)];

/// The exit statuses of the manual: the page, the first words of the paragraph before them, and each status with the test
/// that shows it. Those without a test of their own are run here.
const STATUSES: &[(&str, &str, Statuses)] = &[
    (
        "man/ftpfs.1",
        "",
        &[
            (0, "tests/real_servers/mounting.rs background"),
            (
                1,
                "tests/real_servers/unmounting.rs helpers_end_with_the_statuses_of_mount",
            ),
        ],
    ),
    (
        "man/ftpfs.1",
        "For ftpfs umount",
        &[
            (
                0,
                "tests/real_servers/unmounting.rs umount_of_a_link_unmounts_and_of_a_path_below_fails",
            ),
            (1, "ftpfs umount /"),
        ],
    ),
    (
        "man/ftpfs.1",
        "For ftpfs status and ftpfs drop-cache",
        &[
            (
                0,
                "tests/protocol/status.rs status_reports_mount_and_counters",
            ),
            (1, "ftpfs status /"),
        ],
    ),
    (
        "man/ftpfs.1",
        "For ftpfs completions, ftpfs help and ftpfs version",
        &[(0, "ftpfs version"), (1, "ftpfs completions csh")],
    ),
    (
        "man/ftpfs.1",
        "For ftpfs probe",
        &[
            (
                0,
                "tests/protocol/probe.rs a_server_without_rest_is_no_liar",
            ),
            (1, "ftpfs probe ftp://u:p@127.0.0.1:1/"),
            (2, "tests/real_servers/probe.rs nothing_gets_through"),
            (
                3,
                "tests/protocol/probe.rs probe_names_files_it_cannot_remove",
            ),
            (
                130,
                "tests/protocol/probe.rs probe_ended_by_a_signal_leaves_no_files",
            ),
        ],
    ),
    (
        "man/mount.ftpfs.8",
        "",
        &[
            (
                0,
                "tests/real_servers/unmounting.rs helpers_end_with_the_statuses_of_mount",
            ),
            (1, "mount.ftpfs h:"),
            (32, "mount.ftpfs ftp://u:p@127.0.0.1:1/ /nowhere"),
        ],
    ),
    (
        "man/umount.ftpfs.8",
        "",
        &[
            (
                0,
                "tests/real_servers/unmounting.rs helpers_end_with_the_statuses_of_mount",
            ),
            (1, "umount.ftpfs"),
            (32, "umount.ftpfs /"),
        ],
    ),
];

#[test]
fn exit_statuses_of_the_manual_are_those_of_the_program() {
    let mut documented: BTreeMap<(&str, String), Vec<u8>> = BTreeMap::new();
    for page in ["man/ftpfs.1", "man/mount.ftpfs.8", "man/umount.ftpfs.8"] {
        let section = manual(page, "EXIT STATUS");
        for (number, paragraph) in section.split("\n.PP\n").enumerate() {
            let intro = match number {
                0 => "",
                _ => paragraph.split(".TP").next().unwrap_or_default(),
            };
            let intro = intro.split_whitespace().collect::<Vec<_>>().join(" ");
            let statuses: Vec<u8> = paragraph
                .lines()
                .filter_map(|line| line.trim().parse().ok())
                .collect();
            if !statuses.is_empty() {
                let intro = intro.replace(" :", "").replace(" ,", ",");
                let intro = intro.trim_end_matches(':').to_string();
                documented.insert((page, intro), statuses);
            }
        }
    }
    let listed: BTreeMap<(&str, String), Vec<u8>> = STATUSES
        .iter()
        .map(|(page, intro, statuses)| {
            let statuses = statuses.iter().map(|(status, _)| *status).collect();
            ((*page, intro.to_string()), statuses)
        })
        .collect();
    assert_eq!(documented, listed);
    for (status, shown) in STATUSES.iter().flat_map(|(_, _, statuses)| *statuses) {
        if let Some((file, test)) = shown.split_once(".rs ") {
            let text = read(&format!("{file}.rs"));
            assert!(text.contains(&format!("fn {test}(")), "no test {shown}");
        } else {
            let mut words = shown.split(' ');
            let name = words.next().unwrap_or_default();
            let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
            let command = std::os::unix::process::CommandExt::arg0(&mut command, name);
            let ended = command.args(words).output().expect("ftpfs");
            assert_eq!(ended.status.code(), Some(i32::from(*status)), "{shown}");
        }
    }
}

/// What the program reads from the environment. `PATH` needs no words.
#[test]
fn manual_names_each_variable_of_the_environment() {
    let section = manual("man/ftpfs.1", "ENVIRONMENT");
    let named: BTreeSet<&str> = section
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let is_name = |word: &&str| {
        let is_upper = word.starts_with(|c: char| c.is_ascii_uppercase()) && word.len() > 3;
        is_upper && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let mut read = BTreeSet::from(["ftp_proxy", "all_proxy", "no_proxy"]);
    for start in [
        "var(\"",
        "var_os(\"",
        "variable(\"",
        "of_user(\"",
        "SOCKET: &str = \"",
    ] {
        let names = sources.split(start).skip(1);
        let names = names.map(|rest| rest.split('"').next().unwrap_or_default());
        read.extend(names.filter(is_name).filter(|name| *name != "PATH"));
    }
    assert!(read.len() > 12, "{read:?}");
    let missing: Vec<_> = read.difference(&named).collect();
    assert!(missing.is_empty(), "the manual lacks {missing:?}");
}

#[test]
fn document_of_options_names_each_and_no_other() {
    let options = read("docs/options.md");
    let named: BTreeSet<&str> = options.split('`').skip(1).step_by(2).collect();
    for spec in TABLE {
        assert!(
            named.contains(typed(spec).as_str()),
            "docs/options.md lacks {}",
            spec.name
        );
    }
    let flags = flags();
    for flag in flags.filter(|flag| flag.value.is_none()) {
        let short = format!("-{}", flag.short);
        assert!(
            named.contains(short.as_str()),
            "docs/options.md lacks {short}"
        );
    }
    for row in options.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in columns[1].split('`').skip(1).step_by(2) {
            let spec = TABLE.iter().find(|spec| typed(spec) == name);
            let spec =
                spec.unwrap_or_else(|| panic!("docs/options.md has {name}, which is no option"));
            if spec.value.is_some() {
                assert_eq!(
                    columns[3], spec.default,
                    "the default of {name} in docs/options.md"
                );
            }
        }
    }
}

#[test]
fn readme_begins_with_purpose_and_commands() {
    let readme = read("README.md");
    let place = |text: &str| {
        readme
            .find(text)
            .unwrap_or_else(|| panic!("README lacks {text}"))
    };
    assert!(place("# ftpfs") < place("scripts/run"));
    assert!(place("scripts/run") < place("scripts/test"));
    assert!(place("scripts/test") < place("## "));
}

#[test]
fn manual_pages_are_of_this_version_and_well_formed() {
    let version = format!("\"ftpfs {}\"", env!("CARGO_PKG_VERSION"));
    for page in ["man/ftpfs.1", "man/mount.ftpfs.8", "man/umount.ftpfs.8"] {
        assert!(
            read(page).contains(&version),
            "{page}: not in .TH: {version}"
        );
        let shown = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", page])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("MANWIDTH", "80")
            .output()
            .expect("man");
        let warnings = String::from_utf8_lossy(&shown.stderr);
        assert!(
            shown.status.success() && warnings.is_empty(),
            "{page}: {warnings}"
        );
    }
    assert!(read("CHANGELOG.md").contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn messages_of_the_document_are_those_of_the_program() {
    let document = read("docs/troubleshooting.md");
    let mount = between(&document, "## It does not mount", "## ");
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut seen = 0;
    for row in mount.lines().filter(|line| line.starts_with("| `")) {
        let message = row.split('|').nth(1).unwrap_or_default();
        for words in message.split('`').skip(1).step_by(2) {
            // A name stands for what the program puts there, and the kernel has its own words.
            let words = words.replace("USER", "");
            let is_kernels = words == "Transport endpoint is not connected";
            assert!(
                is_kernels || sources.contains(words.trim()),
                "no message: {words}"
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} messages");
}

/// The text of all sources below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        text += &match path.is_dir() {
            true => sources(&path),
            false => fs::read_to_string(&path).expect("text"),
        };
    }
    text
}

/// An option as it is shown: `timeout=SECONDS`.
fn typed(spec: &Spec) -> String {
    match spec.value {
        Some(value) => format!("{}={value}", spec.name),
        None => spec.name.to_string(),
    }
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands from `start` on, before the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap_or_else(|| panic!("no {start}"));
    let rest = &text[from..];
    let inner = start.len();
    &rest[..rest[inner..]
        .find(end)
        .map_or(rest.len(), |place| inner + place)]
}

/// Every flag of every form.
fn flags() -> impl Iterator<Item = &'static Flag> {
    SUBCOMMANDS.into_iter().flat_map(|one| one.flags)
}

#[test]
fn wrong_command_lines_say_what_is_meant() {
    for (line, parts) in [
        (
            &["ftpfs", "staus"][..],
            &["staus is no command", "did you mean status?"][..],
        ),
        (
            &["ftpfs", "moutn", "ftp://u:secret@h/", "/m"],
            &["did you mean mount?"],
        ),
        (&["ftpfs", "umuont", "/m", "-l"], &["unknown argument -l"]),
        (&["ftpfs", "unmont", "/m"], &["did you mean unmount?"]),
        (&["ftpfs", "ftp://h/", ""], &["the mountpoint is missing"]),
        (
            &["ftpfs", "completions"],
            &["the shell is missing", "bash, zsh or fish"],
        ),
        (
            &["ftpfs", "h:", "/m", "-o", "ro timeout=7"],
            &["unknown option ro timeout", "a comma separates options"],
        ),
        (
            &["ftpfs", "wibble"],
            &["wibble is no command and no source; ftpfs -h lists"],
        ),
        (&["ftpfs", "help", "prob"], &["did you mean probe?"]),
        (
            &["ftpfs", "h:", "/m", "-o", "ssl"],
            &["ssl is an option of curlftpfs", "docs/curlftpfs.md"],
        ),
        (
            &["ftpfs", "h:", "/m", "-o", "max_read=7"],
            &["max_read is an option of curlftpfs"],
        ),
        (
            &["ftpfs", "h:", "/m", "-o", "tiemout=7"],
            &["did you mean timeout?"],
        ),
        (&["curlftpfs", "host"], &["the mountpoint is missing"]),
        (&["mount.ftpfs", "host"], &["the mountpoint is missing"]),
    ] {
        let error = settings_of(line).expect_err(line[1]);
        for part in parts {
            assert!(error.contains(part), "{line:?}: {error}");
        }
        assert!(
            !error.contains('\n') && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn blank_at_the_end_of_a_quoted_password_stays() {
    for (list, url) in [
        (r#"ro, user="anna:secret ""#, "ftp://anna:secret%20@host"),
        (
            r#"ro -o user="anna:a -o b""#,
            "ftp://anna:a%20%2Do%20b@host",
        ),
        ("user=anna:secret ,ro", "ftp://anna:secret@host"),
    ] {
        let settings = settings_of(&["curlftpfs", "-o", list, "host", "/m"]).expect(list);
        assert_eq!(settings.source.0, url, "{list}");
    }
}

#[test]
fn rest_of_a_password_of_curlftpfs_is_not_quoted() {
    for list in ["user=anna:sec,ret", "proxy_user=a:x,ret"] {
        let error = settings_of(&["curlftpfs", "-o", list, "host", "/m"]).expect_err(list);
        assert!(
            error.contains("a wrong option after") && !error.contains("ret"),
            "{error}"
        );
    }
}
