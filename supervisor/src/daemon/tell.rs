//! What people hear of what was learnt and decided. Pure: facts, steps and actions become words.

use super::state::{Fact, State};
use crate::events::{Happening, Kind};
use crate::fleet::News;
use crate::node::{Adopted, Doing, Seen};
use skiff_planner::health;
use skiff_planner::moment::Moment;
use skiff_planner::name::InstanceId;
use skiff_planner::observed::State as Phase;
use skiff_planner::plan::{Action, words};
use skiff_planner::rollout::Step;

fn of(kind: Kind, instance: &InstanceId, text: impl Into<String>) -> Happening {
    Happening { kind, instance: Some(instance.to_string()), text: text.into() }
}

fn whole(kind: Kind, text: impl Into<String>) -> Happening {
    Happening { kind, instance: None, text: text.into() }
}

/// Of an instance of an earlier skiffd.
pub(super) fn adopted(adopted: &Adopted) -> Happening {
    let text = match (&adopted.state, adopted.pid) {
        (Phase::Running { .. }, Some(pid)) => format!("found running as process {pid}"),
        (Phase::Ended { exit, .. }, _) => format!("found ended: {}", words::exit(exit)),
        _ => "found; its shim cannot be asked yet".to_owned(),
    };
    of(Kind::Adopted, &adopted.instance, text)
}

/// Of a fact, before the state has learnt it: what changes nothing is not told.
pub(super) fn fact(fact: &Fact, state: &State, now: Moment) -> Vec<Happening> {
    match fact {
        Fact::Seen(seen) => self::seen(seen, state, now).into_iter().collect(),
        Fact::News(news) => self::news(news, state).into_iter().collect(),
        Fact::Drain => vec![whole(Kind::Draining, "every instance is being stopped")],
        Fact::Due => Vec::new(),
    }
}

fn seen(seen: &Seen, state: &State, now: Moment) -> Option<Happening> {
    Some(match seen {
        Seen::Started { instance, pid, .. } => of(Kind::InstanceStarted, instance, format!("runs as process {pid}")),
        Seen::Ended { instance, exit, since, at } => {
            let ran = since.map(|since| format!(" after {}", at.since(since))).unwrap_or_default();
            of(Kind::InstanceEnded, instance, format!("{}{ran}", words::exit(exit)))
        }
        Seen::OomKill { instance } => {
            of(Kind::OomKill, instance, "the kernel killed a process of it at its memory limit (oom)")
        }
        Seen::Lost { instance } => {
            of(Kind::ShimLost, instance, "its shim is gone; what is left of the container is removed")
        }
        Seen::Found(found) => adopted(found),
        Seen::Probed { instance, kind, outcome } => {
            let watched = state.instances.get(instance)?;
            let Phase::Running { since } = watched.seen.state else { return None };
            let before = &watched.seen.health;
            let service = &watched.seen.blueprint.service;
            let after = health::conclude(before, service, *kind, outcome, since, now);
            let text = match (before.ready, after.ready, &after.failed) {
                (_, _, Some(failed)) if before.failed.is_none() => format!("failed: {failed}"),
                (false, true, _) => "ready".to_owned(),
                (true, false, _) => format!("not ready: {}", after.last_failure.as_deref().unwrap_or("a probe failed")),
                (true, true, _) | (false, false, _) => return None,
            };
            of(Kind::HealthChanged, instance, text)
        }
        Seen::Done { instance, doing, outcome: Err(reason) } => match doing {
            Doing::Start => of(Kind::InstanceNotStarted, instance, reason.clone()),
            Doing::Stop => of(Kind::InstanceStopping, instance, format!("cannot be stopped yet: {reason}")),
            Doing::Remove => of(Kind::InstanceEnded, instance, format!("cannot be removed yet: {reason}")),
            Doing::Update => of(Kind::LimitsChanged, instance, format!("limits cannot be changed: {reason}")),
        },
        Seen::Done { outcome: Ok(()), .. } | Seen::Absent { .. } => return None,
    })
}

fn news(news: &News, state: &State) -> Option<Happening> {
    match news {
        News::Accepted(accepted) => {
            let known = state.heard.accepted.as_ref().is_some_and(|known| known.digest == accepted.digest);
            let from = if accepted.remembered { "from this device's disk" } else { "from the server" };
            let (fleet, serial, key) = (&accepted.fleet, accepted.serial, &accepted.key);
            let text = format!("fleet `{fleet}`, serial {serial}, {from}, signed by key {key}");
            (!known).then(|| whole(Kind::FleetAccepted, text))
        }
        News::Staged(staged) => {
            let known = state.target.as_ref().is_some_and(|target| target.id == staged.id);
            (!known).then(|| whole(Kind::ReleaseStaged, format!("release {} is on this device", staged.id)))
        }
        News::NoRelease { steps } => {
            let text = format!("the fleet has no release for this device: {}", steps.join("; "));
            (state.no_release.as_ref() != Some(steps)).then(|| whole(Kind::FleetRefused, text))
        }
        News::Refused { reason, text } | News::Unreachable { reason, text } => {
            // Told once, and not with each look.
            let known = state.heard.trouble.as_ref().is_some_and(|(word, before, _)| word == reason && before == text);
            (!known).then(|| whole(Kind::FleetRefused, format!("{reason}: {text}")))
        }
        News::Unchanged => None,
    }
}

/// A decision that waits for the disk.
pub(super) fn not_kept(why: &str) -> Happening {
    whole(Kind::StateNotKept, format!("nothing is changed until this can be kept on disk: {why}"))
}

/// Of a step of an update.
pub(super) fn step(step: &Step) -> Happening {
    match step {
        Step::Switch { from: Some(from), to } => {
            whole(Kind::ReleaseSwitched, format!("from release {from} to {to}, on trial"))
        }
        Step::Switch { from: None, to } => whole(Kind::ReleaseSwitched, format!("to release {to}, on trial")),
        Step::Commit { release } => whole(Kind::ReleaseCommitted, format!("release {release} proved itself")),
        Step::Withdraw { from, to } => {
            whole(Kind::ReleaseReverted, format!("from release {from} to {to}: the fleet no longer asks for {from}"))
        }
        Step::Revert { from, to, reason } => {
            whole(Kind::ReleaseReverted, format!("from release {from} back to {to}: {reason}"))
        }
        Step::Resume { release, boots } => {
            let text = format!("the trial of release {release} begins anew: boot {boots} since it was switched to");
            whole(Kind::ReleaseSwitched, text)
        }
        Step::Overdue { release, reason } => {
            whole(Kind::ReleaseOverdue, format!("release {release} has not proved itself and stays: {reason}"))
        }
    }
}

/// Of an action that is about to be performed. A start is told when it has come about.
pub(super) fn action(action: &Action) -> Option<Happening> {
    match action {
        Action::Stop { instance, signal, grace, cause } => {
            let text = format!("asked to stop with {signal}, {grace} before SIGKILL: {}", words::cause(cause));
            Some(of(Kind::InstanceStopping, instance, text))
        }
        Action::Update { instance, limits } => {
            Some(of(Kind::LimitsChanged, instance, format!("limits become {}", words::limits(limits))))
        }
        Action::Start { .. } | Action::Remove { .. } => None,
    }
}
