//! Speculative work: listing the next directories and fetching the next small files of a walk.

pub(crate) mod directories;
pub(crate) mod fetching;
pub(crate) mod file_sequence;
pub(crate) mod files;
pub(crate) mod walk_detector;
