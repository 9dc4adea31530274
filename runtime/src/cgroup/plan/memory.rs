//! `linux.resources.memory`: on v1 `swap` is memory+swap as in OCI, on v2 it is converted to swap alone.

use oci_spec::runtime::LinuxMemory;

use super::{Absent, Place, Sink, Write, refused};
use crate::cgroup::Error;

const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";
const RESERVATION: &str = "linux.resources.memory.reservation";
const KERNEL_TCP: &str = "linux.resources.memory.kernelTCP";
const SWAPPINESS: &str = "linux.resources.memory.swappiness";
const OOM: &str = "linux.resources.memory.disableOOMKiller";
const HIERARCHY: &str = "linux.resources.memory.useHierarchy";

/// Zero means unset, as in runc and in what engines write; -1 means no limit.
pub(super) fn plan(memory: &LinuxMemory, sink: &mut Sink) -> Result<(), Error> {
    refuse_nonsense(memory)?;
    let (limit, swap) = (set(memory.limit()), set(memory.swap()));
    let named = [
        (LIMIT, limit.is_some()),
        (SWAP, swap.is_some()),
        (RESERVATION, set(memory.reservation()).is_some()),
        (KERNEL_TCP, set(memory.kernel_tcp()).is_some()),
        (SWAPPINESS, memory.swappiness().is_some()),
        (OOM, memory.disable_oom_killer() == Some(true)),
        (HIERARCHY, memory.use_hierarchy().is_some()),
    ];
    let Some((first, _)) = named.into_iter().find(|(_, is_set)| *is_set) else { return Ok(()) };
    match sink.place(first, "memory", "memory")? {
        Place::V1 => v1(memory, limit, swap, sink),
        Place::V2 => return v2(memory, limit, swap, sink),
    }
    Ok(())
}

fn set(value: Option<i64>) -> Option<i64> {
    value.filter(|bytes| *bytes != 0)
}

fn refuse_nonsense(memory: &LinuxMemory) -> Result<(), Error> {
    let sizes = [
        (LIMIT, memory.limit()),
        (SWAP, memory.swap()),
        (RESERVATION, memory.reservation()),
        (KERNEL_TCP, memory.kernel_tcp()),
    ];
    if let Some((property, _)) = sizes.iter().find(|(_, size)| size.is_some_and(|bytes| bytes < -1)) {
        return Err(refused(*property, "it is neither a number of bytes nor -1 for no limit"));
    }
    #[allow(deprecated, reason = "it is named to be refused")]
    let kernel = memory.kernel().unwrap_or(0);
    if kernel != 0 {
        let reason = "the kernel ignores it since Linux 5.16; remove it, `limit` covers kernel memory";
        return Err(refused("linux.resources.memory.kernel", reason));
    }
    match (set(memory.limit()), set(memory.swap())) {
        (None, Some(1..)) => Err(refused(SWAP, "it is memory and swap together, so it needs `limit`")),
        (Some(-1), Some(1..)) => {
            Err(refused(SWAP, "it is memory and swap together, so it needs a `limit` that is one"))
        }
        (Some(limit @ 1..), Some(swap @ 1..)) if swap < limit => {
            Err(refused(SWAP, "it is memory and swap together, so it may not be below `limit`"))
        }
        _ if memory.swappiness().is_some_and(|percent| percent > 100) => {
            Err(refused(SWAPPINESS, "it is a percentage from 0 to 100"))
        }
        _ => Ok(()),
    }
}

/// Swap is limited after memory: the kernel refuses memory+swap below memory.
fn v1(memory: &LinuxMemory, limit: Option<i64>, swap: Option<i64>, sink: &mut Sink) {
    let mut put = |file: &'static str, value: String, property, absent| {
        sink.memory(Write::new(Place::V1, "memory", file, value, property).absent(absent));
    };
    if let Some(use_hierarchy) = memory.use_hierarchy() {
        put("memory.use_hierarchy", u8::from(use_hierarchy).to_string(), HIERARCHY, Absent::Refuse);
    }
    if let Some(limit) = limit {
        put("memory.limit_in_bytes", limit.to_string(), LIMIT, Absent::Refuse);
    }
    if let Some(swap) = swap {
        let absent = absent_swap(swap == -1, Some(swap) == limit);
        put("memory.memsw.limit_in_bytes", swap.to_string(), SWAP, absent);
    }
    if let Some(reservation) = set(memory.reservation()) {
        put("memory.soft_limit_in_bytes", reservation.to_string(), RESERVATION, Absent::Refuse);
    }
    if let Some(tcp) = set(memory.kernel_tcp()) {
        put("memory.kmem.tcp.limit_in_bytes", tcp.to_string(), KERNEL_TCP, Absent::Refuse);
    }
    if let Some(percent) = memory.swappiness() {
        put("memory.swappiness", percent.to_string(), SWAPPINESS, Absent::Refuse);
    }
    if memory.disable_oom_killer() == Some(true) {
        put("memory.oom_control", "1".into(), OOM, Absent::Refuse);
    }
}

fn v2(memory: &LinuxMemory, limit: Option<i64>, swap: Option<i64>, sink: &mut Sink) -> Result<(), Error> {
    refuse_v1_only(memory)?;
    let swap_only = match (limit, swap) {
        // An unlimited memory without a word on swap means both on v1, so it does here.
        (Some(-1), None) => Some(-1),
        (Some(limit @ 1..), Some(swap @ 1..)) => Some(swap - limit),
        (_, swap) => swap,
    };
    let mut put = |file: &'static str, bytes: i64, property, absent| {
        let value = if bytes == -1 { "max".to_owned() } else { bytes.to_string() };
        sink.memory(Write::new(Place::V2, "memory", file, value, property).absent(absent));
    };
    if let Some(swap) = swap_only {
        put("memory.swap.max", swap, SWAP, absent_swap(swap == -1, swap == 0));
    }
    if let Some(limit) = limit {
        put("memory.max", limit, LIMIT, Absent::Refuse);
    }
    if let Some(reservation) = set(memory.reservation()) {
        put("memory.low", reservation, RESERVATION, Absent::Refuse);
    }
    if memory.check_before_update() == Some(true) {
        sink.plan.memory_check = limit.and_then(|bytes| u64::try_from(bytes).ok());
    }
    Ok(())
}

/// A kernel without the file counts no swap. That is what an unlimited swap asks for, and what no swap asks for as long
/// as there is none.
fn absent_swap(unlimited: bool, none: bool) -> Absent {
    match (unlimited, none) {
        (true, _) => Absent::Fine,
        (false, true) => Absent::FineWithoutSwap,
        (false, false) => Absent::Refuse,
    }
}

fn refuse_v1_only(memory: &LinuxMemory) -> Result<(), Error> {
    if set(memory.kernel_tcp()).is_some() {
        return Err(refused(KERNEL_TCP, "cgroup v2 has no such limit; remove it"));
    }
    if memory.swappiness().is_some() {
        return Err(refused(SWAPPINESS, "cgroup v2 has no swappiness of a cgroup; remove it"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(refused(OOM, "cgroup v2 cannot switch the OOM killer off; remove it"));
    }
    if memory.use_hierarchy() == Some(false) {
        return Err(refused(HIERARCHY, "cgroup v2 always counts hierarchically; remove it"));
    }
    Ok(())
}
