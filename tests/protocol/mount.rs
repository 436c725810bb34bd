//! A mount of a scripted server, in a process of its own, and programs that use it. Everything here ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::limited::{self, Outcome};
use crate::scripted::Server;

pub const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");
/// Far more than anything here needs, and the longest that a hang can take.
pub const SCRIPT_LIMIT: Duration = Duration::from_secs(40);

pub struct Mount {
    process: Option<Child>,
    directory: TempDir,
}

impl Mount {
    /// Mounts what the server shows after the login.
    pub fn of(server: &Server) -> Self {
        Self::with(server, "")
    }

    pub fn with(server: &Server, options: &str) -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse is missing: these tests mount for real"
        );
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("mount")).unwrap();
        let mut mount = Self {
            process: None,
            directory,
        };
        mount.launch(server, options);
        mount
    }

    /// Mounts once more, after an unmount: with the same cache.
    pub fn again(&mut self, server: &Server) {
        self.again_with(server, "");
    }

    /// The same with other options.
    pub fn again_with(&mut self, server: &Server, options: &str) {
        assert!(self.process.is_none());
        self.launch(server, options);
    }

    fn launch(&mut self, server: &Server, options: &str) {
        let mount = self;
        let log = fs::File::create(mount.path("log")).unwrap();
        let mut command =
            mount.ftpfs(&[&server.url(), mount.point().to_str().unwrap(), "-d", "-f"]);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        mount.process = Some(command.spawn().unwrap());
        let live = limited::within(SCRIPT_LIMIT, || {
            let ended = mount.process.as_mut().unwrap().try_wait().unwrap();
            ended
                .map(|_| false)
                .or_else(|| is_mounted(&mount.point()).then_some(true))
        });
        assert_eq!(live, Some(true), "no mount: {}", mount.log());
    }

    /// `ftpfs` with its cache in this test's own directory.
    pub fn ftpfs(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(FTPFS);
        command
            .args(arguments)
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env_remove("RUST_LOG");
        command
    }

    pub fn point(&self) -> PathBuf {
        self.path("mount")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a script of bash in the mount.
    pub fn try_sh(&self, script: &str) -> Outcome {
        limited::run(&mut self.bash(script), SCRIPT_LIMIT, self.directory.path())
    }

    /// The same; it must succeed. Returns what it printed.
    pub fn sh(&self, script: &str) -> String {
        let outcome = self.try_sh(script);
        let status = outcome.status;
        assert!(
            status.is_some_and(|status| status.success()),
            "{script}\n{status:?}\n{}\n{}",
            outcome.output,
            self.log()
        );
        outcome.output
    }

    /// Runs a script of Python in the mount; it must succeed. Returns what it printed.
    pub fn python(&self, script: &str) -> String {
        let file = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let imports = "import ctypes, errno, mmap, os, time";
        fs::write(file.path(), format!("{imports}\n{script}\n")).unwrap();
        // Isolated: it looks for no modules in the mount.
        self.sh(&format!("python3 -I {}", file.path().display()))
    }

    /// The name of the error that an expression of Python raises, or what it returns.
    pub fn error(&self, expression: &str) -> String {
        self.error_with("", expression)
    }

    /// The same, after some statements that must succeed.
    pub fn error_with(&self, before: &str, expression: &str) -> String {
        let script = format!(
            "{before}\ntry: print({expression})\nexcept OSError as e: print(errno.errorcode[e.errno])"
        );
        self.python(&script).trim().to_owned()
    }

    /// Starts a script of bash in the mount; dropping it kills it.
    pub fn start(&self, script: &str) -> Running {
        let output = self.path(&format!(
            "running-{}",
            fs::read_dir(self.directory.path()).unwrap().count()
        ));
        let file = fs::File::create(&output).unwrap();
        let mut command = self.bash(script);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        Running {
            child: command.spawn().unwrap(),
            output,
        }
    }

    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("set -euo pipefail\n{script}")])
            .current_dir(self.point())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8");
        // A python3 of a version manager would look for its files in the mount.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("/usr/bin:{path}"));
        command.env("S", self.directory.path());
        command
    }

    /// Makes a named pipe in `$S`, by which scripts wait for each other.
    pub fn make_fifo(&self, name: &str) {
        nix::unistd::mkfifo(&self.path(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    /// What a script put into a file in `$S`.
    pub fn scratch(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// What the program wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// What is kept of files that could not be stored, by name, without the times. Each has its reason in a file next to it.
    pub fn lost(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.path("cache/ftpfs/lost+found"))
            .into_iter()
            .flatten();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| Path::new(&format!("{}.reason", path.display())).exists())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                let (name, _time) = name.rsplit_once('.').unwrap();
                (name.to_owned(), fs::read(&path).unwrap())
            })
            .collect()
    }

    /// How often threads of the mount have woken up, or ended or begun.
    pub fn wake_ups(&self) -> Vec<(String, String)> {
        let tasks = format!("/proc/{}/task", self.process.as_ref().unwrap().id());
        let read = |task: std::io::Result<fs::DirEntry>| {
            let status =
                fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
            let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
            let field = |name| field(name).unwrap_or_default().trim().to_owned();
            (field("Name:"), field("voluntary_ctxt_switches:"))
        };
        fs::read_dir(tasks).unwrap().map(read).collect()
    }

    /// The most that the process has been resident with, in MiB.
    pub fn peak_memory(&self) -> u64 {
        self.memory_line("VmHWM:")
    }

    /// The size that the process is resident with now, in MiB.
    pub fn memory(&self) -> u64 {
        self.memory_line("VmRSS:")
    }

    fn memory_line(&self, name: &str) -> u64 {
        let id = self.process.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap()
            / 1024
    }

    pub fn unmount(&mut self) {
        let mut command = Command::new("fusermount3");
        let done = limited::run(
            command.args(["-u", self.point().to_str().unwrap()]),
            SCRIPT_LIMIT,
            self.directory.path(),
        );
        assert!(done.succeeded(), "{}", done.output);
        self.ended();
    }

    /// Waits for the process to end well.
    pub fn ended(&mut self) {
        let mut process = self.process.take().unwrap();
        let ended = limited::within(SCRIPT_LIMIT, || process.try_wait().unwrap());
        self.process = ended.is_none().then_some(process);
        assert!(
            ended.is_some_and(|status| status.success()),
            "{ended:?}: {}",
            self.log()
        );
        assert!(!is_mounted(&self.point()));
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }

    /// Waits for the process to end, with whatever status, and its mount with it.
    pub fn ended_within(&mut self, limit: Duration) {
        let mut process = self.process.take().unwrap();
        let ended = limited::within(limit, || process.try_wait().unwrap());
        self.process = ended.is_none().then_some(process);
        assert!(ended.is_some(), "it did not end: {}", self.log());
        assert!(!is_mounted(&self.point()));
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        self.process.as_mut().unwrap().kill().unwrap();
    }

    /// The same, and nothing is mounted any more.
    pub fn crash(&mut self) {
        self.kill();
        let mut process = self.process.take().unwrap();
        process.wait().unwrap();
        let mut command = Command::new("umount");
        let outcome = limited::run(
            command.arg("-l").arg(self.point()),
            SCRIPT_LIMIT,
            self.directory.path(),
        );
        assert!(outcome.succeeded(), "{}", outcome.output);
    }

    pub fn terminate(&self) {
        let id = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(id.try_into().unwrap()), Signal::SIGTERM).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Killing it frees processes that hang in the mount.
            let _ = process.kill();
            limited::within(SCRIPT_LIMIT, || process.try_wait().ok().flatten());
        }
        if is_mounted(&self.point()) {
            let mut command = Command::new("umount");
            limited::run(
                command.arg("-l").arg(self.point()),
                SCRIPT_LIMIT,
                self.directory.path(),
            );
        }
        if std::thread::panicking() {
            println!("--- the mount's log\n{}", limited::tail(&self.log(), 60));
        } else {
            assert!(!self.log().contains("panicked"), "{}", self.log());
        }
    }
}

/// A script that runs.
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Waits for its end, which must come; returns what it printed.
    pub fn end(&mut self) -> String {
        let ended = limited::within(SCRIPT_LIMIT, || self.child.try_wait().unwrap());
        assert!(ended.is_some(), "it did not end");
        fs::read_to_string(&self.output).unwrap()
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has printed this.
    pub fn await_words(&self, words: &str) {
        let said = limited::within(SCRIPT_LIMIT, || {
            fs::read_to_string(&self.output)
                .unwrap()
                .contains(words)
                .then_some(())
        });
        assert!(
            said.is_some(),
            "{words:?} did not come: {:?}",
            fs::read_to_string(&self.output)
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        limited::within(Duration::from_secs(5), || {
            self.child.try_wait().ok().flatten()
        });
    }
}

/// Waits for what the kernel, or the server, is told without anybody waiting for it.
pub fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let held = limited::within(SCRIPT_LIMIT, || holds().then_some(()));
    assert!(held.is_some(), "not soon: {what}");
}

/// Asks the kernel's table: a look at a mount that hangs would hang too.
pub fn is_mounted(point: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| {
        line.split(' ')
            .nth(4)
            .is_some_and(|path| Path::new(path) == point)
    })
}

/// Bytes that tell their place, so that a shift or a zero shows.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at / 251) ^ at ^ (at >> 11)) as u8 | 1)
        .collect()
}
