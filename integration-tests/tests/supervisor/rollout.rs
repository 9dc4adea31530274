//! From one release to the next: what did not change stays, what proves itself is committed, what does not is returned
//! from, also with the server gone.

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::command::eventually;
use skiff_integration_tests::device::Device;
use skiff_lanes::runs;

/// A device that runs release 1, committed: `web` and `db`, which sleep.
fn committed() -> Device {
    let mut device = Device::new();
    let bundle = device.bundle(Bundle::sleeper());
    let (web, db) = (device.name("web"), device.name("db"));
    device.release("1", &format!("  {web}: {{bundle: {bundle}}}\n  {db}: {{bundle: {bundle}}}\n"));
    device.publish("1");
    device.serve();
    device.start();
    device.until_status("release 1 is committed", |status| status["release"]["committed"] == "1");
    device
}

#[runs(host)]
fn a_new_release_changes_what_it_changes_and_is_committed() {
    let mut device = committed();
    let (web_pid, db_pid) = (device.running("web"), device.running("db"));
    let (web, db) = (device.name("web"), device.name("db"));
    device.release(
        "2",
        &format!("  {web}: {{bundle: bundle-0, environment: {{EDITION: two}}}}\n  {db}: {{bundle: bundle-0}}\n"),
    );
    device.publish("2");
    let status = device.until_status("release 2 is committed", |status| status["release"]["committed"] == "2");
    assert_eq!(status["release"]["previous"], "1", "{status:#}");
    assert_ne!(device.running("web"), web_pid);
    assert_eq!(device.running("db"), db_pid, "an unchanged service keeps its process");
    let environment = std::fs::read(format!("/proc/{}/environ", device.running("web"))).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("EDITION=two"));
    device.finish();
}

#[runs(host)]
fn a_release_that_does_not_become_healthy_is_returned_from_and_not_tried_again() {
    let mut device = committed();
    let db_pid = device.running("db");
    let broken = device.bundle(Bundle::script("exit 7"));
    let (web, db) = (device.name("web"), device.name("db"));
    let services = format!("  {web}: {{bundle: {broken}}}\n  {db}: {{bundle: bundle-0}}\n");
    device.release("3", &services);
    device.publish_with("3", "gate: {minHealthy: 1s, deadline: 3s}");
    let status =
        device.until_status("release 3 is returned from", |status| status["release"]["lastRevert"]["release"] == "3");
    assert_eq!(status["release"]["running"], "1", "{status:#}");
    device.running("web");
    assert_eq!(device.running("db"), db_pid);
    // Looked at again, it is not tried again.
    device.ctl(&["sync"]).ok();
    let events = |device: &Device| device.ctl(&["events", "--format", "json"]).ok();
    let switches = events(&device).matches("releaseSwitched").count();
    device.publish_with("3", "gate: {minHealthy: 1s, deadline: 4s}");
    device.until_status("the newer index is accepted", |status| status["fleet"]["serial"] == 3);
    assert_eq!(events(&device).matches("releaseSwitched").count(), switches);
    // A mended one is.
    device.release("4", &format!("  {web}: {{bundle: bundle-0}}\n  {db}: {{bundle: bundle-0}}\n"));
    device.publish("4");
    device.until_status("release 4 is committed", |status| status["release"]["committed"] == "4");
    device.finish();
}

#[runs(host)]
fn killing_skiffd_in_a_trial_neither_lengthens_nor_forgets_it() {
    let mut device = committed();
    let broken = device.bundle(Bundle::script("sleep 0.2; exit 7"));
    let (web, db) = (device.name("web"), device.name("db"));
    device.release("5", &format!("  {web}: {{bundle: {broken}}}\n  {db}: {{bundle: bundle-0}}\n"));
    device.publish_with("5", "gate: {minHealthy: 1s, deadline: 4s}");
    device.until_status("release 5 is on trial", |status| status["release"]["running"] == "5");
    // With the server gone: all that it takes is on the device.
    device.unplug();
    for _ in 0..3 {
        device.kill_daemon();
        device.start();
    }
    device.until_status("release 5 is returned from", |status| status["release"]["lastRevert"]["release"] == "5");
    device.running("web");
    device.finish();
}

#[runs(host)]
fn a_newer_release_overtakes_one_on_trial() {
    let mut device = committed();
    let never = device.bundle(Bundle::script("exit 1"));
    let (web, db) = (device.name("web"), device.name("db"));
    device.release("6", &format!("  {web}: {{bundle: {never}}}\n  {db}: {{bundle: bundle-0}}\n"));
    device.publish_with("6", "gate: {minHealthy: 1s, deadline: 10m}");
    device.until_status("release 6 is on trial", |status| status["release"]["running"] == "6");
    device.release(
        "7",
        &format!("  {web}: {{bundle: bundle-0, environment: {{E: seven}}}}\n  {db}: {{bundle: bundle-0}}\n"),
    );
    device.publish("7");
    let status = device.until_status("release 7 is committed", |status| status["release"]["committed"] == "7");
    assert_eq!(status["release"]["previous"], "1", "what was on trial never counts as good: {status:#}");
    eventually("it runs", || (device.instance("web", 0)?["state"] == "running").then_some(()));
    device.finish();
}
