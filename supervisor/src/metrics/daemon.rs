//! What no other exporter knows: the daemon, its fleet, the release, services and instances, and the machine as the daemon
//! looks at it.

use super::exposition::{Family, Labels, Page, Value};
use super::seconds;
use crate::view::{Device, Instance, Service};
use std::collections::BTreeMap;

/// Adds every family of the daemon.
pub(super) fn write(page: &mut Page, device: &Device) {
    agent(page, device);
    release(page, device);
    fleet(page, device);
    services(page, device);
    instances(page, device);
    machine(page, device);
}

fn agent(page: &mut Page, device: &Device) {
    let agent = &device.agent;
    page.family(
        Family::gauge("skiff_up", "", "1 while skiffd answers."),
        [(vec![("device", device.device.clone())], Value::Count(1))],
    );
    page.family(
        Family::info("skiff_build", "The version of skiffd."),
        [(vec![("version", agent.version.clone())], Value::Count(1))],
    );
    page.family(
        Family::gauge("skiff_uptime_seconds", "seconds", "Since skiffd was started."),
        [one(Value::Count(agent.uptime_s))],
    );
    page.family(
        Family::gauge("skiff_agent_pss_bytes", "bytes", "Skiffd's share of memory."),
        agent.pss_ki_b.map(|kib| one(bytes(kib))),
    );
    page.family(
        Family::counter("skiff_events_dropped", "", "Events that fell off the ring before anybody could read them."),
        [one(Value::Count(device.dropped_events))],
    );
    page.family(
        Family::gauge("skiff_blocked", "", "1 while nothing is changed at all: a disk that takes nothing, a drain."),
        [one(truth(device.blocked.is_some()))],
    );
}

fn release(page: &mut Page, device: &Device) {
    let release = &device.release;
    let versions = [
        ("running", &release.running),
        ("committed", &release.committed),
        ("previous", &release.previous),
        ("target", &release.target),
    ];
    let known = versions.into_iter().filter_map(|(name, version)| Some((name, version.clone()?)));
    let labels = known.chain([("state", release.state.clone())]).collect();
    page.family(
        Family::info(
            "skiff_release",
            "The release that runs, those that proved themselves, and the one that is wanted.",
        ),
        [(labels, Value::Count(1))],
    );
    page.family(
        Family::gauge("skiff_release_waits", "", "1 while the release is on trial, overdue or not on the device."),
        [one(truth(release.waits.is_some()))],
    );
}

fn fleet(page: &mut Page, device: &Device) {
    let Some(fleet) = &device.fleet else { return };
    page.family(
        Family::gauge("skiff_fleet_config_serial", "", "The edition of the index that is believed."),
        fleet.serial.map(|serial| one(Value::Count(serial))),
    );
    page.family(
        Family::gauge("skiff_fleet_config_stale", "", "1 when the index is past its day. Nothing is stopped by that."),
        [one(truth(fleet.stale))],
    );
    page.family(
        Family::gauge(
            "skiff_fleet_last_contact_seconds",
            "seconds",
            "When the server last said something that is believed, since 1970.",
        ),
        fleet.last_contact.as_deref().and_then(seconds).map(one),
    );
    page.family(
        Family::counter("skiff_fleet_fetch_failures", "", "Looks at the fleet that failed or were refused, by reason."),
        fleet.failures.iter().map(|(reason, count)| (vec![("reason", reason.clone())], Value::Count(*count))),
    );
}

fn services(page: &mut Page, device: &Device) {
    let each = |of: fn(&Service) -> u64| {
        let services = device.services.iter();
        services.map(move |(name, service)| (vec![("service", name.clone())], Value::Count(of(service))))
    };
    page.family(
        Family::gauge("skiff_service_desired", "", "Instances that there should be."),
        each(|service| service.desired.into()),
    );
    page.family(
        Family::gauge("skiff_service_running", "", "Instances that run."),
        each(|service| service.running.into()),
    );
    page.family(
        Family::gauge("skiff_service_ready", "", "Instances that are of use."),
        each(|service| service.ready.into()),
    );
}

fn instances(page: &mut Page, device: &Device) {
    let mut states: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for instance in &device.instances {
        *states.entry((&instance.service, &instance.state)).or_default() += 1;
    }
    page.family(
        Family::gauge("skiff_instances", "", "Instances by service and state."),
        states.into_iter().map(|((service, state), count)| {
            (vec![("service", service.to_owned()), ("state", state.to_owned())], Value::Count(count))
        }),
    );
    let named =
        |instance: &Instance| -> Labels { vec![("service", instance.service.clone()), ("name", instance.id.clone())] };
    page.family(
        Family::counter("skiff_restarts", "", "Restarts since the service was last changed."),
        device.instances.iter().map(|instance| (named(instance), Value::Count(instance.restarts))),
    );
    page.family(
        Family::gauge("skiff_instance_as_desired", "", "0 while `skiffctl why` has a reason to tell."),
        device.instances.iter().map(|instance| (named(instance), truth(instance.why.is_none()))),
    );
}

fn machine(page: &mut Page, device: &Device) {
    let node = &device.node;
    page.family(
        Family::gauge("skiff_node_memory_available_bytes", "bytes", "Memory that programs can have without swapping."),
        node.mem_avail_ki_b.map(|kib| one(bytes(kib))),
    );
    page.family(
        Family::gauge("skiff_node_disk_free_bytes", "bytes", "Free on the file system of the state folder."),
        node.disk_free_ki_b.map(|kib| one(bytes(kib))),
    );
    page.family(
        Family::gauge("skiff_node_pressure_ratio", "ratio", "Of the last 10 s, the part in which some program waited."),
        node.psi.iter().map(|(name, percent)| {
            let resource = match name.as_str() {
                "mem10" => "memory",
                other => other.trim_end_matches("10"),
            };
            // The kernel tells two places of a percentage.
            (vec![("resource", resource.to_owned())], Value::Real((percent * 100.0).round() / 1e4))
        }),
    );
}

/// A sample that needs no labels.
const fn one(value: Value) -> (Labels, Value) {
    (Vec::new(), value)
}

fn truth(value: bool) -> Value {
    Value::Count(value.into())
}

const fn bytes(kib: u64) -> Value {
    Value::Count(kib.saturating_mul(1024))
}
