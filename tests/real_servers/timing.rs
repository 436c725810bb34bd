//! Real servers on slow and broken networks. A program of its own: what is tested here depends on rates and on pauses, so
//! that nothing else may run at the same time.
//!
//! Needs root and `/dev/fuse`; `cargo test --test timing`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/limited.rs"]
mod limited;
#[path = "../support/namespace.rs"]
mod namespace;

mod outages;
mod rates;
mod soak;
