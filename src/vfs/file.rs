//! Open files: their contents, spool and upload state.
//!
//! * `open_file`: an open file: what it holds here, and what of that the server lacks
//! * `open_files`: the table of open files, by inode number and by handle
//! * `content`: the base on the server, and over it what was written here
//! * `range_set`: sets of byte ranges
//! * `append`: `O_APPEND`: places appended bytes at the end of the file
//! * `upload_state`: the stream of a file, what is in flight, and how the last try ended
//! * `journaling`: writes open files to the journal
//! * `open_rename_unlink`: open files whose names change or go

pub(crate) mod append;
pub(crate) mod content;
pub(crate) mod journaling;
pub(crate) mod open_file;
pub(crate) mod open_files;
pub(crate) mod open_rename_unlink;
pub(crate) mod range_set;
pub(crate) mod upload_state;
