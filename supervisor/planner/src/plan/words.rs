//! What a plan says to people: in `skiffctl why`, in events, in reports and in the scenarios beside the tests.

use super::{Action, Cause, Reason};
use crate::ledger::{Entry, Held};
use crate::observed::Exit;
use crate::release::Limits;
use crate::restart;
use std::fmt;

/// How a program ended.
#[must_use]
pub fn exit(exit: &Exit) -> String {
    match exit {
        Exit::Status { code, oom: false } => format!("status {code}"),
        Exit::Status { code, oom: true } => format!("killed at its memory limit, status {code}"),
        Exit::NotStarted { reason } => format!("not started: {reason}"),
        Exit::Unseen => "nobody saw how it ended".into(),
    }
}

/// Why an instance is stopped.
#[must_use]
pub fn cause(cause: &Cause) -> String {
    match cause {
        Cause::NotDesired => "it is not in the release".into(),
        Cause::Changed => "its service has changed".into(),
        Cause::Unhealthy(said) => format!("it is unhealthy: {said}"),
        Cause::Interrupted => "it was asked to stop and has not ended yet".into(),
    }
}

/// Why an instance is not started again.
#[must_use]
pub fn held_because(held: Held, entry: &Entry) -> String {
    let last = entry.last_exit.as_ref().map_or_else(|| "unknown".into(), |(_, last)| exit(last));
    let last = if entry.unhealthy { format!("{last}, unhealthy") } else { last };
    let policy = entry.about.as_ref().map(|about| restart::policy(&about.service));
    match held {
        Held::Completed => format!("it has completed ({last})"),
        Held::Failed => match policy.and_then(|policy| policy.attempts) {
            Some(attempts) => format!("it has failed ({last}) more than {attempts} times in a row"),
            None => format!("it has failed ({last}) and is not to be restarted"),
        },
        Held::StartLimit => {
            let limit = policy.and_then(|policy| policy.limit);
            let limit = limit.map_or_else(String::new, |limit| format!(" of {} in {}", limit.count, limit.window));
            format!("its start limit{limit} is reached ({last})")
        }
    }
}

/// Why an instance is not started again, and what would change that.
#[must_use]
pub fn held(held: Held, entry: &Entry) -> String {
    let because = held_because(held, entry);
    match held {
        Held::Completed => format!("{because}; it runs again when its service changes"),
        Held::Failed | Held::StartLimit => {
            format!("{because}; it is started again when its service or the release changes")
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(formatter, "an action is under way"),
            Self::Waits { what } => write!(formatter, "it waits for {what}"),
            Self::Backoff { until, row, last } => {
                let times = if *row == 1 { "once".into() } else { format!("{row} times in a row") };
                write!(formatter, "it ended {times} ({last}) and is started again at {}ms", until.0)
            }
            Self::Held { what } | Self::Leaves { what } => write!(formatter, "{what}"),
            Self::NotReady { what } => write!(formatter, "it is not ready: {what}"),
            Self::Unknown => write!(formatter, "its shim could not be asked; it is left alone until it can"),
            Self::Limits { until } => {
                write!(formatter, "its limits could not be changed; that is tried again at {}ms", until.0)
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { instance, blueprint } => write!(formatter, "start {instance} of {}", blueprint.release),
            Self::Stop { instance, signal, grace, cause: why } => {
                write!(formatter, "stop {instance} by {signal}, {grace}: {}", cause(why))
            }
            Self::Remove { instance } => write!(formatter, "remove {instance}"),
            Self::Update { instance, limits: new } => write!(formatter, "update {instance} to {}", limits(new)),
        }
    }
}

/// Limits in one line.
#[must_use]
pub fn limits(limits: &Limits) -> String {
    let cpus = limits.cpus.map_or("no limit".into(), |cpus| format!("{}.{:03}", cpus.0 / 1000, cpus.0 % 1000));
    let memory = limits.memory.map_or("no limit".into(), |memory| format!("{} bytes", memory.0));
    let pids = limits.pids.map_or("default".into(), |pids| pids.to_string());
    format!("cpus {cpus}, memory {memory}, pids {pids}")
}
