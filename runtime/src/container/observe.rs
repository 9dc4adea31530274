//! A fresh look at a container: its record, and what `/proc`, the state folder and the cgroup say.

use crate::cgroup;
use crate::state::{Entry, Error, Record};
use skiff_contract::status::Status;

/// A record and the status that follows from it now.
pub struct Seen {
    /// As written by `create`.
    pub record: Record,
    /// As of the look.
    pub status: Status,
}

/// A container whose processes have ended, or have not been made. Callers of runc know it by these words.
#[derive(Debug, thiserror::Error)]
#[error("container not running: `{id}` is {status}")]
pub struct NotRunning {
    /// The container.
    pub id: String,
    /// What it is instead.
    pub status: Status,
}

/// Looks at a container.
///
/// # Errors
/// When its record cannot be read.
pub fn look(entry: &Entry) -> Result<Seen, Error> {
    let record = entry.load()?;
    let alive = record.init.as_ref().is_some_and(crate::state::Identity::is_alive);
    let waiting = entry.is_waiting();
    // A cgroup that cannot be read is not known to be frozen; the process is known to live.
    let frozen = alive && cgroup::is_frozen(&record.cgroup).unwrap_or(false);
    let status = record.status(crate::state::Observed { alive, waiting, frozen });
    Ok(Seen { record, status })
}
