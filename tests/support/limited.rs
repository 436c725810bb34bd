//! Commands with a time limit. A file system under test may hang, and with it every process that touches it: such a
//! process is killed with all its children and left behind, never waited for, so that one hang fails one test.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a command said, both streams in the order of writing, and how it ended: `None` after the limit.
pub struct Outcome {
    pub status: Option<ExitStatus>,
    pub output: String,
}

impl Outcome {
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs `command` for at most `limit`. The output goes through a file in `scratch`, because a pipe would be held open
/// by whatever the command leaves in the background.
pub fn run(command: &mut Command, limit: Duration, scratch: &Path) -> Outcome {
    let path = tempfile::NamedTempFile::new_in(scratch)
        .unwrap()
        .into_temp_path();
    let file = fs::File::options().append(true).open(&path).unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .process_group(0)
        .spawn()
        .unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    let status = within(limit, || child.try_wait().unwrap());
    if status.is_none() {
        let _ = killpg(
            Pid::from_raw(child.id().try_into().unwrap()),
            Signal::SIGKILL,
        );
        within(Duration::from_secs(2), || child.try_wait().unwrap());
    }
    let output = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    Outcome { status, output }
}

/// Asks until there is an answer or the time is over.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= until {
            return answer;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The end of a long text, for a message that people read.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
