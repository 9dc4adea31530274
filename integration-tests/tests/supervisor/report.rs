//! What the device tells: to the fleet, to Prometheus, to people.

use serde_json::Value;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Invocation, eventually};
use skiff_integration_tests::device::{Device, free_port};
use skiff_lanes::runs;
use std::fs;
use std::path::{Path, PathBuf};

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[runs(host)]
fn the_state_goes_to_the_fleet_to_prometheus_and_to_people() {
    let mut device = Device::new();
    let port = free_port();
    device.write_settings(&format!("[metrics]\nlisten = '127.0.0.1:{port}'\n"));
    let (web, job) = (
        device.bundle(Bundle::script("echo hello; echo oops >&2; exec sleep 1000")),
        device.bundle(Bundle::script("exit 4")),
    );
    let (web_name, job_name) = (device.name("web"), device.name("job"));
    device.release(
        "1",
        &format!("  {web_name}: {{bundle: {web}, deploy: {{resources: {{limits: {{memory: 64M}}}}}}}}\n  {job_name}: {{bundle: {job}, restart: \"no\"}}\n"),
    );
    device.publish("1");
    device.serve();
    device.start();
    let pid = device.running("web");
    device.until("job", "ended", |job| job["lastExit"]["code"] == 4);

    // The report, as the server got it.
    let report = eventually("the server has a report of it", || {
        let text = files_below(&device.path("status")).into_iter().find_map(|path| fs::read_to_string(path).ok())?;
        let report: Value = serde_json::from_str(&text).ok()?;
        (report["services"][&web_name]["state"] == "running").then_some(report)
    });
    assert_eq!(
        (&report["kind"], &report["device"]),
        (&Value::from("DeviceStatus"), &Value::from("device-1")),
        "{report:#}"
    );
    assert_eq!(report["config"]["serial"], 1, "{report:#}");

    // Prometheus.
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let metrics = Invocation::new("curl", &["-sS", "--fail", &url("/metrics")]).run().ok();
    let line =
        |name: &str| metrics.lines().find(|line| line.starts_with(name) && line.contains(&web_name)).map(str::to_owned);
    let value = |name: &str| -> f64 {
        line(name).unwrap_or_else(|| panic!("{name}: {metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("container_memory_usage_bytes") > 0.0);
    assert_eq!(value("container_spec_memory_limit_bytes"), 67_108_864.0);
    assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");
    Invocation::new("curl", &["-sS", "--fail", &url("/healthz")]).run().ok();

    // People.
    let ps = device.ctl(&["ps", "--all"]).ok();
    assert!(ps.contains(&web_name) && ps.contains(&pid.to_string()), "{ps}");
    let logs = device.ctl(&["logs", &web_name]);
    assert!(logs.succeeded() && logs.stdout.contains("hello") && logs.stderr.contains("oops"), "{logs}");
    let why = device.ctl(&["why", &job_name]).stdout;
    assert!(why.contains('4'), "{why}");
    let inspect: Value = serde_json::from_str(&device.ctl(&["inspect", &format!("{web_name}-0")]).ok()).unwrap();
    assert!(inspect.to_string().contains("seccomp"), "what is not enforced is said: {inspect:#}");
    assert!(device.ctl(&["events"]).ok().contains(&web_name));
    device.finish();
}

#[runs(host)]
fn the_safe_defaults_hold_in_the_container() {
    let mut device = Device::new();
    let bundle = device.bundle(Bundle::script(
        "grep -E '^(NoNewPrivs|CapEff|CapInh|CapAmb)' /proc/self/status; touch /x 2>&1; touch /tmp/x && echo tmp; touch /run/x && echo run; exec sleep 1000",
    ));
    let web = device.name("web");
    device.release("1", &format!("  {web}: {{bundle: {bundle}}}\n"));
    device.publish("1");
    device.serve();
    device.start();
    device.running("web");
    let logs =
        eventually("it said all", || Some(device.ctl(&["logs", &web]).stdout).filter(|logs| logs.contains("run")));
    for wanted in [
        "NoNewPrivs:\t1",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "Read-only file system",
        "tmp",
        "run",
    ] {
        assert!(logs.contains(wanted), "{wanted}: {logs}");
    }
    let effective = logs.lines().find_map(|line| line.split_once("CapEff:\t")).unwrap().1.trim();
    // The eleven: chown, dac_override, fowner, fsetid, kill, net_bind_service, setfcap, setgid, setpcap, setuid, sys_chroot.
    assert_eq!(u64::from_str_radix(effective, 16).unwrap() & !0x8004_05fb, 0, "{effective}");
    device.finish();
}
