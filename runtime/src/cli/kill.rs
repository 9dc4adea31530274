//! `skiff kill`: a signal to the first process of a container, or to all of them.

use super::args::{Global, Kill};
use super::{signal, state};
use crate::container;
use std::process::ExitCode;

pub(super) fn kill(global: &Global, options: &Kill) -> anyhow::Result<ExitCode> {
    let signal = signal::parse(options.signal.as_deref().unwrap_or("TERM"))?;
    let entry = state::open(global, &options.id)?;
    let whom = if options.all { container::kill::Whom::All } else { container::kill::Whom::Init };
    container::kill::kill(&entry, signal, whom)?;
    Ok(ExitCode::SUCCESS)
}
