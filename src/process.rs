//! Handles the process itself: background, signals, logging, memory, directories.

pub(crate) mod allocator;
pub mod daemon;
pub mod logging;
pub mod xdg_dirs;
