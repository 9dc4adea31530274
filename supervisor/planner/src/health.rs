//! Health, concluded from probes: a probe is run elsewhere, and what its outcomes mean is decided here.
//!
//! Kubernetes' three probes, with one success as the threshold of success. Compose's `healthcheck` is one probe that
//! says two things: the instance is ready from its first success on, and `retries` failures in a row mean that it is of
//! no more use and has to be started again. (Docker marks such a container and leaves it; on a device with nobody beside
//! it, a mark helps nobody.) Its failures do not count during `start_period`, unless it has succeeded before.

use crate::moment::Moment;
use crate::release::{Healthcheck, Probe, Service};
use crate::span::Span;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// Until it succeeds the others wait.
    Startup,
    /// Whether the instance is of use.
    Readiness,
    /// Whether it has to be started again.
    Liveness,
}

/// What came of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Success,
    /// It failed, was refused or took too long.
    Failure(String),
}

/// What is concluded about one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The startup probe has succeeded, or there is none.
    pub started: bool,
    /// Of use. Without a readiness probe: as soon as it runs (and its startup probe has succeeded).
    pub ready: bool,
    /// Since when it is ready without a break.
    pub ready_since: Option<Moment>,
    /// It has failed its startup or liveness probe for good and has to be started again.
    pub failed: Option<String>,
    /// Failures in a row: startup, readiness, liveness.
    pub failures: [u32; 3],
    /// What the last failed probe said.
    pub last_failure: Option<String>,
}

/// The probes that are to be run for an instance of a service, in the order of [`ProbeKind`]. While there is one of
/// kind `Startup` and the instance is not [`Health::started`], the others are not due.
#[must_use]
pub fn probes_of(service: &Service) -> Vec<(ProbeKind, Probe)> {
    if let Some(check) = &service.healthcheck {
        return vec![(ProbeKind::Readiness, exec_probe(check))];
    }
    let probes = &service.skiff.probes;
    [
        (ProbeKind::Startup, &probes.startup),
        (ProbeKind::Readiness, &probes.readiness),
        (ProbeKind::Liveness, &probes.liveness),
    ]
    .into_iter()
    .filter_map(|(kind, probe)| Some((kind, probe.clone()?)))
    .collect()
}

fn exec_probe(check: &Healthcheck) -> Probe {
    // The notation lets nothing in that does not begin with `CMD` or `CMD-SHELL`.
    let exec = match check.test.split_first() {
        Some((word, arguments)) if word == "CMD-SHELL" => {
            [&["/bin/sh".to_owned(), "-c".to_owned()], arguments].concat()
        }
        Some((_, arguments)) => arguments.to_vec(),
        None => Vec::new(),
    };
    Probe {
        http: None,
        tcp: None,
        exec: Some(exec),
        interval: check.interval,
        timeout: check.timeout,
        failure_threshold: check.retries,
        initial_delay: Span::ZERO,
    }
}

/// The health of an instance whose program runs since `since` and of which no probe has said anything.
#[must_use]
pub fn fresh(service: &Service, since: Moment) -> Health {
    let probes = probes_of(service);
    let has = |kind| probes.iter().any(|(other, _)| *other == kind);
    let started = !has(ProbeKind::Startup);
    let ready = started && !has(ProbeKind::Readiness);
    Health { started, ready, ready_since: ready.then_some(since), ..Health::default() }
}

/// What is concluded from the outcome of one more probe of an instance that runs since `since`.
///
/// An outcome that comes too late changes nothing: of a probe that the service has not, of one that waits for the
/// startup probe, and of an instance that has failed already.
#[must_use]
pub fn conclude(
    health: &Health,
    service: &Service,
    kind: ProbeKind,
    outcome: &Outcome,
    since: Moment,
    now: Moment,
) -> Health {
    let mut next = health.clone();
    let gate_is_open = health.started != (kind == ProbeKind::Startup);
    let Some((_, probe)) = probes_of(service).into_iter().find(|(other, _)| *other == kind) else { return next };
    if health.failed.is_some() || !gate_is_open {
        return next;
    }
    match outcome {
        Outcome::Success => succeed(&mut next, service, kind, now),
        Outcome::Failure(said) => {
            next.last_failure = Some(format!("{}: {said}", word(kind)));
            let young = service.healthcheck.as_ref().is_some_and(|check| now.since(since) < check.start_period);
            if health.ready || !young {
                fail(&mut next, service, kind, &probe, said);
            }
        }
    }
    next
}

fn succeed(health: &mut Health, service: &Service, kind: ProbeKind, now: Moment) {
    health.failures[kind as usize] = 0;
    match kind {
        ProbeKind::Startup => {
            health.started = true;
            // Without a readiness probe it is ready from here on.
            health.ready = service.skiff.probes.readiness.is_none();
        }
        ProbeKind::Readiness => health.ready = true,
        ProbeKind::Liveness => {}
    }
    if health.ready && health.ready_since.is_none() {
        health.ready_since = Some(now);
    }
}

fn fail(health: &mut Health, service: &Service, kind: ProbeKind, probe: &Probe, said: &str) {
    let failures = &mut health.failures[kind as usize];
    *failures = failures.saturating_add(1);
    if *failures < probe.failure_threshold {
        return;
    }
    let fatal = match kind {
        ProbeKind::Startup | ProbeKind::Liveness => true,
        ProbeKind::Readiness => service.healthcheck.is_some(),
    };
    if fatal {
        let name = if service.healthcheck.is_some() { "healthcheck" } else { word(kind) };
        health.failed = Some(format!("{name}: {said} ({failures} times in a row)"));
    }
    health.ready = false;
    health.ready_since = None;
}

const fn word(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "startup",
        ProbeKind::Readiness => "readiness",
        ProbeKind::Liveness => "liveness",
    }
}
