//! The ioctls of a filter's listener (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The call that waits.
///
/// # Errors
/// `ENOENT` when its process died meanwhile.
pub fn receive(listener: &OwnedFd) -> io::Result<libc::seccomp_notif> {
    // SAFETY: the structure is plain numbers, and the kernel wants it zeroed.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the ioctl writes one such structure.
    match unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } {
        0 => Ok(asked),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Answers it. An answer to somebody who died is refused, which is fine.
pub fn answer(listener: &OwnedFd, mut answer: libc::seccomp_notif_resp) {
    // SAFETY: the ioctl reads one such structure.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
}
