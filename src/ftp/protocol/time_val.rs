//! Parses and writes the `time-val` of RFC 3659 section 2.3, in seconds since 1970.
//!
//! The calendar is that of `jiff::civil`: proleptic Gregorian, years -9999 to 9999. Not its
//! `Timestamp`, which ends a day before the year 9999 does: certificates without an end name the
//! last second of that year (RFC 5280 section 4.1.2.5). Everything here is UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::DateTime;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Returns the seconds since 1970 of a date in UTC; `None` if there is no such date or time of day.
///
/// Second 60, which RFC 3659 allows for a leap second, is the first second of the next minute.
pub fn unix_seconds(
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
) -> Option<i64> {
    let small = |number: u32| i8::try_from(number).ok();
    let leap = u32::from(second == 60);
    let at = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second - leap)?,
        0,
    );
    Some(at.ok()?.duration_since(EPOCH).as_secs() + i64::from(leap))
}

/// Returns the date and time of day in UTC; `None` outside the years -9999 to 9999.
pub fn civil(seconds: i64) -> Option<DateTime> {
    EPOCH.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Parses `YYYYMMDDHHMMSS[.sss]` in UTC (RFC 3659 section 2.3); the fraction is dropped.
///
/// Blanks around it are tolerated, and so is the form with 15 digits of servers that print `19` followed by the years since
/// 1900: `19100…` is 2000.
pub fn parse_time_val(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let digits = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) if text[dot + 1..].iter().all(u8::is_ascii_digit) => &text[..dot],
        Some(_) => return None,
        None => text,
    };
    let (year, rest) = match digits.len() {
        14 => (number(&digits[..4])?, &digits[4..]),
        15 if digits.starts_with(b"19") => (1900 + number(&digits[2..5])?, &digits[5..]),
        _ => return None,
    };
    let two = |at: usize| number(&rest[at..at + 2]);
    unix_seconds(i64::from(year), two(0)?, two(2)?, two(4)?, two(6)?, two(8)?)
}

/// Writes `YYYYMMDDHHMMSS` in UTC; `None` outside the years 1 to 9999.
pub fn format_time_val(seconds: i64) -> Option<String> {
    let at = civil(seconds).filter(|at| at.year() >= 1)?;
    Some(at.strftime("%Y%m%d%H%M%S").to_string())
}

/// A number of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u32::from(byte - b'0'))
    })
}

/// Returns the current time in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(at: DateTime) -> (i64, u32, u32, u32, u32, u32) {
        let [month, day, hour, minute, second] =
            [at.month(), at.day(), at.hour(), at.minute(), at.second()].map(|n| n as u32);
        (at.year().into(), month, day, hour, minute, second)
    }

    #[test]
    fn known_moments_are_where_they_belong() {
        for (date, seconds) in [
            ((1970, 1, 1, 0, 0, 0), 0),
            ((1969, 12, 31, 23, 59, 59), -1),
            ((2000, 2, 29, 12, 0, 0), 951_825_600),
            ((2038, 1, 19, 3, 14, 8), 1 << 31),
            ((1601, 1, 1, 0, 0, 0), -11_644_473_600),
            ((0, 3, 1, 0, 0, 0), -719_468 * 86_400),
        ] {
            let (year, month, day, hour, minute, second) = date;
            assert_eq!(
                unix_seconds(year, month, day, hour, minute, second),
                Some(seconds)
            );
            let at = civil(seconds).expect("a date");
            assert_eq!(fields(at), date);
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for (year, month, day, hour, minute, second) in [
            (2023, 2, 29, 0, 0, 0),
            (1900, 2, 29, 0, 0, 0),
            (2024, 4, 31, 0, 0, 0),
            (2024, 0, 1, 0, 0, 0),
            (2024, 13, 1, 0, 0, 0),
            (2024, 1, 0, 0, 0, 0),
            (2024, 1, 1, 24, 0, 0),
            (2024, 1, 1, 0, 60, 0),
            (2024, 1, 1, 0, 0, 61),
            (i64::MAX, 1, 1, 0, 0, 0),
            (i64::MIN, 1, 1, 0, 0, 0),
            (292_277_026_597, 1, 1, 0, 0, 0),
        ] {
            assert_eq!(unix_seconds(year, month, day, hour, minute, second), None);
        }
    }

    #[test]
    fn a_leap_second_is_the_start_of_the_next_minute() {
        assert_eq!(
            unix_seconds(2016, 12, 31, 23, 59, 60),
            unix_seconds(2017, 1, 1, 0, 0, 0)
        );
    }

    #[test]
    fn a_time_val_is_read_in_all_its_forms() {
        let expected = unix_seconds(2008, 11, 5, 16, 52, 15);
        for text in [
            &b"20081105165215"[..],
            b"20081105165215.1",
            b"20081105165215.999999",
            b" 20081105165215\t",
            b"191081105165215",
        ] {
            assert_eq!(
                parse_time_val(text),
                expected,
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        assert_eq!(
            parse_time_val(b"191000101000000"),
            unix_seconds(2000, 1, 1, 0, 0, 0)
        );
    }

    #[test]
    fn what_is_no_time_val_is_none() {
        for text in [
            &b""[..],
            b"2008110516521",
            b"200811051652155",
            b"20081105165215.x",
            b"20081305165215",
            b"2008-11-05 16:52",
            b"+0081105165215",
            b"00000000000000",
        ] {
            assert_eq!(
                parse_time_val(text),
                None,
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }

    #[test]
    fn a_time_val_is_written_for_four_digits_of_years_only() {
        assert_eq!(format_time_val(0).as_deref(), Some("19700101000000"));
        assert_eq!(
            format_time_val(-62_135_596_800).as_deref(),
            Some("00010101000000")
        );
        assert_eq!(format_time_val(-62_135_596_801), None);
        assert_eq!(format_time_val(253_402_300_800), None);
        assert_eq!(format_time_val(i64::MIN), None);
    }

    proptest! {
        #[test]
        fn every_second_becomes_a_date_and_comes_back(
            seconds in -377_705_116_800..=253_402_300_799i64,
        ) {
            let (year, month, day, hour, minute, second) = fields(civil(seconds).expect("a date"));
            prop_assert_eq!(unix_seconds(year, month, day, hour, minute, second), Some(seconds));
        }

        #[test]
        fn no_seconds_make_it_panic(seconds: i64) {
            let _ = (civil(seconds), format_time_val(seconds));
        }

        #[test]
        fn any_bytes_are_a_time_val_or_none(text: Vec<u8>) {
            let _ = parse_time_val(&text);
        }

        #[test]
        fn what_is_written_is_read(seconds in -62_135_596_800..253_402_300_800i64) {
            let text = format_time_val(seconds).expect("a year of four digits");
            prop_assert_eq!(parse_time_val(text.as_bytes()), Some(seconds));
        }
    }
}
