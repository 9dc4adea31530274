//! What is wrong with an index.

use super::Problems;
use crate::fleet::{Expression, Fleet, Gate, Group, Operator, ReleaseRef, Selector, StatusTarget};
use crate::release::Release;
use crate::span::Span;
use std::collections::{BTreeMap, BTreeSet};

/// No device asks a server more often.
const OFTEN: Span = Span::from_secs(1);
/// Beyond it JSON readers begin to round.
const HIGHEST_SERIAL: u64 = 1 << 53;

pub(super) fn check(problems: &mut Problems, fleet: &Fleet, releases: &BTreeMap<String, &Release>) {
    problems.document(&fleet.api_version, &fleet.kind, "Fleet");
    check_metadata(problems, fleet);
    check_poll(problems, fleet);
    check_releases(problems, fleet, releases);
    check_groups(problems, fleet);
    for (id, pin) in &fleet.devices {
        let path = format!("devices.{id}");
        if id.trim().is_empty() {
            problems.error(&path, "no device has an empty id", "write the device's id");
        }
        check_named(problems, fleet, &format!("{path}.release"), &pin.release);
    }
    if let Some(status) = &fleet.status {
        check_status(problems, status);
    }
}

fn check_metadata(problems: &mut Problems, fleet: &Fleet) {
    let metadata = &fleet.metadata;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if metadata.name.is_empty() || metadata.name.len() > 64 || !metadata.name.bytes().all(allowed) {
        let what = format!("`{}` is not a fleet's name", metadata.name);
        problems.error("metadata.name", &what, "write 1 to 64 letters, digits, `.`, `_` and `-`");
    }
    if !(1..=HIGHEST_SERIAL).contains(&metadata.serial) {
        let what = format!("{} is not a serial", metadata.serial);
        problems.error("metadata.serial", &what, "begin with 1 and add 1 with each change");
    }
    if let Some(expires) = metadata.expires.as_deref().filter(|text| !is_rfc3339(text)) {
        let what = format!("`{expires}` is not a time");
        problems.error("metadata.expires", &what, "write it as `2026-12-31T00:00:00Z`");
    }
}

/// Date, time, and `Z` or an offset. Whether February has so many days is left to the one who reads the clock.
fn is_rfc3339(text: &str) -> bool {
    let digits = |from: usize, to: usize, range: std::ops::RangeInclusive<u32>| {
        let part = text.get(from..to).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        part.and_then(|part| part.parse().ok()).is_some_and(|number| range.contains(&number))
    };
    let mark = |at: usize, marks: &[u8]| text.as_bytes().get(at).is_some_and(|byte| marks.contains(byte));
    let date =
        digits(0, 4, 1970..=9999) && mark(4, b"-") && digits(5, 7, 1..=12) && mark(7, b"-") && digits(8, 10, 1..=31);
    let time =
        digits(11, 13, 0..=23) && mark(13, b":") && digits(14, 16, 0..=59) && mark(16, b":") && digits(17, 19, 0..=60);
    if !date || !time || !mark(10, b"Tt") {
        return false;
    }
    let fraction = text[19..].strip_prefix('.').map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let rest = 19 + fraction.map_or(0, |length| length + 1);
    let offset = mark(rest, b"+-") && digits(rest + 1, rest + 3, 0..=23) && mark(rest + 3, b":");
    let zulu = mark(rest, b"Zz") && text.len() == rest + 1;
    fraction != Some(0) && (zulu || (offset && digits(rest + 4, rest + 6, 0..=59) && text.len() == rest + 6))
}

fn check_poll(problems: &mut Problems, fleet: &Fleet) {
    let poll = &fleet.poll;
    if poll.interval < OFTEN {
        let what = format!("`{}` is too often for any server", poll.interval);
        problems.error("poll.interval", &what, "write `1s` at least");
    }
    if poll.percent().is_none() {
        let what = format!("`{}` is not a part of the interval", poll.jitter);
        problems.error("poll.jitter", &what, "write `0%` to `100%`");
    }
    if poll.max_backoff < poll.interval {
        let what = format!("a server in trouble would be asked more often than one that is well, `{}`", poll.interval);
        problems.error("poll.maxBackoff", &what, "raise it to the interval at least");
    }
}

fn check_releases(problems: &mut Problems, fleet: &Fleet, releases: &BTreeMap<String, &Release>) {
    for (version, reference) in &fleet.releases {
        let path = format!("releases.{version}");
        problems.version(&path, version);
        match reference {
            ReleaseRef::Built { size: 0, .. } => {
                problems.error(&path, "a document of 0 bytes is none", "let `skiffctl fleet build` write the size");
            }
            ReleaseRef::Source(text) if text.trim().is_empty() => {
                problems.error(&path, "it is not a path", "write the path of the release beside the index");
            }
            ReleaseRef::Built { .. } | ReleaseRef::Source(_) => {}
        }
        if let Some(release) = releases.get(version).filter(|release| release.metadata.version != *version) {
            let what = format!("the release says that it is `{}`", release.metadata.version);
            problems.error(&path, &what, "write the same version in both");
        }
    }
}

fn check_named(problems: &mut Problems, fleet: &Fleet, path: &str, version: &str) {
    if !fleet.releases.contains_key(version) {
        let what = format!("`{version}` is not in `releases`");
        problems.error(path, &what, "add it there, or name one that is");
    }
}

fn check_groups(problems: &mut Problems, fleet: &Fleet) {
    let mut names = BTreeSet::new();
    for (number, group) in fleet.groups.iter().enumerate() {
        let path = |key: &str| format!("groups[{number}].{key}");
        if group.name.trim().is_empty() {
            problems.error(&path("name"), "it is empty", "name the group");
        }
        if !names.insert(&group.name) {
            let what = format!("another group is called `{}`", group.name);
            problems.error(&path("name"), &what, "give each group a name of its own");
        }
        check_named(problems, fleet, &path("release"), &group.release);
        for (place, expression) in group.selector.match_expressions.iter().enumerate() {
            check_expression(problems, &path(&format!("selector.matchExpressions[{place}]")), expression);
        }
        if group.selector.match_labels.keys().any(String::is_empty) {
            problems.error(&path("selector.matchLabels"), "no label has an empty name", "name the label");
        }
        if let Some(gate) = group.rollout.as_ref().map(|rollout| &rollout.gate) {
            check_gate(problems, &path("rollout.gate"), gate);
        }
        check_reached(problems, fleet, number, group);
    }
    if fleet.groups.is_empty() && fleet.devices.is_empty() {
        problems.warning("groups", "there is none, so no device has a release", "add a group");
    }
}

fn check_expression(problems: &mut Problems, path: &str, expression: &Expression) {
    if expression.key.is_empty() {
        problems.error(&format!("{path}.key"), "no label has an empty name", "name the label");
    }
    match (expression.operator, expression.values.is_empty()) {
        (Operator::In | Operator::NotIn, true) => {
            problems.error(&format!("{path}.values"), "it is empty", "write one value at least, or use `Exists`");
        }
        (Operator::Exists | Operator::DoesNotExist, false) => {
            let what = "whether a label exists has nothing to do with values";
            problems.error(&format!("{path}.values"), what, "remove them, or use `In` or `NotIn`");
        }
        (Operator::In | Operator::NotIn, false) | (Operator::Exists | Operator::DoesNotExist, true) => {}
    }
}

fn check_gate(problems: &mut Problems, path: &str, gate: &Gate) {
    if gate.min_healthy == Span::ZERO {
        let what = "a release counts as good the moment that it runs";
        problems.warning(&format!("{path}.minHealthy"), what, "give it a time such as `60s`");
    }
    if gate.deadline <= gate.min_healthy {
        let what = format!("`{}` is over before a release was healthy for `{}`", gate.deadline, gate.min_healthy);
        problems.error(&format!("{path}.deadline"), &what, "raise it above `minHealthy`");
    }
}

/// A group after one whose demands are a part of its own is never reached.
fn check_reached(problems: &mut Problems, fleet: &Fleet, number: usize, group: &Group) {
    if let Some(before) = fleet.groups[..number].iter().find(|before| covers(&before.selector, &group.selector)) {
        let what = format!("no device comes here: whatever matches it matches `{}` before it", before.name);
        problems.warning(&format!("groups[{number}]"), &what, "put the more special group first");
    }
}

fn covers(wide: &Selector, narrow: &Selector) -> bool {
    wide.match_labels.iter().all(|(key, value)| narrow.match_labels.get(key) == Some(value))
        && wide.match_expressions.iter().all(|expression| narrow.match_expressions.contains(expression))
}

fn check_status(problems: &mut Problems, status: &StatusTarget) {
    let host = status.url.strip_prefix("https://").or_else(|| status.url.strip_prefix("http://"));
    let plain = status.url.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || host.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        let what = format!("`{}` is not the address of a server", status.url.escape_default());
        problems.error("status.url", &what, "write `https://…/devices/{id}`");
    }
    for (key, span) in [("every", status.every), ("onChange", status.on_change)] {
        if span < OFTEN {
            let what = format!("`{span}` is too often for any server");
            problems.error(&format!("status.{key}"), &what, "write `1s` at least");
        }
    }
}
