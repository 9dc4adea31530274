//! What an earlier skiffd left: each record is held against the shim and `/proc`, judged, and taken over or taken back.
//!
//! | record | shim says | verdict |
//! |---|---|---|
//! | of another boot | - | take back |
//! | ended | - | as recorded |
//! | any | nothing, in time | ask again |
//! | intent, created | gone, or knows nothing, or created | take back |
//! | running | gone, or knows nothing, or another process | bury: kill what is left, `Unseen` |
//! | intent | stopped | take back: its program never ran |
//! | created, running | stopped | ended, with the status that the shim remembers |
//! | any | running, and it is that process | watch it again |

use super::ending::{self, Clear};
use super::identity::{Identity, Match};
use super::record::{self, Phase, Record};
use super::shared::Shared;
use super::task::{CallError, Task};
use super::{Adopted, Seen, Settings, oci, shim, watching};
use crate::chain::chain;
use containerd_shim_protos::types::task::Status;
use skiff_planner::name::{InstanceId, ServiceName};
use skiff_planner::observed::{Exit, State};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a shim may take to say how an instance is: it answers from memory.
const QUESTION: Duration = Duration::from_secs(1);

/// What was learnt by asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nobody listens.
    Gone,
    /// No answer.
    Silent,
    /// The shim has nothing of that id.
    Absent,
    /// It has.
    Is { status: Status, pid: i32, code: u32 },
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It ended, and that is on record.
    AsRecorded,
    /// It ended with this status.
    Ended(u32),
    /// It runs.
    Watch,
    /// It is to be as if it never was.
    TakeBack,
    /// Nobody holds it: it is killed, and nobody knows how it ended.
    Bury,
    /// Nobody knows yet.
    AskAgain,
}

fn judge(record: &Record, boot_id: &str, asked: Asked, is_that_process: impl Fn(i32) -> bool) -> Verdict {
    if record.boot_id != boot_id {
        return Verdict::TakeBack;
    }
    match (&record.phase, asked) {
        (Phase::Ended { .. }, _) => Verdict::AsRecorded,
        (_, Asked::Silent) => Verdict::AskAgain,
        (Phase::Intent | Phase::Created { .. }, Asked::Gone | Asked::Absent) => Verdict::TakeBack,
        (Phase::Running { .. }, Asked::Gone | Asked::Absent) => Verdict::Bury,
        (phase, Asked::Is { status, pid, code }) => match (status, phase) {
            (Status::CREATED, _) | (Status::STOPPED, Phase::Intent) => Verdict::TakeBack,
            (Status::STOPPED, _) => Verdict::Ended(code),
            (Status::UNKNOWN, _) => Verdict::AskAgain,
            (Status::RUNNING | Status::PAUSED | Status::PAUSING, _) if is_that_process(pid) => Verdict::Watch,
            (Status::RUNNING | Status::PAUSED | Status::PAUSING, _) => Verdict::Bury,
        },
    }
}

/// Whether the process of that id is the one that was written down. Where none was, the shim's word is all there is.
fn is_that_process(record: &Record, pid: i32) -> bool {
    match record.phase.process() {
        None => true,
        // One that ends in this moment is watched: its end is told like any other.
        Some(process) => process.pid == pid && matches!(process.look(), Match::Same | Match::Gone),
    }
}

/// Asks the shim of an instance how it is.
pub(super) async fn ask(settings: &Settings, instance: &InstanceId) -> (Asked, Option<Task>) {
    let Some(address) = shim::known(&settings.run, &instance.service) else { return (Asked::Gone, None) };
    let task = match shim::connect(&address).await {
        Ok(task) => task,
        Err(error) if error.is_gone() => return (Asked::Gone, None),
        Err(_) => return (Asked::Silent, None),
    };
    match task.state(&instance.to_string(), QUESTION).await {
        Ok(answer) => {
            let status = answer.status.enum_value().unwrap_or(Status::UNKNOWN);
            let pid = i32::try_from(answer.pid).unwrap_or(0);
            (Asked::Is { status, pid, code: answer.exit_status }, Some(task))
        }
        Err(CallError::NotFound { .. }) => (Asked::Absent, Some(task)),
        // One that hung up is gone when it is asked again.
        Err(_) => (Asked::Silent, None),
    }
}

/// Takes over everything on record. What cannot be said at once is `Unknown` and told later.
pub(super) async fn adopt(shared: &Arc<Shared>) -> Vec<Adopted> {
    let mut asking = JoinSet::new();
    let (records, unreadable) = read_all(&shared.settings.run);
    // All first: a shim is dismissed when nobody else of its service is known.
    records.iter().for_each(|record| shared.put(record));
    for instance in unreadable {
        clean(shared, instance).await;
    }
    for record in records {
        let shared = Arc::clone(shared);
        asking.spawn(async move {
            let (verdict, task) = look(&shared, &record).await;
            match at_once(&shared, record.clone(), verdict, task).await {
                Some(adopted) => adopted,
                None => {
                    let unknown = adopted(&record, State::Unknown);
                    tokio::spawn(settle(shared, record, verdict));
                    unknown
                }
            }
        });
    }
    let mut all = Vec::new();
    while let Some(outcome) = asking.join_next().await {
        match outcome {
            Ok(adopted) => all.push(adopted),
            Err(error) => tracing::error!("a record could not be looked at: {error}"),
        }
    }
    all.sort_by(|one, other| one.instance.cmp(&other.instance));
    dismiss_orphans(shared);
    all
}

async fn look(shared: &Shared, record: &Record) -> (Verdict, Option<Task>) {
    let (asked, task) = match record.phase {
        Phase::Ended { .. } => (Asked::Silent, None),
        Phase::Intent | Phase::Created { .. } | Phase::Running { .. } => ask(&shared.settings, &record.instance).await,
    };
    (judge(record, &shared.boot_id, asked, |pid| is_that_process(record, pid)), task)
}

/// What can be said at once.
async fn at_once(shared: &Arc<Shared>, record: Record, verdict: Verdict, task: Option<Task>) -> Option<Adopted> {
    match (verdict, task) {
        (Verdict::AsRecorded, _) => Some(adopted(&record, state(&record))),
        (Verdict::Ended(code), Some(task)) => {
            let oom = watching::was_killed_for_memory(&task, &record.instance.to_string()).await;
            Some(end(shared, record, Exit::Status { code, oom }))
        }
        (Verdict::Watch, Some(task)) => watch(shared, record, task).await,
        (Verdict::Ended(_) | Verdict::Watch | Verdict::TakeBack | Verdict::Bury | Verdict::AskAgain, _) => None,
    }
}

fn end(shared: &Shared, mut record: Record, exit: Exit) -> Adopted {
    watching::ended(shared, &mut record, crate::clock::now(), exit);
    shared.put(&record);
    adopted(&record, state(&record))
}

async fn watch(shared: &Arc<Shared>, mut record: Record, task: Task) -> Option<Adopted> {
    if !matches!(record.phase, Phase::Running { .. }) {
        // skiffd died between the start and its record.
        let pid = task.state(&record.instance.to_string(), QUESTION).await.ok()?.pid;
        let wanted = oci::cgroups_path(&shared.settings, &record.instance);
        let process = record.phase.process().cloned().or_else(|| Identity::of(i32::try_from(pid).ok()?, &wanted))?;
        record.phase = Phase::Running { since: process.since(), process, started: crate::clock::wall() };
        if let Err(error) = record.write(&shared.settings.run) {
            tracing::warn!(instance = %record.instance, "{}", chain(&error));
        }
    }
    shared.put(&record);
    watching::begin(shared, &record, task);
    Some(adopted(&record, state(&record)))
}

/// Brings about what could not be said at once, and tells it.
async fn settle(shared: Arc<Shared>, record: Record, mut verdict: Verdict) {
    let instance = &record.instance.clone();
    loop {
        match verdict {
            Verdict::TakeBack => {
                match ending::clear(&shared, instance, record.phase.process(), Clear::Everything).await {
                    Ok(()) => {
                        shared.forget(instance);
                        return shared.tell(Seen::Absent { instance: instance.clone() }).await;
                    }
                    Err(error) => tracing::warn!(%instance, "it cannot be taken back yet: {}", chain(&error)),
                }
            }
            Verdict::Bury => {
                let exit = watching::bury(&shared, instance).await;
                let found = Box::new(end(&shared, record, exit));
                return shared.tell(Seen::Found(found)).await;
            }
            Verdict::AskAgain | Verdict::AsRecorded | Verdict::Ended(_) | Verdict::Watch => {}
        }
        tokio::time::sleep(watching::AGAIN).await;
        let (next, task) = look(&shared, &record).await;
        if let Some(found) = at_once(&shared, record.clone(), next, task).await {
            return shared.tell(Seen::Found(Box::new(found))).await;
        }
        verdict = next;
    }
}

fn state(record: &Record) -> State {
    match &record.phase {
        Phase::Running { since, .. } => State::Running { since: *since },
        Phase::Ended { since, seen, exit, .. } => State::Ended { since: *since, at: *seen, exit: exit.clone() },
        Phase::Intent | Phase::Created { .. } => State::Unknown,
    }
}

fn adopted(record: &Record, state: State) -> Adopted {
    let runs = matches!(state, State::Running { .. });
    Adopted {
        instance: record.instance.clone(),
        blueprint: record.blueprint.clone(),
        limits: record.limits.clone(),
        pid: record.phase.process().filter(|_| runs).map(|process| process.pid),
        started: record.phase.started(),
        not_enforced: record.not_enforced.clone(),
        state,
    }
}

/// All records that can be read, and the instances without one. A garbled one is set aside, and what it stood for is to be
/// cleaned by its id: nobody knows any more what it was made from.
fn read_all(run: &Path) -> (Vec<Record>, Vec<InstanceId>) {
    let folder = record::folder(run);
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    let Ok(entries) = std::fs::read_dir(&folder) else { return (records, unreadable) };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let Ok(instance) = name.parse::<InstanceId>() else {
            tracing::warn!("`{}` is no instance and is left alone", entry.path().display());
            continue;
        };
        match Record::read(&entry.path()) {
            Ok(Some(record)) if record.instance == instance => records.push(record),
            // It was claimed and nothing was made yet; or its record was set aside, and skiffd died before all was cleaned.
            Ok(None) => unreadable.push(instance),
            Ok(Some(_)) => {
                set_aside(run, &instance, "it is another instance's");
                unreadable.push(instance);
            }
            Err(error) => {
                set_aside(run, &instance, &chain(&error));
                unreadable.push(instance);
            }
        }
    }
    (records, unreadable)
}

fn set_aside(run: &Path, instance: &InstanceId, reason: &str) {
    match record::quarantine(run, &instance.to_string()) {
        Ok(aside) => tracing::error!(%instance, "its record is set aside as `{}`: {reason}", aside.display()),
        Err(error) => tracing::error!(%instance, "its record is garbled: {reason}; {}", chain(&error)),
    }
}

/// Until it is cleaned its folder stays, so that no other can be made in its place.
async fn clean(shared: &Arc<Shared>, instance: InstanceId) {
    let Err(error) = ending::clear(shared, &instance, None, Clear::Everything).await else { return };
    tracing::warn!(%instance, "it cannot be cleaned yet: {}", chain(&error));
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(watching::AGAIN).await;
            if ending::clear(&shared, &instance, None, Clear::Everything).await.is_ok() {
                return;
            }
        }
    });
}

/// Shims that hold nothing that is on record: skiffd died between the last instance's end and the shim's.
fn dismiss_orphans(shared: &Arc<Shared>) {
    let Ok(entries) = std::fs::read_dir(shared.settings.run.join("shims")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(service) = name.parse::<ServiceName>() else { continue };
        if !shared.has_service(&service) {
            tokio::spawn(dismiss(Arc::clone(shared), service));
        }
    }
}

async fn dismiss(shared: Arc<Shared>, service: ServiceName) {
    let _lock = shared.lock(&service).await;
    // An instance may have come meanwhile.
    if shared.has_service(&service) {
        return;
    }
    let run = &shared.settings.run;
    let gone = match shim::known(run, &service) {
        None => true,
        Some(address) => match shim::connect(&address).await {
            Ok(task) => shim::dismiss(&task, &address, service.as_str()).await,
            Err(error) => error.is_gone(),
        },
    };
    if gone {
        shim::clear_home(run, &service);
    }
}

#[cfg(test)]
mod tests;
