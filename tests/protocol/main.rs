//! The product against a server that does what real ones can't be made to do: it stalls, lies, hangs up, runs full.
//!
//! Each test has a scripted server and a real mount of it. No test asserts a time; every wait has an end.

// Helpers whose failure is a test's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/limited.rs"]
mod limited;
#[path = "../support/scripted.rs"]
mod scripted;

mod append;
mod atomic;
mod connection_contention;
mod connections;
mod dialects;
mod forced_unmount;
mod holes;
mod idle_readers;
mod kept_attributes;
mod large_directories;
mod late_commands;
mod late_start;
mod link_files;
mod listing_gaps;
mod local_failures;
mod mount;
mod mount_errors;
mod odd_replies;
mod open_read;
mod parallel_read;
mod probe;
mod profile;
mod remote_changes;
mod rename;
mod rename_concurrent;
mod rest_seek;
mod rfc959_only;
mod round_trips;
mod security;
mod segment_check;
mod server_info;
mod stalled_server;
mod stat_lookup;
mod status;
mod stored_unseen;
mod transient_refusals;
mod untrusted_replies;
mod upload_pipeline;
mod write_close;
mod write_errors;
