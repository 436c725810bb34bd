//! Write-back without a kernel and without a network: queued uploads, their journal, and the next mount that takes it over.
//!
//! `cargo test --test writeback`.

// Helpers whose failure is a test's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)] // No test needs all of it.
#[path = "../support/memory.rs"]
mod memory;
#[path = "../support/settings.rs"]
mod settings;

mod accounting;
mod concurrent;
mod multi_mount;
mod recovery;
