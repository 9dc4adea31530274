//! When an instance that ended is started again: its policy, how restarts slow down, and when they stop.
//!
//! | a service says | an end counts as | then |
//! |---|---|---|
//! | nothing | `always`: a service of a device is there to run | started again, later each time |
//! | `restart: no`, `condition: none` | what its status says | held: completed or failed |
//! | `on-failure[:N]` | success: completed; failure: one in a row | held after N restarts in a row |
//! | `always`, `unless-stopped`, `condition: any` | one in a row | started again |
//!
//! The ledger lies below `/run`: a boot begins with an empty one, so what completed runs once in each boot.

use crate::ledger::{Entry, Held, Stopped};
use crate::moment::Moment;
use crate::name::InstanceId;
use crate::observed::Exit;
use crate::release::{DeployCondition, RestartPolicy, Service};
use crate::span::Span;
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// The policy of a service with every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which ends lead to another start.
    pub again: Again,
    /// Restarts in a row after which it is held, if there is such a number.
    pub attempts: Option<u32>,
    /// The delay before the first restart of a row.
    pub base: Span,
    /// The longest delay.
    pub max: Span,
    /// Running for so long ends the row.
    pub reset_after: Span,
    /// How many starts in how long a time.
    pub limit: Option<StartLimit>,
}

/// Which ends lead to another start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// None.
    Never,
    /// Failures.
    OnFailure,
    /// All.
    Always,
}

/// So many starts in so long a time, `20/1h`; one more and the instance is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartLimit {
    /// Starts.
    pub count: u32,
    /// In this time.
    pub window: Span,
}

/// A text that is not a start limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a start limit; write a number of starts and a time, such as `20/1h`")]
pub struct InvalidStartLimit(String);

impl FromStr for StartLimit {
    type Err = InvalidStartLimit;

    fn from_str(text: &str) -> Result<Self, InvalidStartLimit> {
        let invalid = || InvalidStartLimit(text.to_owned());
        let (count, window) = text.split_once('/').ok_or_else(invalid)?;
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let limit =
            Self { count: count.parse().map_err(|_| invalid())?, window: window.parse().map_err(|_| invalid())? };
        if limit.count == 0 || limit.window == Span::ZERO { Err(invalid()) } else { Ok(limit) }
    }
}

/// The policy of a service: `restart` or `deploy.restart_policy`, slowed down by `x-skiff.backoff`.
///
/// `deploy.restart_policy`'s `delay` is the base, `max_attempts` the attempts, and `window` the time that ends a row. A
/// start limit that cannot be read is refused by [`crate::lint`] before it comes here.
#[must_use]
pub fn policy(service: &Service) -> Policy {
    let backoff = &service.skiff.backoff;
    let (again, attempts) = match (&service.restart, &service.deploy.restart_policy) {
        (Some(RestartPolicy::No), _) => (Again::Never, None),
        (Some(RestartPolicy::OnFailure(attempts)), _) => (Again::OnFailure, *attempts),
        (Some(RestartPolicy::Always | RestartPolicy::UnlessStopped), _) | (None, None) => (Again::Always, None),
        (None, Some(deploy)) => match deploy.condition {
            DeployCondition::None => (Again::Never, None),
            DeployCondition::OnFailure => (Again::OnFailure, deploy.max_attempts),
            DeployCondition::Any => (Again::Always, deploy.max_attempts),
        },
    };
    let deploy = service.deploy.restart_policy.as_ref().filter(|_| service.restart.is_none());
    let base = deploy.and_then(|deploy| deploy.delay).unwrap_or(backoff.base);
    Policy {
        again,
        attempts,
        base,
        // A first delay that is longer than the longest is meant.
        max: backoff.max.max(base),
        reset_after: deploy.and_then(|deploy| deploy.window).unwrap_or(backoff.reset_after),
        limit: backoff.start_limit.as_deref().and_then(|text| text.parse().ok()),
    }
}

/// The delay before the restart that follows the `row`th end in a row, without jitter: doubled each time, and capped.
#[must_use]
pub fn exponential(policy: &Policy, row: u32) -> Span {
    let doubled = 1_u64.checked_shl(row.saturating_sub(1)).unwrap_or(u64::MAX);
    Span::from_millis(policy.base.millis().saturating_mul(doubled)).min(policy.max)
}

/// [`exponential`] with up to a tenth more or less, so that replicas do not start in step. It is never above the cap, and
/// always the same for the same instance and row: a plan may be made twice.
#[must_use]
pub fn delay(policy: &Policy, id: &InstanceId, row: u32) -> Span {
    let (nominal, cap) = (exponential(policy, row).millis(), policy.max.millis());
    let tenth = nominal / 10;
    let jittered = (nominal - tenth).saturating_add(spread(id, row) % (2 * tenth + 1));
    // What would be above the cap is put as far below it, so that instances stay apart there as well.
    Span::from_millis(if jittered > cap { cap - (jittered - cap) } else { jittered })
}

/// FNV-1a with its bits mixed once more, because names of replicas differ in one letter.
fn spread(id: &InstanceId, row: u32) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in id.to_string().bytes().chain(row.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Counts the end of an instance, once: each start is followed by one end, however often that end is looked at.
///
/// `since` is when it ran from, none if it never did; `at` is when its end was seen. An end that was asked for is
/// remembered, and is no reason to wait or to give up.
pub fn record_exit(
    entry: &mut Entry,
    id: &InstanceId,
    service: &Service,
    since: Option<Moment>,
    at: Moment,
    exit: &Exit,
) {
    if !counts(entry, since) {
        return;
    }
    remember_exit(entry, at, exit);
    let unhealthy = match entry.stopped.take() {
        Some(Stopped::Asked) => return,
        Some(Stopped::Unhealthy { reason: _ }) => true,
        None => false,
    };
    let policy = policy(service);
    let ran = since.map_or(Span::ZERO, |since| at.since(since));
    entry.row = if ran >= policy.reset_after && since.is_some() { 1 } else { entry.row.saturating_add(1) };
    entry.unhealthy = unhealthy;
    entry.held = held_by_policy(&policy, entry);
    if entry.held.is_none() {
        entry.not_before = at.plus(delay(&policy, id, entry.row));
        entry.held = held_by_limit(&policy, entry);
    }
}

/// Remembers an end that no policy looks at: that of an instance that had to go anyway.
pub fn record_departure(entry: &mut Entry, since: Option<Moment>, at: Moment, exit: &Exit) {
    if counts(entry, since) {
        remember_exit(entry, at, exit);
        entry.stopped = None;
    }
}

/// Whether the end has not been counted yet. A look after a restart of skiffd may see the same end at another moment, so
/// the moment says nothing; what began after the last end that was counted is another one in any case.
fn counts(entry: &Entry, since: Option<Moment>) -> bool {
    match (&entry.last_exit, since) {
        (Some((counted, _)), Some(since)) if since > *counted => true,
        (Some(_), _) => !entry.counted,
        (None, _) => true,
    }
}

fn remember_exit(entry: &mut Entry, at: Moment, exit: &Exit) {
    entry.counted = true;
    entry.last_exit = Some((at, exit.clone()));
    if matches!(exit, Exit::Status { oom: true, .. }) {
        entry.oom_kills += 1;
    }
}

/// What the policy says of the last end in the entry.
#[must_use]
pub fn held_by_policy(policy: &Policy, entry: &Entry) -> Option<Held> {
    let (_, exit) = entry.last_exit.as_ref()?;
    let failed = exit.failed() || entry.unhealthy;
    let spent = policy.attempts.is_some_and(|attempts| entry.row > attempts);
    match (policy.again, failed) {
        (Again::Never | Again::OnFailure, false) => Some(Held::Completed),
        (Again::Never, true) => Some(Held::Failed),
        (Again::OnFailure, true) | (Again::Always, _) => spent.then_some(Held::Failed),
    }
}

/// Whether the start that is due next would be one too many.
fn held_by_limit(policy: &Policy, entry: &Entry) -> Option<Held> {
    let limit = policy.limit?;
    let recent = entry.starts.iter().filter(|start| entry.not_before.since(**start) < limit.window).count();
    (recent >= limit.count as usize).then_some(Held::StartLimit)
}

/// Notes a start. What the limit's window does not reach is forgotten, and without a limit all but the last.
pub fn record_start(entry: &mut Entry, service: &Service, now: Moment) {
    // A start that was undone before it came to an end is made once more, and is no restart.
    if entry.counted && !entry.starts.is_empty() {
        entry.restarts += 1;
    }
    match policy(service).limit {
        Some(limit) => entry.starts.retain(|start| now.since(*start) < limit.window),
        None => entry.starts.clear(),
    }
    entry.starts.push(now);
    entry.counted = false;
    entry.stopped = None;
    entry.unhealthy = false;
    entry.tried = None;
}
