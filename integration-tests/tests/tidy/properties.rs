//! The table of `config.json`'s properties (`runtime/PROPERTIES.md`) against the schema of the specification, and against the
//! tests that it names.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::tree::File;

/// Where Debian's package `golang-github-opencontainers-specs-dev` has the schema.
const SCHEMA: &str = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema";
const FATES: [&str; 3] = ["enforced", "refused", "no effect"];
/// No schema is nested deeper; a circle would be.
const DEEPEST: usize = 40;

/// One row: the properties, what becomes of them, and the tests.
struct Row<'a> {
    properties: Vec<String>,
    fate: &'a str,
    tests: Vec<&'a str>,
}

/// The files of the schema by their names; nothing where it is not installed.
pub(crate) fn schema() -> BTreeMap<String, Value> {
    let files = fs::read_dir(Path::new(SCHEMA)).into_iter().flatten().flatten();
    files
        .filter_map(|file| {
            let text = fs::read_to_string(file.path()).ok()?;
            Some((file.file_name().into_string().ok()?, serde_json::from_str(&text).ok()?))
        })
        .collect()
}

/// The names that are listed by hand.
pub(crate) fn listed(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The paths of all properties that have none below them.
pub(crate) fn properties(schema: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(top) = schema.get("config-schema.json") {
        walk(schema, ("config-schema.json", top), "", &mut found, 0);
    }
    found
}

fn walk(
    schema: &BTreeMap<String, Value>,
    (file, node): (&str, &Value),
    path: &str,
    found: &mut BTreeSet<String>,
    depth: usize,
) {
    assert!(depth < DEEPEST, "the schema goes in a circle at {path}");
    let before = found.len();
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some((place, pointer)) = node["$ref"].as_str().and_then(|reference| reference.split_once('#')) {
        let place = if place.is_empty() { file } else { place };
        let target = schema.get(place).and_then(|document| document.pointer(pointer));
        let target = target.unwrap_or_else(|| panic!("{file}: {path} refers to {place}#{pointer}, which is not there"));
        walk(schema, (place, target), path, found, depth + 1);
        return;
    }
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        walk(schema, (file, child), &below(name), found, depth + 1);
    }
    let same = ["allOf", "anyOf", "oneOf"].iter().filter_map(|word| node[*word].as_array()).flatten();
    for child in same.chain(node.get("items").filter(|items| is_object(schema, file, items))) {
        if is_object(schema, file, child) {
            walk(schema, (file, child), path, found, depth + 1);
        }
    }
    let patterns = node["patternProperties"].as_object().into_iter().flat_map(|patterns| patterns.values());
    for child in node.get("additionalProperties").into_iter().chain(patterns) {
        if is_object(schema, file, child) {
            walk(schema, (file, child), &below("*"), found, depth + 1);
        }
    }
    if found.len() == before && !path.is_empty() {
        found.insert(path.to_owned());
    }
}

/// Whether there may be properties below: not so for texts and numbers, which have no names.
fn is_object(schema: &BTreeMap<String, Value>, file: &str, node: &Value) -> bool {
    if let Some((place, pointer)) = node["$ref"].as_str().and_then(|reference| reference.split_once('#')) {
        let place = if place.is_empty() { file } else { place };
        return schema.get(place).and_then(|it| it.pointer(pointer)).is_some_and(|it| is_object(schema, place, it));
    }
    ["properties", "allOf", "anyOf", "oneOf", "items"].iter().any(|word| node.get(word).is_some())
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let lines = table.lines().filter(|line| line.starts_with("| `"));
    lines
        .filter_map(|line| {
            let cells: Vec<_> = line.trim_matches(['|', ' ']).split(" | ").map(str::trim).collect();
            let [property, fate, tests] = cells[..] else { return None };
            let tests = tests.split('`').skip(1).step_by(2).collect();
            Some(Row { properties: expand(property.trim_matches('`')), fate, tests })
        })
        .collect()
}

/// `a.{b,c}` is `a.b` and `a.c`.
fn expand(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let (words, after) = rest.split_once('}').unwrap_or((rest, ""));
    words.split(',').flat_map(|word| expand(&format!("{before}{word}{after}"))).collect()
}

/// Whether a row is about a property: the same path, or everything below of which it is.
fn covers(row: &str, property: &str) -> bool {
    row == property
        || row.strip_suffix(".*").is_some_and(|top| property == top || property.starts_with(&format!("{top}.")))
}

/// Properties without a row, and rows without a property.
pub(crate) fn check_complete(table: &str, known: &BTreeSet<String>) -> Vec<String> {
    let named: Vec<String> = rows(table).into_iter().flat_map(|row| row.properties).collect();
    let missing = known.iter().filter(|property| !named.iter().any(|row| covers(row, property)));
    let stale = named.iter().filter(|row| !known.iter().any(|property| covers(row, property)));
    let twice = named.iter().filter(|row| named.iter().filter(|other| other == row).count() > 1);
    let missing = missing.map(|property| format!("no row for `{property}`"));
    let stale = stale.map(|row| format!("`{row}` is no property of the specification"));
    missing.chain(stale).chain(twice.map(|row| format!("`{row}` stands twice"))).collect()
}

/// Rows that say nothing, and tests that are not there.
pub(crate) fn check_proofs(table: &str, files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Row { properties, fate, tests } in rows(table) {
        let first = properties.first().map_or("", String::as_str);
        if !FATES.iter().any(|word| fate.starts_with(word)) {
            complaints.push(format!("`{first}`: `{fate}` begins with none of {FATES:?}"));
        }
        if first.ends_with(".*") && fate.starts_with("enforced") {
            complaints.push(format!("`{first}`: what is enforced is named by itself"));
        }
        if tests.is_empty() {
            complaints.push(format!("`{first}`: no test is named"));
        }
        let missing = tests.iter().filter(|test| !files.iter().any(|file| has_test(file, test)));
        complaints.extend(missing.map(|test| format!("`{first}`: there is no test `{test}`")));
    }
    complaints
}

/// `topic::name`, or `room/topic::name`: a function of this name in such a file, with the mark of a test before it.
fn has_test(file: &File, test: &str) -> bool {
    let Some((topic, name)) = test.split_once("::") else { return false };
    if !file.path.ends_with(&format!("/{topic}.rs")) {
        return false;
    }
    let Some((before, _)) = file.text.split_once(&format!("fn {name}(")) else { return false };
    before.lines().rev().take(4).any(|line| matches!(line.trim(), "#[test]") || line.trim().starts_with("#[runs("))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn schemas_are_walked() {
        let top = json!({"properties": {
            "a": {"$ref": "defs.json#/Text"}, "b": {"type": "array", "items": {"$ref": "defs.json#/Thing"}},
            "c": {"additionalProperties": {"properties": {"d": {}}}}, "e": {"items": {"type": "string"}},
            "f": {"patternProperties": {".*": {"type": "string"}}}, "g": {"anyOf": [{"$ref": "defs.json#/Thing"}]},
        }});
        let definitions =
            json!({"Text": {"type": "string"}, "Thing": {"properties": {"x": {"$ref": "#/Text"}, "y": {}}}});
        let schema = BTreeMap::from([("config-schema.json".to_owned(), top), ("defs.json".to_owned(), definitions)]);
        assert_eq!(properties(&schema), known(&["a", "b.x", "b.y", "c.*.d", "e", "f", "g.x", "g.y"]));
        assert!(properties(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_property_without_a_row_is_missed() {
        let table = "| `a.{b,c}` | enforced | `x::y` |\n| `w.*` | refused | `x::y` |\n";
        assert!(check_complete(table, &known(&["a.b", "a.c", "w.x.y"])).is_empty());
        assert_eq!(check_complete(table, &known(&["a.b", "a.c", "a.d", "w"])), ["no row for `a.d`"]);
        assert_eq!(check_complete(table, &known(&["a.b", "w"])), ["`a.c` is no property of the specification"]);
        assert_eq!(check_complete(&table.repeat(2), &known(&["a.b", "a.c", "w"])).len(), 6);
        assert_eq!(listed("# b\n\na.b\n"), known(&["a.b"]));
    }

    #[test]
    fn a_test_that_is_not_there_is_missed() {
        let file = |path: &str| File { path: path.into(), text: "#[test]\nfn y() {}\n\n\n\n\nfn z() {}".into() };
        let files = [file("a/x.rs"), file("a/b/tests.rs")];
        let complaints = |row: &str| check_proofs(&format!("| `a` | {row} |\n"), &files).len();
        assert_eq!(complaints("enforced | `x::y`, `b/tests::y`"), 0);
        assert_eq!(complaints("enforced | `x::z`, `x::nothing`, `w::y`, `y`"), 4);
        assert_eq!(complaints("perhaps | nothing"), 2);
        assert_eq!(check_proofs("| `a.*` | enforced | `x::y` |", &files).len(), 1);
    }
}
