//! Open files: their contents, spool and upload state.

pub(crate) mod append;
pub(crate) mod open_file;
pub(crate) mod open_rename_unlink;
pub(crate) mod range_set;
pub(crate) mod spool;
