//! `skiff run`: create, start, and in the foreground wait for the program and remove the container.

use super::args::{Global, Make};
use super::create::{request, with_exit_code};
use super::{ExitWith, state_root};
use crate::container::plans::Begin;
use crate::container::{create as make, delete, start};
use crate::state::Record;
use crate::{cgroup, foreground, log};
use anyhow::Context;
use std::process::ExitCode;

pub(super) fn run(global: &Global, options: &Make) -> anyhow::Result<ExitCode> {
    let begin = if options.detach { Begin::Detached } else { Begin::Foreground };
    let request = request(global, options, begin)?;
    if begin == Begin::Foreground && !options.no_subreaper {
        foreground::become_subreaper()?;
    }
    // Before there is a child, so that none of its signals, least of all that of its end, can be missed.
    let signals = match begin {
        Begin::Foreground => Some(foreground::Signals::block()?),
        _ => None,
    };
    let mut made = make::create(&state_root(global)?, &request).map_err(with_exit_code)?;
    // Before the program runs, so that it finds its terminal as large as ours.
    let proxy = made.master.take().map(foreground::Proxy::start).transpose().map_err(anyhow::Error::from);
    let (proxy, relay) = match proxy.and_then(|proxy| Ok((proxy, start::relay(&made.entry)?))) {
        Ok(both) => both,
        Err(error) => {
            made.abandon();
            return Err(error);
        }
    };
    let made = made.go()?;
    start::first(&made.entry, &made.record, made.channel()).map_err(started_with_exit_code)?;
    let pid = made.pid;
    let (entry, record) = made.unlock();
    let Some(signals) = signals else {
        start::until_ready(&record, relay)?;
        return Ok(ExitCode::SUCCESS);
    };
    let code = foreground::wait(pid, &signals, proxy, relay)?;
    tell_of_memory(&record);
    if !options.keep {
        delete::after_end(&entry, &record).with_context(|| format!("cleaning up after container `{}`", record.id))?;
    }
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// A program that the kernel kills for its memory ends without a word; what it died of is said for it. Asked before the
/// cgroup goes.
fn tell_of_memory(record: &Record) {
    // A cgroup that another command has removed meanwhile has nothing to say.
    if let Ok(kills @ 1..) = cgroup::oom_kills(&record.cgroup) {
        let limit = "out of memory: the kernel killed";
        log::warn(&format!(
            "container `{}` ran {limit} {kills} of its processes (linux.resources.memory.limit)",
            record.id
        ));
    }
}

fn started_with_exit_code(error: start::Error) -> anyhow::Error {
    match error {
        start::Error::Failed { exit_code, .. } if exit_code != 1 => {
            ExitWith { code: exit_code, message: error.to_string() }.into()
        }
        other => other.into(),
    }
}
