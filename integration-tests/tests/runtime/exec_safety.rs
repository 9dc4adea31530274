//! Exec against those who would disturb it: a hostile container that looks at every process it can see, death at any system
//! call, and kernels that lack the newer calls.

use std::path::Path;

use serde_json::json;
use skiff_integration_tests::bundle::{Bundle, in_user_namespaces};
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::leftovers::until_none;
use skiff_integration_tests::runtime::{Container, Kind};
use skiff_integration_tests::skip::skip;
use skiff_integration_tests::strace;
use skiff_lanes::runs;

use super::exec::{NO_EXEC, each_running, population};

const OTHERS: [(Kind, &str); 2] =
    [(Kind::Runc, "another order of its steps"), (Kind::Crun, "another order of its steps")];

/// Looks at every other process for a right that the container has not got, and for a way to the host through its root,
/// its working directory or one of its descriptors. Shell built-ins alone, to be fast. `$1` is a file of the host.
const SPY: &str = r#"
while read name value; do [ "$name" = CapPrm: ] && own=$value; done </proc/self/status
echo up
while :; do
    for process in /proc/[0-9]*; do
        [ $process = /proc/1 ] && continue
        while read name value; do
            # A program of another user has none.
            [ "$name" = CapPrm: ] && [ "$value" != $own ] && [ "$value" != 0000000000000000 ] && echo "PRIVILEGED $value"
        done <$process/status
        [ -e $process/root/$1 ] && echo "ESCAPED by root"
        for way in $process/cwd $process/fd/*; do
            [ -e $way/../../../../../../../..$1 ] && echo "ESCAPED by $way"
        done
        echo saw $process
    done
done 2>/dev/null
"#;

fn without_strace() -> bool {
    let missing = !strace::available();
    if missing {
        skip("strace is not installed");
    }
    missing
}

fn exec_under(
    container: &Container<'_>,
    prefix: &[&str],
    options: &[&str],
    words: &[&str],
) -> skiff_integration_tests::command::Outcome {
    let mut all = vec!["exec"];
    all.extend(options);
    all.push(&container.id);
    all.extend(words);
    container.runtime.command_under(prefix, &all).env("SKIFF_TEST_ID", &container.id).run()
}

// With CAP_SYS_PTRACE of the host's user namespace the dumpable flag keeps nobody out: what is not there cannot be taken.
#[runs(everywhere)]
fn a_container_that_may_trace_finds_nothing_of_the_host() {
    if without_strace() {
        return;
    }
    each(&[NO_EXEC, OTHERS[0], OTHERS[1]], |runtime| {
        let rights = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
        let bundle = Bundle::new().edit(|config| {
            config["process"]["capabilities"] = json!({"bounding": rights, "effective": rights, "permitted": rights});
        });
        let witness = bundle.path().join("config.json").to_string_lossy().into_owned();
        let bundle = bundle.args(&["/bin/sh", "-c", SPY, "sh", &witness]);
        let container = runtime.container(&bundle);
        let spy = container.run_command(&[]).spawn();
        eventually("the spy is up", || spy.stdout().contains("up").then_some(()));
        eventually("it is known to run", || (container.status() == "running").then_some(()));
        // Each step takes so long that it cannot be missed.
        let log = bundle.path().join("strace.log");
        let slow =
            "inject=setns,setsid,capset,setresuid,setgroups,prctl,close_range,clone3,recvmsg,execve:delay_enter=30000";
        let prefix = ["strace", "-f", "-qq", "-o", &*log.to_string_lossy(), "-e", slow];
        for options in [&[][..], &["--user", "1000"]] {
            exec_under(&container, &prefix, options, &["sh", "-c", "read x </proc/self/stat; echo done"]).ok();
        }
        container.kill("KILL").ok();
        let seen = spy.wait().stdout;
        assert!(seen.contains("saw /proc/"), "the spy saw the processes");
        let found: Vec<&str> =
            seen.lines().filter(|line| line.starts_with("ESCAPED") || line.starts_with("PRIVILEGED")).collect();
        assert!(found.is_empty(), "{found:?}");
    });
}

#[test]
fn death_at_any_call_leaves_no_process() {
    if without_strace() {
        return;
    }
    each_running(&OTHERS, &Bundle::sleeper(), |container| {
        let log = container.bundle.path().join("strace.log");
        let log_text = log.to_string_lossy();
        exec_under(container, &["strace", "-D", "-f", "-qq", "-o", &log_text], &[], &["true"]).ok();
        for follow in [false, true] {
            for (call, count) in strace::counts(&log, follow) {
                // Before its own exec strace has nothing to kill, and the first and the last of a kind say enough.
                if matches!(call.as_str(), "execve" | "exit_group" | "exit" | "brk" | "mmap" | "munmap" | "read") {
                    continue;
                }
                let nths = if count > 1 { vec![1, count] } else { vec![1] };
                for nth in nths {
                    let death = strace::death(&call, nth);
                    let mut prefix = vec!["strace", "-D", "-qq", "-o", "/dev/null", "-e", death.as_str()];
                    prefix.extend(follow.then_some("-f"));
                    let outcome = exec_under(container, &prefix, &["--detach"], &["true"]);
                    assert!(!outcome.hung, "{death} {follow}: {outcome}");
                    let left = until_none(|| {
                        let count = population(container);
                        if count == 2 { Vec::new() } else { vec![format!("{count} processes after {death} {follow}")] }
                    });
                    assert!(left.is_empty(), "{left:?}: {outcome}");
                }
            }
        }
        assert_eq!(container.status(), "running");
    });
}

/// Every call newer than Linux 4.19, the floor, that exec could make.
const NEWER: [&str; 9] = [
    "clone3",
    "openat2",
    "open_tree",
    "mount_setattr",
    "pidfd_open",
    "pidfd_send_signal",
    "close_range",
    "faccessat2",
    "statx",
];

#[test]
fn newer_calls_may_be_missing() {
    if without_strace() {
        return;
    }
    let bundles = [Bundle::sleeper(), Bundle::sleeper().user_namespace(500_000)];
    for bundle in &bundles {
        each_running(&OTHERS, bundle, |container| {
            let script = "id -u; for name in pid net ipc uts mnt user; do readlink /proc/self/ns/$name; done; \
                ls /proc/self/fd; grep -E '^(Cap|NoNew|NSpid)' /proc/self/status | grep -v NSpid; cat /proc/self/cgroup";
            let expected = exec_under(container, &["env"], &[], &["sh", "-c", script]).ok();
            let mut cases: Vec<Vec<String>> = NEWER.iter().map(|call| vec![strace::failure(call, "ENOSYS")]).collect();
            cases.push(cases.concat());
            // Linux 5.3 to 5.7 has pidfds, and setns(2) does not take them.
            cases.push(vec!["inject=setns:error=EINVAL:when=1".to_owned()]);
            for case in cases {
                let log = container.bundle.path().join("strace.log");
                let log = log.to_string_lossy();
                let seen = exec_under(container, &strace::failing(&case, &log), &[], &["sh", "-c", script]);
                assert_eq!(seen.ok(), expected, "{case:?}");
            }
        });
    }
}

#[test]
fn a_refused_namespace_is_named() {
    if without_strace() {
        return;
    }
    each_running(&OTHERS, &Bundle::sleeper(), |container| {
        let log = container.bundle.path().join("strace.log");
        let log = log.to_string_lossy();
        let outcome =
            exec_under(container, &strace::failing(&[strace::failure("setns", "EPERM")], &log), &[], &["true"]);
        let first = if in_user_namespaces() { "user" } else { "pid" };
        outcome.fails_with(&[&format!("join the {first} namespace"), &format!("/ns/{first}")]);
        assert_eq!(population(container), 2);
        assert!(Path::new(&format!("/proc/{}", container.pid())).exists());
    });
}
