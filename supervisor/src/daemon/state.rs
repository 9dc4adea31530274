//! All that the daemon knows, and what follows from it. Nothing is done here: a fact changes what is known, and
//! [`State::decide`] says what is to be kept on disk, done and told.

use crate::fleet::{Accepted, News, Staged};
use crate::node::{Adopted, Doing, Seen};
use skiff_planner::desired::{Blueprint, Desired};
use skiff_planner::fleet::Gate;
use skiff_planner::health::{self, Health};
use skiff_planner::ledger::Ledger;
use skiff_planner::moment::Moment;
use skiff_planner::name::{Digest, InstanceId, ReleaseId};
use skiff_planner::observed::{Exit, Instance, Observed, State as Phase};
use skiff_planner::plan::{self, Action, Plan, Reason};
use skiff_planner::release::{Limits, Release};
use skiff_planner::rollout::{self, Rollout, Step, Verdict};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A release that is on disk with all its bundles.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OnDisk {
    /// What it says.
    pub(super) release: Release,
    /// Where its bundles are that came as archives.
    pub(super) bundles: BTreeMap<Digest, PathBuf>,
}

/// The release that the fleet wants here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Which.
    pub(super) id: ReleaseId,
    /// When it counts as good.
    pub(super) gate: Gate,
    /// Through which group.
    pub(super) group: Option<String>,
}

/// What is known of one instance beside what the planner looks at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watched {
    /// What the planner looks at.
    pub(super) seen: Instance,
    /// The process id of its program; none before the start.
    pub(super) pid: Option<i32>,
    /// When it was started, for people.
    pub(super) started: Option<String>,
    /// The safe defaults that are not enforced for it.
    pub(super) not_enforced: Vec<String>,
    /// The limits that a change under way gives it.
    pub(super) coming: Option<Limits>,
}

/// One thing that was learnt: a closed set, so that everything that can happen to the daemon stands here.
#[derive(Debug)]
pub(super) enum Fact {
    /// Of an instance.
    Seen(Seen),
    /// Of the fleet.
    News(News),
    /// Everything is to be stopped.
    Drain,
    /// A moment has come that was waited for.
    Due,
}

/// What the fleet said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// The index that holds.
    pub(super) accepted: Option<Accepted>,
    /// When the server last answered with something that is believed, for people.
    pub(super) contact: Option<String>,
    /// The last refusal or failure since: its word, its text and when.
    pub(super) trouble: Option<(String, String, String)>,
    /// Failures by word.
    pub(super) failures: BTreeMap<String, u64>,
}

/// What the daemon knows.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What is remembered of releases.
    pub(super) rollout: Rollout,
    /// What is remembered of instances.
    pub(super) ledger: Ledger,
    /// What is there.
    pub(super) instances: BTreeMap<InstanceId, Watched>,
    /// Releases on disk that may have to run.
    pub(super) releases: BTreeMap<Digest, OnDisk>,
    /// What the fleet wants.
    pub(super) target: Option<Target>,
    /// The choice of the last index that had no release for this device.
    pub(super) no_release: Option<Vec<String>>,
    /// What the fleet said last.
    pub(super) heard: Heard,
    /// Why each instance that is not as desired is not.
    pub(super) reasons: BTreeMap<InstanceId, Reason>,
    /// The release that was returned from last, and why.
    pub(super) last_revert: Option<(String, String)>,
    /// All instances are being stopped, for good.
    pub(super) draining: bool,
    /// Why the last decision could not be kept on disk, and was put off.
    pub(super) blocked: Option<String>,
    /// When to decide again even if nothing is learnt.
    pub(super) wake: Option<Moment>,
}

/// What follows from a decision, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decision {
    /// What is to be remembered of releases from now on, if that changed: on disk before anything else is done.
    pub(super) rollout: Option<Rollout>,
    /// The steps of the update, for the journal.
    pub(super) steps: Vec<Step>,
    /// The plan for the release that runs then.
    pub(super) plan: Plan,
}

/// How soon a decision that could not be kept on disk is tried again.
const PUT_OFF: skiff_planner::span::Span = skiff_planner::span::Span::from_secs(5);

impl State {
    /// Learns a fact.
    pub(super) fn learn(&mut self, fact: Fact, now: Moment) {
        match fact {
            Fact::Seen(seen) => self.see(seen, now),
            Fact::News(news) => self.hear(news),
            Fact::Drain => self.draining = true,
            Fact::Due => {}
        }
    }

    fn see(&mut self, seen: Seen, now: Moment) {
        match seen {
            Seen::Started { instance, pid, since } => self.with(&instance, |watched| {
                watched.pid = Some(pid);
                watched.started = Some(crate::clock::wall());
                watched.seen.state = Phase::Running { since };
                watched.seen.health = health::fresh(&watched.seen.blueprint.service, since);
            }),
            Seen::Ended { instance, exit, since, at } => self.with(&instance, |watched| {
                watched.pid = None;
                watched.seen.state = Phase::Ended { since, at, exit };
            }),
            Seen::Found(adopted) => self.adopt(*adopted),
            Seen::Absent { instance } => {
                self.instances.remove(&instance);
            }
            Seen::Probed { instance, kind, outcome } => self.with(&instance, |watched| {
                if let Phase::Running { since } = watched.seen.state {
                    let service = &watched.seen.blueprint.service;
                    watched.seen.health = health::conclude(&watched.seen.health, service, kind, &outcome, since, now);
                }
            }),
            Seen::Done { instance, doing, outcome } => self.done(&instance, doing, outcome, now),
            // Told at once; what they mean is decided when the program is seen to have ended.
            Seen::OomKill { .. } | Seen::Lost { .. } => {}
        }
    }

    fn done(&mut self, instance: &InstanceId, doing: Doing, outcome: Result<(), String>, now: Moment) {
        if doing == Doing::Remove && outcome.is_ok() {
            self.instances.remove(instance);
            return;
        }
        self.with(instance, |watched| {
            watched.seen.busy = false;
            let coming = watched.coming.take();
            match (doing, outcome) {
                (Doing::Start, Err(reason)) => {
                    let exit = Exit::NotStarted { reason };
                    watched.seen.state = Phase::Ended { since: None, at: now, exit };
                }
                (Doing::Update, Ok(())) => watched.seen.limits = coming.unwrap_or_default(),
                // What could not be done is planned again, if it is still wanted.
                (Doing::Start, Ok(())) | (Doing::Stop, _) | (Doing::Remove, _) | (Doing::Update, Err(_)) => {}
            }
        });
    }

    fn with(&mut self, instance: &InstanceId, change: impl FnOnce(&mut Watched)) {
        // What is no longer known was removed meanwhile, and a late word about it changes nothing.
        if let Some(watched) = self.instances.get_mut(instance) {
            change(watched);
        }
    }

    /// Takes over an instance of an earlier skiffd.
    pub(super) fn adopt(&mut self, adopted: Adopted) {
        let Adopted { instance, blueprint, limits, state, pid, started, not_enforced } = adopted;
        let health = match state {
            Phase::Running { since } => health::fresh(&blueprint.service, since),
            _ => Health::default(),
        };
        let seen = Instance { blueprint, state, health, limits, busy: false };
        self.instances.insert(instance, Watched { seen, pid, started, not_enforced, coming: None });
    }

    fn hear(&mut self, news: News) {
        let now = crate::clock::wall();
        let contact = !matches!(&news, News::Refused { .. } | News::Unreachable { .. })
            && !matches!(&news, News::Accepted(accepted) if accepted.remembered);
        match news {
            News::Accepted(accepted) => self.heard.accepted = Some(*accepted),
            News::Staged(staged) => {
                let Staged { id, release, gate, group, bundles } = *staged;
                self.shelve(id.digest.clone(), release, bundles);
                self.no_release = None;
                self.target = Some(Target { id, gate, group });
                // A release from disk at the start is no contact.
                return;
            }
            News::NoRelease { steps } => {
                self.no_release = Some(steps);
                return;
            }
            News::Refused { reason, text } | News::Unreachable { reason, text } => {
                *self.heard.failures.entry(reason.to_owned()).or_default() += 1;
                self.heard.trouble = Some((reason.to_owned(), text, now));
                return;
            }
            News::Unchanged => {}
        }
        if contact {
            self.heard.contact = Some(now);
            self.heard.trouble = None;
        }
    }

    /// Decides what follows from what is known. The state itself changes only with [`Self::accept`], once the decision is on
    /// disk.
    #[must_use]
    pub(super) fn decide(&self, now: Moment) -> Decision {
        let observed = self.observed();
        let gate = self.target.as_ref().map(|target| target.gate.clone()).unwrap_or_default();
        let verdict = match self.desired(&self.rollout) {
            Some(desired) => rollout::verdict(&desired, &observed, &self.ledger),
            None => Verdict::NotYet("nothing runs yet".into()),
        };
        let target = self.target.as_ref().map(|target| &target.id).filter(|_| !self.draining);
        let (rollout, steps) = if self.draining {
            (self.rollout.clone(), Vec::new())
        } else {
            rollout::advance(&self.rollout, target, &verdict, &gate, now)
        };
        let desired = self.desired(&rollout);
        let plan = plan::plan(desired.as_ref(), &observed, &self.ledger, now);
        // While draining no trial is judged, so its moments are waited for by nobody.
        let judged = rollout::wake(&rollout).filter(|_| !self.draining);
        let wake = [plan.wake, judged].into_iter().flatten().min();
        let rollout = Some(rollout).filter(|rollout| *rollout != self.rollout);
        Decision { rollout, steps, plan: Plan { wake, ..plan } }
    }

    /// Takes a decision over: it is on disk, and its actions are about to be done.
    pub(super) fn accept(&mut self, decision: &Decision) {
        if let Some(rollout) = &decision.rollout {
            self.rollout = rollout.clone();
        }
        for step in &decision.steps {
            if let Step::Revert { from, reason, .. } = step {
                self.last_revert = Some((from.version.clone(), reason.clone()));
            }
        }
        self.ledger = decision.plan.ledger.clone();
        self.reasons = decision.plan.reasons.clone();
        self.wake = decision.plan.wake;
        self.blocked = None;
        for action in &decision.plan.actions {
            self.begin(action);
        }
    }

    /// Puts a decision off that could not be kept on disk: nothing of it is done, everything stays as it is.
    pub(super) fn put_off(&mut self, reason: String, now: Moment) {
        self.blocked = Some(reason);
        self.wake = Some(now.plus(PUT_OFF));
    }

    /// Whether the last decision was put off, and its time has not come: a disk that refuses is not asked again for each
    /// probe that says something.
    #[must_use]
    pub(super) fn is_put_off(&self, now: Moment) -> bool {
        self.blocked.is_some() && self.wake.is_some_and(|wake| now < wake)
    }

    fn begin(&mut self, action: &Action) {
        match action {
            Action::Start { instance, blueprint } => {
                let seen = Instance {
                    blueprint: Blueprint::clone(blueprint),
                    state: Phase::Starting,
                    health: Health::default(),
                    limits: blueprint.service.deploy.resources.limits.clone(),
                    busy: true,
                };
                let watched = Watched { seen, pid: None, started: None, not_enforced: Vec::new(), coming: None };
                self.instances.insert(instance.clone(), watched);
            }
            Action::Stop { instance, .. } => self.with(instance, |watched| {
                watched.seen.state = Phase::Stopping;
                watched.seen.busy = true;
            }),
            Action::Remove { instance } => self.with(instance, |watched| watched.seen.busy = true),
            Action::Update { instance, limits } => self.with(instance, |watched| {
                watched.coming = Some(limits.clone());
                watched.seen.busy = true;
            }),
        }
    }

    /// What is there, as the planner looks at it.
    #[must_use]
    pub(super) fn observed(&self) -> Observed {
        Observed { instances: self.instances.iter().map(|(id, watched)| (id.clone(), watched.seen.clone())).collect() }
    }

    /// What should run: everything of the release on trial or committed; nothing at all while draining; undecided where no
    /// release was ever chosen, or where its document is lost.
    #[must_use]
    pub(super) fn desired(&self, rollout: &Rollout) -> Option<Desired> {
        if self.draining {
            // Whatever is there has to go, also where what was chosen is lost.
            let found = || self.instances.values().next().map(|watched| &watched.seen.blueprint.release);
            let release = rollout.running().or_else(found)?;
            return Some(Desired { release: release.clone(), services: BTreeMap::new() });
        }
        let release = rollout.running()?;
        let document = self.releases.get(&release.digest)?;
        Some(Desired { release: release.clone(), services: document.release.services.clone() })
    }

    /// Puts a release from disk where it is found when it has to run.
    pub(super) fn shelve(&mut self, digest: Digest, release: Release, bundles: BTreeMap<Digest, PathBuf>) {
        self.releases.insert(digest, OnDisk { release, bundles });
    }

    /// The digests of the releases that may have to run again: their documents and bundles are kept.
    #[must_use]
    pub(super) fn worth_keeping(&self) -> Vec<Digest> {
        let rollout = &self.rollout;
        let trial = rollout.trial.as_ref().map(|trial| &trial.release);
        let target = self.target.as_ref().map(|target| &target.id);
        let releases = [rollout.committed.as_ref(), rollout.previous.as_ref(), trial, target];
        releases.into_iter().flatten().map(|release| release.digest.clone()).collect()
    }

    /// The instances whose programs run.
    #[must_use]
    pub(super) fn running(&self) -> Vec<InstanceId> {
        let runs = |watched: &Watched| matches!(watched.seen.state, Phase::Running { .. });
        self.instances.iter().filter(|(_, watched)| runs(watched)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether a drain is over: nothing is left of any instance.
    #[must_use]
    pub(super) fn is_drained(&self) -> bool {
        self.draining && self.instances.is_empty()
    }
}

#[cfg(test)]
mod tests;
