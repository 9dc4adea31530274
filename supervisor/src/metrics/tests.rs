//! The page in full, and a strict reading of any page.

use super::*;
use crate::view::specimen;
use std::collections::{BTreeMap, BTreeSet};

/// What is against OpenMetrics 1.0 in a page, as far as this one uses it.
fn complaints(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some(body) = page.strip_suffix("# EOF\n") else { return vec!["it does not end in EOF".into()] };
    let (mut seen, mut samples) = (BTreeSet::new(), BTreeSet::new());
    // The family that is open, its kind, its comments and how many samples it has.
    let (mut name, mut kind, mut comments, mut count) = ("", "", BTreeSet::new(), 1);
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<_> = comment.splitn(3, ' ').collect();
            let [keyword, family, text] = words[..] else {
                found.push(format!("a comment without a text: {line}"));
                continue;
            };
            if family != name {
                if count == 0 {
                    found.push(format!("no samples: {name}"));
                }
                if !seen.insert(family) {
                    found.push(format!("a family in two places: {family}"));
                }
                (name, kind, count) = (family, "unknown", 0);
                comments.clear();
            }
            if count > 0 || !comments.insert(keyword) {
                found.push(format!("a comment too late or twice: {line}"));
            }
            match keyword {
                "TYPE" if ["counter", "gauge", "info"].contains(&text) => kind = text,
                "UNIT" if name.ends_with(&format!("_{text}")) => {}
                "HELP" if !text.is_empty() => {}
                _ => found.push(format!("not a comment: {line}")),
            }
            continue;
        }
        count += 1;
        let suffix = BTreeMap::from([("counter", "_total"), ("gauge", ""), ("info", "_info")]);
        let expected = format!("{name}{}", suffix.get(kind).unwrap_or(&"?"));
        let Some((sample, value)) = line.rsplit_once(' ') else {
            found.push(format!("not a sample: {line}"));
            continue;
        };
        if sample.split('{').next() != Some(&expected) {
            found.push(format!("a sample outside its family: {line}"));
        }
        if !samples.insert(sample) {
            found.push(format!("a sample twice: {line}"));
        }
        if !comments.contains("TYPE") || !comments.contains("HELP") {
            found.push(format!("a sample of a family without type or help: {line}"));
        }
        if value.parse::<f64>().is_err() {
            found.push(format!("not a number: {line}"));
        }
        found.extend(sample.split_once('{').and_then(|(_, labels)| labels_complaint(labels)));
    }
    if count == 0 {
        found.push(format!("no samples: {name}"));
    }
    found
}

/// What is wrong with `name="value",…}`.
fn labels_complaint(labels: &str) -> Option<String> {
    let mut rest = labels;
    let mut names = BTreeSet::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let good = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|other| other.is_ascii_alphanumeric() || other == '_');
        if !good || !names.insert(name) {
            return Some(format!("not a label's name, or twice: {name}"));
        }
        let mut escaped = false;
        let end = after.char_indices().find(|(_, letter)| {
            let ends = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else { return Some(format!("a label without an end: {labels}")) };
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest == "}" => return None,
            None => return Some(format!("labels without an end: {labels}")),
        }
    }
}

#[test]
fn the_whole_page() {
    let page = text(&specimen::device());
    assert_eq!(complaints(&page), [""; 0]);
    let golden = include_str!("specimen.txt");
    for (line, (page, golden)) in page.lines().zip(golden.lines()).enumerate() {
        assert_eq!(page, golden, "line {}", line + 1);
    }
    assert_eq!(page.len(), golden.len());
}

#[test]
fn a_device_without_anything_has_a_page() {
    let mut device = specimen::device();
    (device.fleet, device.agent.pss_ki_b) = (None, None);
    device.services.clear();
    device.instances.clear();
    (device.release, device.node) = (crate::view::Release::default(), crate::view::Node::default());
    let page = text(&device);
    assert_eq!(complaints(&page), [""; 0]);
    assert!(page.contains("skiff_up{") && !page.contains("container_") && !page.contains("skiff_fleet"), "{page}");
}

#[test]
fn words_from_elsewhere_do_not_break_the_page() {
    let mut device = specimen::device();
    device.fleet.as_mut().unwrap().failures.insert("a\"} 1\nb{c=\"\\".into(), 1);
    device.time = "yesterday".into();
    device.instances[1].since = Some("before".into());
    let page = text(&device);
    assert_eq!(complaints(&page), [""; 0]);
    assert!(page.contains(r#"{reason="a\"} 1\nb{c=\"\\"} 1"#), "{page}");
    assert!(!page.contains("container_last_seen"), "{page}");
}

#[test]
fn the_strict_reading_finds_faults() {
    let good = "# TYPE a counter\n# HELP a text\na_total{b=\"c\"} 1\n# EOF\n";
    assert_eq!(complaints(good), [""; 0]);
    for (from, to) in [
        ("# EOF\n", ""),
        ("# TYPE a counter\n", ""),
        ("# HELP a text\n", ""),
        ("# HELP a text\n", "# UNIT a seconds\n# HELP a text\n"),
        ("a_total{", "a{"),
        ("a_total{b=\"c\"} 1\n", ""),
        ("} 1\n", "} 1\na_total{b=\"c\"} 2\n"),
        ("} 1\n", "} 1\n# HELP a text\n"),
        ("} 1\n", "} 1\n# TYPE b gauge\n# HELP b text\nb 1\n# TYPE a counter\n# HELP a text\na_total 1\n"),
        ("} 1\n", "} one\n"),
        ("b=\"c\"", "b=\"c\",b=\"d\""),
        ("b=\"c\"", "b-c=\"c\""),
        ("b=\"c\"", "b=\"c\"d\""),
        ("counter", "summary"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert_ne!(complaints(&bad), [""; 0], "{bad}");
    }
}
