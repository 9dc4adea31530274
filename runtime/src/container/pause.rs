//! Stopping every process of a container where it is, and letting them go on.

use super::lock::wait_for;
use super::observe::{NotRunning, look};
use crate::cgroup;
use crate::state::{self, Entry, Identity};
use skiff_contract::status::Status;

/// Why a container cannot be paused or resumed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Its processes have ended, or stand already.
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    /// Its processes do not stand.
    #[error("container not paused: `{id}` is {status}")]
    NotPaused {
        /// The container.
        id: String,
        /// What it is instead.
        status: Status,
    },
    /// Its processes cannot be stopped.
    #[error("container `{id}` cannot be paused")]
    Pause {
        /// The container.
        id: String,
        /// What the room says.
        #[source]
        source: cgroup::Error,
    },
    /// Its processes cannot be let go on.
    #[error("container `{id}` cannot be resumed")]
    Resume {
        /// The container.
        id: String,
        /// What the room says.
        #[source]
        source: cgroup::Error,
    },
}

/// Stops every process; one that waits for `start` too, as in runc. Returns when all stand.
///
/// # Errors
/// See [`Error`]; the processes then go on as before.
pub fn pause(entry: &Entry) -> Result<(), Error> {
    let _lock = wait_for(entry)?;
    let seen = look(entry)?;
    let id = || entry.id().to_string();
    if !matches!(seen.status, Status::Created | Status::Running) {
        return Err(NotRunning { id: id(), status: seen.status }.into());
    }
    cgroup::freeze(&seen.record.cgroup).map_err(|source| Error::Pause { id: id(), source })?;
    if seen.record.init.as_ref().is_some_and(Identity::is_alive) {
        return Ok(());
    }
    // It ended while it was being stopped; what it left must not stand for ever in a container that is `stopped`.
    cgroup::thaw(&seen.record.cgroup).map_err(|source| Error::Pause { id: id(), source })?;
    Err(NotRunning { id: id(), status: Status::Stopped }.into())
}

/// Lets every process go on.
///
/// # Errors
/// See [`Error`].
pub fn resume(entry: &Entry) -> Result<(), Error> {
    let _lock = wait_for(entry)?;
    let seen = look(entry)?;
    let id = || entry.id().to_string();
    if seen.status != Status::Paused {
        return Err(Error::NotPaused { id: id(), status: seen.status });
    }
    cgroup::thaw(&seen.record.cgroup).map_err(|source| Error::Resume { id: id(), source })
}
