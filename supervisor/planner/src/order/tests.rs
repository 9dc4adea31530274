//! Tests of the room `order`.

use super::*;
use crate::ledger::Entry;
use crate::moment::Moment;
use crate::observed::Exit;
use crate::specimen::{desired, id, instance};
use serde_json::{Value, json};

fn way(services: Value) -> Option<String> {
    let names = cycle(&desired("1", services).services)?;
    Some(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

#[test]
fn cycles_are_named_in_full() {
    let on = |names: &[&str]| json!({"depends_on": names});
    assert_eq!(way(json!({"a": on(&["b", "c"]), "b": on(&["c"]), "c": {}})), None);
    assert_eq!(way(json!({"a": on(&["a"])})).unwrap(), "a a");
    assert_eq!(way(json!({"a": on(&["b"]), "b": on(&["c"]), "c": on(&["d"]), "d": on(&["b"])})).unwrap(), "b c d b");
    assert_eq!(way(json!({"a": on(&["nowhere"])})), None);
}

fn running() -> State {
    State::Running { since: Moment(0) }
}

fn ended() -> State {
    State::Ended { since: None, at: Moment(0), exit: Exit::Unseen }
}

#[test]
fn conditions() {
    let services = |condition: &str| json!({"db": {"deploy": {"replicas": 2}}, "web": {"depends_on": {"db": {"condition": condition}}}});
    let waits_for = |condition: &str, observed: &Observed, ledger: &Ledger| {
        let desired = desired("1", services(condition));
        waits(&desired.services[&"web".parse().unwrap()], &desired, observed, ledger)
    };
    let two = |state: State| Observed {
        instances: [id("db-0"), id("db-1")].map(|id| (id, instance(json!({}), state.clone()))).into(),
    };
    let none = Ledger::default();
    let all = ["service_started", "service_healthy", "service_completed_successfully"];
    let met =
        |observed: &Observed, ledger: &Ledger| all.map(|condition| waits_for(condition, observed, ledger).is_none());
    assert_eq!(met(&two(running()), &none), [true, true, false]);
    for state in [State::Unknown, State::Starting, State::Stopping, ended()] {
        assert_eq!(met(&two(state), &none), [false, false, false]);
    }
    assert_eq!(met(&Observed::default(), &none), [false, false, false]);
    let completed = Entry { held: Some(Held::Completed), ..Entry::default() };
    let mut ledger = Ledger { instances: [(id("db-0"), completed.clone())].into() };
    assert_eq!(met(&Observed::default(), &ledger), [false, false, false]);
    ledger.instances.insert(id("db-1"), completed);
    assert_eq!(met(&Observed::default(), &ledger), [true, false, true]);
    // All replicas count, and only those that are as they should be.
    let mut mixed = two(running());
    mixed.instances.get_mut(&id("db-1")).unwrap().health.ready = false;
    assert_eq!(met(&mixed, &none), [true, false, false]);
    assert_eq!(waits_for(all[1], &mixed, &none).unwrap(), "`db-1` to be ready");
    mixed.instances.insert(id("db-1"), instance(json!({"hostname": "old"}), running()));
    assert_eq!(met(&mixed, &none), [false, false, false]);
}

#[test]
fn dependents_go_first_unless_in_a_circle() {
    let on = |name: &str| json!({"depends_on": [name]});
    let make = |list: Vec<(&str, Value, State)>| Observed {
        instances: list.into_iter().map(|(name, extra, state)| (id(name), instance(extra, state))).collect(),
    };
    let first = |observed: &Observed, name: &str| {
        let leaving = observed.instances.iter().map(|(id, instance)| (id.clone(), instance.state.clone())).collect();
        Dependents::observed(observed).first_to_go(&id(name), &leaving).map(ToString::to_string)
    };
    let chain = make(vec![("a-0", on("b"), running()), ("b-0", on("c"), running()), ("c-0", json!({}), running())]);
    assert_eq!(first(&chain, "a-0"), None);
    assert_eq!(first(&chain, "b-0").unwrap(), "a-0");
    assert_eq!(first(&chain, "c-0").unwrap(), "a-0");
    let half = make(vec![("a-0", on("b"), ended()), ("b-0", on("c"), State::Unknown), ("c-0", json!({}), running())]);
    assert_eq!(first(&half, "b-0"), None);
    assert_eq!(first(&half, "c-0").unwrap(), "b-0");
    let circle = make(vec![("a-0", on("b"), running()), ("b-0", on("a"), running()), ("c-0", on("a"), running())]);
    assert_eq!((first(&circle, "b-0"), first(&circle, "a-0")), (Some("c-0".into()), Some("c-0".into())));
}
