//! Under systemd: skiffd is a notify unit, and each service has a unit of its own in `skiff.slice`, which PID 1 starts. Runs
//! where systemd is PID 1 (the guest).

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::{Invocation, eventually};
use skiff_integration_tests::device::{Device, program};
use skiff_lanes::runs;
use std::fs;

fn systemctl(words: &[&str]) -> skiff_integration_tests::command::Outcome {
    Invocation::new("systemctl", words).run()
}

/// The unit as it is shipped, with this device's program and settings.
fn install(device: &Device, unit: &str) {
    let shipped = include_str!("../../../configs/systemd/skiffd.service");
    let start = format!("ExecStart={} --config {}", program("skiffd").display(), device.text("skiffd.toml"));
    let own = ["StateDirectory", "LogsDirectory", "RuntimeDirectory"];
    let lines = shipped.lines().filter(|line| !own.iter().any(|key| line.starts_with(key)));
    let text: Vec<String> =
        lines.map(|line| if line.starts_with("ExecStart=") { start.clone() } else { line.to_owned() }).collect();
    fs::write(format!("/run/systemd/system/{unit}"), text.join("\n")).unwrap();
    fs::write("/run/systemd/system/skiff.slice", include_str!("../../../configs/systemd/skiff.slice")).unwrap();
    systemctl(&["daemon-reload"]).ok();
}

#[runs(guest)]
fn a_notify_unit_whose_containers_have_units_of_their_own() {
    let mut device = Device::new();
    let bundle = device.bundle(Bundle::sleeper());
    let web = device.name("web");
    device
        .release("1", &format!("  {web}: {{bundle: {bundle}, deploy: {{resources: {{limits: {{memory: 64M}}}}}}}}\n"));
    device.publish("1");
    device.serve();
    let unit = format!("{}-skiffd.service", device.prefix);
    install(&device, &unit);

    // `start` returns when skiffd says that it is ready.
    systemctl(&["start", &unit]).ok();
    assert_eq!(systemctl(&["is-active", &unit]).stdout.trim(), "active");
    let pid = device.running("web");
    let service = format!("skiff-{web}.service");
    let shown = systemctl(&["show", "-p", "ActiveState,Slice,Delegate,ControlGroup", &service]).ok();
    for wanted in ["ActiveState=active", "Slice=skiff.slice", "Delegate=yes"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let group = shown.lines().find_map(|line| line.strip_prefix("ControlGroup=")).unwrap().to_owned();
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(own.contains(&format!("{group}/{web}-0")), "the container is inside its unit: {own}");
    assert!(systemctl(&["status", &service]).stdout.contains("containerd-shim-skiff-v1"));

    // Restarted in order, and killed: the same container.
    systemctl(&["restart", &unit]).ok();
    assert_eq!(device.running("web"), pid);
    systemctl(&["kill", "-s", "KILL", &unit]).ok();
    let restarted = || systemctl(&["show", "-p", "NRestarts", &unit]).stdout.trim().ends_with("=1").then_some(());
    eventually("systemd starts skiffd again", restarted);
    eventually("skiffd answers again", || device.ctl(&["status"]).succeeded().then_some(()));
    assert_eq!(device.running("web"), pid);

    device.ctl(&["drain"]).ok();
    eventually("the service's unit is gone", || {
        (systemctl(&["is-active", &service]).stdout.trim() != "active").then_some(())
    });
    systemctl(&["stop", &unit]).ok();
    fs::remove_file(format!("/run/systemd/system/{unit}")).unwrap();
    systemctl(&["daemon-reload"]).ok();
    device.finish();
}
