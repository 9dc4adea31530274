//! Removing what a container left: its processes, its cgroup, its state; then the poststop hooks hear of it.

use super::kill::kill_and_wait;
use super::lock::wait_for;
use super::observe::{Seen, look};
use crate::state::{self, Entry, Lock, Record};
use crate::{cgroup, log, systemd};
use skiff_contract::status::Status;
use std::io;
use std::time::Duration;

/// What may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Only a container that does not run; one that was never started does not (runc's reading).
    OnlyStopped,
    /// Whatever it is.
    Force,
}

/// Why a container cannot be deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read or removed.
    #[error(transparent)]
    State(#[from] state::Error),
    /// It runs.
    #[error("cannot delete container `{id}` that is not stopped: {status}; stop it with `skiff kill`, or use --force")]
    NotStopped {
        /// The container.
        id: String,
        /// What it is doing.
        status: Status,
    },
    /// Its first process cannot be killed.
    #[error("process {pid} of container `{id}` cannot be killed")]
    Kill {
        /// The container.
        id: String,
        /// The process.
        pid: i32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Its first process was killed and does not end: it is stuck in the kernel.
    #[error("process {pid} of container `{id}` did not end within {PATIENCE:?} of SIGKILL; try again later")]
    Stuck {
        /// The container.
        id: String,
        /// The process.
        pid: i32,
    },
    /// Its cgroup cannot be emptied or removed.
    #[error("the cgroup of container `{id}` cannot be removed")]
    Cgroup {
        /// The container.
        id: String,
        /// What the room says.
        #[source]
        source: cgroup::Error,
    },
}

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a container.
///
/// # Errors
/// See [`Error`]; what could be removed is, and deleting again goes on where it stopped.
pub fn delete(entry: &Entry, manner: Manner) -> Result<(), Error> {
    let _lock = match lock(entry, manner) {
        // Another command was faster, and what is asked for holds.
        Err(state::Error::Absent(_)) if manner == Manner::Force => return Ok(()),
        other => other?,
    };
    let seen = match look(entry) {
        // Nothing was made for a container without a record, and nothing can be known of a garbled one.
        Err(state::Error::Unfinished(_) | state::Error::Record { .. }) if manner == Manner::Force => {
            return Ok(entry.remove()?);
        }
        other => other?,
    };
    check(&seen, manner)?;
    destroy(entry, &seen.record)
}

fn check(seen: &Seen, manner: Manner) -> Result<(), Error> {
    match (manner, seen.status) {
        (Manner::Force, _) | (Manner::OnlyStopped, Status::Stopped | Status::Created) => Ok(()),
        (Manner::OnlyStopped, Status::Creating) => Err(state::Error::Unfinished(seen.record.id.clone()).into()),
        (Manner::OnlyStopped, status) => Err(Error::NotStopped { id: seen.record.id.clone(), status }),
    }
}

/// With force, another command is waited for: it may be a `run` that is just cleaning up after its program.
fn lock(entry: &Entry, manner: Manner) -> Result<Lock, state::Error> {
    match manner {
        Manner::OnlyStopped => entry.lock(),
        Manner::Force => wait_for(entry),
    }
}

/// Removes everything. The order is what makes it repeatable: the record, which says what else there is, goes last.
///
/// # Errors
/// See [`Error`].
pub(super) fn destroy(entry: &Entry, record: &Record) -> Result<(), Error> {
    let id = || record.id.clone();
    log::debug(|| format!("container `{}`: ending {:?}, removing {:?}", record.id, record.init, record.cgroup.dirs));
    if let Some(init) = &record.init {
        // What goes wrong with letting it die is told by what comes of it: it does not end.
        let let_die = || drop(cgroup::let_die(&record.cgroup));
        match kill_and_wait(init, PATIENCE, let_die) {
            Ok(true) => {}
            Ok(false) => return Err(Error::Stuck { id: id(), pid: init.pid }),
            Err(source) => return Err(Error::Kill { id: id(), pid: init.pid, source }),
        }
    }
    // With the state on a disk, what the record names after a reboot is gone, or was made by somebody else.
    if state::boot_id().is_ok_and(|boot_id| boot_id == record.boot_id) {
        let removed = cgroup::kill(&record.cgroup, libc::SIGKILL).and_then(|()| {
            stop_unit(record);
            cgroup::remove(&record.cgroup)
        });
        removed.map_err(|source| Error::Cgroup { id: id(), source })?;
    }
    poststop(record);
    Ok(entry.remove()?)
}

/// A unit whose processes are gone ends by itself, a little later. A systemd that cannot be reached is no reason to keep
/// the container.
fn stop_unit(record: &Record) {
    let Some(unit) = &record.unit else { return };
    if let Err(error) = systemd::stop(unit, &record.cgroup) {
        log::warn(&format!("container `{}`: {:#}", record.id, anyhow::Error::from(error)));
    }
}

/// Removes a container whose program has ended in our sight; another command may have been faster.
///
/// # Errors
/// See [`Error`].
pub fn after_end(entry: &Entry, record: &Record) -> Result<(), Error> {
    let _lock = match lock(entry, Manner::Force) {
        Err(state::Error::Absent(_)) => return Ok(()),
        other => other?,
    };
    destroy(entry, record)
}

/// The hooks run before the record goes: should we be killed among them, the next `delete` runs them again, and a
/// network that is torn down twice is better than one that never is.
fn poststop(record: &Record) {
    if record.poststop.is_empty() {
        return;
    }
    // The specification wants a warning here, the other hooks run and the deletion to go on (runtime.md, lifecycle).
    for error in super::each_poststop_hook(record) {
        log::warn(&format!("container `{}`: {:#}", record.id, anyhow::Error::from(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Store;

    #[test]
    fn what_another_command_removed_meanwhile_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_make(folder.path()).unwrap();
        let (entry, lock) = store.claim(&"x".parse().unwrap()).unwrap();
        entry.remove().unwrap();
        drop(lock);
        assert!(delete(&entry, Manner::Force).is_ok());
        assert!(matches!(delete(&entry, Manner::OnlyStopped), Err(Error::State(state::Error::Absent(_)))));
    }
}
