//! Transfers: RETR, STOR, APPE and listings over a data connection, from the command to the final reply.

pub(crate) mod download;
pub(crate) mod early_data;
pub(crate) mod entry_collector;
pub(crate) mod finish;
pub(crate) mod followup;
pub(crate) mod listing_stream;
pub(crate) mod rest_check;
pub(crate) mod start;
pub(crate) mod transient;
pub(crate) mod upload;
