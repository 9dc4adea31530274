//! Descriptors of processes for `--pidfd-socket`: the receiver can watch and signal the container's first process
//! without fearing that its id is used again (pidfd_open(2)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::Error;
use crate::terminal;

/// The message that goes with the descriptor of a container's first process; runc sends the same.
pub const STANDARD: &str = "standard";
/// The message that goes with the descriptor of a process that `exec` started.
pub const SETNS: &str = "setns";

/// Opens process `pid`, which must be a child of ours that was not reaped yet.
///
/// # Errors
/// [`Error::PidfdMissing`] before Linux 5.3, else [`Error::Pidfd`].
pub fn open(pid: i32) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::Pidfd { pid, source: errno.into() };
    let id = Pid::from_raw(pid).ok_or_else(|| failed(Errno::INVAL))?;
    match rustix::process::pidfd_open(id, PidfdFlags::empty()) {
        Err(Errno::NOSYS) => Err(Error::PidfdMissing),
        opened => opened.map_err(failed),
    }
}

/// Sends `pidfd` to a `socket` from [`terminal::connect`], which is called before anything is made.
///
/// # Errors
/// [`Error::Socket`] when the receiver is gone.
pub fn send_to_socket(socket: &OwnedFd, pidfd: BorrowedFd<'_>, kind: &str) -> Result<(), Error> {
    Ok(terminal::send_descriptor(socket.as_fd(), pidfd, kind)?)
}
