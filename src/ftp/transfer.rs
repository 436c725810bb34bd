//! Transfers: RETR, STOR, APPE and listings over a data connection, from the command to the final reply.
//!
//! * `start`: starts a transfer: from its command to a data connection that carries data
//! * `replies`: waits for the first and the final reply, and brings the control connection back in step
//! * `download`: `RETR`
//! * `upload`: `STOR` and `APPE`
//! * `listing_stream`: the lines of a listing, over a data connection
//! * `entry_collector`: collects the entries of a listing, and decides whether they are all
//! * `early_data`: sends the first bytes of an upload together with `STOR`
//! * `followup`: commands pipelined after a transfer
//! * `rest_check`: checks that transfers begin at the offset of `REST`
//! * `transient`: repeats what the server refuses for the moment (4xx)

pub(crate) mod download;
pub(crate) mod early_data;
pub(crate) mod entry_collector;
pub(crate) mod followup;
pub(crate) mod listing_stream;
pub(crate) mod replies;
pub(crate) mod rest_check;
pub(crate) mod start;
pub(crate) mod transient;
pub(crate) mod upload;
