//! `skiff events`: what a container uses and when it lacked memory, a JSON object a line, as `runc events` prints it.

use super::args::{Events, Global};
use super::{print, state};
use crate::container::events::{self, Event};
use anyhow::Context;
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;

/// A line.
#[derive(Serialize)]
struct Line<'a, T> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

pub(super) fn events(global: &Global, options: &Events) -> anyhow::Result<ExitCode> {
    let entry = state::open(global, &options.id)?;
    let line = |event: &Event| {
        let line = match event {
            Event::Stats(stats) => Line { r#type: "stats", id: &options.id, data: Some(stats) },
            Event::Oom => Line { r#type: "oom", id: &options.id, data: None },
        };
        serde_json::to_string(&line).map(|line| line + "\n")
    };
    if options.stats {
        let stats = events::stats(&entry)?;
        return print(&line(&Event::Stats(Box::new(stats))).context("the figures cannot be told")?);
    }
    let tell = |event: Event| {
        let mut out = io::stdout().lock();
        out.write_all(line(&event)?.as_bytes())?;
        out.flush()
    };
    match events::watch(&entry, options.interval, tell) {
        // A reader that has gone away is no failure of ours.
        Err(events::Error::Tell(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => Ok(other.map(|()| ExitCode::SUCCESS)?),
    }
}
