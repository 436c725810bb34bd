//! The process: daemon, logging, allocator, directories, lock order.

pub(crate) mod allocator;
pub mod daemon;
pub(crate) mod lock_order;
pub mod logging;
pub mod printable;
pub(crate) mod private_dir;
pub(crate) mod redact;
pub(crate) mod regular_file;
pub mod xdg_dirs;
