//! Runs the program: parses the command line and dispatches to a subcommand.
//!
//! ```text
//! mount          mounts a server: the only place that connects ftp, vfs and fuse
//! already_mounted  decides whether a mount is there already
//! mount_errors   explains why a server can't be mounted
//! forced_end     ends a mount by force
//! spool_place    determines the directory of the spool
//! remount        changes the flags of a mount
//! umount         waits for uploads, then unmounts; also the helper of umount(8)
//! status         status and drop-cache, and their answers in the mount
//! probe          tests a server, and recommends options
//! complete       answers the scripts of shell completions
//! human          formats counts, sizes and times
//! json           writes JSON
//! ```

pub(crate) mod already_mounted;
pub(crate) mod complete;
pub(crate) mod forced_end;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod mount;
pub(crate) mod mount_errors;
pub mod probe;
pub(crate) mod remount;
pub(crate) mod spool_place;
pub mod status;
pub(crate) mod umount;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::cli;
use crate::cli::Request;
use crate::process::printable::printable;
use crate::process::redact;

/// Exit status of a failure, and of a wrong command line.
const FAILED: u8 = 1;
/// Exit status of a helper of mount(8) or umount(8) that failed; a wrong command line has 1 there too.
const HELPER_FAILED: u8 = 32;

/// Runs the program with its arguments, the first of which is its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    protect_secrets(&arguments);
    let is_helper = arguments
        .first()
        .is_some_and(|program| cli::is_any_helper(program));
    let failed = if is_helper { HELPER_FAILED } else { FAILED };
    let request = match cli::parse(arguments) {
        Ok(request) => request,
        Err(error) => return exit_code(Err(error), FAILED),
    };
    let outcome = match request {
        Request::Print(text) => {
            print(&text);
            Ok(())
        }
        Request::Complete(completion) => {
            print(&complete::run(&completion));
            Ok(())
        }
        Request::Help { plain, styled } => {
            let is_dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
            let has_colours = std::io::stdout().is_terminal()
                && !is_dumb
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            print(if has_colours { &styled } else { &plain });
            Ok(())
        }
        Request::Umount(umount) => umount::run(&umount),
        Request::Mount(settings) if settings.command.remount => remount::run(&settings),
        Request::Mount(settings) => mount::run(&settings),
        Request::Probe(probe) => return probe::run(&probe),
        Request::Status(status) => return status::run(&status),
        Request::DropCache(drops) => return status::drop_cache(&drops),
    };
    exit_code(outcome, failed)
}

fn print(text: &str) {
    // A closed pipe is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Hides passwords from other users and keeps them out of core dumps, in this process and in its forks.
fn protect_secrets(arguments: &[OsString]) {
    if let Err(error) = redact::hide_arguments(arguments) {
        eprintln!("ftpfs: the password stays visible in ps(1): {error}");
    }
    // No core dump, and no ptrace(2) by other processes of the same user. The files below /proc/self belong
    // to root from now on; the kernel still lets the threads of the process read them.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        eprintln!("ftpfs: a core dump could contain the password: {error}");
    }
}

fn exit_code(outcome: Result<(), String>, failed: u8) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ftpfs: {}", printable(&error));
            ExitCode::from(failed)
        }
    }
}
