//! `linux.resources.cpu`: shares, bandwidth, idle, realtime and the cpuset.

use oci_spec::runtime::LinuxCpu;

use super::{Place, Sink, Write, refused};
use crate::cgroup::Error;

const SHARES: &str = "linux.resources.cpu.shares";
const QUOTA: &str = "linux.resources.cpu.quota";
const PERIOD: &str = "linux.resources.cpu.period";
const BURST: &str = "linux.resources.cpu.burst";
const IDLE: &str = "linux.resources.cpu.idle";
const RT_RUNTIME: &str = "linux.resources.cpu.realtimeRuntime";
const RT_PERIOD: &str = "linux.resources.cpu.realtimePeriod";
/// Microseconds, the kernel's own default of a period.
const DEFAULT_PERIOD: u64 = 100_000;

/// What is set; zero means unset for all but idle and burst.
struct Wanted {
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
    idle: Option<i64>,
    rt_runtime: Option<i64>,
    rt_period: Option<u64>,
}

pub(super) fn plan(cpu: &LinuxCpu, sink: &mut Sink) -> Result<(), Error> {
    cpuset(cpu, sink)?;
    let wanted = Wanted {
        shares: cpu.shares().filter(|shares| *shares != 0),
        quota: cpu.quota().filter(|quota| *quota != 0),
        period: cpu.period().filter(|period| *period != 0),
        burst: cpu.burst(),
        idle: cpu.idle(),
        rt_runtime: cpu.realtime_runtime().filter(|runtime| *runtime != 0),
        rt_period: cpu.realtime_period().filter(|period| *period != 0),
    };
    let named = [
        (SHARES, wanted.shares.is_some()),
        (QUOTA, wanted.quota.is_some()),
        (PERIOD, wanted.period.is_some()),
        (BURST, wanted.burst.is_some()),
        (IDLE, wanted.idle.is_some()),
        (RT_RUNTIME, wanted.rt_runtime.is_some()),
        (RT_PERIOD, wanted.rt_period.is_some()),
    ];
    let Some((first, _)) = named.into_iter().find(|(_, is_set)| *is_set) else { return Ok(()) };
    // v1 kernels clamp silently to this range, and the conversion to a v2 weight is defined on it.
    if wanted.shares.is_some_and(|shares| !(2..=262_144).contains(&shares)) {
        return Err(refused(SHARES, "it is a number from 2 to 262144"));
    }
    match sink.place(first, "cpu", "cpu")? {
        Place::V1 => v1(&wanted, sink),
        Place::V2 => return v2(&wanted, sink),
    }
    Ok(())
}

fn cpuset(cpu: &LinuxCpu, sink: &mut Sink) -> Result<(), Error> {
    let lists = [
        (cpu.cpus(), "cpuset.cpus", "linux.resources.cpu.cpus"),
        (cpu.mems(), "cpuset.mems", "linux.resources.cpu.mems"),
    ];
    for (list, file, property) in lists {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            let place = sink.place(property, "cpuset", "cpuset")?;
            sink.write(Write::new(place, "cpuset", file, list, property));
        }
    }
    Ok(())
}

/// A period comes before its quota, because the quota is checked against it; a burst after both, as it is limited by
/// the quota.
fn v1(wanted: &Wanted, sink: &mut Sink) {
    let values = [
        ("cpu.idle", wanted.idle.map(|idle| idle.to_string()), IDLE),
        ("cpu.shares", wanted.shares.map(|shares| shares.to_string()), SHARES),
        ("cpu.rt_period_us", wanted.rt_period.map(|period| period.to_string()), RT_PERIOD),
        ("cpu.rt_runtime_us", wanted.rt_runtime.map(|runtime| runtime.to_string()), RT_RUNTIME),
        ("cpu.cfs_period_us", wanted.period.map(|period| period.to_string()), PERIOD),
        ("cpu.cfs_quota_us", wanted.quota.map(|quota| quota.max(-1).to_string()), QUOTA),
        ("cpu.cfs_burst_us", wanted.burst.map(|burst| burst.to_string()), BURST),
    ];
    for (file, value, property) in values {
        if let Some(value) = value {
            sink.write(Write::new(Place::V1, "cpu", file, value, property));
        }
    }
}

fn v2(wanted: &Wanted, sink: &mut Sink) -> Result<(), Error> {
    if wanted.rt_runtime.is_some() || wanted.rt_period.is_some() {
        let property = if wanted.rt_runtime.is_some() { RT_RUNTIME } else { RT_PERIOD };
        return Err(refused(property, "cgroup v2 has no realtime group scheduling; remove it"));
    }
    if let Some(idle) = wanted.idle {
        sink.write(Write::new(Place::V2, "cpu", "cpu.idle", idle, IDLE));
    }
    if let Some(shares) = wanted.shares {
        sink.write(Write::new(Place::V2, "cpu", "cpu.weight", weight(shares), SHARES));
    }
    if wanted.quota.is_some() || wanted.period.is_some() {
        let quota = wanted.quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        let value = format!("{quota} {}", wanted.period.unwrap_or(DEFAULT_PERIOD));
        let property = if wanted.quota.is_some() { QUOTA } else { PERIOD };
        sink.write(Write::new(Place::V2, "cpu", "cpu.max", value, property));
    }
    if let Some(burst) = wanted.burst {
        sink.write(Write::new(Place::V2, "cpu", "cpu.max.burst", burst, BURST));
    }
    Ok(())
}

/// Shares from 2 to 262144 become a weight from 1 to 10000, by the line that runc 1.1 to 1.3, crun and systemd share.
fn weight(shares: u64) -> u64 {
    1 + (shares - 2) * 9999 / 262_142
}
