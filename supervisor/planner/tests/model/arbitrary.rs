//! Documents and worlds of every kind, small enough to be read when one of them breaks a promise.

use crate::world::{desired, release_id};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use serde_json::{Map, Value, json};
use skiff_planner::desired::{Blueprint, Desired};
use skiff_planner::health::{self, Health};
use skiff_planner::ledger::{Attempt, Entry, Held, Ledger, Stopped, Tried};
use skiff_planner::moment::Moment;
use skiff_planner::name::InstanceId;
use skiff_planner::observed::{Exit, Instance, Observed, State};

/// Names of services, in the order in which they may depend on each other.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// The present, for what is generated.
pub(crate) const NOW: Moment = Moment(1_000_000);

/// What one service is like; dependencies are named by how many names before its own.
#[derive(Clone, Debug)]
struct Sketch {
    variant: u8,
    replicas: u16,
    memory: Option<&'static str>,
    restart: Option<&'static str>,
    readiness: bool,
    liveness: bool,
    depends_on: Vec<(usize, &'static str)>,
    backoff: Value,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let conditions = ["service_started", "service_healthy", "service_completed_successfully"];
    let backoffs =
        vec![json!({}), json!({"base": "2s", "max": "8s"}), json!({"startLimit": "3/1m", "resetAfter": "30s"})];
    (
        0..2_u8,
        0..3_u16,
        option::of(select(&["32M", "64M"][..])),
        option::of(select(&["no", "always", "on-failure", "on-failure:2"][..])),
        (any::<bool>(), any::<bool>()),
        vec((1..4_usize, select(conditions.to_vec())), 0..3),
        select(backoffs),
    )
        .prop_map(|(variant, replicas, memory, restart, (readiness, liveness), depends_on, backoff)| Sketch {
            variant,
            replicas,
            memory,
            restart,
            readiness,
            liveness,
            depends_on,
            backoff,
        })
}

/// What a release of this version may want: documents that the lint lets pass.
pub(crate) fn wanted(version: &'static str) -> impl Strategy<Value = Desired> {
    btree_map(0..NAMES.len(), sketch(), 0..=NAMES.len()).prop_map(move |sketches| {
        let mut services = Map::new();
        for (place, sketch) in &sketches {
            let mut depends_on = Map::new();
            for (back, condition) in &sketch.depends_on {
                let Some(other) = place.checked_sub(*back).and_then(|place| Some((place, sketches.get(&place)?)))
                else {
                    continue;
                };
                let fits = match *condition {
                    "service_healthy" => other.1.readiness,
                    "service_completed_successfully" => !matches!(other.1.restart, None | Some("always")),
                    _ => true,
                };
                if fits {
                    depends_on.insert(NAMES[other.0].into(), json!({"condition": condition}));
                }
            }
            let mut probes = Map::new();
            for (kind, there) in [("readiness", sketch.readiness), ("liveness", sketch.liveness)] {
                if there {
                    probes.insert(kind.into(), json!({"exec": ["probe"], "failureThreshold": 2}));
                }
            }
            let mut service = json!({
                "hostname": format!("v{}", sketch.variant), "depends_on": depends_on,
                "deploy": {"replicas": sketch.replicas, "resources": {"limits": {}}},
                "x-skiff": {"probes": probes, "backoff": sketch.backoff}
            });
            if let Some(restart) = sketch.restart {
                service["restart"] = restart.into();
            }
            if let Some(memory) = sketch.memory {
                service["deploy"]["resources"]["limits"]["memory"] = memory.into();
            }
            services.insert(NAMES[*place].into(), service);
        }
        desired(version, services.into())
    })
}

pub(crate) fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        (0..3_u32, any::<bool>()).prop_map(|(code, oom)| Exit::Status { code, oom }),
        Just(Exit::NotStarted { reason: "no such file".into() }),
        Just(Exit::Unseen),
    ]
}

fn id() -> impl Strategy<Value = InstanceId> {
    (select(&NAMES[..]), 0..3_u16).prop_map(|(name, replica)| format!("{name}-{replica}").parse().unwrap())
}

fn past() -> impl Strategy<Value = Moment> {
    (0..=NOW.0).prop_map(Moment)
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        2 => past().prop_map(|since| State::Running { since }),
        1 => Just(State::Starting),
        1 => Just(State::Stopping),
        1 => Just(State::Unknown),
        2 => (option::of(past()), exit()).prop_map(|(since, exit)| State::Ended { since, at: NOW, exit }),
    ]
}

/// Some service that a release may have had.
fn blueprint() -> impl Strategy<Value = Blueprint> {
    sketch().prop_flat_map(|_| wanted("0")).prop_filter_map("a service", |desired| {
        let (_, service) = desired.services.into_iter().next_back()?;
        Some(Blueprint { release: release_id("0"), service })
    })
}

fn instance() -> impl Strategy<Value = Instance> {
    let failed = option::weighted(0.2, Just("liveness: stuck".to_owned()));
    (blueprint(), state(), failed, any::<bool>(), any::<bool>(), proptest::bool::weighted(0.2)).prop_map(
        |(blueprint, state, failed, ready, limited, busy)| {
            let fresh = health::fresh(&blueprint.service, NOW);
            let ready = ready && failed.is_none();
            let health = Health { ready, ready_since: ready.then_some(NOW), failed, ..fresh };
            let limits = if limited { blueprint.service.deploy.resources.limits.clone() } else { <_>::default() };
            Instance { blueprint, state, health, limits, busy }
        },
    )
}

/// A world in which instances of `desired` and of other blueprints are in every state.
pub(crate) fn observed(desired: &Desired) -> impl Strategy<Value = Observed> + use<> {
    let desired = desired.clone();
    btree_map(id(), (instance(), any::<bool>()), 0..8).prop_map(move |instances| {
        let as_desired = |(id, (mut instance, fits)): (InstanceId, (Instance, bool))| {
            if let Some(service) = desired.services.get(&id.service).filter(|_| fits) {
                instance.blueprint = Blueprint { release: desired.release.clone(), service: service.clone() };
            }
            (id, instance)
        };
        Observed { instances: instances.into_iter().map(as_desired).collect() }
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let held = option::weighted(0.3, select(&[Held::Completed, Held::Failed, Held::StartLimit][..]));
    let stopped =
        option::of(prop_oneof![Just(Stopped::Asked), Just(Stopped::Unhealthy { reason: "liveness: stuck".into() })]);
    let tried = option::of(
        (select(vec![Attempt::Stop, Attempt::Remove, Attempt::Update { limits: <_>::default() }]), past())
            .prop_map(|(action, at)| Tried { action, at }),
    );
    let times = (vec(past(), 0..4), (0..2 * NOW.0).prop_map(Moment), option::of((past(), exit())));
    (0..40_u32, times, held, option::of(blueprint()), any::<bool>(), stopped, tried).prop_map(
        |(row, (mut starts, not_before, last_exit), held, about, counted, stopped, tried)| {
            starts.sort_unstable();
            Entry { row, starts, not_before, last_exit, held, about, counted, stopped, tried, ..Entry::default() }
        },
    )
}

pub(crate) fn ledger() -> impl Strategy<Value = Ledger> {
    btree_map(id(), entry(), 0..8).prop_map(|instances| Ledger { instances })
}
