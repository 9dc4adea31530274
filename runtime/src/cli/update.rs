//! `skiff update`: other limits for a container that lives.

use super::args::{Global, Source, Update};
use super::state;
use crate::{config, container};
use std::process::ExitCode;

pub(super) fn update(global: &Global, options: &Update) -> anyhow::Result<ExitCode> {
    // Before the document is read: whoever mistypes the id should not have to type the document first.
    let entry = state::open(global, &options.id)?;
    let read;
    let resources = match &options.source {
        Source::Flags(resources) => resources,
        Source::StandardInput => {
            read = config::read_resources(None)?;
            &read
        }
        Source::File(path) => {
            read = config::read_resources(Some(path))?;
            &read
        }
    };
    container::update::update(&entry, resources)?;
    Ok(ExitCode::SUCCESS)
}
