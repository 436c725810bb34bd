//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The floors, from the ground up; a file uses only what stands below it (`tests/layers.rs`):
//!
//! ```text
//! main -> run -> options, source, credentials, daemon, logging     the program
//!            \-> fuse -> vfs -> remote <- ftp        mount          edges | file system | vocabulary | engine
//! ```

pub mod ftp;
pub mod remote;
pub mod vfs;
