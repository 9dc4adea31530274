//! `io.containerd.cgroups.v2.Metrics`.

use super::text;
use crate::cgroup::Cgroups;
use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats, PidsStat,
};
use skiff_contract::figures::{self, flat, nested, number};
use std::path::Path;

/// Reads what is there.
pub(super) fn read(cgroups: &Cgroups) -> Metrics {
    let mut metrics = Metrics::new();
    let Some(folder) = cgroups.unified() else { return metrics };
    metrics.pids = pids(folder).into();
    metrics.cpu = text(folder, "cpu.stat").map(|stat| cpu(folder, &stat)).into();
    metrics.memory = text(folder, "memory.stat").map(|stat| memory(folder, &stat)).into();
    metrics.memory_events = text(folder, "memory.events").map(|text| events(&text)).into();
    metrics.io = text(folder, "io.stat").map(|stat| io(folder, &stat)).into();
    metrics
}

fn pids(folder: &Path) -> Option<PidsStat> {
    let mut stat = PidsStat::new();
    stat.current = number(&text(folder, "pids.current")?)?;
    stat.limit = text(folder, "pids.max").as_deref().and_then(number).unwrap_or(0);
    Some(stat)
}

fn cpu(folder: &Path, stat: &str) -> CPUStat {
    let stat = flat(stat);
    let mut cpu = CPUStat::new();
    (cpu.usage_usec, cpu.user_usec, cpu.system_usec) = (stat("usage_usec"), stat("user_usec"), stat("system_usec"));
    (cpu.nr_periods, cpu.nr_throttled) = (stat("nr_periods"), stat("nr_throttled"));
    (cpu.throttled_usec, cpu.nr_bursts, cpu.burst_usec) =
        (stat("throttled_usec"), stat("nr_bursts"), stat("burst_usec"));
    cpu.psi = text(folder, "cpu.pressure").map(|text| pressure(&text)).into();
    cpu
}

fn memory(folder: &Path, stat: &str) -> MemoryStat {
    let stat = flat(stat);
    let file = |name: &str| text(folder, name).as_deref().and_then(number).unwrap_or(0);
    let mut memory = MemoryStat::new();
    (memory.anon, memory.file, memory.kernel_stack) = (stat("anon"), stat("file"), stat("kernel_stack"));
    (memory.slab, memory.sock, memory.shmem) = (stat("slab"), stat("sock"), stat("shmem"));
    (memory.file_mapped, memory.file_dirty) = (stat("file_mapped"), stat("file_dirty"));
    (memory.file_writeback, memory.anon_thp) = (stat("file_writeback"), stat("anon_thp"));
    (memory.inactive_anon, memory.active_anon) = (stat("inactive_anon"), stat("active_anon"));
    (memory.inactive_file, memory.active_file) = (stat("inactive_file"), stat("active_file"));
    memory.unevictable = stat("unevictable");
    (memory.slab_reclaimable, memory.slab_unreclaimable) = (stat("slab_reclaimable"), stat("slab_unreclaimable"));
    (memory.pgfault, memory.pgmajfault) = (stat("pgfault"), stat("pgmajfault"));
    (memory.workingset_refault, memory.workingset_activate) =
        (stat("workingset_refault_file").max(stat("workingset_refault")), stat("workingset_activate_file"));
    memory.workingset_nodereclaim = stat("workingset_nodereclaim");
    (memory.pgrefill, memory.pgscan, memory.pgsteal) = (stat("pgrefill"), stat("pgscan"), stat("pgsteal"));
    (memory.pgactivate, memory.pgdeactivate) = (stat("pgactivate"), stat("pgdeactivate"));
    (memory.pglazyfree, memory.pglazyfreed) = (stat("pglazyfree"), stat("pglazyfreed"));
    (memory.thp_fault_alloc, memory.thp_collapse_alloc) = (stat("thp_fault_alloc"), stat("thp_collapse_alloc"));
    (memory.usage, memory.usage_limit, memory.max_usage) =
        (file("memory.current"), file("memory.max"), file("memory.peak"));
    (memory.swap_usage, memory.swap_limit) = (file("memory.swap.current"), file("memory.swap.max"));
    memory.swap_max_usage = file("memory.swap.peak");
    memory.psi = text(folder, "memory.pressure").map(|text| pressure(&text)).into();
    memory
}

fn events(text: &str) -> MemoryEvents {
    let stat = flat(text);
    let mut events = MemoryEvents::new();
    (events.low, events.high, events.max) = (stat("low"), stat("high"), stat("max"));
    (events.oom, events.oom_kill, events.oom_group_kill) = (stat("oom"), stat("oom_kill"), stat("oom_group_kill"));
    events
}

fn io(folder: &Path, stat: &str) -> IOStat {
    let mut io = IOStat::new();
    for ((major, minor), pairs) in nested(stat) {
        let value = |name: &str| pairs.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value);
        let mut entry = IOEntry::new();
        (entry.major, entry.minor) = (major, minor);
        (entry.rbytes, entry.wbytes) = (value("rbytes"), value("wbytes"));
        (entry.rios, entry.wios) = (value("rios"), value("wios"));
        io.usage.push(entry);
    }
    io.psi = text(folder, "io.pressure").map(|text| pressure(&text)).into();
    io
}

fn pressure(text: &str) -> PSIStats {
    let line = |name: &str| {
        let read = figures::pressure(text, name)?;
        let mut data = PSIData::new();
        (data.avg10, data.avg60, data.avg300, data.total) = (read.avg10, read.avg60, read.avg300, read.total);
        Some(data)
    };
    let mut stats = PSIStats::new();
    (stats.some, stats.full) = (line("some").into(), line("full").into());
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let events = events("low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n");
        assert_eq!((events.max, events.oom, events.oom_kill, events.oom_group_kill), (3, 4, 5, 6));
        let psi = pressure(
            "some avg10=1.50 avg60=0.10 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        );
        assert_eq!((psi.some.avg10, psi.some.total, psi.full.total), (1.5, 77, 7));
        assert!(pressure("some avg10=0.00\n").full.is_none());
    }

    #[test]
    fn a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("memory.current", "8589934592\n"),
            ("memory.max", "max\n"),
            ("pids.current", "2\n"),
            ("pids.max", "7\n"),
            ("cpu.stat", "usage_usec 10\nnr_throttled 3\n"),
            ("io.stat", "8:0 rbytes=5 wbytes=6 rios=7 wios=8\n"),
        ] {
            std::fs::write(folder.path().join(name), value).unwrap();
        }
        let memory = memory(folder.path(), "anon 1\nfile 2\n");
        assert_eq!((memory.anon, memory.file, memory.usage, memory.usage_limit), (1, 2, 8 << 30, u64::MAX));
        assert_eq!(pids(folder.path()).map(|pids| (pids.current, pids.limit)), Some((2, 7)));
        assert_eq!(cpu(folder.path(), "usage_usec 10\nnr_throttled 3\n").nr_throttled, 3);
        assert_eq!(io(folder.path(), "8:0 rbytes=5 wbytes=6 rios=7 wios=8\n").usage[0].wios, 8);
    }
}
