//! Reading the times of RFC 3339. `humantime`, which writes them, reads none after January 2038 on 32-bit machines, whose
//! time it takes for 32 bits wide; the standard library's has 64 everywhere.

use std::time::{Duration, SystemTime};

/// The time that `text` says, as in `2026-11-24T08:00:00.5+01:00`; what comes after nanoseconds is cut off, and a leap second is
/// the one before. Nothing for what is no time, or is before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let mut text = text.as_bytes();
    let year = digits(&mut text, 4, 1970..=9999)?;
    let month = one_of(&mut text, b"-").and_then(|_| digits(&mut text, 2, 1..=12))?;
    let day = one_of(&mut text, b"-").and_then(|_| digits(&mut text, 2, 1..=days_of(year, month)))?;
    let hour = one_of(&mut text, b"Tt").and_then(|_| digits(&mut text, 2, 0..=23))?;
    let minute = one_of(&mut text, b":").and_then(|_| digits(&mut text, 2, 0..=59))?;
    let second = one_of(&mut text, b":").and_then(|_| digits(&mut text, 2, 0..=60))?.min(59);
    let nanoseconds = if one_of(&mut text, b".").is_some() { fraction(&mut text)? } else { 0 };
    let seconds = ((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second;
    let seconds = match one_of(&mut text, b"Zz+-")? {
        sign @ (b'+' | b'-') => {
            let hours = digits(&mut text, 2, 0..=23)?;
            let minutes = one_of(&mut text, b":").and_then(|_| digits(&mut text, 2, 0..=59))?;
            let offset = hours * 3600 + minutes * 60;
            if sign == b'+' { seconds.checked_sub(offset)? } else { seconds + offset }
        }
        _ => seconds,
    };
    if !text.is_empty() {
        return None;
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

/// Takes exactly so many digits.
fn digits(text: &mut &[u8], count: usize, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let (number, rest) = text.split_at_checked(count)?;
    *text = rest;
    let number = number.iter().try_fold(0, |all, digit| Some(all * 10 + u64::from(value(*digit)?)))?;
    range.contains(&number).then_some(number)
}

/// Takes one letter.
fn one_of(text: &mut &[u8], letters: &[u8]) -> Option<u8> {
    let (first, rest) = text.split_first()?;
    letters.contains(first).then(|| *text = rest).map(|()| *first)
}

/// Takes the digits after the point, one at least.
fn fraction(text: &mut &[u8]) -> Option<u32> {
    let count = text.iter().take_while(|byte| value(**byte).is_some()).count();
    let (all, rest) = text.split_at_checked(count).filter(|_| count > 0)?;
    *text = rest;
    let nine = all.iter().chain([b'0'; 9].iter()).take(9);
    Some(nine.filter_map(|digit| value(*digit)).fold(0, |all, digit| all * 10 + digit))
}

fn value(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(10)
}

const fn is_leap(year: u64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    // Leap years before a year.
    let leaps = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let years = (year - 1970) * 365 + leaps(year) - leaps(1970);
    years + (1..month).map(|month| days_of(year, month)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_written_is_read() {
        // Every day until 2108, and some until 2408, when the calendar has come round.
        for day in (0..50_500).chain((50_500..160_000).step_by(29)) {
            let time = at(day * 86_400 + day % 86_400) + Duration::from_nanos(day);
            assert_eq!(parse(&humantime::format_rfc3339_nanos(time).to_string()), Some(time));
        }
        assert_eq!(parse("9999-12-31T23:59:59Z"), Some(at(253_402_300_799)));
    }

    #[test]
    fn forms() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2038-01-19T03:14:08z", 1 << 31),
            ("2106-02-07t06:28:16+00:00", 1 << 32),
            ("2026-11-24T08:00:00+01:30", 1_795_501_800),
            ("2026-11-24T05:00:00-01:30", 1_795_501_800),
            ("2016-12-31T23:59:60Z", 1_483_228_799),
            ("2024-02-29T00:00:00Z", 1_709_164_800),
        ] {
            assert_eq!(parse(text), Some(at(seconds)), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00.5Z"), Some(at(0) + Duration::from_millis(500)));
        assert_eq!(parse("1970-01-01T00:00:00.1234567899Z"), Some(at(0) + Duration::from_nanos(123_456_789)));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "now",
            "2026",
            "2026-11-24",
            "2026-11-24T08:00:00",
            "2026-11-24 08:00:00Z",
            "2026-11-24T08:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00Zx",
            "1970-01-01T00:00:00+00:01",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
            "２026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
