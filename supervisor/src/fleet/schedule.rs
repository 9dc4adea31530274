//! When to look next. The interval is spread by the device's id, so that a street that gets its power back does not ask as
//! one; failures are spread and slowed down (decorrelated backoff); a server that asks to be left alone is, for a day at
//! most. [`Chance`] is a digest of the device's id and a count: the same device does the same twice, two devices do not.

use sha2::{Digest as _, Sha256};
use skiff_planner::fleet::Poll;
use std::time::Duration;

/// No server keeps a device away for longer.
const LONGEST_RETRY: Duration = Duration::from_secs(86_400);
/// Between failures, at the least, unless the interval is shorter still.
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// The schedule of one device.
#[derive(Debug)]
pub struct Schedule {
    chance: Chance,
    /// The last wait after a failure; none after a success.
    backoff: Option<Duration>,
}

impl Schedule {
    /// The schedule of a device.
    #[must_use]
    pub fn new(device: &str) -> Self {
        Self { chance: Chance::new(device), backoff: None }
    }

    /// The wait after a look that went well: the interval, more or less its jitter.
    pub fn after_success(&mut self, poll: &Poll) -> Duration {
        self.backoff = None;
        let interval = poll.interval.duration();
        let spread = interval.mul_f64(f64::from(poll.percent().unwrap_or(0)) / 100.0);
        let earliest = interval.saturating_sub(spread);
        earliest + (spread * 2).mul_f64(self.chance.draw())
    }

    /// The wait after one that did not: up to three times the last, never below what the server asked for.
    pub fn after_failure(&mut self, poll: &Poll, retry_after: Option<Duration>) -> Duration {
        let first = FIRST_RETRY.min(poll.interval.duration());
        let last = self.backoff.unwrap_or(first);
        let most = poll.max_backoff.duration().max(first);
        let wait = first + (last * 3).saturating_sub(first).mul_f64(self.chance.draw());
        let wait = wait.min(most);
        self.backoff = Some(wait);
        wait.max(retry_after.unwrap_or_default().min(LONGEST_RETRY))
    }
}

/// What stands in for chance: the same for the same seed, another for another.
#[derive(Debug)]
pub struct Chance {
    seed: String,
    count: u64,
}

impl Chance {
    /// Of a device, or of one thing that a device does.
    #[must_use]
    pub fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned(), count: 0 }
    }

    /// From 0 to 1.
    pub fn draw(&mut self) -> f64 {
        self.count += 1;
        let digest = Sha256::new().chain_update(&self.seed).chain_update(self.count.to_be_bytes()).finalize();
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        f64::from(number) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_planner::span::Span;

    fn poll() -> Poll {
        Poll { interval: Span::from_secs(900), jitter: "20%".into(), max_backoff: Span::from_secs(3600) }
    }

    #[test]
    fn success_keeps_the_interval_and_spreads_devices() {
        let waits = |device: &str| -> Vec<u64> {
            let mut schedule = Schedule::new(device);
            (0..100).map(|_| schedule.after_success(&poll()).as_secs()).collect()
        };
        let (one, two) = (waits("till-1"), waits("till-2"));
        assert_eq!(one, waits("till-1"));
        assert_ne!(one, two);
        assert!(one.iter().all(|wait| (720..=1080).contains(wait)), "{one:?}");
        assert!(one.iter().max().unwrap() - one.iter().min().unwrap() > 200, "{one:?}");
    }

    #[test]
    fn failures_slow_down_to_the_longest_and_begin_anew() {
        let mut schedule = Schedule::new("till-1");
        let waits: Vec<u64> = (0..40).map(|_| schedule.after_failure(&poll(), None).as_secs()).collect();
        assert!(waits[0] <= 30 && waits.iter().all(|wait| (10..=3600).contains(wait)), "{waits:?}");
        assert!(waits[20..].iter().any(|wait| *wait > 1000), "{waits:?}");
        schedule.after_success(&poll());
        assert!(schedule.after_failure(&poll(), None).as_secs() <= 30);
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_and_a_day_at_most() {
        let mut schedule = Schedule::new("till-1");
        let asked = Duration::from_secs(7200);
        assert_eq!(schedule.after_failure(&poll(), Some(asked)), asked);
        for years in [Duration::from_secs(10 * 365 * 86_400), Duration::MAX] {
            assert_eq!(schedule.after_failure(&poll(), Some(years)), LONGEST_RETRY);
        }
        let impatient = schedule.after_failure(&poll(), Some(Duration::ZERO));
        assert!(impatient.as_secs() >= 10, "a server cannot make a device hurry: {impatient:?}");
    }

    #[test]
    fn a_short_interval_is_a_short_backoff() {
        let poll = Poll { interval: Span::from_secs(1), jitter: "0%".into(), max_backoff: Span::from_secs(2) };
        let mut schedule = Schedule::new("till-1");
        assert_eq!(schedule.after_success(&poll), Duration::from_secs(1));
        for _ in 0..50 {
            let wait = schedule.after_failure(&poll, None);
            assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(2), "{wait:?}");
        }
    }
}
