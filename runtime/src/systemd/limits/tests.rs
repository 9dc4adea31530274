//! Limits of the configuration, through the cgroup's plan, as systemd hears of them.

use super::*;
use crate::cgroup::{DeviceControl, Host, plan};

/// As words, from a section of the configuration to the properties.
fn told(resources: &str, v1: bool, version: u32) -> String {
    let words = ["memory", "cpu", "cpuset", "pids", "io", "blkio", "hugetlb"];
    let kind = if v1 { Kind::V1(words.map(str::to_owned).to_vec()) } else { Kind::V2 };
    let hierarchies = vec![crate::cgroup::Hierarchy { kind, mount: "/c".into(), root: "/".into() }];
    let host = Host { hierarchies, v2_controllers: words.map(str::to_owned).to_vec(), ..Host::default() };
    let resources = serde_json::from_str(resources).unwrap();
    let plan = plan(Some(&resources), &host, DeviceControl::Skip).unwrap();
    let all = match limits(plan.writes.iter().chain(&plan.memory), version) {
        Ok(all) => all,
        Err(error) => return error.to_string(),
    };
    all.iter().map(|(name, value)| format!("{name}={}", word(value))).collect::<Vec<_>>().join(" ")
}

fn word(value: &Value) -> String {
    match value {
        Value::Uint64(INFINITY) => "infinity".into(),
        Value::Uint64(number) => number.to_string(),
        Value::Byte(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(_, values) | Value::Struct(values) => {
            format!("[{}]", values.iter().map(word).collect::<Vec<_>>().join(","))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_are_told_in_systemds_units() {
    let cases = [
        (r#"{"pids":{"limit":5},"cpu":{"shares":1024}}"#, "CPUWeight=39 TasksMax=5"),
        (r#"{"pids":{"limit":-1}}"#, "TasksMax=infinity"),
        (r#"{"cpu":{"quota":50000,"period":200000}}"#, "CPUQuotaPerSecUSec=250000 CPUQuotaPeriodUSec=200000"),
        // Rounded up, or the cgroup's own quota could not be had after a reload.
        (r#"{"cpu":{"quota":12345}}"#, "CPUQuotaPerSecUSec=130000 CPUQuotaPeriodUSec=100000"),
        (r#"{"cpu":{"quota":-1}}"#, "CPUQuotaPerSecUSec=infinity CPUQuotaPeriodUSec=100000"),
        (r#"{"cpu":{"cpus":"0-2,9","mems":"0"}}"#, "AllowedCPUs=[7,2] AllowedMemoryNodes=[1]"),
        (r#"{"cpu":{"idle":1}}"#, "CPUWeight=0"),
        (r#"{"cpu":{"idle":0}}"#, "CPUWeight=infinity"),
        (r#"{"cpu":{"idle":0,"shares":2}}"#, "CPUWeight=1"),
        (
            r#"{"memory":{"limit":1000,"swap":1500,"reservation":500}}"#,
            "MemorySwapMax=500 MemoryMax=1000 MemoryLow=500",
        ),
        (r#"{"blockIO":{"weight":100}}"#, "IOWeight=910"),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5},{"major":8,"minor":16,"rate":0}]}}"#,
            "IOReadBandwidthMax=[[/dev/block/8:0,5],[/dev/block/8:16,infinity]]",
        ),
    ];
    for (resources, wanted) in cases {
        assert_eq!(told(resources, false, 252), wanted, "{resources}");
    }
}

#[test]
fn raw_keys_are_told_where_there_is_a_property() {
    let unified = |key: &str, value: &str| told(&format!(r#"{{"unified":{{"{key}":"{value}"}}}}"#), false, 252);
    assert_eq!(unified("memory.high", "1M"), "MemoryHigh=1048576");
    assert_eq!(unified("memory.min", "max"), "MemoryMin=infinity");
    assert_eq!(unified("cpu.weight", "7"), "CPUWeight=7");
    assert_eq!(unified("cpu.max", "max"), "CPUQuotaPerSecUSec=infinity");
    assert_eq!(unified("io.weight", "default 50"), "IOWeight=50");
    assert_eq!(unified("io.weight", "8:0 50"), "IODeviceWeight=[[/dev/block/8:0,50]]");
    assert_eq!(
        unified("io.max", "8:0 rbps=1 wiops=max"),
        "IOReadBandwidthMax=[[/dev/block/8:0,1]] IOWriteIOPSMax=[[/dev/block/8:0,infinity]]"
    );
    for key in ["memory.swap.high", "hugetlb.2MB.max", "io.latency"] {
        assert_eq!(unified(key, "1"), "", "{key}: systemd leaves it alone");
    }
}

#[test]
fn what_systemd_would_undo_is_refused_by_name() {
    let cases = [
        ("memory.oom.group", "1"),
        ("cpu.weight.nice", "3"),
        ("pids.max", "0"),
        ("memory.max", "0"),
        ("memory.high", "much"),
        ("cpu.weight", "0"),
        ("cpu.max", "50000 some"),
        ("cpuset.cpus", "0-8:1/2"),
        ("cpuset.cpus", "9000"),
        ("io.max", "8:0 rbps"),
        ("io.max", "8:0 burst=1"),
        ("io.bfq.weight", "5"),
    ];
    for (key, value) in cases {
        let said = told(&format!(r#"{{"unified":{{"{key}":"{value}"}}}}"#), false, 252);
        let wanted = format!("`linux.resources.unified.{key}` cannot be kept at `{value}`: systemd 252");
        assert!(said.starts_with(&wanted), "{said}");
    }
    assert_eq!(told(r#"{"unified":{"cpuset.cpus":"0-8:1/2"}}"#, false, 243), "", "it writes no cpusets");
}

#[test]
fn an_old_systemd_is_not_told_what_it_does_not_know() {
    assert_eq!(told(r#"{"cpu":{"quota":5000,"cpus":"0","idle":1}}"#, false, 241), "CPUQuotaPerSecUSec=50000");
}

#[test]
fn version_one_has_its_own_properties() {
    let resources = r#"{"memory":{"limit":1000},"cpu":{"shares":512,"quota":-1,"cpus":"0"},"blockIO":{"weight":20}}"#;
    assert_eq!(
        told(resources, true, 245),
        "CPUShares=512 BlockIOWeight=20 MemoryLimit=1000 CPUQuotaPerSecUSec=infinity"
    );
}

#[test]
fn devices_are_a_strict_list_or_nothing() {
    assert_eq!(devices(None), vec![]);
    let told = devices(Some(vec![("char-*".into(), "m".into())]));
    assert_eq!(told.iter().map(|(_, value)| word(value)).collect::<Vec<_>>(), ["strict", "[[char-*,m]]"]);
}
