//! What others change on the server: the kernel, which keeps names, attributes and pages, is told of it.
//!
//! In each test the mount learns of the change by a listing that carries nothing of it to the kernel: that of a
//! directory in which names were looked for that are not there.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Gate, Server};

/// Attributes and listings of this mount last a second.
const SHORT_CACHE: &str = "cache_timeout=1";
/// Has the mount list a directory that it has listed before.
const RELIST: &str = "
def learn(directory = '.'):
    time.sleep(1.1)
    for name in 'no', 'none': assert not os.path.exists(f'{directory}/{name}')
def soon(holds):
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, 'not soon'
        time.sleep(0.02)
def rendezvous():
    open(os.environ['S'] + '/ready', 'w').write('ready')
    soon(lambda: os.path.exists(os.environ['S'] + '/changed'))
";

/// Starts a script that calls `rendezvous()` somewhere, does `change` there, and waits for its end.
fn around(mount: &Mount, script: &str, change: impl FnOnce()) -> String {
    std::fs::write(
        mount.path("script"),
        format!("import ctypes, mmap, os, select, time\n{RELIST}\n{script}\nprint('done')\n"),
    )
    .unwrap();
    let mut running = mount.start("python3 -I $S/script 2>&1");
    soon("the script is ready", || {
        mount.path("ready").exists() || running.is_over()
    });
    change();
    std::fs::write(mount.path("changed"), "").unwrap();
    let said = running.end();
    assert!(said.ends_with("done\n"), "{said}\n{}", mount.log());
    said
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_there() {
    let server = Server::start();
    server.tree().put("/a", "A");
    server.tree().put("/b", "B");
    server.tree().link("/l", "a");
    let mount = Mount::with(&server, SHORT_CACHE);
    let script = "
assert os.readlink('l') == 'a' and open('l').read() == 'A'
held = os.open('l', os.O_PATH | os.O_NOFOLLOW)
rendezvous()
learn()
soon(lambda: os.readlink('l') == 'b')
assert open('l').read() == 'B'";
    around(&mount, script, || server.tree().link("/l", "b"));
}

#[test]
fn mapped_file_shows_remote_changes() {
    let server = Server::start();
    server.tree().put("/f", vec![b'o'; 100_000]);
    let mount = Mount::with(&server, SHORT_CACHE);
    let script = "
file = open('f', 'rb')
page = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
assert page[:3] == b'ooo' and page[-3:] == b'ooo'
rendezvous()
learn()
soon(lambda: page[:3] == b'NNN' and page[-3:] == b'NNN')";
    around(&mount, script, || {
        let mut tree = server.tree();
        tree.put("/f", vec![b'N'; 100_000]);
        tree.node_mut("/f").unwrap().modified += 100;
    });
}

#[test]
fn followed_file_shows_remote_growth() {
    let server = Server::start();
    server.tree().put("/log", "one\n");
    let mount = Mount::with(&server, SHORT_CACHE);
    let script = "
file = open('log')
assert file.read() == 'one\\n'
rendezvous()
learn()
got = ''
def more():
    global got
    got += file.read()
    return got == 'two\\n'
soon(more)";
    around(&mount, script, || server.tree().put("/log", "one\ntwo\n"));
}

/// The kernel cuts what is read to the size that it knows, which it does not learn by an open.
fn who_opens_reads_all_of_the_new_one(before: &str, replacement: &str) {
    const FILES: usize = 20;
    let server = Server::start();
    let put = |text: &str| {
        for number in 0..FILES {
            server.tree().put(&format!("/d/{number}"), text);
        }
    };
    put("one\n");
    let mount = Mount::of(&server);
    let script = format!(
        "
# Neither in the order of names nor of numbers: nothing is fetched ahead.
names = [f'd/{{7 * n % {FILES}}}' for n in range({FILES})]
def read(name):
    os.stat(name)
    file = os.open(name, os.O_RDONLY)
    return os.read(file, 100) + os.read(file, 100)
os.listdir('d')
{before}
time.sleep(5.5)
rendezvous()
got = list(map(read, names))
assert set(got) == {{b{replacement:?}}}, got"
    );
    around(&mount, &script, || put(replacement));
}

#[test]
fn open_after_remote_replacement_reads_the_new_file() {
    let before = "assert set(map(read, names)) == {b'one\\n'}";
    for replacement in ["this one is longer\n", "s\n"] {
        who_opens_reads_all_of_the_new_one(before, replacement);
    }
}

#[test]
fn open_after_listing_reads_a_remotely_replaced_file() {
    for replacement in ["this one is longer\n", "s\n", "two\n"] {
        who_opens_reads_all_of_the_new_one("", replacement);
    }
}

/// The kernel pads what is read with zeros up to the size that it knows, also where it asks once more after an error. A race
/// with the notification of the new size: many files.
#[test]
fn file_cut_since_it_was_listed_is_never_padded() {
    const FILES: usize = 60;
    let server = Server::start();
    for number in 0..FILES {
        server.tree().put(&format!("/{number}"), vec![b'A'; 600]);
    }
    let mount = Mount::of(&server);
    let script = format!(
        "
import errno
names = [str(7 * n % {FILES}) for n in range({FILES})]
def read(name):
    file = os.open(name, os.O_RDONLY)
    try: return os.read(file, 4096)
    except OSError as error: return error.errno
    finally: os.close(file)
os.listdir()
rendezvous()
got = list(map(read, names))
assert set(got) <= {{errno.EIO, b'short'}}, got
def settled(): return all(read(name) == b'short' for name in names)
soon(settled)"
    );
    around(&mount, &script, || {
        for number in 0..FILES {
            server.tree().put(&format!("/{number}"), "short");
        }
    });
}

#[test]
fn inotify_reports_remote_removal() {
    let server = Server::start();
    for path in ["/d/f", "/d/g", "/gone/below/f"] {
        server.tree().put(path, "x");
    }
    let mount = Mount::with(&server, SHORT_CACHE);
    let script = "
libc = ctypes.CDLL(None, use_errno=True)
inotify = libc.inotify_init1(os.O_CLOEXEC)
IN_DELETE_SELF = 0x400
os.listdir('d'), os.listdir('gone/below')
for path in b'd/f', b'gone':
    assert libc.inotify_add_watch(inotify, path, IN_DELETE_SELF) > 0
rendezvous()
learn('d')
def event():
    assert select.select([inotify], [], [], 20)[0], 'no event'
    return int.from_bytes(os.read(inotify, 16)[4:8], 'little')
assert event() == IN_DELETE_SELF
assert event() == 0x8000  # IN_IGNORED
learn()
assert event() == IN_DELETE_SELF
assert os.path.exists('d/g') and not os.path.exists('d/f') and not os.path.exists('gone')";
    around(&mount, script, || {
        let mut tree = server.tree();
        for path in ["/d/f", "/gone/below/f", "/gone/below", "/gone"] {
            tree.remove(path);
        }
    });
}

#[test]
fn a_file_that_became_a_directory_is_one() {
    let server = Server::start();
    server.tree().put("/x", "file");
    let mount = Mount::with(&server, SHORT_CACHE);
    let script = "
held = open('x')
rendezvous()
learn()
soon(lambda: os.path.isdir('x'))
assert os.listdir('x') == ['f']";
    around(&mount, script, || {
        server.tree().remove("/x");
        server.tree().put("/x/f", "y");
    });
}

#[test]
fn ten_thousand_changes_at_once_are_all_seen() {
    const FILES: usize = 10_000;
    let server = Server::start();
    for number in 0..FILES {
        server.tree().put(&format!("/d/{number}"), "old");
    }
    let mut mount = Mount::with(&server, SHORT_CACHE);
    assert_eq!(mount.sh("ls -l d | grep -c ' 3 '").trim(), "10000");
    {
        let mut tree = server.tree();
        for number in 0..FILES {
            let path = format!("/d/{number}");
            match number % 2 {
                0 => tree.put(&path, "longer"),
                _ => tree.remove(&path),
            }
        }
    }
    mount.sh("sleep 1.1; ! test -e d/no; ! test -e d/none");
    assert_eq!(mount.sh("ls -l d | grep -c ' 6 '").trim(), "5000");
    assert_eq!(mount.sh("cat d/* | wc -c").trim(), "30000");
    mount.unmount();
}

#[test]
fn an_unmount_amid_notices_ends_well() {
    let server = Server::start();
    for number in 0..3000 {
        server.tree().put(&format!("/d/{number}"), "old");
    }
    let mut mount = Mount::with(&server, SHORT_CACHE);
    mount.sh("ls -l d > /dev/null");
    for number in 0..3000 {
        server.tree().put(&format!("/d/{number}"), "longer");
    }
    mount.sh("sleep 1.1; ! test -e d/no; ! test -e d/none");
    mount.unmount();
}

/// The kernel holds the directory's lock while it waits for MKD: a notice that waited for the lock would keep the
/// process from ending, and that the request from failing.
#[test]
fn crash_with_pending_notices_frees_all_callers() {
    let server = Server::start();
    server.tree().put("/d/f", pattern(10));
    server.tree().put("/d/g", pattern(10));
    let mut mount = Mount::with(&server, SHORT_CACHE);
    mount.sh("ls -l d > /dev/null");
    let gate = Gate::default();
    server.once("MKD", Act::Hold(gate.clone()));
    let mut maker = mount.start("mkdir d/new || echo failed");
    server.await_count("MKD", 1);
    server.tree().remove("/d/f");
    // Names that the kernel knows are asked for without the lock; the second one brings a listing.
    let listed = server.count("MLSD");
    let mut looker = mount.start("sleep 1.1; stat d/g d/f || true");
    server.await_count("MLSD", listed + 1);
    mount.sh("sleep 0.5");
    mount.kill();
    assert!(maker.end().contains("failed"));
    looker.end();
    gate.open();
}
