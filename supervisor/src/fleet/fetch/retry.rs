//! `Retry-After`, in seconds or as a date. A date is measured against the server's own, because a device's clock may be years
//! off.

/// How long to wait, in seconds; nothing where it is not understood.
pub(super) fn after(retry: &str, date: Option<&str>, clock: u64) -> Option<u64> {
    let retry = retry.trim();
    if let Ok(seconds) = retry.parse() {
        return Some(seconds);
    }
    if !retry.is_empty() && retry.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits: as long as possible.
        return Some(u64::MAX);
    }
    let now = date.and_then(seconds).unwrap_or(clock);
    Some(seconds(retry)?.saturating_sub(now))
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that RFC 9110 lets servers write.
fn seconds(date: &str) -> Option<u64> {
    let mut words = date.trim().split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let real = (1..=31).contains(&day) && (1970..10_000).contains(&year) && hour < 24 && minute < 60 && second <= 60;
    if words.next()? != "GMT" || !real {
        return None;
    }
    // Days since 1970, with years that begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (date, wanted) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            ("Tue, 19 Jan 2038 03:14:08 GMT", Some(1 << 31)),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 06 Now 1994 08:49:37 GMT", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("", None),
        ] {
            assert_eq!(seconds(date), wanted, "{date}");
        }
    }

    #[test]
    fn waits() {
        let (now, later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(after("120", None, 0), Some(120));
        assert_eq!(after(" 7 ", None, 0), Some(7));
        assert_eq!(after(later, Some(now), 5), Some(60));
        assert_eq!(after(later, None, 784_111_777), Some(60));
        assert_eq!(after(now, Some(later), 0), Some(0), "past");
        assert_eq!(after("99999999999999999999999", None, 0), Some(u64::MAX));
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(after(text, None, 0), None, "{text}");
        }
    }
}
