//! The room `cgroup` on the running kernel, as root. A feature that the host lacks is skipped with a printed reason.
// The bans protect the runtime; these are whole programs that only play its part.
#![allow(clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use skiff::cgroup::{self, Cgroup, DeviceControl, DevicePlan, Host, Kind, Location, OwnCgroups, Plan};

/// A cgroup of its own name for one test, and a shell in it that runs what it is told; gone when dropped.
struct Room {
    location: Location,
    host: Host,
    plan: Plan,
    shell: Option<Child>,
}

impl Room {
    fn new(name: &str, resources: &str, host: Option<Host>) -> Option<Room> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let resources = serde_json::from_str(resources).unwrap();
        let host = host.unwrap_or_else(|| Host::detect(Some(&resources)).unwrap());
        let plan = match cgroup::plan(Some(&resources), &host, DeviceControl::Enforce) {
            Ok(plan) => plan,
            Err(error) => {
                println!("skipped: {error}");
                return None;
            }
        };
        let path = PathBuf::from(format!("/skiff-test-{}-{name}/a/b", std::process::id()));
        let location = cgroup::locate(&host, Some(&path), "unused", &OwnCgroups::default()).unwrap();
        Some(Room { location, host, plan, shell: None })
    }

    /// Makes the cgroup, puts a shell running `script` into it and applies all limits.
    fn enter(&mut self, script: &str) -> Cgroup {
        cgroup::vacant(&self.location).unwrap();
        let made = cgroup::create(&self.location, &self.plan).unwrap();
        let mut command = Command::new("/bin/sh");
        // The shell waits for a line, so that it does nothing before it is in the cgroup.
        command.args(["-c", &format!("read go; {script}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let shell = command.stderr(Stdio::piped()).spawn().unwrap();
        made.join(i32::try_from(shell.id()).unwrap(), true).unwrap();
        self.shell = Some(shell);
        made.apply(&self.plan).unwrap();
        made.apply_devices(&self.plan).unwrap();
        made.apply_memory(&self.plan).unwrap();
        made
    }

    fn go(&mut self) {
        self.shell.as_mut().unwrap().stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    fn output(&mut self) -> String {
        self.go();
        let output = self.shell.take().unwrap().wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn pids(&self) -> Vec<i32> {
        cgroup::procs(&self.location).unwrap()
    }

    fn value(&self, controller: &str, file: &str) -> String {
        let dir = self.location.v1(controller).or(self.location.v2()).unwrap();
        fs::read_to_string(dir.path.join(file)).unwrap().trim().to_owned()
    }

    fn delegates(&self) {
        let made = cgroup::open(&self.location).unwrap();
        made.delegate(1234).unwrap();
        let dir = &self.location.v2().unwrap().path;
        for path in [dir.clone(), dir.join("cgroup.procs")] {
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap()), 1234);
        }
    }

    fn end(&self) {
        cgroup::kill(&self.location, libc::SIGKILL).unwrap();
        cgroup::remove(&self.location).unwrap();
        cgroup::remove(&self.location).unwrap();
        for dir in &self.location.dirs {
            assert!(!dir.path.exists(), "{} is left", dir.path.display());
            assert!(dir.path.parent().unwrap().exists(), "a parent was removed");
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _best_effort = (cgroup::kill(&self.location, libc::SIGKILL), cgroup::remove(&self.location));
        if let Some(mut shell) = self.shell.take() {
            let _reaped = (shell.kill(), shell.wait());
        }
        for dir in &self.location.dirs {
            for parent in dir.path.ancestors().skip(1).take(2) {
                let _not_made = fs::remove_dir(parent);
            }
        }
    }
}

fn v2_host() -> Option<Host> {
    let host = Host::detect(None).unwrap();
    let hierarchies: Vec<_> = host.hierarchies.into_iter().filter(|found| found.kind == Kind::V2).collect();
    if hierarchies.is_empty() {
        println!("skipped: no cgroup v2 is mounted");
        return None;
    }
    Some(Host { hierarchies, ..Host::default() })
}

#[test]
fn limits_reach_the_kernel_and_nothing_is_left() {
    let limits =
        r#"{"pids":{"limit":33},"memory":{"limit":33554432,"swap":33554432},"cpu":{"shares":512,"quota":20000}}"#;
    let Some(mut room) = Room::new("limits", limits, None) else { return };
    let made = room.enter("sleep 100 & sleep 100 & wait");
    assert_eq!(room.value("pids", "pids.max"), "33");
    let file = if room.host.has_v1("memory") { "memory.limit_in_bytes" } else { "memory.max" };
    assert_eq!(room.value("memory", file), "33554432");
    let pid = room.pids()[0];
    let seen = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(seen.lines().count(), seen.lines().filter(|line| line.ends_with("/a/b")).count(), "{seen}");
    assert!(matches!(cgroup::vacant(&room.location), Err(cgroup::Error::Populated { .. })));
    assert!(matches!(cgroup::create(&room.location, &room.plan), Err(cgroup::Error::Populated { .. })));
    assert_eq!(made.v2_dir().is_some(), room.location.v2().is_some());
    room.go();
    room.end();
}

#[test]
fn the_pids_limit_stops_a_fork() {
    let Some(mut room) = Room::new("fork", r#"{"pids":{"limit":3}}"#, None) else { return };
    room.enter("for i in 1 2 3 4 5; do sleep 1 & done; wait; echo done");
    let output = room.output();
    assert!(output.contains("fork"), "{output}");
    room.end();
}

#[test]
fn an_oom_kill_is_counted() {
    let limits = r#"{"memory":{"limit":8388608,"swap":8388608}}"#;
    let Some(mut room) = Room::new("oom", limits, None) else { return };
    room.enter("x=0123456789abcdef; while :; do x=$x$x; done");
    room.output();
    assert!(cgroup::oom_kills(&room.location).unwrap() >= 1);
    room.end();
}

#[test]
fn sub_cgroups_are_killed_and_removed() {
    let Some(mut room) = Room::new("nested", "{}", None) else { return };
    room.enter("sleep 100");
    for dir in &room.location.dirs {
        // cpuset of v1 takes no process before it has CPUs, so it stays without one.
        fs::create_dir(dir.path.join("sub")).unwrap();
        fs::create_dir(dir.path.join("sub/deeper")).unwrap();
        if !dir.kind.has_v1("cpuset") {
            fs::write(dir.path.join("sub/deeper/cgroup.procs"), room.pids()[0].to_string()).unwrap();
        }
    }
    assert_eq!(room.pids().len(), 1);
    room.end();
}

#[test]
fn a_frozen_container_can_be_killed() {
    let Some(mut room) = Room::new("frozen", "{}", None) else { return };
    room.enter("sleep 100");
    assert!(!cgroup::is_frozen(&room.location).unwrap());
    cgroup::freeze(&room.location).unwrap();
    assert!(cgroup::is_frozen(&room.location).unwrap());
    cgroup::thaw(&room.location).unwrap();
    assert!(!cgroup::is_frozen(&room.location).unwrap());
    cgroup::freeze(&room.location).unwrap();
    // Without v2 there is no cgroup.kill: what a v1 host has must do alone.
    let mut by_hand = room.location.clone();
    by_hand.dirs.retain(|dir| dir.kind != Kind::V2);
    cgroup::kill(&by_hand, libc::SIGKILL).unwrap();
    assert!(cgroup::procs(&by_hand).unwrap().is_empty());
    room.end();
}

/// Who kills a container asks, while its `run` removes the cgroup of it: the answer of a removed file is ENODEV.
#[test]
fn a_cgroup_that_is_removed_meanwhile_is_not_frozen() {
    let Some(room) = Room::new("vanishing", "{}", None) else { return };
    let Some(dir) = room.location.dirs.iter().find(|dir| dir.kind.has_v1("freezer") || dir.kind == Kind::V2) else {
        return println!("skipped: nothing here freezes");
    };
    let location = Location { dirs: vec![dir.clone()] };
    fs::create_dir_all(dir.path.parent().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| {
            for _ in 0..5000 {
                fs::create_dir(&dir.path).unwrap();
                fs::remove_dir(&dir.path).unwrap();
            }
        });
        while !removing.is_finished() {
            assert!(!cgroup::is_frozen(&location).unwrap());
            cgroup::let_die(&location).unwrap();
        }
    });
}

#[test]
fn a_refused_limit_names_property_and_file() {
    let Some(mut room) = Room::new("refused", r#"{"cpu":{"cpus":"4000"}}"#, None) else { return };
    let made = cgroup::create(&room.location, &room.plan).unwrap();
    let error = made.apply(&room.plan).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains("linux.resources.cpu.cpus"), "{error}");
    assert!(error.to_string().contains("/a/b/cpuset.cpus") && cause.contains("os error"), "{error}: {cause}");
    made.discard();
    let top = |path: &Path| path.ancestors().nth(2).unwrap().to_owned();
    assert!(room.location.dirs.iter().all(|dir| !top(&dir.path).exists()), "parents made for nothing are left");
    room.shell = None;
}

/// The controllers that a hybrid host has on v2 differ; hugetlb is often among them.
#[test]
fn v2_controllers_are_handed_down() {
    let pages = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#;
    let Some(mut room) = Room::new("handed", pages, None) else { return };
    if room.host.has_v1("hugetlb") || !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        return println!("skipped: no hugetlb of 2 MB on cgroup v2");
    }
    room.enter("sleep 100");
    assert_eq!(room.value("hugetlb", "hugetlb.2MB.max"), "4194304");
    room.delegates();
    // A cgroup with processes of its own hands nothing down, and that is what is told.
    let mut inner = room.location.clone();
    inner.dirs.retain(|dir| dir.kind == Kind::V2);
    inner.dirs[0].path.push("inner");
    let error = cgroup::create(&inner, &room.plan).unwrap_err();
    assert!(error.to_string().contains("`+hugetlb`") && error.to_string().contains("processes of its own"), "{error}");
    assert!(!inner.dirs[0].path.exists());
    room.end();
}

/// Opens two devices of which the rules allow one; the shell reports what it could open.
fn devices(name: &str, host: Option<Host>) {
    let rules =
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    let Some(mut room) = Room::new(name, rules, host) else { return };
    room.enter(
        "exec 2>/dev/null; dd if=/dev/zero count=1 >/dev/null && echo zero; \
         (: </tmp/skiff-kmsg-$$) && echo kmsg; (: >/tmp/skiff-kmsg-$$) && echo write; \
         (: </tmp/skiff-mem-$$) && echo mem; rm -f /tmp/skiff-*-$$",
    );
    let pid = room.shell.as_ref().unwrap().id();
    // 1:11 is kmsg, readable by the rule; 1:2 does not exist on many kernels but is denied before that is found out.
    for (node, minor) in [("kmsg", 11), ("mem", 1)] {
        let path = format!("/tmp/skiff-{node}-{pid}");
        let dev = rustix::fs::makedev(1, minor);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::CharacterDevice, mode, dev).unwrap();
    }
    let output = room.output();
    for node in ["kmsg", "mem"] {
        let _removed_by_the_shell = fs::remove_file(format!("/tmp/skiff-{node}-{pid}"));
    }
    assert_eq!(output, "zero\nkmsg\n");
    room.end();
}

#[test]
fn devices_are_limited_by_the_hosts_own_means() {
    devices("devices", None);
}

#[test]
fn devices_are_limited_by_a_program() {
    let Some(host) = v2_host() else { return };
    devices("program", Some(host));
}

#[test]
fn a_program_can_deny_what_is_usual() {
    let Some(host) = v2_host() else { return };
    let Some(mut room) = Room::new("deny", "{}", Some(host)) else { return };
    let DevicePlan::V2(insns) = &mut room.plan.devices else { panic!("v2 devices are a program") };
    // The shortest program: everything is denied.
    *insns = vec![skiff::sys::bpf::Insn::set(0, 0), skiff::sys::bpf::Insn::exit()];
    room.enter("(: </dev/zero) 2>&1; echo end");
    let output = room.output();
    assert!(output.contains("Operation not permitted") && output.contains("end"), "{output}");
    room.end();
}
