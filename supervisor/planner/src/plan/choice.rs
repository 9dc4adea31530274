//! What is done about one instance: at most one action in a plan, and a reason where it is not as desired.

use super::{Action, Cause, Plan, Reason, words};
use crate::desired::{Blueprint, Desired};
use crate::ledger::{Attempt, Entry, Held, Ledger, Stopped, Tried};
use crate::moment::Moment;
use crate::name::InstanceId;
use crate::observed::{Instance, Observed, State};
use crate::order::{self, Dependents};
use crate::release::Service;
use crate::restart;
use crate::span::Span;
use std::collections::BTreeMap;

/// An action that had no effect is not tried again before this: a loop of failures would wear the machine out.
const PACE: Span = Span::from_secs(5);

/// A plan in the making.
pub(super) struct Choice<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    now: Moment,
    /// What has to go: not desired, or made from another blueprint.
    leaving: BTreeMap<InstanceId, State>,
    dependents: Dependents,
    plan: Plan,
}

impl<'a> Choice<'a> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, ledger: Ledger, now: Moment) -> Self {
        let stays = |id: &InstanceId, instance: &Instance| {
            desired.service_of(id).is_some_and(|service| instance.blueprint.serves(service))
        };
        let leaving = observed.instances.iter().filter(|(id, instance)| !stays(id, instance));
        Self {
            desired,
            observed,
            now,
            leaving: leaving.map(|(id, instance)| (id.clone(), instance.state.clone())).collect(),
            dependents: Dependents::observed(observed),
            plan: Plan { ledger, ..Plan::default() },
        }
    }

    /// Stops first, then what is left is taken away, and only then is anything started.
    pub(super) fn into_plan(mut self) -> Plan {
        self.plan.actions.sort_by_key(|action| match action {
            Action::Stop { .. } => 0,
            Action::Remove { .. } => 1,
            Action::Update { .. } => 2,
            Action::Start { .. } => 3,
        });
        self.plan
    }

    pub(super) fn of_present(&mut self, id: &InstanceId, instance: &Instance) {
        if instance.busy {
            return self.because(id, Reason::Busy);
        }
        match &instance.state {
            State::Unknown => self.because(id, Reason::Unknown),
            State::Ended { .. } => self.remove(id),
            State::Starting | State::Running { .. } | State::Stopping => match self.desired.service_of(id) {
                None => self.leave(id, instance, Cause::NotDesired),
                Some(service) if !instance.blueprint.serves(service) => self.leave(id, instance, Cause::Changed),
                Some(service) => self.keep(id, instance, service),
            },
        }
    }

    pub(super) fn of_absent(&mut self, id: &InstanceId, service: &Service) {
        let entry = self.plan.ledger.instances.entry(id.clone()).or_default();
        if entry.held == Some(Held::Completed) {
            return;
        }
        if let Some(reason) = postponed(entry, self.now) {
            return self.because(id, reason);
        }
        if let Some(what) = order::waits(service, self.desired, self.observed, &self.plan.ledger) {
            return self.because(id, Reason::Waits { what });
        }
        restart::record_start(self.plan.ledger.instances.entry(id.clone()).or_default(), service, self.now);
        let blueprint = Box::new(Blueprint { release: self.desired.release.clone(), service: service.clone() });
        self.plan.actions.push(Action::Start { instance: id.clone(), blueprint });
    }

    /// What is left of an instance that ended is taken away at once; whether it is started again is asked when it is gone.
    fn remove(&mut self, id: &InstanceId) {
        let entry = self.plan.ledger.instances.entry(id.clone()).or_default();
        let reason = match self.desired.service_of(id) {
            None => Some(Reason::Leaves { what: "it is not in the release".into() }),
            Some(_) if entry.held == Some(Held::Completed) => None,
            Some(_) => postponed(entry, self.now)
                .or_else(|| Some(Reason::Leaves { what: "what is left of its last run is taken away first".into() })),
        };
        if let Some(reason) = reason {
            self.because(id, reason);
        }
        if self.may_try(id, Attempt::Remove).is_ok() {
            self.plan.actions.push(Action::Remove { instance: id.clone() });
        }
    }

    /// An instance that has to go.
    fn leave(&mut self, id: &InstanceId, instance: &Instance, cause: Cause) {
        let what = match self.dependents.first_to_go(id, &self.leaving) {
            Some(first) => format!("{}; `{first}` depends on it and has to end before it", words::cause(&cause)),
            None => words::cause(&cause),
        };
        let waits = self.dependents.first_to_go(id, &self.leaving).is_some();
        self.because(id, Reason::Leaves { what });
        if !waits {
            self.stop(id, instance, cause);
        }
    }

    /// An instance that may stay as far as its blueprint is concerned.
    fn keep(&mut self, id: &InstanceId, instance: &Instance, service: &Service) {
        match &instance.state {
            State::Running { .. } => {}
            State::Stopping => {
                self.because(id, Reason::Leaves { what: words::cause(&Cause::Interrupted) });
                return self.stop(id, instance, Cause::Interrupted);
            }
            State::Starting => return self.because(id, Reason::NotReady { what: "it is being started".into() }),
            State::Ended { .. } | State::Unknown => return,
        }
        if let Some(failed) = &instance.health.failed {
            let cause = Cause::Unhealthy(failed.clone());
            self.because(id, Reason::Leaves { what: words::cause(&cause) });
            return self.stop(id, instance, cause);
        }
        if !instance.health.ready {
            let said = instance.health.last_failure.clone();
            let what = said.unwrap_or_else(|| "its probe has not succeeded yet".into());
            self.because(id, Reason::NotReady { what });
        }
        let limits = &service.deploy.resources.limits;
        if instance.limits != *limits {
            match self.may_try(id, Attempt::Update { limits: limits.clone() }) {
                Ok(()) => {
                    self.plan.actions.push(Action::Update { instance: id.clone(), limits: limits.clone() });
                }
                Err(until) => self.because(id, Reason::Limits { until }),
            }
        }
    }

    fn stop(&mut self, id: &InstanceId, instance: &Instance, cause: Cause) {
        if self.may_try(id, Attempt::Stop).is_err() {
            return;
        }
        let entry = self.plan.ledger.instances.entry(id.clone()).or_default();
        match &cause {
            Cause::NotDesired | Cause::Changed => entry.stopped = Some(Stopped::Asked),
            Cause::Unhealthy(reason) => entry.stopped = Some(Stopped::Unhealthy { reason: reason.clone() }),
            // It remains what it was when it was asked first.
            Cause::Interrupted => entry.stopped = entry.stopped.take().or(Some(Stopped::Asked)),
        }
        // The signal is one that the program that runs understands; how long to wait may have changed meanwhile.
        let made = &instance.blueprint.service;
        let desired = self.desired.service_of(id).filter(|service| instance.blueprint.serves(service));
        self.plan.actions.push(Action::Stop {
            instance: id.clone(),
            signal: made.stop_signal.clone(),
            grace: desired.unwrap_or(made).stop_grace_period,
            cause,
        });
    }

    /// Notes that an action is tried, unless the same was tried a moment ago; then it says when it may be.
    fn may_try(&mut self, id: &InstanceId, action: Attempt) -> Result<(), Moment> {
        let entry = self.plan.ledger.instances.entry(id.clone()).or_default();
        let again = entry.tried.as_ref().filter(|tried| tried.action == action).map(|tried| tried.at.plus(PACE));
        if let Some(again) = again.filter(|again| self.now < *again) {
            self.wake(again);
            return Err(again);
        }
        entry.tried = Some(Tried { action, at: self.now });
        Ok(())
    }

    fn because(&mut self, id: &InstanceId, reason: Reason) {
        if let Reason::Backoff { until, .. } = reason {
            self.wake(until);
        }
        self.plan.reasons.insert(id.clone(), reason);
    }

    fn wake(&mut self, at: Moment) {
        self.plan.wake = Some(self.plan.wake.map_or(at, |before| before.min(at)));
    }
}

/// Why an instance is not started now, as far as its own past is concerned.
fn postponed(entry: &Entry, now: Moment) -> Option<Reason> {
    let last = || entry.last_exit.as_ref().map_or_else(|| "never".into(), |(_, exit)| words::exit(exit));
    if let Some(held) = entry.held {
        return Some(Reason::Held { what: words::held(held, entry) });
    }
    let later = now < entry.not_before;
    later.then(|| Reason::Backoff { until: entry.not_before, row: entry.row, last: last() })
}
