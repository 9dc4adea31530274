//! Moving a device from one release to another: on trial until its services have been healthy for long enough, then
//! committed; else back to the previous good one.

use crate::desired::{Blueprint, Desired};
use crate::fleet::Gate;
use crate::ledger::{Held, Ledger};
use crate::moment::Moment;
use crate::name::{Digest, InstanceId, ReleaseId};
use crate::observed::{Observed, State};
use crate::plan::words;
use crate::release::Service;
use crate::span::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Failures that are remembered. A release that is forgotten would at worst be tried and returned from once more.
const REMEMBERED: usize = 64;

/// Boots in one trial after which it has failed: what makes the machine start again and again, by its watchdog or by a panic,
/// never lives to its deadline.
const BOOTS: u32 = 5;

/// What is remembered about releases, across boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The release that proved itself last.
    pub committed: Option<ReleaseId>,
    /// The one before it that did, kept for a return by hand.
    pub previous: Option<ReleaseId>,
    /// The release on trial.
    pub trial: Option<Trial>,
    /// Releases that were returned from, with the reason. Not tried again while their digest stays.
    pub failed: BTreeMap<Digest, Failure>,
}

/// A release on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Which.
    pub release: ReleaseId,
    /// When it began, in this boot; none when that was in another boot, and then it begins anew.
    #[serde(skip)]
    pub began: Option<Moment>,
    /// Since when all services are healthy without a break.
    #[serde(skip)]
    pub healthy_since: Option<Moment>,
    /// The deadline passed, and it stays nevertheless, because there is nothing to return to or it is not wanted.
    pub overdue: Option<String>,
    /// When it counts as good. It is the trial's own, because what the fleet says is not always known: not at once after a
    /// start of skiffd, and not at all with an index that is no longer believed.
    #[serde(default)]
    pub gate: Gate,
    /// How often the machine was booted since it began.
    #[serde(default)]
    pub boots: u32,
}

/// A release that was returned from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// `metadata.version`
    pub version: String,
    /// What was wrong.
    pub reason: String,
}

/// What was decided, for the journal. The lines stand in the order of fleet.md's steps of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A release is on trial from now on.
    Switch {
        /// From.
        from: Option<ReleaseId>,
        /// To.
        to: ReleaseId,
    },
    /// The release on trial proved itself.
    Commit {
        /// Which.
        release: ReleaseId,
    },
    /// The release on trial failed and is returned from.
    Revert {
        /// From.
        from: ReleaseId,
        /// To.
        to: ReleaseId,
        /// Why.
        reason: String,
    },
    /// The release on trial is left for the committed one: the fleet asks for that again, or for one that failed here.
    Withdraw {
        /// From.
        from: ReleaseId,
        /// To.
        to: ReleaseId,
    },
    /// The machine was booted, and the trial begins anew.
    Resume {
        /// Which.
        release: ReleaseId,
        /// How often that was.
        boots: u32,
    },
    /// The release on trial failed and stays.
    Overdue {
        /// Which.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
}

/// How the services of the running release are, all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every instance runs and is ready, or has completed.
    Healthy {
        /// The latest moment at which one of them became so.
        since: Moment,
    },
    /// Not yet, or no longer; it may still become so.
    NotYet(String),
    /// It cannot become so by itself.
    Broken(String),
}

impl Rollout {
    /// The release whose services should run: the one on trial, else the committed one.
    #[must_use]
    pub fn running(&self) -> Option<&ReleaseId> {
        self.trial.as_ref().map(|trial| &trial.release).or(self.committed.as_ref())
    }

    /// skiffd is there again. A deadline that passed while nobody looked is put off once: nothing that runs has been probed
    /// yet, and a release is not returned from because its watcher was away.
    pub fn reopen(&mut self, now: Moment) {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.overdue.is_none()) else { return };
        let deadline = trial.gate.deadline;
        if let Some(began) = trial.began.as_mut().filter(|began| now >= began.plus(deadline)) {
            let left = (trial.gate.min_healthy.millis().saturating_add(SETTLING.millis())).min(deadline.millis());
            *began = Moment(now.0.saturating_sub(deadline.millis() - left));
        }
    }

    /// Why a release is not tried, if it was returned from before.
    #[must_use]
    pub fn refuses(&self, target: &ReleaseId) -> Option<&Failure> {
        self.failed.get(&target.digest)
    }
}

/// Beyond `minHealthy`, for the first probes after a start of skiffd.
const SETTLING: Span = Span::from_secs(10);

/// How the services of a release are. `desired` is that of [`Rollout::running`], and the ledger that of the latest plan,
/// so that what has just ended is counted. What the ledger says of another release is not believed.
#[must_use]
pub fn verdict(desired: &Desired, observed: &Observed, ledger: &Ledger) -> Verdict {
    let mut all = Verdict::Healthy { since: Moment::default() };
    for (id, service) in desired.instances() {
        match (&all, verdict_of(&id, service, desired, observed, ledger)) {
            (_, broken @ Verdict::Broken(_)) => return broken,
            (Verdict::Healthy { since }, Verdict::Healthy { since: other }) => {
                all = Verdict::Healthy { since: other.max(*since) };
            }
            (Verdict::Healthy { .. }, not_yet @ Verdict::NotYet(_)) => all = not_yet,
            // The first that is not ready is named.
            (Verdict::NotYet(_) | Verdict::Broken(_), Verdict::Healthy { .. } | Verdict::NotYet(_)) => {}
        }
    }
    all
}

fn verdict_of(id: &InstanceId, service: &Service, desired: &Desired, observed: &Observed, ledger: &Ledger) -> Verdict {
    let of_this_release =
        |about: &Blueprint| about.release.digest == desired.release.digest && about.service == *service;
    let entry = ledger.instances.get(id).filter(|entry| entry.about.as_ref().is_some_and(of_this_release));
    let last = entry.and_then(|entry| entry.last_exit.as_ref());
    let ended = last.map(|(_, exit)| format!(" after its last end: {}", words::exit(exit))).unwrap_or_default();
    if let Some((entry, held)) = entry.and_then(|entry| Some((entry, entry.held?))) {
        return match held {
            Held::Completed => Verdict::Healthy { since: last.map_or(Moment::default(), |(at, _)| *at) },
            Held::Failed | Held::StartLimit => Verdict::Broken(format!("`{id}`: {}", words::held_because(held, entry))),
        };
    }
    let Some(instance) = observed.instances.get(id).filter(|instance| instance.blueprint.serves(service)) else {
        return Verdict::NotYet(format!("`{id}` does not run{ended}"));
    };
    match (&instance.state, instance.health.ready_since) {
        (State::Running { since }, Some(ready)) if instance.health.ready && instance.health.failed.is_none() => {
            Verdict::Healthy { since: ready.max(*since) }
        }
        (State::Running { .. }, _) => {
            let said = instance.health.failed.as_ref().or(instance.health.last_failure.as_ref());
            Verdict::NotYet(format!("`{id}` is not ready: {}", said.map_or("no probe has succeeded yet", |said| said)))
        }
        (State::Starting | State::Stopping | State::Ended { .. }, _) => {
            Verdict::NotYet(format!("`{id}` does not run{ended}"))
        }
        (State::Unknown, _) => Verdict::NotYet(format!("`{id}` could not be asked")),
    }
}

/// One step of a rollout, as often as anything is seen.
///
/// `target` is the release that the fleet document has for this device, staged and ready to run; none when that is not
/// known, and then the rollout goes on with what it has. `gate` is of `target`. `verdict` is of [`Rollout::running`].
///
/// ```text
///                    another target, unless it failed before
///              ┌───────────────────────────────────────────────────┐
///              │                                                   v
///  (nothing) ──┴──> committed <──healthy for minHealthy────────── trial ──┐ another target:
///                       ^                                          │ ^────┘ a new trial
///                       ├──Broken or past the deadline: remembered─┤
///                       └──the fleet asks for it again─────────────┘
/// ```
///
/// A trial stays, and says so once, when there is no committed release to return to or `autoRevert` is off; should it
/// become healthy after all, it is committed. Each boot begins it anew, a few times.
#[must_use]
pub fn advance(
    rollout: &Rollout,
    target: Option<&ReleaseId>,
    verdict: &Verdict,
    gate: &Gate,
    now: Moment,
) -> (Rollout, Vec<Step>) {
    let mut next = rollout.clone();
    if let Some(step) = target.and_then(|target| withdraw(&mut next, target)) {
        return (next, vec![step]);
    }
    match target.filter(|target| next.refuses(target).is_none()) {
        Some(target) if !is(next.running(), target) => {
            let step = turn_to(&mut next, target, gate, now);
            (next, vec![step])
        }
        wanted => {
            if let (Some(trial), Some(_)) = (&mut next.trial, wanted) {
                // The fleet may change its mind about when a release is good.
                trial.gate = gate.clone();
            }
            let step = judge(&mut next, verdict, now);
            (next, step.into_iter().collect())
        }
    }
}

/// A release is what its digest says; its version is only what it is called.
fn is(release: Option<&ReleaseId>, other: &ReleaseId) -> bool {
    release.is_some_and(|release| release.digest == other.digest)
}

/// The verdict is of another release than `target`, so it says nothing here.
fn turn_to(rollout: &mut Rollout, target: &ReleaseId, gate: &Gate, now: Moment) -> Step {
    let from = rollout.running().cloned();
    let (release, gate) = (target.clone(), gate.clone());
    let trial = Trial { release, began: Some(now), healthy_since: None, overdue: None, gate, boots: 0 };
    rollout.trial = Some(trial);
    Step::Switch { from, to: target.clone() }
}

/// Leaves a trial that the fleet no longer asks for, where what it asks for is the committed release, or one that failed
/// here: then too, the committed release is all that has proved itself.
fn withdraw(rollout: &mut Rollout, target: &ReleaseId) -> Option<Step> {
    let committed = rollout.committed.clone()?;
    let trial = rollout.trial.take_if(|trial| !is(Some(&trial.release), target))?;
    if is(Some(&committed), target) || rollout.refuses(target).is_some() {
        return Some(Step::Withdraw { from: trial.release, to: committed });
    }
    rollout.trial = Some(trial);
    None
}

fn judge(rollout: &mut Rollout, verdict: &Verdict, now: Moment) -> Option<Step> {
    let trial = rollout.trial.as_mut()?;
    let gate = &trial.gate.clone();
    let is_another_boot = trial.began.is_none();
    let began = *trial.began.get_or_insert(now);
    // One that stays anyway is not counted any more.
    if is_another_boot && trial.overdue.is_none() {
        trial.boots = trial.boots.saturating_add(1);
        let (release, boots) = (trial.release.clone(), trial.boots);
        if boots < BOOTS {
            // Counted on disk before anything is started that may bring the machine down.
            return Some(Step::Resume { release, boots });
        }
        return fail(rollout, gate, format!("the machine was booted {boots} times before it proved itself"));
    }
    match verdict {
        Verdict::Broken(reason) => {
            trial.healthy_since = None;
            let reason = reason.clone();
            return fail(rollout, gate, reason);
        }
        Verdict::NotYet(_) => trial.healthy_since = None,
        // A break between two looks shows in the moment at which an instance became ready again.
        Verdict::Healthy { since } => {
            trial.healthy_since = Some(trial.healthy_since.unwrap_or(now).max((*since).min(now)));
        }
    }
    if trial.healthy_since.is_some_and(|since| now >= since.plus(gate.min_healthy)) {
        let release = trial.release.clone();
        rollout.trial = None;
        rollout.previous = rollout.committed.replace(release.clone());
        return Some(Step::Commit { release });
    }
    if now < began.plus(gate.deadline) {
        return None;
    }
    let why = match verdict {
        Verdict::NotYet(reason) | Verdict::Broken(reason) => reason.clone(),
        Verdict::Healthy { .. } => format!("healthy for less than {}", gate.min_healthy),
    };
    fail(rollout, gate, format!("not healthy within {}: {why}", gate.deadline))
}

/// Returns from the trial if that is wanted and there is somewhere to return to; else it stays, and that is said once.
fn fail(rollout: &mut Rollout, gate: &Gate, reason: String) -> Option<Step> {
    let trial = rollout.trial.take()?;
    match &rollout.committed {
        Some(committed) if gate.auto_revert => {
            let to = committed.clone();
            remember(rollout, &trial.release, &reason);
            Some(Step::Revert { from: trial.release, to, reason })
        }
        _ => {
            let said = trial.overdue.is_some();
            let release = trial.release.clone();
            rollout.trial = Some(Trial { overdue: Some(trial.overdue.unwrap_or_else(|| reason.clone())), ..trial });
            (!said).then_some(Step::Overdue { release, reason })
        }
    }
}

fn remember(rollout: &mut Rollout, release: &ReleaseId, reason: &str) {
    while rollout.failed.len() >= REMEMBERED {
        rollout.failed.pop_first();
    }
    let failure = Failure { version: release.version.clone(), reason: reason.to_owned() };
    rollout.failed.insert(release.digest.clone(), failure);
}

/// When [`advance`] has something to say even if nothing is seen: the trial's deadline, or the end of its proof.
#[must_use]
pub fn wake(rollout: &Rollout) -> Option<Moment> {
    let trial = rollout.trial.as_ref()?;
    let proof = trial.healthy_since.map(|since| since.plus(trial.gate.min_healthy));
    let deadline = trial.began.filter(|_| trial.overdue.is_none()).map(|began| began.plus(trial.gate.deadline));
    [proof, deadline].into_iter().flatten().min()
}
