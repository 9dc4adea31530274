//! In which cgroup and on which processors a process of `exec` runs, and from which memory nodes the container has its memory.

use std::fs;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups::{self, Layout};
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::Kind;
use skiff_integration_tests::skip::skip;
use skiff_integration_tests::strace;
use skiff_lanes::runs;

use super::exec::{detached, each_running, exec};

const OLD: [Exemption; 3] = [
    (Kind::Runc, "1.1 knows neither property"),
    (Kind::Crun, "1.8 knows neither property"),
    (Kind::Reference, "not measured"),
];

fn processors(status: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_default().trim().to_owned()
}

fn affinity(initial: &str, last: &str) -> Bundle {
    Bundle::sleeper().edit(|config| config["process"]["execCPUAffinity"] = json!({"initial": initial, "final": last}))
}

#[test]
fn exec_runs_where_it_is_told_to() {
    let own = processors(&fs::read_to_string("/proc/self/status").unwrap());
    if own != "0-1" {
        return skip("written for a machine with two processors");
    }
    let seen = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    each_running(&OLD, &affinity("0", "1"), |container| {
        assert_eq!(processors(&exec(container, &[], &seen).ok()), "1");
        // The container's own process has none of it.
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
        assert_eq!(processors(&status), own);
        // A file says it in the same words, and what it leaves out is the container's.
        let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": seen, "env": ["PATH=/bin"]});
        let file = container.bundle.path().join("process.json");
        for (affinity, expected) in [(None, "1"), (Some(json!({"final": "0-1"})), "0-1"), (Some(json!({})), "0-1")] {
            if let Some(affinity) = affinity {
                process["execCPUAffinity"] = affinity;
            }
            fs::write(&file, process.to_string()).unwrap();
            assert_eq!(processors(&exec(container, &["--process", file.to_str().unwrap()], &[]).ok()), expected);
        }
    });
    // Who makes the process is on the first processors from before the process enters the cgroup.
    each_running(&OLD, &affinity("1", "0-1"), |container| {
        let file = container.bundle.path().join("own");
        let running = container.verb("exec", &["--pid-file", file.to_str().unwrap()], &["sleep", "1000"]).spawn();
        let pid = eventually("its pid is known", || fs::read_to_string(&file).ok().filter(|pid| !pid.is_empty()));
        let of = |pid: &str| processors(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().to_owned();
        assert_eq!((of(&pid), of(&parent)), ("0-1".to_owned(), "1".to_owned()));
        container.kill("KILL").ok();
        running.wait().exits(128 + 9);
    });
}

#[runs(cgroups)]
fn exec_goes_into_a_cgroup_below() {
    each_running(&[(Kind::Crun, "not measured in its private mount namespace")], &Bundle::sleeper(), |container| {
        let init = container.pid();
        // Of each hierarchy, by the name of one of its controllers.
        let text = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split(':').nth(1)?.split(',').next()).collect();
        let own = |name: &str| cgroups::folder(init, name).filter(|folder| folder.ends_with(&container.id));
        let folders: Vec<_> = names.iter().filter_map(|name| Some((*name, own(name)?))).collect();
        assert!(!folders.is_empty(), "{text}");
        for (_, folder) in &folders {
            fs::create_dir(folder.join("below")).unwrap();
            // One of version 1 takes nobody before it has processors and nodes (cgroup-v1/cpusets.rst, section 1.2).
            for file in ["cpuset.mems", "cpuset.cpus"] {
                if cgroups::layout() == Layout::Legacy && folder.join(file).exists() {
                    fs::copy(folder.join(file), folder.join("below").join(file)).unwrap();
                }
            }
        }
        let pid = detached(container, &["--cgroup", "/below"], &["sleep", "1000"]);
        for (name, folder) in &folders {
            assert_eq!(cgroups::folder(pid, name).unwrap(), folder.join("below"), "{name}");
        }
        if cgroups::layout() == Layout::Legacy && cgroups::has("pids") && own("pids").is_some() {
            let pid = detached(container, &["--cgroup", "pids:below"], &["sleep", "1000"]);
            assert_eq!(cgroups::folder(pid, "pids").unwrap(), own("pids").unwrap().join("below"));
            assert_eq!(cgroups::folder(pid, "memory"), own("memory"));
        }
    });
}

#[test]
fn processors_that_cannot_be_had_are_refused() {
    each_running(&OLD, &affinity("", "1000"), |container| {
        exec(container, &[], &["true"]).fails_with(&["process.execCPUAffinity.final", "online"]);
    });
    each_running(&OLD, &affinity("1000", ""), |container| {
        exec(container, &[], &["true"]).fails_with(&["process.execCPUAffinity.initial", "online"]);
    });
}

fn policy(bundle: Bundle, policy: &Value) -> Bundle {
    bundle.edit(|config| config["linux"]["memoryPolicy"] = policy.clone())
}

#[runs(host, guest, arm64)]
fn memory_comes_from_the_nodes_asked_for() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        return skip("a kernel without NUMA");
    }
    // Each mapping with its policy (proc_pid_numa_maps(5)).
    const SHOW: [&str; 3] = ["cut", "-d ", "-f2"];
    let shown = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    for (asked, expected) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
    ] {
        each(&OLD, |runtime| {
            let words: Vec<&str> = SHOW.into_iter().chain(["/proc/self/numa_maps"]).collect();
            let bundle = policy(Bundle::new().args(&words), &asked);
            assert_eq!(shown(&runtime.run(&bundle).ok()), expected, "{asked}");
        });
    }
    // Every process of the container has it, and a cpuset that comes with it is there first.
    let bundle = policy(Bundle::sleeper(), &json!({"mode": "MPOL_BIND", "nodes": "0"}))
        .edit(|config| config["linux"]["resources"]["cpu"] = json!({"mems": "0"}));
    each_running(&OLD, &bundle, |container| {
        let words: Vec<&str> = SHOW.into_iter().chain(["/proc/self/numa_maps"]).collect();
        assert_eq!(shown(&exec(container, &[], &words).ok()), "bind:0");
    });
}

#[test]
fn nodes_that_cannot_be_had_are_refused() {
    each(&OLD, |runtime| {
        let bundle = policy(Bundle::new(), &json!({"mode": "MPOL_BIND", "nodes": "1000"}));
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["linux.memoryPolicy", "none of the nodes"]);
        container.assert_gone();
        if !strace::available() {
            return skip("strace is not installed");
        }
        let bundle = policy(Bundle::new(), &json!({"mode": "MPOL_LOCAL"}));
        let container = runtime.container(&bundle);
        let log = bundle.path().join("strace.log").to_string_lossy().into_owned();
        let injections = [strace::failure("set_mempolicy", "ENOSYS")];
        let under = strace::failing(&injections, &log);
        container.run_under(&under, &[]).run().fails_with(&["linux.memoryPolicy", "without NUMA"]);
        container.assert_gone();
    });
}
