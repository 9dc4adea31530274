//! The systemd driver for a user without rights: scopes of the user's own manager, limits as far as they are delegated.

use std::fs;
use std::path::Path;

use serde_json::json;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Invocation, Outcome, eventually};
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::leftovers::until_none;
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_lanes::runs;

use crate::namespaces::{give_away, rootless};

const USER: u32 = 1000;
const FOLDER: &str = "/run/user/1000";
const MANAGER: &str = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";
const OURS: [Exemption; 3] =
    [(Kind::Runc, "the words are ours"), (Kind::Crun, "the words are ours"), (Kind::Reference, "wants cgroups")];

/// Starts the manager of user 1000, as a login or lingering would.
fn start_manager() {
    Invocation::new("systemctl", &["start", "user@1000.service"]).run().ok();
    eventually("the manager listens", || Path::new(FOLDER).join("systemd/private").exists().then_some(()));
}

fn as_user(invocation: Invocation) -> Outcome {
    invocation.user(USER).env("XDG_RUNTIME_DIR", FOLDER).run()
}

/// As `systemctl --user show` tells it.
fn show(unit: &str, property: &str) -> String {
    let words = ["--user", "show", "--value", "--property", property, unit];
    as_user(Invocation::new("systemctl", &words)).ok().trim().to_owned()
}

fn unit(container: &Container<'_>) -> String {
    format!("skiff-{}.scope", container.id)
}

/// Runs `check` with a bundle and a runtime that are the user's.
#[track_caller]
fn each_as_user(script: &str, check: impl Fn(&Container<'_>, &dyn Fn(&Container<'_>) -> Outcome)) {
    each(&OURS, |runtime| {
        let (copy, _folder) = runtime.for_everybody();
        let runtime = copy.through_systemd();
        let bundle = Bundle::script(script).edit(rootless(1));
        give_away(&bundle, runtime.root());
        let container = runtime.container(&bundle);
        check(&container, &|container| as_user(container.run_command(&["--detach"])));
    });
}

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

#[runs(guest, trixie)]
fn a_user_has_scopes_of_their_own() {
    start_manager();
    each_as_user(SLEEP, |container, run| {
        run(container).ok();
        let unit = unit(container);
        let place = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/{unit}");
        assert_eq!([show(&unit, "ControlGroup"), show(&unit, "ActiveState")], [place.as_str(), "active"]);
        let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        assert_eq!(own, format!("0::{place}\n"));
        // The process comes from a cgroup that the user has no say in; PID 1 moves it.
        let seen = as_user(container.verb("exec", &[], &["cat", "/proc/self/cgroup", "/proc/1/cgroup"])).ok();
        let lines: Vec<&str> = seen.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{seen}");
        for verb in ["pause", "resume", "ps", "state"] {
            as_user(container.verb(verb, &[], &[])).ok();
        }
        as_user(container.verb("delete", &["--force"], &[])).ok();
        container.assert_gone();
        let gone = until_none(|| vec![show(&unit, "LoadState")].into_iter().filter(|it| it != "not-found").collect());
        assert!(gone.is_empty(), "{gone:?}");
    });
}

#[runs(guest, trixie)]
fn delegated_limits_are_kept_and_others_refused_by_name() {
    start_manager();
    let given = fs::read_to_string(Path::new(MANAGER).join("cgroup.controllers")).unwrap();
    let given: Vec<&str> = given.split_whitespace().collect();
    let rows = [
        ("cpuset", json!({"cpu": {"cpus": "0"}}), "linux.resources.cpu.cpus"),
        ("io", json!({"blockIO": {"weight": 100}}), "linux.resources.blockIO.weight"),
        ("hugetlb", json!({"unified": {"hugetlb.2MB.max": "0"}}), "linux.resources.unified.hugetlb.2MB.max"),
    ];
    each(&OURS, |runtime| {
        let (copy, _folder) = runtime.for_everybody();
        let runtime = copy.through_systemd();
        let limits = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 33}});
        let bundle = Bundle::script(SLEEP).edit(rootless(1)).edit(|config| config["linux"]["resources"] = limits);
        give_away(&bundle, runtime.root());
        let container = runtime.container(&bundle);
        as_user(container.run_command(&["--detach"])).ok();
        let unit = unit(&container);
        assert_eq!([show(&unit, "MemoryMax"), show(&unit, "TasksMax")], ["67108864", "33"]);
        let folder = format!("{MANAGER}/user.slice/{unit}");
        let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).unwrap().trim().to_owned();
        assert_eq!([read("memory.max"), read("pids.max")], ["67108864", "33"]);
        as_user(container.verb("update", &["--memory", "32M"], &[])).ok();
        assert_eq!([show(&unit, "MemoryMax"), read("memory.max")], ["33554432", "33554432"]);
        let others: Vec<_> = rows.iter().filter(|(controller, ..)| !given.contains(controller)).collect();
        assert!(!others.is_empty(), "{given:?}");
        for (controller, resources, property) in others {
            let bundle =
                Bundle::new().edit(rootless(1)).edit(|config| config["linux"]["resources"] = resources.clone());
            give_away(&bundle, &bundle.rootfs());
            let refused = runtime.container(&bundle);
            as_user(refused.run_command(&[])).fails_with(&[property, &format!("`{controller}`"), "not delegated"]);
            refused.assert_gone();
        }
    });
}

#[runs(guest, trixie)]
fn a_range_of_ids_is_mapped_in_the_scope() {
    start_manager();
    let range = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let mine =
        range.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| *name == "1000" || *name == "edge");
    let first = mine.and_then(|(_, rest)| rest.split(':').next()?.parse::<u32>().ok());
    let first = first.expect("the guest's user 1000 has subordinate ids");
    each(&OURS, |runtime| {
        let (copy, _folder) = runtime.for_everybody();
        let runtime = copy.through_systemd();
        let script = "tr -s ' ' </proc/self/uid_map; cat /proc/self/cgroup; id -u";
        let bundle = Bundle::script(script).edit(rootless(1)).namespace("cgroup", None).edit(|config| {
            let more = json!({"containerID": 1, "hostID": first, "size": 1000});
            for mappings in ["uidMappings", "gidMappings"] {
                config["linux"][mappings].as_array_mut().unwrap().push(more.clone());
            }
            config["process"]["user"] = json!({"uid": 5, "gid": 5});
        });
        give_away(&bundle, runtime.root());
        let container = runtime.container(&bundle);
        let seen = as_user(container.run_command(&[])).ok();
        assert_eq!(seen, format!(" 0 1000 1\n 1 {first} 1000\n0::/\n5\n"));
        container.assert_gone();
    });
}

#[runs(guest, trixie)]
fn a_user_without_a_manager_is_told_so() {
    each(&OURS, |runtime| {
        let (copy, _folder) = runtime.for_everybody();
        let runtime = copy.through_systemd();
        let bundle = Bundle::new().edit(rootless(1));
        give_away(&bundle, runtime.root());
        let container = runtime.container(&bundle);
        let outcome = container.run_command(&[]).user(1001).env("XDG_RUNTIME_DIR", "/nonexistent").run();
        outcome.fails_with(&["user 1001 has no systemd user manager", "enable-linger"]);
    });
}
