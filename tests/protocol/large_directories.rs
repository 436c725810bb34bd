//! Directories of very many names.

use crate::mount::{Mount, soon};
use crate::scripted::{Act, Server};

const NAME_COUNT: usize = 200_000;
/// Resident memory of a mount that has listed nothing, in MiB; debug builds are larger.
const EMPTY_MOUNT_MIB: u64 = 24;
/// Bytes that a name takes, while it is listed and afterwards.
const NAME_SIZE: u64 = 350;
/// Resident memory in MiB after everything was forgotten.
const FORGOTTEN_LIMIT_MIB: u64 = 100;

fn server() -> Server {
    let server = Server::start();
    let line = |n: usize| {
        format!(
            "type=file;size={n};modify=20210203040506;UNIX.mode=0644;UNIX.ownername=someone;UNIX.groupname=users; entry number {n:06}\r\n"
        )
    };
    let lines: String = (0..NAME_COUNT).map(line).collect();
    server.tree().directory("/d");
    let lines = lines + "type=dir; d\r\n";
    server.on("MLSD", Act::Listing(lines.into_bytes()));
    server
}

fn list_and_stat_one(mount: &Mount) {
    mount.python(&format!(
        "with os.scandir('.') as entries: names = {{entry.name for entry in entries}}
assert names == {{'d'}} | {{'entry number %06d' % n for n in range({NAME_COUNT})}}
assert os.stat('entry number 123456').st_size == 123456"
    ));
}

#[test]
fn names_take_350_bytes_while_they_are_listed() {
    let server = server();
    let mount = Mount::with(&server, "cache_timeout=600,metadata_cache_size=512M");
    for _ in 0..2 {
        list_and_stat_one(&mount);
    }
    assert_eq!(server.count("MLSD"), 1);
    let limit = EMPTY_MOUNT_MIB + ((NAME_COUNT as u64 * NAME_SIZE) >> 20);
    let peak = mount.peak_memory();
    assert!(peak <= limit, "{peak} of {limit} MiB resident");
}

#[test]
fn names_beyond_the_budget_go_when_nothing_needs_them() {
    let server = server();
    let mount = Mount::with(&server, "cache_timeout=600,metadata_cache_size=32M");
    mount.sh("ls -f | wc -l");
    let full = mount.memory();
    server.once("MLSD", Act::Listing(b"type=file;size=1; f\r\n".to_vec()));
    mount.sh("ls d");
    let is_small = || mount.memory() < FORGOTTEN_LIMIT_MIB;
    soon("the memory of names goes back", is_small);
    assert!(full > FORGOTTEN_LIMIT_MIB / 2, "{full} MiB resident");
    let before = server.count("MLSD");
    // What was listed is asked for again.
    mount.sh(&format!("[ $(ls | wc -l) = {} ]", NAME_COUNT + 1));
    assert!(server.count("MLSD") > before);
}
