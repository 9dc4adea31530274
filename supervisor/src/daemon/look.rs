//! The state as it is told. Pure, but for the figures, which are asked of the shims and of the kernel when somebody looks.

use super::state::{State, Watched};
use crate::config::Config;
use crate::node::{Figures, Node};
use crate::{clock, view};
use skiff_planner::desired::Desired;
use skiff_planner::ledger::{Entry, Held};
use skiff_planner::moment::Moment;
use skiff_planner::name::InstanceId;
use skiff_planner::observed::{Exit, State as Phase};
use skiff_planner::plan::{Reason, words};
use skiff_planner::release::{Bundle, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

mod machine;

/// How long a look waits for a shim.
const PATIENCE: Duration = Duration::from_secs(2);

/// The parts of a look that are the daemon's own.
pub(super) struct Own<'a> {
    /// Settings.
    pub(super) config: &'a Config,
    /// Of this boot.
    pub(super) boot_id: &'a str,
    /// When the daemon started.
    pub(super) began: Moment,
    /// Events that fell off.
    pub(super) dropped: u64,
}

/// The device without figures.
pub(super) fn device(own: &Own<'_>, state: &State, now: Moment) -> view::Device {
    let desired = state.desired(&state.rollout);
    let ids = ids(state, desired.as_ref());
    let instances: Vec<_> = ids.iter().map(|id| instance(own.config, state, desired.as_ref(), id, now)).collect();
    let services = services(desired.as_ref(), &instances);
    view::Device {
        api_version: view::API_VERSION.into(),
        device: own.config.device.id.clone(),
        labels: own.config.device.labels.clone(),
        boot_id: own.boot_id.to_owned(),
        time: clock::wall(),
        agent: view::Agent {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: now.since(own.began).millis() / 1000,
            pss_ki_b: None,
        },
        fleet: fleet(own.config, state),
        release: release(state),
        services,
        instances,
        node: view::Node::default(),
        dropped_events: own.dropped,
        blocked: blocked(state),
    }
}

/// What keeps the device from its work, if anything does.
pub(super) fn blocked(state: &State) -> Option<String> {
    let drain = || state.draining.then(|| "every instance is being stopped; start skiffd again to run them".to_owned());
    state.blocked.clone().or_else(drain)
}

/// Adds what shims and kernel say and answers, in a task of its own: the loop does not wait.
pub(super) fn answer(
    mut device: view::Device,
    running: Vec<InstanceId>,
    node: Node,
    state: std::path::PathBuf,
    answer: oneshot::Sender<Box<view::Device>>,
) {
    tokio::spawn(async move {
        let asked: Vec<_> = running
            .into_iter()
            .map(|id| {
                let node = node.clone();
                tokio::spawn(async move {
                    let figures = tokio::time::timeout(PATIENCE, node.stats(&id)).await.ok()?.ok()?;
                    Some((id.to_string(), figures))
                })
            })
            .collect();
        let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
        for task in asked {
            // What a shim does not say is absent.
            figures.extend(task.await.ok().flatten());
        }
        for instance in &mut device.instances {
            instance.figures = figures.get(&instance.id).copied();
        }
        device.agent.pss_ki_b = machine::pss();
        device.node = machine::look(&state);
        let _nobody_waits_any_more = answer.send(Box::new(device));
    });
}

/// Every instance that should be there or is.
fn ids(state: &State, desired: Option<&Desired>) -> BTreeSet<InstanceId> {
    let wanted = desired.into_iter().flat_map(|desired| desired.instances().map(|(id, _)| id).collect::<Vec<_>>());
    wanted.chain(state.instances.keys().cloned()).collect()
}

fn instance(config: &Config, state: &State, desired: Option<&Desired>, id: &InstanceId, now: Moment) -> view::Instance {
    let watched = state.instances.get(id);
    let entry = state.ledger.instances.get(id);
    let blueprint = watched.map(|watched| &watched.seen.blueprint.service);
    let service = blueprint.or_else(|| desired.and_then(|desired| desired.service_of(id)));
    let release = watched.map(|watched| watched.seen.blueprint.release.version.clone());
    view::Instance {
        id: id.to_string(),
        service: id.service.to_string(),
        replica: id.replica,
        release: release.or_else(|| desired.map(|desired| desired.release.version.clone())).unwrap_or_default(),
        state: phase(watched, entry).into(),
        since: watched.and_then(|watched| watched.started.clone()).filter(|_| is_running(watched)),
        uptime_s: watched.and_then(|watched| match watched.seen.state {
            Phase::Running { since } => Some(now.since(since).millis() / 1000),
            _ => None,
        }),
        pid: watched.and_then(|watched| watched.pid),
        restarts: entry.map_or(0, |entry| entry.restarts),
        oom_kills: entry.map_or(0, |entry| entry.oom_kills),
        last_exit: entry.and_then(|entry| entry.last_exit.as_ref()).map(|(_, exit)| self::exit(exit)),
        health: watched.filter(|_| is_running(watched)).map(|watched| view::Health {
            started: watched.seen.health.started,
            ready: watched.seen.health.ready,
            last_failure: watched.seen.health.last_failure.clone(),
        }),
        // What has completed is as it should be.
        why: state
            .reasons
            .get(id)
            .filter(|_| !entry.is_some_and(|entry| entry.held == Some(Held::Completed)))
            .map(|reason| why(reason, now)),
        figures: None,
        log: config.logs.join(format!("{id}.log")),
        not_enforced: watched.map(|watched| watched.not_enforced.clone()).unwrap_or_default(),
        blueprint: service.and_then(|service| serde_json::to_value(service).ok()).unwrap_or_default(),
    }
}

fn is_running(watched: Option<&Watched>) -> bool {
    watched.is_some_and(|watched| matches!(watched.seen.state, Phase::Running { .. }))
}

fn phase(watched: Option<&Watched>, entry: Option<&Entry>) -> &'static str {
    match (watched.map(|watched| &watched.seen.state), entry.and_then(|entry| entry.held)) {
        (Some(Phase::Starting), _) => "starting",
        (Some(Phase::Running { .. }), _) => "running",
        (Some(Phase::Stopping), _) => "stopping",
        (Some(Phase::Unknown), _) => "unknown",
        (Some(Phase::Ended { .. }), _) => "ended",
        (None, Some(Held::Completed)) => "completed",
        (None, Some(Held::Failed | Held::StartLimit)) => "failed",
        (None, None) => "waiting",
    }
}

fn exit(exit: &Exit) -> view::Exit {
    let (code, oom) = match exit {
        Exit::Status { code, oom } => (Some(*code), *oom),
        Exit::NotStarted { .. } | Exit::Unseen => (None, false),
    };
    view::Exit { code, oom, reason: words::exit(exit) }
}

fn why(reason: &Reason, now: Moment) -> view::Why {
    let in_s = |until: &Moment| Some(until.since(now).millis() as f64 / 1000.0);
    let (word, text, until, in_s) = match reason {
        Reason::Busy => ("busy", "an action is under way".to_owned(), "its end".to_owned(), None),
        Reason::Waits { what } => ("waits", format!("waits for {what}"), what.clone(), None),
        Reason::Backoff { until, row, last } => {
            let text = format!("{last}; ended {row} times in a row, and is started again more and more slowly");
            ("backoff", text, "time: it is started again by itself".to_owned(), in_s(until))
        }
        Reason::Held { what } => ("held", what.clone(), "a release in which its service is another".to_owned(), None),
        Reason::NotReady { what } => ("notReady", what.clone(), "a probe that succeeds".to_owned(), None),
        Reason::Unknown => (
            "unknown",
            "its shim cannot be asked, and it is left alone".to_owned(),
            "an answer of its shim".to_owned(),
            None,
        ),
        Reason::Leaves { what } => ("leaves", what.clone(), "its end".to_owned(), None),
        Reason::Limits { until } => (
            "limits",
            "its limits could not be changed".to_owned(),
            "time: it is tried again by itself".to_owned(),
            in_s(until),
        ),
    };
    view::Why { reason: word.into(), text, until, in_s }
}

fn services(desired: Option<&Desired>, instances: &[view::Instance]) -> BTreeMap<String, view::Service> {
    let mut services: BTreeMap<String, view::Service> = BTreeMap::new();
    for instance in instances {
        let service = services.entry(instance.service.clone()).or_default();
        let runs = instance.state == "running";
        service.running += u32::from(runs);
        service.ready += u32::from(instance.health.as_ref().is_some_and(|health| health.ready));
        service.restarts += instance.restarts;
        service.oom_kills += instance.oom_kills;
        if service.state.is_empty() || !runs {
            service.state.clone_from(&instance.state);
        }
    }
    for (name, wanted) in desired.into_iter().flat_map(|desired| &desired.services) {
        let service = services.entry(name.to_string()).or_default();
        service.desired = wanted.deploy.replicas.0.into();
        service.bundle = bundle(wanted);
    }
    for service in services.values_mut() {
        service.health = match (service.running, service.ready) {
            (0, _) => "none",
            (running, ready) if running == ready => "ready",
            _ => "notReady",
        }
        .into();
    }
    services
}

fn bundle(service: &Service) -> String {
    match &service.bundle {
        Bundle::Archive { digest, .. } => digest.to_string(),
        Bundle::Path(path) => path.clone(),
    }
}

fn fleet(config: &Config, state: &State) -> Option<view::Fleet> {
    let followed = config.fleet.as_ref()?;
    let heard = &state.heard;
    let accepted = heard.accepted.as_ref();
    let id = &config.device.id;
    Some(view::Fleet {
        url: followed.url.clone(),
        name: accepted.map(|accepted| accepted.fleet.clone()),
        serial: accepted.map(|accepted| accepted.serial),
        etag: accepted.and_then(|accepted| accepted.etag.clone()),
        group: accepted.and_then(|accepted| accepted.group.clone()),
        source: if heard.contact.is_some() { "network" } else { "disk" }.into(),
        last_contact: heard.contact.clone(),
        last_refusal: heard.trouble.clone().map(|(reason, text, time)| view::Refusal { reason, text, time }),
        failures: heard.failures.clone(),
        stale: accepted.is_some_and(|accepted| accepted.is_stale(SystemTime::now())),
        report: accepted.and_then(|accepted| accepted.status.as_ref()).map(|status| view::ReportTo {
            url: status.url.replace("{id}", id).trim_end_matches('/').to_owned(),
            every_ms: status.every.millis(),
            on_change_ms: status.on_change.millis(),
        }),
    })
}

fn release(state: &State) -> view::Release {
    let rollout = &state.rollout;
    let running = rollout.running();
    let version = |release: &skiff_planner::name::ReleaseId| release.version.clone();
    let lost = running.is_some_and(|release| !state.releases.contains_key(&release.digest));
    let waits = match (&rollout.trial, &state.no_release) {
        _ if lost => Some("its document is not on this device; it comes with the next look at the fleet".to_owned()),
        (Some(trial), _) => {
            Some(trial.overdue.clone().unwrap_or_else(|| "its services are to be healthy for long enough".to_owned()))
        }
        (None, Some(steps)) => Some(format!("the fleet has no release for this device: {}", steps.join("; "))),
        (None, None) => None,
    };
    view::Release {
        running: running.map(version),
        digest: running.map(|release| release.digest.to_string()),
        state: match (&rollout.trial, &rollout.committed) {
            (Some(_), _) => "trial",
            (None, Some(_)) => "committed",
            (None, None) => "none",
        }
        .into(),
        committed: rollout.committed.as_ref().map(version),
        previous: rollout.previous.as_ref().map(version),
        target: state.target.as_ref().map(|target| version(&target.id)),
        waits,
        last_revert: last_revert(state),
    }
}

/// Of this skiffd's life, or of what is remembered: then the one that the fleet still asks for, if it does.
fn last_revert(state: &State) -> Option<view::Revert> {
    let failed = &state.rollout.failed;
    let remembered = || {
        let target = state.target.as_ref().and_then(|target| failed.get(&target.id.digest));
        let failure = target.or_else(|| failed.values().next_back())?;
        Some((failure.version.clone(), failure.reason.clone()))
    };
    let (release, reason) = state.last_revert.clone().or_else(remembered)?;
    Some(view::Revert { release, reason })
}
