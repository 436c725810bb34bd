//! The program `ftpfs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftpfs::run::run(std::env::args_os())
}
