//! The two clocks: one for decisions, which nobody can set, and one for people.

pub mod rfc3339;

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
    spelled(SystemTime::now())
}

fn spelled(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
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

    #[test]
    fn the_time_is_the_machines() {
        let other = || {
            let said = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
            String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
        };
        let (before, own, after) = (other(), wall(), other());
        assert!(before[..19] <= own[..19] && own[..19] <= after[..19], "{before} {own} {after}");
    }

    /// What counts its seconds in 32 bits ends in January 2038.
    #[test]
    fn time_goes_on_after_2038() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(4_102_444_800_007);
        assert_eq!(spelled(at), "2100-01-01T00:00:00.007Z");
        assert_eq!(rfc3339::parse("2100-01-01T00:00:00.007Z"), Some(at));
        assert_eq!(size_of_val(&clock_gettime(ClockId::Boottime).tv_sec), 8);
    }

    /// futimens(2) and stat(2) have a form with 32 bits, too. Another program is asked, for both could be wrong alike.
    #[test]
    fn files_are_written_after_2038() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_102_444_800);
        file.as_file().set_modified(at).unwrap();
        let said = std::process::Command::new("stat").args(["-c", "%Y"]).arg(file.path()).output().unwrap();
        let said: u64 = String::from_utf8(said.stdout).unwrap().trim_end().parse().unwrap();
        let read = file.as_file().metadata().unwrap().modified().unwrap();
        assert_eq!(read.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), said);
        if said != 4_102_444_800 {
            crate::skip::skip("this file system has no times after 2038");
        }
    }
}
