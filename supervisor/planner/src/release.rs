//! A release: services in a strict subset of Compose. What is not honoured is refused by name; nothing is ignored.

use crate::bytes::Bytes;
use crate::name::{Digest, ServiceName};
use crate::span::Span;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

mod notation;

/// The place of a key that Compose or fleet.md has and this version has not: reading any value for it is an error.
/// There is no value of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unbuilt {}

impl<'de> Deserialize<'de> for Unbuilt {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("this key is not built yet, and a document that has it is refused; remove it"))
    }
}

/// A release document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Release {
    /// [`crate::fleet::API_VERSION`].
    pub api_version: String,
    /// `Release`.
    pub kind: String,
    /// Name and version.
    pub metadata: Metadata,
    /// By name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configs: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Unbuilt>,
}

/// What the release is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Of the product.
    pub name: String,
    /// As the index names it.
    pub version: String,
}

/// One service, in Compose's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Where its OCI bundle comes from.
    pub bundle: Bundle,
    /// Replaces `process.args` of the bundle: a list, or a text that is split as a shell would split words.
    #[serde(default, with = "notation::command", skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Added to the bundle's: a map, or a list of `NAME=value`.
    #[serde(default, with = "notation::environment", skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// `uid` or `uid:gid`, as numbers.
    #[serde(default, with = "notation::user", skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Replaces `process.cwd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The instance's id without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The root file system, with tmpfs on `/tmp` and `/run`, unless this is false.
    #[serde(default = "yes")]
    pub read_only: bool,
    /// `none` (a network of its own with loopback alone) or `host`.
    #[serde(default)]
    pub network_mode: NetworkMode,
    /// Capabilities beside the default eleven, `CAP_` optional; `ALL` is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities to take away; `ALL` takes all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// What has to be so before it starts: a list of names (`service_started`), or a map.
    #[serde(default, with = "notation::depends_on", skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<ServiceName, Condition>,
    /// `no`, `always`, `on-failure[:N]` or `unless-stopped`; excludes `deploy.restart_policy`.
    #[serde(default, with = "notation::restart", skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// What asks it to stop.
    #[serde(default = "stop_signal")]
    pub stop_signal: String,
    /// How long it may take before SIGKILL.
    #[serde(default = "stop_grace_period")]
    pub stop_grace_period: Span,
    /// Compose's health check: the readiness of the service, and its liveness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Replicas, restart policy, limits.
    #[serde(default)]
    pub deploy: Deploy,
    /// What Compose has no words for.
    #[serde(default, rename = "x-skiff")]
    pub skiff: Extension,
    /// Not built yet: there is no image store; use `bundle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configs: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Unbuilt>,
}

const fn yes() -> bool {
    true
}

fn stop_signal() -> String {
    "SIGTERM".into()
}

const fn stop_grace_period() -> Span {
    Span::from_secs(10)
}

/// Where an OCI bundle (a root file system and a `config.json`) comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bundle {
    /// An archive beside the fleet document, `blobs/sha256-…`, as a device takes it.
    Archive {
        /// Of its bytes.
        digest: Digest,
        /// In bytes.
        size: u64,
    },
    /// An absolute path: a folder that is on the device already. A relative one, as people write it: a folder or an archive
    /// (`.tar`, `.tar.gz`) beside the release, which `skiffctl fleet build` packs; a device refuses it.
    Path(String),
}

/// Whom a program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group; the same number as the user's without one is *not* assumed: 0, as Compose has it.
    pub gid: u32,
}

/// Which network an instance sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Its own, with loopback alone.
    #[default]
    None,
    /// The machine's.
    Host,
}

/// What has to be so of another service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All its replicas run.
    ServiceStarted,
    /// All its replicas run and are ready.
    ServiceHealthy,
    /// All its replicas ended with status 0.
    ServiceCompletedSuccessfully,
}

/// When an instance that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    No,
    /// When it failed, at most so many times in a row (without end where there is no number).
    OnFailure(Option<u32>),
    /// However it ended.
    Always,
    /// As `Always`: what was stopped by hand stays stopped, and stopping by hand is not built yet.
    UnlessStopped,
}

/// `healthcheck`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Healthcheck {
    /// `["CMD", program, arguments…]`, `["CMD-SHELL", text]`, or a text, which is the latter.
    #[serde(with = "notation::test")]
    pub test: Vec<String>,
    /// Between two probes.
    #[serde(default = "interval")]
    pub interval: Span,
    /// Of one probe.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Failures in a row that make it unhealthy.
    #[serde(default = "retries")]
    pub retries: u32,
    /// Failures in this time after the start do not count.
    #[serde(default)]
    pub start_period: Span,
}

const fn interval() -> Span {
    Span::from_secs(10)
}

const fn timeout() -> Span {
    Span::from_secs(2)
}

const fn retries() -> u32 {
    3
}

/// `deploy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// How many instances; 1 without it.
    #[serde(default = "one")]
    pub replicas: Replicas,
    /// Excludes `restart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<DeployRestart>,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// Not built yet: an update stops and starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_config: Option<Unbuilt>,
}

/// A number of replicas, 1 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Replicas(pub u16);

impl Default for Replicas {
    fn default() -> Self {
        Self(1)
    }
}

fn one() -> Replicas {
    Replicas::default()
}

/// `deploy.restart_policy`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployRestart {
    /// `none`, `on-failure` or `any`.
    pub condition: DeployCondition,
    /// The first delay; `x-skiff.backoff` doubles it from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// In a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Running for so long ends the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
}

/// `deploy.restart_policy.condition`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployCondition {
    /// Never.
    None,
    /// When it failed.
    OnFailure,
    /// However it ended.
    Any,
}

/// `deploy.resources`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Hard limits of one instance.
    #[serde(default)]
    pub limits: Limits,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservations: Option<Unbuilt>,
}

/// Hard limits of one instance. They can change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Processors, `"0.5"`, in thousandths inside.
    #[serde(default, with = "notation::cpus", skip_serializing_if = "Option::is_none")]
    pub cpus: Option<MilliCpus>,
    /// Memory; swap is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads; 512 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// Thousandths of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MilliCpus(pub u32);

/// `x-skiff` of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Kubernetes' probes; exclude `healthcheck`.
    #[serde(default)]
    pub probes: Probes,
    /// How restarts slow down.
    #[serde(default)]
    pub backoff: Backoff,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Unbuilt>,
    /// Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Unbuilt>,
}

/// Kubernetes' three probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Until it succeeds the others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    /// Whether the instance is of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// Whether it has to be started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

/// One probe: exactly one of `http`, `tcp` and `exec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Probe {
    /// GET that answers 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// A port that accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// A program in the container that exits 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// Between two probes.
    #[serde(default = "interval")]
    pub interval: Span,
    /// Of one probe.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Failures in a row that count.
    #[serde(default = "retries")]
    pub failure_threshold: u32,
    /// Before the first.
    #[serde(default)]
    pub initial_delay: Span,
}

/// A GET on the loopback address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// On 127.0.0.1.
    pub port: u16,
    /// `/` without it.
    #[serde(default = "slash")]
    pub path: String,
}

fn slash() -> String {
    "/".into()
}

/// How restarts slow down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Backoff {
    /// Before the first restart; doubled each time.
    pub base: Span,
    /// The longest.
    pub max: Span,
    /// Running for so long begins again at `base`.
    pub reset_after: Span,
    /// `20/1h`: more starts than that in that time, and it is held until the release changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_limit: Option<String>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Span::from_secs(1),
            max: Span::from_secs(300),
            reset_after: Span::from_secs(600),
            start_limit: None,
        }
    }
}
