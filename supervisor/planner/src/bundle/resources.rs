//! Limits of an instance, in OCI's words.

use super::Refusals;
use crate::release::{Limits, Service};
use serde_json::{Map, Value, json};

/// In microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;
/// Processes and threads where the service says nothing.
const PROCESSES: u32 = 512;

/// The resources that an instance is made with.
pub(super) fn derive(refusals: &mut Refusals, linux: &Map<String, Value>, service: &Service, oom_group: bool) -> Value {
    check(refusals, linux);
    let limits = &service.deploy.resources.limits;
    let mut derived = json!({
        // The runtime adds those that every container has.
        "devices": [{"allow": false, "access": "rwm"}],
        "pids": {"limit": limits.pids.unwrap_or(PROCESSES)},
    });
    // A limit that is not there is not written: a controller that the machine has not is no reason to refuse then.
    let all = limits_document(limits);
    for (key, limited) in [("memory", limits.memory.is_some()), ("cpu", limits.cpus.is_some())] {
        if limited {
            derived[key] = all[key].clone();
        }
    }
    if oom_group {
        derived["unified"] = json!({"memory.oom.group": "1"});
    }
    derived
}

/// Rules that deny are what there is anyway.
fn check(refusals: &mut Refusals, linux: &Map<String, Value>) {
    let resources = refusals.object(linux, "linux", "resources");
    refusals.unknown("linux.resources", &resources, &["devices"]);
    let denies = |rule: &Value| rule.get("allow").is_none_or(|allow| *allow == false);
    if !refusals.list(resources.get("devices"), "linux.resources.devices").iter().all(denies) {
        refusals
            .refuse("linux.resources.devices", "would open devices of the machine, which is not built yet; remove it");
    }
}

/// Limits as a `LinuxResources` for an update of an instance that runs. All of them are always there, so that one that was
/// taken away is lifted.
#[must_use]
pub fn limits_document(limits: &Limits) -> Value {
    // `swap` is memory and swap together in OCI: as much as memory means none.
    let memory = limits.memory.map_or(json!(-1), |memory| json!(memory.0));
    let quota = limits.cpus.map_or(json!(-1), |cpus| json!(u64::from(cpus.0) * PERIOD / 1000));
    json!({
        "memory": {"limit": memory, "swap": memory},
        "cpu": {"quota": quota, "period": PERIOD},
        "pids": {"limit": limits.pids.unwrap_or(PROCESSES)},
    })
}
