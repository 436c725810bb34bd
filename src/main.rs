//! The program `ftpfs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftpfs::commands::mount::run(std::env::args_os())
}
