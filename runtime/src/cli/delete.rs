//! `skiff delete`: nothing of the container is left when it returns.

use super::args::Global;
use super::state;
use crate::container;
use crate::state::Error;
use std::process::ExitCode;

pub(super) fn delete(global: &Global, id: &str, force: bool) -> anyhow::Result<ExitCode> {
    let entry = match state::open(global, id) {
        Ok(entry) => entry,
        // What is asked for already holds; runc does the same.
        Err(error) if force && matches!(error.downcast_ref(), Some(Error::Absent(_))) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error),
    };
    let manner = if force { container::delete::Manner::Force } else { container::delete::Manner::OnlyStopped };
    container::delete::delete(&entry, manner)?;
    Ok(ExitCode::SUCCESS)
}
