//! `skiff exec`: a further process in a container, in the foreground or detached.

use super::args::{Exec, Global};
use super::{ExitWith, create, state};
use crate::container::exec::{self, Request};
use crate::foreground;
use std::process::ExitCode;

pub(super) fn exec(global: &Global, options: Exec) -> anyhow::Result<ExitCode> {
    create::preserved(options.preserve_fds, 0)?;
    let entry = state::open(global, &options.id)?;
    let request = Request {
        what: options.what,
        tty: options.tty,
        detach: options.detach,
        pid_file: options.pid_file,
        console_socket: options.console_socket,
        pidfd_socket: options.pidfd_socket,
        preserve_fds: options.preserve_fds,
        ignore_paused: options.ignore_paused,
        cgroups: options.cgroups,
    };
    // Before there is a child, so that none of its signals, least of all that of its end, can be missed.
    let signals = if request.detach { None } else { Some(foreground::Signals::block()?) };
    let mut waiting = exec::prepare(&entry, &request).map_err(with_exit_code)?;
    // Before the program runs, so that it finds its terminal as large as ours.
    let proxy = match waiting.master.take().map(foreground::Proxy::start).transpose() {
        Ok(proxy) => proxy,
        Err(error) => {
            waiting.abandon();
            return Err(error.into());
        }
    };
    let pid = waiting.go().map_err(with_exit_code)?;
    let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
    let code = foreground::wait(pid, &signals, proxy, None)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// The exit code tells a program that cannot be executed from other failures.
fn with_exit_code(error: exec::Error) -> anyhow::Error {
    let code = error.exit_code();
    let error = anyhow::Error::from(error);
    if code == 1 { error } else { ExitWith { code, message: format!("{error:#}") }.into() }
}
