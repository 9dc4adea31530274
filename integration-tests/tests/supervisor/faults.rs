//! What goes wrong around skiffd: shims that die, disks that take nothing, records that are garbled, programs that hang.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Invocation, eventually};
use skiff_integration_tests::device::{Device, program};
use skiff_integration_tests::leftovers;
use skiff_lanes::runs;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A device that runs release 1, committed, with these services.
fn committed(services: impl FnOnce(&mut Device) -> String) -> Device {
    let mut device = Device::new();
    let services = services(&mut device);
    commit(&mut device, &services);
    device
}

fn commit(device: &mut Device, services: &str) {
    device.release("1", services);
    device.publish_with("1", "gate: {minHealthy: 200ms, deadline: 20s}");
    device.serve();
    device.start();
    device.until_status("release 1 is committed", |status| status["release"]["committed"] == "1");
}

fn sleeper(device: &mut Device) -> String {
    let (bundle, web) = (device.bundle(Bundle::sleeper()), device.name("web"));
    format!("  {web}: {{bundle: {bundle}, x-skiff: {{backoff: {{base: 100ms}}}}}}\n")
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn events(device: &Device) -> Vec<Value> {
    let text = device.ctl(&["events", "--format", "json"]).ok();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many events there are of a kind.
fn count(device: &Device, kind: &str) -> usize {
    events(device).iter().filter(|event| event["kind"] == kind).count()
}

/// The processes of this device with this word in their command lines.
fn processes(device: &Device, word: &str) -> Vec<i32> {
    let all = leftovers::processes(&device.prefix, &device.path(""));
    let line = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is = |pid: &i32| String::from_utf8_lossy(&line(*pid)).contains(word);
    all.into_iter().map(|(pid, _)| pid).filter(is).collect()
}

/// A file system of a device's own, on one of its folders, taken away with it.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, size: &str) -> Self {
        let words = ["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs", &path.to_string_lossy()];
        Invocation::new("mount", &words).run().ok();
        Self(path)
    }

    fn remount(&self, how: &str) {
        Invocation::new("mount", &["-o", &format!("remount,{how}"), &self.0.to_string_lossy()]).run().ok();
    }

    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let _ends_when_full = fs::write(&filler, vec![0; 32 << 20]);
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Invocation::new("umount", &["-l", &self.0.to_string_lossy()]).run();
    }
}

#[runs(host)]
fn a_killed_shim_costs_its_containers_one_start_each_and_is_told() {
    let device = committed(|device| {
        let (bundle, web) = (device.bundle(Bundle::sleeper()), device.name("web"));
        format!("  {web}: {{bundle: {bundle}, deploy: {{replicas: 2}}, x-skiff: {{backoff: {{base: 100ms}}}}}}\n")
    });
    let running = |replica| device.instance("web", replica).filter(|it| it["state"] == "running");
    let before = [0, 1].map(|replica| eventually("it runs", || running(replica)));
    let shims = processes(&device, "containerd-shim-skiff-v1");
    assert_eq!(shims.len(), 1, "one for the service");
    kill(shims[0], Signal::KILL);
    for (replica, before) in [0, 1].into_iter().zip(&before) {
        let after = eventually("it runs again", || running(replica).filter(|it| it["pid"] != before["pid"]));
        let said = after["lastExit"]["reason"].as_str().unwrap();
        assert!(after["restarts"] == 1 && said.contains("nobody saw"), "{after:#}");
    }
    assert_eq!(processes(&device, "trap").len(), 2, "what ran before is gone");
    assert_eq!((count(&device, "shimLost"), count(&device, "instanceStarted")), (2, 4));
    device.finish();
}

/// The `start` of the shim outlives the skiffd that asked for it, and comes about when the next one has begun its own.
#[runs(host)]
fn a_shim_whose_start_outlived_its_skiffd_is_no_second_one() {
    let mut device = Device::new();
    let (settings, shim) =
        (fs::read_to_string(device.path("skiffd.toml")).unwrap(), program("containerd-shim-skiff-v1"));
    let slow =
        format!("#!/bin/sh\nfor last; do :; done\n[ $last = start ] && sleep 0.4\nexec {} \"$@\"\n", shim.display());
    let wrapper = device.path("slow-shim");
    fs::write(&wrapper, slow).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = settings.replace(&shim.display().to_string(), &wrapper.display().to_string());
    fs::write(device.path("skiffd.toml"), settings).unwrap();
    let services = sleeper(&mut device);
    device.release("1", &services);
    device.publish("1");
    device.serve();
    device.start();
    for _ in 0..2 {
        device.until("web", "is being started", |it| it["state"] == "starting");
        eventually("its shim is being started", || processes(&device, "slow-shim").first().copied());
        device.kill_daemon();
        device.start();
    }
    let pid = device.running("web");
    eventually("no start is under way", || processes(&device, "slow-shim").is_empty().then_some(()));
    assert_eq!(processes(&device, "trap").len(), 1);
    assert_eq!(device.running("web"), pid);
    eventually("one shim is left", || (processes(&device, "containerd-shim-skiff-v1").len() == 1).then_some(()));
    device.finish();
}

#[runs(host)]
fn a_full_state_folder_keeps_everything_as_it_is_until_there_is_room() {
    let mut device = Device::new();
    let disk = Disk::mount(device.path("state"), "16m");
    let services = sleeper(&mut device);
    commit(&mut device, &services);
    let pid = device.running("web");
    let filler = disk.fill();
    device.release("2", &services.replace("{bundle", "{environment: {E: two}, bundle"));
    device.publish_with("2", "gate: {minHealthy: 200ms, deadline: 20s}");
    device.until_status("the disk is said to be full", |status| status["fleet"]["lastRefusal"]["reason"] == "disk");
    let status = device.status();
    assert_eq!((&status["release"]["running"], device.running("web")), (&"1".into(), pid), "{status:#}");
    // As a restart finds it, too.
    device.kill_daemon();
    device.start();
    assert_eq!(device.running("web"), pid);
    fs::remove_file(filler).unwrap();
    device.until_status("release 2 is committed", |status| status["release"]["committed"] == "2");
    let state = device.stop_daemon();
    assert!(state.succeeded(), "{state}");
    device.start();
    assert_eq!(device.status()["release"]["committed"], "2");
    device.ctl(&["drain"]).ok();
    device.stop_daemon();
    drop(disk);
    device.finish();
}

/// As an ext4 that has seen an error is mounted, or a card that has worn out.
#[runs(host)]
fn a_read_only_state_folder_runs_what_is_there_also_after_a_boot() {
    let mut device = Device::new();
    let disk = Disk::mount(device.path("state"), "16m");
    let services = sleeper(&mut device);
    commit(&mut device, &services);
    device.ctl(&["drain"]).ok();
    device.stop_daemon();
    // What an interrupted unpacking leaves is in nobody's way.
    fs::create_dir(device.path("state/fleet/bundles/.sha256-0.new")).unwrap();
    fs::write(device.path("state/journal"), "torn").unwrap();
    disk.remount("ro");
    fs::remove_dir_all(device.path("run")).unwrap();
    device.start();
    let pid = device.running("web");
    device.release("2", &services.replace("{bundle", "{environment: {E: two}, bundle"));
    device.publish_with("2", "gate: {minHealthy: 200ms, deadline: 20s}");
    device.until_status("the disk is said to refuse", |status| status["fleet"]["lastRefusal"]["reason"] == "disk");
    assert_eq!(device.running("web"), pid);
    disk.remount("rw");
    device.until_status("release 2 is committed", |status| status["release"]["committed"] == "2");
    device.ctl(&["drain"]).ok();
    device.stop_daemon();
    drop(disk);
    device.finish();
}

#[runs(host)]
fn a_decision_that_the_disk_refuses_is_told_once_and_carried_out_later() {
    let mut device = Device::new();
    let disk = Disk::mount(device.path("state"), "16m");
    let services = sleeper(&mut device);
    commit(&mut device, &services);
    device.release("2", &services.replace("{bundle", "{environment: {E: two}, bundle"));
    device.publish_with("2", "gate: {minHealthy: 2s, deadline: 20s}");
    device.until_status("release 2 is on trial", |status| status["release"]["running"] == "2");
    let filler = disk.fill();
    device.until_status("its proof cannot be kept", |status| status["blocked"].is_string());
    assert_eq!(device.status()["release"]["committed"], "1");
    fs::remove_file(filler).unwrap();
    let status = device.until_status("release 2 is committed", |status| status["release"]["committed"] == "2");
    assert!(status["blocked"].is_null(), "{status:#}");
    assert_eq!(count(&device, "stateNotKept"), 1);
    device.ctl(&["drain"]).ok();
    device.stop_daemon();
    drop(disk);
    device.finish();
}

#[runs(host)]
fn garbled_records_cost_one_start_each_and_leave_no_second_container() {
    let mut device = committed(|device| {
        let (bundle, web) = (device.bundle(Bundle::sleeper()), device.name("web"));
        format!("  {web}: {{bundle: {bundle}, deploy: {{replicas: 5}}}}\n")
    });
    let pids = |device: &Device| {
        let pid = |replica| device.instance("web", replica).filter(|it| it["state"] == "running")?["pid"].as_u64();
        eventually("all run", || (0..5).map(pid).collect::<Option<Vec<_>>>())
    };
    let before = pids(&device);
    device.kill_daemon();
    let folder = |replica: u16| device.path("run/instances").join(format!("{}-{replica}", device.name("web")));
    let record = fs::read(folder(0).join("record.json")).unwrap();
    fs::write(folder(0).join("record.json"), &record[..record.len() / 2]).unwrap();
    fs::write(folder(1).join("record.json"), b"\0\xff{").unwrap();
    fs::write(folder(2).join("record.json"), &record).unwrap();
    // As if skiffd had died after it set one aside.
    fs::remove_file(folder(3).join("record.json")).unwrap();
    fs::create_dir(device.path("run/instances").join(format!("{}-9", device.name("web")))).unwrap();
    device.start();
    let after = pids(&device);
    assert_eq!(after[4], before[4], "the one that is whole goes on");
    assert!((0..4).all(|at| after[at] != before[at]), "{before:?} {after:?}");
    assert_eq!(processes(&device, "trap").len(), 5);
    assert!(device.path("run/garbled").join(format!("{}-0.json", device.name("web"))).exists());
    device.finish();
}

#[runs(host)]
fn lost_memories_of_releases_do_not_keep_skiffd_from_its_work() {
    let mut device = committed(sleeper);
    let pid = device.running("web");
    device.kill_daemon();
    device.unplug();
    for name in ["rollout.json", "rollout.json.previous", "fleet/memory.json", "fleet/memory.json.previous", "journal"]
    {
        fs::write(device.path("state").join(name), b"\0garbage").unwrap();
    }
    fs::write(device.path("run/memory.json"), b"{").unwrap();
    device.start();
    assert_eq!(device.running("web"), pid);
    let status = device.until_status("it proves itself once more", |status| status["release"]["committed"] == "1");
    assert_eq!(status["fleet"]["serial"], 1, "{status:#}");
    device.finish();
}

#[runs(host)]
fn a_bundle_that_is_refused_is_returned_from_with_its_reason_and_without_haste() {
    let mut device = committed(sleeper);
    let refused = device.bundle(Bundle::new().edit(|config| config["linux"]["seccomp"] = "nonsense".into()));
    let web = device.name("web");
    device.release("2", &format!("  {web}: {{bundle: {refused}, x-skiff: {{backoff: {{base: 500ms}}}}}}\n"));
    device.publish_with("2", "gate: {minHealthy: 200ms, deadline: 2s}");
    device.until_status("it is returned from", |status| status["release"]["lastRevert"]["release"] == "2");
    let status = device.status();
    let reason = status["release"]["lastRevert"]["reason"].as_str().unwrap();
    assert!(reason.contains("not started") && reason.contains("seccomp"), "{reason}");
    let tries = count(&device, "instanceNotStarted");
    assert!((1..=4).contains(&tries), "{tries}");
    device.running("web");
    device.finish();
}

#[runs(host)]
fn a_fleet_that_changes_its_mind_gets_what_it_said_last() {
    let mut device = committed(sleeper);
    let pid = device.running("web");
    let (never, web) = (device.bundle(Bundle::script("sleep 0.1; exit 1")), device.name("web"));
    device.release("2", &format!("  {web}: {{bundle: {never}}}\n"));
    for _ in 0..2 {
        device.publish_with("2", "gate: {minHealthy: 200ms, deadline: 10m}");
        device.until_status("release 2 is on trial", |status| status["release"]["running"] == "2");
        device.publish_with("1", "gate: {minHealthy: 200ms, deadline: 20s}");
        device.until_status("release 1 runs", |status| status["release"]["running"] == "1");
    }
    assert_ne!(device.running("web"), pid);
    let status = device.status();
    assert_eq!((&status["release"]["committed"], &status["release"]["previous"]), (&"1".into(), &Value::Null));
    device.finish();
}

#[runs(host)]
fn replicas_come_and_go_and_a_renamed_service_is_another() {
    let mut device = Device::new();
    let (bundle, web, shop) = (device.bundle(Bundle::sleeper()), device.name("web"), device.name("shop"));
    let service =
        |name: &str, replicas: u32| format!("  {name}: {{bundle: {bundle}, deploy: {{replicas: {replicas}}}}}\n");
    commit(&mut device, &service(&web, 3));
    let pid = device.running("web");
    for (version, name, replicas) in [("2", &web, 1), ("3", &web, 3), ("4", &shop, 2)] {
        device.release(version, &service(name, replicas));
        device.publish_with(version, "gate: {minHealthy: 200ms, deadline: 20s}");
        device.until_status("it is committed", |status| status["release"]["committed"] == version);
        eventually("as many as asked for", || (processes(&device, "trap").len() == replicas as usize).then_some(()));
        if name == &web {
            assert_eq!(device.running("web"), pid, "the first stays all the while");
        }
    }
    eventually("only the new name is left", || device.instance("web", 0).is_none().then_some(()));
    device.finish();
}

#[runs(host)]
fn a_probe_that_hangs_is_a_probe_that_failed_and_leaves_nothing() {
    let mut device = Device::new();
    let (bundle, web) = (device.bundle(Bundle::sleeper()), device.name("web"));
    device.release(
        "1",
        &format!(
            "  {web}:\n    bundle: {bundle}\n    x-skiff: {{backoff: {{base: 100ms}}, probes: {{liveness: {{exec: [\"sleep\", \"4711\"], interval: 1s, timeout: 1s, failureThreshold: 2}}}}}}\n"
        ),
    );
    device.publish("1");
    device.serve();
    device.start();
    let seen = device.until("web", "was started again", |it| it["restarts"].as_u64() >= Some(1));
    let stopping =
        events(&device).into_iter().find(|event| event["kind"] == "instanceStopping").expect("it was stopped");
    assert!(stopping["text"].as_str().unwrap().contains("longer than"), "{stopping} {seen:#}");
    assert!(processes(&device, "4711").len() <= 1, "of several probes at most the last is there");
    device.finish();
}

#[runs(host)]
fn a_stop_goes_on_when_skiffd_is_killed_in_its_grace() {
    let mut device = committed(|device| {
        let deaf = device.bundle(Bundle::script("trap '' TERM; echo up; while :; do sleep 0.1; done"));
        let (web, other, sleeper) = (device.name("web"), device.name("other"), device.bundle(Bundle::sleeper()));
        format!("  {web}: {{bundle: {deaf}, stop_grace_period: 1s}}\n  {other}: {{bundle: {sleeper}}}\n")
    });
    let (pid, other) = (device.running("web"), device.running("other"));
    let name = device.name("web");
    eventually("its trap is set", || device.ctl(&["logs", &name]).stdout.contains("up").then_some(()));
    device.release("2", &format!("  {}: {{bundle: bundle-1}}\n", device.name("other")));
    device.publish_with("2", "gate: {minHealthy: 200ms, deadline: 20s}");
    device.until("web", "is asked to stop", |it| it["state"] == "stopping");
    device.kill_daemon();
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "it is deaf, and there is nobody to make it end");
    device.start();
    eventually("it is gone", || device.instance("web", 0).is_none().then_some(()));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(device.running("other"), other);
    device.finish();
}

#[runs(host)]
fn two_drains_while_a_trial_starts_end_both_and_skiffd_rests() {
    let mut device = Device::new();
    let (bundle, web) = (device.bundle(Bundle::sleeper()), device.name("web"));
    device.release("1", &format!("  {web}: {{bundle: {bundle}, deploy: {{replicas: 4}}}}\n"));
    device.publish_with("1", "gate: {minHealthy: 300ms, deadline: 500ms}");
    device.serve();
    device.start();
    eventually("a start is under way", || device.instance("web", 0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| device.ctl(&["drain"]).ok());
        }
    });
    assert!(processes(&device, "trap").is_empty());
    // The moments of the trial pass; nobody waits for them.
    std::thread::sleep(std::time::Duration::from_millis(600));
    let before = cpu(&device);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let spent = cpu(&device) - before;
    assert!(spent <= 10, "{spent} of 50 ticks were spent on nothing");
    // Started again, the trial goes on.
    device.stop_daemon();
    device.start();
    device.running("web");
    device.finish();
}

/// The processor time of skiffd, in ticks of 10 ms (proc_pid_stat(5)).
fn cpu(device: &Device) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", device.daemon_pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[runs(host)]
fn a_boot_finds_nothing_and_starts_everything() {
    let mut device = committed(sleeper);
    let pid = device.running("web");
    device.kill_daemon();
    device.unplug();
    // What a boot leaves of processes; cgroups go with the kernel.
    for pid in processes(&device, "") {
        let _may_be_gone = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
    eventually("nothing runs", || processes(&device, "").is_empty().then_some(()));
    leftovers::sweep(&device.prefix, &device.path("run"));
    // A run folder that outlives a boot holds records of another one.
    let record = device.path("run/instances").join(format!("{}-0/record.json", device.name("web")));
    let mut document: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    document["bootId"] = "another".into();
    fs::write(&record, document.to_string()).unwrap();
    device.start();
    let again = device.running("web");
    assert_ne!(again, pid);
    // SIGTERM leaves containers as they are.
    assert!(device.stop_daemon().succeeded());
    assert!(Path::new(&format!("/proc/{again}")).exists());
    device.start();
    assert_eq!(device.running("web"), again);
    device.finish();
}
