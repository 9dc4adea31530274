//! A device through weeks of trouble: programs die, shims fall silent, releases come and go, skiffd is killed. The model of
//! the machine fails whenever it is harmed.

use crate::arbitrary::{exit, wanted};
use crate::world::{World, release_id};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use skiff_planner::health::{Outcome, ProbeKind};
use skiff_planner::name::InstanceId;
use skiff_planner::observed::{Exit, State};
use skiff_planner::span::Span;

#[derive(Clone, Debug)]
enum Trouble {
    Wait(u64),
    End(Index, Exit),
    Lose(Index),
    Find,
    Probe(Index, ProbeKind, bool),
    Want(&'static str),
    Restart,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let kinds = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];
    prop_oneof![
        6 => (0..120_000_u64).prop_map(Trouble::Wait),
        6 => (0..250_u64).prop_map(Trouble::Wait),
        4 => (any::<Index>(), exit()).prop_map(|(which, exit)| Trouble::End(which, exit)),
        1 => any::<Index>().prop_map(Trouble::Lose),
        1 => Just(Trouble::Find),
        4 => (any::<Index>(), select(kinds.to_vec()), any::<bool>())
            .prop_map(|(which, kind, well)| Trouble::Probe(which, kind, well)),
        2 => select(&["1", "2", "3"][..]).prop_map(Trouble::Want),
        1 => Just(Trouble::Restart),
    ]
}

fn happen(world: &mut World, trouble: &Trouble) {
    let chosen = |world: &World, which: &Index| -> Option<InstanceId> {
        let ids: Vec<_> = world.observed.instances.keys().cloned().collect();
        (!ids.is_empty()).then(|| ids[which.index(ids.len())].clone())
    };
    match trouble {
        Trouble::Wait(millis) => world.wait(Span::from_millis(*millis)),
        Trouble::End(which, exit) => {
            if let Some(id) = chosen(world, which) {
                world.end(&id, exit.clone());
            }
        }
        Trouble::Lose(which) => {
            if let Some(instance) = chosen(world, which).and_then(|id| world.observed.instances.get_mut(&id)) {
                if !instance.busy && matches!(instance.state, State::Running { .. }) {
                    instance.state = State::Unknown;
                }
            }
        }
        Trouble::Find => find(world),
        Trouble::Probe(which, kind, well) => {
            if let Some(id) = chosen(world, which) {
                let outcome = if *well { Outcome::Success } else { Outcome::Failure("stuck".into()) };
                world.probe(&id, *kind, outcome);
            }
        }
        Trouble::Want(version) => world.target = Some(release_id(version)),
        Trouble::Restart => world.restart(),
    }
    world.look();
}

fn find(world: &mut World) {
    let since = world.now;
    for instance in world.observed.instances.values_mut().filter(|instance| instance.state == State::Unknown) {
        instance.state = State::Running { since };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_device_survives_its_troubles(
        releases in (wanted("1"), wanted("2"), wanted("3")),
        troubles in vec(trouble(), 0..60),
    ) {
        let mut world = World::new();
        for desired in [releases.0, releases.1, releases.2] {
            world.releases.insert(desired.release.version.clone(), desired);
        }
        world.target = Some(release_id("1"));
        for trouble in &troubles {
            happen(&mut world, trouble);
            let trial = world.rollout.trial.as_ref();
            prop_assert!(trial.is_none_or(|trial| world.rollout.refuses(&trial.release).is_none()));
        }
        find(&mut world);
        // Left in peace, it ends on what the fleet wants, or on the last release that was good.
        world.wait(Span::from_secs(24 * 3600));
        let rollout = &world.rollout;
        match &rollout.trial {
            None => prop_assert!(rollout.committed.is_some()),
            Some(trial) => prop_assert!(trial.overdue.is_some() && rollout.committed.is_none(), "{rollout:?}"),
        }
        let target = world.target.as_ref().expect("it was set above");
        prop_assert!(rollout.running() == Some(target) || rollout.refuses(target).is_some(), "{rollout:?}");
        let desired = world.desired().expect("something runs");
        for (id, instance) in &world.observed.instances {
            let serves = desired.service_of(id).is_some_and(|service| instance.blueprint.serves(service));
            prop_assert!(serves, "{id} is still there: {instance:?}");
        }
    }
}
