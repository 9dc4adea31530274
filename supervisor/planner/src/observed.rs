//! What is there: a fresh look at every instance, partial and late as every look is.

use crate::desired::Blueprint;
use crate::health::Health;
use crate::moment::Moment;
use crate::name::InstanceId;
use crate::release::Limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every instance of which something is there: a record, a container or an action under way.
    pub instances: BTreeMap<InstanceId, Instance>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it was made from.
    pub blueprint: Blueprint,
    /// What it is doing.
    pub state: State,
    /// What its probes say.
    pub health: Health,
    /// The limits that it has now.
    pub limits: Limits,
    /// An action for it is under way: its outcome will be seen, and nothing else is done to it until then.
    pub busy: bool,
}

/// What an instance is doing.
///
/// ```text
///   (absent) ──Start──> Starting ──> Running ──Stop──> Stopping ──> Ended ──Remove──> (absent)
///                          └────────────┴──────(by itself)───────────^
///   Unknown: its shim could not be asked; it is left alone until it can
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Being made.
    Starting,
    /// Its program runs.
    Running {
        /// Since when.
        since: Moment,
    },
    /// Asked to stop.
    Stopping,
    /// Its program has ended, or it could not be started; what is left of it has to be removed.
    Ended {
        /// When it ran from; none if it never did.
        since: Option<Moment>,
        /// When that was seen.
        at: Moment,
        /// How.
        exit: Exit,
    },
    /// Nobody could be asked.
    Unknown,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Exit {
    /// With this status; 128 + n for signal n.
    Status {
        /// The status.
        code: u32,
        /// The kernel killed at least one of its processes at the memory limit.
        oom: bool,
    },
    /// It could not be made or started.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// Nobody saw it end.
    Unseen,
}

impl Exit {
    /// Whether a restart policy `on-failure` starts it again.
    #[must_use]
    pub const fn failed(&self) -> bool {
        !matches!(self, Self::Status { code: 0, oom: false })
    }
}
