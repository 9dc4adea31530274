//! Containers whose cgroup is a scope of systemd: what `systemctl` says of them, that it stays so, and that nothing
//! stays of them. The scopes of a user's own manager are in `systemd_user`.

use std::path::Path;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups;
use skiff_integration_tests::command::{Invocation, eventually};
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::leftovers::until_none;
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_integration_tests::strace;
use skiff_lanes::runs;

use crate::cgroups::{READ_PROBE, WRITE_PROBE, opens};

const NOT_ASKED: Exemption = (Kind::Reference, "its systemd driver is not what is compared");
const OURS: [Exemption; 3] =
    [(Kind::Runc, "the words are ours"), (Kind::Crun, "the words are ours"), (Kind::Reference, "the words are ours")];

/// [`each`], with containers whose cgroups systemd makes.
#[track_caller]
fn each_scoped(exemptions: &[Exemption], mut check: impl FnMut(&Runtime)) {
    each(exemptions, |runtime| check(&runtime.through_systemd()));
}

/// One property of a unit, in systemctl's words.
fn show(unit: &str, property: &str) -> String {
    Invocation::new("systemctl", &["show", "--value", "--property", property, unit]).run().ok().trim().to_owned()
}

/// `cgroupsPath` of a container in a slice of its own, and what its unit is called.
fn named(bundle: Bundle) -> (Bundle, String) {
    let unit = format!("skt-{}.scope", bundle.id);
    let path = format!("machine-skt.slice:skt:{}", bundle.id);
    (bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path)), unit)
}

fn limited(bundle: Bundle, resources: &Value) -> Bundle {
    bundle.edit(|config| {
        let target = config["linux"]["resources"].as_object_mut().unwrap();
        target.extend(resources.as_object().unwrap().clone());
    })
}

/// Neither a unit nor a file of it.
#[track_caller]
fn assert_no_unit(unit: &str) {
    let left = until_none(|| {
        let state = show(unit, "LoadState");
        let files = Invocation::new(
            "find",
            &["/run/systemd/transient", "/run/systemd/system.control", "-name", &format!("{unit}*")],
        )
        .run();
        let loaded = Some(format!("{unit} is {state}")).filter(|_| state != "not-found");
        loaded.into_iter().chain(files.stdout.lines().map(str::to_owned)).collect()
    });
    assert_eq!(left, Vec::<String>::new());
}

#[runs(guest, trixie, v1, arm64)]
fn the_scope_is_where_it_was_asked_for() {
    each_scoped(&[NOT_ASKED], |runtime| {
        let (bundle, unit) = named(Bundle::sleeper());
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let place = format!("/machine.slice/machine-skt.slice/{unit}");
        let seen = ["ControlGroup", "Slice", "ActiveState", "Delegate"].map(|property| show(&unit, property));
        assert_eq!(seen, [place.as_str(), "machine-skt.slice", "active", "yes"]);
        let own = std::fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        // crun puts it into a cgroup `container` below.
        assert!(own.lines().any(|line| line.trim_end_matches("/container").ends_with(&place)), "{own}");
        container.kill("KILL").ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
        assert_no_unit(&unit);
    });
}

#[runs(guest, trixie, v1)]
fn without_a_path_the_unit_has_the_containers_name() {
    each_scoped(&OURS, |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let unit = format!("skiff-{}.scope", container.id);
        assert_eq!(show(&unit, "ControlGroup"), format!("/system.slice/{unit}"));
        assert_eq!(show(&unit, "Description"), format!("skiff container {}", container.id));
        // No limit that nobody asked for.
        assert_eq!(show(&unit, "TasksMax"), "infinity");
        container.delete(&["--force"]).ok();
        assert_no_unit(&unit);
    });
}

#[runs(guest, trixie)]
fn the_scope_is_the_root_of_the_cgroup_namespace() {
    each_scoped(&[NOT_ASKED], |runtime| {
        let (bundle, _unit) = named(Bundle::script("cat /proc/self/cgroup; ls -d /sys/fs/cgroup/cgroup.procs"));
        let bundle = bundle.namespace("cgroup", None);
        assert_eq!(runtime.run(&bundle).ok(), "0::/\n/sys/fs/cgroup/cgroup.procs\n");
    });
}

/// What systemctl says for the resources.
struct Row(Value, &'static [(&'static str, &'static str)], &'static [Exemption]);

fn rows() -> Vec<Row> {
    const OLD: &[Exemption] = &[(Kind::Runc, "runc 1.1 does not tell"), (Kind::Crun, "crun 1.8 does not tell")];
    vec![
        Row(
            json!({"memory": {"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432}}),
            &[("MemoryMax", "67108864"), ("MemorySwapMax", "67108864"), ("MemoryLow", "33554432")],
            &[(Kind::Crun, "crun 1.8 does not tell of the reservation")],
        ),
        Row(
            json!({"cpu": {"quota": 50_000, "period": 200_000, "shares": 512}}),
            &[("CPUQuotaPerSecUSec", "250ms"), ("CPUQuotaPeriodUSec", "200ms"), ("CPUWeight", "20")],
            OLD,
        ),
        Row(
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            &[("AllowedCPUs", "0"), ("AllowedMemoryNodes", "0")],
            &[(Kind::Crun, "crun 1.8 does not tell of the cpuset")],
        ),
        Row(
            json!({"pids": {"limit": 33}}),
            &[("TasksMax", "33")],
            &[(Kind::Crun, "crun 1.8 does not tell of the processes")],
        ),
        Row(json!({"blockIO": {"weight": 100}}), &[("IOWeight", "910")], OLD),
        Row(
            json!({"unified": {"memory.high": "50331648", "cpu.weight": "7", "pids.max": "44", "memory.min": "1048576"}}),
            &[("MemoryHigh", "50331648"), ("CPUWeight", "7"), ("TasksMax", "44"), ("MemoryMin", "1048576")],
            OLD,
        ),
        Row(json!({"cpu": {"idle": 1}}), &[("CPUWeight", "idle")], OLD),
    ]
}

#[runs(guest, trixie, arm64)]
fn systemctl_agrees_with_the_bundle() {
    for Row(resources, properties, exempt) in rows() {
        if resources.get("blockIO").is_some() && !Path::new("/sys/fs/cgroup/system.slice/io.weight").exists() {
            skip("this kernel has no io.weight");
            continue;
        }
        each_scoped(&[exempt, &[NOT_ASKED]].concat(), |runtime| {
            let (bundle, unit) = named(limited(Bundle::sleeper(), &resources));
            let container = runtime.container(&bundle);
            container.run(&["--detach"]).ok();
            for (property, wanted) in properties {
                assert_eq!(show(&unit, property), *wanted, "{property} for {resources}");
            }
        });
    }
}

#[runs(guest, trixie, v1)]
fn annotations_become_properties() {
    each_scoped(&[NOT_ASKED, (Kind::Crun, "crun 1.8 converts no seconds")], |runtime| {
        let (bundle, unit) = named(Bundle::sleeper());
        let bundle = bundle.edit(|config| {
            config["annotations"] = json!({
                "org.systemd.property.TimeoutStopSec": "uint64 7",
                "org.systemd.property.Description": "'of a test'",
                "org.systemd.property.SendSIGHUP": "true",
                "org.systemd.property.After": "['multi-user.target']",
                "org.example.other": "not for systemd",
            });
        });
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        assert_eq!(show(&unit, "TimeoutStopUSec"), "7s");
        assert_eq!(show(&unit, "Description"), "of a test");
        assert_eq!(show(&unit, "SendSIGHUP"), "yes");
        assert!(show(&unit, "After").contains("multi-user.target"));
    });
}

#[runs(guest, trixie)]
fn what_cannot_be_a_unit_is_refused_and_leaves_nothing() {
    let annotation = |name: &str, value: &str| json!({ format!("org.systemd.property.{name}"): value });
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("annotations", annotation("MemoryMax", "soon"), &["org.systemd.property.MemoryMax", "`soon`"]),
        ("annotations", annotation("Slice", "'a.slice'"), &["org.systemd.property.Slice", "runtime's own"]),
        ("annotations", annotation("NoSuch", "true"), &["NoSuch", "systemd does not start"]),
        ("annotations", annotation("SendSIGHUP", "'yes'"), &["systemd does not start"]),
        ("unified", json!({"memory.oom.group": "1"}), &["linux.resources.unified.memory.oom.group", "cannot be kept"]),
        ("cgroupsPath", json!("/skiff/x"), &["linux.cgroupsPath", "slice:prefix:name", "--systemd-cgroup"]),
        ("cgroupsPath", json!("no:p:n"), &["linux.cgroupsPath", ".slice"]),
        ("cgroupsPath", json!("a--b.slice:p:n"), &["linux.cgroupsPath", ".slice"]),
        ("cgroupsPath", json!("system.slice:p:n.slice"), &["linux.cgroupsPath", "scope"]),
    ];
    each_scoped(&OURS, |runtime| {
        for (member, value, words) in &cases {
            let (bundle, unit) = named(Bundle::new());
            let bundle = bundle.edit(|config| match *member {
                "annotations" => config["annotations"] = value.clone(),
                "unified" => config["linux"]["resources"]["unified"] = value.clone(),
                _ => config["linux"]["cgroupsPath"] = value.clone(),
            });
            let container = runtime.container(&bundle);
            container.run(&[]).fails_with(words);
            container.assert_gone();
            assert_no_unit(&unit);
        }
    });
}

#[runs(guest, trixie, v1)]
fn a_create_that_fails_leaves_no_unit() {
    each_scoped(&[NOT_ASKED, (Kind::Crun, "crun 1.8 finds out at start")], |runtime| {
        let (bundle, unit) = named(Bundle::new().args(&["/no/such/program"]));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).fails();
        container.assert_gone();
        assert_no_unit(&unit);
    });
}

#[runs(guest, trixie, v1)]
fn a_unit_of_that_name_is_refused_and_left_alone() {
    each_scoped(&OURS, |runtime| {
        // In another slice, where the cgroup of that name would be free.
        let (bundle, unit) = named(Bundle::new());
        let words = ["--unit", &unit, "--scope", "--slice", "system.slice", "--", "sleep", "1000"];
        let other = Invocation::new("systemd-run", &words).spawn();
        eventually("the other unit runs", || (show(&unit, "ActiveState") == "active").then_some(()));
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["exists already", &unit]);
        container.assert_gone();
        assert_eq!(show(&unit, "ActiveState"), "active");
        Invocation::new("systemctl", &["stop", &unit]).run().ok();
        drop(other);
        // It has failed and keeps its name until somebody resets it; it is no obstacle.
        let failing = ["--unit", &unit, "--scope", "--property", "RuntimeMaxSec=1", "--", "sleep", "1000"];
        Invocation::new("systemd-run", &failing).run();
        eventually("the other unit has failed", || (show(&unit, "ActiveState") == "failed").then_some(()));
        container.run(&[]).ok();
        assert_no_unit(&unit);
    });
}

#[runs(guest, trixie, arm64)]
fn updates_are_told() {
    each_scoped(&OURS, |runtime| {
        let (bundle, unit) = named(limited(Bundle::sleeper(), &json!({"memory": {"limit": 67_108_864}})));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let update = |options: &[&str]| container.verb("update", options, &[]).run();
        update(&["--memory", "32M", "--memory-swap", "48M", "--pids-limit", "44", "--cpu-quota", "20000"]).ok();
        let properties = ["MemoryMax", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec"];
        let all = || properties.map(|property| show(&unit, property));
        assert_eq!(all(), ["33554432", "16777216", "44", "200ms"]);
        // The kernel refuses it after it has taken the first: both the cgroup and systemd keep what they had.
        update(&["--pids-limit", "55", "--cpuset-cpus", "4000"]).fails_with(&["linux.resources.cpu.cpus"]);
        assert_eq!(all(), ["33554432", "16777216", "44", "200ms"]);
        assert_eq!(cgroups::read(container.pid(), "pids", "pids.max"), "44");
        update(&["--memory", "-1", "--pids-limit", "-1", "--cpu-quota", "-1"]).ok();
        assert_eq!(all(), ["infinity"; 4]);
        let files = ["memory.max", "memory.swap.max", "pids.max", "cpu.max"];
        let files = files.map(|file| cgroups::read(container.pid(), file.split('.').next().unwrap(), file));
        assert_eq!(files, ["max", "max", "max", "max 100000"]);
    });
}

const KEPT: [&str; 7] =
    ["memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.max.burst", "cpu.weight", "cpuset.cpus"];

#[runs(guest, trixie)]
fn a_reload_of_systemd_keeps_limits_and_devices() {
    each_scoped(&OURS, |runtime| {
        let resources = json!({
            "memory": {"limit": 67_108_864, "swap": 134_217_728}, "pids": {"limit": 33},
            "cpu": {"quota": 50_000, "period": 100_000, "burst": 10_000, "shares": 512, "cpus": "0"},
            "devices": [{"allow": false, "access": "rwm"}, probe("r")],
        });
        let (bundle, unit) = named(limited(Bundle::sleeper(), &resources));
        let bundle = bundle.edit(|config| {
            config["linux"]["devices"] =
                json!([{"path": "/dev/probe", "type": "c", "major": 10, "minor": 251, "fileMode": 0o666}]);
        });
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        container.verb("update", &["--memory", "48M", "--memory-swap", "48M"], &[]).run().ok();
        let script = format!("{READ_PROBE}; {WRITE_PROBE}; head -c 1 /dev/zero | wc -c");
        let seen = || {
            let limits = KEPT.map(|file| cgroups::read(container.pid(), file.split('.').next().unwrap(), file));
            (limits, container.verb("exec", &[], &["/bin/sh", "-c", &script]).run().ok())
        };
        let kept = || {
            let limits = ["50331648", "0", "33", "50000 100000", "10000", "20", "0"].map(str::to_owned);
            assert_eq!(seen(), (limits, "r\n-\n1\n".to_owned()));
        };
        kept();
        let systemctl = |words: &[&str]| Invocation::new("systemctl", words).run();
        systemctl(&["daemon-reload"]).ok();
        kept();
        // What systemd keeps is what it would write, whatever makes it write.
        systemctl(&["set-property", "--runtime", &unit, "CPUWeight=20", "MemoryHigh=60M", "IOWeight=50"]).ok();
        kept();
        systemctl(&["daemon-reload"]).ok();
        kept();
        container.delete(&["--force"]).ok();
        container.assert_gone();
        assert_no_unit(&unit);
    });
}

fn probe(access: &str) -> Value {
    json!({"allow": true, "type": "c", "major": 10, "minor": 251, "access": access})
}

#[runs(guest, trixie)]
fn device_rules_are_felt_as_the_bundle_has_them() {
    let nothing = json!({"allow": false, "access": "rwm"});
    each_scoped(&[NOT_ASKED], |runtime| {
        let script = format!("{READ_PROBE}; {WRITE_PROBE}; head -c 1 /dev/zero | wc -c");
        let group = json!({"allow": true, "type": "c", "major": 10, "access": "rw"});
        for (rules, wanted) in [
            (json!([nothing]), "-\n-\n1\n"),
            (json!([nothing, probe("r")]), "r\n-\n1\n"),
            (json!([nothing, group]), "r\nw\n1\n"),
            // Systemd has no words for these.
            (json!([{"allow": true, "access": "rwm"}]), "r\nw\n1\n"),
            (
                json!([nothing, group, {"allow": false, "type": "c", "major": 10, "minor": 251, "access": "w"}]),
                "r\n-\n1\n",
            ),
        ] {
            // runc and crun refuse or widen a hole in what is allowed.
            if runtime.kind == Kind::Skiff || !wanted.starts_with("r\n-") {
                assert_eq!(opens(runtime, &rules, &script), wanted, "{rules}");
            }
        }
    });
}

#[runs(guest, trixie, v1)]
fn the_other_verbs_find_the_container() {
    each_scoped(&[NOT_ASKED], |runtime| {
        let (bundle, unit) = named(Bundle::sleeper());
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        assert_eq!(show(&unit, "ActiveState"), "active");
        assert_eq!(container.status(), "created");
        container.start().ok();
        let place = container.verb("exec", &[], &["cat", "/proc/self/cgroup"]).run().ok();
        let first = container.verb("exec", &[], &["cat", "/proc/1/cgroup"]).run().ok();
        assert_eq!(place, first);
        let ids = container.verb("ps", &["--format", "json"], &[]).run().ok();
        assert!(ids.contains(&container.pid().to_string()), "{ids}");
        container.verb("pause", &[], &[]).run().ok();
        assert_eq!(container.status(), "paused");
        container.verb("resume", &[], &[]).run().ok();
        // A paused one goes too.
        container.verb("pause", &[], &[]).run().ok();
        container.delete(&["--force"]).ok();
        container.assert_gone();
        assert_no_unit(&unit);
    });
}

#[runs(guest, trixie, v1)]
fn what_systemd_has_stopped_is_a_stopped_container() {
    each_scoped(&[NOT_ASKED], |runtime| {
        // The shell may not be listening for SIGTERM yet.
        let (bundle, unit) = named(Bundle::sleeper());
        let bundle = bundle
            .edit(|config| config["annotations"] = json!({"org.systemd.property.TimeoutStopUSec": "uint64 2000000"}));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        Invocation::new("systemctl", &["stop", &unit]).run().ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

/// The calls by which the maker and systemd talk, and what is done between.
const MOMENTS: [&str; 6] = ["connect", "sendto", "recvfrom", "ppoll", "clone3", "renameat"];

#[runs(guest, trixie, v1)]
fn a_killed_maker_leaves_what_delete_removes() {
    if !strace::available() {
        return skip("strace is not installed");
    }
    each_scoped(&OURS, |runtime| {
        let points = moments(runtime);
        assert!(points.len() > 10, "{points:?}");
        for (name, nth) in points {
            let (bundle, unit) = named(limited(Bundle::sleeper(), &json!({"memory": {"limit": 67_108_864}})));
            let container = runtime.container(&bundle);
            let death = strace::death(&name, nth);
            container.run_under(&["strace", "-D", "-qq", "-o", "/dev/null", "-e", &death], &["--detach"]).run();
            let list = runtime.command(&["list"]).run();
            assert!(list.succeeded(), "{list}");
            container.delete(&["--force"]).ok();
            let left = until_none(|| container.leftovers());
            assert!(left.is_empty(), "killed at {name} #{nth}: {left:?}");
            assert_no_unit(&unit);
        }
    });
}

fn moments(runtime: &Runtime) -> Vec<(String, usize)> {
    let (bundle, _unit) = named(limited(Bundle::sleeper(), &json!({"memory": {"limit": 67_108_864}})));
    let container: Container<'_> = runtime.container(&bundle);
    let log = bundle.path().join("strace.log");
    container.run_under(&["strace", "-D", "-f", "-qq", "-o", &log.to_string_lossy()], &["--detach"]).run().ok();
    let counts = strace::counts(&log, false);
    let all = MOMENTS.iter().filter_map(|name| counts.get_key_value(*name));
    all.flat_map(|(name, count)| (1..=*count).map(move |nth| (name.clone(), nth))).collect()
}

#[runs(guest, trixie, v1)]
fn without_the_flag_nobody_is_asked() {
    if !strace::available() {
        return skip("strace is not installed");
    }
    each(&OURS, |runtime| {
        let bundle = Bundle::new();
        let container = runtime.container(&bundle);
        let log = bundle.path().join("strace.log");
        let words = ["strace", "-D", "-f", "-qq", "-e", "trace=connect", "-o", &log.to_string_lossy()];
        container.run_under(&words, &[]).run().ok();
        let calls = std::fs::read_to_string(&log).unwrap();
        assert!(!calls.contains("connect("), "{calls}");
    });
}

#[runs(host)]
fn a_host_without_systemd_is_told_so() {
    if Path::new("/run/systemd/system").is_dir() {
        return skip("systemd is PID 1 here");
    }
    each_scoped(&OURS, |runtime| {
        let bundle = Bundle::new();
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["systemd", "/run/systemd/system", "leave --systemd-cgroup out"]);
        container.assert_gone();
    });
}
