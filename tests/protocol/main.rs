//! The product against a server that does what real ones can't be made to do: it stalls, lies, hangs up, runs full.
//!
//! Each test has a scripted server and a real mount of it. No test asserts a time; every wait has an end.

// Helpers whose failure is a test's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/limited.rs"]
mod limited;
#[path = "../support/scripted.rs"]
mod scripted;

mod appending;
mod atomic;
mod behind;
mod changes;
mod connections;
mod costs;
mod crowds;
mod dialects;
mod doubts;
mod glances;
mod joints;
mod late;
mod mount;
mod names;
mod pauses;
mod probing;
mod profile;
mod reading;
mod refusals;
mod renames;
mod security;
mod seeking;
mod stalls;
mod starting;
mod status;
mod streams;
mod views;
mod waits;
mod writing;
