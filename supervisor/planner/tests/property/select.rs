//! The choice of a release.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select as one_of};
use serde_json::{Value, json};
use skiff_planner::fleet::{Fleet, Group};
use skiff_planner::select::{Device, select};

fn group() -> impl Strategy<Value = Value> {
    let (keys, values) = (&["role", "arch", "stage"][..], &["x", "y"][..]);
    let labels = proptest::collection::btree_map(one_of(keys), one_of(values), 0..2);
    let operator = one_of(vec![("In", true), ("NotIn", true), ("Exists", false), ("DoesNotExist", false)]);
    let expression = (one_of(keys), operator, one_of(values)).prop_map(|(key, (operator, valued), value)| {
        let values = if valued { json!([value]) } else { json!([]) };
        json!({"key": key, "operator": operator, "values": values})
    });
    (labels, vec(expression, 0..2), one_of(&["1", "2"][..]), 0..90_u64).prop_map(
        |(labels, expressions, release, secs)| {
            json!({
                "name": format!("g{secs}"), "release": release, "rollout": {"gate": {"minHealthy": format!("{secs}s")}},
                "selector": {"matchLabels": labels, "matchExpressions": expressions}
            })
        },
    )
}

fn fleet(groups: &[Value]) -> Fleet {
    let document = json!({
        "apiVersion": "skiff.dev/v1", "kind": "Fleet", "metadata": {"name": "f", "serial": 1},
        "releases": {"1": "a", "2": "b"}, "groups": groups
    });
    serde_json::from_value(document).unwrap()
}

proptest! {
    #[test]
    fn groups_that_do_not_match_change_nothing(
        groups in vec(group(), 0..6),
        others in vec((group(), any::<Index>()), 0..6),
        labels in proptest::collection::btree_map(one_of(&["role", "arch", "stage"][..]), one_of(&["x", "y"][..]), 0..4),
    ) {
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let device = Device { id: "till".into(), labels };
        let before = select(&fleet(&groups), &device);
        let mut more = groups.clone();
        for (other, place) in others {
            if select(&fleet(std::slice::from_ref(&other)), &device).version.is_none() {
                more.insert(place.index(more.len() + 1), other);
            }
        }
        let after = select(&fleet(&more), &device);
        prop_assert_eq!((&before.version, &before.group, &before.gate), (&after.version, &after.group, &after.gate));
        // The first that matches alone is the one that is chosen.
        let alone = |group: &&Group| select(&Fleet { groups: vec![(*group).clone()], ..fleet(&[]) }, &device).version.is_some();
        let fleet = fleet(&groups);
        prop_assert_eq!(before.group.as_ref(), fleet.groups.iter().find(alone).map(|group| &group.name));
    }
}
