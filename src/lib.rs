//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The floors, from the ground up; a file uses only what stands below it (`tests/layers.rs`):
//!
//! ```text
//! main -> run -> status -> inquiry
//!            \-> probe -> server -> options, source, credentials, places      the program
//!            \-> fuse -> vfs -> remote <- ftp   mount, workers, notices       edges | file system | vocabulary | engine
//! ```

pub mod cli;
pub mod commands;
pub mod ftp;
pub mod fuse;
pub mod mount;
pub mod process;
pub mod remote;
pub mod thread;
pub mod vfs;
