//! Unmaking what a failed `create` made. The failure is what the caller hears of; what cannot be unmade is a warning.

use super::delete::destroy;
use super::kill::reap;
use crate::state::{self, Entry, Record};
use crate::{log, sys};
use std::path::Path;

/// Unmakes a container that could not be made. `child` is its first process, which is ours to reap.
pub(super) fn undo(entry: &Entry, record: &mut Record, child: Option<i32>, pid_file: Option<&Path>) {
    if let Some(pid) = child {
        // It is a child that nobody has reaped, so the number is still its own.
        let _already_dead = sys::kill::by_pid(pid, libc::SIGKILL);
        reap(pid);
        record.init = None;
    }
    if let (Some(path), state::Phase::Made) = (pid_file, record.phase) {
        let _never_written = std::fs::remove_file(path);
    }
    if let Err(error) = destroy(entry, record) {
        log::warn(&format!("cleaning up: {:#}", anyhow::Error::from(error)));
    }
}
