//! The program `ftpfs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftpfs::commands::run(std::env::args_os())
}
