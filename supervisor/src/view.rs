//! What is told to anybody who asks: the one model that control, metrics and report are made from. What is not known is
//! absent, never invented. Times are RFC 3339 in UTC; lengths of time are seconds; sizes are bytes.

use crate::node::Figures;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[cfg(test)]
pub(crate) mod specimen;

/// The version of every document that skiffd tells.
pub const API_VERSION: &str = "skiff.dev/v1";

/// A whole device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// [`API_VERSION`].
    pub api_version: String,
    /// The device's id.
    pub device: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Of this boot.
    pub boot_id: String,
    /// When this was told.
    pub time: String,
    /// The daemon.
    pub agent: Agent,
    /// The fleet that it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
    /// The release that it runs.
    pub release: Release,
    /// By name.
    pub services: BTreeMap<String, Service>,
    /// In order of id.
    pub instances: Vec<Instance>,
    /// The machine.
    pub node: Node,
    /// Events that fell off the ring before anybody could read them.
    pub dropped_events: u64,
    /// Why nothing is changed at all, if that is so: a disk that takes nothing, a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since it started, in seconds.
    pub uptime_s: u64,
    /// Its share of memory, in KiB (PSS); absent where the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_ki_b: Option<u64>,
}

/// The fleet that a device follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Where it is.
    pub url: String,
    /// Its name; absent until an index was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The edition that is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// The server's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The group that this device is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `network`, or `disk` while nothing was heard since skiffd started.
    pub source: String,
    /// When the server last said something that is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_contact: Option<String>,
    /// What was wrong since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<Refusal>,
    /// Failures since skiffd started, by word.
    pub failures: BTreeMap<String, u64>,
    /// Past its day.
    pub stale: bool,
    /// Where it reports to, as the index has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportTo>,
}

/// Where a device reports to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportTo {
    /// With the device's id in it, without `/status`.
    pub url: String,
    /// At least so often, in milliseconds.
    pub every_ms: u64,
    /// So long after a change, in milliseconds.
    pub on_change_ms: u64,
}

/// What a server said that is not believed, or that it said nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// One word.
    pub reason: String,
    /// For people.
    pub text: String,
    /// When.
    pub time: String,
}

/// The release that a device runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The version whose services run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// Its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `trial`, `committed` or `none`.
    pub state: String,
    /// The one that proved itself last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<String>,
    /// The one before it that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The one that the fleet wants here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the trial waits for, or why it is past its deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// The release that was returned from last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_revert: Option<Revert>,
}

/// A release that was returned from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revert {
    /// Its version.
    pub release: String,
    /// Why.
    pub reason: String,
}

/// All instances of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// How many there should be.
    pub desired: u32,
    /// How many run.
    pub running: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// Restarts of all.
    pub restarts: u64,
    /// Kills at the memory limit that were seen.
    pub oom_kills: u64,
    /// `running` when as many run as should, else the first other state.
    pub state: String,
    /// `ready`, `notReady`, or `none` where nothing runs.
    pub health: String,
    /// What it is made from: the archive's digest, or the folder.
    pub bundle: String,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// The container's id.
    pub id: String,
    /// Of which service.
    pub service: String,
    /// Which one.
    pub replica: u16,
    /// The release that asked for it first.
    pub release: String,
    /// `starting`, `running`, `stopping`, `ended`, `unknown`; and where nothing is there `waiting`, `completed` or `failed`.
    pub state: String,
    /// When its program was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How long it runs, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// Of its first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Since its service was last changed.
    pub restarts: u64,
    /// Kills at the memory limit that were seen.
    pub oom_kills: u64,
    /// How it ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// What its probes say; absent while it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Why it is not as desired, and what would change that; absent when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// What it uses; absent while it does not run, or where its shim does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// Its log.
    pub log: PathBuf,
    /// The safe defaults that this version does not enforce yet.
    pub not_enforced: Vec<String>,
    /// The service as its release has it.
    pub blueprint: Value,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// The status; 128 + n for signal n. Absent where nobody saw it, or where it never ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// At its memory limit.
    pub oom: bool,
    /// For people.
    pub reason: String,
}

/// What the probes of an instance say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Its startup probe has succeeded, or there is none.
    pub started: bool,
    /// It is of use.
    pub ready: bool,
    /// What the last failed probe said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// Why something is not as desired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// One word: `busy`, `waits`, `backoff`, `held`, `notReady`, `unknown`, `leaves`.
    pub reason: String,
    /// For people.
    pub text: String,
    /// What would change it, for people.
    pub until: String,
    /// In how many seconds that happens by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_s: Option<f64>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Memory that programs can have without swapping, in KiB (MemAvailable of proc_meminfo(5)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_avail_ki_b: Option<u64>,
    /// Free on the file system of the state folder, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_ki_b: Option<u64>,
    /// Stall of all programs in the last 10 s, in percent (`some avg10` of /proc/pressure): `mem10`, `io10`, `cpu10`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub psi: BTreeMap<String, f64>,
}

impl Device {
    /// Whether everything is as desired.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let refused = self.fleet.as_ref().is_some_and(|fleet| fleet.last_refusal.is_some() || fleet.stale);
        self.blocked.is_none()
            && !refused
            && self.release.waits.is_none()
            && self.instances.iter().all(|instance| instance.why.is_none())
    }
}
