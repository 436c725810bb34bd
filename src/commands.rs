//! Runs the subcommands: one file or folder for each.

pub(crate) mod human;
pub(crate) mod json;
pub mod mount;
pub mod probe;
pub mod status;
pub(crate) mod umount;
