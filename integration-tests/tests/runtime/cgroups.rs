//! Cgroups: each limit as the kernel has it, on whichever layout this machine has; device rules as the container feels
//! them; paths; and the refusal of what cannot be given.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::{Bundle, in_user_namespaces};
use skiff_integration_tests::cgroups::{self, Layout, layout};
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::leftovers::{cgroup_folders, until_none};
use skiff_integration_tests::runtime::{Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

/// One row: the property, its value, and for v1 and v2 the controller, the file and what it must say. Of several
/// values separated by `|` one must be there.
struct Row {
    resources: Value,
    v1: &'static [(&'static str, &'static str, &'static str)],
    v2: &'static [(&'static str, &'static str, &'static str)],
    exempt: &'static [Exemption],
}

const NOT_OLD: &[Exemption] = &[(Kind::Runc, "runc 1.1 does not know it"), (Kind::Crun, "crun 1.8 does not know it")];

fn rows() -> Vec<Row> {
    let row = |resources, v1, v2| Row { resources, v1, v2, exempt: &[] };
    vec![
        row(
            json!({"memory": {"limit": 67_108_864}}),
            &[("memory", "memory.limit_in_bytes", "67108864")],
            &[("memory", "memory.max", "67108864")],
        ),
        row(
            json!({"memory": {"reservation": 33_554_432}}),
            &[("memory", "memory.soft_limit_in_bytes", "33554432")],
            &[("memory", "memory.low", "33554432")],
        ),
        row(
            json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}}),
            &[("memory", "memory.memsw.limit_in_bytes", "134217728")],
            &[("memory", "memory.swap.max", "67108864")],
        ),
        row(json!({"memory": {"swappiness": 10}}), &[("memory", "memory.swappiness", "10")], &[]),
        Row {
            resources: json!({"memory": {"disableOOMKiller": true}}),
            v1: &[("memory", "memory.oom_control", "oom_kill_disable 1")],
            v2: &[],
            exempt: &[(Kind::Reference, "libcontainer leaves it on unless a limit is set too")],
        },
        // The weight by runc's first formula (20), or by the one of 2025 that keeps 1024 at 100 (59).
        row(json!({"cpu": {"shares": 512}}), &[("cpu", "cpu.shares", "512")], &[("cpu", "cpu.weight", "20|59")]),
        row(
            json!({"cpu": {"quota": 50_000, "period": 100_000}}),
            &[("cpu", "cpu.cfs_quota_us", "50000"), ("cpu", "cpu.cfs_period_us", "100000")],
            &[("cpu", "cpu.max", "50000 100000")],
        ),
        Row {
            resources: json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 10_000}}),
            v1: &[("cpu", "cpu.cfs_burst_us", "10000")],
            v2: &[("cpu", "cpu.max.burst", "10000")],
            exempt: NOT_OLD,
        },
        Row {
            resources: json!({"cpu": {"idle": 1}}),
            v1: &[("cpu", "cpu.idle", "1")],
            v2: &[("cpu", "cpu.idle", "1")],
            exempt: NOT_OLD,
        },
        row(
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
            &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
        ),
        row(json!({"pids": {"limit": 33}}), &[("pids", "pids.max", "33")], &[("pids", "pids.max", "33")]),
        row(json!({"pids": {"limit": -1}}), &[("pids", "pids.max", "max")], &[("pids", "pids.max", "max")]),
    ]
}

fn limited(bundle: Bundle, resources: &Value) -> Bundle {
    bundle.edit(|config| {
        let target = config["linux"]["resources"].as_object_mut().unwrap();
        target.extend(resources.as_object().unwrap().clone());
    })
}

/// crun has no controllers in its private cgroup2 on a machine of the old layout.
fn has_no_limits(runtime: &Runtime) -> bool {
    runtime.is_wrapped()
}

#[runs(cgroups)]
fn limits_are_in_the_kernels_files() {
    for Row { resources, v1, v2, exempt } in rows() {
        let files = if layout() == Layout::Unified { v2 } else { v1 };
        if files.is_empty() {
            // This layout has no such limit; `what_the_host_lacks_is_refused` has the row.
            continue;
        }
        each(exempt, |runtime| {
            if has_no_limits(runtime) {
                return;
            }
            let bundle = limited(Bundle::sleeper(), &resources);
            let container = runtime.container(&bundle);
            container.run(&["--detach"]).ok();
            for (controller, file, wanted) in files {
                if !cgroups::folder(container.pid(), controller).is_some_and(|folder| folder.join(file).exists()) {
                    skip(&format!("no {file} on this machine"));
                    continue;
                }
                let seen = cgroups::read(container.pid(), controller, file);
                let matches = wanted.split('|').any(|value| seen == value || seen.lines().any(|line| line == value));
                assert!(matches, "{resources}: {file} says {seen:?}, not {wanted:?}");
            }
            // libcontainer's deletion gives up now and then while the kernel still empties the cgroup.
            if runtime.kind != Kind::Reference {
                container.delete(&["--force"]).ok();
                container.assert_gone();
            }
        });
    }
}

#[runs(cgroups)]
fn limits_of_a_created_container_hold_before_its_start() {
    each(&[], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        let bundle = limited(Bundle::sleeper(), &json!({"pids": {"limit": 44}, "memory": {"limit": 67_108_864}}));
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        assert_eq!(cgroups::read(container.pid(), "pids", "pids.max"), "44");
        let file = if layout() == Layout::Unified { "memory.max" } else { "memory.limit_in_bytes" };
        assert_eq!(cgroups::read(container.pid(), "memory", file), "67108864");
    });
}

#[runs(cgroups)]
fn cpu_quota_is_felt() {
    each(&[], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        let quota = json!({"cpu": {"quota": 10_000, "period": 100_000}});
        let bundle = limited(Bundle::script("while :; do :; done"), &quota);
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        eventually("the kernel counts periods in which it was throttled", || {
            let stat = cgroups::read(pid, "cpu", "cpu.stat");
            let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse::<u64>().ok());
            (count.expect("cpu.stat counts them") > 2).then_some(())
        });
    });
}

#[runs(cgroups)]
fn block_device_throttle_is_felt() {
    let device = fs::metadata(std::env::temp_dir()).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let whole = format!("/sys/dev/block/{major}:{minor}");
    if !std::path::Path::new(&whole).exists() || std::path::Path::new(&whole).join("partition").exists() {
        return skip("temporary files are not on a whole disk");
    }
    if !cgroups::has(if layout() == Layout::Unified { "io" } else { "blkio" }) {
        return skip("no io controller");
    }
    // Past the page cache; three seconds' worth at that rate, of which the kernel may let the first go at once.
    let script = "dd if=/dev/zero of=/data/file bs=65536 count=48 oflag=direct 2>/dev/null && echo written";
    each(&[], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        let rate = json!([{"major": major, "minor": minor, "rate": 1_048_576}]);
        let bundle = limited(Bundle::script(script).writable(), &json!({"blockIO": {"throttleWriteBpsDevice": rate}}));
        let begun = std::time::Instant::now();
        assert_eq!(runtime.run(&bundle).ok(), "written\n");
        assert!(begun.elapsed().as_millis() > 1_800, "3 MiB at 1 MiB a second took {:?}", begun.elapsed());
    });
}

#[runs(cgroups)]
fn pids_limit_is_felt() {
    each(&[], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        let script = "i=0; while [ $i -lt 30 ]; do sleep 1000 & i=$((i+1)); done; echo all";
        let bundle = limited(Bundle::script(script), &json!({"pids": {"limit": 10}}));
        let outcome = runtime.run(&bundle);
        assert!(!outcome.stdout.contains("all") && outcome.stderr.contains("can't fork"), "{outcome}");
    });
}

#[runs(cgroups)]
fn memory_limit_kills_with_137() {
    each(&[], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        // tail keeps what it reads until a line ends. Swap would only make it slow.
        let bundle = limited(
            Bundle::new().args(&["/bin/tail", "/dev/zero"]),
            &json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}}),
        );
        let container = runtime.container(&bundle);
        container.run(&[]).exits(137);
        container.assert_gone();
    });
}

#[runs(guest, trixie, arm64)]
fn unified_keys() {
    each(&[], |runtime| {
        let keys = json!({"memory.high": "50331648", "pids.max": "55"});
        let bundle = limited(Bundle::sleeper(), &json!({"unified": keys}));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        assert_eq!(cgroups::read(container.pid(), "", "memory.high"), "50331648");
        assert_eq!(cgroups::read(container.pid(), "", "pids.max"), "55");
        for wrong in ["../escape", "no.such_key", "cgroup.procs/../x"] {
            let bundle = limited(Bundle::new(), &json!({"unified": {wrong: "1"}}));
            let container = runtime.container(&bundle);
            container.run(&[]).fails();
            // crun 1.8 leaves its cgroup behind.
            if runtime.kind != Kind::Crun {
                container.assert_gone();
            }
        }
    });
}

fn block_device() -> Option<(u64, u64)> {
    let mut entries: Vec<_> = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    // A virtual disk comes last in the alphabet, after loops and rams.
    let text = entries.iter().rev().find_map(|path| fs::read_to_string(path.join("dev")).ok())?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[runs(cgroups)]
fn block_device_throttles() {
    let Some((major, minor)) = block_device() else { return skip("no block device") };
    if !cgroups::has(if layout() == Layout::Unified { "io" } else { "blkio" }) {
        return skip("no io controller");
    }
    each(&[], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        let throttle = json!([{"major": major, "minor": minor, "rate": 1_048_576}]);
        let bundle = limited(
            Bundle::sleeper(),
            &json!({"blockIO": {"throttleReadBpsDevice": throttle, "throttleWriteIOPSDevice": throttle}}),
        );
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        if layout() == Layout::Unified {
            let seen = cgroups::read(pid, "io", "io.max");
            assert!(seen.contains(&format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=1048576")), "{seen}");
        } else {
            let wanted = format!("{major}:{minor} 1048576");
            assert_eq!(cgroups::read(pid, "blkio", "blkio.throttle.read_bps_device"), wanted);
            assert_eq!(cgroups::read(pid, "blkio", "blkio.throttle.write_iops_device"), wanted);
        }
    });
}

#[runs(cgroups)]
fn huge_pages() {
    let unified = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
    let beside = unified.contains("hugetlb");
    if !cgroups::has("hugetlb") && !beside {
        return skip("no hugetlb controller");
    }
    let hybrid: &[Exemption] = if beside {
        &[
            (Kind::Runc, "uses no controller of cgroup2 on a hybrid host"),
            (Kind::Crun, "as runc"),
            (Kind::Reference, "as runc"),
        ]
    } else {
        &[]
    };
    each(hybrid, |runtime| {
        let bundle = limited(Bundle::sleeper(), &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        let (limit, reserved) = if layout() == Layout::Unified || beside {
            (("", "hugetlb.2MB.max"), ("", "hugetlb.2MB.rsvd.max"))
        } else {
            (("hugetlb", "hugetlb.2MB.limit_in_bytes"), ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes"))
        };
        assert_eq!(cgroups::read(pid, limit.0, limit.1), "4194304");
        if runtime.kind != Kind::Crun {
            assert_eq!(cgroups::read(pid, reserved.0, reserved.1), "4194304", "the reservation too");
        }
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

// 10:251 has no driver: an open that the rules let through fails with ENODEV, one that they stop with EPERM.
pub(crate) const READ_PROBE: &str = "(: </dev/probe) 2>&1 | grep -q 'not permitted' && echo - || echo r";
pub(crate) const WRITE_PROBE: &str = "(: >/dev/probe) 2>&1 | grep -q 'not permitted' && echo - || echo w";

/// What opening a device says: `EPERM` from the device rules, something else from the driver.
pub(crate) fn opens(runtime: &Runtime, rules: &Value, script: &str) -> String {
    let bundle = Bundle::script(script).edit(|config| {
        config["linux"]["resources"]["devices"] = rules.clone();
        config["linux"]["devices"] =
            json!([{"path": "/dev/probe", "type": "c", "major": 10, "minor": 251, "fileMode": 0o666}]);
    });
    runtime.run(&bundle).stdout
}

#[runs(cgroups)]
fn device_rules_are_felt() {
    if in_user_namespaces() {
        return skip("a user namespace makes no device nodes but borrows the host's");
    }
    let (read, write) = (READ_PROBE, WRITE_PROBE);
    each(&[(Kind::Reference, "enforces them on v1 only")], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        let deny = json!({"allow": false, "access": "rwm"});
        let allow = |access: &str| json!({"allow": true, "type": "c", "major": 10, "minor": 251, "access": access});
        let script = format!("{read}; {write}; head -c 1 /dev/zero | wc -c");
        for (rules, expected) in [
            (json!([deny]), "-\n-\n1\n"),
            (json!([deny, allow("r")]), "r\n-\n1\n"),
            (json!([deny, allow("rwm")]), "r\nw\n1\n"),
            (json!([{"allow": true, "access": "rwm"}]), "r\nw\n1\n"),
            (json!([deny, {"allow": true, "type": "c", "major": 10, "access": "rw"}]), "r\nw\n1\n"),
            (json!([deny, {"allow": true, "type": "b", "major": 10, "minor": 251, "access": "rw"}]), "-\n-\n1\n"),
        ] {
            assert_eq!(opens(runtime, &rules, &script), expected, "{rules}");
        }
    });
}

#[runs(cgroups)]
fn the_default_list_denies_other_devices() {
    if in_user_namespaces() {
        return skip("a user namespace makes no device nodes but borrows the host's");
    }
    each(&[(Kind::Reference, "enforces them on v1 only")], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        let script = "mknod /data/disk b 8 0 && (head -c 1 /data/disk) 2>&1 | grep -o 'Operation not permitted'";
        let bundle = Bundle::script(script).writable().edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
            }
            config["process"]["capabilities"]["ambient"] = json!([]);
        });
        assert_eq!(runtime.run(&bundle).stdout, "Operation not permitted\n");
    });
}

#[runs(cgroups)]
fn cgroup_path_absolute_and_relative() {
    each(&[], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        for slash in ["/", ""] {
            let bundle = Bundle::sleeper();
            let path = format!("{slash}{}/deep/er", bundle.id);
            let bundle = bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path));
            let container = runtime.container(&bundle);
            container.run(&["--detach"]).ok();
            let seen = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
            let wanted = format!("/{}/deep/er", bundle.id);
            assert!(seen.lines().any(|line| line.ends_with(&wanted)), "{path}: {seen}");
            if slash == "/" {
                assert!(seen.lines().any(|line| line.ends_with(&format!(":{wanted}"))), "from the top: {seen}");
            }
            container.delete(&["--force"]).ok();
            let is_own = |line: &std::path::PathBuf| line.ends_with("er");
            let left = until_none(|| {
                cgroup_folders(&bundle.id).into_iter().filter(is_own).map(|path| path.display().to_string()).collect()
            });
            assert!(left.is_empty(), "{left:?}");
            for folder in cgroup_folders(&bundle.id).iter().rev() {
                fs::remove_dir(folder).unwrap();
            }
        }
    });
}

#[runs(cgroups)]
fn groups_that_the_container_made_are_removed_with_it() {
    each(&[(Kind::Reference, "leaves them on v1")], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        if in_user_namespaces() && layout() == Layout::Legacy {
            return skip("cgroup v1 is not delegated to a user namespace");
        }
        let script = "cd /sys/fs/cgroup; test -d pids && cd pids; mkdir -p sub/deep && echo made";
        let bundle = Bundle::script(script).namespace("cgroup", None).edit(|config| {
            for mount in config["mounts"].as_array_mut().unwrap() {
                if mount["type"] == "cgroup" {
                    mount["options"] = json!(["nosuid", "noexec", "nodev"]);
                }
            }
        });
        let container = runtime.container(&bundle);
        assert_eq!(container.run(&[]).ok(), "made\n");
        container.assert_gone();
    });
}

#[runs(cgroups)]
fn processes_that_outlive_init_are_killed_by_delete() {
    each(&[(Kind::Reference, "leaves them"), (Kind::Crun, "1.8 waits for them")], |runtime| {
        let bundle = Bundle::script("setsid sleep 1000 & exit 0").without_namespace("pid");
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        container.reaches("stopped");
        eventually("init is gone", || (container.status() == "stopped").then_some(()));
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[runs(cgroups)]
fn what_the_kernel_refuses_names_the_file() {
    each(&[(Kind::Reference, "leaves its folder"), (Kind::Crun, "leaves its cgroup")], |runtime| {
        if has_no_limits(runtime) {
            return;
        }
        for (resources, words) in [
            (json!({"cpu": {"cpus": "0-4095"}}), "cpuset.cpus"),
            (
                json!({"cpu": {"quota": 1, "period": 100_000}}),
                if layout() == Layout::Unified { "cpu.max" } else { "cpu.cfs_quota_us" },
            ),
        ] {
            let bundle = limited(Bundle::new(), &resources);
            let container = runtime.container(&bundle);
            container.run(&[]).fails_with(&[words]);
            container.assert_gone();
        }
    });
}

#[runs(cgroups)]
fn what_the_host_lacks_is_refused() {
    let lenient = [
        (Kind::Runc, "1.1 leaves it out in silence"),
        (Kind::Crun, "not measured"),
        (Kind::Reference, "leaves it out"),
    ];
    each(&lenient, |runtime| {
        let mut lacking = vec![(json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 3_145_728}]}), "3MB")];
        if !cgroups::has("net_cls") {
            lacking.push((json!({"network": {"classID": 7}}), "classID"));
        }
        if !cgroups::has("rdma") {
            lacking.push((json!({"rdma": {"mlx5_0": {"hcaHandles": 3}}}), "rdma"));
        }
        if layout() == Layout::Legacy {
            lacking.push((json!({"unified": {"memory.high": "50331648"}}), "unified"));
        } else {
            lacking.push((json!({"memory": {"swappiness": 10}}), "swappiness"));
            lacking.push((json!({"memory": {"disableOOMKiller": true}}), "disableOOMKiller"));
        }
        for (resources, words) in lacking {
            let bundle = limited(Bundle::new(), &resources);
            let container = runtime.container(&bundle);
            container.run(&[]).fails_with(&[words]);
            container.assert_gone();
        }
    });
}

#[test]
fn cgroup_manager_disabled_makes_no_group() {
    each(&[(Kind::Runc, "has no such manager"), (Kind::Reference, "has no such manager")], |runtime| {
        let bundle = Bundle::sleeper().without_limits();
        runtime.write(&bundle);
        let container = runtime.container(&bundle);
        let path = bundle.path().to_string_lossy();
        runtime
            .command(&["--cgroup-manager", "disabled", "run", "--detach", "--bundle", &path, &container.id])
            .run()
            .ok();
        assert_eq!(container.status(), "running");
        assert!(cgroup_folders(&container.id).is_empty());
        runtime.command(&["--cgroup-manager", "disabled", "delete", "--force", &container.id]).run().ok();
        container.assert_gone();
    });
}

#[runs(cgroups)]
fn a_frozen_container_can_be_killed_and_deleted() {
    each(&[(Kind::Runc, "not measured"), (Kind::Crun, "not measured"), (Kind::Reference, "not measured")], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        let (file, word) = match layout() {
            Layout::Unified => ("cgroup.freeze", "1"),
            Layout::Legacy => ("freezer.state", "FROZEN"),
        };
        let folder = cgroups::folder(pid, "freezer").expect("the container has a freezer");
        fs::write(folder.join(file), word).unwrap();
        container.reaches("paused");
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[test]
fn a_failed_start_leaves_no_folder_above_its_cgroup() {
    each(&[(Kind::Runc, "not measured"), (Kind::Crun, "not measured"), (Kind::Reference, "not measured")], |runtime| {
        let above = format!("/skt-above-{}", std::process::id());
        let bundle = Bundle::new()
            .args(&["/no/such/program"])
            .edit(|config| config["linux"]["cgroupsPath"] = json!(format!("{above}/on/the/way")));
        let container = runtime.container(&bundle);
        container.run(&[]).exits(127);
        for mount in cgroups::mount_points() {
            assert!(!mount.join(&above[1..]).exists(), "{}{above}", mount.display());
        }
    });
}
