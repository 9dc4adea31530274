//! The life of a container: [`create`], [`start`], [`exec`], [`kill`], [`delete`], and [`observe`], the look at the world from
//! which its status follows. Each is what the verb of the same name does; `run` is create, start, wait and delete.

pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod kill;
mod lock;
mod maps;
pub mod notifier;
pub mod observe;
pub mod pause;
mod pid_file;
pub mod plans;
pub mod processes;
pub mod start;
mod undo;
pub mod update;
mod view;

use crate::hooks;
use crate::state::Record;
use rustix::fs::{CWD, Mode, OFlags};
use skiff_contract::status::Status;
use std::os::fd::AsFd;

/// Runs the poststart hooks up to the first that fails.
fn poststart_hooks(record: &Record) -> Result<(), hooks::Error> {
    with_surroundings(record, Status::Running, |surroundings| {
        hooks::run(&record.poststart, hooks::Kind::Poststart, surroundings)
    })
}

/// Runs every poststop hook, and gives what went wrong.
fn each_poststop_hook(record: &Record) -> Vec<hooks::Error> {
    with_surroundings(record, Status::Stopped, |surroundings| {
        let run = |(index, hook)| hooks::run_one(hook, hooks::Kind::Poststop, index, surroundings).err();
        record.poststop.iter().enumerate().filter_map(run).collect()
    })
}

/// What hooks find that a record has kept for later. The bundle, their working directory, may be gone by then.
fn with_surroundings<T>(record: &Record, status: Status, run: impl FnOnce(&hooks::Surroundings<'_>) -> T) -> T {
    let state = serde_json::to_vec(&record.document(status)).unwrap_or_default();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let bundle = rustix::fs::openat(CWD, &record.bundle, flags, Mode::empty()).ok();
    run(&hooks::Surroundings { state: &state, environment: &[], directory: bundle.as_ref().map(AsFd::as_fd) })
}
