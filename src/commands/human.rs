//! Formats counts, sizes, durations and times for people.

use std::time::Duration;

/// Formats a number of bytes, in binary units with one digit after the point.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    match bytes {
        1 => return "1 byte".to_string(),
        0..1024 => return format!("{bytes} bytes"),
        _ => {}
    }
    let (mut value, mut unit) = (bytes / 1024, 0);
    let mut rest = bytes % 1024;
    while value >= 1024 && unit + 1 < UNITS.len() {
        rest = value % 1024;
        value /= 1024;
        unit += 1;
    }
    format!("{value}.{} {}", rest * 10 / 1024, UNITS[unit])
}

/// Formats a number with commas between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.char_indices() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number of files, such as "1 file" or "2 closed files"; `kind` may be empty.
pub fn files(count: u64, kind: &str) -> String {
    let blank = if kind.is_empty() { "" } else { " " };
    counted(count, &format!("{kind}{blank}file"))
}

/// Formats a number of things, such as "1 name" or "2 names".
pub fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// Formats how long something has lasted, in its two largest units.
pub fn duration(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    let (hours, days) = (minutes / 60, minutes / (24 * 60));
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Formats how long an answer took, in milliseconds up to 10 s.
pub fn latency(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_string(),
        millis @ 1..10_000 => format!("{millis} ms"),
        millis => format!("{} s", millis / 1000),
    }
}

/// Formats seconds since 1970 in the time zone of this machine.
pub fn date_time(seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let zoned = moment.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A line on closed files that are not on the server, of which lost+found has `kept`, and the first ones are `named`; `None`
/// if there are none.
pub fn explain_refused(
    (count, kept): (u64, u64),
    named: &[String],
    directory: &dyn std::fmt::Display,
) -> Option<String> {
    let mut refused = format!("{} could not be stored", files(count, "closed"));
    if !named.is_empty() {
        refused = format!("{refused}: {}", named.join(", "));
    }
    let others = count.saturating_sub(named.len() as u64);
    if !named.is_empty() && others > 0 {
        refused = format!("{refused} and {}", files(others, "more"));
    }
    match (count, kept) {
        (0, _) => None,
        (_, 0) => Some(format!(
            "{refused}; nothing of that is in lost+found, and the log has the reasons"
        )),
        (_, kept) if kept < count => Some(format!(
            "{refused}; content and reason of {kept} are in {directory}, and the log has the reasons of the others"
        )),
        _ => Some(format!("{refused}; content and reason are in {directory}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        let sizes = [0, 1, 1023, 1024, 1536, 10 << 20, 3 << 40].map(size);
        let expected = [
            "0 bytes",
            "1 byte",
            "1023 bytes",
            "1.0 KiB",
            "1.5 KiB",
            "10.0 MiB",
            "3.0 TiB",
        ];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn thousands_are_separated_by_commas() {
        let counts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn counts_of_files_have_the_right_plural() {
        assert_eq!(files(1, ""), "1 file");
        assert_eq!(files(2, "closed"), "2 closed files");
        assert_eq!(counted(1, "name"), "1 name");
        assert_eq!(counted(2000, "name"), "2,000 names");
    }

    #[test]
    fn refused_files_are_named_and_the_others_counted() {
        let line = |counts, named: &[&str]| {
            let named: Vec<String> = named.iter().map(|&name| name.into()).collect();
            explain_refused(counts, &named, &"/l").unwrap_or_default()
        };
        assert_eq!(line((0, 0), &[]), "");
        assert_eq!(
            line((1, 1), &["/a (kept as a.1)"]),
            "1 closed file could not be stored: /a (kept as a.1); content and reason are in /l"
        );
        let several = line((3, 3), &["/a", "/b"]);
        let expected = "3 closed files could not be stored: /a, /b and 1 more file;";
        assert!(several.starts_with(expected), "{several}");
        let unnamed = line((2, 2), &[]);
        assert!(unnamed.starts_with("2 closed files could not be stored;"));
    }

    #[test]
    fn durations_have_two_units() {
        let durations = [5, 65, 3700, 90_000].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(durations, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn latencies_are_milliseconds_up_to_ten_seconds() {
        let latencies = [300, 5_012_000, 10_012_000].map(|us| latency(Duration::from_micros(us)));
        assert_eq!(latencies, ["less than 1 ms", "5012 ms", "10 s"]);
    }
}
