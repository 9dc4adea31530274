//! Which processes a container has: all that are in its cgroups, whoever made them.

use super::observe::look;
use crate::cgroup;
use crate::state::{self, Entry};
use skiff_contract::status::Status;

/// Why the processes of a container are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// There is no cgroup to look into.
    #[error("container `{0}` has no cgroup of its own, so its processes are not known")]
    NoCgroup(String),
    /// Its cgroups cannot be read.
    #[error("the processes of container `{id}` cannot be listed")]
    Cgroup {
        /// The container.
        id: String,
        /// What the room says.
        #[source]
        source: cgroup::Error,
    },
}

/// The process ids, as the runtime's own PID namespace numbers them, ascending. A stopped container may have some left.
///
/// # Errors
/// See [`Error`].
pub fn processes(entry: &Entry) -> Result<Vec<i32>, Error> {
    let seen = look(entry)?;
    let id = || entry.id().to_string();
    let record = &seen.record;
    // After a reboot the cgroup of that name is somebody else's, if there is one.
    if state::boot_id().is_ok_and(|boot_id| boot_id != record.boot_id) {
        return Ok(Vec::new());
    }
    let pids = cgroup::procs(&record.cgroup).map_err(|source| Error::Cgroup { id: id(), source })?;
    let lives = matches!(seen.status, Status::Created | Status::Running | Status::Paused);
    // A living container has a process: one that is not found in any cgroup of the record is in none of them.
    if pids.is_empty() && lives && look(entry)?.status == seen.status {
        return Err(Error::NoCgroup(id()));
    }
    Ok(pids)
}
