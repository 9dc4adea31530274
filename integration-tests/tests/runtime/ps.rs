//! The processes of a container, as the kernel lists them and as ps(1) shows them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups::{self, Layout, layout};
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_integration_tests::skip::skip;
use skiff_lanes::runs;

const NO_PS: Exemption = (Kind::Reference, "has no ps");
const OURS: [Exemption; 3] =
    [(Kind::Runc, "the words are ours"), (Kind::Crun, "the words are ours"), (Kind::Reference, "the words are ours")];

/// A shell with two children.
fn family() -> Bundle {
    Bundle::script("sleep 1001 & sleep 1002 & wait")
}

fn json(container: &Container<'_>) -> Vec<u32> {
    let text = container.verb("ps", &["--format", "json"], &[]).run().ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Waits until the children are there, and returns all three.
fn grown_up(container: &Container<'_>) -> Vec<u32> {
    eventually("a shell and two sleeps", || Some(json(container)).filter(|pids| pids.len() == 3))
}

fn listed(folder: &Path) -> BTreeSet<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// A controller in whose hierarchy groups are made below a container's.
fn controller() -> &'static str {
    if layout() == Layout::Unified { "" } else { "pids" }
}

#[runs(cgroups)]
fn json_is_every_process_of_the_cgroup() {
    each(&[NO_PS], |runtime| {
        let bundle = family();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        assert_eq!(json(&container), [container.pid()], "a created container has its first process");
        container.start().ok();
        let pids = grown_up(&container);
        assert_eq!(pids[0], container.pid());
        if runtime.is_wrapped() {
            return;
        }
        let folder = cgroups::folder(container.pid(), controller()).unwrap();
        assert_eq!(pids.iter().copied().collect::<BTreeSet<_>>(), listed(&folder));
        if runtime.kind == Kind::Crun {
            // Its array has a line for each.
            return;
        }
        let text = container.verb("ps", &["-f", "json"], &[]).run().ok();
        assert_eq!(text, format!("[{},{},{}]\n", pids[0], pids[1], pids[2]), "ascending, on one line");
    });
}

#[test]
fn processes_in_groups_below_are_the_containers() {
    each(&[NO_PS, (Kind::Crun, "does not look below on v2")], |runtime| {
        if runtime.is_wrapped() {
            return;
        }
        let bundle = family();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pids = grown_up(&container);
        let below = cgroups::folder(container.pid(), controller()).unwrap().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("cgroup.procs"), pids[1].to_string()).unwrap();
        assert_eq!(listed(&below), BTreeSet::from([pids[1]]));
        assert_eq!(json(&container).into_iter().collect::<BTreeSet<_>>(), pids.into_iter().collect());
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[test]
fn the_table_is_that_of_ps() {
    each(&[NO_PS, (Kind::Crun, "prints the column PID alone")], |runtime| {
        let bundle = family();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pids = grown_up(&container);
        let table = container.verb("ps", &[], &[]).run().ok();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].contains("UID") && lines[0].contains("PID") && lines[0].contains("CMD"), "{table}");
        assert_eq!(lines.len(), 4, "{table}");
        let column = lines[0].split_whitespace().position(|word| word == "PID").unwrap();
        let shown: BTreeSet<u32> =
            lines[1..].iter().map(|line| line.split_whitespace().nth(column).unwrap().parse().unwrap()).collect();
        assert_eq!(shown, pids.iter().copied().collect());
        assert!(table.contains("sleep 1001") && table.contains("sleep 1002"), "{table}");
        let own = container.verb("ps", &["--format", "table"], &["-A", "-o", "pid,args"]).run().ok();
        assert!(own.lines().next().unwrap().split_whitespace().eq(["PID", "COMMAND"]), "{own}");
        assert_eq!(own.lines().count(), 4, "{own}");
    });
}

#[test]
fn a_stopped_container_has_none() {
    // runc prints `null`.
    each(&[NO_PS, (Kind::Runc, "prints null"), (Kind::Crun, "refuses")], |runtime| {
        let bundle = Bundle::new();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        container.reaches("stopped");
        assert_eq!(container.verb("ps", &["-f", "json"], &[]).run().ok(), "[]\n");
        assert_eq!(container.verb("ps", &[], &[]).run().ok().lines().count(), 1, "the head alone");
    });
}

#[test]
fn those_left_behind_are_shown() {
    each(&[NO_PS, (Kind::Crun, "refuses a stopped container")], |runtime| {
        let bundle = Bundle::script("setsid sleep 1000 & exit 0").without_namespace("pid");
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        container.reaches("stopped");
        assert_eq!(json(&container).len(), 1);
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn what_cannot_be_listed_is_an_error() {
    each(&OURS, |runtime| {
        let bundle = family();
        let container = runtime.container(&bundle);
        container.verb("ps", &[], &[]).run().exits(1).fails_with(&["does not exist"]);
        runtime.command(&["ps"]).run().exits(1).fails_with(&["needs a container id"]);
        runtime.command(&["ps", "--format", "yaml", &container.id]).run().exits(1).fails_with(&["--format yaml"]);
        runtime.command(&["ps", "--nonsense", &container.id]).run().exits(1).fails_with(&["--nonsense"]);
        container.run(&["--detach"]).ok();
        let pids = grown_up(&container);
        let ps = |options: &[&str]| container.verb("ps", &[], options).run().exits(1);
        ps(&["--no-such-option"]).fails_with(&["`ps --no-such-option` ended with exit status"]);
        ps(&["-A", "-o", "comm"]).fails_with(&["no column PID"]);
        ps(&["-A", "-o", "args,pid"]).fails_with(&["let it print PID first"]);
        let nowhere = container.verb("ps", &[], &[]).env("PATH", "/nonexistent").run();
        nowhere.exits(1).fails_with(&["`ps` cannot be executed", "--format json"]);
        let json = container.verb("ps", &["-f", "json"], &[]).env("PATH", "/nonexistent").run().ok();
        assert_eq!(json.matches(',').count() + 1, pids.len(), "the array needs no ps(1)");
    });
}

#[test]
fn without_a_cgroup_they_are_not_known() {
    each(&OURS, |runtime| {
        if layout() == Layout::Unified && runtime.is_wrapped() {
            return skip("not seen from here");
        }
        let bundle = Bundle::sleeper().without_limits();
        let container = runtime.container(&bundle);
        container.run_without_cgroup().ok();
        container.verb("ps", &[], &[]).run().exits(1).fails_with(&["no cgroup of its own"]);
    });
}
