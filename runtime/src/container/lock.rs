//! Waiting for one's turn at a container: commands that change it exclude each other.

use crate::state::{Entry, Error, Lock};
use std::time::{Duration, Instant};

/// How long another command is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Takes the container for this command alone, after another that is at work on it.
///
/// # Errors
/// [`Error::Busy`] when that other one takes too long; [`Error::Absent`] when it has removed the container.
pub(super) fn wait_for(entry: &Entry) -> Result<Lock, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match entry.lock() {
            Err(Error::Busy(_)) if Instant::now() < deadline => crate::patience::pause(LOOK_AGAIN),
            other => return other,
        }
    }
}
