//! ftpfs mounts a remote FTP server as a local directory.
//!
//! The top-level modules, from the top down. `tests/layers.rs` checks which of them each may use.
//!
//! * `main` starts [`commands::run`].
//! * [`commands`] runs the subcommands: mount, umount, status, drop-cache and probe.
//! * [`cli`] parses the command line and determines the source, the credentials and the endpoint.
//! * [`fuse`] serves the FUSE session: requests, replies and notifications of the kernel.
//! * [`vfs`] implements the file system: inodes, caches, prefetch, readahead, uploads and the write-back journal.
//! * [`ftp`] implements the FTP client: connections, transfers, listings and the server profile.
//! * [`mount`](mod@mount) mounts and unmounts: mount(2), `fusermount3`, the mount table and queries to a mount.
//! * [`remote`] defines the interface between `vfs` and `ftp`.
//! * [`process`] contains leaf modules: background, signals, logging, threads, private files and escaped text.
//!
//! The first lines of each folder's own file (`vfs.rs` for `vfs/`) describe its modules. Those of [`vfs`] and [`ftp`] also say
//! which modules an operation passes, and in which order locks are taken. `CONTRIBUTING.md` says where an option, a quirk of
//! a server and a log line go.

pub mod cli;
pub mod commands;
pub mod ftp;
pub mod fuse;
pub mod mount;
pub mod process;
pub mod remote;
pub mod vfs;
