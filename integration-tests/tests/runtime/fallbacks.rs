//! Fallbacks: each newer system call made to fail as an old kernel would; the container must come out the same.

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::runtime::{Container, Kind, Runtime};
use skiff_integration_tests::skip::skip;
use skiff_integration_tests::strace;
use skiff_lanes::runs;

/// Every call newer than Linux 4.19, the floor.
const NEWER: &[&str] = &[
    "clone3",
    "openat2",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "mount_setattr",
    "pidfd_open",
    "pidfd_send_signal",
    "close_range",
    "faccessat2",
    "statx",
    "fspick",
    "pidfd_getfd",
];

/// Runs the bundle of all features with these injections and returns what it printed.
fn run_with(runtime: &Runtime, bundle: &Bundle, injections: &[String]) -> String {
    let log = bundle.path().join("strace.log");
    let log = log.to_string_lossy();
    let container = runtime.container(bundle);
    let seen = container.run_under(&strace::failing(injections, &log), &[]).run().ok();
    container.assert_gone();
    seen
}

/// Shows what the set-up made: mounts with their options, devices, namespaces' names, limits, capabilities.
fn telling() -> Bundle {
    let script = "cut -d' ' -f5,6 /proc/self/mountinfo; ls -l /dev | tr -s ' ' | cut -d' ' -f1,3,4,5,6,10-; hostname; \
        grep -E '^(Cap|NoNew)' /proc/self/status; ls /proc/1/fd; cat /data/secret; cat /mnt/inner; pwd; ls /data/folder";
    let bundle =
        Bundle::script(script).file("/data/secret", 0o644, "secret\n").file("/data/folder/inner", 0o644, "inner\n");
    let source = bundle.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("inner"), "inner\n").unwrap();
    bundle
        .mount(serde_json::json!({"destination": "/mnt", "source": source, "options": ["rbind", "ro", "nosuid", "rprivate"]}))
        .edit(|config| {
            config["process"]["cwd"] = serde_json::json!("/data/folder");
            let masked = config["linux"]["maskedPaths"].as_array_mut().unwrap();
            masked.extend(["/data/secret".into(), "/data/folder".into()]);
        })
}

fn steady(text: &str) -> String {
    // Sizes of folders and the names of v1 hierarchies do not change with the call; the order of mounts may.
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn without_strace() -> bool {
    let missing = !strace::available();
    if missing {
        skip("strace is not installed");
    }
    missing
}

const OTHERS: &[(Kind, &str)] = &[
    (Kind::Runc, "Go's runtime has calls of its own"),
    (Kind::Crun, "1.8 has no fallback for some"),
    (Kind::Reference, "has no fallbacks"),
];

#[runs(host, guest)]
fn each_newer_call_may_be_missing() {
    if without_strace() {
        return;
    }
    each(OTHERS, |runtime| {
        let bundle = telling();
        let expected = steady(&runtime.run(&bundle).ok());
        let mut wrong = Vec::new();
        for call in NEWER {
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                steady(&run_with(runtime, &bundle, &[strace::failure(call, "ENOSYS")]))
            }));
            match seen {
                Ok(seen) if seen == expected => {}
                Ok(seen) => wrong.push(format!("{call}: sees\n{seen}\ninstead of\n{expected}")),
                Err(_) => wrong.push(format!("{call}: fails (see above)")),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[runs(host, guest)]
fn all_newer_calls_may_be_missing_at_once() {
    if without_strace() {
        return;
    }
    each(OTHERS, |runtime| {
        let bundle = telling();
        let expected = steady(&runtime.run(&bundle).ok());
        let injections: Vec<String> = NEWER.iter().map(|call| strace::failure(call, "ENOSYS")).collect();
        assert_eq!(steady(&run_with(runtime, &bundle, &injections)), expected);
    });
}

#[runs(host, guest)]
fn a_kernel_that_cannot_clone_into_a_cgroup() {
    // CLONE_INTO_CGROUP came with 5.7, clone3 with 5.3: between them the kernel says E2BIG or EINVAL.
    if without_strace() {
        return;
    }
    each(OTHERS, |runtime| {
        for error in ["EINVAL", "E2BIG"] {
            let bundle = telling();
            let expected = steady(&runtime.run(&bundle).ok());
            let injection = format!("{}:when=1", strace::failure("clone3", error));
            assert_eq!(steady(&run_with(runtime, &bundle, &[injection])), expected, "{error}");
        }
    });
}

fn lifecycle(container: &Container<'_>, call: &str) {
    let injections = [strace::failure(call, "ENOSYS")];
    let log = container.bundle.path().join("strace.log");
    let log = log.to_string_lossy();
    let prefix = strace::failing(&injections, &log);
    let verb = |words: &[&str]| container.runtime.command_under(&prefix, words).run();
    container.under(&prefix, "create", &[]).run().ok();
    assert_eq!(container.status(), "created");
    verb(&["start", &container.id]).ok();
    assert_eq!(container.status(), "running");
    verb(&["kill", &container.id, "KILL"]).ok();
    container.reaches("stopped");
    verb(&["delete", &container.id]).ok();
    container.assert_gone();
    // And by force, from running.
    container.run(&["--detach"]).ok();
    verb(&["delete", "--force", &container.id]).ok();
    container.assert_gone();
}

#[runs(host, guest)]
fn start_kill_and_delete_without_the_newer_calls() {
    if without_strace() {
        return;
    }
    each(&[(Kind::Crun, "1.8 needs pidfd_open"), (Kind::Reference, "its own calls")], |runtime| {
        for call in ["pidfd_open", "pidfd_send_signal", "openat2", "clone3", "close_range"] {
            // Go's threads are made by clone3.
            if runtime.kind == Kind::Runc && call == "clone3" {
                continue;
            }
            let bundle = Bundle::sleeper();
            lifecycle(&runtime.container(&bundle), call);
        }
    });
}

#[runs(host, guest)]
fn a_kernel_without_cgroup_kill() {
    // cgroup.kill came with 5.14: opening it fails with ENOENT. strace can single out a path.
    if without_strace() {
        return;
    }
    each(OTHERS, |runtime| {
        let bundle = Bundle::script("setsid sleep 1000 & exec sleep 1000").without_namespace("pid");
        let container = runtime.container(&bundle);
        container.run(&["--detach"]).ok();
        let folders = skiff_integration_tests::leftovers::cgroup_folders(&container.id);
        let paths: Vec<String> =
            folders.iter().map(|folder| folder.join("cgroup.kill").display().to_string()).collect();
        let log = bundle.path().join("strace.log");
        let log = log.to_string_lossy();
        let mut prefix = vec!["strace", "-D", "-f", "-qq", "-o", &*log];
        for path in &paths {
            prefix.extend(["-P", path]);
        }
        prefix.extend(["-e", "inject=open,openat,openat2,write:error=ENOENT"]);
        runtime.command_under(&prefix, &["delete", "--force", &container.id]).run().ok();
        container.assert_gone();
    });
}
