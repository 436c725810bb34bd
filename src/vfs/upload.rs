//! Uploads: bringing written data to the server, and checking that it arrived.

pub(crate) mod atomic;
pub(crate) mod begun;
pub(crate) mod checksum;
pub(crate) mod commit;
pub(crate) mod early;
pub(crate) mod exclusive;
pub(crate) mod journaling;
pub(crate) mod lost_found;
pub(crate) mod open_fds;
pub(crate) mod preconditions;
pub(crate) mod stream;
pub(crate) mod uploader;
