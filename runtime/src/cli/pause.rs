//! `skiff pause` and `skiff resume`: the processes of a container stand, and go on.

use super::args::Global;
use super::state;
use crate::container;
use std::process::ExitCode;

pub(super) fn pause(global: &Global, id: &str) -> anyhow::Result<ExitCode> {
    container::pause::pause(&state::open(global, id)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(global: &Global, id: &str) -> anyhow::Result<ExitCode> {
    container::pause::resume(&state::open(global, id)?)?;
    Ok(ExitCode::SUCCESS)
}
