//! Caches of file contents: blocks in memory, and blocks on disk that outlive a mount.

pub(crate) mod disk;
pub(crate) mod memory;
pub(crate) mod read_buffer;
