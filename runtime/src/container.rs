//! The life of a container: [`create`], [`start`], [`kill`], [`delete`], and [`observe`], the look at the world from
//! which its status follows. Each is what the verb of the same name does; `run` is create, start, wait and delete.

pub mod create;
pub mod delete;
pub mod kill;
mod maps;
pub mod observe;
pub mod plans;
pub mod start;
mod undo;
mod view;

use crate::hooks;
use crate::state::Record;
use rustix::fs::{CWD, Mode, OFlags};
use skiff_contract::status::Status;
use std::os::fd::AsFd;

/// Runs the hooks that a record keeps for later. The bundle, their working directory, may be gone by then.
fn hooks_of(record: &Record, kind: hooks::Kind) -> Result<(), hooks::Error> {
    let (which, status) = match kind {
        hooks::Kind::Poststart => (&record.poststart, Status::Running),
        _ => (&record.poststop, Status::Stopped),
    };
    let state = serde_json::to_vec(&record.document(status)).unwrap_or_default();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let bundle = rustix::fs::openat(CWD, &record.bundle, flags, Mode::empty()).ok();
    let directory = bundle.as_ref().map(|bundle| bundle.as_fd());
    hooks::run(which, kind, &hooks::Surroundings { state: &state, environment: &[], directory })
}
