//! New limits for living containers: each flag and each member as the kernel has it afterwards, in any order of raising
//! and lowering; and the refusals, after which nothing has changed.

use std::fs::{self, File};
use std::path::PathBuf;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups::{self, Layout, layout};
use skiff_integration_tests::command::{Outcome, eventually};
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_integration_tests::strace;
use skiff_lanes::runs;

const NO_UPDATE: Exemption = (Kind::Reference, "has no update");
const NO_UNITS: Exemption = (Kind::Crun, "crun 1.8 takes bytes alone");
const OURS: [Exemption; 3] =
    [(Kind::Runc, "the words are ours"), (Kind::Crun, "the words are ours"), (Kind::Reference, "the words are ours")];
const MIB: u64 = 1 << 20;

/// A sleeper whose limits an update can change, on v2 without ones to begin with.
fn limited() -> Bundle {
    let limits =
        json!({"memory": {"limit": 64 * MIB, "swap": 128 * MIB}, "cpu": {"shares": 256}, "pids": {"limit": 50}});
    Bundle::sleeper().edit(|config| {
        for (section, value) in limits.as_object().unwrap() {
            config["linux"]["resources"][section] = value.clone();
        }
    })
}

/// Runs `check` on a running container that is [`limited`] with each runtime.
#[track_caller]
fn each_limited(exemptions: &[Exemption], check: impl Fn(&Container<'_>)) {
    each(exemptions, |runtime| {
        if cannot(runtime) {
            return;
        }
        let bundle = limited();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        check(&container);
    });
}

fn update(container: &Container<'_>, options: &[&str]) -> Outcome {
    container.verb("update", options, &[]).run()
}

/// `update --resources -`, as containerd's shim calls it.
fn update_with(container: &Container<'_>, document: &str) -> Outcome {
    let path = container.bundle.path().join("resources.json");
    fs::write(&path, document).unwrap();
    container.verb("update", &["--resources", "-"], &[]).stdin(File::open(&path).unwrap()).run()
}

/// `controller file` on v1 and on v2, and what it says.
type Seen<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

#[track_caller]
fn sees(pid: u32, seen: &[Seen<'_>]) {
    for (controller, v1, v1_says, v2, v2_says) in seen {
        let (file, says) = if layout() == Layout::Unified { (v2, v2_says) } else { (v1, v1_says) };
        if !file.is_empty() {
            let text = cgroups::read(pid, controller, file);
            assert!(says.split('|').any(|says| text == says), "{file}: {text}, not {says}");
        }
    }
}

const LIMIT: (&str, &str, &str) = ("memory", "memory.limit_in_bytes", "memory.max");
const SWAP: (&str, &str, &str) = ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");

/// Memory, and memory and swap together, in MiB; the largest number stands for no limit.
#[track_caller]
fn has_memory(pid: u32, limit: u64, total: u64) {
    let unlimited = u64::MAX;
    let read = |(controller, v1, v2): (&str, &str, &str)| -> u64 {
        let text = cgroups::read(pid, controller, if layout() == Layout::Unified { v2 } else { v1 });
        text.parse().ok().filter(|bytes| *bytes < 1 << 60).map_or(unlimited, |bytes: u64| bytes / MIB)
    };
    let (seen, mut both) = (read(LIMIT), read(SWAP));
    if layout() == Layout::Unified && both != unlimited {
        both += seen;
    }
    assert_eq!((seen, both), (limit, total));
}

/// Every limit of the container as text, to see that nothing has changed.
fn all(pid: u32) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for controller in ["memory", "cpu", "cpuset", "pids", "blkio", "io"] {
        let Some(folder) = cgroups::folder(pid, controller) else { continue };
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let limit = ["limit", "max", "min", "low", "high", "shares", "weight", "quota", "period", "burst", "idle"];
            let counts = ["max_usage", "pressure", "numa"];
            let is_limit =
                limit.iter().any(|word| name.contains(word)) || matches!(&*name, "cpuset.cpus" | "cpuset.mems");
            if is_limit && !counts.iter().any(|word| name.contains(word)) {
                found.push((entry.path(), fs::read_to_string(entry.path()).unwrap_or_default()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn cannot(runtime: &Runtime) -> bool {
    // The private cgroup2 in which crun runs on a hybrid host has no controllers.
    runtime.is_wrapped() || !cgroups::has("memory")
}

#[runs(cgroups)]
fn each_flag_is_what_the_kernel_has_then() {
    each_limited(&[NO_UPDATE, NO_UNITS], |container| {
        let pid = container.pid();
        let set = |options: &[&str], seen: &[Seen<'_>]| {
            assert_eq!(update(container, options).ok(), "");
            sees(pid, seen);
        };
        has_memory(pid, 64, 128);
        set(&["--memory", "100M"], &[]);
        has_memory(pid, 100, 128);
        set(&["--memory-swap", "160m"], &[]);
        has_memory(pid, 100, 160);
        set(
            &["--memory-reservation", "33554432"],
            &[("memory", "memory.soft_limit_in_bytes", "33554432", "memory.low", "33554432")],
        );
        // The weight by runc's first formula, or by the one of 2025.
        set(&["--cpu-share", "512"], &[("cpu", "cpu.shares", "512", "cpu.weight", "20|59")]);
        let bandwidth = |quota, period, both| {
            [("cpu", "cpu.cfs_quota_us", quota, "cpu.max", both), ("cpu", "cpu.cfs_period_us", period, "", "")]
        };
        set(&["--cpu-period", "50000", "--cpu-quota", "25000"], &bandwidth("25000", "50000", "25000 50000"));
        set(&["--cpu-quota", "20000"], &bandwidth("20000", "50000", "20000 50000"));
        set(&["--cpu-period", "40000"], &bandwidth("20000", "40000", "20000 40000"));
        set(&["--cpu-quota", "-1"], &bandwidth("-1", "40000", "max 40000"));
        set(
            &["--cpuset-cpus", "0", "--cpuset-mems", "0"],
            &[("cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0", "cpuset.mems", "0")],
        );
        set(&["--pids-limit", "44"], &[("pids", "pids.max", "44", "pids.max", "44")]);
        set(&["--pids-limit", "-1"], &[("pids", "pids.max", "max", "pids.max", "max")]);
        set(&[], &[("cpu", "cpu.shares", "512", "cpu.weight", "20|59")]);
        has_memory(pid, 100, 160);
        assert_eq!(container.status(), "running");
    });
}

#[test]
fn flags_that_old_runtimes_lack() {
    each_limited(&OURS, |container| {
        let pid = container.pid();
        update(container, &["--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-burst", "40000"]).ok();
        let burst = |says| [("cpu", "cpu.cfs_burst_us", says, "cpu.max.burst", says)];
        sees(pid, &burst("40000"));
        // The old burst is above the new quota, so it has to go down first.
        update(container, &["--cpu-quota", "20000", "--cpu-burst", "10000"]).ok();
        sees(pid, &burst("10000"));
        update(container, &["--cpu-shares", "1024"]).ok();
        sees(pid, &[("cpu", "cpu.shares", "1024", "cpu.weight", "39")]);
        update(container, &["--cpu-idle", "1"]).ok();
        sees(pid, &[("cpu", "cpu.idle", "1", "cpu.idle", "1")]);
        update(container, &["--cpu-idle", "0"]).ok();
        sees(pid, &[("cpu", "cpu.idle", "0", "cpu.idle", "0")]);
        // What this kernel may lack is set or refused, never left out in silence.
        let changed = |flag: &str, value: &str| {
            let before = all(pid);
            let outcome = update(container, &[flag, value]);
            if outcome.succeeded() {
                assert_ne!(all(pid), before, "{flag}");
            } else {
                outcome.exits(1).fails_with(&["keeps its limits", "linux.resources."]);
                assert_eq!(all(pid), before, "{flag}");
            }
        };
        changed("--blkio-weight", "500");
        changed("--cpu-rt-period", "900000");
    });
}

#[test]
fn memory_goes_up_and_down_with_its_swap() {
    each_limited(&[NO_UPDATE, NO_UNITS], |container| {
        let pid = container.pid();
        for (limit, total) in [(64, 64), (256, 256), (256, 512), (32, 48), (48, 48), (300, 301), (20, 20)] {
            let [memory, swap] = [limit, total].map(|size: u64| format!("{size}M"));
            update(container, &["--memory", &memory, "--memory-swap", &swap]).ok();
            has_memory(pid, limit, total);
        }
        update(container, &["--memory", "-1"]).ok();
        has_memory(pid, u64::MAX, u64::MAX);
        update(container, &["--memory", "50M", "--memory-swap", "-1"]).ok();
        has_memory(pid, 50, u64::MAX);
    });
}

#[test]
fn a_document_sets_all_at_once() {
    each(&[NO_UPDATE], |runtime| {
        if cannot(runtime) {
            return;
        }
        let bundle = limited();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        let pid = container.pid();
        let document = json!({
            "memory": {"limit": 200 * MIB, "swap": 300 * MIB, "reservation": 32 * MIB},
            "cpu": {"shares": 512, "quota": 30_000, "period": 60_000, "cpus": "0"},
            "pids": {"limit": 77},
            "devices": [{"allow": true, "type": "c", "major": 10, "minor": 251, "access": "rwm"}],
        });
        update_with(&container, &document.to_string()).ok();
        has_memory(pid, 200, 300);
        sees(
            pid,
            &[
                ("memory", "memory.soft_limit_in_bytes", "33554432", "memory.low", "33554432"),
                ("cpu", "cpu.shares", "512", "cpu.weight", "20|59"),
                ("cpu", "cpu.cfs_quota_us", "30000", "cpu.max", "30000 60000"),
                ("cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"),
                ("pids", "pids.max", "77", "pids.max", "77"),
            ],
        );
        if layout() == Layout::Legacy {
            let devices = cgroups::read(pid, "devices", "devices.list");
            assert!(!devices.contains("10:251"), "an update leaves the devices alone: {devices}");
        }
        let file = bundle.path().join("more.json");
        fs::write(&file, r#"{"pids":{"limit":78}}"#).unwrap();
        update(&container, &["-r", &file.to_string_lossy()]).ok();
        sees(pid, &[("pids", "pids.max", "78", "pids.max", "78")]);
        has_memory(pid, 200, 300);
        update_with(&container, "{}").ok();
        has_memory(pid, 200, 300);
        container.start().ok();
        assert_eq!(container.status(), "running");
    });
}

#[runs(cgroups)]
fn a_limit_is_felt_and_a_stopped_container_has_none() {
    each(&[NO_UPDATE, (Kind::Crun, "says yes to a stopped container")], |runtime| {
        if cannot(runtime) {
            return;
        }
        // A line each time that a further process can be had.
        let script = "while :; do (true &) 2>/dev/null && echo one >>/data/log; sleep 0.02; done";
        let bundle = Bundle::script(script).writable();
        let log = bundle.rootfs().join("data/log");
        let length = || fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let grows = || {
            let before = length();
            eventually("the program forks", || (length() > before).then_some(()));
        };
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        grows();
        update(&container, &["--pids-limit", "1"]).ok();
        // busybox's shell ends when it cannot fork.
        container.reaches("stopped");
        update(&container, &["--pids-limit", "9"]).exits(1).fails_with(&["not running"]);
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn a_paused_container_can_be_updated() {
    each_limited(&[NO_UPDATE, NO_UNITS], |container| {
        container.verb("pause", &[], &[]).run().ok();
        update(container, &["--pids-limit", "31", "--memory", "80M"]).ok();
        assert_eq!(container.status(), "paused", "an update does not end a pause");
        sees(container.pid(), &[("pids", "pids.max", "31", "pids.max", "31")]);
        container.verb("resume", &[], &[]).run().ok();
        has_memory(container.pid(), 80, 128);
    });
}

#[test]
fn words_that_are_wrong_change_nothing() {
    each(&OURS, |runtime| {
        if cannot(runtime) {
            return;
        }
        let bundle = limited();
        let container = runtime.container(&bundle);
        update(&container, &["--pids-limit", "9"]).exits(1).fails_with(&["does not exist"]);
        runtime.command(&["update", "--pids-limit", "9"]).run().exits(1).fails_with(&["needs a container id"]);
        container.run(&["--detach"]).ok();
        let before = all(container.pid());
        assert!(before.len() > 10, "{before:?}");
        let rows: &[(&[&str], &str)] = &[
            (&["--memory", "-2"], "--memory -2"),
            (&["--memory", ""], "--memory "),
            (&["--memory", "12Q"], "--memory 12Q"),
            (&["--memory", "9223372036854775808"], "--memory 9223372036854775808"),
            (&["--memory", "9999999999999999999999999G"], "--memory 9999999999999999999999999G"),
            (&["--memory", "129M"], "--memory-swap"),
            (&["--memory-swap", "63M"], "below `limit`"),
            (&["--memory", "-1", "--memory-swap", "100M"], "memory.swap"),
            (&["--cpu-share", "-5"], "--cpu-share -5"),
            (&["--cpu-share", "1"], "cpu.shares"),
            (&["--cpu-share", "99999999999999999999"], "--cpu-share"),
            (&["--cpu-quota", "ten"], "--cpu-quota ten"),
            (&["--cpu-quota", "1"], if layout() == Layout::Unified { "cpu.max" } else { "cpu.cfs_quota_us" }),
            (&["--cpu-period", "-1"], "--cpu-period -1"),
            (&["--cpu-period", "1"], if layout() == Layout::Unified { "cpu.max" } else { "cpu.cfs_period_us" }),
            (&["--cpu-idle", "2"], "--cpu-idle 2"),
            (&["--cpuset-cpus", "0-4095"], "cpuset.cpus"),
            (&["--cpuset-cpus", "zero"], "--cpuset-cpus zero"),
            (&["--cpuset-mems", "99"], "cpuset.mems"),
            (&["--pids-limit", "9223372036854775808"], "--pids-limit"),
            (&["--pids-limit", "many"], "--pids-limit many"),
            (&["--blkio-weight", "9"], "blockIO.weight"),
            (&["--blkio-weight", "65546"], "--blkio-weight 65546"),
            (&["--kernel-memory", "5M"], "memory.kernel"),
            (&["--l3-cache-schema", "L3:0=f"], "--l3-cache-schema"),
            (&["--nonsense", "1"], "--nonsense"),
            (&["--pids-limit", "9", "--resources", "-"], "--pids-limit"),
            (&["--resources", "/no/such/file"], "/no/such/file"),
            (&["--resources", "/"], "cannot be read"),
            (&["extra"], "unexpected argument"),
            (&["--pids-limit"], "is not understood"),
        ];
        for (options, words) in rows {
            let error = update(&container, options).exits(1).fails_with(&[words]);
            assert_eq!(error.trim_end().lines().count(), 1, "{options:?}: {error}");
            assert_eq!(all(container.pid()), before, "{options:?}");
        }
        assert_eq!(container.status(), "running");
    });
}

#[test]
fn documents_that_are_wrong_change_nothing() {
    each_limited(&OURS, |container| {
        let before = all(container.pid());
        let large = format!(r#"{{"unified":{{"memory.high":"{}"}}}}"#, "9".repeat(5 << 20));
        let rows = [
            ("", "not a valid `linux.resources`"),
            ("null", "not a valid `linux.resources`"),
            ("[1]", "not a valid `linux.resources`"),
            (r#"{"pids":{"limit":9}"#, "not a valid `linux.resources`"),
            (r#"{"pids":{"limit":9}} {}"#, "trailing characters"),
            (r#"{"pids":{"limit":9},"pids":{"limit":10}}"#, "duplicate field"),
            (r#"{"pids":{"limit":"9"}}"#, "pids.limit"),
            (r#"{"pids":{"limit":1e40}}"#, "pids.limit"),
            (r#"{"pids":{"limit":9},"memory":{"limit":-2}}"#, "memory.limit"),
            (r#"{"pids":{"limit":9},"memory":{"limit":92233720368547758070}}"#, "memory.limit"),
            (r#"{"pids":{"limit":9},"cpu":{"shares":-1}}"#, "cpu.shares"),
            (r#"{"pids":{"limit":9},"memroy":{"limit":100}}"#, "memroy"),
            (r#"{"pids":{"limit":9,"most":1}}"#, "pids.most"),
            (r#"{"pids":{"limit":9},"hugepageLimits":[{"pageSize":"3MB","limit":3145728}]}"#, "3MB"),
            (r#"{"pids":{"limit":9},"unified":{"../cpu.shares":"2"}}"#, "linux.resources.unified"),
            (r#"{"pids":{"limit":9},"unified":{"cgroup.procs":"1"}}"#, "linux.resources.unified"),
            (&*large, "larger than"),
        ];
        for (document, words) in rows {
            update_with(container, document).exits(1).fails_with(&[words]);
            assert_eq!(all(container.pid()), before, "{words}");
        }
    });
}

#[runs(cgroups)]
fn what_was_written_is_set_back_when_the_kernel_refuses_the_rest() {
    let too_little = json!({"cpu": {"cpus": "0", "shares": 300, "quota": 1}}).to_string();
    each(&OURS, |runtime| {
        if cannot(runtime) {
            return;
        }
        let bundle = limited();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        let before = all(pid);
        update_with(&container, &too_little).exits(1).fails_with(&[
            "keeps its limits",
            "cpu.quota",
            "Invalid argument",
        ]);
        assert_eq!(all(pid), before);
        if !strace::available() {
            return skip("no strace");
        }
        // The second write to this file is the one that sets it back.
        let file = if layout() == Layout::Unified { "cpu.weight" } else { "cpu.shares" };
        let path = cgroups::folder(pid, "cpu").unwrap().join(file).to_string_lossy().into_owned();
        let trace = bundle.path().join("trace").to_string_lossy().into_owned();
        let injection = "inject=write:error=EIO:when=2";
        let prefix = ["strace", "-D", "-f", "-qq", "-o", &*trace, "-P", &*path, "-e", injection];
        let document = bundle.path().join("resources.json");
        let arguments = ["update", "-r", &*document.to_string_lossy(), &*container.id];
        let outcome = runtime.command_under(&prefix, &arguments).run();
        outcome.exits(1).fails_with(&["could not be set back", file, "cpu.quota", "update it again"]);
        assert_ne!(all(pid), before);
    });
}

#[test]
fn memory_below_what_is_used() {
    each(&OURS, |runtime| {
        if cannot(runtime) {
            return;
        }
        let script = "dd if=/dev/zero of=/dev/shm/full bs=1M count=40 2>/dev/null; echo full >/data/log; sleep 1000";
        let bundle = limited().args(&["/bin/sh", "-c", script]).writable();
        let log = bundle.rootfs().join("data/log");
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        eventually("40 MiB are in use", || fs::read_to_string(&log).ok().filter(|text| text == "full\n"));
        let before = all(container.pid());
        let mut document: Value = json!({"memory": {"limit": 8 * MIB, "swap": 8 * MIB}, "pids": {"limit": 9}});
        let words = if layout() == Layout::Unified {
            // Without it the kernel makes room by killing.
            document["memory"]["checkBeforeUpdate"] = json!(true);
            "bytes already"
        } else {
            "the container uses more already"
        };
        update_with(&container, &document.to_string()).exits(1).fails_with(&["keeps its limits", words]);
        assert_eq!(all(container.pid()), before);
        assert_eq!(container.status(), "running");
    });
}

#[runs(guest, trixie, arm64)]
fn raw_keys_of_v2() {
    each(&[NO_UPDATE, (Kind::Runc, "not measured"), (Kind::Crun, "not measured")], |runtime| {
        let bundle = limited();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        update_with(&container, r#"{"unified":{"memory.high":"50331648","pids.max":"55"}}"#).ok();
        assert_eq!(cgroups::read(pid, "", "memory.high"), "50331648");
        assert_eq!(cgroups::read(pid, "", "pids.max"), "55");
        let before = all(pid);
        update_with(&container, r#"{"unified":{"memory.high":"1","no.such_key":"1"}}"#).fails_with(&["no.such_key"]);
        update_with(&container, r#"{"unified":{"cpu.weight":"7","pids.max":"x"}}"#).fails_with(&["pids.max"]);
        assert_eq!(all(pid), before);
    });
}

#[test]
fn a_controller_that_the_container_began_without() {
    each(&OURS, |runtime| {
        if cannot(runtime) {
            return;
        }
        let bundle = Bundle::sleeper().without_limits();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        update(&container, &["--memory", "64M", "--cpu-share", "512", "--pids-limit", "20"]).ok();
        sees(
            container.pid(),
            &[
                ("memory", LIMIT.1, "67108864", LIMIT.2, "67108864"),
                ("cpu", "cpu.shares", "512", "cpu.weight", "20"),
                ("pids", "pids.max", "20", "pids.max", "20"),
            ],
        );
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[test]
fn without_a_cgroup_nothing_can_be_limited() {
    each(&OURS, |runtime| {
        let bundle = Bundle::sleeper().without_limits();
        let container = runtime.container(&bundle);
        container.run_without_cgroup().ok();
        update(&container, &["--pids-limit", "20"]).exits(1).fails_with(&["pids.limit", "--cgroup-manager=disabled"]);
        update(&container, &[]).ok();
    });
}

#[test]
fn cpus_are_what_they_were_when_the_memory_nodes_are_refused() {
    each_limited(&OURS, |container| {
        let pid = container.pid();
        let allowed = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_owned()
        };
        let before = (allowed(), cgroups::read(pid, "pids", "pids.max"));
        let document = r#"{"cpu":{"cpus":"0","mems":"63"},"pids":{"limit":9}}"#;
        update_with(container, document).exits(1).fails_with(&["keeps its limits", "cpuset.mems"]);
        assert_eq!((allowed(), cgroups::read(pid, "pids", "pids.max")), before);
    });
}
