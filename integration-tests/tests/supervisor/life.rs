//! What a service's keys mean for its containers: limits, restarts, order, replicas, probes, stopping.

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::cgroups;
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::device::{Device, free_port};
use std::fs;

/// A device with one release of these services, running.
fn device(services: impl FnOnce(&mut Device) -> String) -> Device {
    let mut device = Device::new();
    let services = services(&mut device);
    device.release("1", &services);
    device.publish("1");
    device.serve();
    device.start();
    device
}

#[test]
fn a_service_runs_with_its_limits_and_they_change_while_it_runs() {
    let mut device = device(|device| {
        let bundle = device.bundle(Bundle::sleeper());
        let web = device.name("web");
        format!(
            "  {web}:\n    bundle: {bundle}\n    deploy: {{resources: {{limits: {{memory: 64M, cpus: \"0.5\", pids: 40}}}}}}\n"
        )
    });
    let pid = device.running("web");
    let limits = || {
        let unified = cgroups::layout() == cgroups::Layout::Unified;
        let read = |controller, v1, v2| cgroups::read(pid as u32, controller, if unified { v2 } else { v1 });
        (read("memory", "memory.limit_in_bytes", "memory.max"), read("pids", "pids.max", "pids.max"))
    };
    assert_eq!(limits(), ("67108864".into(), "40".into()));
    let bundle = "bundle-0";
    let web = device.name("web");
    device.release(
        "2",
        &format!("  {web}:\n    bundle: {bundle}\n    deploy: {{resources: {{limits: {{memory: 96M, pids: 50}}}}}}\n"),
    );
    device.publish("2");
    eventually("the limits change", || (limits() == ("100663296".into(), "50".into())).then_some(()));
    assert_eq!(device.running("web"), pid, "the same process with other limits");
    device.finish();
}

#[test]
fn a_crashing_service_is_started_again_more_and_more_slowly() {
    let device = device(|device| {
        let bundle = device.bundle(Bundle::script("echo started; exit 3"));
        let worker = device.name("worker");
        format!("  {worker}:\n    bundle: {bundle}\n    x-skiff: {{backoff: {{base: 100ms, max: 10s}}}}\n")
    });
    let seen = device.until("worker", "was started four times", |instance| instance["restarts"].as_u64() >= Some(3));
    assert_eq!(seen["lastExit"]["code"], 3, "{seen:#}");
    let name = device.name("worker");
    let why = eventually("why says how long it waits", || {
        Some(device.ctl(&["why", &name]).ok()).filter(|why| why.contains("backoff"))
    });
    assert!(why.contains("status 3"), "{why}");
    let logs = device.ctl(&["logs", &device.name("worker")]).ok();
    assert!(logs.lines().filter(|line| line.contains("started")).count() >= 3, "{logs}");
    // Doubled each time: four starts take 0.1 + 0.2 + 0.4 s at least, less a tenth of jitter.
    let events = device.ctl(&["events", "--format", "json"]).ok();
    assert!(events.contains("instanceEnded"), "{events}");
    device.finish();
}

#[test]
fn a_memory_hog_is_killed_at_its_limit_and_said_to_be() {
    let device = device(|device| {
        let bundle = device.bundle(Bundle::script("exec tail -c 200m /dev/zero"));
        let hog = device.name("hog");
        format!(
            "  {hog}:\n    bundle: {bundle}\n    restart: \"no\"\n    deploy: {{resources: {{limits: {{memory: 32M}}}}}}\n"
        )
    });
    let seen = device.until("hog", "was killed", |instance| instance["lastExit"]["oom"] == true);
    assert_eq!(seen["lastExit"]["code"], 137, "{seen:#}");
    let why = device.ctl(&["why", &device.name("hog")]).stdout;
    assert!(why.to_lowercase().contains("memory limit"), "{why}");
    assert!(device.ctl(&["events"]).ok().contains("oom"), "an event says so");
    device.finish();
}

#[test]
fn services_start_in_order_and_replicas_are_as_many_as_asked_for() {
    let device = device(|device| {
        let once = device.bundle(Bundle::script("sleep 0.3; exit 0"));
        let web = device.bundle(Bundle::sleeper());
        let (migrate, name) = (device.name("migrate"), device.name("web"));
        format!(
            "  {migrate}: {{bundle: {once}, restart: \"no\"}}\n  {name}:\n    bundle: {web}\n    deploy: {{replicas: 3}}\n    \
             depends_on: {{{migrate}: {{condition: service_completed_successfully}}}}\n"
        )
    });
    device.running("web");
    assert_eq!(device.instance("migrate", 0).unwrap()["lastExit"]["code"], 0);
    let pids: Vec<_> = (0..3)
        .map(|replica| {
            eventually("each replica runs", || {
                    device.instance("web", replica).filter(|it| it["state"] == "running")
                })["pid"]
                    .as_u64()
                    .unwrap()
        })
        .collect();
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2], "{pids:?}");
    assert!(device.instance("web", 3).is_none());
    device.finish();
}

#[test]
fn a_program_is_asked_to_stop_and_then_made_to() {
    let mut device = device(|device| {
        let gentle =
            device.bundle(Bundle::script("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"));
        let deaf = device.bundle(Bundle::script("trap '' TERM; echo up; while :; do sleep 0.1; done"));
        let (a, b) = (device.name("gentle"), device.name("deaf"));
        format!(
            "  {a}: {{bundle: {gentle}, stop_grace_period: 10s}}\n  {b}: {{bundle: {deaf}, stop_grace_period: 500ms}}\n"
        )
    });
    for service in ["gentle", "deaf"] {
        device.running(service);
        let name = device.name(service);
        eventually("its trap is set", || device.ctl(&["logs", &name]).stdout.contains("up").then_some(()));
    }
    let only = device.bundle(Bundle::sleeper());
    let other = device.name("other");
    device.release("2", &format!("  {other}: {{bundle: {only}}}\n"));
    device.publish("2");
    device.running("other");
    eventually("both are gone", || {
        (device.instance("gentle", 0).is_none() && device.instance("deaf", 0).is_none()).then_some(())
    });
    assert!(
        fs::read_to_string(device.path("logs").join(format!("{}-0.log", device.name("gentle"))))
            .unwrap()
            .contains("bye")
    );
    device.finish();
}

#[test]
fn probes_decide_about_health() {
    let device = device(|device| {
        let port = free_port();
        let web = device.bundle(Bundle::script(&format!(
            "mkdir /tmp/w; echo ok >/tmp/w/up; exec busybox httpd -f -p 127.0.0.1:{port} -h /tmp/w"
        )));
        let exec = device.bundle(Bundle::script("sleep 0.5; touch /tmp/ready; while :; do sleep 1; done"));
        let dead = device.bundle(Bundle::sleeper());
        let names = ["web", "exec", "dead"].map(|name| device.name(name));
        format!(
            "  {}:\n    bundle: {web}\n    network_mode: host\n    x-skiff: {{probes: {{readiness: {{http: {{port: {port}, path: /up}}, interval: 200ms, timeout: 200ms}}, startup: {{tcp: {port}, interval: 100ms, timeout: 100ms, failureThreshold: 50}}}}}}\n  \
             {}:\n    bundle: {exec}\n    x-skiff: {{probes: {{readiness: {{exec: [\"test\", \"-e\", \"/tmp/ready\"], interval: 1s, timeout: 1s}}}}}}\n  \
             {}:\n    bundle: {dead}\n    x-skiff: {{backoff: {{base: 100ms}}, probes: {{liveness: {{exec: [\"false\"], interval: 1s, timeout: 1s, failureThreshold: 2}}}}}}\n",
            names[0], names[1], names[2]
        )
    });
    device.until("web", "is ready over HTTP", |instance| instance["health"]["ready"] == true);
    device.until("exec", "is ready by its program", |instance| instance["health"]["ready"] == true);
    device.until("dead", "is started again for its liveness", |instance| instance["restarts"].as_u64() >= Some(1));
    device.finish();
}
