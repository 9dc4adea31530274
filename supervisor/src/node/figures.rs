//! What an instance uses: the statistics of its shim, which are of cgroup version 1 or 2, as one set of figures.

use containerd_shim_protos::{cgroups, cgroups_v2};
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use serde::{Deserialize, Serialize};

/// What an instance uses, as its shim says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
    /// Time on processors, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Of it in programs.
    pub cpu_user_ns: u64,
    /// Of it in the kernel.
    pub cpu_system_ns: u64,
    /// Periods of the processor limit.
    pub cpu_periods: u64,
    /// Of them with throttling.
    pub cpu_throttled_periods: u64,
    /// Time spent throttled, in nanoseconds.
    pub cpu_throttled_ns: u64,
    /// Memory charged, in bytes.
    pub memory_usage: u64,
    /// Of it what cannot be reclaimed easily: without inactive file pages.
    pub memory_working_set: u64,
    /// The limit; none where there is none.
    pub memory_limit: Option<u64>,
    /// The most that was ever charged, where the kernel tells.
    pub memory_peak: Option<u64>,
    /// Memory of files.
    pub memory_cache: u64,
    /// Memory of no file: heaps and stacks.
    pub memory_rss: u64,
    /// Memory of files that is mapped.
    pub memory_mapped: u64,
    /// What was moved to swap; none where the kernel does not count it.
    pub memory_swap: Option<u64>,
    /// Page faults.
    pub page_faults: u64,
    /// Of them those that had to wait for a disk.
    pub major_page_faults: u64,
    /// From all disks; none where the kernel does not count it.
    pub disk: Option<Disk>,
    /// Waiting for a processor; none where the kernel does not count it, as for the two others.
    pub cpu_pressure: Option<Pressure>,
    /// Waiting for memory.
    pub memory_pressure: Option<Pressure>,
    /// Waiting for disks.
    pub io_pressure: Option<Pressure>,
    /// Processes that were killed at the memory limit.
    pub oom_kills: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit; none where there is none.
    pub pids_limit: Option<u64>,
}

/// What an instance read and wrote, on all disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Disk {
    /// In bytes.
    pub read_bytes: u64,
    /// In bytes.
    pub written_bytes: u64,
    /// How often.
    pub reads: u64,
    /// How often.
    pub writes: u64,
}

/// Time lost waiting for something, in microseconds (Documentation/accounting/psi.rst of the kernel).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pressure {
    /// While at least one of its threads waited.
    pub some_us: u64,
    /// While all of them did.
    pub full_us: u64,
}

impl Figures {
    /// Decodes the answer of `Stats`; none if it is of neither kind.
    pub(super) fn of(stats: &Any) -> Option<Self> {
        match stats.type_url.rsplit('/').next()? {
            "io.containerd.cgroups.v1.Metrics" => {
                cgroups::metrics::Metrics::parse_from_bytes(&stats.value).ok().map(v1)
            }
            "io.containerd.cgroups.v2.Metrics" => {
                cgroups_v2::metrics::Metrics::parse_from_bytes(&stats.value).ok().map(v2)
            }
            _ => None,
        }
    }
}

/// A limit, where it is one: version 1 says "none" with the largest multiple of a page in 63 bits, version 2 with `max`,
/// which is sent as the largest number or as 0.
fn limit(value: u64) -> Option<u64> {
    const NONE_IN_VERSION_1: u64 = 0x7fff_ffff_ffff_0000;
    (1..NONE_IN_VERSION_1).contains(&value).then_some(value)
}

fn v1(metrics: cgroups::metrics::Metrics) -> Figures {
    let (memory, cpu) = (&metrics.memory, &metrics.cpu);
    let sum = |entries: &[cgroups::metrics::BlkIOEntry], operation: &str| -> u64 {
        entries.iter().filter(|entry| entry.op == operation).map(|entry| entry.value).sum()
    };
    let disk = |io: &cgroups::metrics::BlkIOStat| Disk {
        read_bytes: sum(&io.io_service_bytes_recursive, "Read"),
        written_bytes: sum(&io.io_service_bytes_recursive, "Write"),
        reads: sum(&io.io_serviced_recursive, "Read"),
        writes: sum(&io.io_serviced_recursive, "Write"),
    };
    Figures {
        cpu_usage_ns: cpu.usage.total,
        cpu_user_ns: cpu.usage.user,
        cpu_system_ns: cpu.usage.kernel,
        cpu_periods: cpu.throttling.periods,
        cpu_throttled_periods: cpu.throttling.throttled_periods,
        cpu_throttled_ns: cpu.throttling.throttled_time,
        memory_usage: memory.usage.usage,
        memory_working_set: memory.usage.usage.saturating_sub(memory.total_inactive_file),
        memory_limit: limit(memory.usage.limit),
        memory_peak: Some(memory.usage.max).filter(|peak| *peak > 0),
        // Where memory is counted by version 2 beside the rest of version 1, there are no totals: it counts nothing else.
        memory_cache: memory.total_cache.max(memory.cache),
        memory_rss: memory.total_rss.max(memory.rss),
        memory_mapped: memory.total_mapped_file.max(memory.mapped_file),
        // Version 1 counts memory and swap together.
        memory_swap: memory.swap.as_ref().map(|both| both.usage.saturating_sub(memory.usage.usage)),
        page_faults: memory.total_pg_fault.max(memory.pg_fault),
        major_page_faults: memory.total_pg_maj_fault.max(memory.pg_maj_fault),
        disk: metrics.blkio.as_ref().map(disk),
        // There is none in version 1.
        cpu_pressure: None,
        memory_pressure: None,
        io_pressure: None,
        oom_kills: metrics.memory_oom_control.oom_kill,
        pids: metrics.pids.current,
        pids_limit: limit(metrics.pids.limit),
    }
}

fn v2(metrics: cgroups_v2::metrics::Metrics) -> Figures {
    let (memory, cpu) = (&metrics.memory, &metrics.cpu);
    let disk = |io: &cgroups_v2::metrics::IOStat| {
        io.usage.iter().fold(Disk::default(), |sum, entry| Disk {
            read_bytes: sum.read_bytes + entry.rbytes,
            written_bytes: sum.written_bytes + entry.wbytes,
            reads: sum.reads + entry.rios,
            writes: sum.writes + entry.wios,
        })
    };
    let pressure = |psi: &cgroups_v2::metrics::PSIStats| Pressure { some_us: psi.some.total, full_us: psi.full.total };
    let from_micros = |micros: u64| micros.saturating_mul(1000);
    Figures {
        cpu_usage_ns: from_micros(cpu.usage_usec),
        cpu_user_ns: from_micros(cpu.user_usec),
        cpu_system_ns: from_micros(cpu.system_usec),
        cpu_periods: cpu.nr_periods,
        cpu_throttled_periods: cpu.nr_throttled,
        cpu_throttled_ns: from_micros(cpu.throttled_usec),
        memory_usage: memory.usage,
        memory_working_set: memory.usage.saturating_sub(memory.inactive_file),
        memory_limit: limit(memory.usage_limit),
        memory_peak: Some(memory.max_usage).filter(|peak| *peak > 0),
        memory_cache: memory.file,
        memory_rss: memory.anon,
        memory_mapped: memory.file_mapped,
        memory_swap: Some(memory.swap_usage),
        page_faults: memory.pgfault,
        major_page_faults: memory.pgmajfault,
        disk: metrics.io.as_ref().map(disk),
        cpu_pressure: cpu.psi.as_ref().map(pressure),
        memory_pressure: memory.psi.as_ref().map(pressure),
        io_pressure: metrics.io.psi.as_ref().map(pressure),
        oom_kills: metrics.memory_events.oom_kill,
        pids: metrics.pids.current,
        pids_limit: limit(metrics.pids.limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, message: &impl Message) -> Any {
        Any { type_url: type_url.into(), value: message.write_to_bytes().unwrap(), ..Any::default() }
    }

    #[test]
    fn version_1() {
        let mut metrics = cgroups::metrics::Metrics::new();
        metrics.mut_cpu().mut_usage().total = 9;
        metrics.mut_memory().mut_usage().usage = 100;
        metrics.mut_memory().mut_usage().limit = 9_223_372_036_854_771_712;
        metrics.mut_memory().total_inactive_file = 40;
        metrics.mut_memory_oom_control().oom_kill = 2;
        metrics.mut_pids().limit = 512;
        metrics.mut_memory().mut_swap().usage = 130;
        metrics.mut_memory().cache = 1;
        metrics.mut_memory().total_cache = 41;
        metrics.mut_memory().rss = 59;
        for (major, op, value) in [(8, "Read", 5), (9, "Read", 1), (8, "Write", 2), (8, "Total", 8)] {
            let entry = cgroups::metrics::BlkIOEntry { major, op: op.into(), value, ..Default::default() };
            metrics.mut_blkio().io_service_bytes_recursive.push(entry);
        }
        let figures = Figures::of(&any("io.containerd.cgroups.v1.Metrics", &metrics)).unwrap();
        let expected = Figures {
            cpu_usage_ns: 9,
            memory_usage: 100,
            memory_working_set: 60,
            memory_cache: 41,
            memory_rss: 59,
            memory_swap: Some(30),
            disk: Some(Disk { read_bytes: 6, written_bytes: 2, ..Disk::default() }),
            oom_kills: 2,
            pids_limit: Some(512),
            ..Figures::default()
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn version_2() {
        let mut metrics = cgroups_v2::metrics::Metrics::new();
        metrics.mut_cpu().usage_usec = 9;
        metrics.mut_memory().usage = 100;
        metrics.mut_memory().inactive_file = 140;
        metrics.mut_memory().usage_limit = 8 << 30;
        metrics.mut_memory().max_usage = 120;
        metrics.mut_memory_events().oom_kill = 1;
        metrics.mut_pids().limit = u64::MAX;
        metrics.mut_memory().pgfault = 3;
        metrics.mut_memory().mut_psi().mut_some().total = 8;
        for (major, rbytes, wios) in [(8, 5, 1), (9, 1, 1)] {
            let entry = cgroups_v2::metrics::IOEntry { major, rbytes, wios, ..Default::default() };
            metrics.mut_io().usage.push(entry);
        }
        let figures = Figures::of(&any("type.googleapis.com/io.containerd.cgroups.v2.Metrics", &metrics)).unwrap();
        let expected = Figures {
            cpu_usage_ns: 9000,
            memory_usage: 100,
            memory_limit: Some(8 << 30),
            memory_peak: Some(120),
            memory_swap: Some(0),
            page_faults: 3,
            disk: Some(Disk { read_bytes: 6, writes: 2, ..Disk::default() }),
            memory_pressure: Some(Pressure { some_us: 8, full_us: 0 }),
            oom_kills: 1,
            ..Figures::default()
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn anything_else_is_nothing() {
        assert_eq!(Figures::of(&Any::default()), None);
        let broken = Any { type_url: "io.containerd.cgroups.v2.Metrics".into(), value: vec![0xff], ..Any::default() };
        assert_eq!(Figures::of(&broken), None);
    }
}
