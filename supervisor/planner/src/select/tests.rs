//! Tests of the room `select`.

use super::*;
use serde_json::{Value, json};

fn fleet(groups: Value, devices: Value) -> Fleet {
    let document = json!({
        "apiVersion": "skiff.dev/v1", "kind": "Fleet", "metadata": {"name": "kiosks", "serial": 1},
        "releases": {"1": "one.yaml", "2": "two.yaml"}, "groups": groups, "devices": devices
    });
    serde_json::from_value(document).unwrap()
}

fn device(labels: Value) -> Device {
    Device { id: "till-1".into(), labels: serde_json::from_value(labels).unwrap() }
}

fn matches(selector: Value, labels: Value) -> bool {
    let groups = json!([{"name": "only", "release": "1", "selector": selector}]);
    select(&fleet(groups, json!({})), &device(labels)).version.is_some()
}

#[test]
fn selectors_are_kubernetes() {
    let expression = |operator: &str, values: &[&str]| {
        let mut expression = json!({"key": "arch", "operator": operator});
        if !values.is_empty() {
            expression["values"] = json!(values);
        }
        json!({"matchExpressions": [expression]})
    };
    let (arm, none) = (json!({"arch": "arm64", "role": "kiosk"}), json!({"role": "kiosk"}));
    let cases = [
        (json!({}), true, true),
        (json!({"matchLabels": {"arch": "arm64"}}), true, false),
        (json!({"matchLabels": {"arch": "arm64", "role": "till"}}), false, false),
        (expression("In", &["amd64", "arm64"]), true, false),
        (expression("In", &["amd64"]), false, false),
        (expression("NotIn", &["amd64"]), true, true),
        (expression("NotIn", &["arm64"]), false, true),
        (expression("Exists", &[]), true, false),
        (expression("DoesNotExist", &[]), false, true),
    ];
    for (selector, with, without) in cases {
        assert_eq!(matches(selector.clone(), arm.clone()), with, "{selector} {arm}");
        assert_eq!(matches(selector.clone(), none.clone()), without, "{selector} {none}");
    }
    let mut both = expression("Exists", &[]);
    both["matchLabels"] = json!({"role": "till"});
    assert!(!matches(both, arm));
}

#[test]
fn the_first_match_wins_and_a_pin_beats_it() {
    let groups = json!([
        {"name": "lab", "release": "2", "selector": {"matchLabels": {"stage": "lab"}}},
        {"name": "shops", "release": "1", "rollout": {"gate": {"minHealthy": "5s"}}},
        {"name": "rest", "release": "2"}
    ]);
    let chosen = select(&fleet(groups.clone(), json!({})), &device(json!({"role": "kiosk"})));
    assert_eq!((chosen.version.as_deref(), chosen.group.as_deref()), (Some("1"), Some("shops")));
    assert_eq!(chosen.gate.min_healthy.millis(), 5000);
    assert_eq!(
        chosen.steps,
        [
            "group `lab`: does not match: there is no label `stage`, not `lab`",
            "group `shops`: matches; its release is `1`",
            "release `1`"
        ]
    );
    let pin = json!({"till-1": {"release": "2", "reason": "INC-881"}, "till-2": {"release": "1"}});
    let pinned = select(&fleet(groups, pin), &device(json!({})));
    assert_eq!((pinned.version.as_deref(), pinned.group.as_deref()), (Some("2"), Some("shops")));
    assert_eq!(pinned.gate.min_healthy.millis(), 5000);
    assert_eq!(pinned.steps[2], "device `till-1`: pinned to `2` (INC-881), which beats a group");
}

#[test]
fn where_nothing_matches_nothing_is_chosen() {
    let chosen = select(&fleet(json!([]), json!({})), &device(json!({})));
    assert_eq!((chosen.version, chosen.group, chosen.gate), (None, None, Gate::default()));
    assert_eq!(chosen.steps, ["no group matches", "no release: what runs is left alone"]);
}

#[test]
fn every_demand_is_explained_up_to_the_first_match() {
    let groups = json!([
        {"name": "lab", "release": "2", "selector": {
            "matchLabels": {"role": "kiosk", "stage": "lab"},
            "matchExpressions": [{"key": "arch", "operator": "NotIn", "values": ["amd64", "arm"]}]
        }},
        {"name": "shops", "release": "1", "selector": {"matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]}},
        {"name": "rest", "release": "2"}
    ]);
    let (fleet, device) = (fleet(groups, json!({})), device(json!({"role": "kiosk", "arch": "amd64"})));
    let why = explain(&fleet, &device);
    let demands = |number: usize| -> Vec<(String, bool)> {
        why.considered[number].demands.iter().map(|demand| (demand.to_string(), demand.holds)).collect()
    };
    assert_eq!(
        demands(0),
        [
            ("`role` is `kiosk`".to_owned(), true),
            ("`stage` is `lab`".to_owned(), false),
            ("`arch` is none of `amd64`, `arm`".to_owned(), false)
        ]
    );
    assert_eq!(why.considered[0].demands[1].why_not(), "there is no label `stage`, not `lab`");
    assert_eq!(why.considered[0].demands[2].why_not(), "`arch` is `amd64`, and must not be one of `amd64`, `arm`");
    assert_eq!(demands(1), [("there is no label `old`".to_owned(), true)]);
    assert_eq!((why.considered.len(), why.not_reached.as_slice()), (2, &["rest".to_owned()][..]));
    assert_eq!((why.version.as_deref(), why.group.as_deref()), (Some("1"), Some("shops")));
}
