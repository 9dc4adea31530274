//! Signals to a container: to its first process, or to everything in its cgroup.

use super::observe::{NotRunning, look};
use crate::cgroup;
use crate::state::{self, Entry, Identity};
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, pidfd_open, waitid, waitpid};
use skiff_contract::status::Status;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Who gets the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The first process.
    Init,
    /// Every process of the container's cgroup.
    All,
}

/// Why a signal cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's state cannot be read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Its program has ended, or has not been made.
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    /// `--all` without a cgroup to look into.
    #[error("container `{0}` has no cgroup, so its processes are not known; leave out --all")]
    NoCgroup(String),
    /// The processes of the cgroup cannot be reached.
    #[error("signal {signal} cannot be sent to the processes of container `{id}`")]
    Cgroup {
        /// The container.
        id: String,
        /// The signal's number.
        signal: i32,
        /// What the room says.
        #[source]
        source: cgroup::Error,
    },
    /// The kernel refused.
    #[error("signal {signal} cannot be sent to process {pid} of container `{id}`")]
    Send {
        /// The container.
        id: String,
        /// The process.
        pid: i32,
        /// The signal's number.
        signal: i32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Sends a signal.
///
/// # Errors
/// See [`Error`]; a process that ended in between is an error for [`Whom::Init`] only.
pub fn kill(entry: &Entry, signal: i32, whom: Whom) -> Result<(), Error> {
    let seen = look(entry)?;
    let id = || entry.id().to_string();
    let not_running = || NotRunning { id: id(), status: seen.status };
    if whom == Whom::All {
        if seen.record.cgroup.dirs.is_empty() {
            return Err(Error::NoCgroup(id()));
        }
        return cgroup::kill(&seen.record.cgroup, signal).map_err(|source| Error::Cgroup { id: id(), signal, source });
    }
    let init = match (&seen.record.init, seen.status) {
        (Some(init), Status::Created | Status::Running | Status::Paused) => init,
        _ => return Err(not_running().into()),
    };
    match send(init, signal) {
        Ok(true) => {}
        Ok(false) => return Err(not_running().into()),
        Err(source) => return Err(Error::Send { id: id(), pid: init.pid, signal, source }),
    }
    if signal == libc::SIGKILL {
        cgroup::let_die(&seen.record.cgroup).map_err(|source| Error::Cgroup { id: id(), signal, source })?;
    }
    Ok(())
}

/// Sends a signal to exactly this process: the pidfd is opened first and the identity checked after, so that the
/// descriptor is known to belong to it. False when the process has ended.
pub(super) fn send(process: &Identity, signal: i32) -> io::Result<bool> {
    let pidfd = match handle(process)? {
        Handle::Pidfd(pidfd) => Some(pidfd),
        Handle::Number => None,
        Handle::Gone => return Ok(false),
    };
    if !process.is_alive() {
        return Ok(false);
    }
    let sent = match pidfd.as_ref().map(|pidfd| sys::kill::by_descriptor(pidfd.as_fd(), signal)) {
        None => sys::kill::by_pid(process.pid, signal),
        Some(Err(error)) if error.raw_os_error() == Some(libc::ENOSYS) => sys::kill::by_pid(process.pid, signal),
        Some(sent) => sent,
    };
    match sent {
        Err(error) if sys::kill::is_gone(&error) => Ok(false),
        other => other.map(|()| true),
    }
}

pub(super) enum Handle {
    /// A pidfd.
    Pidfd(OwnedFd),
    /// Linux before 5.3 has no pidfds.
    Number,
    /// There is no process of that number.
    Gone,
}

pub(super) fn handle(process: &Identity) -> io::Result<Handle> {
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(Handle::Gone) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Handle::Pidfd(pidfd)),
        Err(rustix::io::Errno::NOSYS) => Ok(Handle::Number),
        Err(rustix::io::Errno::SRCH) => Ok(Handle::Gone),
        Err(errno) => Err(errno.into()),
    }
}

/// Reaps one child of ours that ends or has ended.
pub(super) fn reap(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

/// Whether this is a child of ours that has not been reaped, so that its number is certainly its own.
pub(super) fn is_child(pid: i32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw);
    pid.is_some_and(|pid| waitid(WaitId::Pid(pid), options).is_ok())
}

/// How often a process is looked at where the kernel cannot wake us.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Kills a process and waits until it has ended; false when it has not within `patience`. `killed` is called between
/// the two.
pub(super) fn kill_and_wait(process: &Identity, patience: Duration, killed: impl FnOnce()) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    let handle = handle(process)?;
    if !send(process, libc::SIGKILL)? {
        return Ok(true);
    }
    killed();
    if let Handle::Pidfd(pidfd) = &handle {
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 10, tv_nsec: 0 });
        let mut set = [PollFd::new(pidfd, PollFlags::IN)];
        // Whatever ends the wait early, the look below decides.
        let _readiness = poll(&mut set, Some(&timeout));
    }
    while process.is_alive() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        crate::patience::pause(LOOK_AGAIN);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^32 seconds are none in 32 bits.
    #[test]
    fn a_long_wait_does_not_end_at_once() {
        let mut child = std::process::Command::new("sleep").arg("0.1").spawn().unwrap();
        let timeout = Timespec::try_from(Duration::from_secs(1 << 32)).unwrap();
        let ready = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map(|pidfd| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)));
        // Without pidfds (before Linux 5.3) there is no such wait.
        assert!(ready.is_err() || ready == Ok(Ok(1)), "the wait was cut short: {ready:?}");
        child.wait().unwrap();
    }

    #[test]
    fn only_a_child_that_is_not_reaped_is_one() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(is_child(pid) && is_child(pid), "looking takes nothing away");
        child.wait().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        for stranger in [pid, own, 1, 0, -1, i32::MIN] {
            assert!(!is_child(stranger), "{stranger}");
        }
    }
}
