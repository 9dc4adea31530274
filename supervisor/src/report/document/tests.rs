//! The document in full, and what of it is news.

use super::*;
use crate::view::specimen;
use serde_json::json;

#[test]
fn the_whole_document() {
    let told = serde_json::to_value(status(&specimen::device(), 981)).unwrap();
    let expected = json!({
        "apiVersion": "skiff.dev/v1", "kind": "DeviceStatus", "device": "till-0042", "labels": {"role": "kiosk"},
        "bootId": "6f3c0000-0000-4000-8000-000000000001", "reportSeq": 981, "time": "2026-11-22T02:14:09Z",
        "agent": {"version": "0.1.0", "pssKiB": 3310, "uptimeS": 86400},
        "config": {"serial": 412, "etag": "\"a1\"", "group": "shops", "source": "network"},
        "release": {"current": "2026.11.3", "digest": "sha256:41aa", "previousGood": "2026.11.2", "state": "probation",
            "waits": "on trial", "lastRevert": {"release": "2026.11.0", "reason": "readiness web: 503 x3"}},
        "services": {
            "job": {"desired": 1, "running": 0, "ready": 0, "restarts": 0, "oomKills": 0, "bundle": "/srv/job",
                "state": "failed", "health": "none",
                "why": {"instance": "job-0", "reason": "held", "text": "exited with 4, and is not restarted"}},
            "web": {"desired": 2, "running": 2, "ready": 1, "restarts": 3, "oomKills": 1, "bundle": "sha256:bb",
                "state": "running", "health": "notReady", "memKiB": 40004, "throttledPct": 0.5,
                "why": {"instance": "web-1", "reason": "notReady", "text": "GET /: status 503"}}},
        "node": {"memAvailKiB": 310_222, "diskFreeKiB": 901_223, "psi": {"mem10": 0.0, "io10": 0.4, "cpu10": 1.2}},
        "droppedEvents": 2
    });
    assert_eq!(told, expected, "{told:#}");
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut device = specimen::device();
    (device.fleet, device.agent.pss_ki_b) = (None, None);
    device.release = view::Release { state: "none".into(), ..view::Release::default() };
    device.instances.clear();
    let told = serde_json::to_value(status(&device, 1)).unwrap();
    assert_eq!(told["release"], json!({"state": "none"}));
    assert_eq!(told.get("config"), None);
    assert_eq!(told["agent"].get("pssKiB"), None);
    assert_eq!(told["services"]["web"].get("memKiB"), None);
    assert_eq!(told.get("alerts"), None);
}

#[test]
fn a_committed_release_returns_to_the_one_before_it() {
    let mut device = specimen::device();
    device.release.state = "committed".into();
    device.release.target = Some("2026.11.4".into());
    let told = serde_json::to_value(status(&device, 1)).unwrap();
    assert_eq!(
        (&told["release"]["state"], &told["release"]["previousGood"], &told["release"]["target"]),
        (&json!("committed"), &json!("2026.11.1"), &json!("2026.11.4"))
    );
}

#[test]
fn peaks_add_up_where_all_are_known() {
    let mut device = specimen::device();
    let figures = device.instances[1].figures;
    device.instances[2].figures = figures;
    let told = serde_json::to_value(status(&device, 1)).unwrap();
    assert_eq!(told["services"]["web"]["memPeakKiB"], json!(110_000));
}

#[test]
fn what_needs_a_person_is_an_alert() {
    let mut device = specimen::device();
    device.blocked = Some("no space left".into());
    let fleet = device.fleet.as_mut().unwrap();
    fleet.stale = true;
    fleet.last_refusal = Some(view::Refusal { reason: "signature".into(), text: "no key".into(), time: "now".into() });
    let told = serde_json::to_value(status(&device, 1)).unwrap();
    let ids: Vec<_> = told["alerts"].as_array().unwrap().iter().map(|alert| alert["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["blocked", "fleet-stale", "fleet-refused"]);
}

#[test]
fn time_and_figures_are_no_news_and_all_else_is() {
    let lasting = |device: &Device, seq| status(device, seq).lasting();
    let device = specimen::device();
    let before = lasting(&device, 1);
    let mut later = device.clone();
    later.time = "2026-11-22T03:00:00Z".into();
    (later.agent.pss_ki_b, later.agent.uptime_s, later.dropped_events) = (Some(1), 90_000, 7);
    later.node.psi.insert("mem10".into(), 9.0);
    later.instances[1].figures = None;
    later.instances[1].uptime_s = Some(300);
    later.fleet.as_mut().unwrap().last_contact = Some("2026-11-22T03:00:00Z".into());
    assert_eq!(lasting(&later, 2), before);
    let changes: [fn(&mut Device); 6] = [
        |device| device.services.get_mut("web").unwrap().ready = 2,
        |device| device.services.get_mut("web").unwrap().restarts += 1,
        |device| device.release.state = "committed".into(),
        |device| device.fleet.as_mut().unwrap().serial = Some(413),
        |device| device.blocked = Some("no space left".into()),
        |device| device.instances[2].why = None,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = device.clone();
        change(&mut changed);
        assert_ne!(lasting(&changed, 1), before, "change {number}");
    }
}
