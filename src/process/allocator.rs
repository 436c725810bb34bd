//! Limits the memory that the allocator keeps after it was freed.
//!
//! glibc has up to eight arenas for each processor and spreads threads over them. Transfer threads
//! come and go, and memory that is free in one arena serves no other: a mount whose caches held
//! 250 MB was seen to take 740. Four arenas are enough for threads that wait for a network, and
//! `malloc_trim` returns free memory to the system after the resident size has grown. The thread that looks at that size
//! sleeps while the mount is idle.
//!
//! Other C libraries need neither.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::process::thread::spawn_thread;

/// Number of arenas: so many threads can allocate at the same time without lock contention.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 4;
/// How often the resident size is checked while there is work, or the size changes.
const RSS_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Growth of the resident size, in bytes, after which memory is trimmed. Trimming takes a while.
const TRIM_GROWTH: u64 = 32 << 20;

/// There was work since the last check.
static WORKED: AtomicBool = AtomicBool::new(false);
/// Much was freed since the last check.
static FREED: AtomicBool = AtomicBool::new(false);
/// The thread that trims memory.
static TRIMMER: OnceLock<Thread> = OnceLock::new();

/// Says that memory may be used and freed soon.
pub fn note_work() {
    if !WORKED.load(Ordering::Relaxed)
        && !WORKED.swap(true, Ordering::Relaxed)
        && let Some(trimmer) = TRIMMER.get()
    {
        trimmer.unpark();
    }
}

/// Says that much memory was freed in small pieces: the resident size does not show it.
pub fn note_freed() {
    FREED.store(true, Ordering::Relaxed);
    note_work();
}

/// Limits the arenas and starts the thread that trims memory. Call it before other threads start.
pub fn start_trimming() {
    limit_arenas();
    let trim = || {
        let _ = TRIMMER.set(thread::current());
        let mut trimmed = resident();
        let mut before = trimmed;
        loop {
            thread::sleep(RSS_CHECK_INTERVAL);
            let now = resident();
            if FREED.swap(false, Ordering::Relaxed) || now > trimmed + TRIM_GROWTH {
                trim_free_memory();
                trimmed = resident();
            }
            trimmed = trimmed.min(now);
            // Work that takes longer changes the size; `note_work` wakes this thread again.
            let is_still = std::mem::replace(&mut before, now) == now;
            if !WORKED.swap(false, Ordering::Relaxed) && is_still {
                thread::park();
            }
        }
    };
    if spawn_thread("memory", trim).is_err() {
        log::warn!("allocator: free memory is not returned to the system");
    }
}

#[cfg(target_env = "gnu")]
fn limit_arenas() {
    // SAFETY: mallopt(3) takes two numbers.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

#[cfg(not(target_env = "gnu"))]
fn limit_arenas() {}

/// Returns free memory to the system.
#[cfg(target_env = "gnu")]
pub fn trim_free_memory() {
    // SAFETY: malloc_trim(3) may be called by any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing.
#[cfg(not(target_env = "gnu"))]
pub fn trim_free_memory() {}

/// Returns the resident size in bytes; 0 if it is unknown.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn fragmented_memory_is_returned_to_the_system() {
        const PIECES: usize = 200_000;
        let mut pieces: Vec<Option<Box<[u8; 1024]>>> = Vec::new();
        pieces.resize_with(PIECES, || Some(Box::new([1; 1024])));
        let full = resident();
        for (number, piece) in pieces.iter_mut().enumerate() {
            piece.take_if(|_| number % 64 != 0);
        }
        trim_free_memory();
        assert!(resident() + (100 << 20) < full, "{full}");
        assert!(pieces.iter().flatten().all(|piece| piece[1000] == 1));
    }
}
