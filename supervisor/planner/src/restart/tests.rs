//! Tests of the room `restart`: policies, delays, and each end counted once.

use super::*;
use crate::specimen::{id, service};
use serde_json::{Value, json};

const OK: Exit = Exit::Status { code: 0, oom: false };
const BAD: Exit = Exit::Status { code: 1, oom: false };

fn short(extra: Value) -> (Again, Option<u32>) {
    let policy = policy(&service(extra));
    (policy.again, policy.attempts)
}

#[test]
fn policies() {
    assert_eq!(short(json!({})), (Again::Always, None));
    assert_eq!(short(json!({"restart": "no"})), (Again::Never, None));
    assert_eq!(short(json!({"restart": "on-failure:3"})), (Again::OnFailure, Some(3)));
    assert_eq!(short(json!({"restart": "unless-stopped"})), (Again::Always, None));
    let deploy = |condition: &str| json!({"deploy": {"restart_policy": {"condition": condition, "max_attempts": 2}}});
    assert_eq!(short(deploy("none")), (Again::Never, None));
    assert_eq!(short(deploy("on-failure")), (Again::OnFailure, Some(2)));
    assert_eq!(short(deploy("any")), (Again::Always, Some(2)));
    let slow = policy(&service(json!({
        "deploy": {"restart_policy": {"condition": "any", "delay": "7m", "window": "3s"}},
        "x-skiff": {"backoff": {"base": "2s", "max": "10s", "startLimit": "20/1h"}}
    })));
    assert_eq!((slow.base, slow.max), (Span::from_secs(420), Span::from_secs(420)));
    assert_eq!(slow.reset_after, Span::from_secs(3));
    assert_eq!(slow.limit, Some(StartLimit { count: 20, window: Span::from_secs(3600) }));
}

#[test]
fn start_limits() {
    assert_eq!("2/90s".parse(), Ok(StartLimit { count: 2, window: Span::from_secs(90) }));
    for text in ["", "/", "20", "20/", "/1h", "0/1h", "20/0s", "+1/1h", "1/1h/1h", "-1/1h", "1/h", "99999999999/1h"] {
        assert_eq!(text.parse::<StartLimit>(), Err(InvalidStartLimit(text.to_owned())), "{text}");
    }
}

#[test]
fn delays_double_and_are_capped() {
    let policy = policy(&service(json!({"x-skiff": {"backoff": {"base": "1s", "max": "10s"}}})));
    let nominal: Vec<u64> = (0..7).map(|row| exponential(&policy, row).millis()).collect();
    assert_eq!(nominal, [1000, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    assert_eq!(exponential(&policy, u32::MAX).millis(), 10_000);
    let delays: Vec<u64> = (1..40).map(|row| delay(&policy, &id("web-0"), row).millis()).collect();
    assert!(delays.iter().all(|delay| *delay <= 10_000 && *delay >= 900), "{delays:?}");
    // Replicas do not start in step, at the cap neither.
    let capped: std::collections::BTreeSet<u64> =
        (0..20).map(|replica| delay(&policy, &id(&format!("web-{replica}")), 30).millis()).collect();
    assert!(capped.len() > 15, "{capped:?}");
}

/// Ends one after the other, each of a start a minute after the one before, until the instance is held.
fn row_of(extra: Value, exits: &[Exit]) -> (Vec<u32>, Option<Held>) {
    let (service, mut entry, mut rows) = (service(extra), Entry::default(), Vec::new());
    for (turn, exit) in (0_u64..).zip(exits) {
        let begin = Moment(turn * 60_000);
        record_start(&mut entry, &service, begin);
        record_exit(&mut entry, &id("web-0"), &service, Some(begin), Moment(begin.0 + 5), exit);
        rows.push(entry.row);
        if entry.held.is_some() {
            break;
        }
        assert!(entry.not_before > Moment(begin.0 + 5));
    }
    (rows, entry.held)
}

#[test]
fn policies_hold_what_they_should() {
    assert_eq!(row_of(json!({"restart": "no"}), &[OK]).1, Some(Held::Completed));
    assert_eq!(row_of(json!({"restart": "no"}), &[BAD]).1, Some(Held::Failed));
    assert_eq!(row_of(json!({"restart": "no"}), &[Exit::Unseen]).1, Some(Held::Failed));
    assert_eq!(row_of(json!({"restart": "on-failure"}), &[BAD, BAD, OK]), (vec![1, 2, 3], Some(Held::Completed)));
    assert_eq!(row_of(json!({"restart": "on-failure:2"}), &[BAD, BAD, BAD, BAD]), (vec![1, 2, 3], Some(Held::Failed)));
    assert_eq!(row_of(json!({}), &[OK, BAD, OK]), (vec![1, 2, 3], None));
    let limited = json!({"x-skiff": {"backoff": {"startLimit": "3/1h"}}});
    assert_eq!(row_of(limited, &[BAD, BAD, BAD, BAD]), (vec![1, 2, 3], Some(Held::StartLimit)));
    // Three starts in two minutes are not too many for a window of one.
    let wide = json!({"x-skiff": {"backoff": {"startLimit": "2/50s"}}});
    assert_eq!(row_of(wide, &[BAD, BAD, BAD]).1, None);
    let killed = Exit::Status { code: 0, oom: true };
    assert_eq!(row_of(json!({"restart": "no"}), &[killed]).1, Some(Held::Failed));
}

#[test]
fn running_long_enough_ends_a_row() {
    let service = service(json!({"x-skiff": {"backoff": {"resetAfter": "10s"}}}));
    let mut entry = Entry { row: 7, ..Entry::default() };
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(0)), Moment(9_999), &BAD);
    assert_eq!(entry.row, 8);
    record_start(&mut entry, &service, Moment(20_000));
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(20_000)), Moment(30_000), &BAD);
    assert_eq!((entry.row, entry.restarts), (1, 0));
    record_start(&mut entry, &service, Moment(40_000));
    record_exit(&mut entry, &id("web-0"), &service, None, Moment(999_999), &BAD);
    assert_eq!((entry.row, entry.restarts), (2, 1));
}

#[test]
fn an_end_is_counted_once() {
    let service = service(json!({}));
    let mut entry = Entry::default();
    record_start(&mut entry, &service, Moment(10));
    let killed = Exit::Status { code: 137, oom: true };
    // After a restart of skiffd the same end is seen at another moment, or without its status.
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(10)), Moment(20), &killed);
    let once = entry.clone();
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(10)), Moment(25), &killed);
    record_exit(&mut entry, &id("web-0"), &service, None, Moment(30), &Exit::Unseen);
    assert_eq!(entry, once);
    assert_eq!((entry.row, entry.oom_kills), (1, 1));
    // A start that was forgotten is told by the moment from which it ran.
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(40)), Moment(50), &killed);
    assert_eq!((entry.row, entry.oom_kills), (2, 2));
}

#[test]
fn restarts_are_starts_after_an_end() {
    let service = service(json!({}));
    let mut entry = Entry::default();
    record_start(&mut entry, &service, Moment(10));
    // It was undone before it came to an end.
    record_start(&mut entry, &service, Moment(20));
    assert_eq!((entry.restarts, entry.starts.clone()), (0, vec![Moment(20)]));
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(20)), Moment(30), &BAD);
    record_start(&mut entry, &service, Moment(2000));
    assert_eq!(entry.restarts, 1);
}

#[test]
fn an_end_that_was_asked_for_is_no_failure() {
    let service = service(json!({"restart": "no"}));
    let begun = |stopped| Entry { stopped: Some(stopped), ..Entry::default() };
    let mut entry = begun(Stopped::Asked);
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(10)), Moment(20), &BAD);
    assert_eq!((entry.row, entry.held, entry.stopped.is_none()), (0, None, true));
    assert_eq!(entry.last_exit, Some((Moment(20), BAD)));
    // One that a probe asked for is a failure, even where the program ends with status 0.
    let mut entry = begun(Stopped::Unhealthy { reason: "liveness".into() });
    record_exit(&mut entry, &id("web-0"), &service, Some(Moment(10)), Moment(20), &OK);
    assert_eq!((entry.row, entry.held), (1, Some(Held::Failed)));
}
