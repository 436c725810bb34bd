//! The program's memory: what the allocator keeps of what is free.
//!
//! The one idea: glibc has up to eight *arenas* for each processor, and gives threads that come and go, as those of
//! transfers do, now this one and now that. What is free in one serves no other, so that a mount whose caches hold 250 MB
//! was seen to take 740. Few arenas do, for threads that wait for a network; and what they keep free goes back to the
//! system when the program has grown.
//!
//! Other C libraries need none of this.

use std::thread;
use std::time::Duration;

use crate::thread::spawn_thread;

/// Arenas: as many threads allocate at once without waiting for each other.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 4;
/// How often it is looked at how large the program is.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes by which it has to grow for free memory to be looked for: that takes a while.
const GROWTH: u64 = 32 << 20;

/// Begins to keep the program small; before it has other threads.
pub fn tend() {
    share_arenas();
    let look = || {
        let mut before = resident();
        loop {
            thread::sleep(LOOK);
            if resident() > before + GROWTH {
                give_back();
                before = resident();
            }
            before = before.min(resident());
        }
    };
    if spawn_thread("memory", look).is_err() {
        log::warn!("allocator: free memory is not returned to the system");
    }
}

#[cfg(target_env = "gnu")]
fn share_arenas() {
    // SAFETY: it sets a number.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

#[cfg(not(target_env = "gnu"))]
fn share_arenas() {}

/// Gives free memory back to the system.
#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: it may be called by any thread at any time, and touches only what is free.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

/// Bytes of memory that the program takes; 0 where that can't be told.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let said = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = said.and_then(|said| said.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_lies_free_between_what_is_used_is_given_back() {
        const PIECES: usize = 200_000;
        let mut pieces: Vec<Option<Box<[u8; 1024]>>> = Vec::new();
        pieces.resize_with(PIECES, || Some(Box::new([1; 1024])));
        let full = resident();
        for (number, piece) in pieces.iter_mut().enumerate() {
            piece.take_if(|_| number % 64 != 0);
        }
        give_back();
        assert!(resident() + (100 << 20) < full, "{full}");
        assert!(pieces.iter().flatten().all(|piece| piece[1000] == 1));
    }
}
