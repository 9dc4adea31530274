//! `skiff start`: the program of a created container begins.

use super::args::Global;
use super::state;
use crate::container;
use std::process::ExitCode;

pub(super) fn start(global: &Global, id: &str) -> anyhow::Result<ExitCode> {
    container::start::start(&state::open(global, id)?)?;
    Ok(ExitCode::SUCCESS)
}
