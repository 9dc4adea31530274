//! What the kernel has counted of a container, in the form in which `runc events` tells it. What a kernel does not count, or not
//! in this layout of cgroups, is left out or zero, as there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use skiff_contract::figures::{self, Pressure, flat, list, nested, number, operations};

use super::{Kind, Location};

/// `cpuacct.usage_all` and its like count in nanoseconds, `cpuacct.stat` in ticks of this many (USER_HZ is 100 on every Linux that
/// runs containers).
const TICK: u64 = 10_000_000;

/// All figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Time on processors.
    pub cpu: Cpu,
    /// Which processors and memory nodes.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Disks.
    pub blkio: BlockIo,
    /// Huge pages, by their size.
    pub hugetlb: BTreeMap<String, HugePages>,
    /// Nothing: skiff makes no resource groups.
    pub intel_rdt: BTreeMap<String, u64>,
    /// Nothing: skiff makes no network interfaces, so it counts none.
    pub network_interfaces: Option<Vec<u64>>,
}

/// Time lost waiting.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pressures {
    /// While at least one thread waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub some: Option<Pressure>,
    /// While all of them did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<Pressure>,
}

/// Time on processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// How much.
    pub usage: CpuUsage,
    /// How often the limit was met.
    pub throttling: Throttling,
    /// Version 2, Linux 4.20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressures>,
}

/// In nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// On all processors.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// On each (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// Of it in the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// Of it in programs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// What `linux.resources.cpu.quota` has cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Of them those in which it was out of time.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds without a processor.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// `cpuset`; all but the lists is of version 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// In bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// All that is charged.
    pub usage: MemoryEntry,
    /// Memory and swap together.
    pub swap: MemoryEntry,
    /// Version 1.
    pub kernel: MemoryEntry,
    /// Version 1.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Version 2, Linux 4.20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressures>,
}

/// In bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// The largest number if there is none.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was met (version 1).
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 if there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Disks, each operation of each apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    /// How often.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    /// Version 2, Linux 4.20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressures>,
}

/// One operation of one disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlockIoEntry {
    /// Of the device's number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Of the device's number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Discard`, and with version 1 more.
    pub op: String,
    /// How much, or how often.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HugePages {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was (version 1).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Reads what there is.
#[must_use]
pub fn stats(location: &Location) -> Stats {
    // Each controller is in one hierarchy: in one of version 1, or else in the unified one.
    let folder = |controller: &str| {
        let dir = location.v1(controller).or(location.v2())?;
        Some(Folder { path: dir.path.clone(), unified: dir.kind == Kind::V2 })
    };
    Stats {
        cpu: cpu(folder("cpuacct"), folder("cpu")),
        cpuset: folder("cpuset").map(|folder| cpuset(&folder)).unwrap_or_default(),
        memory: folder("memory").map(|folder| memory(&folder)).unwrap_or_default(),
        pids: folder("pids").map(|folder| pids(&folder)).unwrap_or_default(),
        blkio: folder("blkio").map(|folder| block_io(&folder)).unwrap_or_default(),
        hugetlb: folder("hugetlb").map(|folder| huge_pages(&folder)).unwrap_or_default(),
        ..Stats::default()
    }
}

/// The directory of a controller.
struct Folder {
    path: PathBuf,
    unified: bool,
}

impl Folder {
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path.join(name)).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        number(&self.text(name)).unwrap_or(0)
    }

    fn pressures(&self, name: &str) -> Option<Pressures> {
        let text = std::fs::read_to_string(self.path.join(name)).ok().filter(|_| self.unified)?;
        // Where pressure is not counted (psi=0) the file is there and cannot be read.
        Some(Pressures { some: figures::pressure(&text, "some"), full: figures::pressure(&text, "full") })
    }
}

fn cpu(accounting: Option<Folder>, limit: Option<Folder>) -> Cpu {
    let mut cpu = Cpu::default();
    if let Some(folder) = accounting {
        cpu.usage = if folder.unified { cpu_usage_unified(&folder.text("cpu.stat")) } else { cpu_usage(&folder) };
    }
    if let Some(folder) = limit {
        let text = folder.text("cpu.stat");
        let stat = flat(&text);
        let time = if folder.unified { stat("throttled_usec") * 1000 } else { stat("throttled_time") };
        cpu.throttling =
            Throttling { periods: stat("nr_periods"), throttled_periods: stat("nr_throttled"), throttled_time: time };
        cpu.psi = folder.pressures("cpu.pressure");
    }
    cpu
}

fn cpu_usage_unified(text: &str) -> CpuUsage {
    let stat = flat(text);
    let nanoseconds = |name: &str| stat(name) * 1000;
    let (total, kernel, user) = (nanoseconds("usage_usec"), nanoseconds("system_usec"), nanoseconds("user_usec"));
    CpuUsage { total, kernel, user, ..CpuUsage::default() }
}

fn cpu_usage(folder: &Folder) -> CpuUsage {
    let text = folder.text("cpuacct.stat");
    let stat = flat(&text);
    let each = |text: &str| text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // `cpu user system`, and a line for each processor.
    let all = folder.text("cpuacct.usage_all");
    let column = |at: usize| -> Vec<u64> {
        all.lines().skip(1).filter_map(|line| line.split_whitespace().nth(at)?.parse().ok()).collect()
    };
    CpuUsage {
        total: folder.number("cpuacct.usage"),
        percpu: each(&folder.text("cpuacct.usage_percpu")),
        percpu_kernel: column(2),
        percpu_user: column(1),
        kernel: stat("system") * TICK,
        user: stat("user") * TICK,
    }
}

fn cpuset(folder: &Folder) -> CpuSet {
    if folder.unified {
        let (cpus, mems) = (folder.text("cpuset.cpus"), folder.text("cpuset.mems"));
        return CpuSet { cpus: list(&cpus), mems: list(&mems), ..CpuSet::default() };
    }
    let file = |name: &str| folder.number(&format!("cpuset.{name}"));
    CpuSet {
        cpus: list(&folder.text("cpuset.cpus")),
        cpu_exclusive: file("cpu_exclusive"),
        mems: list(&folder.text("cpuset.mems")),
        mem_hardwall: file("mem_hardwall"),
        mem_exclusive: file("mem_exclusive"),
        memory_migrate: file("memory_migrate"),
        memory_spread_page: file("memory_spread_page"),
        memory_spread_slab: file("memory_spread_slab"),
        memory_pressure: file("memory_pressure"),
        sched_load_balance: file("sched_load_balance"),
        sched_relax_domain_level: folder.text("cpuset.sched_relax_domain_level").trim().parse().unwrap_or(0),
    }
}

fn memory(folder: &Folder) -> Memory {
    let text = folder.text("memory.stat");
    let raw = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    });
    let stat = flat(&text);
    let (cache, raw) = (stat(if folder.unified { "file" } else { "cache" }), raw.collect());
    if !folder.unified {
        let entry = |prefix: &str| {
            let file = |name: &str| folder.number(&format!("{prefix}.{name}"));
            MemoryEntry {
                limit: file("limit_in_bytes"),
                usage: file("usage_in_bytes"),
                max: file("max_usage_in_bytes"),
                failcnt: file("failcnt"),
            }
        };
        let [usage, swap, kernel, kernel_tcp] = ["memory", "memory.memsw", "memory.kmem", "memory.kmem.tcp"].map(entry);
        return Memory { cache, usage, swap, kernel, kernel_tcp, raw, psi: None };
    }
    let entry = |prefix: &str| {
        let file = |name: &str| folder.number(&format!("{prefix}.{name}"));
        MemoryEntry { limit: file("max"), usage: file("current"), max: file("peak"), failcnt: 0 }
    };
    let (usage, mut swap) = (entry("memory"), MemoryEntry::default());
    if folder.path.join("memory.swap.current").exists() {
        // Version 2 counts swap alone; what is told is both together, as version 1 has it.
        let alone = entry("memory.swap");
        swap = MemoryEntry {
            limit: alone.limit.saturating_add(usage.limit),
            usage: alone.usage.saturating_add(usage.usage),
            // The highest of the sum is not the sum of the highest.
            max: 0,
            ..alone
        };
    }
    Memory { cache, usage, swap, raw, psi: folder.pressures("memory.pressure"), ..Memory::default() }
}

fn pids(folder: &Folder) -> Pids {
    let limit = Some(folder.number("pids.max")).filter(|limit| *limit != u64::MAX).unwrap_or(0);
    Pids { current: folder.number("pids.current"), limit }
}

fn block_io(folder: &Folder) -> BlockIo {
    let mut io = BlockIo::default();
    if !folder.unified {
        // The throttling layer counts with every scheduler; the recursive files are there with some of them only.
        let file = |names: [&str; 2]| {
            let read = names.map(|name| folder.text(name));
            let entries = read.iter().map(|text| operations(text)).find(|entries| !entries.is_empty());
            let entry =
                |(major, minor, op, value): (_, _, &str, _)| BlockIoEntry { major, minor, op: op.into(), value };
            entries.unwrap_or_default().into_iter().map(entry).collect()
        };
        io.io_service_bytes_recursive =
            file(["blkio.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"]);
        io.io_serviced_recursive = file(["blkio.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"]);
        return io;
    }
    for ((major, minor), counts) in nested(&folder.text("io.stat")) {
        for (name, value) in counts {
            let (to, op) = match name {
                "rbytes" => (&mut io.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut io.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut io.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut io.io_serviced_recursive, "Read"),
                "wios" => (&mut io.io_serviced_recursive, "Write"),
                "dios" => (&mut io.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            to.push(BlockIoEntry { major, minor, op: op.into(), value });
        }
    }
    io.psi = folder.pressures("io.pressure");
    io
}

fn huge_pages(folder: &Folder) -> BTreeMap<String, HugePages> {
    let current = if folder.unified { "current" } else { "usage_in_bytes" };
    let size = |name: &str| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(current)?.strip_suffix('.')?;
        // Reservations are counted apart, under names of their own.
        (!size.ends_with(".rsvd")).then(|| size.to_owned())
    };
    names(&folder.path)
        .iter()
        .filter_map(|name| size(name))
        .map(|size| {
            let file = |name: &str| folder.number(&format!("hugetlb.{size}.{name}"));
            let events = folder.text(&format!("hugetlb.{size}.events"));
            let failcnt = if folder.unified { flat(&events)("max") } else { file("failcnt") };
            (size.clone(), HugePages { usage: file(current), max: file("max_usage_in_bytes"), failcnt })
        })
        .collect()
}

/// Of its files alone: a container with a cgroup tree of its own gives names to folders.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Dir;

    /// A container whose files these are, in directories by these kinds.
    fn location(root: &Path, dirs: &[(Kind, &[(&str, &str)])]) -> Location {
        let dirs = dirs.iter().enumerate().map(|(at, (kind, files))| {
            let (mount, path) = (root.to_path_buf(), root.join(at.to_string()));
            std::fs::create_dir(&path).unwrap();
            files.iter().for_each(|(name, text)| std::fs::write(path.join(name), text).unwrap());
            Dir { kind: kind.clone(), mount, path }
        });
        Location { dirs: dirs.collect() }
    }

    #[test]
    fn version_2() {
        let root = tempfile::tempdir().unwrap();
        let psi = "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let files = [
            ("cpu.stat", "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 4\nnr_throttled 2\nthrottled_usec 9\n"),
            ("cpu.pressure", psi),
            ("memory.stat", "anon 1\nfile 2\n"),
            ("memory.current", "100\n"),
            ("memory.max", "max\n"),
            ("memory.swap.current", "5\n"),
            ("memory.swap.max", "50\n"),
            ("memory.swap.peak", "6\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=5 wbytes=6 rios=7 wios=8 dbytes=0 dios=0\n"),
            ("hugetlb.2MB.current", "0\n"),
            ("hugetlb.2MB.rsvd.current", "0\n"),
            ("hugetlb.2MB.events", "max 6\n"),
            ("cpuset.cpus", "0-1\n"),
        ];
        let stats = stats(&location(root.path(), &[(Kind::V2, &files)]));
        assert_eq!((stats.cpu.usage.total, stats.cpu.usage.user, stats.cpu.usage.kernel), (10_000, 7000, 3000));
        assert_eq!((stats.cpu.throttling.periods, stats.cpu.throttling.throttled_time), (4, 9000));
        assert_eq!(stats.cpu.psi.unwrap().full.unwrap().total, 7);
        assert_eq!(stats.memory.usage, MemoryEntry { limit: u64::MAX, usage: 100, max: 0, failcnt: 0 });
        assert_eq!(stats.memory.swap, MemoryEntry { limit: u64::MAX, usage: 105, max: 0, failcnt: 0 });
        assert_eq!((stats.memory.cache, stats.memory.raw["anon"]), (2, 1));
        assert_eq!(stats.pids, Pids { current: 3, limit: 0 });
        assert_eq!(stats.blkio.io_serviced_recursive[1].value, 8);
        assert_eq!(
            stats.hugetlb.iter().map(|(size, pages)| (size.as_str(), pages.failcnt)).collect::<Vec<_>>(),
            [("2MB", 6)]
        );
        assert_eq!(stats.cpuset.cpus, [0, 1]);
    }

    #[test]
    fn version_1_with_one_controller_on_version_2() {
        let root = tempfile::tempdir().unwrap();
        let cpu = [
            ("cpuacct.usage", "100\n"),
            ("cpuacct.usage_percpu", "60 40 \n"),
            ("cpuacct.usage_all", "cpu user system\n0 50 10\n1 39 1\n"),
            ("cpuacct.stat", "user 3\nsystem 2\n"),
            ("cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 7\n"),
        ];
        let memory = [
            ("memory.stat", "cache 4\nrss 5\n"),
            ("memory.usage_in_bytes", "9\n"),
            ("memory.limit_in_bytes", "20\n"),
            ("memory.failcnt", "3\n"),
        ];
        let v1 = |names: &[&str]| Kind::V1(names.iter().map(|name| (*name).to_owned()).collect());
        let unified = [("pids.current", "2\n"), ("pids.max", "7\n")];
        let location =
            location(root.path(), &[(Kind::V2, &unified), (v1(&["cpu", "cpuacct"]), &cpu), (v1(&["memory"]), &memory)]);
        let stats = stats(&location);
        assert_eq!((stats.cpu.usage.percpu_kernel, stats.cpu.usage.percpu_user), (vec![10, 1], vec![50, 39]));
        assert_eq!((stats.cpu.usage.total, stats.cpu.usage.user), (100, 3 * TICK));
        assert_eq!((stats.cpu.throttling.throttled_time, stats.cpu.psi), (7, None));
        assert_eq!(stats.memory.usage, MemoryEntry { limit: 20, usage: 9, max: 0, failcnt: 3 });
        assert_eq!((stats.memory.cache, stats.pids), (4, Pids { current: 2, limit: 7 }));
    }
}
