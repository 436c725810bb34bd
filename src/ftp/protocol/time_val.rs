//! Converts seconds since 1970 to dates and back, and parses the `time-val` of RFC 3659 section 2.3.
//!
//! The number of a day is computed, not looked up. Years are counted from March, so that the leap day is the last of its year,
//! and in eras of 400 years, after which the Gregorian calendar repeats. The calendar is taken to hold for all times, before
//! 1582 too.
//!
//! # Invariants
//! Nothing overflows for any input. [`civil`] and [`unix_seconds`] are inverse for every `i64`. All times are UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
const DAYS_OF_ERA: i64 = 146_097;
/// Days from 1 March of the year 0 to 1 January 1970.
const TO_1970: i64 = 719_468;

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year; 0 is the year before the year 1.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
}

/// Seconds since 1970 of a date in UTC; `None` when there is no such date or time of day.
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
    if !(1..=12).contains(&month) || day == 0 || day > days_of_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // An i64 of seconds ends before the year 300,000,000,000; below that all fits.
    if year.unsigned_abs() > 300_000_000_000 {
        return None;
    }
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * DAYS_OF_ERA + day_of_era - TO_1970;
    let time = i64::from(hour * 3600 + minute * 60 + second);
    i64::try_from(i128::from(days) * i128::from(DAY) + i128::from(time)).ok()
}

/// The date and time of day, in UTC, of seconds since 1970.
pub fn civil(seconds: i64) -> Civil {
    let days = seconds.div_euclid(DAY) + TO_1970;
    let time = seconds.rem_euclid(DAY);
    let era = days.div_euclid(DAYS_OF_ERA);
    let day_of_era = days.rem_euclid(DAYS_OF_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Civil {
        year,
        month: small(month),
        day: small(day),
        hour: small(time / 3600),
        minute: small(time / 60 % 60),
        second: small(time % 60),
    }
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
    let at = civil(seconds);
    (1..=9999).contains(&at.year).then(|| {
        format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}",
            at.year, at.month, at.day, at.hour, at.minute, at.second
        )
    })
}

fn days_of_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A number of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u32::from(byte - b'0'))
    })
}

/// The callers' values are below 100 and never negative.
fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// The current time, in seconds since 1970.
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

    #[test]
    fn known_moments_are_where_they_belong() {
        for (date, seconds) in [
            ((1970, 1, 1, 0, 0, 0), 0),
            ((1969, 12, 31, 23, 59, 59), -1),
            ((2000, 2, 29, 12, 0, 0), 951_825_600),
            ((2038, 1, 19, 3, 14, 8), 1 << 31),
            ((1601, 1, 1, 0, 0, 0), -11_644_473_600),
            ((0, 3, 1, 0, 0, 0), -TO_1970 * DAY),
        ] {
            let (year, month, day, hour, minute, second) = date;
            assert_eq!(
                unix_seconds(year, month, day, hour, minute, second),
                Some(seconds)
            );
            let back = Civil {
                year,
                month,
                day,
                hour,
                minute,
                second,
            };
            assert_eq!(civil(seconds), back);
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
        fn every_second_becomes_a_date_and_comes_back(seconds: i64) {
            let at = civil(seconds);
            let back = unix_seconds(at.year, at.month, at.day, at.hour, at.minute, at.second);
            prop_assert_eq!(back, Some(seconds));
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
