//! Directories of very many names.

use crate::mount::Mount;
use crate::scripted::{Act, Server};

const NAME_COUNT: usize = 200_000;
/// Resident memory with all of them known, in MiB: some 1,500 bytes a name at most while they are listed.
const MEMORY_LIMIT_MIB: u64 = 300;

#[test]
fn two_hundred_thousand_names_are_listed_in_bounded_memory() {
    let server = Server::start();
    let line =
        |n: usize| format!("type=file;size={n};modify=20210203040506; entry number {n:06}\r\n");
    let lines: String = (0..NAME_COUNT).map(line).collect();
    server.on("MLSD", Act::Listing(lines.into_bytes()));
    let mount = Mount::with(&server, "cache_timeout=600");
    for _ in 0..2 {
        mount.python(&format!(
            "with os.scandir('.') as entries: names = {{entry.name for entry in entries}}
assert names == {{'entry number %06d' % n for n in range({NAME_COUNT})}}
assert os.stat('entry number 123456').st_size == 123456"
        ));
    }
    assert_eq!(server.count("MLSD"), 1);
    let peak = mount.peak_memory();
    assert!(peak < MEMORY_LIMIT_MIB, "{peak} MiB resident");
}
