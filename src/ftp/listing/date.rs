//! Parses the dates of LIST, in all the forms that servers print.
//!
//! The *shape* of a date decides where it ends; its tokens decide only its meaning. So a listing in an unknown language still
//! gives its names, without times.
//!
//! # Invariants
//! * A date is a few tokens long, so looking for one at every token of a line is linear.
//! * A month name with two meanings (`lis` is November in Polish, October in Croatian) is no month.
//! * A date without a year is the latest one that is at most a day ahead of the server's clock.

use crate::ftp::listing::Clock;
use crate::ftp::listing::month_names::{month, unpunctuated};
use crate::ftp::listing::tokens;
use crate::ftp::listing::tokens::Tokens;
use crate::ftp::protocol::time_val::{civil, unix_seconds};
use crate::remote::{Modified, Precision};

/// A date whose shape was recognized.
#[derive(Debug)]
pub(crate) struct Date<'a> {
    /// The time, where the tokens of the date have a meaning.
    pub(crate) modified: Option<Modified>,
    /// The rest of the line.
    pub(crate) after: Tokens<'a>,
    /// Whether the date has no time in a column for both: blanks after it may be padding.
    pub(crate) padded: bool,
}

/// A time of day as it was printed; hour 24 is the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeOfDay {
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: Option<u32>,
}

/// The last year that a listing can name.
const LAST_YEAR: i64 = 9999;

/// Year, month and day; year and month where they are known.
type Day = (Option<i64>, Option<u32>, u32);

/// Parses the date that begins with the next token.
pub(crate) fn read<'a>(mut tokens: Tokens<'a>, clock: &Clock) -> Option<Date<'a>> {
    let first = tokens.next()?;
    if !first[0].is_ascii_digit() {
        return month_first(first, tokens, clock);
    }
    if let Some(day) = separated(first) {
        return separated_date(day, tokens, clock);
    }
    day_first(first, tokens, clock)
}

/// `Jan 25 00:17`, `Apr  8  1994`, `Oct 08, 2002 09:47` (VShell), `Jan 25 00:17:03 2020` (BSD
/// `ls -T`).
fn month_first<'a>(first: &[u8], mut tokens: Tokens<'a>, clock: &Clock) -> Option<Date<'a>> {
    let day_word = tokens.next()?;
    let day = day_number(unpunctuated(day_word))?;
    let third = tokens.next()?;
    if first.iter().any(u8::is_ascii_digit) {
        return None;
    }
    if let Some(year) = year_number(third) {
        let mut time = None;
        if day_word.ends_with(b",") {
            let mut ahead = tokens.clone();
            time = ahead.next().and_then(time_of_day);
            if time.is_some() {
                tokens = ahead;
            }
        }
        return dated((Some(year), month(first), day), time, tokens, clock);
    }
    let time = time_of_day(third)?;
    let mut year = None;
    if time.second.is_some() {
        let mut ahead = tokens.clone();
        year = ahead.next().and_then(year_number);
        if year.is_some() {
            tokens = ahead;
        }
    }
    dated((year, month(first), day), Some(time), tokens, clock)
}

/// `29 Jul 02:27`, `01 oct 2004`, `26. Juli, 20:10`, and the same in numbers: `3 29 03:26`,
/// `3月 2日 15:13`, `2005년  1월  6일`.
fn day_first<'a>(first: &[u8], mut tokens: Tokens<'a>, clock: &Clock) -> Option<Date<'a>> {
    let second = tokens.next()?;
    let third = tokens.next()?;
    if !second[0].is_ascii_digit() {
        let day = (day_number(unpunctuated(first))?, month(second));
        if second.iter().any(u8::is_ascii_digit) {
            return None;
        }
        let (year, time) = year_or_time(third)?;
        return dated((year, day.1, day.0), time, tokens, clock);
    }
    let (one, one_is_marked) = counted(first)?;
    let (two, two_is_marked) = counted(second)?;
    if one_is_marked || two_is_marked {
        if let Some(year) = year_number(first) {
            let day = counted(third).map(|(day, _)| day).filter(is_day)?;
            return dated((Some(year), Some(two), day), None, tokens, clock);
        }
        let (year, time) = year_or_time(third)?;
        return dated((year, Some(one), two), time, tokens, clock);
    }
    // Among bare numbers, only a time distinguishes a date from sizes and numeric owners.
    let time = time_of_day(third)?;
    dated((None, Some(one), two), Some(time), tokens, clock)
}

/// `2005-06-07 21:22`, `09-26 2000`, `09-26 13:45`, `2004.07.15`, `01-jun-99`, and the output of
/// `ls --full-time`, which alone says its time zone.
fn separated_date<'a>(day: Day, mut tokens: Tokens<'a>, clock: &Clock) -> Option<Date<'a>> {
    let mut ahead = tokens.clone();
    let next = ahead.next();
    if day.0.is_none() {
        let (year, time) = year_or_time(next?)?;
        return dated((year, day.1, day.2), time, ahead, clock);
    }
    let Some(time) = next.and_then(time_of_day) else {
        let mut date = dated(day, None, tokens, clock)?;
        date.padded = true;
        return Some(date);
    };
    tokens = ahead;
    if next.is_some_and(|token| token.contains(&b'.')) {
        let mut ahead = tokens.clone();
        if let Some(zone) = ahead.next().and_then(zone) {
            let clock = Clock { zone, ..*clock };
            return dated(day, Some(time), ahead, &clock);
        }
    }
    dated(day, Some(time), tokens, clock)
}

/// Three numbers, or two without a year, with one separator between them.
fn separated(token: &[u8]) -> Option<Day> {
    if token.len() > 20 {
        return None;
    }
    let at = token
        .iter()
        .position(|byte| matches!(byte, b'-' | b'/' | b'.'))?;
    let mut parts = token.split(|&byte| byte == token[at]);
    let (one, two, three) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let Some(three) = three else {
        // A point could belong to a size ("33.5k").
        let (month, day) = (tokens::small(one)?, tokens::small(two)?);
        return (token[at] == b'-' && is_month(&month) && is_day(&day)).then_some((
            None,
            Some(month),
            day,
        ));
    };
    if one.len() == 4 {
        let (year, day) = (year_number(one)?, day_number(three)?);
        return Some((Some(year), Some(tokens::small(two)?), day));
    }
    let day = day_number(one)?;
    if two.first().is_some_and(u8::is_ascii_alphabetic) {
        let year = match three.len() {
            2 => century(tokens::small(three)?),
            _ => year_number(three)?,
        };
        return Some((Some(year), month(two), day));
    }
    Some((Some(year_number(three)?), Some(tokens::small(two)?), day))
}

fn dated<'a>(
    (year, month, day): Day,
    time: Option<TimeOfDay>,
    after: Tokens<'a>,
    clock: &Clock,
) -> Option<Date<'a>> {
    Some(Date {
        modified: month.and_then(|month| moment(year, month, day, time, clock)),
        after,
        padded: false,
    })
}

/// Converts a date in the server's zone to UTC; without a year, the latest possible one.
pub(crate) fn moment(
    year: Option<i64>,
    month: u32,
    day: u32,
    time: Option<TimeOfDay>,
    clock: &Clock,
) -> Option<Modified> {
    let (seconds_of_day, precision) = match time {
        None => (0, Precision::Day),
        Some(time) => {
            let second = time.second.unwrap_or(0);
            let precision = match time.second {
                Some(_) => Precision::Second,
                None => Precision::Minute,
            };
            (
                time.hour * 3600 + time.minute * 60 + second.min(59),
                precision,
            )
        }
    };
    let on = |year: i64| {
        let midnight = unix_seconds(year, month, day, 0, 0, 0)?;
        midnight.checked_add(i64::from(seconds_of_day))
    };
    let local = match year {
        Some(year) => on(year)?,
        None => {
            let latest = clock
                .now
                .saturating_add(i64::from(clock.zone))
                .saturating_add(86_400);
            let this = civil(latest).map_or(LAST_YEAR, |at| at.year().into());
            // Eight years hold a 29 February wherever the calendar has one.
            (0..=8)
                .filter_map(|ago| on(this - ago))
                .find(|&seconds| seconds <= latest)?
        }
    };
    Some(Modified {
        seconds: local.saturating_sub(i64::from(clock.zone)),
        precision,
    })
}

/// `8:52`, `20:10`, `24:00`, `03:04:05`, `03:04:05.000000000`.
pub(crate) fn time_of_day(token: &[u8]) -> Option<TimeOfDay> {
    let colon = token.iter().take(3).position(|&byte| byte == b':')?;
    let hour = tokens::small(&token[..colon])?;
    let rest = &token[colon + 1..];
    let minute = tokens::small(rest.get(..2)?)?;
    let second = match &rest[2..] {
        [] => None,
        [b':', tens, ones] => Some(tokens::small(&[*tens, *ones])?),
        [b':', tens, ones, b'.', fraction @ ..] if tokens::is_number(fraction) => {
            Some(tokens::small(&[*tens, *ones])?)
        }
        _ => return None,
    };
    let fits = hour < 24 || (hour == 24 && minute == 0 && second.unwrap_or(0) == 0);
    (fits && minute < 60 && second.unwrap_or(0) <= 60).then_some(TimeOfDay {
        hour,
        minute,
        second,
    })
}

/// The full year of two digits.
pub(crate) fn century(two_digits: u32) -> i64 {
    i64::from(two_digits) + if two_digits < 70 { 2000 } else { 1900 }
}

fn year_or_time(token: &[u8]) -> Option<(Option<i64>, Option<TimeOfDay>)> {
    match year_number(token) {
        Some(year) => Some((Some(year), None)),
        None => Some((None, Some(time_of_day(token)?))),
    }
}

/// `+0200` in seconds.
fn zone(token: &[u8]) -> Option<i32> {
    let (&sign, digits) = token.split_first()?;
    if digits.len() != 4 {
        return None;
    }
    let number = i32::try_from(tokens::small(digits)?).ok()?;
    let seconds = (number / 100) * 3600 + (number % 100) * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// Four digits, or four digits and the sign for a year ("2003年").
fn year_number(token: &[u8]) -> Option<i64> {
    if token.len() < 4 || token[0] == b'0' {
        return None;
    }
    let (year, _) = counted(token)?;
    (1000..=9999).contains(&year).then_some(i64::from(year))
}

/// A number with an optional sign for its unit after it ("3月", in any encoding), and whether there is one.
fn counted(token: &[u8]) -> Option<(u32, bool)> {
    let digits = token
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let sign = &token[digits..];
    if sign.len() > 4 || sign.first().is_some_and(u8::is_ascii) {
        return None;
    }
    Some((tokens::small(&token[..digits])?, !sign.is_empty()))
}

fn day_number(token: &[u8]) -> Option<u32> {
    if token.len() > 2 {
        return None;
    }
    tokens::small(token).filter(is_day)
}

fn is_day(day: &u32) -> bool {
    (1..=31).contains(day)
}

fn is_month(month: &u32) -> bool {
    (1..=12).contains(month)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-07-01 00:00:00 UTC.
    const CLOCK: Clock = Clock {
        now: 1_719_792_000,
        zone: 0,
    };

    fn seconds(year: i64, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> i64 {
        unix_seconds(year, month, day, hour, minute, second).expect("a date")
    }

    #[test]
    fn every_form_of_a_date_is_read_to_its_end() {
        use Precision::{Day, Minute, Second};
        for (text, (year, month, day), (hour, minute, second), precision) in [
            ("Jan 25 00:17", (2024, 1, 25), (0, 17, 0), Minute),
            ("Apr  8  1994", (1994, 4, 8), (0, 0, 0), Day),
            ("JAN 2 3:04", (2024, 1, 2), (3, 4, 0), Minute),
            ("Oct 08, 2002 09:47", (2002, 10, 8), (9, 47, 0), Minute),
            ("Jan  2 03:04:05 2020", (2020, 1, 2), (3, 4, 5), Second),
            ("29 Jun 02:27", (2024, 6, 29), (2, 27, 0), Minute),
            ("01 oct 2004", (2004, 10, 1), (0, 0, 0), Day),
            ("26. Juni, 20:10", (2024, 6, 26), (20, 10, 0), Minute),
            ("2.   Okt.  2003", (2003, 10, 2), (0, 0, 0), Day),
            ("szept 26 20:10", (2023, 9, 26), (20, 10, 0), Minute),
            ("15 апр 18:11", (2024, 4, 15), (18, 11, 0), Minute),
            ("3 29 03:26", (2024, 3, 29), (3, 26, 0), Minute),
            ("3月 2日 15:13", (2024, 3, 2), (15, 13, 0), Minute),
            ("3月 2日 2003年", (2003, 3, 2), (0, 0, 0), Day),
            ("2005년  1월  6일", (2005, 1, 6), (0, 0, 0), Day),
            ("09-26 2000", (2000, 9, 26), (0, 0, 0), Day),
            ("09-26 13:45", (2023, 9, 26), (13, 45, 0), Minute),
            ("2005-06-07 21:22", (2005, 6, 7), (21, 22, 0), Minute),
            ("1999/10/12 17:12", (1999, 10, 12), (17, 12, 0), Minute),
            ("24-04-2003 17:12", (2003, 4, 24), (17, 12, 0), Minute),
            ("2004.07.15", (2004, 7, 15), (0, 0, 0), Day),
            ("01-jun-99", (1999, 6, 1), (0, 0, 0), Day),
            ("2020-01-02 03:04:05", (2020, 1, 2), (3, 4, 5), Second),
            (
                "2020-01-02 03:04:05.123456789 +0130",
                (2020, 1, 2),
                (1, 34, 5),
                Second,
            ),
            ("Apr   4 24:00", (2024, 4, 5), (0, 0, 0), Minute),
        ] {
            let line = format!("{text} a name");
            let date = read(Tokens::of(line.as_bytes()), &CLOCK).expect(text);
            let expected = Modified {
                seconds: seconds(year, month, day, hour, minute, second),
                precision,
            };
            assert_eq!(date.modified, Some(expected), "{text}");
            assert_eq!(date.after.name(), Some(&b"a name"[..]), "{text}");
        }
    }

    #[test]
    fn an_unknown_month_keeps_its_shape_but_gives_no_time() {
        for text in ["Foo 12 10:30", "12 Foo 2020", "lis 12 2020", "Feb 30 2020"] {
            let date = read(Tokens::of(text.as_bytes()), &CLOCK).expect(text);
            assert_eq!(date.modified, None, "{text}");
            assert_eq!(date.after.rest(), b"", "{text}");
        }
    }

    #[test]
    fn what_has_not_the_shape_of_a_date_is_none() {
        for text in [
            "",
            "512",
            "Jan",
            "Jan 32 10:00",
            "Apr -7 18:79",
            "Jan 1 18:79",
            "Jan 1 12",
            "12 Nov 11",
            "100 5 12",
            "1.5k Jan 1",
            "root root 512",
        ] {
            assert!(
                read(Tokens::of(text.as_bytes()), &CLOCK).is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_date_without_a_year_is_the_latest_that_is_not_ahead() {
        let at = |month, day, now| {
            let clock = Clock { now, zone: 0 };
            let time = TimeOfDay {
                hour: 12,
                minute: 0,
                second: None,
            };
            let modified = moment(None, month, day, Some(time), &clock).expect("a moment");
            civil(modified.seconds).expect("a date").year()
        };
        assert_eq!(at(1, 1, seconds(2024, 12, 31, 23, 0, 0)), 2025);
        assert_eq!(at(1, 2, seconds(2024, 12, 31, 23, 0, 0)), 2024);
        assert_eq!(at(12, 31, seconds(2025, 1, 1, 0, 0, 0)), 2024);
        assert_eq!(at(2, 29, seconds(2027, 6, 1, 0, 0, 0)), 2024);
        assert_eq!(at(2, 29, seconds(2103, 6, 1, 0, 0, 0)), 2096);
    }

    #[test]
    fn a_date_without_a_year_is_read_at_the_end_of_all_time_too() {
        let clock = Clock {
            now: i64::MAX,
            zone: 0,
        };
        let read = read(Tokens::of(b"12 31 12:00"), &clock).expect("a date");
        let modified = read.modified.expect("a time");
        assert_eq!(modified.seconds, seconds(LAST_YEAR, 12, 31, 12, 0, 0));
    }

    #[test]
    fn the_servers_zone_is_taken_off_and_counts_for_the_year() {
        let clock = Clock {
            now: seconds(2024, 12, 30, 23, 0, 0),
            zone: 2 * 3600,
        };
        let date = read(Tokens::of(b"Jan  1 00:30"), &clock).expect("a date");
        let modified = date.modified.expect("a time");
        assert_eq!(modified.seconds, seconds(2024, 12, 31, 22, 30, 0));
    }
}
