//! The two clocks: one for decisions, which nobody can set, and one for people.

use rustix::time::{ClockId, clock_gettime};
use skiff_planner::moment::Moment;
use std::time::SystemTime;

/// Now, on the clock for decisions (CLOCK_BOOTTIME, clock_gettime(2)).
#[must_use]
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let millis = i128::from(time.tv_sec) * 1000 + i128::from(time.tv_nsec) / 1_000_000;
    Moment(u64::try_from(millis).unwrap_or(0))
}

/// Now, for people and reports: RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn wall() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let before = now();
        assert!(before.0 > 0 && now() >= before);
        assert!(wall().ends_with('Z'));
    }
}
