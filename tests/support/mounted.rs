//! One mount of one server for one test: a directory of its own on the server's disk, a mount of it, and shell scripts
//! that see both. Everything here ends: mounting, each script, unmounting.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::limited::{self, Outcome};
use crate::server::{ACCOUNT, Server};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");
const PRELUDE: &str = include_str!("prelude.sh");

const MOUNT_LIMIT: Duration = Duration::from_secs(20);
const UNMOUNT_LIMIT: Duration = Duration::from_secs(30);
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);

pub struct Mounted {
    pub server: Server,
    /// The directory on the server: the test's name, and the number of this run, since another run may be active at the same time.
    place: String,
    /// `$M`
    mountpoint: PathBuf,
    /// `$D`: the same directory on the server's own disk.
    disk: PathBuf,
    /// `$S`: a local directory, `$HOME` for the tools.
    scratch: PathBuf,
    log: PathBuf,
    log_from: usize,
    process: Option<Child>,
    options: String,
    directory: TempDir,
}

impl Mounted {
    /// Nothing is mounted yet.
    pub fn new(server: Server, test: &'static str) -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse is missing: these tests mount for real"
        );
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests mount for real and look at the servers' disks: run them as root"
        );
        server.demand();
        let directory = tempfile::Builder::new()
            .prefix(&format!("{}-{test}-", server.name))
            .tempdir()
            .unwrap();
        let place = format!("{test}-{}", std::process::id());
        let disk = server.disk().join(&place);
        let [mountpoint, scratch] = ["mount", "scratch"].map(|name| directory.path().join(name));
        for made in [&disk, &mountpoint, &scratch] {
            fs::create_dir(made).unwrap();
        }
        let account = nix::unistd::User::from_name(ACCOUNT).unwrap().unwrap();
        nix::unistd::chown(&disk, Some(account.uid), Some(account.gid)).unwrap();
        let log_from = server.log().len();
        let log = directory.path().join("log");
        let options = String::new();
        Self {
            server,
            place,
            mountpoint,
            disk,
            scratch,
            log,
            log_from,
            process: None,
            options,
            directory,
        }
    }

    /// The URL of this test's directory on the server.
    pub fn url(&self) -> String {
        self.server.url() + &self.place
    }

    pub fn mount(&mut self, options: &str) {
        assert!(self.process.is_none());
        self.options = options.to_owned();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = Command::new(FTPFS);
        command
            .arg(self.url())
            .arg(&self.mountpoint)
            .arg("-f")
            .stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        // What is learned here is nothing for other tests.
        command
            .env("XDG_CACHE_HOME", self.directory.path().join("cache"))
            .env("XDG_STATE_HOME", self.directory.path().join("state"));
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "info");
        }
        let child = self.process.insert(command.spawn().unwrap());
        let mountpoint = &self.mountpoint;
        let live = limited::within(MOUNT_LIMIT, || match child.try_wait().unwrap() {
            Some(status) => Some(Err(status)),
            None => is_mounted(mountpoint).then_some(Ok(())),
        });
        match live {
            Some(Ok(())) => {}
            Some(Err(status)) => panic!("ftpfs ended before it mounted: {status}"),
            None => panic!("ftpfs did not mount within {MOUNT_LIMIT:?}"),
        }
        // The table has it before the kernel and ftpfs have agreed on how to speak: an unmount in between is an error.
        self.ftpfs(&["status", self.mountpoint()]);
    }

    /// As a user does it; the process must then end by itself, without an error and without a panic in its log.
    pub fn unmount(&mut self) {
        let unmounted = self.run(
            Command::new("fusermount3").arg("-u").arg(&self.mountpoint),
            UNMOUNT_LIMIT,
        );
        assert!(
            unmounted.succeeded(),
            "fusermount3 -u: {}",
            unmounted.output
        );
        let mut child = self.process.take().unwrap();
        let ended = limited::within(UNMOUNT_LIMIT, || child.try_wait().unwrap());
        if ended.is_none() {
            let _ = child.kill();
        }
        let status = ended
            .unwrap_or_else(|| panic!("ftpfs was still there {UNMOUNT_LIMIT:?} after its unmount"));
        assert!(
            status.success(),
            "ftpfs ended with {status}:\n{}",
            self.own_log()
        );
        assert!(!self.own_log().contains("panicked at"), "ftpfs panicked");
    }

    /// What is read now comes from the server, not from a cache.
    pub fn remount(&mut self) {
        let options = self.options.clone();
        self.remount_with(&options);
    }

    pub fn remount_with(&mut self, options: &str) {
        self.unmount();
        self.mount(options);
    }

    /// Runs a script of bash in the mount and returns what it printed. It must succeed within a minute.
    pub fn sh(&self, script: &str) -> String {
        self.sh_within(SCRIPT_LIMIT, script)
    }

    pub fn sh_within(&self, limit: Duration, script: &str) -> String {
        let outcome = self.run(&mut self.bash(script), limit);
        match outcome.status {
            Some(status) if status.success() => outcome.output,
            Some(status) => panic!(
                "the script ended with {status}:\n{}",
                limited::tail(&outcome.output, 60)
            ),
            None => panic!(
                "the script did not end within {limit:?}:\n{}",
                limited::tail(&outcome.output, 60)
            ),
        }
    }

    /// Runs `ftpfs` by itself, beside the mount.
    pub fn ftpfs(&self, arguments: &[&str]) -> Outcome {
        self.run(Command::new(FTPFS).args(arguments), SCRIPT_LIMIT)
    }

    /// How often the server was sent this verb since the test began.
    pub fn commands(&self, verb: &str) -> usize {
        let log = self.server.log();
        let (bare, with_argument) = (format!("\"{verb}\""), format!("\"{verb} "));
        let ours = format!("/{}", self.place);
        log[self.log_from..]
            .lines()
            .filter(|line| {
                line.contains(&bare) || line.contains(&with_argument) && line.contains(&ours)
            })
            .count()
    }

    pub fn mountpoint(&self) -> &str {
        self.mountpoint.to_str().unwrap()
    }

    pub fn is_mounted(&self) -> bool {
        is_mounted(&self.mountpoint)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the process to end by itself.
    pub fn ended(&mut self) {
        let mut child = self.process.take().unwrap();
        let ended = limited::within(UNMOUNT_LIMIT, || child.try_wait().unwrap());
        self.process = ended.is_none().then_some(child);
        assert!(
            ended.is_some_and(|status| status.success()),
            "ftpfs ended with {ended:?}"
        );
    }

    /// The most memory that the process ever had resident, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// The end of what both sides wrote, for a test that failed.
    pub fn report(&self) {
        println!(
            "--- the mount's log\n{}",
            limited::tail(&self.own_log(), 80)
        );
        println!(
            "--- what {} was asked\n{}",
            self.server.name,
            limited::tail(&self.server.log()[self.log_from..], 40)
        );
    }

    fn own_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.as_ref().unwrap().id().try_into().unwrap())
    }

    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{PRELUDE}\n{script}"));
        command
            .env("M", &self.mountpoint)
            .env("D", &self.disk)
            .env("S", &self.scratch)
            .env("HOME", &self.scratch);
        command
            .env("URL", self.url())
            .env("ACCOUNT", ACCOUNT)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        command.current_dir(&self.scratch);
        command
    }

    fn run(&self, command: &mut Command, limit: Duration) -> Outcome {
        limited::run(command, limit, &self.scratch)
    }
}

impl Drop for Mounted {
    /// Whatever happened before: nothing stays mounted. Killing ftpfs frees those who hang in it.
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            limited::within(Duration::from_secs(5), || child.try_wait().ok().flatten());
        }
        if is_mounted(&self.mountpoint) {
            let _ = self.run(
                Command::new("umount").arg("-l").arg(&self.mountpoint),
                Duration::from_secs(5),
            );
        }
        let _ = fs::remove_dir_all(&self.disk);
    }
}

/// Asks the kernel's table, since a `stat` of a mount that hangs would hang too.
fn is_mounted(mountpoint: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| {
        line.split(' ')
            .nth(4)
            .is_some_and(|path| Path::new(path) == mountpoint)
    })
}
