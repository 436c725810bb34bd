//! Sets the limits of the process (getrlimit(2)).
//!
//! * RLIMIT_NOFILE: the soft limit, often 1,024 for the sake of select(2), is raised to the hard one. Each open file takes a
//!   descriptor for its spool, and each connection two.
//! * RLIMIT_FSIZE: a write beyond it sends SIGXFSZ, which ends a process. Ignored, the write fails with EFBIG, and so does
//!   that of the program for which the spool was written.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Below this, a line at mount names the limit: a program that opens hundreds of files for writing would fail.
const FEW_DESCRIPTORS: u64 = 512;

/// Raises the one limit and disarms the other. Failures are logged: the mount works within lower limits.
pub fn adjust() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("limits: RLIMIT_NOFILE not raised: {error}");
    }
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((limit, _)) if limit < FEW_DESCRIPTORS => log::warn!(
            "limits: at most {limit} open files (RLIMIT_NOFILE): each file that is written takes one, each connection two"
        ),
        _ => {}
    }
    // SAFETY: no handler runs for a signal that is ignored.
    if let Err(error) = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) } {
        log::warn!("limits: SIGXFSZ not ignored: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_limit_is_raised_to_the_hard_one() {
        adjust();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        assert_eq!(soft, hard);
    }
}
