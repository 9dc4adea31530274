//! Start: from what the planner decided to a program that runs, one step after the other, and all of it back when a step
//! fails.

use super::ending::{self, Clear};
use super::error::Error;
use super::identity::Identity;
use super::record::{self, Phase, Record};
use super::shared::Shared;
use super::task::{CallError, Create};
use super::{Making, Seen, oci, shim, watching};
use crate::chain::chain;
use skiff_planner::name::InstanceId;
use std::sync::Arc;

/// Makes an instance and starts its program.
///
/// # Errors
/// Whatever failed; what was made by then is taken back, and what could not be taken back stays on record.
pub(super) async fn start(shared: &Arc<Shared>, instance: &InstanceId, making: Making) -> Result<(), Error> {
    let run = &shared.settings.run;
    record::claim(run, instance)?;
    let Making { blueprint, bundle, config, not_enforced } = making;
    let limits = blueprint.service.deploy.resources.limits.clone();
    let (boot_id, phase) = (shared.boot_id.clone(), Phase::Intent);
    let mut record = Record { instance: instance.clone(), boot_id, blueprint, limits, not_enforced, phase };
    shared.put(&record);
    let mut clear = Clear::Shim;
    let made = async {
        record.write(run)?;
        let config = oci::complete(config, instance, &bundle, &shared.settings)?;
        let text = serde_json::to_vec(&config).expect("a value can be written");
        record::publish(&record::bundle(run, instance), "config.json", &text)?;
        make(shared, &mut record, &mut clear).await
    };
    let Err(failure) = made.await else { return Ok(()) };
    match ending::clear(shared, instance, record.phase.process(), clear).await {
        Ok(()) => shared.forget(instance),
        // The record stays, and `Remove` or the next skiffd tries again.
        Err(error) => tracing::warn!(%instance, "not all of it could be taken back: {}", chain(&error)),
    }
    Err(failure)
}

async fn make(shared: &Arc<Shared>, record: &mut Record, clear: &mut Clear) -> Result<(), Error> {
    let (settings, instance) = (&shared.settings, &record.instance.clone());
    let id = instance.to_string();
    let bundle = record::bundle(&settings.run, instance);
    let log = oci::output(settings.log, &super::log_path(settings, instance));
    let create = Create { id: &id, bundle: &bundle.to_string_lossy(), output: &log, options: oci::options(settings) };

    let lock = shared.lock(&instance.service).await;
    let task = shim::ensure(settings, instance).await?;
    // From here on a container of this id may be there, unless another one was.
    *clear = Clear::Everything;
    let created = task.create(create).await.inspect_err(|error| {
        if matches!(error, CallError::Exists { .. }) {
            *clear = Clear::Shim;
        }
    })?;
    drop(lock);

    let pid = i32::try_from(created.pid).unwrap_or(0);
    let process = Identity::of(pid, &oci::cgroups_path(settings, instance))
        .ok_or_else(|| Error::Vanished { instance: instance.clone(), pid })?;
    record.phase = Phase::Created { process: process.clone() };
    record.write(&settings.run)?;
    shared.put(record);

    task.start(&id, "").await?;
    let (since, started) = (crate::clock::now(), crate::clock::wall());
    record.phase = Phase::Running { process, since, started };
    if let Err(error) = record.write(&settings.run) {
        // The program runs, and a record that says `Created` is enough to find it again.
        tracing::warn!(%instance, "{}", chain(&error));
    }
    shared.put(record);
    shared.tell(Seen::Started { instance: instance.clone(), pid, since }).await;
    watching::begin(shared, record, task);
    Ok(())
}
