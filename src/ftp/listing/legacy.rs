//! Listing formats of operating systems other than Unix and Windows.

pub(crate) mod hosts;
pub(crate) mod misc;
pub(crate) mod mvs;
pub(crate) mod vms;
