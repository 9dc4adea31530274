//! A model of a machine, for the tests: actions take a little time, programs behave as they are told, and whatever a real
//! machine would refuse or be harmed by fails the test.

use skiff_planner::desired::{Blueprint, Desired};
use skiff_planner::fleet::Gate;
use skiff_planner::health::{self, Health, Outcome, ProbeKind};
use skiff_planner::ledger::Ledger;
use skiff_planner::moment::Moment;
use skiff_planner::name::{Digest, InstanceId, ReleaseId};
use skiff_planner::observed::{Exit, Instance, Observed, State};
use skiff_planner::plan::{Action, Plan, plan};
use skiff_planner::release::{Limits, Release};
use skiff_planner::rollout::{self, Rollout, Step, Verdict};
use skiff_planner::span::Span;
use std::collections::{BTreeMap, BTreeSet};

/// How long the machine takes for each kind of action.
const STARTING: Span = Span::from_millis(100);
const STOPPING: Span = Span::from_millis(200);
const QUICK: Span = Span::from_millis(10);

/// How the programs of a service behave, from their start on; all that is not told runs for ever and is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// `web`, or `web@2` for release 2 alone.
    pub(crate) whose: String,
    /// What happens.
    pub(crate) what: Happening,
    /// When.
    pub(crate) after: Span,
}

/// What happens to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Its program ends.
    Exits(Exit),
    /// One of its probes is run.
    Probed(ProbeKind, Outcome),
}

/// Something that is due at a moment.
#[derive(Clone, Debug)]
enum Due {
    Runs,
    Ends(Exit),
    Gone,
    Limited(Limits),
    Probed(ProbeKind, Outcome),
}

/// The machine, and skiffd's memory of it.
pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) observed: Observed,
    pub(crate) ledger: Ledger,
    pub(crate) rollout: Rollout,
    pub(crate) gate: Gate,
    pub(crate) target: Option<ReleaseId>,
    pub(crate) releases: BTreeMap<String, Desired>,
    pub(crate) behaviours: Vec<Behaviour>,
    /// What was done and decided, each with its moment.
    pub(crate) told: Vec<String>,
    /// What is due, in order of time, for the run of an instance that it is about.
    queue: BTreeMap<(Moment, u64), (InstanceId, u64, Due)>,
    runs: BTreeMap<InstanceId, u64>,
    sequence: u64,
}

/// A release's id: a digest as different as its version.
pub(crate) fn release_id(version: &str) -> ReleaseId {
    let digits = version.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    ReleaseId { version: version.into(), digest: format!("sha256:{digits:0>64}").parse::<Digest>().unwrap() }
}

/// What a release of this version with these services wants; each service is given a bundle.
pub(crate) fn desired(version: &str, services: serde_json::Value) -> Desired {
    let mut document = serde_json::json!({
        "apiVersion": "skiff.dev/v1", "kind": "Release",
        "metadata": {"name": "model", "version": version}, "services": services
    });
    for service in document["services"].as_object_mut().unwrap().values_mut() {
        service.as_object_mut().unwrap().entry("bundle").or_insert("/srv/app".into());
    }
    let release: Release = serde_json::from_value(document).unwrap();
    let problems = skiff_planner::lint::release(&release);
    assert!(!skiff_planner::lint::refuses(&problems), "{problems:?}");
    Desired { release: release_id(version), services: release.services }
}

/// The instance that an action is for.
pub(crate) fn instance_of(action: &Action) -> &InstanceId {
    match action {
        Action::Start { instance, .. }
        | Action::Stop { instance, .. }
        | Action::Remove { instance }
        | Action::Update { instance, .. } => instance,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: Moment(0),
            observed: Observed::default(),
            ledger: Ledger::default(),
            rollout: Rollout::default(),
            gate: Gate::default(),
            target: None,
            releases: BTreeMap::new(),
            behaviours: Vec::new(),
            told: Vec::new(),
            queue: BTreeMap::new(),
            runs: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn desired(&self) -> Option<&Desired> {
        self.rollout.running().map(|release| &self.releases[&release.version])
    }

    /// One look at everything, and everything that follows from it at this moment. Gives when to look again.
    pub(crate) fn look(&mut self) -> Option<Moment> {
        loop {
            let plan = self.plan();
            let steps = self.advance();
            if plan.actions.is_empty() && !steps {
                return [plan.wake, rollout::wake(&self.rollout)].into_iter().flatten().min();
            }
        }
    }

    /// Lets time pass, with everything that is due.
    pub(crate) fn wait(&mut self, span: Span) {
        let end = self.now.plus(span);
        loop {
            let wake = self.look();
            let due = self.queue.keys().next().map(|(at, _)| *at);
            let Some(next) = [wake, due].into_iter().flatten().min().filter(|next| *next <= end) else { break };
            // A moment that has passed is looked at once; a wake in the past would be a loop.
            assert!(next > self.now || due.is_some_and(|due| due <= self.now), "wakes in the past: {next:?}");
            self.now = next.max(self.now);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (id, run, due) = entry.remove();
                if self.runs.get(&id).copied().unwrap_or_default() == run {
                    self.happen(&id, due);
                }
            }
        }
        self.now = end;
        self.look();
    }

    fn plan(&mut self) -> Plan {
        let desired = self.desired().cloned();
        let plan = plan(desired.as_ref(), &self.observed, &self.ledger, self.now);
        self.ledger = plan.ledger.clone();
        let touched: BTreeSet<_> = plan.actions.iter().map(instance_of).collect();
        assert_eq!(touched.len(), plan.actions.len(), "two actions for one instance: {:?}", plan.actions);
        for action in &plan.actions {
            if let Action::Stop { instance, .. } = action {
                assert!(!self.is_well(instance), "{instance} is desired, unchanged and healthy, and is stopped");
            }
            self.tell(&action.to_string());
            self.begin(action);
        }
        plan
    }

    fn is_well(&self, id: &InstanceId) -> bool {
        let instance = &self.observed.instances[id];
        let service = self.desired().and_then(|desired| desired.service_of(id));
        let runs = matches!(instance.state, State::Running { .. });
        runs && instance.health.failed.is_none() && service.is_some_and(|service| instance.blueprint.serves(service))
    }

    fn advance(&mut self) -> bool {
        let verdict = match self.desired() {
            Some(desired) => rollout::verdict(desired, &self.observed, &self.ledger),
            None => Verdict::NotYet("nothing runs".into()),
        };
        let (next, steps) = rollout::advance(&self.rollout, self.target.as_ref(), &verdict, &self.gate, self.now);
        self.rollout = next;
        for step in &steps {
            self.tell(&match step {
                Step::Switch { from: Some(from), to } => format!("switch from {from} to {to}"),
                Step::Switch { from: None, to } => format!("switch to {to}"),
                Step::Commit { release } => format!("commit {release}"),
                Step::Revert { from, to, reason } => format!("revert from {from} to {to}: {reason}"),
                Step::Withdraw { from, to } => format!("withdraw {from} for {to}"),
                Step::Resume { release, boots } => format!("resume {release} after boot {boots}"),
                Step::Overdue { release, reason } => format!("overdue {release}: {reason}"),
            });
        }
        !steps.is_empty()
    }

    pub(crate) fn tell(&mut self, text: &str) {
        self.told.push(format!("{:>9} {text}", format!("{}.{:03}s", self.now.0 / 1000, self.now.0 % 1000)));
    }

    /// What the executor and the machine below it make of an action.
    fn begin(&mut self, action: &Action) {
        match action {
            Action::Start { instance, blueprint } => {
                let limits = blueprint.service.deploy.resources.limits.clone();
                let blueprint = Blueprint::clone(blueprint);
                let made =
                    Instance { blueprint, state: State::Starting, health: Health::default(), limits, busy: true };
                let before = self.observed.instances.insert(instance.clone(), made);
                assert!(before.is_none(), "{instance} is started a second time");
                *self.runs.entry(instance.clone()).or_default() += 1;
                self.due(STARTING, instance, Due::Runs);
            }
            Action::Stop { instance, .. } => {
                let present = self.take(instance);
                let stoppable = matches!(present.state, State::Starting | State::Running { .. } | State::Stopping);
                assert!(stoppable, "{instance} is not there to be stopped");
                present.state = State::Stopping;
                self.due(STOPPING, instance, Due::Ends(Exit::Status { code: 143, oom: false }));
            }
            Action::Remove { instance } => {
                let present = self.take(instance);
                assert!(matches!(present.state, State::Ended { .. }), "{instance} is removed while it runs");
                self.due(QUICK, instance, Due::Gone);
            }
            Action::Update { instance, limits } => {
                let present = self.take(instance);
                assert!(matches!(present.state, State::Running { .. }), "{instance} does not run");
                self.due(QUICK, instance, Due::Limited(limits.clone()));
            }
        }
    }

    /// An instance that an action is begun for.
    fn take(&mut self, id: &InstanceId) -> &mut Instance {
        let present = self.observed.instances.get_mut(id).unwrap_or_else(|| panic!("{id} is not there"));
        assert!(!present.busy, "{id} is busy and is given another action");
        assert_ne!(present.state, State::Unknown, "{id} could not be asked and is given an action");
        present.busy = true;
        present
    }

    fn due(&mut self, after: Span, id: &InstanceId, due: Due) {
        self.sequence += 1;
        let run = self.runs.get(id).copied().unwrap_or_default();
        self.queue.insert((self.now.plus(after), self.sequence), (id.clone(), run, due));
    }

    fn happen(&mut self, id: &InstanceId, due: Due) {
        let now = self.now;
        let Some(instance) = self.observed.instances.get_mut(id) else { return };
        match due {
            Due::Runs => self.runs(id),
            Due::Ends(exit) => self.end(id, exit),
            Due::Gone => {
                self.observed.instances.remove(id);
            }
            Due::Limited(limits) => (instance.limits, instance.busy) = (limits, false),
            Due::Probed(kind, outcome) => {
                if let State::Running { since } = instance.state {
                    let service = &instance.blueprint.service;
                    instance.health = health::conclude(&instance.health, service, kind, &outcome, since, now);
                }
            }
        }
    }

    fn runs(&mut self, id: &InstanceId) {
        let now = self.now;
        let Some(instance) = self.observed.instances.get_mut(id).filter(|it| it.state == State::Starting) else {
            return;
        };
        instance.state = State::Running { since: now };
        instance.health = health::fresh(&instance.blueprint.service, now);
        instance.busy = false;
        let of_release = format!("{}@{}", id.service, instance.blueprint.release.version);
        let applies = |behaviour: &&Behaviour| behaviour.whose == of_release || behaviour.whose == id.service.as_str();
        let behaviours: Vec<_> = self.behaviours.iter().filter(applies).cloned().collect();
        let mut kinds: Vec<_> =
            health::probes_of(&instance.blueprint.service).into_iter().map(|(kind, _)| kind).collect();
        for behaviour in behaviours {
            let due = match behaviour.what {
                Happening::Exits(exit) => Due::Ends(exit),
                Happening::Probed(kind, outcome) => {
                    kinds.retain(|other| *other != kind);
                    Due::Probed(kind, outcome)
                }
            };
            self.due(behaviour.after, id, due);
        }
        for (turn, kind) in (1_u64..).zip(kinds) {
            self.due(Span::from_secs(turn), id, Due::Probed(kind, Outcome::Success));
        }
    }

    /// The program of an instance ends, whatever was under way.
    pub(crate) fn end(&mut self, id: &InstanceId, exit: Exit) {
        let now = self.now;
        let Some(instance) = self.observed.instances.get_mut(id) else { return };
        let since = match instance.state {
            State::Running { since } => Some(since),
            State::Starting | State::Stopping | State::Unknown => None,
            State::Ended { .. } => return,
        };
        instance.state = State::Ended { since, at: now, exit };
        instance.busy = false;
        // Nothing else happens to that run but its removal.
        let id = id.clone();
        self.queue.retain(|_, (other, _, _)| *other != id);
    }

    /// Probes an instance that runs.
    pub(crate) fn probe(&mut self, id: &InstanceId, kind: ProbeKind, outcome: Outcome) {
        self.happen(id, Due::Probed(kind, outcome));
    }

    /// skiffd is killed and started again: what it was doing is undone or lost, what runs runs on.
    pub(crate) fn restart(&mut self) {
        let (ledger, rollout) = (serde_json::to_vec(&self.ledger).unwrap(), serde_json::to_vec(&self.rollout).unwrap());
        self.ledger = serde_json::from_slice(&ledger).unwrap();
        let began = self.rollout.trial.as_ref().and_then(|trial| trial.began);
        self.rollout = serde_json::from_slice(&rollout).unwrap();
        // What is remembered of this boot.
        if let Some(trial) = &mut self.rollout.trial {
            trial.began = began;
        }
        self.rollout.reopen(self.now);
        let busy: BTreeSet<_> = self.busy().cloned().collect();
        self.queue.retain(|_, (id, _, _)| !busy.contains(id));
        let since = self.now;
        self.observed.instances.retain(|_, instance| !(instance.busy && instance.state == State::Starting));
        for instance in self.observed.instances.values_mut().filter(|instance| instance.busy) {
            instance.busy = false;
            if instance.state == State::Stopping {
                instance.state = State::Running { since };
            }
        }
    }

    fn busy(&self) -> impl Iterator<Item = &InstanceId> {
        self.observed.instances.iter().filter(|(_, instance)| instance.busy).map(|(id, _)| id)
    }
}
