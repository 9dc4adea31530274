//! Which release is a device's: its pin, else that of the first group whose selector matches its labels.

mod explain;

pub use explain::{Considered, Demand, Explanation, explain};

use crate::fleet::{Fleet, Gate};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// A device, as the choice sees it. Labels come from `device.toml` and from the machine, never from the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The version, as `releases` names it; none where no group matches.
    pub version: Option<String>,
    /// The group that matched, whether the device is pinned or not.
    pub group: Option<String>,
    /// When a new release counts as good.
    pub gate: Gate,
    /// Each step of the choice, in one line.
    pub steps: Vec<String>,
}

/// Which release is a device's.
///
/// A pin changes the release alone: the group, and with it the gate, is the one that the device is in.
#[must_use]
pub fn select(fleet: &Fleet, device: &Device) -> Selection {
    let explanation = explain(fleet, device);
    let steps = steps(&explanation, device);
    let Explanation { version, group, gate, .. } = explanation;
    Selection { version, group, gate, steps }
}

fn steps(explanation: &Explanation, device: &Device) -> Vec<String> {
    let mut steps: Vec<String> = explanation.considered.iter().map(Considered::to_string).collect();
    if explanation.group.is_none() {
        steps.push("no group matches".into());
    }
    if let Some(pin) = &explanation.pin {
        let reason = if pin.reason.is_empty() { String::new() } else { format!(" ({})", pin.reason) };
        steps.push(format!("device `{}`: pinned to `{}`{reason}, which beats a group", device.id, pin.release));
    }
    steps.push(match &explanation.version {
        Some(version) => format!("release `{version}`"),
        None => "no release: what runs is left alone".into(),
    });
    steps
}
