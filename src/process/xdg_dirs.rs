//! Where files of ours lie on this machine: with the user's configuration, and in the user's cache.
//!
//! The one idea: the XDG base directories, and without a home nothing, so that the caller has to say
//! what it does then.

use std::path::PathBuf;

/// The cache of the system, for those who have no home.
pub const SYSTEM_CACHE: &str = "/var/cache/ftpfs";

/// What is to be kept: `~/.config/ftpfs`, or below `XDG_CONFIG_HOME`.
pub fn config() -> Option<PathBuf> {
    of_user("XDG_CONFIG_HOME", ".config")
}

/// What may be deleted at any time: `~/.cache/ftpfs`, or below `XDG_CACHE_HOME`.
pub fn cache() -> Option<PathBuf> {
    of_user("XDG_CACHE_HOME", ".cache")
}

/// A relative path counts for nothing, as the specification has it.
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
