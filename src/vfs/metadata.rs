//! Freshness of attributes and listings: what is served from memory and what is asked for.

pub(crate) mod list;
pub(crate) mod revalidate;
pub(crate) mod single_flight;
