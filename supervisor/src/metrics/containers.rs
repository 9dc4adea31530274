//! The containers, under the names and labels that cAdvisor has for them, so that dashboards made for it show them as they are.

use super::exposition::{Family, Labels, Page, Value};
use super::seconds;
use crate::node::{Disk, Figures, Pressure};
use crate::view::{Device, Instance};
use std::collections::BTreeMap;

/// A family of which each container that tells figures has at most one sample.
struct Row {
    family: Family,
    /// Labels beside those of the container.
    labels: &'static [(&'static str, &'static str)],
    of: fn(&Figures) -> Option<Value>,
}

const fn row(family: Family, of: fn(&Figures) -> Option<Value>) -> Row {
    Row { family, labels: &[], of }
}

/// By name.
const ROWS: &[Row] = &[
    row(
        Family::counter("container_cpu_cfs_periods", "", "Periods of the processor limit that have passed."),
        |figures| count(figures.cpu_periods),
    ),
    row(
        Family::counter("container_cpu_cfs_throttled_periods", "", "Of these, periods in which it was throttled."),
        |figures| count(figures.cpu_throttled_periods),
    ),
    row(
        Family::counter("container_cpu_cfs_throttled_seconds", "seconds", "Time for which it was throttled."),
        |figures| nanos(figures.cpu_throttled_ns),
    ),
    row(Family::counter("container_cpu_system_seconds", "seconds", "Processor time in the kernel."), |figures| {
        nanos(figures.cpu_system_ns)
    }),
    Row {
        family: Family::counter("container_cpu_usage_seconds", "seconds", "Processor time."),
        labels: &[("cpu", "total")],
        of: |figures| nanos(figures.cpu_usage_ns),
    },
    row(Family::counter("container_cpu_user_seconds", "seconds", "Processor time in programs."), |figures| {
        nanos(figures.cpu_user_ns)
    }),
    row(Family::counter("container_fs_reads", "", "Reads from disks."), |figures| disk(figures, |disk| disk.reads)),
    row(Family::counter("container_fs_reads_bytes", "bytes", "Bytes read from disks."), |figures| {
        disk(figures, |disk| disk.read_bytes)
    }),
    row(Family::counter("container_fs_writes", "", "Writes to disks."), |figures| disk(figures, |disk| disk.writes)),
    row(Family::counter("container_fs_writes_bytes", "bytes", "Bytes written to disks."), |figures| {
        disk(figures, |disk| disk.written_bytes)
    }),
    row(Family::gauge("container_memory_cache", "", "Memory of files, in bytes."), |figures| {
        count(figures.memory_cache)
    }),
    row(Family::gauge("container_memory_mapped_file", "", "Memory of files that is mapped, in bytes."), |figures| {
        count(figures.memory_mapped)
    }),
    row(
        Family::gauge("container_memory_max_usage_bytes", "bytes", "The most memory that was ever charged."),
        |figures| figures.memory_peak.map(Value::Count),
    ),
    row(Family::gauge("container_memory_rss", "", "Memory of no file, in bytes."), |figures| count(figures.memory_rss)),
    row(Family::gauge("container_memory_swap", "", "What is in swap, in bytes."), |figures| {
        figures.memory_swap.map(Value::Count)
    }),
    row(Family::gauge("container_memory_usage_bytes", "bytes", "Memory that is charged, whatever for."), |figures| {
        count(figures.memory_usage)
    }),
    row(
        Family::gauge("container_memory_working_set_bytes", "bytes", "Memory without files that were not used lately."),
        |figures| count(figures.memory_working_set),
    ),
    row(
        Family::counter(
            "container_pressure_cpu_stalled_seconds",
            "seconds",
            "Time in which all waited for a processor.",
        ),
        |figures| micros(figures.cpu_pressure, |pressure| pressure.full_us),
    ),
    row(
        Family::counter(
            "container_pressure_cpu_waiting_seconds",
            "seconds",
            "Time in which some waited for a processor.",
        ),
        |figures| micros(figures.cpu_pressure, |pressure| pressure.some_us),
    ),
    row(
        Family::counter("container_pressure_io_stalled_seconds", "seconds", "Time in which all waited for disks."),
        |figures| micros(figures.io_pressure, |pressure| pressure.full_us),
    ),
    row(
        Family::counter("container_pressure_io_waiting_seconds", "seconds", "Time in which some waited for disks."),
        |figures| micros(figures.io_pressure, |pressure| pressure.some_us),
    ),
    row(
        Family::counter("container_pressure_memory_stalled_seconds", "seconds", "Time in which all waited for memory."),
        |figures| micros(figures.memory_pressure, |pressure| pressure.full_us),
    ),
    row(
        Family::counter(
            "container_pressure_memory_waiting_seconds",
            "seconds",
            "Time in which some waited for memory.",
        ),
        |figures| micros(figures.memory_pressure, |pressure| pressure.some_us),
    ),
    row(
        Family::gauge("container_spec_memory_limit_bytes", "bytes", "Its memory limit; absent where there is none."),
        |figures| figures.memory_limit.map(Value::Count),
    ),
    row(Family::gauge("container_threads", "", "Processes and threads in it."), |figures| count(figures.pids)),
    row(Family::gauge("container_threads_max", "", "Their limit; absent where there is none."), |figures| {
        figures.pids_limit.map(Value::Count)
    }),
];

/// Adds every family of containers.
pub(super) fn write(page: &mut Page, device: &Device) {
    let labels: BTreeMap<&str, Labels> =
        device.instances.iter().map(|instance| (instance.id.as_str(), labels(device, instance))).collect();
    let labels = |instance: &Instance| labels.get(instance.id.as_str()).cloned().unwrap_or_default();
    let telling = || device.instances.iter().filter_map(|instance| Some((instance, instance.figures.as_ref()?)));
    for row in ROWS {
        page.family(
            row.family,
            telling().filter_map(|(instance, figures)| {
                let mut labels = labels(instance);
                labels.extend(row.labels.iter().map(|(name, value)| (*name, (*value).to_owned())));
                Some((labels, (row.of)(figures)?))
            }),
        );
    }
    page.family(
        Family::counter("container_memory_failures", "", "Page faults; major ones waited for a disk."),
        telling().flat_map(|(instance, figures)| {
            [("pgfault", figures.page_faults), ("pgmajfault", figures.major_page_faults)].map(|(kind, faults)| {
                let mut labels = labels(instance);
                labels.extend([("failure_type", kind.to_owned()), ("scope", "hierarchy".to_owned())]);
                (labels, Value::Count(faults))
            })
        }),
    );
    page.family(
        Family::counter(
            "container_oom_events",
            "",
            "Kills at its memory limit, also of the instance's earlier containers.",
        ),
        device.instances.iter().map(|instance| (labels(instance), Value::Count(instance.oom_kills))),
    );
    page.family(
        Family::gauge("container_last_seen", "", "When it last told figures, in seconds since 1970."),
        telling().filter_map(|(instance, _)| Some((labels(instance), seconds(&device.time)?))),
    );
    page.family(
        Family::gauge("container_start_time_seconds", "seconds", "When its program was started, since 1970."),
        device.instances.iter().filter_map(|instance| Some((labels(instance), seconds(instance.since.as_deref()?)?))),
    );
}

/// cAdvisor's three, and what it calls labels of a container.
fn labels(device: &Device, instance: &Instance) -> Labels {
    let mut labels = vec![("id", instance.id.clone()), ("name", instance.id.clone())];
    if let Some(image) = image(device, instance) {
        labels.push(("image", image));
    }
    labels.push(("container_label_skiff_service", instance.service.clone()));
    labels.push(("container_label_skiff_replica", instance.replica.to_string()));
    labels
}

/// What it is made from: the digest of the archive, or the folder. During an update that is not yet its service's.
fn image(device: &Device, instance: &Instance) -> Option<String> {
    let own = &instance.blueprint["bundle"];
    let own = own.as_str().or_else(|| own["digest"].as_str());
    let of_service = || device.services.get(&instance.service).map(|service| service.bundle.as_str());
    own.or_else(of_service).filter(|image| !image.is_empty()).map(str::to_owned)
}

// Those rows that have a figure always share one type with those that may not.
#[allow(clippy::unnecessary_wraps)]
fn count(value: u64) -> Option<Value> {
    Some(Value::Count(value))
}

#[allow(clippy::unnecessary_wraps)]
fn nanos(value: u64) -> Option<Value> {
    Some(Value::Real(value as f64 / 1e9))
}

fn micros(pressure: Option<Pressure>, of: fn(Pressure) -> u64) -> Option<Value> {
    pressure.map(|pressure| Value::Real(of(pressure) as f64 / 1e6))
}

fn disk(figures: &Figures, of: fn(Disk) -> u64) -> Option<Value> {
    figures.disk.map(|disk| Value::Count(of(disk)))
}
