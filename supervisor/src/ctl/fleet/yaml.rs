//! YAML (version 1.2, so that `no` is a word and not a falsehood) with the line of each value, so that whatever is found wrong
//! with a document can be shown with its place.

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// Deeper nesting is no document of ours.
const DEEPEST: usize = 32;

/// What is wrong with a text, and in which line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Counted from 1.
    pub(super) line: Option<u64>,
    /// For people.
    pub(super) text: String,
}

/// Lines by path, `services.web.ports[0]`.
#[derive(Debug, Default)]
pub(super) struct Positions(BTreeMap<String, u64>);

impl Positions {
    /// The line of a path, or of what it lies in.
    pub(super) fn line(&self, path: &str) -> Option<u64> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// Reads a text that holds one document.
///
/// # Errors
/// The first thing that is wrong: in the YAML, or with a value that a document of this type cannot have.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<(T, Positions), Wrong> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        // What is missing at the end is said to be missing in the line after it.
        let line = error.marker().line().min(text.lines().count());
        Wrong { line: Some(line as u64), text: error.info().to_owned() }
    })?;
    let [document] = documents.as_slice() else {
        return Err(Wrong { line: None, text: format!("holds {} documents; write one", documents.len()) });
    };
    let mut positions = Positions::default();
    let value = value(document, "", DEEPEST, &mut positions)?;
    match serde_path_to_error::deserialize(value) {
        Ok(document) => Ok((document, positions)),
        Err(error) => {
            let path = error.path().to_string();
            let path = path.trim_end_matches(['.', '?']);
            let said = error.inner().to_string();
            let text = if path.is_empty() { said } else { format!("{path}: {said}") };
            Err(Wrong { line: positions.line(path), text })
        }
    }
}

fn value(node: &MarkedYaml<'_>, path: &str, deepest: usize, positions: &mut Positions) -> Result<Value, Wrong> {
    let line = node.span.start.line() as u64;
    let wrong = |text: &str| Wrong { line: Some(line), text: format!("{path}: {text}") };
    let deeper = deepest.checked_sub(1).ok_or_else(|| wrong("is nested deeper than any document is"))?;
    match &node.data {
        YamlData::Value(Scalar::Null) => Ok(Value::Null),
        YamlData::Value(Scalar::Boolean(boolean)) => Ok((*boolean).into()),
        YamlData::Value(Scalar::Integer(integer)) => Ok((*integer).into()),
        YamlData::Value(Scalar::FloatingPoint(float)) => {
            Number::from_f64(float.0).map(Value::Number).ok_or_else(|| wrong("is not a number that can be used"))
        }
        YamlData::Value(Scalar::String(text)) => Ok(text.as_ref().into()),
        YamlData::Sequence(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let inner = format!("{path}[{index}]");
                positions.0.insert(inner.clone(), item.span.start.line() as u64);
                list.push(value(item, &inner, deeper, positions)?);
            }
            Ok(list.into())
        }
        YamlData::Mapping(entries) => {
            let mut map = Map::new();
            for (key, inner) in entries {
                let name = key_text(key).ok_or_else(|| wrong("has a key that is not a text"))?;
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                positions.0.insert(at.clone(), key.span.start.line() as u64);
                let inner = value(inner, &at, deeper, positions)?;
                if map.insert(name, inner).is_some() {
                    return Err(Wrong { line: positions.line(&at), text: format!("{at}: stands there twice") });
                }
            }
            Ok(map.into())
        }
        YamlData::Tagged(..) | YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
            Err(wrong("has a tag or a value that is not understood; write plain YAML"))
        }
    }
}

/// A number or a truth is a fine name of something.
fn key_text(key: &MarkedYaml<'_>) -> Option<String> {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => Some(text.as_ref().to_owned()),
        YamlData::Value(Scalar::Integer(integer)) => Some(integer.to_string()),
        YamlData::Value(Scalar::Boolean(boolean)) => Some(boolean.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn a_path_has_a_line() {
        let text = "a: 1\nb:\n  c:\n    - x\n    - {d: null}\n  e: true\n";
        let (_, positions) = read::<Value>(text).unwrap();
        for (path, line) in [("a", 1), ("b", 2), ("b.c", 3), ("b.c[0]", 4), ("b.c[1].d", 5), ("b.e", 6), ("b.x.y", 2)] {
            assert_eq!(positions.line(path), Some(line), "{path}");
        }
        assert_eq!(positions.line("z"), None);
    }

    #[test]
    fn values_are_those_of_version_1_2() {
        let text = "{a: no, b: true, c: ~, d: 012, e: 0.5, f: '1', 8: x, g: on}";
        let wanted =
            serde_json::json!({"a": "no", "b": true, "c": null, "d": 12, "e": 0.5, "f": "1", "8": "x", "g": "on"});
        assert_eq!(read::<Value>(text).unwrap().0, wanted);
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(rename = "list")]
        _list: Vec<u8>,
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        for (text, line, says) in [
            ("a: [", Some(1), ""),
            ("list: []\nlist: []\n", Some(2), "duplicate"),
            ("list: []\n\"list\": []\n", Some(2), "duplicate"),
            ("8: a\n\"8\": b\n", Some(2), "twice"),
            ("list:\n  - 1\n  - 300\n", Some(3), "list[1]: "),
            ("list: []\nlost: 1\n", Some(2), "lost"),
            ("{}", None, "list"),
            ("--- {}\n--- {}\n", None, "2 documents"),
            ("", None, "0 documents"),
            ("list: .nan", Some(1), "number"),
            ("list: &a [1]\nmore: *a\n", Some(2), "more"),
            ("list: !other [1]", Some(1), "tag"),
            ("[1]: 2", Some(1), "key"),
            (deep.as_str(), Some(1), ""),
        ] {
            let wrong = read::<Strict>(text).unwrap_err();
            assert_eq!(wrong.line, line, "{text}: {wrong:?}");
            assert!(wrong.text.contains(says) && !wrong.text.contains('\n'), "{text}: {wrong:?}");
        }
        // An anchor whose copies grow without end is no reason to fill the memory.
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for at in 1..12 {
            let many = vec![format!("*a{}", at - 1); 9].join(", ");
            laughs += &format!("a{at}: &a{at} [{many}]\n");
        }
        assert!(read::<Value>(&laughs).is_err());
    }
}
