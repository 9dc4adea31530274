//! Measures the main job on one device, with the built programs, and prints Markdown: how long from a document to running
//! containers, how long to find them again, how much memory daemon and shims share. Called by `bench.sh`.
//!
//! Times are held against the bare runtime in the same run (`skiff run --detach` of the same bundle, one after another), since
//! milliseconds belong to one machine on one day.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::Invocation;
use skiff_integration_tests::device::{Device, program};
use std::fs;
use std::time::{Duration, Instant};

/// Containers of the larger device.
const MANY: usize = 50;

fn main() {
    let bare = bare();
    let mut device = Device::new();
    let bundle = device.bundle(Bundle::sleeper());
    device.serve();
    device.start();
    let (idle, idle_anonymous) = (pss(device.daemon_pid()), anonymous(device.daemon_pid()));

    // One container; the archive is on the device already when the second document comes.
    let one =
        |edition: u32| format!("  {}: {{bundle: {bundle}, environment: {{E: \"{edition}\"}}}}\n", device.name("web"));
    let documents: Vec<String> = (0..6).map(one).collect();
    let (mut applied, mut switched) = (Vec::new(), Vec::new());
    for (edition, document) in documents.iter().enumerate() {
        let version = format!("v{edition}");
        device.release(&version, document);
        device.publish_with(&version, "gate: {minHealthy: 100ms, deadline: 60s}");
        let began = Instant::now();
        device.ctl(&["sync"]).ok();
        wait_for(&device, &version, 1);
        applied.push(began.elapsed());
        switched.push(switch(&device));
    }
    let first = applied.remove(0);
    switched.remove(0);
    let shim_of_one = shims(&device);

    // Many, in five services.
    let services: String = (0..5)
        .map(|at| {
            format!("  {}: {{bundle: {bundle}, deploy: {{replicas: {}}}}}\n", device.name(&format!("s{at}")), MANY / 5)
        })
        .collect();
    device.release("many", &services);
    device.publish_with("many", "gate: {minHealthy: 100ms, deadline: 60s}");
    let began = Instant::now();
    device.ctl(&["sync"]).ok();
    wait_for(&device, "many", MANY);
    let all = began.elapsed();
    let many = switch(&device);
    let (busy, busy_anonymous) = (pss(device.daemon_pid()), anonymous(device.daemon_pid()));
    let shims_of_many = shims(&device);

    let mut adoptions = Vec::new();
    for _ in 0..5 {
        device.kill_daemon();
        let began = Instant::now();
        device.start();
        wait_for(&device, "many", MANY);
        adoptions.push(began.elapsed());
    }
    device.finish();
    let ms = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1000.0);
    let times = |time: Duration| format!("{:.1}", time.as_secs_f64() / bare.as_secs_f64());
    println!("| the main job on one device | ms | times one bare `skiff run --detach` |\n|---|--:|--:|");
    println!("| bare `skiff run --detach` of the same bundle | {} | 1 |", ms(bare));
    let row = |what: &str, time: Duration| println!("| {what} | {} | {} |", ms(time), times(time));
    row("index, signature, release and archive over HTTP to running; a second between two requests", first);
    row("the same, archive on the device", median(&mut applied));
    row("of this: from the decision to switch to the new one running, the old one stopped", median(&mut switched));
    row(&format!("{MANY} containers in five services, over HTTP"), all);
    row("of this: from the decision to switch to all running", many);
    let adoption = median(&mut adoptions);
    row(&format!("skiffd killed; started to all {MANY} found again and told"), adoption);
    println!();
    println!("| memory, PSS in kB | | of this anonymous |\n|---|--:|--:|");
    println!("| skiffd, nothing to do | {idle} | {idle_anonymous} |");
    println!("| skiffd with {MANY} containers | {busy} | {busy_anonymous} |");
    println!("| the shim of one container | {} | |", shim_of_one.iter().sum::<u64>());
    println!("| five shims with {MANY} containers, together | {} | |\n", shims_of_many.iter().sum::<u64>());
}

/// `skiff run --detach`, the median of eleven.
fn bare() -> Duration {
    let bundle = Bundle::sleeper();
    bundle.write();
    let root = tempfile::tempdir().expect("temporary folder");
    let (root, path) = (root.path().to_string_lossy().into_owned(), bundle.path().to_string_lossy().into_owned());
    let mut times = Vec::new();
    for round in 0..11 {
        let id = format!("{}-{round}", bundle.id);
        let began = Instant::now();
        Invocation::new(program("skiff"), &["--root", &root, "run", "--detach", "--bundle", &path, &id]).run().ok();
        times.push(began.elapsed());
        Invocation::new(program("skiff"), &["--root", &root, "delete", "--force", &id]).run().ok();
    }
    median(&mut times)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Until `count` instances of a release run.
fn wait_for(device: &Device, version: &str, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = device.status();
        let runs = |instance: &&serde_json::Value| instance["state"] == "running";
        let running = status["instances"].as_array().map_or(0, |all| all.iter().filter(runs).count());
        if status["release"]["running"] == version && running == count {
            return;
        }
        assert!(Instant::now() < deadline, "release {version} never ran: {status:#}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// From the last switch of a release to the last start of an instance, as the events have it.
fn switch(device: &Device) -> Duration {
    let events = device.ctl(&["events", "--format", "json"]).ok();
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).expect("one document on each line")).collect();
    let last = |kind: &str| {
        let event = events.iter().rev().find(|event| event["kind"] == kind).expect("it happened");
        humantime::parse_rfc3339(event["time"].as_str().expect("events have times")).expect("as RFC 3339 has it")
    };
    last("instanceStarted").duration_since(last("releaseSwitched")).expect("nobody sets the clock meanwhile")
}

/// A process's share of memory, in kB.
fn pss(pid: u32) -> u64 {
    rollup(pid, "Pss:")
}

/// The part of it that the kernel cannot take back: the rest are pages of the program's file.
fn anonymous(pid: u32) -> u64 {
    rollup(pid, "Pss_Anon:")
}

/// smaps_rollup of proc_pid_smaps(5).
fn rollup(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The shares of this device's shims.
fn shims(device: &Device) -> Vec<u64> {
    let pids =
        fs::read_dir("/proc").expect("procfs").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_shim = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("containerd-shim-skiff-v1") && line.contains(&device.prefix)
    };
    pids.filter(is_shim).map(pss).collect()
}
