//! The fleet index: the small, signed, mutable document that says which release is whose. People write it as YAML with
//! paths in `releases`; `skiffctl fleet build` puts digests there; a device takes it with digests only.

use crate::name::Digest;
use crate::release::Unbuilt;
use crate::span::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of both documents.
pub const API_VERSION: &str = "skiff.dev/v1";

/// The index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fleet {
    /// [`API_VERSION`].
    pub api_version: String,
    /// `Fleet`.
    pub kind: String,
    /// Name and serial.
    pub metadata: Metadata,
    /// How often a device looks.
    #[serde(default)]
    pub poll: Poll,
    /// Releases by version.
    pub releases: BTreeMap<String, ReleaseRef>,
    /// The first whose selector matches a device gives its release.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Pins, by device id; a pin beats a group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, Pin>,
    /// Where devices report to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusTarget>,
    /// Registries and mirrors: until there is an image store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Unbuilt>,
}

/// What the fleet is called and which edition this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// The fleet's name: a device that knows its fleet refuses another's document.
    pub name: String,
    /// Only ever goes up.
    pub serial: u64,
    /// RFC 3339. Past it the document is stale, which raises an alarm and stops nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// How often a device looks for a new index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Poll {
    /// Between two looks, 1s at least.
    pub interval: Span,
    /// A part of the interval, `20%`, by which devices are spread.
    pub jitter: String,
    /// The longest wait while the server does not answer.
    pub max_backoff: Span,
}

impl Default for Poll {
    fn default() -> Self {
        Self { interval: Span::from_secs(900), jitter: "20%".into(), max_backoff: Span::from_secs(6 * 3600) }
    }
}

impl Poll {
    /// The jitter in percent of the interval, 0 to 100; none if the text is something else.
    #[must_use]
    pub fn percent(&self) -> Option<u8> {
        let digits = self.jitter.strip_suffix('%')?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|percent| plain && *percent <= 100)
    }
}

/// Where a release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReleaseRef {
    /// As a device takes it: the file is `releases/sha256-….json` beside the index.
    Built {
        /// Of the release document's bytes.
        digest: Digest,
        /// In bytes.
        size: u64,
    },
    /// As people write it: a path beside `fleet.yaml`.
    Source(String),
}

/// Devices that share a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Group {
    /// For people and reports.
    pub name: String,
    /// Which devices; all where it is empty.
    #[serde(default)]
    pub selector: Selector,
    /// A version named in `releases`.
    pub release: String,
    /// How a new release has to prove itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// Kubernetes' label selector: all of both lists must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Selector {
    /// Labels with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Labels in or outside of sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// How.
    pub operator: Operator,
    /// With `In` and `NotIn` at least one; with the others none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Kubernetes' words. As there, `NotIn` also holds for a device without the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label's value is one of `values`.
    In,
    /// It is not.
    NotIn,
    /// The label is there.
    Exists,
    /// It is not.
    DoesNotExist,
}

/// How devices of a group move to another release. Waves and windows are not built yet and are refused by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rollout {
    /// When a new release counts as good.
    #[serde(default)]
    pub gate: Gate,
    /// Waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Unbuilt>,
    /// Waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Unbuilt>,
    /// Waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Unbuilt>,
    /// Waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Unbuilt>,
    /// Waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Unbuilt>,
    /// Maintenance windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Unbuilt>,
    /// How many releases a device keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_releases: Option<Unbuilt>,
}

/// When a new release counts as good (Nomad's words for a deployment's health).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Gate {
    /// All services healthy for so long without a break.
    pub min_healthy: Span,
    /// Not so by then: it has failed.
    pub deadline: Span,
    /// Whether the device then returns to its previous good release.
    pub auto_revert: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self { min_healthy: Span::from_secs(60), deadline: Span::from_secs(600), auto_revert: true }
    }
}

/// One device's own release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// A version named in `releases`.
    pub release: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Where devices report to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StatusTarget {
    /// `{id}` is replaced by the device's id; `/status` is added.
    pub url: String,
    /// At least so often.
    #[serde(default = "every")]
    pub every: Span,
    /// So long after a change.
    #[serde(default = "on_change")]
    pub on_change: Span,
    /// Events are not sent yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Unbuilt>,
}

const fn every() -> Span {
    Span::from_secs(900)
}

const fn on_change() -> Span {
    Span::from_secs(5)
}
