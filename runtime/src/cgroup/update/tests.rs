//! Updates as text: what is written, in which order, for a container of which something is known; and what undoes it.

use super::*;
use crate::cgroup::{Hierarchy, Kind};

fn host(kind: Kind) -> Host {
    let v2_controllers = if kind == Kind::V2 { vec!["cpu".into(), "memory".into(), "pids".into()] } else { vec![] };
    Host {
        hierarchies: vec![Hierarchy { kind, mount: "/c".into(), root: "/".into() }],
        v2_controllers,
        ..Host::default()
    }
}

/// `file=value` of every write, memory last, on v2 and on v1.
fn show(observed: &Observed, json: &str) -> [String; 2] {
    let v1 = ["cpu", "memory", "pids"].map(str::to_owned).to_vec();
    [Kind::V2, Kind::V1(v1)].map(|kind| match decide(&serde_json::from_str(json).unwrap(), observed, &host(kind)) {
        Err(error) => format!("!{error}"),
        Ok(plan) => {
            let first = |write: &Write| write.tries.first().map(|(file, value)| format!("{file}={value}"));
            plan.writes.iter().chain(&plan.memory).filter_map(first).collect::<Vec<_>>().join(", ")
        }
    })
}

#[track_caller]
fn check(observed: &Observed, json: &str, on_v2: &str, on_v1: &str) {
    for (shown, expected) in show(observed, json).into_iter().zip([on_v2, on_v1]) {
        match expected.strip_prefix('!') {
            Some(words) => assert!(shown.starts_with('!') && shown.contains(words), "{json}: {shown}"),
            None => assert_eq!(shown, expected, "{json}"),
        }
    }
}

#[test]
fn memory_is_raised_after_swap_and_lowered_before_it() {
    let memory = |json: &str, v2: &str, v1: &str| {
        let observed = Observed { limit: Some(64), swap: Some(128), ..Observed::default() };
        check(&observed, &format!(r#"{{"memory":{{{json}}}}}"#), v2, v1);
    };
    let (limit, swap) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    let down_first = format!("{limit}=32, {swap}=32");
    memory(r#""limit":32,"swap":32"#, "memory.swap.max=0, memory.max=32", &down_first);
    memory(r#""limit":128,"swap":128"#, "memory.swap.max=0, memory.max=128", &format!("{limit}=128, {swap}=128"));
    let up_first = format!("{swap}=300, {limit}=200");
    memory(r#""limit":200,"swap":300"#, "memory.swap.max=100, memory.max=200", &up_first);
    let lifted = format!("{swap}=-1, {limit}=-1");
    memory(r#""limit":-1"#, "memory.swap.max=max, memory.max=max", &lifted);
    // What both together are stays what it is.
    memory(r#""limit":100"#, "memory.swap.max=28, memory.max=100", &format!("{limit}=100, {swap}=128"));
    memory(r#""swap":100"#, "memory.swap.max=36, memory.max=64", &format!("{limit}=64, {swap}=100"));
    memory(r#""swap":-1"#, "memory.swap.max=max", &format!("{swap}=-1"));
    memory(r#""limit":129"#, "!128 bytes", "!128 bytes");
    memory(r#""swap":63"#, "!below `limit`", "!below `limit`");
    memory(r#""reservation":9"#, "memory.low=9", "memory.soft_limit_in_bytes=9");
    memory("", "", "");
}

#[test]
fn memory_without_limits_is_not_completed() {
    let json = r#"{"memory":{"limit":100}}"#;
    check(&Observed::default(), json, "memory.max=100", "memory.limit_in_bytes=100");
    check(&Observed::default(), r#"{"memory":{"swap":100}}"#, "!needs `limit`", "!needs `limit`");
}

#[test]
fn a_quota_keeps_its_period_and_a_period_its_quota() {
    let cpu = |json: &str, v2: &str, v1: &str| {
        let observed = Observed { quota: Some(5000), period: Some(50_000), burst: Some(4000), ..Observed::default() };
        check(&observed, &format!(r#"{{"cpu":{{{json}}}}}"#), v2, v1);
    };
    let (quota, period, burst) = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us");
    cpu(r#""quota":7000"#, "cpu.max=7000 50000", &format!("{period}=50000, {quota}=7000"));
    cpu(r#""period":60000"#, "cpu.max=5000 60000", &format!("{period}=60000, {quota}=5000"));
    cpu(r#""quota":2000,"period":20000"#, "cpu.max=2000 20000", &format!("{quota}=2000, {period}=20000"));
    cpu(r#""quota":-1"#, "cpu.max=max 50000", &format!("{period}=50000, {quota}=-1"));
    let lower = format!("{period}=50000, {burst}=100, {quota}=3000");
    cpu(r#""quota":3000,"burst":100"#, "cpu.max.burst=100, cpu.max=3000 50000", &lower);
    let raise = format!("{period}=50000, {quota}=9000, {burst}=8000");
    cpu(r#""quota":9000,"burst":8000"#, "cpu.max=9000 50000, cpu.max.burst=8000", &raise);
    cpu(r#""shares":2"#, "cpu.weight=1", "cpu.shares=2");
}

#[test]
fn device_rules_are_not_looked_at() {
    let json = r#"{"devices":[{"allow":true,"access":"nonsense"}],"pids":{"limit":5}}"#;
    check(&Observed::default(), json, "pids.max=5", "pids.max=5");
    let plan = decide(&serde_json::from_str(json).unwrap(), &Observed::default(), &host(Kind::V2)).unwrap();
    assert_eq!((plan.devices, plan.wish), (super::super::DevicePlan::Unlimited, vec![]));
}

#[test]
fn bandwidth_of_v2_is_read() {
    assert_eq!(observed::bandwidth("max 100000\n"), (Some(-1), Some(100_000)));
    assert_eq!(observed::bandwidth("50000 70000\n"), (Some(50_000), Some(70_000)));
    assert_eq!(observed::bandwidth(""), (None, None));
}

#[test]
fn each_form_of_file_is_set_back() {
    let cases: [(&str, &str, &str, Option<&[&str]>); 13] = [
        ("pids.max", "5", "max\n", Some(&["max"])),
        ("cpu.max", "5 6", "max 100000\n", Some(&["max 100000"])),
        ("cpuset.cpus", "0", "\n", Some(&["\n"])),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", Some(&["0"])),
        ("io.weight", "7", "default 100\n8:0 3\n", Some(&["default 100"])),
        ("io.weight", "8:0 7", "default 100\n8:0 3\n", Some(&["8:0 3"])),
        ("io.bfq.weight", "8:1 7", "default 100\n8:0 3\n", Some(&["8:1 default"])),
        ("io.max", "8:0 rbps=1", "", Some(&["8:0 rbps=max wbps=max riops=max wiops=max"])),
        (
            "io.max",
            "8:0 rbps=1",
            "8:0 rbps=9 wbps=max riops=max wiops=max\n",
            Some(&["8:0 rbps=9 wbps=max riops=max wiops=max"]),
        ),
        ("blkio.throttle.read_bps_device", "8:0 1", "18:0 4\n", Some(&["8:0 0"])),
        ("rdma.max", "a hca_object=1", "b hca_handle=2 hca_object=3\n", Some(&["a hca_handle=max hca_object=max"])),
        ("net_prio.ifpriomap", "eth0 1", "lo 0\neth0 4\n", Some(&["eth0 4"])),
        ("io.latency", "8:0 target=5", "", None),
    ];
    for (file, value, before, expected) in cases {
        let expected = expected.map(|lines| lines.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(undo::lines(file, value, before), expected, "{file}={value}");
    }
}

#[test]
fn pages_are_called_as_the_kernel_calls_them() {
    assert_eq!([64, 2048, 32768, 1 << 20].map(page_size), ["64KB", "2MB", "32MB", "1GB"]);
}
