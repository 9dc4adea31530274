//! `io.containerd.cgroups.v1.Metrics`, from wherever its controllers are.

use super::text;
use crate::cgroup::Cgroups;
use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, MemoryEntry, MemoryOomControl, MemoryStat, Metrics, PidsStat, Throttle,
};
use skiff_contract::figures::{flat, nested, number, operations};
use std::path::Path;

/// `cpuacct.stat` counts in ticks of this many nanoseconds (USER_HZ is 100 on every Linux that runs containers).
const TICK: u64 = 10_000_000;

/// Reads what is there.
pub(super) fn read(cgroups: &Cgroups) -> Metrics {
    let mut metrics = Metrics::new();
    // On a hybrid host a controller that is not on version 1 is on version 2.
    let folder = |controller: &str| cgroups.v1(controller).or(cgroups.unified());
    metrics.pids = folder("pids").and_then(pids).into();
    metrics.cpu = cpu(cgroups).into();
    match (cgroups.v1("memory"), cgroups.unified()) {
        (Some(folder), _) => {
            metrics.memory = text(folder, "memory.stat").map(|stat| memory(folder, &stat)).into();
            metrics.memory_oom_control = text(folder, "memory.oom_control").map(|control| oom(&control)).into();
        }
        (None, Some(folder)) => {
            metrics.memory = text(folder, "memory.stat").map(|stat| memory_from_v2(folder, &stat)).into();
            metrics.memory_oom_control = text(folder, "memory.events").map(|events| oom(&events)).into();
        }
        (None, None) => {}
    }
    metrics.blkio =
        cgroups.v1("blkio").map(blkio).or_else(|| Some(io_from_v2(&text(cgroups.unified()?, "io.stat")?))).into();
    metrics
}

fn pids(folder: &Path) -> Option<PidsStat> {
    let mut stat = PidsStat::new();
    stat.current = number(&text(folder, "pids.current")?)?;
    // containerd's own shims say 0 where there is no limit.
    stat.limit = text(folder, "pids.max").as_deref().and_then(number).filter(|limit| *limit != u64::MAX).unwrap_or(0);
    Some(stat)
}

fn cpu(cgroups: &Cgroups) -> Option<CPUStat> {
    let mut usage = CPUUsage::new();
    let mut throttle = Throttle::new();
    if let Some(folder) = cgroups.v1("cpuacct") {
        usage.total = number(&text(folder, "cpuacct.usage")?)?;
        let stat = text(folder, "cpuacct.stat").unwrap_or_default();
        let stat = flat(&stat);
        (usage.user, usage.kernel) = (stat("user") * TICK, stat("system") * TICK);
        let each = text(folder, "cpuacct.usage_percpu").unwrap_or_default();
        usage.per_cpu = each.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    } else {
        let stat = text(cgroups.unified()?, "cpu.stat")?;
        let stat = flat(&stat);
        usage.total = stat("usage_usec") * 1000;
        (usage.user, usage.kernel) = (stat("user_usec") * 1000, stat("system_usec") * 1000);
    }
    if let Some(folder) = cgroups.v1("cpu").or(cgroups.unified()) {
        let stat = text(folder, "cpu.stat").unwrap_or_default();
        let stat = flat(&stat);
        (throttle.periods, throttle.throttled_periods) = (stat("nr_periods"), stat("nr_throttled"));
        throttle.throttled_time = stat("throttled_time").max(stat("throttled_usec") * 1000);
    }
    let mut cpu = CPUStat::new();
    cpu.usage = Some(usage).into();
    cpu.throttling = Some(throttle).into();
    Some(cpu)
}

fn memory(folder: &Path, stat: &str) -> MemoryStat {
    let stat = flat(stat);
    let mut memory = MemoryStat::new();
    (memory.cache, memory.rss, memory.rss_huge) = (stat("cache"), stat("rss"), stat("rss_huge"));
    (memory.mapped_file, memory.dirty, memory.writeback) = (stat("mapped_file"), stat("dirty"), stat("writeback"));
    (memory.pg_pg_in, memory.pg_pg_out) = (stat("pgpgin"), stat("pgpgout"));
    (memory.pg_fault, memory.pg_maj_fault) = (stat("pgfault"), stat("pgmajfault"));
    (memory.inactive_anon, memory.active_anon) = (stat("inactive_anon"), stat("active_anon"));
    (memory.inactive_file, memory.active_file) = (stat("inactive_file"), stat("active_file"));
    memory.unevictable = stat("unevictable");
    memory.hierarchical_memory_limit = stat("hierarchical_memory_limit");
    memory.hierarchical_swap_limit = stat("hierarchical_memsw_limit");
    (memory.total_cache, memory.total_rss) = (stat("total_cache"), stat("total_rss"));
    (memory.total_rss_huge, memory.total_mapped_file) = (stat("total_rss_huge"), stat("total_mapped_file"));
    (memory.total_dirty, memory.total_writeback) = (stat("total_dirty"), stat("total_writeback"));
    (memory.total_pg_pg_in, memory.total_pg_pg_out) = (stat("total_pgpgin"), stat("total_pgpgout"));
    (memory.total_pg_fault, memory.total_pg_maj_fault) = (stat("total_pgfault"), stat("total_pgmajfault"));
    (memory.total_inactive_anon, memory.total_active_anon) = (stat("total_inactive_anon"), stat("total_active_anon"));
    (memory.total_inactive_file, memory.total_active_file) = (stat("total_inactive_file"), stat("total_active_file"));
    memory.total_unevictable = stat("total_unevictable");
    memory.usage = entry(folder, "memory").into();
    memory.swap = entry(folder, "memory.memsw").into();
    memory.kernel = entry(folder, "memory.kmem").into();
    memory.kernel_tcp = entry(folder, "memory.kmem.tcp").into();
    memory
}

fn entry(folder: &Path, prefix: &str) -> Option<MemoryEntry> {
    let file = |name: &str| text(folder, &format!("{prefix}.{name}")).as_deref().and_then(number);
    let mut entry = MemoryEntry::new();
    entry.usage = file("usage_in_bytes")?;
    entry.limit = file("limit_in_bytes").unwrap_or(0);
    entry.max = file("max_usage_in_bytes").unwrap_or(0);
    entry.failcnt = file("failcnt").unwrap_or(0);
    Some(entry)
}

/// The members that version 2 has as well, under its own names.
fn memory_from_v2(folder: &Path, stat: &str) -> MemoryStat {
    let stat = flat(stat);
    let mut memory = MemoryStat::new();
    (memory.cache, memory.rss) = (stat("file"), stat("anon"));
    (memory.mapped_file, memory.dirty) = (stat("file_mapped"), stat("file_dirty"));
    memory.writeback = stat("file_writeback");
    (memory.pg_fault, memory.pg_maj_fault) = (stat("pgfault"), stat("pgmajfault"));
    (memory.inactive_anon, memory.active_anon) = (stat("inactive_anon"), stat("active_anon"));
    (memory.inactive_file, memory.active_file) = (stat("inactive_file"), stat("active_file"));
    memory.total_inactive_file = stat("inactive_file");
    memory.unevictable = stat("unevictable");
    let file = |name: &str| text(folder, name).as_deref().and_then(number);
    let mut usage = MemoryEntry::new();
    usage.usage = file("memory.current").unwrap_or(0);
    usage.limit = file("memory.max").unwrap_or(0);
    usage.max = file("memory.peak").unwrap_or(0);
    memory.usage = Some(usage).into();
    memory
}

fn oom(text: &str) -> MemoryOomControl {
    let stat = flat(text);
    let mut control = MemoryOomControl::new();
    (control.oom_kill_disable, control.under_oom) = (stat("oom_kill_disable"), stat("under_oom"));
    control.oom_kill = stat("oom_kill");
    control
}

fn blkio(folder: &Path) -> BlkIOStat {
    // The throttling layer counts with every scheduler; the recursive files are there with some of them only.
    let file = |names: [&str; 2]| {
        let entries = names.iter().filter_map(|name| text(folder, name)).map(|text| entries(&operations(&text)));
        entries.into_iter().find(|entries| !entries.is_empty()).unwrap_or_default()
    };
    let mut stat = BlkIOStat::new();
    stat.io_service_bytes_recursive =
        file(["blkio.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"]);
    stat.io_serviced_recursive = file(["blkio.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"]);
    stat
}

fn io_from_v2(stat: &str) -> BlkIOStat {
    let mut bytes = Vec::new();
    let mut count = Vec::new();
    for ((major, minor), pairs) in nested(stat) {
        for (name, value) in pairs {
            match name {
                "rbytes" => bytes.push((major, minor, "Read", value)),
                "wbytes" => bytes.push((major, minor, "Write", value)),
                "rios" => count.push((major, minor, "Read", value)),
                "wios" => count.push((major, minor, "Write", value)),
                _ => {}
            }
        }
    }
    let mut stat = BlkIOStat::new();
    (stat.io_service_bytes_recursive, stat.io_serviced_recursive) = (entries(&bytes), entries(&count));
    stat
}

fn entries(lines: &[(u64, u64, &str, u64)]) -> Vec<BlkIOEntry> {
    let entry = |&(major, minor, operation, value): &(u64, u64, &str, u64)| {
        let mut entry = BlkIOEntry::new();
        (entry.major, entry.minor, entry.value) = (major, minor, value);
        entry.op = operation.to_owned();
        entry
    };
    lines.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_versions_read_alike() {
        let (one, two) = (oom("oom_kill_disable 1\nunder_oom 1\noom_kill 4\n"), oom("oom 5\noom_kill 4\n"));
        assert_eq!((one.oom_kill, one.under_oom, one.oom_kill_disable), (4, 1, 1));
        assert_eq!((two.oom_kill, two.under_oom), (4, 0));
        let io = io_from_v2("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9\n");
        let values: Vec<_> =
            io.io_service_bytes_recursive.iter().map(|entry| (entry.op.as_str(), entry.value)).collect();
        assert_eq!(values, [("Read", 1), ("Write", 2)]);
        assert_eq!(io.io_serviced_recursive.len(), 2);
    }

    #[test]
    fn memory_is_read_from_a_folder_of_either_version() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [("memory.usage_in_bytes", "10"), ("memory.limit_in_bytes", "20"), ("memory.failcnt", "3")]
        {
            std::fs::write(folder.path().join(name), value).unwrap();
        }
        let one = memory(folder.path(), "cache 1\nrss 2\ntotal_inactive_file 7\nhierarchical_memory_limit 20\n");
        assert_eq!((one.cache, one.rss, one.total_inactive_file, one.hierarchical_memory_limit), (1, 2, 7, 20));
        assert_eq!((one.usage.usage, one.usage.limit, one.usage.failcnt), (10, 20, 3));
        assert!(one.swap.is_none(), "a file that is not there is no zero");
        std::fs::write(folder.path().join("memory.current"), "11\n").unwrap();
        std::fs::write(folder.path().join("memory.max"), "max\n").unwrap();
        let two = memory_from_v2(folder.path(), "anon 2\nfile 1\ninactive_file 7\n");
        assert_eq!((two.cache, two.rss, two.total_inactive_file), (1, 2, 7));
        assert_eq!((two.usage.usage, two.usage.limit), (11, u64::MAX));
    }
}
