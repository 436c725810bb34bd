//! Contains leaf modules that every module may use.
//!
//! ```text
//! daemon         moves the process to the background, and blocks signals
//! logging        logs to standard error or syslog
//! sd_notify      reports to systemd
//! thread         starts threads
//! lock_order     checks the order of locks in debug builds
//! limits         sets the limits of open files and of file sizes
//! allocator      limits the memory that malloc keeps
//! xdg_dirs       finds the configuration, cache, state and runtime directories
//! private_dir    opens directories that only this user can change
//! regular_file   opens regular files without blocking
//! printable      escapes control characters
//! redact         hides passwords of arguments
//! ```

pub(crate) mod allocator;
pub mod daemon;
pub(crate) mod limits;
pub(crate) mod lock_order;
pub mod logging;
pub mod printable;
pub(crate) mod private_dir;
pub(crate) mod redact;
pub(crate) mod regular_file;
pub(crate) mod sd_notify;
pub(crate) mod thread;
pub mod xdg_dirs;
