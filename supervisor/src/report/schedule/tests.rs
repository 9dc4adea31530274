//! Time is passed in: a device that changes, a server that takes, fails and asks for rest.

use super::super::document::status;
use super::*;
use crate::view::specimen;

const ON_CHANGE: u64 = 5_000;
const EVERY: u64 = 900_000;

fn to(url: &str) -> ReportTo {
    ReportTo { url: url.into(), every_ms: EVERY, on_change_ms: ON_CHANGE }
}

/// What is worth a report, in a version of its own.
fn state(number: u32) -> Status {
    let mut device = specimen::device();
    device.services.get_mut("web").unwrap().ready = number;
    status(&device, 1).lasting()
}

/// A schedule whose first report the server has, at the moment of it.
fn at_rest() -> (Schedule, Moment) {
    let mut schedule = Schedule::new("till-1");
    schedule.changed(Moment(0));
    let now = schedule.next().unwrap();
    assert!(schedule.looked(now, Some(&to("http://a")), &state(1)));
    schedule.taken(now, state(1), None);
    (schedule, now)
}

fn after(schedule: &Schedule, now: Moment) -> u64 {
    schedule.next().unwrap().since(now).millis()
}

#[test]
fn nothing_is_looked_at_or_sent_without_a_place_to_send_it_to() {
    let mut schedule = Schedule::new("till-1");
    assert_eq!(schedule.next(), None, "no polling");
    schedule.changed(Moment(0));
    let now = schedule.next().unwrap();
    assert!(!schedule.looked(now, None, &state(1)));
    assert_eq!(schedule.next(), None);
    // The same when an index takes the place away.
    let (mut schedule, now) = at_rest();
    assert!(!schedule.looked(now, None, &state(2)));
    assert_eq!(schedule.next(), None);
}

#[test]
fn a_change_is_reported_once_however_many_words_say_so() {
    let (mut schedule, now) = at_rest();
    schedule.changed(now);
    let due = schedule.next().unwrap();
    assert!((ON_CHANGE..=ON_CHANGE * 3 / 2).contains(&due.since(now).millis()), "{due:?}");
    for millis in 0..ON_CHANGE {
        schedule.changed(Moment(now.0 + millis));
    }
    assert_eq!(schedule.next(), Some(due), "a storm does not put it off");
    assert!(schedule.looked(due, Some(&to("http://a")), &state(2)));
    schedule.taken(due, state(2), None);
    assert!(!schedule.has_change());
}

#[test]
fn a_storm_of_changes_is_reported_no_more_often_than_asked_for() {
    let (mut schedule, start) = at_rest();
    let mut reports = Vec::new();
    for number in 0..120_000 {
        let now = Moment(start.0 + number);
        schedule.changed(now);
        if schedule.next().unwrap() <= now {
            let state = state(2 + u32::try_from(number).unwrap());
            assert!(schedule.looked(now, Some(&to("http://a")), &state));
            schedule.taken(now, state, None);
            reports.push(now);
        }
    }
    assert!(reports.windows(2).all(|pair| pair[1].since(pair[0]).millis() >= ON_CHANGE), "{reports:?}");
    assert!(reports.len() >= 15, "{reports:?}");
}

#[test]
fn a_look_that_finds_nothing_new_sends_nothing_and_the_report_stays_due() {
    let (mut schedule, now) = at_rest();
    let due = schedule.next().unwrap();
    assert!((EVERY * 4 / 5..=EVERY).contains(&due.since(now).millis()), "{due:?}");
    schedule.changed(now);
    let look = schedule.next().unwrap();
    assert!(!schedule.looked(look, Some(&to("http://a")), &state(1)));
    assert_eq!(schedule.next(), Some(due));
    assert!(schedule.looked(due, Some(&to("http://a")), &state(1)), "a sign of life");
}

#[test]
fn devices_are_spread() {
    let due = |device: &str| {
        let mut schedule = Schedule::new(device);
        schedule.looked(Moment(0), Some(&to("http://a")), &state(1));
        schedule.taken(Moment(0), state(1), None);
        schedule.next().unwrap().0
    };
    let all: std::collections::BTreeSet<_> = (0..50).map(|number| due(&format!("till-{number}"))).collect();
    assert!(all.len() > 45 && all.last().unwrap() - all.first().unwrap() > EVERY / 10, "{all:?}");
}

#[test]
fn failures_slow_down_to_the_longest_and_changes_do_not_hurry_them() {
    let (mut schedule, mut now) = at_rest();
    let mut waits = Vec::new();
    for number in 0..60 {
        schedule.failed(now, None);
        schedule.changed(now);
        assert!(!schedule.looked(now, Some(&to("http://a")), &state(7)), "nothing is asked in between");
        waits.push(after(&schedule, now));
        assert_eq!(schedule.failures(), number + 1);
        now = schedule.next().unwrap();
        assert!(schedule.looked(now, Some(&to("http://a")), &state(1)), "what failed is sent again");
    }
    assert!(waits[0] <= 3 * ON_CHANGE, "{waits:?}");
    assert!(waits.iter().all(|wait| (ON_CHANGE..=ON_CHANGE + EVERY).contains(wait)), "{waits:?}");
    assert!(waits[20..].iter().any(|wait| *wait > EVERY / 2), "{waits:?}");
    assert!(waits[20..].iter().any(|wait| *wait < EVERY / 2), "full jitter: {waits:?}");
    schedule.taken(now, state(1), None);
    assert_eq!(schedule.failures(), 0);
    schedule.failed(now, None);
    assert!(after(&schedule, now) <= 3 * ON_CHANGE, "a success begins anew");
}

#[test]
fn a_server_is_left_alone_as_long_as_it_asks_and_a_day_at_most() {
    let (mut schedule, now) = at_rest();
    schedule.failed(now, Some(Duration::from_secs(7200)));
    schedule.changed(now);
    assert_eq!(after(&schedule, now), 7_200_000);
    schedule.failed(now, Some(Duration::MAX));
    assert_eq!(after(&schedule, now), 86_400_000);
    // Also one that took it.
    schedule.taken(now, state(1), Some(Duration::from_secs(3600)));
    schedule.changed(now);
    assert_eq!(after(&schedule, now), 3_600_000);
}

#[test]
fn another_server_owes_nothing_to_the_failures_of_the_first() {
    let (mut schedule, now) = at_rest();
    schedule.failed(now, None);
    assert!(schedule.looked(now, Some(&to("http://b")), &state(1)));
    assert_eq!(schedule.failures(), 0);
}

#[test]
fn an_index_that_asks_for_haste_gets_a_report_a_second() {
    let mut schedule = Schedule::new("till-1");
    let hasty = ReportTo { every_ms: 0, on_change_ms: 0, ..to("http://a") };
    for number in 0..50 {
        let now = Moment(number * 10_000);
        assert!(schedule.looked(now, Some(&hasty), &state(1)));
        schedule.taken(now, state(1), None);
        assert!(after(&schedule, now) >= 800);
        schedule.changed(now);
        assert!(after(&schedule, now) >= 800);
        schedule.failed(now, None);
        assert!(after(&schedule, now) >= 1000);
    }
}
