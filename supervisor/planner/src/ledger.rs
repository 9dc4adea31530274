//! What is remembered of instances between two looks and across a restart of skiffd in the same boot: restarts, and when
//! the next one is due. It lies below `/run`, because it means nothing on another boot.

use crate::desired::Blueprint;
use crate::moment::Moment;
use crate::name::InstanceId;
use crate::observed::Exit;
use crate::release::Limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Memory of all instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// By instance; one that is no longer desired is forgotten once it is gone.
    pub instances: BTreeMap<InstanceId, Entry>,
}

/// Memory of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Restarts since the service was last changed.
    pub restarts: u64,
    /// Ends in a row that its backoff counts.
    pub row: u32,
    /// When each start of the limit's window was made, the latest last; without a limit the latest alone.
    pub starts: Vec<Moment>,
    /// Not before this moment.
    pub not_before: Moment,
    /// The last end that was counted: when it was seen, and how it was.
    pub last_exit: Option<(Moment, Exit)>,
    /// It will not be started again until its service changes, and why.
    pub held: Option<Held>,
    /// Ends by the kernel at the memory limit that were seen.
    pub oom_kills: u64,
    /// The service that all this is about, and the release that asked for it when it was last looked at.
    pub about: Option<Blueprint>,
    /// The end of the latest start has been counted.
    pub counted: bool,
    /// It was asked to stop, and why; its end has not been counted yet.
    pub stopped: Option<Stopped>,
    /// Its last end was asked for because a probe had failed for good: a failure, whatever its status.
    pub unhealthy: bool,
    /// The last stop, removal or change of limits. One that had no effect is not tried again at once. A skiffd that is
    /// started again does not know whether it had one, and tries.
    #[serde(skip)]
    pub tried: Option<Tried>,
}

/// Why an instance is not started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Held {
    /// It ended, and its policy is satisfied: it succeeded.
    Completed,
    /// It ended in failure, and its policy is not to start it again.
    Failed,
    /// Its start limit is reached.
    StartLimit,
}

/// Why an instance was asked to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Stopped {
    /// It was not wanted: its end is no failure.
    Asked,
    /// A probe failed for good: its end is one.
    Unhealthy {
        /// What the probe said.
        reason: String,
    },
}

/// An action that may have had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Which.
    pub action: Attempt,
    /// When.
    pub at: Moment,
}

/// Which action was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A stop.
    Stop,
    /// A removal.
    Remove,
    /// New limits.
    Update {
        /// These.
        limits: Limits,
    },
}
