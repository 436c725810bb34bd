//! The FUSE operations, one file for each group.

pub(crate) mod copying;
pub(crate) mod flush;
pub(crate) mod invalidate;
pub(crate) mod lenient;
pub(crate) mod lookup;
pub(crate) mod makers;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod setattr;
pub(crate) mod write;
