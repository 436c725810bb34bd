//! The file system: inodes, attributes, listings, reading, writing.
//!
//! Knows the trait [`crate::remote::Remote`], and neither sockets nor FUSE. Its operations are
//! FUSE's, in two forms where it matters: `x_cached` answers from memory or not at all, and `x` may
//! ask the server.
//!
//! ```text
//! lookup, names, attributes, orphan, opening, reading, writing, flush   the operations
//! uploads, early -> checks, outcome, exclusive, atomic, hash            bringing files to the server
//! recover -> found; writeback, order -> begun, noting, keeping -> journal   closes that return early
//! figures, forget                                 questions from outside
//! fetch, ahead, copying -> listing, freshness, appending   what they share
//! core                                            state, settings, and the lock order
//! shown, inode, queue, streaming -> file -> readahead -> blocks, spool, ranges, links, error
//! walk, fetching -> sequence, under_way; inode -> news; makers; holders
//! ```

mod ahead;
mod appending;
mod atomic;
mod attributes;
mod begun;
mod blocks;
mod checks;
mod copying;
mod core;
mod disk;
mod early;
mod error;
mod exclusive;
mod fetch;
mod fetching;
mod figures;
mod file;
mod flush;
mod forget;
mod found;
mod freshness;
mod hash;
mod holders;
mod inode;
mod journal;
mod keeping;
mod lenient;
mod links;
mod listing;
mod lookup;
mod makers;
mod names;
mod news;
mod noting;
mod opening;
mod order;
mod orphan;
mod outcome;
mod queue;
mod ranges;
mod readahead;
mod reading;
mod recover;
mod sequence;
mod shown;
mod spool;
mod streaming;
mod tally;
mod traffic;
mod under_way;
mod uploads;
mod walk;
mod writeback;
mod writing;

pub use appending::Spot;
pub use attributes::Changes;
pub use blocks::Bytes;
pub use core::{Settings, Vfs};
pub use disk::DiskCache;
pub use error::{Error, Result};
pub use figures::{Figures, Unsent};
pub use inode::ROOT;
pub use journal::left::Outside;
pub use links::Links;
pub use lookup::Listed;
pub use news::{Listener, News};
pub use opening::{Open, Wants};
pub use queue::{Pending, WriteBack};
pub use shown::{Attr, Names, Shown, Space};
