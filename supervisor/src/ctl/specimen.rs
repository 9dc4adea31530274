//! A device for the tests of the commands: all is well but for two instances that a test may add.

use crate::node::Figures;
use crate::view::{Agent, Device, Exit, Fleet, Health, Instance, Node, Release, Service, Why};
use serde_json::Value;
use std::collections::BTreeMap;

/// One that runs.
pub(super) fn web() -> Instance {
    let figures = Figures {
        cpu_usage_ns: 63_000_000_000,
        memory_working_set: 12_900_000,
        memory_limit: Some(64 << 20),
        ..Figures::default()
    };
    Instance {
        id: "web-0".into(),
        service: "web".into(),
        replica: 0,
        release: "2".into(),
        state: "running".into(),
        since: Some("2026-11-24T08:00:00Z".into()),
        uptime_s: Some(7530),
        pid: Some(4711),
        restarts: 0,
        oom_kills: 0,
        last_exit: None,
        health: Some(Health { started: true, ready: true, last_failure: None }),
        why: None,
        figures: Some(figures),
        log: "/var/log/skiff/web-0.log".into(),
        not_enforced: vec!["seccomp".into()],
        blueprint: Value::Null,
    }
}

/// One that ends again and again.
pub(super) fn worker() -> Instance {
    let (text, until) = ("status 3; ended 4 times in a row", "time: it is started again by itself");
    let why = Why { reason: "backoff".into(), text: text.into(), until: until.into(), in_s: Some(2.5) };
    let exit = Exit { code: Some(3), oom: false, reason: "status 3".into() };
    Instance { restarts: 4, ..absent("worker", "waiting", exit, why) }
}

/// One that was too big.
pub(super) fn hog() -> Instance {
    let (text, until) = ("it is not to be restarted".into(), "another release".into());
    let why = Why { reason: "held".into(), text, until, in_s: None };
    let exit = Exit { code: Some(137), oom: true, reason: "killed at its memory limit, status 137".into() };
    absent("hog", "failed", exit, why)
}

fn absent(service: &str, state: &str, exit: Exit, why: Why) -> Instance {
    Instance {
        id: format!("{service}-0"),
        service: service.into(),
        state: state.into(),
        since: None,
        uptime_s: None,
        pid: None,
        last_exit: Some(exit),
        health: None,
        why: Some(why),
        figures: None,
        ..web()
    }
}

/// A fleet that is heard.
pub(super) fn fleet() -> Fleet {
    Fleet {
        url: "https://fleet.example".into(),
        name: Some("kiosks".into()),
        serial: Some(7),
        group: Some("shops".into()),
        source: "network".into(),
        last_contact: Some("2026-11-24T10:05:18Z".into()),
        ..Fleet::default()
    }
}

/// A device with one service.
pub(super) fn device() -> Device {
    let service = Service {
        desired: 1,
        running: 1,
        ready: 1,
        state: "running".into(),
        health: "ready".into(),
        ..Service::default()
    };
    let release = Release {
        running: Some("2".into()),
        state: "committed".into(),
        committed: Some("2".into()),
        previous: Some("1".into()),
        target: Some("2".into()),
        ..Release::default()
    };
    Device {
        api_version: crate::view::API_VERSION.into(),
        device: "till-0042".into(),
        labels: BTreeMap::from([("role".into(), "kiosk".into())]),
        boot_id: "b".into(),
        time: "2026-11-24T10:05:30Z".into(),
        agent: Agent { version: "0.1.0".into(), pid: 99, uptime_s: 90_000, pss_ki_b: Some(3500) },
        fleet: Some(fleet()),
        release,
        services: BTreeMap::from([("web".into(), service)]),
        instances: vec![web()],
        node: Node {
            mem_avail_ki_b: Some(412 << 10),
            disk_free_ki_b: Some(5 << 20),
            psi: BTreeMap::from([("mem10".into(), 0.25)]),
        },
        dropped_events: 0,
        blocked: None,
    }
}
