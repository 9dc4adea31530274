//! The limits that hang together: what the container has of them now, what follows for those that an update does not
//! name, and in which order they are to be written.

use std::fs;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::super::{Error, Kind, Location, Plan, Write};

/// What v1 answers without a limit is the largest count of pages, which on a 32-bit kernel is this many bytes. Nobody
/// limits a container to more.
const UNLIMITED: u64 = i32::MAX as u64 * 4096;

/// Limits as the kernel has them; `None` for no limit, and for a file that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// Bytes of memory.
    pub(super) limit: Option<u64>,
    /// Bytes of memory and swap together.
    pub(super) swap: Option<u64>,
    /// Microseconds of a period; -1 for no limit.
    pub(super) quota: Option<i64>,
    /// Microseconds.
    pub(super) period: Option<u64>,
    /// Microseconds.
    pub(super) burst: Option<u64>,
}

impl Observed {
    /// Reads the files of the container. One that cannot be read is as good as one that is not there: its limit is then
    /// neither completed nor put in order, and the kernel has the last word.
    pub(super) fn read(location: &Location) -> Observed {
        let text = |controller: &str, v1: &str, v2: &str| {
            let dir = location.v1(controller).or(location.v2())?;
            let file = if dir.kind == Kind::V2 { v2 } else { v1 };
            fs::read_to_string(dir.path.join(file)).ok()
        };
        let limit = bytes(text("memory", "memory.limit_in_bytes", "memory.max"));
        let swap = bytes(text("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"));
        let swap = match location.v1("memory") {
            Some(_) => swap,
            None => limit.zip(swap).and_then(|(limit, swap)| limit.checked_add(swap)),
        };
        let burst = text("cpu", "cpu.cfs_burst_us", "cpu.max.burst").and_then(|text| text.trim().parse().ok());
        let (quota, period) = match location.v1("cpu") {
            Some(_) => (
                text("cpu", "cpu.cfs_quota_us", "").and_then(|text| text.trim().parse().ok()),
                text("cpu", "cpu.cfs_period_us", "").and_then(|text| text.trim().parse().ok()),
            ),
            None => text("cpu", "", "cpu.max").map_or((None, None), |text| bandwidth(&text)),
        };
        Observed { limit, swap, quota, period, burst }
    }
}

fn bytes(text: Option<String>) -> Option<u64> {
    text?.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
}

/// `cpu.max` of v2: `max 100000` or `50000 100000`.
pub(super) fn bandwidth(text: &str) -> (Option<i64>, Option<u64>) {
    let mut words = text.split_whitespace();
    let quota = words.next().and_then(|word| if word == "max" { Some(-1) } else { word.parse().ok() });
    (quota, words.next().and_then(|word| word.parse().ok()))
}

/// Names what an update leaves unsaid and the plan has to know: memory and swap are limited together, and a quota goes
/// with its period. Device rules are taken out.
pub(super) fn complete(resources: &LinuxResources, observed: &Observed) -> Result<LinuxResources, Error> {
    let mut complete = resources.clone();
    complete.set_devices(None);
    if let Some(memory) = complete.memory_mut() {
        complete_memory(memory, observed)?;
    }
    if let Some(cpu) = complete.cpu_mut() {
        complete_cpu(cpu, observed);
    }
    Ok(complete)
}

/// Zero means unset, as in the plan.
fn complete_memory(memory: &mut LinuxMemory, observed: &Observed) -> Result<(), Error> {
    let set = |value: Option<i64>| value.filter(|bytes| *bytes != 0);
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match (set(memory.limit()), set(memory.swap())) {
        // Without a limit of the memory there is none of both, as in runc.
        (Some(-1), None) => drop(memory.set_swap(Some(-1))),
        (Some(limit @ 1..), None) => {
            let Some(total) = observed.swap.map(signed) else { return Ok(()) };
            if limit > total {
                return Err(Error::OverSwap { limit, total });
            }
            memory.set_swap(Some(total));
        }
        (None, Some(1..)) => drop(memory.set_limit(observed.limit.map(signed))),
        _ => {}
    }
    Ok(())
}

fn complete_cpu(cpu: &mut LinuxCpu, observed: &Observed) {
    let (quota, period) = (cpu.quota().filter(|quota| *quota != 0), cpu.period().filter(|period| *period != 0));
    if quota.is_some() && period.is_none() {
        cpu.set_period(observed.period);
    }
    if period.is_some() && quota.is_none() {
        cpu.set_quota(observed.quota);
    }
}

/// Puts writes in an order in which each of them leaves something that the kernel accepts: memory never above memory
/// and swap, a quota never a larger part of its period than before or after, a burst never above its quota.
pub(super) fn order(plan: &mut Plan, observed: &Observed) {
    let (memory, swap) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    if value(&plan.memory, memory).zip(observed.swap).is_some_and(|(limit, swap)| limit > swap) {
        put_before(&mut plan.memory, swap, memory);
    }
    let (quota, period) = ("cpu.cfs_quota_us", "cpu.cfs_period_us");
    if value(&plan.writes, period).zip(observed.period).is_some_and(|(new, old)| new < old) {
        put_before(&mut plan.writes, quota, period);
    }
    for (burst, quota) in [("cpu.cfs_burst_us", quota), ("cpu.max.burst", "cpu.max")] {
        if value(&plan.writes, burst).zip(observed.burst).is_some_and(|(new, old)| new < old) {
            put_before(&mut plan.writes, burst, quota);
        }
    }
}

fn at(writes: &[Write], file: &str) -> Option<usize> {
    writes.iter().position(|write| write.tries.first().is_some_and(|(name, _)| name == file))
}

/// The number that is to be written; what is negative means no limit.
fn value(writes: &[Write], file: &str) -> Option<u64> {
    let (_, text) = writes.get(at(writes, file)?)?.tries.first()?;
    let number: i128 = text.parse().ok()?;
    Some(u64::try_from(number).unwrap_or(u64::MAX))
}

fn put_before(writes: &mut Vec<Write>, file: &str, other: &str) {
    if let (Some(from), Some(to)) = (at(writes, file), at(writes, other)) {
        if from > to {
            let write = writes.remove(from);
            writes.insert(to, write);
        }
    }
}
