//! Converts the local times that `LIST` prints to UTC (`timezone=`).
//!
//! A listing's time is parsed as if it were UTC and shifted here: by an offset that was learned from one file, or by the rules of
//! a named zone, with its summer time.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// The time zone of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of that name: `Europe/Berlin`, `UTC`, `+02:00`, `-0530`. The error says what is allowed.
    pub fn named(name: &str) -> Result<Self, String> {
        let zone = match offset(name) {
            Some(seconds) => Offset::from_seconds(seconds).ok().map(TimeZone::fixed),
            None => TimeZone::get(name).ok(),
        };
        zone.map(Self)
            .ok_or_else(|| "a zone such as Europe/Berlin, UTC or +02:00".to_string())
    }

    /// Converts a local time, in seconds since 1970 as if it were UTC, to UTC. An hour that occurs twice in autumn is taken for
    /// the first one.
    pub fn to_utc(&self, local: i64) -> i64 {
        let utc = Timestamp::from_second(local).ok().and_then(|shown| {
            let civil = TimeZone::UTC.to_datetime(shown);
            self.0.to_ambiguous_timestamp(civil).compatible().ok()
        });
        utc.map_or(local, Timestamp::as_second)
    }

    /// Converts UTC to the local time, in seconds since 1970 as if that were UTC.
    pub fn to_local(&self, utc: i64) -> i64 {
        utc + i64::from(self.offset(utc))
    }

    /// Seconds east of UTC at the moment `now`, in seconds since 1970.
    pub fn offset(&self, now: i64) -> i32 {
        Timestamp::from_second(now).map_or(0, |now| self.0.to_offset(now).seconds())
    }
}

/// The seconds of `+HH:MM`, `+HHMM` or `+HH`.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = digits.replacen(':', "", 1);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let minutes = if minutes.is_empty() {
        0
    } else {
        minutes.parse().ok()?
    };
    let hours: i32 = hours.parse().ok()?;
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_zone_knows_of_summer_time() {
        let zone = Zone::named("Europe/Berlin").expect("a zone");
        // 2026-01-01 12:00 and 2026-07-01 12:00, as a clock in Berlin shows them.
        assert_eq!(1_767_268_800 - zone.to_utc(1_767_268_800), 3600);
        assert_eq!(1_782_907_200 - zone.to_utc(1_782_907_200), 7200);
    }

    #[test]
    fn an_offset_is_a_zone_too() {
        for (name, seconds) in [
            ("+02:00", 7200),
            ("-0530", -19_800),
            ("+01", 3600),
            ("UTC", 0),
        ] {
            let zone = Zone::named(name).expect(name);
            assert_eq!(zone.offset(0), seconds, "{name}");
            assert_eq!(zone.to_utc(100_000), 100_000 - i64::from(seconds), "{name}");
        }
        for wrong in ["", "+", "+25", "+1:00", "Nowhere/Land", "+02:60"] {
            assert!(Zone::named(wrong).is_err(), "{wrong}");
        }
    }
}
