//! Scripts that run in a network of their own, with servers of their own: see `namespace.sh`.

use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use crate::limited;

const SUPPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support");
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers");
const PRELUDE: &str = include_str!("namespace.sh");

/// What `scripts/servers` unpacks for us, without installing anything.
const PACKAGES: [&str; 7] = [
    "vsftpd",
    "proftpd-core",
    "proftpd-mod-crypto",
    "pure-ftpd",
    "python3-pyftpdlib",
    "python3-openssl",
    "nftables",
];

/// Runs a script; it must succeed within `limit` seconds. Returns what it printed.
pub fn run(limit: u64, script: &str) -> String {
    unpack();
    let scratch = tempfile::tempdir().unwrap();
    let home = std::env::var("FTPFS_SERVERS").unwrap_or("/var/tmp/ftpfs-servers".into());
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "bash",
        "-c",
    ]);
    command.arg(format!("{PRELUDE}\n{script}"));
    command
        .env("S", scratch.path())
        .env("FTPFS", env!("CARGO_BIN_EXE_ftpfs"));
    command.env("SUPPORT", SUPPORT).env("HOME_OF_SERVERS", home);
    command
        .env("HOME", scratch.path())
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    for variable in [
        "ftp_proxy",
        "FTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_STATE_HOME",
    ] {
        command.env_remove(variable);
    }
    let outcome = limited::run(&mut command, Duration::from_secs(limit), scratch.path());
    if !outcome.succeeded() {
        let log = |name: &str| {
            let text = std::fs::read(scratch.path().join(name)).unwrap_or_default();
            limited::tail(&String::from_utf8_lossy(&text), 60)
        };
        println!(
            "--- ftpfs\n{}\n--- the server\n{}\n{}",
            log("log"),
            log("server"),
            log("commands")
        );
        panic!(
            "the script ended with {:?}:\n{}",
            outcome.status,
            limited::tail(&outcome.output, 40)
        );
    }
    outcome.output
}

fn unpack() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        assert!(Path::new(SERVERS).exists());
        let unpacked = Command::new(SERVERS)
            .arg("unpack")
            .args(PACKAGES)
            .status()
            .unwrap();
        assert!(
            unpacked.success(),
            "scripts/servers unpack {PACKAGES:?}: {unpacked}"
        );
    });
}
