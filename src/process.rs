//! Leaf modules that every other module may use: the process itself (background, signals, logging, memory, threads, lock
//! order, directories), private and regular files, and text that is safe to show.

pub(crate) mod allocator;
pub mod daemon;
pub(crate) mod lock_order;
pub mod logging;
pub mod printable;
pub(crate) mod private_dir;
pub(crate) mod redact;
pub(crate) mod regular_file;
pub(crate) mod thread;
pub mod xdg_dirs;
