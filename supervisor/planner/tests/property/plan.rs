//! One plan, and where plans lead in the end.

use crate::arbitrary::{NOW, ledger, observed, wanted};
use crate::world::{Behaviour, Happening, World};
use proptest::prelude::*;
use skiff_planner::desired::Desired;
use skiff_planner::ledger::{Held, Ledger};
use skiff_planner::moment::Moment;
use skiff_planner::observed::{Exit, Observed, State};
use skiff_planner::plan::{Action, plan};
use skiff_planner::release::RestartPolicy;
use skiff_planner::span::Span;

fn worlds() -> impl Strategy<Value = (Desired, Observed, Ledger)> {
    wanted("1").prop_flat_map(|desired| {
        let observed = observed(&desired);
        (Just(desired), observed, ledger())
    })
}

proptest! {
    #[test]
    fn the_same_input_gives_the_same_plan((desired, observed, ledger) in worlds()) {
        let first = plan(Some(&desired), &observed, &ledger, NOW);
        prop_assert_eq!(&first, &plan(Some(&desired), &observed, &ledger, NOW));
        prop_assert!(first.wake.is_none_or(|wake| wake > NOW), "wakes in the past");
    }

    #[test]
    fn actions_fit_what_they_are_for((desired, observed, ledger) in worlds()) {
        let plan = plan(Some(&desired), &observed, &ledger, NOW);
        for action in &plan.actions {
            let id = crate::world::instance_of(action);
            let present = observed.instances.get(id);
            let service = desired.service_of(id);
            let serves = present.zip(service).is_some_and(|(present, service)| present.blueprint.serves(service));
            prop_assert!(present.is_none_or(|present| !present.busy && present.state != State::Unknown), "{action}");
            let fits = match action {
                Action::Start { blueprint, .. } => present.is_none() && service == Some(&blueprint.service),
                Action::Remove { .. } => present.is_some_and(|present| matches!(present.state, State::Ended { .. })),
                Action::Update { limits, .. } => {
                    let asked = service.map(|service| &service.deploy.resources.limits);
                    serves && asked == Some(limits) && present.is_some_and(|present| present.limits != *limits)
                }
                Action::Stop { .. } => present.is_some_and(|present| match present.state {
                    State::Running { .. } => !serves || present.health.failed.is_some(),
                    State::Starting => !serves,
                    State::Stopping => true,
                    State::Ended { .. } | State::Unknown => false,
                }),
            };
            prop_assert!(fits, "{action}: {present:?}");
        }
        let mut touched: Vec<_> = plan.actions.iter().map(crate::world::instance_of).collect();
        let count = touched.len();
        touched.sort();
        touched.dedup();
        prop_assert_eq!(touched.len(), count, "two actions for one instance");
    }

    #[test]
    fn whatever_is_not_as_desired_has_a_reason((desired, observed, ledger) in worlds()) {
        let plan = plan(Some(&desired), &observed, &ledger, NOW);
        for (id, service) in desired.instances() {
            let present = observed.instances.get(&id);
            let runs = present.is_some_and(|present| {
                present.blueprint.serves(service) && matches!(present.state, State::Running { .. }) && present.health.ready
            });
            let completed = plan.ledger.instances[&id].held == Some(Held::Completed);
            let acted = plan.actions.iter().any(|action| *crate::world::instance_of(action) == id);
            prop_assert!(runs || completed || acted || plan.reasons.contains_key(&id), "{id} has no reason");
        }
        for id in observed.instances.keys().filter(|id| desired.service_of(id).is_none()) {
            prop_assert!(plan.reasons.contains_key(id), "{id} has no reason");
        }
    }

    #[test]
    fn an_end_is_counted_once_however_often_it_is_seen((desired, observed, ledger) in worlds()) {
        let first = plan(Some(&desired), &observed, &ledger, NOW);
        let mut later = observed.clone();
        for instance in later.instances.values_mut() {
            if let State::Ended { at, .. } = &mut instance.state {
                *at = Moment(NOW.0 + 500);
            }
        }
        let second = plan(Some(&desired), &later, &first.ledger, Moment(NOW.0 + 1000));
        for (id, entry) in &first.ledger.instances {
            let again = &second.ledger.instances[id];
            if observed.instances.contains_key(id) {
                prop_assert_eq!((entry.row, entry.oom_kills, entry.held), (again.row, again.oom_kills, again.held));
                prop_assert_eq!(&entry.last_exit, &again.last_exit);
            }
        }
    }

    #[test]
    fn without_a_decision_nothing_is_touched((_, observed, ledger) in worlds()) {
        let plan = plan(None, &observed, &ledger, NOW);
        prop_assert!(plan.actions.is_empty() && plan.ledger == ledger);
    }

    #[test]
    fn what_is_neither_desired_nor_there_is_forgotten((desired, observed, ledger) in worlds()) {
        let plan = plan(Some(&desired), &observed, &ledger, NOW);
        for id in plan.ledger.instances.keys() {
            prop_assert!(desired.service_of(id).is_some() || observed.instances.contains_key(id));
        }
    }

    #[test]
    fn plans_come_to_an_end((desired, observed, ledger) in worlds()) {
        let mut world = World::new();
        world.now = NOW;
        world.rollout.committed = Some(desired.release.clone());
        world.releases.insert(desired.release.version.clone(), desired.clone());
        for (name, service) in &desired.services {
            // What is not always started again does its work and ends.
            if matches!(service.restart, Some(RestartPolicy::No | RestartPolicy::OnFailure(_))) {
                let what = Happening::Exits(Exit::Status { code: 0, oom: false });
                world.behaviours.push(Behaviour { whose: name.to_string(), what, after: Span::from_secs(2) });
            }
        }
        (world.observed, world.ledger) = (observed.clone(), ledger);
        world.wait(Span::from_secs(24 * 3600));
        let last = plan(Some(&desired), &world.observed, &world.ledger, world.now);
        prop_assert!(last.actions.is_empty(), "{:?}", last.actions);
        prop_assert_eq!(last.wake, None);
        for (id, instance) in &world.observed.instances {
            let stuck = |name| observed.instances.get(name).is_some_and(|it| it.busy || it.state == State::Unknown);
            let held_up = observed.instances.keys().any(stuck);
            let serves = desired.service_of(id).is_some_and(|service| instance.blueprint.serves(service));
            prop_assert!(serves || stuck(id) || held_up, "{id} is still there: {instance:?}");
        }
    }
}
