//! The real servers that `scripts/servers` runs on loopback, seen from the outside and from their disk.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The account whose tree the servers show, and who owns what they write.
pub const ACCOUNT: &str = "ftpfstest";

#[derive(Clone, Copy)]
pub struct Server {
    pub name: &'static str,
}

impl Server {
    /// `ftp://user:password@127.0.0.1:port/`
    pub fn url(self) -> String {
        self.ask("url")
    }

    /// The directory that a login sees as `/`.
    pub fn disk(self) -> PathBuf {
        PathBuf::from(self.ask("disk"))
    }

    /// The commands that the server received, one a line, each in double quotes.
    pub fn log(self) -> String {
        let path = self.ask("log");
        String::from_utf8_lossy(&fs::read(&path).unwrap_or_else(|cause| panic!("{path}: {cause}")))
            .into_owned()
    }

    /// Fails the test, with the mend, when the server is not there.
    pub fn demand(self) {
        self.ask("status");
    }

    fn ask(self, what: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers");
        let answer = Command::new(script)
            .args([what, self.name])
            .output()
            .unwrap();
        assert!(
            answer.status.success(),
            "{} is not there (scripts/servers start {}): {}{}",
            self.name,
            self.name,
            String::from_utf8_lossy(&answer.stdout),
            String::from_utf8_lossy(&answer.stderr)
        );
        String::from_utf8(answer.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }
}
