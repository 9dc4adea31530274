//! `SCMP_ACT_NOTIFY`: system calls that somebody else decides about, as the program and the one who decides see it.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use skiff_integration_tests::agent::{Agent, Answer, answer};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::{Exemption, each};
use skiff_integration_tests::runtime::Kind;
use skiff_integration_tests::{skip, strace};
use skiff_lanes::runs;

use super::namespaces::{give_away, rootless};

const NO_FILTER: Exemption = (Kind::Reference, "is built without libseccomp, and loads none");

/// The bundle, with the calls that make a folder left to the agent.
fn asking(bundle: Bundle, agent: &Agent) -> Bundle {
    let syscalls = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]);
    with(bundle, agent, json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls}))
}

fn with(bundle: Bundle, agent: &Agent, mut profile: Value) -> Bundle {
    profile["listenerPath"] = json!(agent.path());
    profile["listenerMetadata"] = json!("of this test");
    bundle.edit(|config| config["linux"]["seccomp"] = profile)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn check(told: &Value, kind: Kind, id: &str, status: &str) {
    assert_eq!(told["fds"], json!(["seccompFd"]), "{told}");
    assert_eq!(told["metadata"], "of this test", "{told}");
    assert_eq!(told["state"]["id"], json!(id), "{told}");
    // runc takes a created container that is entered for a running one.
    assert!(told["state"]["status"] == status || kind == Kind::Runc, "{told}");
    assert!(told["pid"].as_i64().is_some_and(|pid| pid > 1), "{told}");
}

/// Of what `mkdir` prints and leaves behind: what the agent made of it.
const SCRIPT: &str = "mkdir /data/pretended && echo made; ls /data; mkdir /data/refused 2>&1 | grep -o 'cross-device'";

/// The first is pretended, the second refused.
fn in_turn() -> impl FnMut(&libc::seccomp_notif) -> Answer {
    let mut answers = [Answer::Instead(0), Answer::Instead(libc::EXDEV)].into_iter();
    move |_| answers.next().unwrap_or(Answer::Pass)
}

#[runs(host, guest, arm64)]
fn somebody_decides_about_a_call() {
    each(&[NO_FILTER], |runtime| {
        for (privileges, shared) in [(false, false), (true, false), (true, true)] {
            let folder = folder();
            let agent = Agent::listen(folder.path());
            let bundle = asking(Bundle::script(SCRIPT).writable(), &agent);
            let bundle = bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(!privileges));
            let bundle = if shared { bundle.without_namespace("pid") } else { bundle };
            let container = runtime.container(&bundle);
            let running = container.run_command(&[]).spawn();
            let (told, listener) = agent.take();
            check(&told, runtime.kind, &container.id, "creating");
            assert_eq!(answer(&listener, in_turn()), 2);
            assert_eq!(running.wait().ok(), "made\ncross-device\n");
            container.assert_gone();
        }
    });
}

#[runs(host, guest, arm64)]
fn also_about_those_of_further_processes() {
    each(&[NO_FILTER, (Kind::Crun, "1.8 sends nothing for them")], |runtime| {
        let folder = folder();
        let agent = Agent::listen(folder.path());
        let bundle = asking(Bundle::new().args(&["/bin/sleep", "1000"]).writable(), &agent);
        let container = runtime.container(&bundle);
        container.create(&[]).ok();
        // Nobody has this one: its calls fail.
        drop(agent.take());
        let exec = |status: &str| {
            let running = container.verb("exec", &[], &["/bin/sh", "-c", SCRIPT]).spawn();
            let (told, listener) = agent.take();
            check(&told, runtime.kind, &container.id, status);
            let pid = told["pid"].as_i64().unwrap();
            let of_the_program =
                std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| text.contains("Seccomp:\t2"));
            assert!(of_the_program, "{pid} is the process, and it is under the filter");
            assert_eq!(answer(&listener, in_turn()), 2);
            assert_eq!(running.wait().ok(), "made\ncross-device\n");
        };
        exec("created");
        container.start().ok();
        exec("running");
        container.delete(&["--force"]).ok();
        container.assert_gone();
    });
}

/// Even those by which a descriptor is handed over, or a program executed.
#[runs(host, guest, arm64)]
fn every_call_may_be_left_to_somebody() {
    let others = [(Kind::Runc, "refuses this"), (Kind::Crun, "refuses this"), NO_FILTER];
    each(&others, |runtime| {
        let folder = folder();
        let agent = Agent::listen(folder.path());
        let bundle = with(Bundle::script("echo done"), &agent, json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
        let container = runtime.container(&bundle);
        let running = container.run_command(&[]).spawn();
        let (_, listener) = agent.take();
        let count = answer(&listener, |_| Answer::Pass);
        assert!(count > 10, "{count}");
        assert_eq!(running.wait().ok(), "done\n");
        container.assert_gone();

        // Others can see its first process before it is ready.
        let shared = with(Bundle::script("echo done"), &agent, json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
        let shared = shared.without_namespace("pid");
        let visible = runtime.container(&shared);
        let running = visible.run_command(&[]).spawn();
        let (_, listener) = agent.take();
        answer(&listener, |_| Answer::Pass);
        assert_eq!(running.wait().ok(), "done\n");
        visible.assert_gone();

        let running = container.verb("create", &["--bundle", &bundle.path().to_string_lossy()], &[]).spawn();
        let (_, listener) = agent.take();
        std::thread::scope(|scope| {
            scope.spawn(|| answer(&listener, |_| Answer::Pass));
            running.wait().ok();
            let exec = container.verb("exec", &[], &["/bin/echo", "beside"]).spawn();
            let (_, listener) = agent.take();
            assert!(answer(&listener, |_| Answer::Pass) > 10);
            assert_eq!(exec.wait().ok(), "beside\n");
            container.start().ok();
            container.reaches("stopped");
        });
        container.delete(&[]).ok();
        container.assert_gone();
    });
}

/// Whoever fails under such a filter may need an answer even to end.
#[test]
fn an_exec_that_fails_ends_all_the_same() {
    let others = [(Kind::Runc, "refuses this"), (Kind::Crun, "refuses this"), NO_FILTER];
    each(&others, |runtime| {
        let folder = folder();
        let agent = Agent::listen(folder.path());
        let bundle = with(Bundle::script("echo done"), &agent, json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
        let bundle = bundle.edit(|config| config["linux"]["resources"]["pids"] = json!({"limit": 3}));
        let container = runtime.container(&bundle);
        bundle.write();
        let running = container.verb("create", &["--bundle", &bundle.path().to_string_lossy()], &[]).spawn();
        let (_, listener) = agent.take();
        std::thread::scope(|scope| {
            scope.spawn(|| answer(&listener, |_| Answer::Pass));
            running.wait().ok();
            container.verb("exec", &[], &["/no/such/program"]).run().exits(127);
            // Room for one of the two processes that an exec takes.
            container.verb("update", &["--pids-limit", "2"], &[]).run().ok();
            container.verb("exec", &[], &["/bin/true"]).run().fails_with(&["make the process inside the container"]);
            container.delete(&["--force"]).ok();
        });
        container.assert_gone();
    });
}

#[test]
fn a_user_without_rights_may_leave_calls_to_somebody() {
    each(&[(Kind::Crun, "wants a cgroup"), (Kind::Reference, "is built without libseccomp")], |runtime| {
        let folder = folder();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let agent = Agent::listen(folder.path());
        std::fs::set_permissions(agent.path(), PermissionsExt::from_mode(0o666)).unwrap();
        let bundle = asking(Bundle::script(SCRIPT).writable(), &agent).edit(rootless(1));
        let (runtime, _copy) = runtime.for_everybody();
        give_away(&bundle, runtime.root());
        let container = runtime.container(&bundle);
        bundle.write();
        let running = container.run_command(&[]).user(1000).env("XDG_RUNTIME_DIR", "/tmp").spawn();
        let (told, listener) = agent.take();
        check(&told, runtime.kind, &container.id, "creating");
        assert_eq!(answer(&listener, in_turn()), 2);
        assert_eq!(running.wait().ok(), "made\ncross-device\n");
        container.assert_gone();
        // Where others can see its processes, they hide, from us as well.
        let bundle = asking(Bundle::new(), &agent).edit(rootless(1)).without_namespace("pid").edit(|config| {
            // A procfs of its own takes a pid namespace of its own.
            let mounts = config["mounts"].as_array_mut().unwrap();
            for mount in mounts.iter_mut().filter(|mount| mount["type"] == "proc") {
                *mount = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
            }
        });
        let container = runtime.container(&bundle);
        bundle.write();
        give_away(&bundle, runtime.root());
        if runtime.kind == Kind::Skiff {
            let outcome = container.run_command(&[]).user(1000).env("XDG_RUNTIME_DIR", "/tmp").run();
            outcome.fails_with(&["SCMP_ACT_NOTIFY takes a container with new pid and user namespaces"]);
            container.assert_gone();
        }
    });
}

#[test]
fn a_filter_that_the_kernel_refuses_is_told() {
    if !strace::available() {
        return skip::skip("strace is not installed");
    }
    each(&[(Kind::Runc, "has other words"), (Kind::Crun, "has other words"), NO_FILTER], |runtime| {
        let folder = folder();
        let agent = Agent::listen(folder.path());
        let bundle = asking(Bundle::new(), &agent);
        let (container, log) = (runtime.container(&bundle), folder.path().join("log"));
        let injections = [strace::failure("seccomp", "EBUSY")];
        for _ in 0..5 {
            let outcome = container.run_under(&strace::failing(&injections, &log.to_string_lossy()), &[]).run();
            outcome.fails_with(&["seccomp", "busy"]);
            container.assert_gone();
        }
    });
}

#[test]
fn without_anybody_to_ask_nothing_is_made() {
    each(&[(Kind::Runc, "finds out late"), (Kind::Crun, "finds out late"), NO_FILTER], |runtime| {
        let folder = folder();
        let agent = Agent::listen(folder.path());
        let bundle = asking(Bundle::new(), &agent);
        drop(agent);
        let container = runtime.container(&bundle);
        container.run(&[]).fails_with(&["linux.seccomp.listenerPath", "Connection refused"]);
        container.assert_gone();
        if !strace::available() {
            return skip::skip("strace is not installed");
        }
        let other = tempfile::tempdir().unwrap();
        let agent = Agent::listen(other.path());
        let bundle = asking(Bundle::new(), &agent);
        let (container, log) = (runtime.container(&bundle), other.path().join("log"));
        let injections = [strace::failure("pidfd_getfd", "ENOSYS")];
        let outcome = container.run_under(&strace::failing(&injections, &log.to_string_lossy()), &[]).run();
        outcome.fails_with(&["SCMP_ACT_NOTIFY", "Linux 5.6"]);
        container.assert_gone();
    });
}
