//! The report itself: the whole state of a device as one small document. Pure. What is not known is left out.

use crate::view::{self, Device};
use serde::Serialize;
use std::collections::BTreeMap;

/// The state of a device, as a fleet hears it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    api_version: String,
    kind: &'static str,
    device: String,
    labels: BTreeMap<String, String>,
    boot_id: String,
    report_seq: u64,
    time: String,
    agent: Agent,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    release: Release,
    services: BTreeMap<String, Service>,
    node: view::Node,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<Alert>,
    dropped_events: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pss_ki_b: Option<u64>,
    uptime_s: u64,
}

/// The edition of the fleet's index that is believed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    source: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Release {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// To which the device would return.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_good: Option<String>,
    state: &'static str,
    /// What the fleet wants, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_revert: Option<view::Revert>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    desired: u32,
    running: u32,
    ready: u32,
    restarts: u64,
    /// The archive's digest, or the folder; a service that leaves has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    bundle: String,
    state: String,
    health: String,
    oom_kills: u64,
    /// Of the first instance that is not as desired.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Why>,
    #[serde(flatten)]
    uses: Uses,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Why {
    instance: String,
    reason: String,
    text: String,
}

/// What all instances of a service use together; absent where none tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Uses {
    /// Without what can be reclaimed easily.
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_ki_b: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_peak_ki_b: Option<u64>,
    /// Of the periods of its processor limit, those in which it came up against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_pct: Option<f64>,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Alert {
    id: &'static str,
    severity: &'static str,
    text: String,
}

/// The report on a device, with its number.
#[must_use]
pub fn status(device: &Device, seq: u64) -> Status {
    Status {
        api_version: device.api_version.clone(),
        kind: "DeviceStatus",
        device: device.device.clone(),
        labels: device.labels.clone(),
        boot_id: device.boot_id.clone(),
        report_seq: seq,
        time: device.time.clone(),
        agent: Agent {
            version: device.agent.version.clone(),
            pss_ki_b: device.agent.pss_ki_b,
            uptime_s: device.agent.uptime_s,
        },
        config: device.fleet.as_ref().map(|fleet| Config {
            serial: fleet.serial,
            etag: fleet.etag.clone(),
            group: fleet.group.clone(),
            source: fleet.source.clone(),
        }),
        release: release(&device.release),
        services: device.services.iter().map(|(name, told)| (name.clone(), service(device, name, told))).collect(),
        node: device.node.clone(),
        alerts: alerts(device),
        dropped_events: device.dropped_events,
    }
}

impl Status {
    /// Without what changes by itself: two reports of which this is equal say the same.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        (self.report_seq, self.dropped_events) = (0, 0);
        self.time.clear();
        (self.agent.pss_ki_b, self.agent.uptime_s) = (None, 0);
        self.node = view::Node::default();
        for service in self.services.values_mut() {
            service.uses = Uses::default();
        }
        self
    }
}

fn release(told: &view::Release) -> Release {
    // A fleet server knows these states by the names of the steps of an update.
    let (state, previous_good) = match told.state.as_str() {
        "trial" => ("probation", &told.committed),
        "committed" => ("committed", &told.previous),
        _ => ("none", &told.previous),
    };
    Release {
        current: told.running.clone(),
        digest: told.digest.clone(),
        previous_good: previous_good.clone(),
        state,
        target: told.target.clone().filter(|target| told.running.as_ref() != Some(target)),
        waits: told.waits.clone(),
        last_revert: told.last_revert.clone(),
    }
}

fn service(device: &Device, name: &str, told: &view::Service) -> Service {
    let instances = || device.instances.iter().filter(|instance| instance.service == name);
    Service {
        desired: told.desired,
        running: told.running,
        ready: told.ready,
        restarts: told.restarts,
        bundle: told.bundle.clone(),
        state: told.state.clone(),
        health: told.health.clone(),
        oom_kills: told.oom_kills,
        why: instances().find_map(|instance| {
            let why = instance.why.as_ref()?;
            Some(Why { instance: instance.id.clone(), reason: why.reason.clone(), text: why.text.clone() })
        }),
        uses: uses(instances()),
    }
}

fn uses<'a>(instances: impl Iterator<Item = &'a view::Instance>) -> Uses {
    let figures: Vec<_> = instances.filter_map(|instance| instance.figures.as_ref()).collect();
    if figures.is_empty() {
        return Uses::default();
    }
    let peaks: Option<Vec<u64>> = figures.iter().map(|figures| figures.memory_peak).collect();
    let periods: u64 = figures.iter().map(|figures| figures.cpu_periods).sum();
    let throttled: u64 = figures.iter().map(|figures| figures.cpu_throttled_periods).sum();
    Uses {
        mem_ki_b: Some(figures.iter().map(|figures| figures.memory_working_set).sum::<u64>() / 1024),
        mem_peak_ki_b: peaks.map(|peaks| peaks.iter().sum::<u64>() / 1024),
        throttled_pct: (periods > 0).then(|| (throttled as f64 / periods as f64 * 1000.0).round() / 10.0),
    }
}

fn alerts(device: &Device) -> Vec<Alert> {
    let blocked = device.blocked.as_ref().map(|text| Alert { id: "blocked", severity: "critical", text: text.clone() });
    let fleet = device.fleet.as_ref();
    let stale = fleet.filter(|fleet| fleet.stale).map(|_| Alert {
        id: "fleet-stale",
        severity: "warning",
        text: "the index is past its day; publish a new edition".to_owned(),
    });
    let refusal = fleet.and_then(|fleet| fleet.last_refusal.as_ref()).map(|refusal| Alert {
        id: "fleet-refused",
        severity: "warning",
        text: format!("{}: {}", refusal.reason, refusal.text),
    });
    blocked.into_iter().chain(stale).chain(refusal).collect()
}

#[cfg(test)]
mod tests;
