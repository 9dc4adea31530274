//! Pause and resume: what the program feels, what the kernel says, which states they are refused in, and that a pause
//! which does not come about leaves the program going.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups::{self, Layout, layout};
use skiff_integration_tests::command::{Outcome, eventually};
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_integration_tests::strace;
use skiff_lanes::runs;

const NOT_AT_ONCE: Exemption = (Kind::Crun, "returns before all stand");
const NO_PAUSE: Exemption = (Kind::Reference, "has no pause");
const OURS: [Exemption; 3] =
    [(Kind::Runc, "the words are ours"), (Kind::Crun, "the words are ours"), (Kind::Reference, "the words are ours")];

/// A bundle whose program writes without a pause, and the file that grows.
fn busy() -> (Bundle, PathBuf) {
    let bundle = Bundle::script("while :; do echo x >>/data/log; done").writable();
    let log = bundle.rootfs().join("data/log");
    (bundle, log)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn grows(log: &Path) {
    let before = length(log);
    eventually("the program goes on", || (length(log) > before).then_some(()));
}

fn pause(container: &Container<'_>) -> Outcome {
    // runc gives up after some attempts on cgroup v1 where the machine is busy, and says so.
    let gave_up =
        |outcome: &Outcome| container.runtime.kind == Kind::Runc && outcome.stderr.contains("unable to freeze");
    let attempts = (0..5).map(|_| container.verb("pause", &[], &[]).run());
    let mut last = None;
    for outcome in attempts {
        if !gave_up(&outcome) {
            return outcome;
        }
        last = Some(outcome);
    }
    last.expect("there were attempts")
}

fn resume(container: &Container<'_>) -> Outcome {
    container.verb("resume", &[], &[]).run()
}

/// The file that says whether the processes stand, and what it says then.
fn effect() -> (&'static str, &'static str) {
    match layout() {
        Layout::Unified => ("cgroup.events", "frozen 1"),
        Layout::Legacy => ("freezer.state", "FROZEN"),
    }
}

fn stands(runtime: &Runtime, pid: u32) -> Option<bool> {
    // crun's private cgroup2 is not the one that is seen here.
    let (file, word) = effect();
    (!runtime.is_wrapped()).then(|| cgroups::read(pid, "freezer", file).contains(word))
}

#[runs(cgroups)]
fn a_paused_program_stands_and_goes_on_after_resume() {
    each(&[NO_PAUSE, NOT_AT_ONCE], |runtime| {
        let (bundle, log) = busy();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        grows(&log);
        for _round in 0..3 {
            assert_eq!(pause(&container).ok(), "");
            assert_ne!(stands(runtime, pid), Some(false));
            let at_pause = length(&log);
            // These take longer than the program needs for a line.
            for _moment in 0..10 {
                assert_eq!(container.status(), "paused");
            }
            assert_eq!(length(&log), at_pause, "a paused program writes nothing");
            let list: Value = serde_json::from_str(&runtime.command(&["list", "-f", "json"]).run().ok()).unwrap();
            assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(container.id), &json!("paused")));
            assert_eq!(container.pid(), pid);
            assert_eq!(resume(&container).ok(), "");
            assert_eq!(container.status(), "running");
            assert_ne!(stands(runtime, pid), Some(true));
            grows(&log);
        }
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[runs(cgroups)]
fn processes_in_groups_below_stand_too() {
    each(&[NO_PAUSE, NOT_AT_ONCE], |runtime| {
        if runtime.is_wrapped() {
            return;
        }
        let (bundle, log) = busy();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        grows(&log);
        let pid = container.pid();
        let below = cgroups::folder(pid, "freezer").unwrap().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("cgroup.procs"), pid.to_string()).unwrap();
        pause(&container).ok();
        let at_pause = length(&log);
        assert_eq!(container.status(), "paused");
        assert_eq!(length(&log), at_pause);
        resume(&container).ok();
        grows(&log);
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

#[test]
fn a_created_container_can_be_paused_and_not_started() {
    each(&[NO_PAUSE, (Kind::Crun, "says created")], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        pause(&container).ok();
        assert_eq!(container.status(), "paused");
        container.start().fails_with(&["paused"]);
        container.delete(&[]).fails_with(&["paused"]);
        resume(&container).ok();
        assert_eq!(container.status(), "created");
        container.start().ok();
        assert_eq!(container.status(), "running");
    });
}

#[test]
fn both_are_refused_in_the_wrong_state() {
    each(&[NO_PAUSE, (Kind::Crun, "takes them in any state")], |runtime| {
        let (bundle, log) = busy();
        let container = runtime.container(&bundle);
        for verb in ["pause", "resume"] {
            container.verb(verb, &[], &[]).run().exits(1).fails_with(&["does not exist"]);
            runtime.command(&[verb]).run().fails();
            container.verb(verb, &[], &["extra"]).run().fails();
            runtime.command(&[verb, "../escape"]).run().fails();
        }
        container.run(&["--detach"]).ok();
        resume(&container).exits(1).fails_with(&["container not paused"]);
        grows(&log);
        pause(&container).ok();
        pause(&container).exits(1).fails_with(&["container not running"]);
        assert_eq!(container.status(), "paused", "a refused verb changes nothing");
        container.delete(&[]).fails_with(&["paused"]);
        assert_eq!(container.status(), "paused");
        container.kill("KILL").ok();
        container.reaches("stopped");
        pause(&container).exits(1).fails_with(&["container not running"]);
        resume(&container).exits(1).fails_with(&["container not paused"]);
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn signals_reach_a_paused_program() {
    each(&[NO_PAUSE, (Kind::Crun, "waits for the thaw on v1")], |runtime| {
        let script = "trap 'echo term >>/data/log' TERM; echo up >/data/log; while :; do sleep 0.01; done";
        let bundle = Bundle::script(script).writable();
        let log = bundle.rootfs().join("data/log");
        let says = |text: &str| fs::read_to_string(&log).unwrap_or_default() == text;
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        eventually("the program is up", || says("up\n").then_some(()));
        pause(&container).ok();
        container.kill("TERM").ok();
        assert_eq!(container.status(), "paused", "only a deadly signal ends a pause");
        assert!(says("up\n"));
        resume(&container).ok();
        eventually("the signal arrives", || says("up\nterm\n").then_some(()));
        pause(&container).ok();
        container.kill("KILL").ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

#[test]
fn a_paused_container_is_deleted_by_force() {
    each(&[NO_PAUSE, (Kind::Crun, "waits for the thaw on v1")], |runtime| {
        let bundle = Bundle::script("sleep 1000 & sleep 1000 & wait").without_namespace("pid");
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        pause(&container).ok();
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

/// strace on the calls of one file of the container's freezer.
fn on_file<'a>(file: &'a str, injection: &'a str, log: &'a str) -> [&'a str; 10] {
    ["strace", "-D", "-f", "-qq", "-o", log, "-P", file, "-e", injection]
}

#[test]
fn a_pause_that_fails_lets_the_program_go_on() {
    if !strace::available() {
        return skip("no strace");
    }
    each(&OURS, |runtime| {
        let (bundle, log) = busy();
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let pid = container.pid();
        let folder = cgroups::folder(pid, "freezer").unwrap();
        let trace = bundle.path().join("trace").to_string_lossy().into_owned();
        let (read, written) = match layout() {
            Layout::Unified => ("cgroup.events", ("cgroup.freeze", "inject=write:retval=1")),
            Layout::Legacy => ("freezer.state", ("freezer.state", "inject=write:retval=6")),
        };
        let fails = |file: &str, injection: &str, words: &[&str]| {
            let path = folder.join(file).to_string_lossy().into_owned();
            let prefix = on_file(&path, injection, &trace);
            runtime.command_under(&prefix, &["pause", &container.id]).run().exits(1).fails_with(words);
            let trace = fs::read_to_string(&trace).unwrap();
            assert!(trace.contains("INJECTED"), "{trace}");
            assert_eq!(container.status(), "running");
            assert_eq!(stands(runtime, pid), Some(false));
            grows(&log);
        };
        fails(read, "inject=read:error=EIO", &["cannot be paused", "its processes go on", read]);
        // The kernel is told nothing, so the processes never stand.
        fails(written.0, written.1, &["cannot be paused", "its processes go on", "did not reach the state `frozen`"]);
        pause(&container).ok();
        resume(&container).ok();
        grows(&log);
    });
}

#[test]
fn a_container_that_is_frozen_from_above_is_not_resumed() {
    if layout() == Layout::Unified {
        return skip("cgroup v2 tells a container's own pause from one above it");
    }
    each(&OURS, |runtime| {
        let bundle = Bundle::sleeper();
        let above = format!("/{}", bundle.id);
        let bundle = bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("{above}/{}", "inner")));
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let state = cgroups::folder(container.pid(), "freezer").unwrap().parent().unwrap().join("freezer.state");
        fs::write(&state, "FROZEN").unwrap();
        container.reaches("paused");
        resume(&container).exits(1).fails_with(&["cannot be resumed", "one above it is frozen too"]);
        fs::write(&state, "THAWED").unwrap();
        container.reaches("running");
        container.delete(&["--force"]).ok();
        for folder in skiff_integration_tests::leftovers::cgroup_folders(&bundle.id).iter().rev() {
            fs::remove_dir(folder).unwrap();
        }
        container.assert_gone();
    });
}

#[test]
fn a_container_without_a_cgroup_cannot_be_paused() {
    each(&OURS, |runtime| {
        let bundle = Bundle::sleeper().without_limits();
        let container = runtime.container(&bundle);
        container.run_without_cgroup().ok();
        pause(&container).exits(1).fails_with(&["cannot be paused", "no cgroup that can be frozen"]);
        assert_eq!(container.status(), "running");
    });
}
