//! Tests of the room `health`.

use super::*;
use crate::specimen::service;
use serde_json::{Value, json};

const START: Moment = Moment(1000);

/// Outcomes one after the other, a second apart: `s`, `r` and `l` fail, `S`, `R` and `L` succeed.
fn after(extra: Value, outcomes: &str) -> Health {
    let service = service(extra);
    let mut health = fresh(&service, START);
    for (turn, letter) in (1_u64..).zip(outcomes.chars()) {
        let kind = match letter.to_ascii_uppercase() {
            'S' => ProbeKind::Startup,
            'R' => ProbeKind::Readiness,
            _ => ProbeKind::Liveness,
        };
        let outcome = if letter.is_ascii_uppercase() { Outcome::Success } else { Outcome::Failure("refused".into()) };
        health = conclude(&health, &service, kind, &outcome, START, Moment(START.0 + turn * 1000));
    }
    health
}

fn short(health: &Health) -> (bool, Option<u64>, bool) {
    assert_eq!(health.ready, health.ready_since.is_some());
    (health.started, health.ready_since.map(|since| since.0), health.failed.is_some())
}

fn probes(kinds: &[&str]) -> Value {
    let probe = json!({"tcp": 80, "failureThreshold": 2});
    let probes: serde_json::Map<_, _> = kinds.iter().map(|kind| ((*kind).to_owned(), probe.clone())).collect();
    json!({"x-skiff": {"probes": probes}})
}

#[test]
fn without_probes_it_is_ready_when_it_runs() {
    assert_eq!(short(&after(json!({}), "")), (true, Some(1000), false));
    assert_eq!(short(&after(json!({}), "srlrlrl")), (true, Some(1000), false));
    assert!(probes_of(&service(json!({}))).is_empty());
}

#[test]
fn readiness_is_lost_and_regained() {
    let readiness = || probes(&["readiness"]);
    assert_eq!(short(&after(readiness(), "")), (true, None, false));
    assert_eq!(short(&after(readiness(), "rrrrr")), (true, None, false));
    assert_eq!(short(&after(readiness(), "rrR")), (true, Some(4000), false));
    // One failure is fewer than two, and a success between two begins anew.
    assert_eq!(short(&after(readiness(), "RrRrR")), (true, Some(2000), false));
    assert_eq!(short(&after(readiness(), "Rrr")), (true, None, false));
    assert_eq!(short(&after(readiness(), "RrrR")), (true, Some(5000), false));
    assert_eq!(after(readiness(), "Rr").last_failure.unwrap(), "readiness: refused");
}

#[test]
fn liveness_fails_for_good() {
    let liveness = || probes(&["liveness"]);
    assert_eq!(short(&after(liveness(), "lLlL")), (true, Some(1000), false));
    assert_eq!(short(&after(liveness(), "ll")), (true, None, true));
    assert_eq!(after(liveness(), "llLL").failed.unwrap(), "liveness: refused (2 times in a row)");
}

#[test]
fn the_startup_probe_is_a_gate() {
    let gated = || probes(&["startup", "readiness", "liveness"]);
    assert_eq!(short(&after(gated(), "RRLLlllrrr")), (false, None, false));
    assert_eq!(short(&after(gated(), "sS")), (true, None, false));
    assert_eq!(short(&after(gated(), "sSR")), (true, Some(4000), false));
    assert_eq!(short(&after(gated(), "SRsss")), (true, Some(3000), false));
    assert_eq!(short(&after(gated(), "ss")), (false, None, true));
    assert_eq!(short(&after(probes(&["startup"]), "S")), (true, Some(2000), false));
    let kinds: Vec<_> = probes_of(&service(gated())).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness]);
}

#[test]
fn a_healthcheck_is_readiness_and_liveness() {
    let check =
        |test: Value| json!({"healthcheck": {"test": test, "retries": 2, "start_period": "3s", "timeout": "1s"}});
    let shell = || check(json!("test -e /up"));
    assert_eq!(short(&after(shell(), "")), (true, None, false));
    assert_eq!(short(&after(shell(), "R")), (true, Some(2000), false));
    assert_eq!(short(&after(shell(), "Rrr")), (true, None, true));
    // Seconds one and two are in the start period, seconds three and four are not.
    assert_eq!(short(&after(shell(), "rrr")), (true, None, false));
    assert_eq!(short(&after(shell(), "rrrr")), (true, None, true));
    let exec = |test: Value| probes_of(&service(check(test)))[0].1.exec.clone().unwrap();
    assert_eq!(exec(json!("test -e /up")), ["/bin/sh", "-c", "test -e /up"]);
    assert_eq!(exec(json!(["CMD-SHELL", "exit 0"])), ["/bin/sh", "-c", "exit 0"]);
    assert_eq!(exec(json!(["CMD", "/bin/check", "-q"])), ["/bin/check", "-q"]);
}
