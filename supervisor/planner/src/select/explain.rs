//! Why a release is a device's, group by group and demand by demand: what `select` decides, kept in parts for whoever asks.

use super::Device;
use crate::fleet::{Expression, Fleet, Gate, Group, Operator, Pin, Selector};
use serde::Serialize;
use std::fmt;

/// Everything that was looked at, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The version, as `releases` names it; none where neither a pin nor a group gives one.
    pub version: Option<String>,
    /// The group that matched, whether the device is pinned or not.
    pub group: Option<String>,
    /// The device's own release, which beats the group's.
    pub pin: Option<Pin>,
    /// When a new release counts as good.
    pub gate: Gate,
    /// The groups up to the one that matched.
    pub considered: Vec<Considered>,
    /// The groups after it: nobody looks at them.
    pub not_reached: Vec<String>,
}

/// A group that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    /// Its name.
    pub group: String,
    /// Its release.
    pub release: String,
    /// Whether every demand is met; also where there is none.
    pub matches: bool,
    /// Each demand of its selector, labels first.
    pub demands: Vec<Demand>,
}

/// One demand of a selector, and what the device has to say to it. An entry of `matchLabels` is `In` with one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// The label.
    pub key: String,
    /// How.
    pub operator: Operator,
    /// With `In` and `NotIn`.
    pub values: Vec<String>,
    /// The device's value; none where it has no such label.
    pub found: Option<String>,
    /// Whether it is met, in Kubernetes' sense.
    pub holds: bool,
}

/// Which release is a device's, and everything that led there.
///
/// A pin changes the release alone: the group, and with it the gate, is the one that the device is in.
#[must_use]
pub fn explain(fleet: &Fleet, device: &Device) -> Explanation {
    let (mut considered, mut found) = (Vec::new(), None::<&Group>);
    let mut groups = fleet.groups.iter();
    for group in groups.by_ref() {
        let demands = demands(&group.selector, device);
        let matches = demands.iter().all(|demand| demand.holds);
        considered.push(Considered { group: group.name.clone(), release: group.release.clone(), matches, demands });
        if matches {
            found = Some(group);
            break;
        }
    }
    let pin = fleet.devices.get(&device.id);
    Explanation {
        version: pin.map(|pin| &pin.release).or(found.map(|group| &group.release)).cloned(),
        group: found.map(|group| group.name.clone()),
        pin: pin.cloned(),
        gate: found.and_then(|group| group.rollout.as_ref()).map(|rollout| rollout.gate.clone()).unwrap_or_default(),
        considered,
        not_reached: groups.map(|group| group.name.clone()).collect(),
    }
}

fn demands(selector: &Selector, device: &Device) -> Vec<Demand> {
    let labels = selector.match_labels.iter().map(|(key, value)| Expression {
        key: key.clone(),
        operator: Operator::In,
        values: vec![value.clone()],
    });
    let all = labels.chain(selector.match_expressions.iter().cloned());
    all.map(|Expression { key, operator, values }| {
        let found = device.labels.get(&key).cloned();
        let listed = found.as_ref().is_some_and(|value| values.contains(value));
        let holds = match operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
        };
        Demand { key, operator, values, found, holds }
    })
    .collect()
}

/// The outcome, with the first demand that is not met.
impl fmt::Display for Considered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.demands.iter().find(|demand| !demand.holds) {
            None => write!(formatter, "group `{}`: matches; its release is `{}`", self.group, self.release),
            Some(demand) => write!(formatter, "group `{}`: does not match: {}", self.group, demand.why_not()),
        }
    }
}

impl Demand {
    /// Why it is not met.
    #[must_use]
    pub fn why_not(&self) -> String {
        let listed = self.values.join("`, `");
        let wanted = match (self.operator, self.values.len()) {
            (Operator::In, 1) => format!("not `{listed}`"),
            (Operator::In, _) => format!("not one of `{listed}`"),
            (Operator::NotIn, _) => format!("and must not be one of `{listed}`"),
            (Operator::Exists, _) => "and there must be one".to_owned(),
            (Operator::DoesNotExist, _) => "and there must be none".to_owned(),
        };
        match &self.found {
            Some(value) => format!("`{}` is `{value}`, {wanted}", self.key),
            None => format!("there is no label `{}`, {wanted}", self.key),
        }
    }
}

/// What is demanded.
impl fmt::Display for Demand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, listed) = (&self.key, self.values.join("`, `"));
        match (self.operator, self.values.len()) {
            (Operator::In, 1) => write!(formatter, "`{key}` is `{listed}`"),
            (Operator::In, _) => write!(formatter, "`{key}` is one of `{listed}`"),
            (Operator::NotIn, 1) => write!(formatter, "`{key}` is not `{listed}`"),
            (Operator::NotIn, _) => write!(formatter, "`{key}` is none of `{listed}`"),
            (Operator::Exists, _) => write!(formatter, "there is a label `{key}`"),
            (Operator::DoesNotExist, _) => write!(formatter, "there is no label `{key}`"),
        }
    }
}
