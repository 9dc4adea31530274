//! Capabilities of an instance: what its bundle asks for among the default ones, and what its service adds and takes away.

use super::Refusals;
use crate::capability;
use crate::release::Service;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const KEY: &str = "process.capabilities";

/// Bounding, effective and permitted set. None is inherited or ambient, so a program that is not root keeps none of them.
pub(super) fn derive(refusals: &mut Refusals, process: &Map<String, Value>, service: &Service) -> Value {
    let asked = refusals.object(process, "process", "capabilities");
    refusals.unknown(KEY, &asked, &["bounding", "effective", "permitted", "inheritable", "ambient"]);
    let added = names(refusals, "cap_add", &service.cap_add);
    let every = |name: &&String| name.eq_ignore_ascii_case(capability::EVERY);
    let drop_every = service.cap_drop.iter().any(|name| every(&name));
    let single: Vec<String> = service.cap_drop.iter().filter(|name| !every(name)).cloned().collect();
    let dropped = names(refusals, "cap_drop", &single);
    let mut set = |key: &str| -> BTreeSet<String> {
        let asked = refusals.texts(asked.get(key), &format!("{KEY}.{key}"));
        let default = asked.into_iter().filter(|name| !drop_every && capability::DEFAULT.contains(&name.as_str()));
        default.chain(added.iter().cloned()).filter(|name| !dropped.contains(name)).collect()
    };
    let bounding = set("bounding");
    // The kernel lets nothing be permitted beyond the bounding set of a new program, nor effective beyond the permitted.
    let permitted: BTreeSet<_> = set("permitted").intersection(&bounding).cloned().collect();
    let effective: BTreeSet<_> = set("effective").intersection(&permitted).cloned().collect();
    json!({"bounding": bounding, "permitted": permitted, "effective": effective, "inheritable": [], "ambient": []})
}

/// The lint refuses what is not known; a document that was never linted is refused here.
fn names(refusals: &mut Refusals, key: &str, list: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in list {
        match capability::name(text) {
            Some(name) => {
                found.insert(name);
            }
            None => refusals.refuse(&format!("{key}.{text}"), "is not a capability"),
        }
    }
    found
}
