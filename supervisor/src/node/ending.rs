//! Stop and remove: from a program that runs to nothing at all.

use super::error::Error;
use super::identity::{Identity, Match};
use super::record::{self, Phase};
use super::shared::Shared;
use super::task::{CallError, Task};
use super::{Settings, shim};
use crate::chain::chain;
use skiff_planner::name::InstanceId;
use skiff_planner::signal;
use std::time::Duration;

const SIGKILL: u32 = 9;

/// How long a process may take to go after SIGKILL: the kernel has to give back its memory.
const GOING: Duration = Duration::from_secs(10);

/// Between two looks at a process that is not our child.
const LOOK: Duration = Duration::from_millis(20);

/// Asks a program to end, and makes it after `grace`. It returns after the end was told.
///
/// # Errors
/// [`Error::Signal`], [`Error::NotRunning`], [`Error::Call`], [`Error::Survives`]
pub(super) async fn stop(shared: &Shared, instance: &InstanceId, word: &str, grace: Duration) -> Result<(), Error> {
    let number = signal::number(word).ok_or_else(|| Error::Signal(word.to_owned()))?;
    let look = shared.with(instance, |entry| match (&entry.live, &entry.record.phase) {
        (Some(live), _) => Some(Some((live.task.clone(), live.ended.clone()))),
        (None, Phase::Ended { .. }) => Some(None),
        (None, _) => None,
    });
    let Some((task, mut ended)) = look.flatten().ok_or_else(|| Error::NotRunning(instance.clone()))? else {
        return Ok(());
    };
    let id = instance.to_string();
    for (number, patience) in [(number, grace), (SIGKILL, GOING)] {
        match task.kill(&id, "", number).await {
            // It ended already, or its shim did: either is told in a moment.
            Ok(()) | Err(CallError::NotFound { .. } | CallError::HungUp { .. }) => {}
            Err(error) if number == SIGKILL => return Err(error.into()),
            // A program that cannot be asked is made to.
            Err(error) => tracing::warn!(%instance, "it cannot be asked to stop: {}", chain(&error)),
        }
        // The sender goes away only after it has told.
        if tokio::time::timeout(patience, ended.wait_for(|told| *told)).await.is_ok() {
            return Ok(());
        }
    }
    Err(Error::Survives(instance.clone()))
}

/// Takes away what is left of an instance whose program does not run. One that is not there is removed already.
///
/// # Errors
/// [`Error::Runs`] and those of [`clear`]
pub(super) async fn remove(shared: &Shared, instance: &InstanceId) -> Result<(), Error> {
    let look = shared.with(instance, |entry| {
        let process = entry.record.phase.process().cloned();
        match (&entry.live, &entry.record.phase) {
            (Some(_), _) | (None, Phase::Running { .. }) => None,
            (None, Phase::Ended { .. }) => Some((process, Clear::Ended)),
            (None, Phase::Intent | Phase::Created { .. }) => Some((process, Clear::Everything)),
        }
    });
    let Some(look) = look else { return Ok(()) };
    let (process, how) = look.ok_or_else(|| Error::Runs(instance.clone()))?;
    clear(shared, instance, process.as_ref(), how).await?;
    shared.forget(instance);
    Ok(())
}

/// How much may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clear {
    /// At most a shim without this container.
    Shim,
    /// A container whose program has ended.
    Ended,
    /// A container in any state; a program in it is killed.
    Everything,
}

/// Takes away the container, its folder, and the shim if nobody else needs it.
///
/// # Errors
/// Whatever could not be done; it can be tried again.
pub(super) async fn clear(
    shared: &Shared,
    instance: &InstanceId,
    process: Option<&Identity>,
    how: Clear,
) -> Result<(), Error> {
    let (settings, id) = (&shared.settings, instance.to_string());
    let _lock = shared.lock(&instance.service).await;
    let known = shim::known(&settings.run, &instance.service);
    let connected = match &known {
        Some(address) => match shim::connect(address).await {
            Ok(task) => Some((task, address)),
            Err(error) if error.is_gone() => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    if let Some((task, address)) = connected {
        if how != Clear::Shim {
            delete(&task, &id, how).await?;
        }
        if shared.is_last(instance) && shim::dismiss(&task, address, &id).await {
            shim::clear_home(&settings.run, &instance.service);
        }
    } else {
        // One that ended in a shim that is gone was cleaned when that was seen; a second time does no harm.
        if how != Clear::Shim {
            force(settings, instance, process).await?;
        }
        if shared.is_last(instance) {
            shim::clear_home(&settings.run, &instance.service);
        }
    }
    record::remove(&settings.run, instance)
}

async fn delete(task: &Task, id: &str, how: Clear) -> Result<(), Error> {
    if how == Clear::Everything && task.kill(id, "", SIGKILL).await.is_ok() {
        // What does not end in time cannot be deleted, and says so.
        let _ended_or_stuck = tokio::time::timeout(GOING, task.wait(id, "")).await;
    }
    match task.delete(id, "").await {
        Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills and cleans what is left of a container that no shim holds. Its service must be locked.
///
/// # Errors
/// [`Error::Survives`], or why the runtime could not do it
pub(super) async fn force(settings: &Settings, instance: &InstanceId, process: Option<&Identity>) -> Result<(), Error> {
    let bundle = record::bundle(&settings.run, instance);
    let (answer, notes) = (bundle.join("answer"), bundle.join("notes"));
    let by_shim = shim::execute(&shim::delete_words(settings, instance, &bundle), &answer, &notes).await;
    let by_runtime = shim::execute(&shim::runtime_words(settings, instance), &notes, &notes).await;
    if let (Err(shim), Err(runtime)) = (&by_shim, &by_runtime) {
        tracing::warn!(%instance, "neither its shim nor its runtime cleans it: {}; {}", chain(shim), chain(runtime));
    }
    let Some(process) = process else { return by_runtime.or(by_shim) };
    let gone = async {
        while matches!(process.look(), Match::Same | Match::Elsewhere) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(GOING, gone).await.map_err(|_elapsed| Error::Survives(instance.clone()))
}
