//! Tests of the room `plan`: one look at the world, one plan. Longer stories are in `tests/scenarios`.

use super::*;
use crate::desired::Desired;
use crate::health::Health;
use crate::ledger::{Entry, Held, Stopped};
use crate::observed::{Exit, Instance, State};
use crate::specimen::{desired, id, instance};
use serde_json::{Value, json};

const NOW: Moment = Moment(100_000);

fn running() -> State {
    State::Running { since: Moment(1000) }
}

fn ended(code: u32) -> State {
    State::Ended { since: Some(Moment(1000)), at: Moment(99_000), exit: Exit::Status { code, oom: false } }
}

fn look(instances: Vec<(&str, Instance)>) -> Observed {
    Observed { instances: instances.into_iter().map(|(name, instance)| (id(name), instance)).collect() }
}

fn actions(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(ToString::to_string).collect()
}

fn reason(plan: &Plan, name: &str) -> String {
    plan.reasons.get(&id(name)).map_or_else(|| "none".into(), ToString::to_string)
}

fn plan_of(desired: &Desired, observed: &Observed) -> Plan {
    plan(Some(desired), observed, &Ledger::default(), NOW)
}

#[test]
fn nothing_decided_touches_nothing() {
    let observed = look(vec![("web-0", instance(json!({}), ended(1))), ("db-0", instance(json!({}), running()))]);
    let ledger = Ledger { instances: [(id("old-0"), Entry { row: 3, ..Entry::default() })].into() };
    let plan = plan(None, &observed, &ledger, NOW);
    assert_eq!(plan, Plan { ledger, ..Plan::default() });
    // A release without services is a decision.
    assert_eq!(plan_of(&desired("1", json!({})), &observed).actions.len(), 2);
}

#[test]
fn what_is_absent_starts() {
    let plan = plan_of(&desired("1", json!({"web": {"deploy": {"replicas": 2}}})), &Observed::default());
    assert_eq!(actions(&plan), ["start web-0 of 1", "start web-1 of 1"]);
    assert_eq!(plan.ledger.instances[&id("web-1")].starts, [NOW]);
    assert!(plan.reasons.is_empty() && plan.wake.is_none());
}

#[test]
fn busy_and_unknown_are_left_alone() {
    let nothing = desired("2", json!({}));
    let busy = |state| Instance { busy: true, ..instance(json!({}), state) };
    let observed = look(vec![
        ("a-0", busy(State::Starting)),
        ("b-0", busy(running())),
        ("c-0", busy(State::Stopping)),
        ("d-0", busy(ended(1))),
        ("e-0", instance(json!({}), State::Unknown)),
    ]);
    let plan = plan_of(&nothing, &observed);
    assert_eq!(actions(&plan), [""; 0]);
    assert_eq!(reason(&plan, "a-0"), "an action is under way");
    assert_eq!(reason(&plan, "e-0"), "its shim could not be asked; it is left alone until it can");
}

#[test]
fn an_end_is_counted_removed_and_waited_for() {
    let desired = desired("1", json!({"web": {}}));
    let first = plan_of(&desired, &look(vec![("web-0", instance(json!({}), ended(3)))]));
    assert_eq!(actions(&first), ["remove web-0"]);
    let entry = &first.ledger.instances[&id("web-0")];
    assert_eq!((entry.row, entry.last_exit.as_ref().map(|(at, _)| *at)), (1, Some(Moment(99_000))));
    let due = entry.not_before;
    let then = plan(Some(&desired), &Observed::default(), &first.ledger, Moment(due.0 - 1));
    assert_eq!((actions(&then).len(), then.wake), (0, Some(due)));
    assert!(reason(&then, "web-0").starts_with("it ended once (status 3)"), "{}", reason(&then, "web-0"));
    let then = plan(Some(&desired), &Observed::default(), &then.ledger, due);
    assert_eq!(actions(&then), ["start web-0 of 1"]);
    let entry = &then.ledger.instances[&id("web-0")];
    assert!(entry.last_exit.is_some(), "people ask for it");
}

#[test]
fn changed_services_are_made_anew_and_limits_change_live() {
    let limited = |memory: &str| json!({"deploy": {"resources": {"limits": {"memory": memory}}}});
    let observed = look(vec![
        ("db-0", instance(limited("64M"), running())),
        ("web-0", instance(json!({"stop_signal": "SIGINT", "stop_grace_period": "3s"}), running())),
    ]);
    let plan = plan_of(&desired("2", json!({"web": {}, "db": limited("32M")})), &observed);
    assert_eq!(
        actions(&plan),
        [
            "stop web-0 by SIGINT, 3s: its service has changed",
            "update db-0 to cpus no limit, memory 33554432 bytes, pids default"
        ]
    );
    // A release that changes nothing else keeps it.
    let same = plan_of(&desired("2", json!({"db": limited("64M"), "web": {"stop_signal": "SIGINT"}})), &observed);
    assert_eq!(actions(&same), [""; 0]);
}

#[test]
fn a_failed_update_is_not_tried_at_once() {
    let desired = desired("1", json!({"web": {"deploy": {"resources": {"limits": {"pids": 5}}}}}));
    let observed = look(vec![("web-0", instance(json!({}), running()))]);
    let first = plan_of(&desired, &observed);
    assert_eq!(first.actions.len(), 1);
    let second = plan(Some(&desired), &observed, &first.ledger, NOW);
    assert_eq!((second.actions.len(), second.wake), (0, Some(Moment(105_000))));
    assert_eq!(reason(&second, "web-0"), "its limits could not be changed; that is tried again at 105000ms");
    assert_eq!(plan(Some(&desired), &observed, &second.ledger, Moment(105_000)).actions.len(), 1);
}

#[test]
fn a_probe_that_fails_for_good_stops_it_and_counts() {
    let one = || json!({"restart": "no", "x-skiff": {"probes": {"liveness": {"tcp": 1}}}});
    let desired = desired("1", json!({"web": one()}));
    let mut sick = instance(one(), running());
    sick.health = Health { failed: Some("liveness: refused".into()), ..Health::default() };
    let plan_one = plan_of(&desired, &look(vec![("web-0", sick.clone())]));
    assert_eq!(actions(&plan_one), ["stop web-0 by SIGTERM, 10s: it is unhealthy: liveness: refused"]);
    sick.state = ended(0);
    let plan_two = plan(Some(&desired), &look(vec![("web-0", sick)]), &plan_one.ledger, NOW);
    assert_eq!(plan_two.ledger.instances[&id("web-0")].held, Some(Held::Failed));
    assert!(reason(&plan_two, "web-0").starts_with("it has failed (status 0, unhealthy)"), "{plan_two:?}");
}

#[test]
fn stops_go_against_the_dependencies() {
    let web = || json!({"depends_on": ["db"]});
    let observed = look(vec![("db-0", instance(json!({}), running())), ("web-0", instance(web(), running()))]);
    let plan = plan_of(&desired("2", json!({})), &observed);
    assert_eq!(actions(&plan), ["stop web-0 by SIGTERM, 10s: it is not in the release"]);
    assert_eq!(reason(&plan, "db-0"), "it is not in the release; `web-0` depends on it and has to end before it");
    // What stays is not waited for.
    let plan = plan_of(&desired("2", json!({"web": web(), "db": {"hostname": "new"}})), &observed);
    assert_eq!(actions(&plan), ["stop db-0 by SIGTERM, 10s: its service has changed"]);
}

/// The ledger after `exit` of an instance of `before`, and what a plan for `after` then does.
fn held_then(before: Value, exit: u32, version: &str, after: Value) -> Vec<String> {
    let first =
        plan_of(&desired("1", json!({"job": before})), &look(vec![("job-0", instance(before.clone(), ended(exit)))]));
    actions(&plan(Some(&desired(version, json!({"job": after}))), &Observed::default(), &first.ledger, NOW))
}

#[test]
fn what_is_held_waits_for_a_change() {
    let once = || json!({"restart": "no"});
    let start = ["start job-0 of 2".to_owned()];
    assert_eq!(held_then(once(), 0, "1", once()), [""; 0]);
    assert_eq!(held_then(once(), 1, "1", once()), [""; 0]);
    // A new release: not again what has completed, but again what has failed.
    assert_eq!(held_then(once(), 0, "2", once()), [""; 0]);
    assert_eq!(held_then(once(), 1, "2", once()), start);
    assert_eq!(held_then(once(), 0, "2", json!({"restart": "no", "command": "true"})), start);
    // Another policy looks again.
    assert_eq!(held_then(once(), 0, "2", json!({"restart": "always"})), start);
    assert_eq!(held_then(once(), 0, "2", json!({"restart": "on-failure"})), [""; 0]);
    let limited = |limit: &str| json!({"x-skiff": {"backoff": {"base": "1ms", "startLimit": limit}}});
    assert_eq!(held_then(limited("1/1h"), 1, "2", limited("1/1h")), start);
}

#[test]
fn a_replica_that_was_not_wanted_for_a_while_is_no_failure() {
    let one = || json!({"restart": "no"});
    let observed = look(vec![("job-0", instance(one(), running()))]);
    let away = plan_of(&desired("2", json!({})), &observed);
    assert_eq!(away.ledger.instances[&id("job-0")].stopped, Some(Stopped::Asked));
    let back = desired("3", json!({"job": one()}));
    let gone = plan(Some(&back), &look(vec![("job-0", instance(one(), ended(143)))]), &away.ledger, NOW);
    assert_eq!((actions(&gone), gone.ledger.instances[&id("job-0")].held), (vec!["remove job-0".into()], None));
    assert_eq!(actions(&plan(Some(&back), &Observed::default(), &gone.ledger, NOW)), ["start job-0 of 3"]);
}

#[test]
fn memory_ends_with_what_it_is_about() {
    let observed = look(vec![("old-0", instance(json!({}), ended(1)))]);
    let first = plan_of(&desired("2", json!({})), &observed);
    assert_eq!((actions(&first), first.ledger.instances.len()), (vec!["remove old-0".into()], 1));
    let second = plan(Some(&desired("2", json!({}))), &Observed::default(), &first.ledger, NOW);
    assert!(second.ledger.instances.is_empty());
}

#[test]
fn a_stop_that_nobody_sees_to_is_finished() {
    let observed = look(vec![("web-0", instance(json!({}), State::Stopping))]);
    let plan = plan_of(&desired("1", json!({"web": {}})), &observed);
    assert_eq!(actions(&plan), ["stop web-0 by SIGTERM, 10s: it was asked to stop and has not ended yet"]);
}
