//! Documents in small, for the tests of these rooms.

use super::record::{Phase, Record};
use skiff_planner::desired::Blueprint;
use skiff_planner::name::ReleaseId;
use skiff_planner::release::Limits;

/// Of an instance, as far as this.
pub(super) fn record(phase: Phase) -> Record {
    Record {
        instance: "web-0".parse().unwrap(),
        boot_id: "boot".into(),
        blueprint: blueprint(),
        limits: Limits::default(),
        not_enforced: vec!["seccomp: not built yet".into()],
        phase,
    }
}

/// Of a service that is nothing but its bundle.
fn blueprint() -> Blueprint {
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let service = serde_json::from_value(serde_json::json!({"bundle": "/srv/app"})).unwrap();
    Blueprint { release: ReleaseId { version: "1".into(), digest }, service }
}
