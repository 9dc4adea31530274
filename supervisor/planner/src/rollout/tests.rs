//! Tests of the room `rollout`.

use super::*;
use crate::health;
use crate::ledger::Entry;
use crate::observed::{Exit, Instance};
use crate::span::Span;
use crate::specimen::{blueprint, desired, id, release_id};
use serde_json::{Value, json};

fn gate() -> Gate {
    serde_json::from_value(json!({"minHealthy": "10s", "deadline": "60s"})).unwrap()
}

const HEALTHY: Verdict = Verdict::Healthy { since: Moment(0) };

fn not_yet() -> Verdict {
    Verdict::NotYet("`web-0` is not ready".into())
}

fn broken() -> Verdict {
    Verdict::Broken("`web-0` has failed".into())
}

fn committed(version: &str) -> Rollout {
    Rollout { committed: Some(release_id(version)), ..Rollout::default() }
}

/// A story of `(second, target, verdict)`, and each step that was taken with its second.
fn story(mut rollout: Rollout, gate: &Gate, events: &[(u64, &str, Verdict)]) -> (Rollout, Vec<String>) {
    let mut told = Vec::new();
    for (second, target, verdict) in events {
        let target = Some(release_id(target)).filter(|id| !id.version.is_empty());
        let (next, steps) = advance(&rollout, target.as_ref(), verdict, gate, Moment(second * 1000));
        rollout = next;
        told.extend(steps.iter().map(|step| match step {
            Step::Switch { from, to } => {
                format!("{second} switch {} {to}", from.as_ref().map_or("nothing", |from| &from.version))
            }
            Step::Commit { release } => format!("{second} commit {release}"),
            Step::Revert { from, to, reason } => format!("{second} revert {from} {to}: {reason}"),
            Step::Withdraw { from, to } => format!("{second} withdraw {from} {to}"),
            Step::Resume { release, boots } => format!("{second} resume {release} {boots}"),
            Step::Overdue { release, reason } => format!("{second} overdue {release}: {reason}"),
        }));
    }
    (rollout, told)
}

#[test]
fn the_first_release_proves_itself() {
    let events = [(0, "", HEALTHY), (1, "1", HEALTHY), (2, "1", HEALTHY), (11, "1", HEALTHY), (12, "1", HEALTHY)];
    let (rollout, told) = story(Rollout::default(), &gate(), &events);
    assert_eq!(told, ["1 switch nothing 1", "12 commit 1"]);
    assert_eq!(rollout, committed("1"));
}

#[test]
fn health_must_be_unbroken() {
    let back = Verdict::Healthy { since: Moment(15_000) };
    let events = [
        (0, "2", not_yet()),
        (1, "2", HEALTHY),
        (5, "2", not_yet()),
        (6, "2", HEALTHY),
        (15, "2", HEALTHY),
        (16, "2", back),
    ];
    let (rollout, told) = story(committed("1"), &gate(), &events);
    // It was healthy at 15 and at 16, but one instance became so in between.
    assert_eq!(told, ["0 switch 1 2"]);
    assert_eq!(wake(&rollout), Some(Moment(25_000)));
    let (rollout, told) = story(rollout, &gate(), &[(24, "2", HEALTHY), (25, "2", HEALTHY)]);
    assert_eq!(told, ["25 commit 2"]);
    assert_eq!((rollout.previous, rollout.trial), (Some(release_id("1")), None));
}

#[test]
fn what_is_broken_is_returned_from_and_not_tried_again() {
    let events = [(0, "2", HEALTHY), (1, "2", not_yet()), (2, "2", broken()), (3, "2", HEALTHY), (99, "2", HEALTHY)];
    let (rollout, told) = story(committed("1"), &gate(), &events);
    assert_eq!(told, ["0 switch 1 2", "2 revert 2 1: `web-0` has failed"]);
    assert_eq!(rollout.running(), Some(&release_id("1")));
    assert_eq!(rollout.refuses(&release_id("2")).unwrap().reason, "`web-0` has failed");
    // Another digest is another release.
    let (_, told) = story(rollout, &gate(), &[(100, "2b", not_yet())]);
    assert_eq!(told, ["100 switch 1 2b"]);
}

#[test]
fn the_deadline_returns() {
    let events = [(0, "2", HEALTHY), (59, "2", not_yet()), (60, "2", not_yet())];
    let (_, told) = story(committed("1"), &gate(), &events);
    assert_eq!(told, ["0 switch 1 2", "60 revert 2 1: not healthy within 1m: `web-0` is not ready"]);
    let late = [(0, "2", HEALTHY), (55, "2", HEALTHY), (60, "2", HEALTHY)];
    assert_eq!(
        story(committed("1"), &gate(), &late).1[1],
        "60 revert 2 1: not healthy within 1m: healthy for less than 10s"
    );
}

#[test]
fn without_a_way_back_it_stays_and_says_so_once() {
    let events = [(0, "1", HEALTHY), (1, "1", broken()), (2, "1", broken()), (90, "1", not_yet())];
    let (rollout, told) = story(Rollout::default(), &gate(), &events);
    assert_eq!(told, ["0 switch nothing 1", "1 overdue 1: `web-0` has failed"]);
    assert!(rollout.failed.is_empty());
    let (rollout, told) = story(rollout, &gate(), &[(91, "1", HEALTHY), (101, "1", HEALTHY)]);
    assert_eq!((told, rollout), (vec!["101 commit 1".to_owned()], committed("1")));
    let stay = Gate { auto_revert: false, ..gate() };
    let (rollout, told) =
        story(committed("1"), &stay, &[(0, "2", HEALTHY), (60, "2", not_yet()), (61, "2", not_yet())]);
    assert_eq!(told, ["0 switch 1 2", "60 overdue 2: not healthy within 1m: `web-0` is not ready"]);
    // With the way back open again, it is taken.
    assert_eq!(story(rollout, &gate(), &[(62, "2", broken())]).1, ["62 revert 2 1: `web-0` has failed"]);
}

#[test]
fn a_newer_target_overtakes_and_the_committed_one_is_returned_to() {
    let events = [(0, "2", HEALTHY), (1, "3", broken()), (2, "3", not_yet()), (3, "1", broken()), (4, "1", broken())];
    let (rollout, told) = story(committed("1"), &gate(), &events);
    assert_eq!(told, ["0 switch 1 2", "1 switch 2 3", "3 withdraw 3 1"]);
    assert_eq!(rollout, committed("1"));
    let (rollout, told) =
        story(rollout, &gate(), &[(5, "3", HEALTHY), (6, "3", broken()), (7, "2", HEALTHY), (8, "3", not_yet())]);
    assert_eq!(told, ["5 switch 1 3", "6 revert 3 1: `web-0` has failed", "7 switch 1 2", "8 withdraw 2 1"]);
    assert_eq!(rollout.running(), Some(&release_id("1")), "what the fleet left and what failed here are not run");
    let (rollout, told) = story(rollout, &gate(), &[(9, "3", HEALTHY), (99, "3", HEALTHY)]);
    assert_eq!(
        (told, rollout.running()),
        (vec![], Some(&release_id("1"))),
        "a target that failed before moves nothing"
    );
}

#[test]
fn a_trial_of_another_boot_begins_anew() {
    let (rollout, _) = story(committed("1"), &gate(), &[(500, "2", HEALTHY)]);
    let rollout: Rollout = serde_json::from_str(&serde_json::to_string(&rollout).unwrap()).unwrap();
    assert_eq!(rollout.trial.as_ref().unwrap().began, None);
    let (rollout, told) = story(rollout, &gate(), &[(3, "2", not_yet()), (62, "", not_yet())]);
    assert_eq!((told, wake(&rollout)), (vec!["3 resume 2 1".to_owned()], Some(Moment(63_000))));
    assert_eq!(story(rollout, &gate(), &[(63, "", not_yet())]).1.len(), 1);
}

/// What brings the machine down never lives to its deadline.
#[test]
fn a_trial_that_is_booted_again_and_again_is_returned_from() {
    let boots = |mut rollout: Rollout, times: u32| -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..times {
            rollout = serde_json::from_str(&serde_json::to_string(&rollout).unwrap()).unwrap();
            let (next, told) = story(rollout, &gate(), &[(3, "2", not_yet()), (4, "2", HEALTHY)]);
            rollout = next;
            all.extend(told);
        }
        all
    };
    let (trial, _) = story(committed("1"), &gate(), &[(500, "2", HEALTHY)]);
    let told = boots(trial, 7);
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(told[3..], ["3 resume 2 4", "3 revert 2 1: the machine was booted 5 times before it proved itself"]);
    // Without a way back it stays, and says so once.
    let (trial, _) = story(Rollout::default(), &gate(), &[(500, "2", HEALTHY)]);
    let told = boots(trial, 7);
    assert_eq!(told[4..], ["3 overdue 2: the machine was booted 5 times before it proved itself"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut rollout = committed("1");
    for number in 0..200 {
        let version = format!("x{number}");
        rollout = story(rollout, &gate(), &[(0, &version, HEALTHY), (1, &version, broken())]).0;
        assert!(rollout.refuses(&release_id(&version)).is_some());
    }
    assert_eq!(rollout.failed.len(), REMEMBERED);
}

#[test]
fn verdicts() {
    let instance = |extra: Value, state: State| {
        let blueprint = blueprint("1", extra);
        let health = health::fresh(&blueprint.service, Moment(7000));
        Instance { limits: blueprint.service.deploy.resources.limits.clone(), blueprint, state, health, busy: false }
    };
    let running = || State::Running { since: Moment(7000) };
    let wanted = desired("1", json!({"job": {"restart": "no"}, "web": {}}));
    let about = |name: &str| {
        Some(Blueprint { release: release_id("1"), service: wanted.services[&name.parse().unwrap()].clone() })
    };
    let job = |held, code| Entry {
        held: Some(held),
        last_exit: Some((Moment(9000), Exit::Status { code, oom: false })),
        about: about("job"),
        ..Entry::default()
    };
    let ledger = |entry: Entry| Ledger { instances: [(id("job-0"), entry)].into() };
    let of = |web: Instance, entry: Entry| {
        let observed = Observed { instances: [(id("web-0"), web)].into() };
        verdict(&wanted, &observed, &ledger(entry))
    };
    let web = || instance(json!({}), running());
    assert_eq!(of(web(), job(Held::Completed, 0)), Verdict::Healthy { since: Moment(9000) });
    assert!(
        matches!(of(web(), job(Held::Failed, 1)), Verdict::Broken(why) if why.contains("`job-0`: it has failed (status 1)"))
    );
    assert!(matches!(of(web(), Entry::default()), Verdict::NotYet(why) if why == "`job-0` does not run"));
    for state in [State::Starting, State::Stopping, State::Unknown] {
        assert!(matches!(of(instance(json!({}), state), job(Held::Completed, 0)), Verdict::NotYet(_)));
    }
    assert!(matches!(of(instance(json!({"hostname": "old"}), running()), job(Held::Completed, 0)), Verdict::NotYet(_)));
    let mut sick = web();
    sick.health = health::Health { last_failure: Some("readiness: 503".into()), ..health::Health::default() };
    assert_eq!(of(sick, job(Held::Completed, 0)), Verdict::NotYet("`web-0` is not ready: readiness: 503".into()));
    // What is held because of another release says nothing of this one.
    let mut other = job(Held::Failed, 1);
    other.about.as_mut().unwrap().release = release_id("0");
    assert!(matches!(of(web(), other), Verdict::NotYet(_)));
    assert_eq!(verdict(&desired("1", json!({})), &Observed::default(), &Ledger::default()), HEALTHY);
}

#[test]
fn a_trial_is_judged_by_its_own_gate_while_nobody_knows_what_the_fleet_wants() {
    let patient = Gate { deadline: Span::from_secs(3600), ..gate() };
    let (rollout, _) = story(committed("1"), &patient, &[(0, "2", not_yet())]);
    // skiffd is started again: another gate stands in until the index has been read, and for good if it is not believed.
    let text = serde_json::to_string(&rollout).unwrap();
    let mut found: Rollout = serde_json::from_str(&text).unwrap();
    found.trial.as_mut().unwrap().began = Some(Moment(0));
    let (found, told) = story(found, &Gate::default(), &[(1800, "", not_yet()), (3599, "", not_yet())]);
    assert_eq!((told, wake(&found)), (vec![], Some(Moment(3_600_000))));
    // The fleet may shorten it nevertheless.
    let (_, told) = story(found.clone(), &gate(), &[(3599, "2", not_yet())]);
    assert_eq!(told, ["3599 revert 2 1: not healthy within 1m: `web-0` is not ready"]);
    let (_, told) = story(found, &Gate::default(), &[(3600, "", not_yet())]);
    assert_eq!(told, ["3600 revert 2 1: not healthy within 1h: `web-0` is not ready"]);
}

/// The seconds at which a trial that began at 100 is failed, after skiffd came back at each of `starts`.
fn failed_at(starts: &[u64]) -> u64 {
    let (mut rollout, _) = story(committed("1"), &gate(), &[(100, "2", not_yet())]);
    let last = *starts.last().unwrap();
    for start in starts {
        rollout.reopen(Moment(start * 1000));
    }
    (last..).find(|second| !story(rollout.clone(), &gate(), &[(*second, "2", not_yet())]).1.is_empty()).unwrap()
}

#[test]
fn a_deadline_that_nobody_saw_pass_is_put_off_once() {
    // Within the deadline a start changes nothing, however often.
    assert_eq!(failed_at(&[101]), 160);
    assert_eq!(failed_at(&[101, 130, 159]), 160);
    // Past it there is the time of a proof, and of the first probes before it.
    assert_eq!(failed_at(&[160]), 180);
    assert_eq!(failed_at(&[500]), 520);
    // Within that time a further start changes nothing either.
    assert_eq!(failed_at(&[500, 510]), 520);
    // What is healthy is kept.
    let (mut rollout, _) = story(committed("1"), &gate(), &[(100, "2", not_yet())]);
    rollout.reopen(Moment(500_000));
    let (_, told) = story(rollout, &gate(), &[(500, "2", not_yet()), (503, "2", HEALTHY), (513, "2", HEALTHY)]);
    assert_eq!(told, ["513 commit 2"]);
}
