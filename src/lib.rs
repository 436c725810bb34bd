//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The floors, from the ground up; a file uses only what stands below it (`tests/layers.rs`):
//!
//! ```text
//! main -> run -> status -> inquiry
//!            \-> probe -> server -> options, source, credentials, places      the program
//!            \-> fuse -> vfs -> remote <- ftp   mount, workers, notices       edges | file system | vocabulary | engine
//! printable, redact, private_dir, regular_file                              for all of them
//! ```

pub mod credentials;
pub mod daemon;
pub mod ftp;
pub mod fuse;
pub mod inquiry;
pub mod json;
pub mod logging;
mod memory;
pub mod mount;
pub mod notices;
pub mod options;
pub mod places;
pub mod printable;
mod private_dir;
pub mod probe;
mod redact;
mod regular_file;
pub mod remote;
pub mod run;
pub mod server;
pub mod source;
pub mod status;
mod unmount;
pub mod vfs;
pub mod workers;
