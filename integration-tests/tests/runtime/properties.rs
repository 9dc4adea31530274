//! The table of properties (`runtime/PROPERTIES.md`), from outside: a value that no property can have is missed in each of
//! them. One that is accepted would be one that nobody reads.

use serde_json::{Value, json};
use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;
use skiff_integration_tests::runtime::Kind;
use skiff_lanes::runs;

const TABLE: &str = include_str!("../../../runtime/PROPERTIES.md");

/// Properties whose values are lists of objects.
const LISTS: [&str; 20] = [
    "mounts",
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
    "uidMappings",
    "gidMappings",
    "rlimits",
    "namespaces",
    "devices",
    "syscalls",
    "args",
    "weightDevice",
    "throttleReadBpsDevice",
    "throttleWriteBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteIOPSDevice",
    "hugepageLimits",
];

/// `a.{b,c}` is `a.b` and `a.c`.
fn expand(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let (words, after) = rest.split_once('}').unwrap_or((rest, ""));
    words.split(',').flat_map(|word| expand(&format!("{before}{word}{after}"))).collect()
}

/// Puts a value at a path: `*` becomes a name, and a list has one entry.
fn put(target: &mut Value, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *target = value;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let name = if *first == "*" { "any" } else { first };
    let list = !rest.is_empty() && (LISTS.contains(first) || path == ["priorities", rest[0]]);
    let child = &mut target[name];
    if list {
        *child = json!([{}]);
        put(&mut child[0], rest, value);
    } else {
        put(child, rest, value);
    }
}

#[runs(host)]
fn every_property_is_read() {
    let others = [Kind::Runc, Kind::Crun, Kind::Reference].map(|kind| (kind, "has properties of its own version"));
    each(&others, |runtime| {
        let (mut count, mut wrong) = (0, Vec::new());
        for line in TABLE.lines().filter(|line| line.starts_with("| `")) {
            let mut cells = line.split(" | ");
            let properties = cells.next().unwrap_or_default().trim_matches(['|', ' ', '`']);
            let ignored = cells.next().unwrap_or_default().starts_with("no effect");
            for property in expand(properties) {
                count += 1;
                let path: Vec<&str> = property.trim_end_matches(".*").split('.').collect();
                let bundle = Bundle::new().edit(|config| put(config, &path, json!([[{}]])));
                let container = runtime.container(&bundle);
                let outcome = container.run(&[]);
                let name = path.last().copied().unwrap_or_default();
                if ignored != outcome.succeeded() || !ignored && !outcome.stderr.contains(name) {
                    wrong.push(format!("{property}: {}", outcome.stderr.trim()));
                }
            }
        }
        assert!(wrong.is_empty(), "of {count} properties {}:\n{}", wrong.len(), wrong.join("\n"));
        assert!(count > 150, "the table has its rows: {count}");
    });
}
