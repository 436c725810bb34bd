//! Attributes that the server can't store: the mount keeps them, shows them, and knows when they end.

use std::process::Stdio;

use crate::mount::{Mount, is_mounted, soon};
use crate::scripted::{Act, Script, Server};

/// Without a command for modes and times.
const BARE: &[&str] = &["SITE", "MFMT", "MDTM-SET"];
/// Sets all that can be set on a file and a directory.
const SET: &str = "
os.makedirs('d'); open('d/f', 'w').write('x')
os.chown('d/f', 1234, 2345); os.chmod('d/f', 0o4751)
os.setxattr('d/f', 'user.colour', b'blue\\0')
os.utime('d/f', ns=(5_000_000_006, -1_500_000_000))
os.chmod('d', 0o2750); os.utime('d', ns=(7, 981_173_106_789_000_000))";
/// Prints it.
const SHOW: &str = "
for name in 'd', 'd/f':
    s = os.lstat(name)
    print(name, oct(s.st_mode), s.st_uid, s.st_gid, s.st_atime_ns, s.st_mtime_ns)
print(os.listxattr('d/f'), os.getxattr('d/f', 'user.colour'))";
const SHOWN: &str = "\
d 0o42750 0 0 7 981173106789000000
d/f 0o104751 1234 2345 5000000006 -1500000000
['user.colour'] b'blue\\x00'
";

fn bare() -> Server {
    Script::new().without(BARE).start()
}

#[test]
fn what_was_set_is_shown_also_after_a_remount() {
    let server = bare();
    let mut mount = Mount::of(&server);
    mount.python(SET);
    assert_eq!(mount.python(SHOW), SHOWN);
    mount.unmount();
    mount.again(&server);
    assert_eq!(mount.python(SHOW), SHOWN);
    // By names that were asked for alone, and by a listing.
    mount.sh("ls -l d >/dev/null");
    assert_eq!(mount.python(SHOW), SHOWN);
    let said = mount.log();
    assert!(!said.contains("are kept by this mount"), "{said}");
}

#[test]
fn first_attribute_of_a_kind_that_is_kept_is_logged() {
    let server = bare();
    let mount = Mount::of(&server);
    mount.python(SET);
    mount.python("os.chmod('d/f', 0o600); os.utime('d/f', ns=(1, 1))");
    let said = mount.log();
    for kind in ["permission bits are", "times are", "owners are"] {
        let lines = said.matches(&format!("{kind} kept by this mount")).count();
        assert_eq!(lines, 1, "{kind}: {said}");
    }
}

#[test]
fn server_that_sets_modes_and_times_is_asked_to() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.python(SET);
    assert_eq!(mount.python(SHOW), SHOWN);
    mount.python("os.chmod('d/f', 0o640); os.utime('d/f', ns=(1, 10**18 + 5))");
    let tree = server.tree();
    let node = tree.node("/d/f").unwrap();
    assert_eq!((node.mode, node.modified), (0o640, 10i64.pow(9)));
    drop(tree);
    assert_eq!(
        mount.python("print(os.stat('d/f').st_mtime_ns)"),
        "1000000000000000005\n"
    );
}

#[test]
fn another_clients_change_ends_what_is_kept_of_a_file() {
    let server = bare();
    server.tree().put("/f", "one");
    let mut mount = Mount::with(&server, "cache_timeout=1");
    mount.sh("chmod 751 f; chown 7 f; python3 -c \"import os; os.setxattr('f', 'user.a', b'b')\"");
    assert_eq!(mount.sh("stat -c '%a %u' f"), "751 7\n");
    server.tree().put("/f", "longer");
    mount.sh("sleep 1.1; ls >/dev/null");
    soon("the change is seen", || {
        mount.sh("stat -c '%a %u' f") == "644 0\n"
    });
    assert_eq!(mount.python("print(os.listxattr('f'))"), "[]\n");
    // While nothing is mounted.
    mount.sh("chmod 751 f");
    mount.unmount();
    server.tree().put("/f", "as long, later");
    mount.again(&server);
    assert_eq!(mount.sh("stat -c %a f"), "644\n");
}

#[test]
fn own_write_keeps_the_mode_and_ends_the_time() {
    let server = bare();
    let mount = Mount::with(&server, "cache_timeout=1");
    mount.sh("echo one > f; chmod 751 f; touch -d 2001-02-03 f; echo two >> f; sleep 1.1; ls -l >/dev/null");
    assert_eq!(mount.sh("stat -c %a f; cat f"), "751\none\ntwo\n");
    assert_eq!(mount.sh("find . -name f -newermt 2010-01-01"), "./f\n");
}

#[test]
fn kept_time_of_a_directory_ends_with_a_change_in_it() {
    let server = bare();
    let mount = Mount::with(&server, "cache_timeout=1");
    let is_old = |name: &str| {
        !mount
            .sh(&format!("find {name} -maxdepth 0 ! -newermt 2010-01-01"))
            .is_empty()
    };
    mount.sh("mkdir a b c; touch b/x; touch -d 2001-02-03 a b c; sleep 1.1; ls -l >/dev/null");
    for name in ["a", "b", "c"] {
        assert!(is_old(name), "{name}");
    }
    mount.sh("touch a/new");
    assert!(!is_old("a"));
    mount.sh("rm b/x");
    assert!(!is_old("b"));
    server.tree().node_mut("/c").unwrap().modified += 100;
    mount.sh("sleep 1.1; ls -l >/dev/null");
    soon("the change is seen", || !is_old("c"));
}

#[test]
fn kept_attributes_follow_renames_and_go_with_the_file() {
    let server = bare();
    let mut mount = Mount::of(&server);
    mount.sh(
        "mkdir -p d/e; echo x > d/e/f; echo y > g; chmod 751 d/e/f g; mv d h; rm g; echo y > g",
    );
    assert_eq!(mount.sh("stat -c %a h/e/f g"), "751\n644\n");
    mount.unmount();
    mount.again(&server);
    assert_eq!(mount.sh("stat -c %a h/e/f g"), "751\n644\n");
    // Names that this mount has not looked up.
    mount.unmount();
    mount.again(&server);
    mount.sh("mv h d; mkdir -p h/e; echo x > h/e/f; rm -r d; mkdir -p d/e; echo x > d/e/f");
    mount.unmount();
    mount.again(&server);
    assert_eq!(mount.sh("stat -c %a h/e/f d/e/f"), "644\n644\n");
}

#[test]
fn another_mount_shows_what_one_keeps() {
    let server = bare();
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "cache_timeout=1");
    let second = mount.path("second");
    std::fs::create_dir(&second).unwrap();
    let url = format!("{}d", server.url());
    let mut other = mount
        .ftpfs(&[
            &url,
            second.to_str().unwrap(),
            "-f",
            "-o",
            "cache_timeout=1",
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    soon("the second mount", || is_mounted(&second));
    assert_eq!(mount.sh("stat -c %a $S/second/f"), "644\n");
    mount.sh("chmod 751 d/f");
    soon("the other shows it", || {
        mount.sh("sleep 0.3; stat -c %a $S/second/f") == "751\n"
    });
    mount.sh("chmod 711 $S/second/f");
    soon("and the first the newer one", || {
        mount.sh("sleep 0.3; stat -c %a d/f") == "711\n"
    });
    mount.sh("umount $S/second");
    other.wait().unwrap();
}

/// pyftpdlib takes three octal digits.
#[test]
fn refused_special_bits_are_kept_and_the_others_stored() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.on("SITE CHMOD 4751", Act::Reply("501 Invalid mode"));
    let mount = Mount::of(&server);
    mount.sh("chmod 4751 f");
    assert_eq!(server.tree().node("/f").unwrap().mode, 0o751);
    assert_eq!(mount.sh("stat -c %a f"), "4751\n");
}

#[test]
fn refused_special_bits_of_a_written_file_leave_the_others() {
    let server = Server::start();
    server.on("SITE CHMOD 4700", Act::Reply("501 Invalid mode"));
    let mount = Mount::of(&server);
    mount.python("f = open('f', 'w'); f.write('x'); os.fchmod(f.fileno(), 0o4700); f.close()");
    soon("the other bits are stored", || {
        server
            .tree()
            .node("/f")
            .is_some_and(|node| node.mode == 0o700)
    });
    assert_eq!(mount.sh("stat -c %a f; cat f"), "4700\nx");
}

#[test]
fn refused_special_bits_of_a_new_directory_leave_the_others() {
    let server = Server::start();
    server.on("SITE CHMOD 1700", Act::Reply("501 Invalid mode"));
    let mount = Mount::of(&server);
    mount.python("os.umask(0); os.mkdir('d', 0o1700)");
    assert_eq!(server.tree().node("/d").unwrap().mode, 0o700);
    assert_eq!(mount.sh("stat -c %a d"), "1700\n");
}

#[test]
fn strict_and_ignore_keep_nothing() {
    let server = bare();
    server.tree().put("/f", "content");
    let mount = Mount::with(&server, "attributes=strict");
    assert_eq!(mount.error("os.chmod('f', 0o751)"), "EPERM");
    assert_eq!(mount.error("os.chown('f', 7, 7)"), "EPERM");
    assert_eq!(mount.error("os.utime('f', (1, 1))"), "EPERM");
    let set = "os.setxattr('f', 'user.a', b'b')";
    assert_eq!(mount.error(set), "ENOTSUP");
    drop(mount);
    let mount = Mount::with(&server, "attributes=ignore");
    mount.sh("chmod 751 f; chown 7 f; touch -d 2001-01-01 f");
    assert_eq!(mount.sh("stat -c '%a %u' f"), "644 0\n");
    assert_eq!(mount.error(set), "ENOTSUP");
}

#[test]
fn extended_attributes_obey_their_flags_and_limits() {
    let server = bare();
    server.tree().put("/f", "content");
    let mount = Mount::of(&server);
    for (expression, said) in [
        (
            "os.setxattr('f', 'user.a', b'1', os.XATTR_REPLACE)",
            "ENODATA",
        ),
        ("os.setxattr('f', 'user.a', b'1', os.XATTR_CREATE)", "None"),
        (
            "os.setxattr('f', 'user.a', b'2', os.XATTR_CREATE)",
            "EEXIST",
        ),
        ("os.setxattr('f', 'user.a', b'3', os.XATTR_REPLACE)", "None"),
        ("os.getxattr('f', 'user.a')", "b'3'"),
        ("os.setxattr('f', 'user.b', b'x' * 65536)", "None"),
        ("os.setxattr('f', 'user.c', b'x' * 65000)", "None"),
        ("os.setxattr('f', 'user.d', b'x' * 1000)", "ENOSPC"),
        ("os.removexattr('f', 'user.c')", "None"),
        ("os.setxattr('f', 'user.ftp.facts', b'x')", "ENOTSUP"),
        ("os.setxattr('f', 'trusted.a', b'x')", "ENOTSUP"),
        ("os.removexattr('f', 'user.c')", "ENODATA"),
        ("os.removexattr('f', 'user.a')", "None"),
        ("os.listxattr('f')", "['user.b']"),
    ] {
        assert_eq!(mount.error(expression), said, "{expression}");
    }
}

#[test]
fn users_own_what_they_make_in_a_shared_mount() {
    let server = bare();
    let mount = Mount::with(&server, "allow_other,default_permissions");
    let script = "
os.chmod('.', 0o777); os.mkdir('shared'); os.chown('shared', 0, 77); os.chmod('shared', 0o2777)
if os.fork() == 0:
    os.setgroups([88]); os.setgid(2000); os.setuid(1000)
    open('own', 'w').write('x'); os.mkdir('shared/d'); open('shared/f', 'w').write('x')
    os.chown('own', -1, 88)
    for forbidden in lambda: os.chown('own', 1001, -1), lambda: os.chown('own', -1, 99), lambda: os.chmod('shared', 0):
        try: forbidden()
        except PermissionError: pass
        else: os._exit(1)
    os._exit(0)
assert os.wait()[1] == 0
open('of_root', 'w').write('x')
for name in 'own', 'shared/d', 'shared/f', 'of_root':
    s = os.stat(name); print(name, s.st_uid, s.st_gid, oct(s.st_mode & 0o7000))";
    let expected =
        "own 1000 88 0o0\nshared/d 1000 77 0o2000\nshared/f 1000 77 0o0\nof_root 0 0 0o0\n";
    assert_eq!(mount.python(script), expected);
}

#[test]
fn write_by_another_user_clears_set_id_bits() {
    for server in [Server::start(), bare()] {
        let mount = Mount::with(&server, "allow_other,default_permissions");
        let script = "
os.umask(0)
for mode in 0o4777, 0o2777, 0o6777:
    name = oct(mode); os.close(os.open(name, os.O_CREAT | os.O_WRONLY, mode))
    assert os.stat(name).st_mode & 0o7777 == mode, name
    if os.fork() == 0:
        os.setgroups([]); os.setgid(1000); os.setuid(1000)
        f = os.open(name, os.O_WRONLY); os.write(f, b'x'); os.close(f)
        os._exit(0)
    assert os.wait()[1] == 0
    assert os.stat(name).st_mode & 0o7777 == 0o777, name";
        mount.python(script);
    }
}

#[test]
fn mode_without_write_bit_is_in_force_when_close_returns() {
    let server = Server::start();
    let mount = Mount::of(&server);
    for mode in [0o444, 0o400, 0o600] {
        let make = "f = os.open('f', os.O_CREAT | os.O_WRONLY, MODE); os.write(f, b'one')
g = os.dup(f); os.close(f); os.write(g, b'two'); os.close(g)";
        mount.python(&make.replace("MODE", &mode.to_string()));
        let tree = server.tree();
        assert_eq!(tree.node("/f").unwrap().mode, mode);
        assert_eq!(tree.bytes("/f"), Some(&b"onetwo"[..]));
        drop(tree);
        mount.sh("rm -f f");
    }
}

/// MFMT of a link would set the time of what it leads to.
#[test]
fn time_of_a_symbolic_link_is_kept_and_its_target_untouched() {
    let server = Server::start();
    server.tree().put("/target", "content");
    server.tree().link("/link", "target");
    let mount = Mount::of(&server);
    mount.sh("touch -h -d @1000000000 link");
    assert_eq!(mount.sh("stat -c %Y link"), "1000000000\n");
    assert_eq!(server.count("MFMT") + server.count("SITE UTIME"), 0);
}

/// Another mount that sees a new version must not end what the mount that made it keeps.
#[test]
fn another_mount_does_not_end_what_an_append_keeps() {
    let server = bare();
    server.tree().put("/f", "one\n");
    let mount = Mount::with(&server, "cache_timeout=1");
    let second = mount.path("second");
    std::fs::create_dir(&second).unwrap();
    let mut other = mount
        .ftpfs(&[
            &server.url(),
            second.to_str().unwrap(),
            "-f",
            "-o",
            "cache_timeout=0",
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    soon("the second mount", || is_mounted(&second));
    mount.sh("chown 1234 f; sleep 1.5; ls -l $S/second >/dev/null");
    for _ in 0..3 {
        mount.sh(
            "echo more >> f; ls -l $S/second >/dev/null; sleep 1.3; ls -l . $S/second >/dev/null",
        );
        assert_eq!(mount.sh("stat -c %u f"), "1234\n");
    }
    soon("the other shows it, too", || {
        mount.sh("sleep 0.3; stat -c %u $S/second/f") == "1234\n"
    });
    mount.sh("umount $S/second");
    other.wait().unwrap();
}

#[test]
fn what_was_kept_of_a_removed_directory_is_not_that_of_a_new_one() {
    let server = bare();
    server.tree().directory("/d");
    let mut mount = Mount::of(&server);
    mount.sh("chown 4321 d");
    mount.unmount();
    server.tree().remove("/d");
    mount.again(&server);
    mount.sh("ls -l");
    mount.unmount();
    server.tree().directory("/d");
    mount.again(&server);
    assert_eq!(mount.sh("ls >/dev/null; stat -c %u d"), "0\n");
}

#[test]
fn second_rsync_asks_for_listings_alone() {
    let server = bare();
    let mut mount = Mount::of(&server);
    mount.sh(
        "mkdir -p $S/tree/a/b; for n in {1..40}; do echo $n > $S/tree/a/f$n; echo $n > $S/tree/a/b/f$n; done
        chmod 640 $S/tree/a/f*; chmod 750 $S/tree/a; touch -d 2020-01-02 $S/tree/a/b $S/tree/a $S/tree; rsync -a $S/tree/ tree",
    );
    mount.unmount();
    mount.again(&server);
    let mark = server.mark();
    assert_eq!(mount.sh("rsync -ai $S/tree/ tree"), "");
    let asked = server.commands_since(mark);
    let changes = [
        "STOR", "SITE", "MFMT", "RNFR", "MKD", "RETR", "SIZE", "MDTM",
    ];
    assert_eq!(server.since(mark, &changes), [""; 0], "{asked:?}");
    assert!(asked.len() < 40, "{asked:?}");
}

#[test]
fn change_time_moves_with_attributes_names_and_content() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let mount = Mount::of(&server);
    let script = "
def moves(change):
    before = os.stat('f').st_ctime_ns
    time.sleep(0.02)
    change()
    assert os.stat('f').st_ctime_ns > before, change
moves(lambda: os.chmod('f', 0o600))
moves(lambda: os.chown('f', 5, 5))
moves(lambda: os.utime('f', (1, 1)))
moves(lambda: os.setxattr('f', 'user.a', b'b'))
moves(lambda: (os.rename('f', 'g'), os.rename('g', 'f')))
time.sleep(1)
moves(lambda: open('f', 'a').write('more'))";
    mount.python(script);
}

#[test]
fn own_change_leaves_the_access_time_as_shown() {
    let server = Server::start();
    server.tree().put("/f", "content");
    server.tree().put("/g", "content");
    server.tree().put("/d/f", "content");
    let mount = Mount::with(&server, "cache_timeout=1");
    let script = "
def stays(name, change):
    before = os.stat(name)
    change()
    assert os.stat(name).st_mtime_ns != before.st_mtime_ns, name
    assert os.stat(name).st_atime_ns == before.st_atime_ns, name
    time.sleep(1.1)
    os.listdir('.')
    assert os.stat(name).st_atime_ns == before.st_atime_ns, name
stays('f', lambda: open('f', 'a').write('more'))
stays('f', lambda: open('f', 'w').write('less'))
stays('d', lambda: open('d/new', 'w'))
stays('g', lambda: os.system('touch -m g'))
os.utime('g', ns=(5_000_000_006, 5_000_000_006))
stays('g', lambda: open('g', 'a').write('more'))
os.utime('f')
assert abs(os.stat('f').st_atime - os.stat('f').st_mtime) < 1";
    mount.python(script);
    server.tree().put("/f", "of another client");
    soon("the change is seen", || {
        mount.sh("ls >/dev/null; stat -c '%X %Y' f | tr ' ' '\\n' | uniq | wc -l") == "1\n"
    });
}

#[test]
fn unusable_database_is_said_and_attributes_end_with_the_mount() {
    let server = bare();
    server.tree().put("/f", "content");
    let mut mount = Mount::of(&server);
    mount.unmount();
    let state = mount.path("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::write(&state, "no directory").unwrap();
    mount.again(&server);
    mount.sh("chmod 751 f");
    assert_eq!(mount.sh("stat -c %a f"), "751\n");
    let said = mount.log();
    assert!(said.contains("is kept until the mount ends"), "{said}");
    mount.unmount();
    mount.again(&server);
    assert_eq!(mount.sh("stat -c %a f"), "644\n");
}

/// Until the server tells its time of a file, the local time is shown, shifted as the last stored file has shown.
#[test]
fn time_of_a_file_that_is_written_is_that_of_the_servers_clock() {
    const AHEAD: i64 = 3600;
    let server = Server::start();
    server.tree().directory("/d");
    server.tree().set_clock_ahead(AHEAD);
    let mount = Mount::of(&server);
    let ahead = |expression: &str| {
        let script = format!("import os, time\nprint(round((({expression}) - time.time()) / 60))");
        mount.python(&script).trim().to_string()
    };
    let open = "[open('new', 'w'), os.stat('new').st_mtime][1]";
    assert_eq!(ahead(open), "0", "nothing is known yet");
    mount.sh("echo x >stored");
    assert_eq!(ahead("os.stat('stored').st_mtime"), "60");
    let write =
        "(lambda f: [f.write('x'), f.flush(), os.stat('open').st_mtime][2])(open('open', 'w'))";
    assert_eq!(ahead(write), "60");
    assert_eq!(
        ahead("[os.mkdir('made'), os.stat('made').st_mtime][1]"),
        "60"
    );
    assert_eq!(ahead("[os.mkdir('d/in'), os.stat('d').st_mtime][1]"), "60");
    // A time that a program set says nothing of the clock.
    mount.sh("touch -d 2001-02-03 $S/old; cp -p $S/old old");
    assert_eq!(
        ahead("[open('last', 'w'), os.stat('last').st_mtime][1]"),
        "60"
    );
}
