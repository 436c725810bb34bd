//! Finds the user's configuration, cache, state and runtime directories (XDG Base Directory Specification).
//!
//! Without a home directory there are none; the caller decides what follows.

use std::path::PathBuf;

/// The cache directory for users without a home directory.
pub const SYSTEM_CACHE: &str = "/var/cache/ftpfs";

/// Directory for files to keep: `~/.config/ftpfs`, or below `XDG_CONFIG_HOME`.
pub fn config() -> Option<PathBuf> {
    of_user("XDG_CONFIG_HOME", ".config")
}

/// Directory for files that may be deleted at any time: `~/.cache/ftpfs`, or below `XDG_CACHE_HOME`.
pub fn cache() -> Option<PathBuf> {
    of_user("XDG_CACHE_HOME", ".cache")
}

/// Directory for what the login session ends with: below `XDG_RUNTIME_DIR`.
pub fn runtime() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("ftpfs"))
}

/// Directory for data that should persist, but is not to be copied elsewhere: `~/.local/state/ftpfs`, or below
/// `XDG_STATE_HOME`.
pub fn state() -> Option<PathBuf> {
    of_user("XDG_STATE_HOME", ".local/state")
}

/// Returns the directory; relative paths in the environment are ignored, as the specification demands.
fn of_user(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| {
            std::env::home_dir()
                .filter(absolute)
                .map(|home| home.join(below_home))
        })
        .map(|directory| directory.join("ftpfs"))
}
