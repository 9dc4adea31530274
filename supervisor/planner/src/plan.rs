//! The difference between what should be and what is there, as actions with no choices left.

use crate::desired::{Blueprint, Desired};
use crate::ledger::Ledger;
use crate::moment::Moment;
use crate::name::InstanceId;
use crate::observed::Observed;
use crate::release::Limits;
use crate::span::Span;
use choice::Choice;
use std::collections::BTreeMap;

mod choice;
mod memory;
#[cfg(test)]
mod tests;
pub mod words;

/// What to do so that what is there becomes what should be.
///
/// `desired` is none as long as nothing was ever decided, and then nothing is touched. The ledger of the plan is to be kept
/// before its actions are done: an action that is done and forgotten could be done twice.
///
/// ```text
///   observed is …               and desired …                 then
///   busy, Unknown               (whatever)                    left alone
///   Ended                       (whatever)                    counted once, Remove
///   Starting, Running, Stopping not, or from other blueprint  Stop, once all that depended on it is gone
///   Running                     its probes failed for good    Stop, counted as a failure
///   Running                     with other limits             Update
///   Running                     as it is                      nothing
///   absent                      held, waiting or not yet due  nothing, with the reason
///   absent                      else                          Start
/// ```
#[must_use]
pub fn plan(desired: Option<&Desired>, observed: &Observed, ledger: &Ledger, now: Moment) -> Plan {
    let Some(desired) = desired else {
        return Plan { ledger: ledger.clone(), ..Plan::default() };
    };
    let ledger = memory::refresh(desired, observed, ledger);
    let mut choice = Choice::new(desired, observed, ledger, now);
    for (id, instance) in &observed.instances {
        choice.of_present(id, instance);
    }
    for (id, service) in desired.instances().filter(|(id, _)| !observed.instances.contains_key(id)) {
        choice.of_absent(&id, service);
    }
    choice.into_plan()
}

/// What is to be done now, and what is to be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order; those of different instances may be done at the same time.
    pub actions: Vec<Action>,
    /// The ledger from now on.
    pub ledger: Ledger,
    /// Why each instance that is not as desired is not, for `skiffctl why`.
    pub reasons: BTreeMap<InstanceId, Reason>,
    /// When to plan again even if nothing is seen.
    pub wake: Option<Moment>,
}

/// One thing to do to one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make it and start its program.
    Start {
        /// Which.
        instance: InstanceId,
        /// From what.
        blueprint: Box<Blueprint>,
    },
    /// Ask its program to end, and make it after a while. It is then `Ended`.
    Stop {
        /// Which.
        instance: InstanceId,
        /// How it is asked.
        signal: String,
        /// How long it may take before SIGKILL.
        grace: Span,
        /// For people.
        cause: Cause,
    },
    /// Take away what is left of one that has ended.
    Remove {
        /// Which.
        instance: InstanceId,
    },
    /// Change its limits while it runs.
    Update {
        /// Which.
        instance: InstanceId,
        /// To these.
        limits: Limits,
    },
}

/// Why an instance is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its service is not in the release.
    NotDesired,
    /// Its service has changed.
    Changed,
    /// A probe says that it is of no more use.
    Unhealthy(String),
    /// It was asked to stop before, and nobody is seeing to it that it does.
    Interrupted,
}

/// Why an instance is not as desired, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An action is under way.
    Busy,
    /// It waits for another service.
    Waits {
        /// For people: `db` to be healthy, …
        what: String,
    },
    /// It ended and is started again later.
    Backoff {
        /// When.
        until: Moment,
        /// Ends in a row.
        row: u32,
        /// How it ended last.
        last: String,
    },
    /// It is not started again.
    Held {
        /// Why not, and what would change that.
        what: String,
    },
    /// It runs and is not ready.
    NotReady {
        /// What the probe said.
        what: String,
    },
    /// Its shim could not be asked.
    Unknown,
    /// It has to go first.
    Leaves {
        /// Why.
        what: String,
    },
    /// Its limits could not be changed, and that is tried again later.
    Limits {
        /// When.
        until: Moment,
    },
}
