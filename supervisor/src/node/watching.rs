//! From the start of a program to its end: one task waits for it, others probe it, and the end is told once.
//!
//! ```text
//!   wait ──(status)──> Ended(Status)
//!    │ ^
//!    │ └── connected again, and it still runs
//!    └──(hung up)──> ask again ──(nobody listens, or nothing known of it)──> Lost ──> kill what is left ──> Ended(Unseen)
//! ```

use super::adoption::{self, Asked};
use super::ending;
use super::figures::Figures;
use super::identity::Identity;
use super::record::{self, Phase, Record};
use super::shared::{Live, Shared};
use super::task::Task;
use super::{Seen, probe};
use crate::chain::chain;
use skiff_planner::health::probes_of;
use skiff_planner::moment::Moment;
use skiff_planner::name::InstanceId;
use skiff_planner::observed::Exit;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Between two attempts at something that has to come about some time.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Watches a program that runs.
pub(super) fn begin(shared: &Arc<Shared>, record: &Record, task: Task) {
    let instance = record.instance.clone();
    let (told, ended) = watch::channel(false);
    let live = Live { probes: probes(shared, record, &task), task: task.clone(), ended };
    shared.with(&instance, |entry| entry.live = Some(live));
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let exit = follow(&shared, &instance, task).await;
        finish(&shared, &instance, exit).await;
        let _nobody_waits = told.send(true);
    });
}

fn probes(shared: &Shared, record: &Record, task: &Task) -> Option<AbortHandle> {
    let probes = probes_of(&record.blueprint.service);
    if probes.is_empty() {
        return None;
    }
    let path = record::bundle(&shared.settings.run, &record.instance).join("config.json");
    // Without its configuration a program cannot be run in it, and the probe says so.
    let config = std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let (instance, task, seen) = (record.instance.clone(), task.clone(), shared.seen.clone());
    Some(tokio::spawn(probe::run(probe::Target { instance, task, config, seen }, probes)).abort_handle())
}

/// Waits for the end, however often the connection ends before.
async fn follow(shared: &Arc<Shared>, instance: &InstanceId, mut task: Task) -> Exit {
    let id = instance.to_string();
    loop {
        if let Ok(answer) = task.wait(&id, "").await {
            return Exit::Status { code: answer.exit_status, oom: was_killed_for_memory(&task, &id).await };
        }
        match adoption::ask(&shared.settings, instance).await {
            (Asked::Is { .. }, Some(again)) => {
                task = again.clone();
                shared.with(instance, |entry| entry.live.as_mut().map(|live| live.task = again));
            }
            (Asked::Gone | Asked::Absent, _) => {
                shared.tell(Seen::Lost { instance: instance.clone() }).await;
                return bury(shared, instance).await;
            }
            (Asked::Silent | Asked::Is { .. }, _) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Ends what is left of an instance whose shim is gone; before it has ended nobody is told so.
pub(super) async fn bury(shared: &Arc<Shared>, instance: &InstanceId) -> Exit {
    loop {
        let process = shared.with(instance, |entry| entry.record.phase.process().cloned()).flatten();
        let lock = shared.lock(&instance.service).await;
        match ending::force(&shared.settings, instance, process.as_ref()).await {
            Ok(()) => return Exit::Unseen,
            Err(error) => tracing::warn!(%instance, "what is left of it cannot be ended yet: {}", chain(&error)),
        }
        drop(lock);
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether the kernel killed a process of it at the memory limit. It is asked before the container is deleted, because the
/// counter goes with its cgroup.
pub(super) async fn was_killed_for_memory(task: &Task, id: &str) -> bool {
    let stats = task.stats(id).await;
    let figures = stats.ok().and_then(|answer| Figures::of(&answer.stats));
    figures.is_some_and(|figures| figures.oom_kills > 0)
}

/// Writes down and tells an end.
async fn finish(shared: &Shared, instance: &InstanceId, exit: Exit) {
    let at = crate::clock::now();
    let since = shared.with(instance, |entry| {
        entry.live = None;
        ended(shared, &mut entry.record, at, exit.clone());
        entry.record.phase.since()
    });
    shared.tell(Seen::Ended { instance: instance.clone(), exit, since: since.flatten(), at }).await;
}

/// Writes down that an instance has ended.
pub(super) fn ended(shared: &Shared, record: &mut Record, seen: Moment, exit: Exit) {
    let since = record.phase.since().or_else(|| record.phase.process().map(Identity::since));
    record.phase = Phase::Ended { since, started: record.phase.started(), seen, exit };
    if let Err(error) = record.write(&shared.settings.run) {
        // The shim remembers the status as long as the container is not removed.
        tracing::warn!(instance = %record.instance, "{}", chain(&error));
    }
}
