//! What is learnt of instances, as one closed set for the loop.

use skiff_planner::desired::Blueprint;
use skiff_planner::health::{Outcome, ProbeKind};
use skiff_planner::moment::Moment;
use skiff_planner::name::InstanceId;
use skiff_planner::observed::{Exit, State};
use skiff_planner::release::Limits;

/// One thing that was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its program runs. Comes before `Done(Start)`.
    Started {
        /// Which.
        instance: InstanceId,
        /// Of its first process.
        pid: i32,
        /// Since when.
        since: Moment,
    },
    /// Its program ended, by itself or because it was stopped. Comes once for each [`Seen::Started`].
    Ended {
        /// Which.
        instance: InstanceId,
        /// How.
        exit: Exit,
        /// Since when it ran.
        since: Option<Moment>,
        /// When that was seen.
        at: Moment,
    },
    /// The kernel killed a process of it at the memory limit. A hint: it may be missing, and [`Exit`] is what counts.
    OomKill {
        /// Which.
        instance: InstanceId,
    },
    /// Its shim is gone; what is left of the container is being killed, and `Ended(Unseen)` follows.
    Lost {
        /// Which.
        instance: InstanceId,
    },
    /// It was `Unknown` at adoption, and this is how it is.
    Found(Box<Adopted>),
    /// It was `Unknown` at adoption, and nothing of it is there.
    Absent {
        /// Which.
        instance: InstanceId,
    },
    /// One probe was run.
    Probed {
        /// Of which.
        instance: InstanceId,
        /// Which probe.
        kind: ProbeKind,
        /// What came of it.
        outcome: Outcome,
    },
    /// An action is over. Where `Start` failed everything it made was taken back.
    Done {
        /// Of which.
        instance: InstanceId,
        /// Which action.
        doing: Doing,
        /// Why it failed, in one line.
        outcome: Result<(), String>,
    },
}

/// An action that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// [`super::Node::start`]
    Start,
    /// [`super::Node::stop`]
    Stop,
    /// [`super::Node::remove`]
    Remove,
    /// [`super::Node::update`]
    Update,
}

/// An instance of an earlier skiffd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Which.
    pub instance: InstanceId,
    /// What it was made from.
    pub blueprint: Blueprint,
    /// The limits that it has now.
    pub limits: Limits,
    /// `Running`, `Ended` or `Unknown`.
    pub state: State,
    /// Of its first process, while it runs.
    pub pid: Option<i32>,
    /// When it was started, for people (RFC 3339).
    pub started: Option<String>,
    /// The safe defaults that are not enforced for it, as they were given to [`super::Node::start`].
    pub not_enforced: Vec<String>,
}
