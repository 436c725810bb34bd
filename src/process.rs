//! The process: daemon, logging, allocator, directories.

pub(crate) mod allocator;
pub mod daemon;
pub mod logging;
pub mod xdg_dirs;
