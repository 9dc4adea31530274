//! `skiff create`: the container is made, its program waits for `start`.

use super::args::{Global, Make};
use super::{ExitWith, state_root};
use crate::config::Bundle;
use crate::container::create as make;
use crate::container::plans::{Begin, Request};
use crate::process::Listen;
use crate::readiness::Manager;
use crate::sys;
use std::process::ExitCode;

pub(super) fn create(global: &Global, options: &Make) -> anyhow::Result<ExitCode> {
    let made = make::create(&state_root(global)?, &request(global, options, Begin::OnKnock)?)?;
    let _created = made.go()?.unlock();
    Ok(ExitCode::SUCCESS)
}

pub(super) fn request(global: &Global, options: &Make, begin: Begin) -> anyhow::Result<Request> {
    let listen = listen();
    preserved(options.preserve_fds, listen.as_ref().map_or(0, |listen| listen.count))?;
    Ok(Request {
        id: options.id.parse()?,
        bundle: Bundle::open(&options.bundle)?.described_by(options.config.clone()),
        pid_file: options.pid_file.clone(),
        console_socket: options.console_socket.clone(),
        pidfd_socket: options.pidfd_socket.clone(),
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        preserve_fds: options.preserve_fds,
        listen,
        notify: Manager::ours()?.is_some(),
        cgroups: global.cgroups,
        rootless: global.rootless,
        begin,
    })
}

/// Checks that each descriptor to pass on was given to us. Our own are close-on-exec; one of them in the place of one
/// that the caller forgot must not reach the container.
pub(super) fn preserved(asked: u32, activated: u32) -> anyhow::Result<()> {
    for number in 3..3_u32.saturating_add(asked).saturating_add(activated) {
        let given = sys::prctl::is_inherited(number);
        anyhow::ensure!(given, "descriptor {number} is not open (--preserve-fds {asked}, LISTEN_FDS {activated})");
    }
    Ok(())
}

/// Socket activation by systemd: the descriptors after standard error are for the container (sd_listen_fds(3)), if
/// they were meant for us: an engine that was activated itself passes its environment on, and not the descriptors.
fn listen() -> Option<Listen> {
    let meant_for: u32 = std::env::var("LISTEN_PID").ok()?.parse().ok()?;
    if meant_for != std::process::id() {
        return None;
    }
    let count = std::env::var("LISTEN_FDS").ok()?.parse().ok().filter(|count| *count > 0)?;
    Some(Listen { count, names: std::env::var("LISTEN_FDNAMES").ok() })
}

/// For a foreground `run`, whose exit code tells a program that cannot be executed from other failures.
pub(super) fn with_exit_code(error: make::Error) -> anyhow::Error {
    let code = error.exit_code();
    let error = anyhow::Error::from(error);
    if code == 1 { error } else { ExitWith { code, message: format!("{error:#}") }.into() }
}
