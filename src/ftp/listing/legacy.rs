//! Listing formats of operating systems other than Unix and Windows.
//!
//! * `misc`: small formats of one line each
//! * `mvs`: z/OS (MVS)
//! * `nonstop`: HP NonStop (Guardian)
//! * `os2`: OS/2
//! * `os400`: OS/400
//! * `vms`: OpenVMS
//! * `zvm`: z/VM (CMS)

pub(crate) mod misc;
pub(crate) mod mvs;
pub(crate) mod nonstop;
pub(crate) mod os2;
pub(crate) mod os400;
pub(crate) mod vms;
pub(crate) mod zvm;

/// What the tests of the formats share.
#[cfg(test)]
pub(crate) mod testing {
    use crate::ftp::listing::{Clock, Found};
    use crate::ftp::protocol::time_val::format_time_val;
    use crate::remote::Attributes;

    pub(crate) const CLOCK: Clock = Clock {
        now: 1_719_792_000,
        zone: 0,
    };

    /// Kind, size, time and name in one line.
    pub(crate) fn shown(name: &[u8], known: &Attributes) -> String {
        let time = known.modified.and_then(|m| format_time_val(m.seconds));
        format!(
            "{:?} {} {} {}",
            known.kind,
            known.size.map_or("-".to_string(), |size| size.to_string()),
            time.unwrap_or("-".to_string()),
            String::from_utf8_lossy(name)
        )
    }

    /// The same of a parsed line.
    pub(crate) fn found(found: Option<Found<'_>>) -> String {
        found.map_or("none".to_string(), |found| {
            shown(found.name, &found.attributes)
        })
    }
}
