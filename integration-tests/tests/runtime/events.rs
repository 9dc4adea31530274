//! `events`: the figures of a container and its lacks of memory, as `runc events` tells them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups;
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_lanes::runs;

const NO_CRUN: Exemption = (Kind::Crun, "has no events");
const NO_REFERENCE: Exemption = (Kind::Reference, "has no events");
const LIMIT: u64 = 64 << 20;

fn limited(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": LIMIT});
        config["linux"]["resources"]["pids"] = json!({"limit": 17});
    })
}

fn stats(container: &Container<'_>) -> Value {
    let text = container.verb("events", &["--stats"], &[]).run().ok();
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(container.id)), "{text}");
    line["data"].clone()
}

/// The names of all members, with those of the objects that they are in. Which statistics and devices there are is the
/// kernel's business.
fn members(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    if let Value::Object(object) = value {
        for (name, value) in object {
            let place = format!("{place}.{name}");
            if place != ".memory.raw" && place != ".hugetlb" {
                members(value, &place, found);
            }
            found.insert(place);
        }
    }
}

#[runs(cgroups)]
fn figures_are_the_kernels() {
    let mut forms: Vec<(Kind, BTreeSet<String>)> = Vec::new();
    each(&[NO_CRUN, NO_REFERENCE], |runtime| {
        let bundle = limited(Bundle::script("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000"));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let seen = eventually("the loop is counted", || {
            let seen = stats(&container);
            (seen["cpu"]["usage"]["total"].as_u64() > Some(1_000_000) && seen["pids"]["current"] == 1).then_some(seen)
        });
        assert_eq!(seen["memory"]["usage"]["limit"], LIMIT, "{seen}");
        assert!(seen["memory"]["usage"]["usage"].as_u64().is_some_and(|usage| usage > 0 && usage < LIMIT), "{seen}");
        assert!(seen["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 10), "{seen}");
        assert_eq!(seen["pids"]["limit"], 17, "{seen}");
        let own = cgroups::folder(container.pid(), "cpuset");
        let cpus = own.and_then(|own| std::fs::read_to_string(own.join("cpuset.cpus")).ok()).unwrap_or_default();
        assert_eq!(seen["cpuset"]["cpus"].is_array(), !cpus.trim().is_empty(), "{seen}");
        let mut form = BTreeSet::new();
        members(&seen, "", &mut form);
        forms.push((runtime.kind, form));
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
    if let [(Kind::Skiff, ours), (Kind::Runc, theirs)] = &forms[..] {
        let missing: Vec<_> = theirs.difference(ours).collect();
        assert!(missing.is_empty(), "runc has {missing:?}");
    }
}

#[runs(cgroups)]
fn figures_come_at_intervals_until_the_end() {
    each(&[NO_CRUN, NO_REFERENCE], |runtime| {
        let container_bundle = limited(Bundle::sleeper());
        let container = runtime.container(&container_bundle);
        container.run(&["--detach"]).ok();
        let watching = container.verb("events", &["--interval", "100ms"], &[]).spawn();
        eventually("three lines", || (watching.stdout().lines().count() >= 3).then_some(()));
        container.kill("KILL").ok();
        if runtime.kind == Kind::Skiff {
            let text = watching.wait().ok();
            assert!(
                text.lines().all(|line| line.starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{}\"", container.id)))
            );
            container.verb("events", &["--stats"], &[]).run().fails_with(&["is not running: it is stopped"]);
            container.verb("events", &[], &[]).run().fails_with(&["is not running: it is stopped"]);
        }
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[runs(cgroups)]
fn a_lack_of_memory_is_told() {
    each(&[NO_CRUN, NO_REFERENCE], |runtime| {
        // tail keeps what it reads until a line ends, and the shell outlives it.
        let bundle =
            limited(Bundle::script("read go </data/fifo; tail /dev/zero; echo over; exec sleep 1000").writable());
        let fifo = bundle.rootfs().join("data/fifo");
        let bundle = bundle.edit(|config| config["linux"]["resources"]["memory"]["swap"] = json!(LIMIT));
        let container = runtime.container(&bundle);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        container.run(&["--detach"]).ok();
        let watching = container.verb("events", &["--interval", "1h"], &[]).spawn();
        // Whoever watches has to be ready; that it is cannot be seen from outside.
        std::thread::sleep(std::time::Duration::from_millis(500));
        std::fs::write(&fifo, "go\n").unwrap();
        let told = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", container.id);
        eventually("it is told", || (watching.stdout().contains(told.trim_end())).then_some(()));
        container.kill("KILL").ok();
        if runtime.kind == Kind::Skiff {
            assert_eq!(watching.wait().ok(), told, "once");
        }
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

/// As in a container with a manager of cgroups of its own: it is the container's limit, and the process is of a cgroup below.
#[runs(cgroups)]
fn a_lack_of_memory_below_is_told() {
    each(&[(Kind::Runc, "1.1 does not look below"), NO_CRUN, NO_REFERENCE], |runtime| {
        let bundle = limited(Bundle::sleeper());
        let bundle = bundle.edit(|config| config["linux"]["resources"]["memory"]["swap"] = json!(LIMIT));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        std::fs::create_dir(cgroups::folder(container.pid(), "memory").unwrap().join("below")).unwrap();
        let below = match cgroups::layout() {
            cgroups::Layout::Legacy => "memory:below",
            cgroups::Layout::Unified => "below",
        };
        let watching = container.verb("events", &["--interval", "1h"], &[]).spawn();
        // Whoever watches has to be ready; that it is cannot be seen from outside.
        std::thread::sleep(std::time::Duration::from_millis(500));
        container.verb("exec", &["--cgroup", below], &["tail", "/dev/zero"]).run().exits(137);
        eventually("it is told", || watching.stdout().contains("\"oom\"").then_some(()));
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[test]
fn what_counts_nothing_says_so() {
    each(&[(Kind::Runc, "the words are ours"), NO_CRUN, NO_REFERENCE], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        for interval in ["0s", "5", "x", "-1s", "", "1h1", "99999999999999h"] {
            let said = container.verb("events", &[&format!("--interval={interval}")], &[]).run();
            said.fails_with(&["--interval", "5s, 1m30s or 500ms"]);
        }
        container.verb("events", &["--stats"], &[]).run().fails_with(&["does not exist"]);
    });
}
