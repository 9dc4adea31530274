//! Plans as text: a line a write, for a v2 host, the hybrid host of our tests, and hosts that lack something.

use super::*;
use crate::cgroup::{Hierarchy, Kind};

fn host(v2: Option<&str>, v1: &[&str]) -> Host {
    let hierarchy = |kind, mount: &str| Hierarchy { kind, mount: mount.into(), root: "/".into() };
    let mut hierarchies: Vec<_> = v2.iter().map(|_| hierarchy(Kind::V2, "/c")).collect();
    hierarchies.extend(v1.iter().map(|word| hierarchy(Kind::V1(vec![(*word).into()]), "/d")));
    let v2_controllers = v2.unwrap_or("").split_whitespace().map(str::to_owned).collect();
    Host { hierarchies, v2_controllers, ..Host::default() }
}

fn v2() -> Host {
    host(Some("cpuset cpu io memory hugetlb pids rdma"), &[])
}

fn v1() -> Host {
    host(None, &["cpuset", "cpu", "blkio", "memory", "hugetlb", "pids", "rdma", "net_cls", "net_prio", "devices"])
}

fn planned(host: &Host, json: &str) -> Result<Plan, Error> {
    plan(Some(&serde_json::from_str(json).unwrap()), host, DeviceControl::Enforce)
}

/// `file=value` of every write, memory last; `?` marks those that may be absent, `|` a second file.
fn show(host: &Host, json: &str) -> String {
    let plan = match planned(host, json) {
        Ok(plan) => plan,
        Err(error) => return error.to_string(),
    };
    let line = |write: &Write| {
        let tries: Vec<_> = write.tries.iter().map(|(file, value)| format!("{file}={value}")).collect();
        let mark = if write.absent == Absent::Refuse { "" } else { "?" };
        tries.join("|") + mark
    };
    plan.writes.iter().chain(&plan.memory).map(line).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(json: &str, on_v2: &str, on_v1: &str) {
    for (host, expected) in [(v2(), on_v2), (v1(), on_v1)] {
        let shown = show(&host, json);
        match expected.strip_prefix('!') {
            Some(words) => assert!(shown.contains("is refused") && shown.contains(words), "{json}: {shown}"),
            None => assert_eq!(shown, expected, "{json}"),
        }
    }
}

#[test]
fn memory() {
    let check = |json: &str, v2, v1| check(&format!(r#"{{"memory":{{{json}}}}}"#), v2, v1);
    check("", "", "");
    check(r#""limit":0,"swap":0"#, "", "");
    check(r#""limit":64"#, "memory.max=64", "memory.limit_in_bytes=64");
    check(r#""limit":-1"#, "memory.swap.max=max?, memory.max=max", "memory.limit_in_bytes=-1");
    let v1 = "memory.limit_in_bytes=64, memory.memsw.limit_in_bytes=100";
    check(r#""limit":64,"swap":100"#, "memory.swap.max=36, memory.max=64", v1);
    let v1 = "memory.limit_in_bytes=64, memory.memsw.limit_in_bytes=64?";
    check(r#""limit":64,"swap":64"#, "memory.swap.max=0?, memory.max=64", v1);
    let v1 = "memory.limit_in_bytes=64, memory.memsw.limit_in_bytes=-1?";
    check(r#""limit":64,"swap":-1"#, "memory.swap.max=max?, memory.max=64", v1);
    check(r#""swap":64"#, "!memory.swap", "!needs `limit`");
    check(r#""limit":64,"swap":63"#, "!below `limit`", "!memory.swap");
    check(r#""limit":-1,"swap":64"#, "!memory.swap", "!needs a `limit`");
    check(r#""limit":-2"#, "!memory.limit", "!memory.limit");
    check(r#""reservation":7"#, "memory.low=7", "memory.soft_limit_in_bytes=7");
    check(r#""swappiness":60"#, "!memory.swappiness", "memory.swappiness=60");
    check(r#""swappiness":101"#, "!percentage", "!percentage");
    check(r#""disableOOMKiller":true"#, "!disableOOMKiller", "memory.oom_control=1");
    check(r#""disableOOMKiller":false"#, "", "");
    check(r#""useHierarchy":true"#, "", "memory.use_hierarchy=1");
    check(r#""useHierarchy":false"#, "!useHierarchy", "memory.use_hierarchy=0");
    check(r#""kernel":1"#, "!memory.kernel", "!memory.kernel");
    check(r#""kernelTCP":9"#, "!kernelTCP", "memory.kmem.tcp.limit_in_bytes=9");
    let plan = planned(&v2(), r#"{"memory":{"limit":5,"checkBeforeUpdate":true}}"#).unwrap();
    assert_eq!(plan.memory_check, Some(5));
}

#[test]
fn figures_beyond_32_bits_are_written_as_they_are() {
    let v1 = "memory.limit_in_bytes=8589934592, memory.memsw.limit_in_bytes=12884901888";
    check(
        r#"{"memory":{"limit":8589934592,"swap":12884901888}}"#,
        "memory.swap.max=4294967296, memory.max=8589934592",
        v1,
    );
    let v1 = "memory.soft_limit_in_bytes=6442450944";
    check(r#"{"memory":{"reservation":6442450944}}"#, "memory.low=6442450944", v1);
    let v1 = "hugetlb.1GB.limit_in_bytes=8589934592, hugetlb.1GB.rsvd.limit_in_bytes=8589934592?";
    let v2 = "hugetlb.1GB.max=8589934592, hugetlb.1GB.rsvd.max=8589934592?";
    check(r#"{"hugepageLimits":[{"pageSize":"1GB","limit":8589934592}]}"#, v2, v1);
    let rate = r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":8589934592}]}}"#;
    check(rate, "io.max=8:0 rbps=8589934592", "blkio.throttle.read_bps_device=8:0 8589934592");
    check(r#"{"pids":{"limit":4294967296}}"#, "pids.max=4294967296", "pids.max=4294967296");
    let quota = r#"{"cpu":{"quota":8589934592,"period":1000000}}"#;
    let v1 = "cpu.cfs_period_us=1000000, cpu.cfs_quota_us=8589934592";
    check(quota, "cpu.max=8589934592 1000000", v1);
}

#[test]
fn cpu() {
    let check = |json: &str, v2, v1| check(&format!(r#"{{"cpu":{{{json}}}}}"#), v2, v1);
    check(r#""shares":0,"quota":0,"period":0,"cpus":"","mems":"""#, "", "");
    check(r#""shares":2"#, "cpu.weight=1", "cpu.shares=2");
    check(r#""shares":1024"#, "cpu.weight=39", "cpu.shares=1024");
    check(r#""shares":262144"#, "cpu.weight=10000", "cpu.shares=262144");
    check(r#""shares":1"#, "!cpu.shares", "!262144");
    check(r#""quota":5000"#, "cpu.max=5000 100000", "cpu.cfs_quota_us=5000");
    check(r#""quota":-1,"period":7"#, "cpu.max=max 7", "cpu.cfs_period_us=7, cpu.cfs_quota_us=-1");
    let v1 = "cpu.idle=0, cpu.cfs_period_us=9, cpu.cfs_quota_us=5, cpu.cfs_burst_us=3";
    check(r#""burst":3,"quota":5,"period":9,"idle":0"#, "cpu.idle=0, cpu.max=5 9, cpu.max.burst=3", v1);
    let v1 = "cpu.rt_period_us=9, cpu.rt_runtime_us=8";
    check(r#""realtimeRuntime":8,"realtimePeriod":9"#, "!realtimeRuntime", v1);
    check(r#""cpus":"0-1","mems":"0""#, "cpuset.cpus=0-1, cpuset.mems=0", "cpuset.cpus=0-1, cpuset.mems=0");
}

#[test]
fn pids_hugepages_and_rdma() {
    check(r#"{"pids":{"limit":5}}"#, "pids.max=5", "pids.max=5");
    check(r#"{"pids":{"limit":0}}"#, "", "");
    check(r#"{"pids":{"limit":-1}}"#, "pids.max=max", "pids.max=max");
    assert_eq!(show(&host(Some(""), &["devices"]), r#"{"pids":{"limit":-1}}"#), "");
    let pages = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":8}]}"#;
    let v1 = "hugetlb.2MB.limit_in_bytes=8, hugetlb.2MB.rsvd.limit_in_bytes=8?";
    check(pages, "hugetlb.2MB.max=8, hugetlb.2MB.rsvd.max=8?", v1);
    check(r#"{"hugepageLimits":[{"pageSize":"../MB","limit":8}]}"#, "!pageSize", "!pageSize");
    let rdma = r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":4},"a":{"hcaObjects":2},"none":{}}}"#;
    let lines = "rdma.max=a hca_object=2, rdma.max=mlx5_1 hca_handle=3 hca_object=4";
    check(rdma, lines, lines);
}

#[test]
fn block_io() {
    let check = |json: &str, v2, v1| check(&format!(r#"{{"blockIO":{{{json}}}}}"#), v2, v1);
    check(r#""weight":0"#, "", "");
    check(r#""weight":10"#, "io.bfq.weight=10|io.weight=1", "blkio.weight=10|blkio.bfq.weight=10");
    check(r#""weight":5"#, "!blockIO.weight", "!10 to 1000");
    let v1 = "blkio.weight_device=8:0 1000|blkio.bfq.weight_device=8:0 1000";
    let v2 = "io.bfq.weight=8:0 1000|io.weight=8:0 10000";
    check(r#""weightDevice":[{"major":8,"minor":0,"weight":1000}]"#, v2, v1);
    check(r#""leafWeight":10"#, "!leafWeight", "blkio.leaf_weight=10");
    let (v2, v1) = ("io.max=8:0 rbps=5", "blkio.throttle.read_bps_device=8:0 5");
    check(r#""throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5}]"#, v2, v1);
    let (v2, v1) = ("io.max=8:1 wiops=max", "blkio.throttle.write_iops_device=8:1 0");
    check(r#""throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":0}]"#, v2, v1);
}

#[test]
fn network_is_for_v1() {
    let network = r#"{"network":{"classID":7,"priorities":[{"name":"eth0","priority":2}]}}"#;
    assert_eq!(show(&v1(), network), "net_cls.classid=7, net_prio.ifpriomap=eth0 2");
    assert!(show(&v2(), network).contains("linux.resources.network.classID` needs the cgroup controller `net_cls`"));
    assert!(show(&v1(), r#"{"network":{"priorities":[{"name":"a b","priority":2}]}}"#).contains("priorities[0]"));
}

#[test]
fn unified() {
    let check = |json: &str, v2| check(&format!(r#"{{"unified":{{{json}}}}}"#), v2, "!no cgroup v2");
    check(
        r#""memory.high":"9","cpu.weight":"5","cgroup.max.depth":"2""#,
        "cgroup.max.depth=2, cpu.weight=5, memory.high=9",
    );
    for key in ["../x", "a/b", "memory", ".max", "memory..max", "memory.", "cgroup.procs"] {
        check(&format!(r#""{key}":"1""#), "!linux.resources.unified.");
    }
    check(r#""memory.swap.max":"""#, "!empty");
    assert!(show(&v2(), r#"{"unified":{"misc.max":"1"}}"#).contains("needs the cgroup controller `misc`"));
}

#[test]
fn a_missing_controller_is_named() {
    let hybrid = host(Some("hugetlb"), &["memory"]);
    let error = show(&hybrid, r#"{"pids":{"limit":5}}"#);
    assert!(error.contains("`linux.resources.pids.limit` needs the cgroup controller `pids`"), "{error}");
    assert_eq!(show(&hybrid, r#"{"memory":{"limit":5}}"#), "memory.limit_in_bytes=5");
    assert!(show(&Host::disabled(), r#"{"pids":{"limit":5}}"#).contains("cannot be enforced with --cgroup-manager"));
    assert!(plan(None, &host(None, &["memory"]), DeviceControl::Enforce).is_err(), "no device control");
    assert_eq!(plan(None, &Host::disabled(), DeviceControl::Enforce).unwrap(), Plan::default());
    assert_eq!(plan(None, &v1(), DeviceControl::Skip).unwrap(), Plan::default());
}

#[test]
fn only_what_is_needed_is_enabled() {
    let plan = planned(&v2(), r#"{"cpu":{"shares":5,"cpus":"0"},"pids":{"limit":5}}"#).unwrap();
    assert_eq!((plan.enable, plan.wish), (vec!["cpuset".into(), "cpu".into(), "pids".into()], vec!["memory".into()]));
    let bare = super::plan(None, &host(Some(""), &[]), DeviceControl::Enforce).unwrap();
    assert!(bare.enable.is_empty() && bare.wish.is_empty());
    assert!(matches!(bare.devices, DevicePlan::V2(_)));
    let all = r#"{"devices":[{"allow":true,"access":"rwm"}]}"#;
    assert_eq!(planned(&v2(), all).unwrap().devices, DevicePlan::Unlimited);
}
