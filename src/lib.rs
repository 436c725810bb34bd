//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The top-level modules, from the top down; each uses only those that `tests/layers.rs` allows:
//!
//! ```text
//! main
//! commands   the subcommands: mount, umount, status, drop-cache, probe
//! cli        command line: options, source, credentials
//! fuse       FUSE session: requests, replies, kernel notifications
//! vfs        file system: inodes, caches, readahead, uploads, write-back journal
//! ftp        FTP client: connections, transfers, listings, server profile
//! mount      mount(2), fusermount3, mount table, queries to a mount
//! remote     interface between vfs and ftp
//! process    leaf modules: background, signals, logging, directories, private files, escaped text
//! ```

pub mod cli;
pub mod commands;
pub mod ftp;
pub mod fuse;
pub mod mount;
pub mod process;
pub mod remote;
pub mod vfs;
