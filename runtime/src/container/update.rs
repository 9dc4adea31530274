//! Giving a living container other limits.

use super::lock::wait_for;
use super::observe::{NotRunning, look};
use crate::cgroup;
use crate::log;
use crate::state::{self, Entry, Record};
use crate::systemd::{self, Manager};
use oci_spec::runtime::LinuxResources;
use skiff_contract::status::Status;

/// Why a container keeps its limits.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// It has no process that could be limited.
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    /// A limit cannot be had. Nothing is changed.
    #[error("container `{id}` keeps its limits")]
    Kept {
        /// The container.
        id: String,
        /// What the room says.
        #[source]
        source: cgroup::Error,
    },
    /// A limit cannot be had, and another one is changed already.
    #[error("some limits of container `{id}` are changed and others are not; update it again")]
    Mixed {
        /// The container.
        id: String,
        /// What the room says.
        #[source]
        source: cgroup::Error,
    },
}

/// Changes the limits that `resources` names. The rules for devices stay as they are, whatever it says, as in runc:
/// engines pass the whole section on, and may have added to the rules behind our back.
///
/// # Errors
/// See [`Error`].
pub fn update(entry: &Entry, resources: &LinuxResources) -> Result<(), Error> {
    let _lock = wait_for(entry)?;
    let seen = look(entry)?;
    let id = || entry.id().to_string();
    if !matches!(seen.status, Status::Created | Status::Running | Status::Paused) {
        return Err(NotRunning { id: id(), status: seen.status }.into());
    }
    change(&seen.record, resources).map_err(|source| match source {
        cgroup::Error::NotSetBack { .. } => Error::Mixed { id: id(), source },
        source => Error::Kept { id: id(), source },
    })?;
    if resources.devices().as_ref().is_some_and(|rules| !rules.is_empty()) {
        log::warn(&format!("container `{}` keeps its linux.resources.devices: `update` does not change them", id()));
    }
    Ok(())
}

/// systemd hears of what the kernel has taken, so that it does not put the old limits back.
fn change(record: &Record, resources: &LinuxResources) -> Result<(), cgroup::Error> {
    let location = &record.cgroup;
    let Some(unit) = &record.unit else { return cgroup::update(location, resources, None, None) };
    let delegated = location.control_group().filter(|_| unit.user.is_some());
    let mut keep = |plan: &cgroup::Plan| {
        let mut manager = Manager::of(unit)?;
        let properties = systemd::limits(plan.writes.iter().chain(&plan.memory), manager.version())?;
        Ok(manager.set(unit, &properties)?)
    };
    cgroup::update(location, resources, delegated.as_deref(), Some(&mut keep))
}
