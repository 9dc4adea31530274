//! Sending any of the 64 signals, real-time ones included, to a process that cannot be mistaken for another.

use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends `signal` to a process by number: only where there is no pidfd (Linux before 5.3).
///
/// # Errors
/// `ESRCH` when there is no such process, `EPERM`.
pub fn by_pid(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes plain numbers and has no effect on memory.
    result(unsafe { libc::kill(pid, signal) }.into())
}

/// Sends `signal` through a pidfd (pidfd_send_signal(2)).
///
/// # Errors
/// `ESRCH` when the process has ended, `EPERM`.
pub fn by_descriptor(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the borrow's life; a null siginfo asks for the default one; flags are zero.
    result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0_usize, 0_u32) })
}

fn result(outcome: libc::c_long) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether an error says that the process is not there any more.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}
