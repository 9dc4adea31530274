//! What skiffd believes of a server: nothing that is not signed, newer and whole; and it goes on with what it has.

use serde_json::Value;
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::device::Device;
use skiff_lanes::runs;
use std::fs;

fn running() -> Device {
    let mut device = Device::new();
    let bundle = device.bundle(Bundle::sleeper());
    let web = device.name("web");
    device.release("1", &format!("  {web}: {{bundle: {bundle}}}\n"));
    device.publish("1");
    device.serve();
    device.start();
    device.until_status("release 1 is committed", |status| status["release"]["committed"] == "1");
    device
}

/// Waits until the last refusal has this word.
fn refused(device: &Device, reasons: &[&str]) {
    device.until_status(&format!("a refusal for {reasons:?}"), |status| {
        let last = status["fleet"]["lastRefusal"]["reason"].as_str().unwrap_or_default();
        reasons.contains(&last)
    });
}

#[runs(host)]
fn what_is_wrong_is_refused_and_everything_goes_on() {
    let mut device = running();
    let pid = device.running("web");
    let index = device.path("public/index.json");
    let signature = device.path("public/index.json.minisig");
    let (good, signed) = (fs::read(&index).unwrap(), fs::read(&signature).unwrap());
    let web = device.name("web");

    // Another byte, no signature, half a document, none.
    let mut flipped = good.clone();
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    fs::write(&index, &flipped).unwrap();
    refused(&device, &["signature"]);
    fs::write(&index, &good[..good.len() / 2]).unwrap();
    refused(&device, &["cut_off"]);
    fs::write(&index, b"").unwrap();
    refused(&device, &["empty"]);
    fs::write(&index, &good).unwrap();
    fs::write(&signature, &signed).unwrap();
    device.until_status("the good one is taken again", |status| status["fleet"]["lastRefusal"].is_null());

    // An older serial, rightly signed.
    device.release("2", &format!("  {web}: {{bundle: bundle-0, environment: {{E: two}}}}\n"));
    device.publish("2");
    device.until_status("release 2 is committed", |status| status["release"]["committed"] == "2");
    fs::write(&index, &good).unwrap();
    fs::write(&signature, &signed).unwrap();
    refused(&device, &["rollback"]);
    assert_eq!(device.status()["release"]["committed"], "2");

    // A release that is not what the index says it is.
    device.release("3", &format!("  {web}: {{bundle: bundle-0, environment: {{E: three}}}}\n"));
    device.unplug();
    device.publish("3");
    let document: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let digest = document["releases"]["3"]["digest"].as_str().unwrap().replace(':', "-");
    let release = device.path(&format!("public/releases/{digest}.json"));
    let text = fs::read_to_string(&release).unwrap();
    fs::write(&release, text.replace("three", "THREE")).unwrap();
    device.serve();
    refused(&device, &["digest"]);
    let status = device.status();
    assert_eq!((&status["release"]["running"], &status["release"]["committed"]), (&"2".into(), &"2".into()));
    assert_ne!(device.running("web"), pid, "release 2 runs");
    // Put right, it is taken without a new index.
    fs::write(&release, text).unwrap();
    device.until_status("release 3 is committed", |status| status["release"]["committed"] == "3");
    device.finish();
}

#[runs(host)]
fn what_was_accepted_runs_also_when_the_server_is_gone() {
    let mut device = running();
    let pid = device.running("web");
    device.unplug();
    device.kill_daemon();
    device.start();
    assert_eq!(device.running("web"), pid);
    let status = device.status();
    assert_eq!((&status["release"]["committed"], &status["fleet"]["serial"]), (&Value::from("1"), &Value::from(1)));
    // Also when nothing runs: as after a boot without a network.
    device.ctl(&["drain"]).ok();
    assert!(device.stop_daemon().succeeded());
    device.start();
    assert_ne!(device.running("web"), pid);
    device.finish();
}

#[runs(host)]
fn labels_and_pins_choose_the_release() {
    let mut device = Device::new();
    let bundle = device.bundle(Bundle::sleeper());
    let (a, b) = (device.name("a"), device.name("b"));
    device.release("a", &format!("  {a}: {{bundle: {bundle}}}\n"));
    device.release("b", &format!("  {b}: {{bundle: {bundle}}}\n"));
    let fleet = |serial: u32, more: &str| {
        format!(
            "apiVersion: skiff.dev/v1\nkind: Fleet\nmetadata: {{name: tests, serial: {serial}}}\npoll: {{interval: 1s}}\n\
             releases: {{a: releases/a.yaml, b: releases/b.yaml}}\ngroups:\n\
             - {{name: others, selector: {{matchLabels: {{role: nobody}}}}, release: b}}\n\
             - {{name: tests, selector: {{matchExpressions: [{{key: role, operator: In, values: [test]}}]}}, release: a, rollout: {{gate: {{minHealthy: 1s}}}}}}\n{more}"
        )
    };
    fs::write(device.path("fleet/fleet.yaml"), fleet(1, "")).unwrap();
    device.build().ok();
    let explained =
        device.ctl(&["fleet", "explain", "--device", "device-1", "--labels", "role=test", &device.text("fleet")]).ok();
    assert!(explained.contains("others") && explained.contains("tests"), "{explained}");
    device.serve();
    device.start();
    device.running("a");
    assert_eq!(device.status()["fleet"]["group"], "tests");
    fs::write(device.path("fleet/fleet.yaml"), fleet(2, "devices: {device-1: {release: b, reason: try}}\n")).unwrap();
    device.build().ok();
    device.running("b");
    device.finish();
}
